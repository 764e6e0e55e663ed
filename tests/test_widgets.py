"Panels, with ipywidgets 7.7 and 8: every control labelled and alive, nothing in a notebook's file."

import gc
import io
import json
import os
import tempfile
import weakref
from datetime import datetime, timezone

import ipywidgets
import numpy as np
import pytest
from helpers.project import notebooks, root
from PIL import Image
from stateless import has_state, without_state

from scz_nb.apps.app import fill, studio
from scz_nb.apps.drawings import draw_warp, drawing
from scz_nb.apps.film_panel import FilmPanel
from scz_nb.apps.panels import (
    Panel,
    control,
    depth_explorer,
    dismiss,
    latent_explorer,
    repeat_inspector,
    stereo_viewer,
    warp_playground,
)
from scz_nb.apps.recording import Recording
from scz_nb.apps.run_panel import RunPanel, picture_of, uploaded
from scz_nb.core import InputError, OutputError
from scz_nb.media.video import StereoVideo
from scz_nb.sampler import run

flat = np.full((20, 40, 3), 90, np.uint8)


@pytest.fixture(scope='module')
def panels(backbone, recorded):
    "All panels, by name."
    recording, video = recorded
    return dict(
        warp=warp_playground(video.left, video.disparity),
        depth=depth_explorer(video.left, backbone, given=video.disparity),
        latents=latent_explorer(recording),
        repeats=repeat_inspector(recording, video, backbone.decode),
        viewer=stereo_viewer(video),
        run=RunPanel(backbone),
        film=FilmPanel(),
        all=studio(),
    )


names = pytest.mark.parametrize(
    'name', ['warp', 'depth', 'latents', 'repeats', 'viewer', 'run', 'film', 'all']
)
passive = ipywidgets.Box, ipywidgets.Image, ipywidgets.HTML, ipywidgets.IntProgress, ipywidgets.Tab


def inside(w):
    "A widget and all that it holds."
    return [w, *(o for c in getattr(w, 'children', ()) for o in inside(c))]


@names
def test_every_control_has_a_name_and_a_tip(panels, name):
    controls = [w for w in inside(panels[name]) if not isinstance(w, passive)]
    assert len(controls) >= 3
    for w in controls:
        tip = getattr(w, 'tooltip', None) or getattr(w, 'description_tooltip', None)
        assert w.description and tip, w


@names
def test_no_output_is_captured(panels, name):
    assert not any(isinstance(w, ipywidgets.Output) for w in inside(panels[name]))


turns = [
    ('warp', 'scale', 15.0),
    ('warp', 'exponent', 3.0),
    ('warp', 'convergence', 0.5),
    ('warp', 'border', 1.0),
    ('warp', 'frame', 3),
    ('depth', 'estimator', 'given'),
    ('depth', 'strength', 50),
    ('depth', 'scale', 3.0),
    ('latents', 'step', 2),
    ('latents', 'channel', 3),
    ('latents', 'view', 'right'),
    ('latents', 'frame', 3),
    ('repeats', 'step', 'restart 1'),
    ('repeats', 'again', 3),
    ('repeats', 'outlines', False),
    ('viewer', 'kind', 'wiggle'),
    ('viewer', 'swap', True),
    ('viewer', 'frame', 5),
]


@pytest.mark.parametrize('name, key, value', turns)
def test_every_control_changes_the_picture_and_back(panels, name, key, value):
    panel = panels[name]
    before, old = panel.image.value, panel.controls[key].value
    panel.controls[key].value = value
    assert panel.image.value != before and panel.words.value
    panel.controls[key].value = old
    assert panel.image.value == before  # nothing is kept but the controls


def test_a_panel_shows_what_its_function_draws(recorded):
    _, video = recorded
    panel = warp_playground(video.left, video.disparity)
    panel.controls['scale'].value, panel.controls['frame'].value = 5.0, 2
    assert panel.image.value == draw_warp(video.left, video.disparity, scale=5.0, frame=2).data


def test_an_error_is_shown_and_passes():
    def draw(n):
        if n == 3:
            raise InputError('three & a half cannot be drawn.')
        return drawing([flat], f'n is {n}')

    panel = Panel(draw, dict(n=control(ipywidgets.IntSlider, 'n', 'a number', min=0, max=5)))
    panel.controls['n'].value = 3
    assert 'three &amp; a half' in panel.words.value
    panel.controls['n'].value = 4
    assert 'n is 4' in panel.words.value


def test_repeats_of_a_step_set_the_end_of_their_slider(panels, recorded):
    panel, counts = panels['repeats'], recorded[0].guesses()
    for step in ('restart 1', 'refine 3', 'refine 2'):
        panel.controls['step'].value = step
        assert panel.controls['again'].max == panel.player.max == max(len(counts[step]), 2)
    panel.controls['step'].value = 'refine 3'


def test_a_wiggle_plays_at_half_the_pace(panels):
    panel = panels['viewer']
    pace = panel.player.interval
    panel.controls['kind'].value = 'wiggle'
    assert panel.player.interval == 2 * pace
    panel.controls['kind'].value = 'anaglyph, red-cyan'
    assert panel.player.interval == pace


