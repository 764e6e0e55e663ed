"Whole conversions: size, sound, time, resuming, layouts, stills, and twenty odd films."

import json
import struct
import warnings

import numpy as np
import pytest
from helpers.films import TONE, X264, ffmpeg, find, frame_times, picture, sound, tree
from helpers.odd_films import all_rows, table
from helpers.project import root
from PIL import Image

from scz_nb.core import InputError, SczError
from scz_nb.films.convert import Form, convert, film_layouts
from scz_nb.films.depth import DepthStream, Source
from scz_nb.films.pairs import (
    Look,
    StereoMaker,
    edge_jump,
    make_painter,
    make_pair,
    stereo_frames,
)
from scz_nb.films.still import convert_still
from scz_nb.geometry.native import move_view, sharp_disparity
from scz_nb.media.film import Frame, frames_of_film, probe


def slope(small):
    "Low is near."
    h = np.linspace(0, 1, small.shape[1], dtype=np.float32)[:, None]
    return np.broadcast_to(h, small.shape[:3])


def disc(small):
    "A disc in front of a wall."
    _, h, w, _ = small.shape
    y, x = np.indices((h, w))
    inside = (x - w / 2) ** 2 + (y - h / 2) ** 2 < (h / 4) ** 2
    return np.broadcast_to(inside.astype(np.float32), small.shape[:3])


def pixels(path):
    return np.stack([f.picture for f in frames_of_film(probe(path))])


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films')
    about = '-metadata title=Test -metadata creation_time=2020-01-02T03:04:05Z'.split()
    ffmpeg(folder, *picture(seconds=8), '-f', 'lavfi', '-i', 'sine=d=8', *X264, *about, 'film.mp4')
    return folder


quick = dict(depth=slope, progress=False)


@pytest.fixture(scope='module')
def made(films):
    return convert(films / 'film.mp4', films / 'out', disc, crf=0, progress=False)


def test_the_left_view_is_the_film(films, made):
    old, new = pixels(films / 'film.mp4'), pixels(made)
    assert new.shape == (80, 64, 192, 3)
    error = np.abs(new[:, :, :96].astype(int) - old)
    assert error.mean() < 5  # the colours of four pixels are one in the file
    pairs = list(stereo_frames(films / 'film.mp4', disc))
    assert all((p.left == x).all() for p, x in zip(pairs, old))


def test_the_right_view_is_moved(films, made):
    new = pixels(made)
    left, right = new[:, :, :96].astype(int), new[:, :, 96:].astype(int)
    assert np.abs(left - right)[:, 16:48, 32:64].mean() < 4  # the disc lies on the screen
    k = round(0.03 * 96)
    wall = np.abs(left[:, :12, : -2 * k] - right[:, :12, k:-k]).mean()
    assert wall < 6 < np.abs(left - right)[:, :12].mean()


def test_nothing_is_lost(films, made):
    old, new = probe(films / 'film.mp4'), probe(made)
    assert new.frames == old.frames == 80 and new.duration == old.duration
    assert sound(made) == sound(films / 'film.mp4')
    assert np.allclose(frame_times(made), frame_times(films / 'film.mp4'))
    for name in ('title', 'creation_time'):
        assert new.metadata[name] == old.metadata[name]
    about = json.loads(made.with_name(made.name + '.json').read_text())
    assert about['frames'] == 80 and about['look']['strength'] == '3%'
    assert not list(made.parent.glob('.*'))


