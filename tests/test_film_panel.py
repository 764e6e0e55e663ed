"The film panel: a film or a photo is taken, looked at, converted, cancelled, gone on with."

import io
from datetime import datetime, timezone

import ipywidgets
import numpy as np
import pytest
from helpers.films import TONE, X264, ffmpeg, picture, sound
from PIL import Image

from scz_nb.apps.film_panel import FilmPanel, a_second, progress_words
from scz_nb.core import StepInfo
from scz_nb.films.convert import convert
from scz_nb.films.pairs import Look
from scz_nb.media.film import frames_of_film, probe

pytestmark = pytest.mark.filterwarnings('ignore:only the embedded depth')


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films')
    ffmpeg(folder, *picture(rate=25, seconds=3), *TONE, *X264, 'film.mp4')
    ffmpeg(folder, *picture('192x96'), '-vf', 'setsar=1/2', *X264, 'narrow.mp4')
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 80, 3), np.uint8)).save(
        folder / 'photo.png'
    )
    return folder


def taken(path, out, **more):
    "A panel that was given a file."
    panel = FilmPanel(out, **more)
    panel.files['path'].value = str(path)
    return panel


def press(panel, button):
    "Press a button; what the panel says when its thread has ended."
    getattr(panel, button).click()
    if panel.thread:
        panel.thread.join(120)
    return panel.words.value


@pytest.fixture(scope='module')
def looked(films, tmp_path_factory):
    "A panel with a second of a film."
    panel = taken(films / 'film.mp4', tmp_path_factory.mktemp('out'))
    assert '9 frames of a second' in press(panel, 'look')
    return panel


def shown(panel):
    return np.asarray(Image.open(io.BytesIO(panel.viewer.image.value)).convert('RGB'))


def test_a_film_is_described(films, tmp_path):
    panel = taken(films / 'film.mp4', tmp_path)
    assert 'film.mp4: 96 × 64 pixels, 3.0 s' in panel.words.value
    assert panel.files['start'].max == 2.0


def test_frames_of_a_second_are_the_films(films):
    film = probe(films / 'film.mp4')
    every = {f.time: f.picture for f in frames_of_film(film)}
    some = a_second(film, 1.0)
    times = np.array([float(f.time * film.tick) for f in some])
    assert np.allclose(times, np.arange(1, 1.99, 0.12))
    assert all((f.picture == every[f.time]).all() for f in some)


turns = [
    ('strength', 6.0),
    ('plane', '99%'),
    ('shared', True),
    ('soft', 8),
    ('kind', 'side by side'),
    ('rows', 720),
    ('frame', 5),
]


@pytest.mark.parametrize('name, value', turns)
def test_every_control_changes_the_picture_and_back(looked, name, value):
    control = looked.viewer.controls[name]
    before, old = looked.viewer.image.value, control.value
    control.value = value
    changed = looked.viewer.image.value != before
    control.value = old
    small = name == 'rows'  # the film has fewer
    assert changed != small and looked.viewer.image.value == before


def test_what_is_shown_is_what_is_made(films, looked, tmp_path):
    choices = dict(strength=6.0, plane='20%', fill='ns', soft=2)
    for name, value in (choices | dict(kind='right', frame=3)).items():
        looked.viewer.controls[name].value = value
    path = convert(
        films / 'film.mp4', tmp_path, 'tiny', layout='right', crf=0, progress=False, **choices
    )
    made = [f.picture for f in frames_of_film(probe(path))][9].astype(int)
    seen = shown(looked)
    for name, value in dict(strength=3.0, plane='auto', fill='auto', soft=1).items():
        looked.viewer.controls[name].value = value
    looked.viewer.controls['kind'].value = 'anaglyph, red-cyan'
    looked.viewer.controls['frame'].value = 0
    # the second's depth is stretched by its own bounds, the file's colours have half the size
    assert seen.shape == made.shape and np.abs(seen - made).mean() < 12


def test_narrow_pixels_are_shown_as_they_are_meant(films, tmp_path):
    panel = taken(films / 'narrow.mp4', tmp_path)
    panel.viewer.controls['kind'].value = 'left'
    assert 'of a second' in press(panel, 'look')
    assert shown(panel).shape == (96, 96, 3)


def test_painting_waits_for_look(films, tmp_path):
    panel = taken(films / 'photo.png', tmp_path)
    press(panel, 'look')
    before = panel.viewer.image.value
    panel.viewer.controls['fill'].value = 'network'
    assert 'Press Look' in panel.viewer.words.value and panel.viewer.image.value == before
    panel.bar.observe(lambda change: panel.cancel.click(), 'value')
    assert 'Cancelled' in press(panel, 'look')
    assert isinstance(panel.chosen()[2], dict) and Look(**panel.chosen()[2]).filling == 'network'