def test_an_empty_recording_cannot_be_explored():
    with pytest.raises(InputError, match='no stereo run'):
        latent_explorer(Recording())


def test_a_clip_of_another_size_cannot_be_explored(backbone):
    with pytest.raises(InputError, match='takes'):
        depth_explorer(np.zeros((8, 50, 64, 3), np.uint8), backbone)


def test_a_tab_says_why_it_is_empty():
    box = ipywidgets.VBox([ipywidgets.HTML('before')])
    fill(box, latent_explorer, Recording())
    assert 'no stereo run' in box.children[0].value


def test_a_new_panel_in_a_tab_closes_the_old(recorded):
    box = ipywidgets.VBox([ipywidgets.HTML('before')])
    fill(box, latent_explorer, recorded[0])
    old = box.children[0]
    fill(box, latent_explorer, recorded[0])
    assert old.comm is None and box.children[0].comm is not None
    dismiss(box)


# running
@pytest.fixture
def panel(backbone):
    "A run panel that is set to a short run."
    p = RunPanel(backbone)
    p.controls['steps'].value, p.controls['right'].value = 2, 'inpaint'
    return p


def press(panel):
    "Make; what the panel says when its thread has ended."
    panel.make.click()
    if panel.thread:
        panel.thread.join(60)
    return panel.words.value


def test_a_run_is_that_of_its_settings(panel, backbone):
    made = []
    panel.done = lambda video, recording: made.append(video)
    panel.controls['seed'].value, panel.controls['prompt'].value = 7, 'a submarine sails left'
    assert 'Made in' in press(panel)
    settings = dict(steps=2, seed=7, scale=12.0, config=dict(right='inpaint'), progress=False)
    with pytest.warns(UserWarning, match='submarine'):
        again = run(panel.picture, 'a submarine sails left', backbone=backbone, **settings)
    assert np.array_equal(made[0].right, again.right)


def test_a_run_passes_warnings_on(panel):
    panel.controls['prompt'].value = 'a submarine sails left'
    assert 'submarine' in press(panel)


def test_after_a_run_another_can_be_made(panel):
    assert 'Made in' in press(panel)
    assert panel.cancel.disabled and not panel.make.disabled
    assert 'Made in' in press(panel)


def test_what_a_run_took_is_said(panel):
    words = press(panel)
    assert '4 network evaluations' in words and '4 steps and repeats are recorded' in words


def test_a_result_can_be_saved(panel):
    press(panel)
    _, links = panel.result.children
    assert links.value.count('href="data:video/mp4;base64,') == 2
    assert 'stereo_LR.mp4' in links.value


def test_the_last_run_is_not_kept(panel):
    made = []
    panel.done = lambda video, recording: made.append(recording)
    press(panel)
    old = [weakref.ref(made.pop()), weakref.ref(panel.result.children[0])]
    press(panel)
    made.clear()
    gc.collect()
    assert [ref() for ref in old] == [None, None]


def test_cancel_ends_within_a_step(panel):
    values = []
    panel.controls['steps'].value = 50

    def cancel(change):
        values.append(change['new'])
        if change['new'] == 2:
            panel.cancel.click()

    panel.bar.observe(cancel, 'value')
    assert 'Cancelled' in press(panel) and values == [1, 2] and not panel.make.disabled


def test_after_cancel_a_run_can_be_made(panel):
    panel.bar.observe(lambda change: panel.cancel.click(), 'value')
    assert 'Cancelled' in press(panel)
    panel.bar.unobserve_all()
    assert 'Made in' in press(panel)


def test_an_error_of_a_run_is_one_sentence(panel):
    panel.picture, panel.controls['prompt'].value = None, ''
    assert 'give a picture, a prompt or both' in press(panel)
    assert 'role="alert"' in panel.words.value and not panel.make.disabled


def test_after_an_error_a_run_can_be_made(panel):
    panel.backbone = 'tinny'
    assert 'tiny' in press(panel)
    panel.backbone, panel.controls['scene'].value = 'tiny', 5
    assert 'Made in' in press(panel)


def test_one_run_at_a_time(panel, backbone):
    other, said = RunPanel(backbone), []

    def press_other(change):
        if not said:
            other.make.click()
            said.append(other.words.value)

    panel.bar.observe(press_other, 'value')
    assert 'Made in' in press(panel)
    assert 'Another run is on' in said[0] and not other.make.disabled


def test_a_disk_too_full_for_links_costs_no_video(panel, tmp_path, monkeypatch):
    def full(*given, **settings):
        raise OutputError('stereo.mp4 could not be written (No space left on device)')

    monkeypatch.setattr(StereoVideo, 'save', full)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    videos = []
    panel.done = lambda video, recording: videos.append(video)
    assert 'Made in' in press(panel)
    said = panel.result.children[1].value
    assert 'No space left' in said and 'is kept in' in said
    (path,) = tmp_path.glob('*/stereo.npz')
    assert np.array_equal(StereoVideo.load(path).right, videos[0].right)