class Tired:
    "A depth that is interrupted at one of its calls."

    def __init__(self, calls, error=KeyboardInterrupt):
        self.left, self.error = calls, error

    def __call__(self, small):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return disc(small)


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit, MemoryError])
def test_interrupted_and_resumed_it_is_the_same(films, made, tmp_path, error):
    with pytest.warns(UserWarning, match='48 of 80 frames are kept .*resume'):
        with pytest.raises(error):
            convert(films / 'film.mp4', tmp_path, Tired(5, error), crf=0, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ['.film_LR.mp4.pieces']
    rest = Tired(4)
    path = convert(films / 'film.mp4', tmp_path, rest, crf=0, resume=True, progress=False)
    assert rest.left >= 0 and not list(tmp_path.glob('.*'))
    assert (pixels(path) == pixels(made)).all()
    assert sound(path) == sound(made) and frame_times(path) == frame_times(made)


def test_other_choices_do_not_go_on_with_these_pieces(films, tmp_path):
    with pytest.warns(UserWarning, match='are kept'), pytest.raises(KeyboardInterrupt):
        convert(films / 'film.mp4', tmp_path, Tired(5), progress=False)
    one = convert(films / 'film.mp4', tmp_path, disc, progress=False)
    two = convert(films / 'film.mp4', tmp_path, disc, strength=1, resume=True, progress=False)
    assert [one.name, two.name] == ['film-2_LR.mp4', 'film-3_LR.mp4']
    assert (tmp_path / '.film_LR.mp4.pieces').is_dir()


def test_a_failure_before_the_first_piece_leaves_nothing(films, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        convert(films / 'film.mp4', tmp_path, Tired(1), progress=False)
    assert not list(tmp_path.iterdir())


def test_no_file_is_replaced(films, tmp_path):
    names = [convert(films / 'one.mp4', tmp_path, **quick).name for _ in range(3)]
    assert names == ['one_LR.mp4', 'one-2_LR.mp4', 'one-3_LR.mp4']


@pytest.fixture(scope='module', autouse=True)
def one(films):
    ffmpeg(films, '-i', 'film.mp4', '-frames:v', 3, '-an', *X264, 'one.mp4')


SIZES = dict.fromkeys(('anaglyph', 'anaglyph-grey', 'anaglyph-dubois', 'left', 'right'), (96, 64))
SIZES |= {'side-by-side': (192, 64), 'top-bottom': (96, 128)}
SIZES |= {'half-side-by-side': (96, 64), 'half-top-bottom': (96, 64)}


@pytest.mark.parametrize('layout', film_layouts)
def test_layouts(films, tmp_path, layout):
    path = convert(films / 'one.mp4', tmp_path, **quick, layout=layout)
    film = probe(path)
    assert (film.width, film.height) == SIZES[layout] and film.frames == 3


@pytest.mark.parametrize(
    'names, layout, end',
    [
        ('generic', 'side-by-side', '_LR.mp4'),
        ('quest', 'side-by-side', '_LRF_Full_SBS.mp4'),
        ('quest', 'half-side-by-side', '_3dh.mp4'),
        ('quest', 'half-top-bottom', '_3dv.mp4'),
        ('quest', 'anaglyph', '_anaglyph.mp4'),
        ('youtube', 'top-bottom', '_TB.mp4'),
    ],
)
def test_names_by_player(names, layout, end):
    assert Form(layout, names).path('out', 'clip', '.mp4').name == f'clip{end}'


def stereo(path):
    "Packing, hero eye and field of view, read from the boxes."
    entry = find(tree(path.read_bytes()), *'moov trak mdia minf stbl stsd avc1'.split())
    if 'vexu' not in [name for name, _ in entry]:
        return None
    eye = find(entry, 'vexu', 'eyes', 'hero')[-1]
    return find(entry, 'st3d')[-1], eye, int.from_bytes(find(entry, 'hfov'), 'big') / 1000


@pytest.mark.parametrize(
    'choices, told',
    [
        (dict(layout='side-by-side'), (2, 1, 40.0)),
        (dict(layout='top-bottom', container='.mov', view=60), (1, 1, 60.0)),
        (dict(layout='side-by-side', shared=True), (2, 0, 40.0)),
        (dict(layout='side-by-side', boxes=False), None),
        (dict(layout='anaglyph'), None),
    ],
)
def test_boxes(films, tmp_path, choices, told):
    assert stereo(convert(films / 'one.mp4', tmp_path, **quick, **choices)) == told


def test_matroska_keeps_the_layout(films, tmp_path):
    import av

    path = convert(films / 'one.mp4', tmp_path, **quick, container='.mkv', layout='top-bottom')
    with av.open(str(path)) as c:
        assert c.streams.video[0].metadata['stereo_mode'] == 'top_bottom'


ODD = {  # film: words for ffmpeg; what the pictures of one view are: width, height, frames
    'turned.mp4': (['-display_rotation', 90, '-i', 'one.mp4', '-c', 'copy'], (64, 96, 3)),
    'broad.mp4': (['-i', 'one.mp4', '-vf', 'setsar=4/3', *X264], (96, 64, 3)),
    'fields.mp4': (
        [*picture(rate=20), '-vf', 'tinterlace=interleave_top,setfield=tff', *X264]
        + '-flags +ildct+ilme'.split(),
        (96, 64, 10),
    ),
    'uneven.mp4': (
        ['-i', 'one.mp4', '-vf', "setpts='N*N/10/TB'", '-fps_mode', 'passthrough', *X264],
        (96, 64, 2),  # the last one lasts no time
    ),
    'ten.mp4': (
        [*picture(rate=3), '-c:v', 'libx265', '-x265-params', 'log-level=none']
        + '-pix_fmt yuv420p10le'.split(),
        (96, 64, 3),
    ),
    'hdr.mp4': (
        [*picture(rate=3), '-vf', 'format=yuv420p10le,setparams=color_trc=smpte2084']
        + '-c:v libx264'.split(),
        (96, 64, 3),
    ),
    'odd.mp4': (
        [*picture(rate=3), '-vf', 'scale=97:63,format=yuv444p', '-c:v', 'libx264'],
        (97, 63, 3),
    ),
    'single.mp4': (['-i', 'one.mp4', '-frames:v', 1, *X264], (96, 64, 1)),
    'three.mp4': (['-i', 'one.mp4', '-c', 'copy'], (96, 64, 3)),
    'clear.mov': (
        [*picture(rate=3), '-pix_fmt', 'yuva444p10le', '-c:v', 'prores_ks'],
        (96, 64, 3),
    ),
    'moving.gif': (picture(rate=5), (96, 64, 5)),
    'full.mp4': ([*picture(rate=3), '-c:v', 'libx264', '-pix_fmt', 'yuv444p'], (96, 64, 3)),
    'gray.mp4': ([*picture(rate=3), '-c:v', 'libx264', '-pix_fmt', 'gray'], (96, 64, 3)),
    'tiny.mp4': ([*picture('16x16', rate=3), *X264], (16, 16, 3)),
    'late.ts': (['-i', 'one.mp4', '-c', 'copy'], (96, 64, 3)),
    'old.avi': ([*picture(rate=3), '-c:v', 'mpeg4'], (96, 64, 3)),
    'web.webm': ([*picture(rate=3), *TONE, '-c:v', 'libvpx', '-c:a', 'libvorbis'], (96, 64, 3)),
}


@pytest.mark.parametrize('name', ODD)
def test_odd_films_come_out_whole(films, tmp_path, name):
    words, (width, height, frames) = ODD[name]
    ffmpeg(films, *words, name)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', '.*hdr.mp4 is HDR')
        path = convert(films / name, tmp_path, **quick)
    old, new = probe(films / name), probe(path)
    assert (new.width, new.height) == (2 * width, height + height % 2)
    assert new.aspect == old.aspect and not new.rotation and not new.interlaced
    shown = pixels(path)
    assert len(shown) == frames and not new.is_hdr and new.bits == 8
    times = lambda p: np.diff([t for t, _ in frame_times(p)])
    if name not in ('late.ts', 'moving.gif', 'web.webm'):  # whose times ffmpeg rounds itself
        assert np.allclose(times(path), times(films / name)[: frames - 1], atol=1e-3)
    first = next(frames_of_film(old)).picture
    assert np.abs(shown[0, :height, :width].astype(int) - first).mean() < 15


@pytest.mark.slow
def test_the_table_of_odd_films_is_what_happens():
    assert table(all_rows()) == (root / 'nbs/tables/odd_films.md').read_text()


def test_hdr_can_be_kept(films, tmp_path):
    words, _ = ODD['hdr.mp4']
    ffmpeg(films, *words, 'hdr.mp4')
    with pytest.warns(UserWarning, match='hdr.mp4 is HDR .PQ., and becomes .*keep-hdr'):
        convert(films / 'hdr.mp4', tmp_path, **quick)
    path = convert(films / 'hdr.mp4', tmp_path, **quick, keep_hdr=True)
    new = probe(path)
    assert (new.transfer, new.bits, new.matrix) == ('PQ', 10, 'bt2020')
    old = [next(frames_of_film(probe(p), deep=True)).picture for p in (films / 'hdr.mp4', path)]
    assert np.abs(old[0] // 257 - (old[1][:, :96] // 257).astype(int)).mean() < 6
    with pytest.raises(InputError, match='to keep HDR'):
        convert(films / 'hdr.mp4', tmp_path, **quick, keep_hdr=True, layout='anaglyph')


def test_what_has_no_room_in_mp4_becomes_matroska(films, tmp_path):
    (films / 's.srt').write_text('1\n00:00:00,100 --> 00:00:00,200\nA line\n')
    ffmpeg(films, '-i', 'one.mp4', '-i', 's.srt', '-c', 'copy', 'titled.mkv')
    with pytest.warns(UserWarning, match='subrip have no room in MP4'):
        path = convert(films / 'titled.mkv', tmp_path, **quick)
    assert path.suffix == '.mkv' and probe(path).others == ('subtitle',)
    with pytest.raises(InputError, match='no room'):
        convert(films / 'titled.mkv', tmp_path, **quick, container='.mp4')


def test_a_cut_film_is_converted_with_a_word(films, tmp_path):
    ffmpeg(films, '-i', 'film.mp4', '-c', 'copy', '-movflags', 'faststart', 'first.mp4')
    data = (films / 'first.mp4').read_bytes()
    (films / 'cut.mp4').write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=r'cut off: \d+ of 80 frames'):
        path = convert(films / 'cut.mp4', tmp_path, **quick)
    assert 10 < probe(path).frames < 70


@pytest.mark.parametrize('name', ['sound.m4a', 'text.mp4', 'empty.mp4', 'nowhere.mp4', '.'])
def test_what_is_no_film_says_so_and_leaves_nothing(films, tmp_path, name):
    ffmpeg(films, *TONE, 'sound.m4a')
    (films / 'text.mp4').write_text('no film\n' * 99)
    (films / 'empty.mp4').touch()
    with pytest.raises(InputError) as e:
        convert(films / name, tmp_path / 'out', **quick)
    assert '\n' not in str(e.value) and not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'choice, said',
    [
        (dict(strength='much'), 'strength'),
        (dict(plane='front'), 'plane'),
        (dict(fill='magic'), 'unknown filling'),
        (dict(layout='wiggle'), 'unknown layout'),
        (dict(names='tv'), 'unknown kind of names'),
        (dict(container='.avi'), 'unknown container'),
        (dict(crf=99), 'crf'),
        (dict(soft=-1), 'soft'),
        (dict(colour=3), "unknown setting 'colour'"),
        (dict(layout='mv-hevc'), 'MV-HEVC needs'),
    ],
)
def test_bad_choices_are_a_sentence(films, tmp_path, choice, said):
    with pytest.raises(SczError, match=said):
        convert(films / 'one.mp4', tmp_path, **quick, **choice)
    assert not list(tmp_path.iterdir())


# looks
def pair_of(pictures, depth, **look):
    (pair,) = stereo_frames(pictures, depth, **look)
    return pair


@pytest.fixture(scope='module')
def photo():
    x = np.random.default_rng(0).integers(0, 256, (15, 25, 3), dtype=np.uint8)
    return np.repeat(np.repeat(x, 8, 0), 8, 1)


def test_no_strength_is_no_stereo(photo):
    pair = pair_of([photo], disc, strength=0)
    assert (pair.left == photo).all() and (pair.right == photo).all()


def test_the_plane_lies_on_the_screen(photo):
    still = pair_of([photo], disc, strength='4%', plane=1, soft=0)
    assert (still.right[40:80, 90:110] == photo[40:80, 90:110]).all()
    moved = pair_of([photo], disc, strength='4%', plane=0, soft=0)
    assert (moved.right[40:80, 82:102] == photo[40:80, 90:110]).all()
    assert (moved.right[:10, :] == photo[:10, :]).all()


def test_both_eyes_share(photo):
    pair = pair_of([photo], disc, strength='4%', plane=0, shared=True, soft=0)
    assert (pair.right[40:80, 86:106] == photo[40:80, 90:110]).all()
    assert (pair.left[40:80, 94:114] == photo[40:80, 90:110]).all()


def test_a_floating_window(photo):
    near_border = lambda small: np.broadcast_to(
        (np.arange(small.shape[2]) < 20).astype(np.float32), small.shape[:3]
    )
    pair = pair_of([photo], near_border, strength='4%', plane=0.5, window=True)
    assert not pair.left[:, :4].any() and pair.left[:, 5:].any(-1).mean() > 0.9
    assert pair.right[:, -1].any()


def test_the_plane_follows_slowly_and_jumps_at_cuts():
    from scz_nb.films.pairs import StereoMaker

    maker = StereoMaker(Look())
    first = maker._follow('plane', 0.2, 4, True)
    second = maker._follow('plane', 0.8, 4, False)
    third = maker._follow('plane', 0.8, 4, True)
    assert first.tolist() == [0.2] * 4 and third.tolist() == [0.8] * 4
    assert (np.diff(np.r_[first, second]) >= 0).all() and second[-1] == pytest.approx(0.35)


@pytest.mark.parametrize('fill', ['background', 'telea', 'ns'])
def test_fillings_leave_no_holes(photo, fill):
    pair = pair_of([photo // 2 + 100], disc, strength='8%', fill=fill)
    assert pair.right.min() > 40


# the model
@pytest.fixture(scope='module')
def painted(photo):
    "Twenty frames that the embedded model paints, with few steps."
    pictures = [photo // 2 + 60] * 20
    return list(
        stereo_frames(pictures, disc, fill='network', strength='8%', settings=dict(steps=3))
    )


def test_the_model_paints_holes_only(photo, painted):
    plain = pair_of([photo // 2 + 60], disc, strength='8%', soft=0, fill='telea')
    soft = [(p.right != plain.right).any(-1) for p in painted]
    assert 0.01 < soft[5].mean() < 0.25
    assert all((p.left == photo // 2 + 60).all() for p in painted)


def test_painted_holes_do_not_pulse(painted):
    "Mean colour of the holes: no step at a window's border beyond those elsewhere."
    x = np.stack([p.right for p in painted]).astype(float)
    mean = x[:, 30:90, 110:140].mean((1, 2, 3))
    change = np.abs(np.diff(mean))
    assert change.max() < 2


def test_colours_fit_the_rim():
    from scz_nb.films.paint import paint_holes
    from scz_nb.geometry.native import Moved

    visible = np.ones((60, 80), bool)
    visible[20:40, 30:40] = False
    view = np.full((60, 80, 3), 200, np.uint8) * visible[..., None].astype(np.uint8)
    made = paint_holes(Moved(view, visible, np.zeros((60, 80))), np.full((60, 80, 3), 120.0))
    assert np.abs(made.astype(int) - 200).max() <= 1


def test_the_model_paints_both_eyes_alike():
    from scz_nb.films.paint import Painter

    painter = Painter(settings=dict(steps=2))
    x = np.random.default_rng(0).integers(0, 256, (3, 40, 64, 3), dtype=np.uint8)
    d = np.random.default_rng(1).uniform(0, 1, (3, 40, 64)).astype(np.float32)
    right = painter.both(list(x), d, 3, 6.0, False, True)
    mirror = painter.both(list(x[:, :, ::-1]), d[:, :, ::-1], 3, 12.0, True, True)
    assert right[0][0] is None
    for (_, r), (left, _) in zip(right, mirror):
        np.testing.assert_array_equal(left[:, ::-1], r)


# stills
def test_stills(films, tmp_path, photo):
    Image.fromarray(photo).save(films / 'photo.png')
    still = lambda **k: convert_still(films / 'photo.png', tmp_path, disc, **k)
    (side,) = still()
    assert Image.open(side).size == (400, 120) and side.suffix == '.png'
    assert (np.asarray(Image.open(side))[:, :200] == photo).all()
    left, right = still(layout='pair')
    assert (np.asarray(Image.open(left)) == photo).all()
    assert (left.name, right.name) == ('photo_left.png', 'photo_right.png')
    assert [p.name for p in still(layout='pair')] == ['photo-2_left.png', 'photo-2_right.png']
    with pytest.raises(InputError, match='layout'):
        still(layout='cube')


def test_a_jps_says_that_the_right_view_is_first(films, tmp_path, photo):
    import av

    Image.fromarray(photo).save(films / 'photo.png')
    (jps,) = convert_still(films / 'photo.png', tmp_path, disc, layout='jps')
    with av.open(str(jps), format='jpeg_pipe') as c:
        side = {s.type.name: bytes(s) for s in next(c.decode(video=0)).side_data}
    kind, flags = struct.unpack('2i', side['STEREO3D'][:8])
    assert kind == 1 and flags & 1  # side by side, inverted
    views = np.asarray(Image.open(jps)).astype(int)
    assert np.abs(views[:, 200:] - photo).mean() < 12


def test_an_mpo_has_two_pictures(films, tmp_path, photo):
    Image.fromarray(photo).save(films / 'photo.png')
    (mpo,) = convert_still(films / 'photo.png', tmp_path, disc, layout='mpo', strength='4%')
    with Image.open(mpo) as file:
        assert file.format == 'MPO' and file.n_frames == 2
        views = []
        for i in range(2):
            file.seek(i)
            views.append(np.asarray(file.convert('RGB')).astype(int))
    assert np.abs(views[0] - photo).mean() < 12 < np.abs(views[1] - photo).mean()


def test_memory_does_not_grow_with_length(films, tmp_path):
    "A film three times as long takes no more: the peak of a process of its own, in megabytes."
    import subprocess
    import sys

    code = (
        'import resource, sys, numpy as np\n'
        'from scz_nb.films.convert import convert\n'
        'near = lambda s: np.broadcast_to(np.linspace(0, 1, s.shape[2]), s.shape[:3])\n'
        'convert(sys.argv[1], sys.argv[2], near, progress=False, preset="ultrafast")\n'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n'
    )
    peaks = []
    for seconds in (2, 6):
        name = f'length{seconds}.mp4'
        ffmpeg(films, *picture('480x270', 25, seconds), *X264, name)
        words = [sys.executable, '-c', code, films / name, tmp_path]
        out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        peaks.append(int(out))
    more = 100 * 3 * 480 * 270 * 3 / 1e6  # pictures and pairs, if they were kept
    assert peaks[1] - peaks[0] < more / 3, peaks


# nothing pulses where windows meet
def sliding(n):
    "A wall that slides by two pixels a frame behind a disc that swings."
    import cv2

    noise = np.random.default_rng(0).integers(0, 255, (96, 144 + 2 * n, 3), dtype=np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 1.5).astype(float)
    wall = (3 * (soft - soft.mean()) + 128).clip(0, 255).astype(np.uint8)
    y, x = np.indices((96, 144))
    for t in range(n):
        frame = wall[:, 2 * t : 2 * t + 144].copy()
        frame[(x - 72 - 15 * np.sin(t / 9)) ** 2 + (y - 48) ** 2 < 26**2] = 40, 90, 200
        yield frame


class Moody:
    "A depth that finds a new scale and a new zero for each window, as networks do."

    def __init__(self):
        self.rng = np.random.default_rng(1)

    def __call__(self, small, frames):
        red = np.abs(small.astype(int) - (40, 90, 200)).sum(-1) < 60
        near = 0.7 * red + 0.2 * np.linspace(0, 1, small.shape[1])[:, None]
        return self.rng.uniform(0.5, 2) * near + self.rng.uniform(-1, 1)


def steps_of(look, n):  # inside or outside → (n - 1, 2): steps of mean colour and of sharpness
    "How much a right view changes from frame to frame in its holes and elsewhere."
    import cv2

    frames = [Frame(x, t, 1) for t, x in enumerate(sliding(n))]
    source = Source('moody', Moody())
    maker = StereoMaker(look, make_painter(look, settings=dict(steps=2)))
    found = {True: [], False: []}
    for window in DepthStream(source).windows(frames):
        for plan in maker.plans(window):
            right = make_pair(plan, look).right.astype(np.float32).mean(-1)
            near = sharp_disparity(plan.disparity, right.shape, edge_jump(6))
            shift = (plan.plane - near) * 0.06 * right.shape[1]
            holes = ~move_view(plan.frame.picture, shift).visible
            sharp = np.abs(cv2.Laplacian(right, cv2.CV_32F))
            for where, mask in ((True, holes), (False, ~holes)):
                found[where].append((right[mask].mean(), sharp[mask].mean()))
    return {where: np.abs(np.diff(x, axis=0)) for where, x in found.items()}


@pytest.mark.parametrize('fill', ['background', 'ns', 'network'])
def test_nothing_pulses_where_windows_meet(fill):
    n = 40
    borders = np.arange(11, n - 1, 12)  # windows of 16 frames that share 4
    steps = steps_of(Look(strength='6%', plane=0, fill=fill, soft=0), n)
    for where, change in steps.items():
        there, elsewhere = change[borders], np.delete(change, borders, 0)
        assert (there.max(0) <= 1.05 * elsewhere.max(0)).all(), where
        assert (there.mean(0) <= 1.5 * elsewhere.mean(0)).all(), where