def test_the_whole_is_that_of_its_controls(films, tmp_path):
    panel = taken(films / 'film.mp4', tmp_path)
    panel.viewer.controls['strength'].value = 2.0
    panel.form['layout'].value, panel.form['names'].value = 'half-top-bottom', 'quest'
    said = []
    panel.words.observe(lambda change: said.append(change['new']), 'value')
    assert 'film_3dv.mp4 made in' in press(panel, 'whole')
    path = tmp_path / 'film_3dv.mp4'
    assert probe(path).frames == 75 and sound(path) == sound(films / 'film.mp4')
    assert any('of 75 frames, ' in s and 'a second, ' in s and 'left' in s for s in said)
    other = convert(
        films / 'film.mp4', tmp_path, layout='half-top-bottom', strength=2.0, progress=False
    )
    pixels = [next(frames_of_film(probe(p))).picture for p in (path, other)]
    assert (pixels[0] == pixels[1]).all()
    assert 'download="film_3dv.mp4"' in panel.links.value and not list(tmp_path.glob('.*'))


def test_cancelled_it_goes_on(films, tmp_path):
    panel = taken(films / 'film.mp4', tmp_path)
    panel.form['layout'].value = 'left'
    counts = []

    def cancel(change):
        counts.append(change['new'])
        if change['new'] > 50:
            panel.cancel.click()

    panel.bar.observe(cancel, 'value')
    words = press(panel, 'whole')
    panel.bar.unobserve_all()
    assert 'Cancelled.' in words and '48 of 75 frames are kept' in words
    assert not list(tmp_path.glob('*.mp4')) and not panel.whole.disabled
    counts.clear()
    panel.bar.observe(lambda change: counts.append(change['new']), 'value')
    assert 'film_left.mp4 made in' in press(panel, 'whole')
    assert min(c for c in counts if c) >= 48 and probe(tmp_path / 'film_left.mp4').frames == 75


def test_a_photo_becomes_a_still(films, tmp_path):
    panel = taken(films / 'photo.png', tmp_path, served='films/')
    assert 'photo.png: 80 × 48 pixels' in panel.words.value
    assert 'depth by tiny' in press(panel, 'look') and panel.viewer.player.max == 0
    assert 'photo_LR.png made in' in press(panel, 'whole')
    assert Image.open(tmp_path / 'photo_LR.png').size == (160, 48)
    assert 'href="films/photo_LR.png"' in panel.links.value


def test_what_is_no_film_says_so(films, tmp_path):
    (films / 'text.mp4').write_text('no film\n' * 99)
    panel = FilmPanel(tmp_path)
    assert 'choose a film' in press(panel, 'look') and 'choose a film' in press(panel, 'whole')
    for name in 'text.mp4', 'nowhere.png':
        panel.files['path'].value = str(films / name)
        assert 'role="alert"' in panel.words.value and name in panel.words.value
    assert not list(tmp_path.iterdir())


def upload(panel, name, data):
    "Choose a file, in the form of the ipywidgets at hand."
    if ipywidgets.__version__ < '8':
        files = {name: dict(metadata={}, content=data)}
        panel.files['upload'].set_trait('value', files)
        return
    now = datetime.now(timezone.utc)
    file = dict(name=name, type='video/mp4', size=len(data), content=data, last_modified=now)
    panel.files['upload'].value = (file,)


def test_an_upload_is_taken(films, tmp_path):
    panel = FilmPanel(tmp_path)
    upload(panel, '../../mine.mp4', (films / 'film.mp4').read_bytes())
    assert 'mine.mp4: 96 × 64 pixels' in panel.words.value
    assert panel.film.path.parent.samefile(panel.folder.name)
    upload(panel, 'bad.mp4', b'no film')
    assert '>bad.mp4 ' in panel.words.value and panel.folder.name not in panel.words.value


def test_a_large_file_is_named(films, tmp_path):
    panel = FilmPanel(tmp_path)
    with (tmp_path / 'a&b.mp4').open('wb') as f:
        f.truncate(3_000_000)
    assert panel.link(tmp_path / 'a&b.mp4') == f'{tmp_path}/a&amp;b.mp4 (3 MB)'


def test_words_of_progress():
    words = progress_words(StepInfo('convert', 300, 1500), 200, 25.0)
    assert words == '300 of 1500 frames, 8.0 a second, 02:30 left.'
    assert progress_words(StepInfo('convert', 7, 0), 7, 1.0) == '7 frames, 7.0 a second.'
    assert progress_words(StepInfo('convert', 0, 5), 0, 0.0) == '0 of 5 frames.'


@pytest.mark.parametrize('name', ['..', 'a\0.mp4'])
def test_an_upload_whose_name_is_no_file_s_is_a_sentence(name, tmp_path):
    panel = FilmPanel(tmp_path)
    upload(panel, name, b'no film')
    assert 'cannot be used' in panel.words.value and panel.film is None