# uploads, as ipywidgets 7 and 8 give them
def png():
    "A picture's file."
    buf = io.BytesIO()
    Image.fromarray(flat).save(buf, 'png')
    return buf.getvalue()


def upload(panel, data):
    "Choose a file, in the form of the ipywidgets at hand."
    if ipywidgets.__version__ < '8':
        files = {'a.png': dict(metadata={}, content=data)}
        panel.controls['upload'].set_trait('value', files)
        return
    now = datetime.now(timezone.utc)
    file = dict(name='a.png', type='image/png', size=len(data), content=data, last_modified=now)
    panel.controls['upload'].value = (file,)


seven = {'a.png': {'metadata': {'name': 'a.png', 'size': 3}, 'content': b'abc'}}
eight = ({'name': 'a.png', 'type': 'image/png', 'size': 3, 'content': memoryview(b'abc')},)


@pytest.mark.parametrize('value', [seven, eight])
def test_uploads_of_both_versions(value):
    assert uploaded(value) == ('a.png', b'abc')


@pytest.mark.parametrize('value', [{}, ()])
def test_nothing_chosen(value):
    assert uploaded(value) is None


def test_a_file_becomes_a_picture():
    assert np.array_equal(picture_of('../../a.png', png()), flat)


names_of_uploads = {
    '': 'the file',
    '..': '..',
    '.': 'the file',
    '/': 'the file',
    'a/b\\c.png': 'c.png',
    'x' * 300: 'x' * 49 + '…',
    'y' * 90 + '.png': 'y' * 49 + '….png',
    '🎞' * 90 + '.JPEG': '🎞' * 49 + '….JPEG',
    'a.' + 'z' * 90: 'a.' + 'z' * 10 + '…',
    '\0': '\0',
    '<b>.png': '<b>.png',
}


@pytest.mark.parametrize('name', names_of_uploads)
def test_any_name_can_be_that_of_an_upload(name):
    shown, data = uploaded(({'name': name, 'content': png()},))
    assert len(os.fsencode(shown)) < 255  # or no file could have the name
    assert shown == names_of_uploads[name] and np.array_equal(picture_of(shown, data), flat)
    with pytest.raises(InputError) as e:
        picture_of(shown, b'no')
    assert str(e.value).startswith(f'{shown} is not a picture') and '\n' not in str(e.value)


def test_a_film_is_no_picture_of_an_upload():
    with pytest.raises(InputError, match=r'^a\.MP4 is a video'):
        picture_of('a.MP4', b'no')


@pytest.mark.parametrize('data', [b'', b'no picture', png()[:60]])
def test_a_file_that_is_no_picture_is_named(data):
    with pytest.raises(InputError, match=r'^holiday\.png '):
        picture_of('holiday.png', data)


def test_an_upload_is_the_first_frame(panel):
    upload(panel, png())
    assert 'is the first frame' in panel.words.value and panel.controls['prompt'].value == ''
    assert np.array_equal(panel.picture, flat)


def test_an_upload_that_is_no_picture_changes_nothing(panel):
    before, prompt = panel.picture, panel.controls['prompt'].value
    upload(panel, b'no')
    assert 'not a picture' in panel.words.value
    assert panel.picture is before and panel.controls['prompt'].value == prompt


# notebooks
@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.stem)
def test_notebooks_hold_no_widgets(path):
    state = has_state(json.loads(path.read_text()))
    assert not state, f'run: python docs/stateless.py {path.relative_to(root)}'


def displayed(name):
    "The cells of a notebook that display a still picture and then a widget: source → outputs."
    cells = json.loads((root / f'nbs/parts/{name}.ipynb').read_text())['cells']
    cells = {''.join(c['source']): c for c in cells if c['cell_type'] == 'code'}
    return {source: c['outputs'] for source, c in cells.items() if 'display(' in source}


explorers = ['warp_playground', 'depth_explorer', 'latent_explorer', 'repeat_inspector']


@pytest.mark.parametrize(
    'name, shown', [('panels', {*explorers, 'stereo_viewer'}), ('run_panel', {'panel'})]
)
def test_every_widget_has_its_still_picture(name, shown):
    found = displayed(name)
    assert {source.strip().splitlines()[-1].partition('(')[0] for source in found} == shown
    for source, outputs in found.items():
        kinds = [kind for o in outputs for kind in o.get('data', {})]
        assert any(kind.startswith('image/') for kind in kinds), source


still = dict(data={'image/jpeg': ''})
view = dict(data={'application/vnd.jupyter.widget-view+json': {}, 'text/plain': 'Panel()'})


def with_widgets():
    "A notebook with a widget's state and a view of it."
    cells = [dict(cell_type='code', outputs=[still, view]), dict(cell_type='markdown')]
    return dict(cells=cells, metadata=dict(widgets={}, kernelspec={}))


def test_state_is_found():
    assert has_state(with_widgets())


def test_state_is_taken_out_and_nothing_else():
    nb = without_state(with_widgets())
    assert not has_state(nb)
    assert nb['cells'][0]['outputs'] == [still] and nb['metadata'] == dict(kernelspec={})
