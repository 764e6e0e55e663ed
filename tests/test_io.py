"Every way in which a picture can be odd or a save can fail."

import errno
import os
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scz_nb.core import InputError, OutputError, atomic_write
from scz_nb.media import io as sio
from scz_nb.media.io import (
    auto_zoom,
    fit_image,
    layout_path,
    layouts,
    read_image,
    read_meta,
    read_video,
)
from scz_nb.media.video import StereoVideo

rng = np.random.default_rng(0)
smooth = np.linspace(0, 255, 20 * 30 * 3).reshape(20, 30, 3).astype(np.uint8)


def clip(t=3, h=18, w=26, **kw):
    "A stereo clip whose views, rows and columns can all be told apart."
    y, x = np.mgrid[:h, :w]
    left = np.stack(
        [np.stack([x * 255 // w, y * 255 // h, 0 * x + 40 * i], -1) for i in range(t)]
    ).astype(np.uint8)
    return StereoVideo(left, left[:, :, ::-1], fps=kw.pop('fps', 8), **kw)


def close(a, b, tol=12):
    return np.abs(a.astype(int) - b).mean() < tol


# pictures
@pytest.mark.parametrize(
    'mode', ['1', 'L', 'P', 'RGB', 'RGBA', 'LA', 'CMYK', 'YCbCr', 'HSV', 'I', 'F', 'I;16']
)
def test_every_mode_of_pillow(mode):
    img = Image.fromarray(smooth)
    if mode == 'F':
        img = Image.fromarray(smooth[..., 0].astype(np.float32) / 255)
    elif mode in ('I', 'I;16'):
        img = Image.fromarray((smooth[..., 0].astype(np.int32 if mode == 'I' else np.uint16) * 257))
    elif mode == 'LA':
        img = img.convert('L').convert('LA')
    else:
        img = img.convert(mode)
    out = read_image(img)
    assert out.shape == (20, 30, 3) and out.dtype == np.uint8 and out.flags.c_contiguous
    if mode in ('F', 'I', 'I;16'):
        assert np.abs(out[..., 0].astype(int) - smooth[..., 0]).max() <= 1


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(orientation, tmp_path):

    upright = np.zeros((40, 64, 3), np.uint8)
    upright[:20, :32] = 255, 0, 0
    upright[20:, 32:] = 0, 0, 255
    stored = Image.fromarray(upright)
    # the transposition that the camera did
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    if back is not None:
        stored = stored.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / 'a.png', exif=exif)
    assert np.array_equal(read_image(tmp_path / 'a.png'), upright)


@pytest.mark.parametrize(
    'make',
    [
        lambda a: a,
        lambda a: a / 255.0,
        lambda a: torch.from_numpy(a),
        lambda a: torch.from_numpy(a / 255.0).bfloat16(),
        lambda a: a.astype(np.uint16) * 257,
        lambda a: a.astype(np.int64),
        lambda a: a.tolist(),
    ],
)
def test_arrays_and_tensors(make):
    assert np.abs(read_image(make(smooth)).astype(int) - smooth).max() <= 1


def test_transparency_lies_on_white(tmp_path):
    a = np.dstack([smooth, np.zeros((20, 30), np.uint8)])
    assert (read_image(a) == 255).all()
    p = Image.new('P', (9, 9))
    p.info['transparency'] = 0
    p.save(tmp_path / 'p.png', transparency=0)
    assert (read_image(tmp_path / 'p.png') == 255).all()


def test_first_frame_of_an_animation(tmp_path):
    clip().save(tmp_path / 'a.gif', layout='left', zoom=1)
    assert read_image(tmp_path / 'a_left.gif').shape == (18, 26, 3)


@pytest.mark.parametrize(
    'bad',
    [
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((7, 90, 3), np.uint8),
        np.full((9, 9, 3), np.nan),
        np.full((9, 9, 3), 255.0),
        np.zeros((3, 9, 9), np.uint8),
        np.zeros((9, 9, 5), np.uint8),
        np.zeros((0, 9, 3), np.uint8),
        np.zeros((2, 9, 9, 3), np.uint8),
        np.full((9, 9), -1),
        np.full((9, 9), 10**6),
        None,
        3,
        object(),
        [[1, 2], [3]],
        '',
        {},
        np.zeros((9, 9, 3), complex),
    ],
)
def test_bad_pictures_are_input_errors(bad):
    with pytest.raises(InputError) as e:
        read_image(bad)
    assert str(e.value).count('\n') == 0


def test_bad_files_are_input_errors(tmp_path):
    ok = tmp_path / 'ok.png'
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(ok)
    Image.open(ok).save(tmp_path / 'ok.jpg')
    (tmp_path / 'empty.png').touch()
    (tmp_path / 'text.png').write_text('no picture')
    (tmp_path / 'film.mp4').write_bytes(b'x' * 99)
    for suffix in ('png', 'jpg'):
        for n in (5, 50, 500, 1500):
            (tmp_path / f'cut{n}.{suffix}').write_bytes(
                (tmp_path / f'ok.{suffix}').read_bytes()[:n]
            )
    bad = [
        tmp_path,
        tmp_path / 'none.png',
        *sorted(tmp_path.glob('cut*')),
        tmp_path / 'empty.png',
        tmp_path / 'text.png',
        tmp_path / 'film.mp4',
    ]
    for p in bad:
        with pytest.raises(InputError, match=p.name):
            read_image(p)
    assert read_image(str(ok)).shape == (64, 64, 3)


def test_bomb_is_refused_from_its_header(tmp_path, monkeypatch):
    Image.new('1', (20_000, 20_000)).save(tmp_path / 'bomb.png')
    with pytest.raises(InputError, match='million'):
        read_image(tmp_path / 'bomb.png')
    Image.new('1', (400, 400)).save(tmp_path / 'small.png')
    monkeypatch.setattr(sio, 'max_pixels', 100_000)
    with pytest.raises(InputError, match='400×400'):
        read_image(tmp_path / 'small.png')


@settings(deadline=None, max_examples=60)
@given(h=st.integers(8, 90), w=st.integers(8, 90), H=st.integers(1, 90), W=st.integers(1, 90))
def test_fit_fills_the_frame(h, w, H, W):
    img = np.full((h, w, 3), 77, np.uint8)
    out = fit_image(img, W, H)
    assert out.shape == (H, W, 3)
    assert (out == 77).all()


def test_fit_takes_the_middle():
    img = np.zeros((20, 60, 3), np.uint8)
    img[:, 20:40] = 255
    assert (fit_image(img, 20, 20)[:, 1:-1] > 250).all()


# layouts
@pytest.mark.parametrize('layout', layouts)
@pytest.mark.parametrize('suffix', ['.mp4', '.webp', '.gif', '.png', '.jpg'])
def test_layouts_and_containers(layout, suffix, tmp_path):
    v = clip(meta=dict(seed=np.int64(4), prompt='a=b;#"\\\n\'ö', scales=np.arange(2)))
    if layout == 'wiggle' and suffix in ('.png', '.jpg'):
        with pytest.raises(InputError):
            v.save(tmp_path / f'a{suffix}', layout=layout)
        return
    f = v.save(tmp_path / f'a{suffix}', layout=layout, zoom=1)
    x, fps = read_video(f)
    shape = {'side-by-side': (18, 52), 'top-bottom': (36, 26)}.get(layout, (18, 26))
    still = suffix in ('.png', '.jpg')
    turns = 2 if layout == 'wiggle' else 1
    assert x.shape == (1 if still else 3 * turns, *shape, 3)
    if not still:
        assert abs(fps - 8 * turns) < 1  # a GIF counts in hundredths of a second
    left, right = v.left[: len(x)], v.right[: len(x)]
    if layout == 'side-by-side':
        assert close(x[:, :, :26], left) and close(x[:, :, 26:], right)
        assert not close(x[:, :, :26], right)
    if layout == 'top-bottom':
        assert close(x[:, :18], left) and close(x[:, 18:], right)
    if layout == 'half-side-by-side':
        assert close(x[:, :, :13], left[:, :, ::2], 16)
        assert close(x[:, :, 13:], right[:, :, ::2], 16)
    if layout == 'left':
        assert close(x, left)
    if layout == 'right':
        assert close(x, right)
    if layout == 'wiggle':
        assert close(x[::2], v.left) and close(x[1::2], v.right)
    meta = read_meta(f)
    assert meta['prompt'] == v.meta['prompt']
    assert meta['scales'] == [0, 1]
    assert meta['file']['layout'] == layout
    assert {o.name for o in tmp_path.iterdir()} == {f.name, f.name + '.json'}


def test_meta_is_inside_the_file(tmp_path):
    for suffix in ('.mp4', '.gif', '.png'):
        f = clip(meta=dict(prompt='a=b;#"\\\n\'ö')).save(tmp_path / f'a{suffix}', zoom=1)
        f.with_name(f.name + '.json').unlink()
        assert read_meta(f)['prompt'] == 'a=b;#"\\\n\'ö'
    Image.new('RGB', (9, 9)).save(tmp_path / 'other.png')
    with pytest.raises(InputError, match='metadata'):
        read_meta(tmp_path / 'other.png')


@pytest.mark.parametrize(
    'name,mark',
    [
        ('a', 'a_LR.mp4'),
        ('a.mp4', 'a_LR.mp4'),
        ('a_LR.mp4', 'a_LR.mp4'),
        ('a_lr.webp', 'a_lr.webp'),
        ('x.y_LR.gif', 'x.y_LR.gif'),
    ],
)
def test_mark_is_appended_once(name, mark):
    assert layout_path(name).name == mark


def test_stream_is_what_players_want(tmp_path):
    import imageio_ffmpeg

    f = clip(h=19, w=27).save(tmp_path / 'a', loops=3)
    cmd = [imageio_ffmpeg.get_ffmpeg_exe(), '-i', str(f)]
    said = subprocess.run(cmd, capture_output=True, text=True).stderr
    for word in ('h264', 'yuv420p', 'bt709', '8 fps'):
        assert word in said
    frames, height, width, _ = read_video(f)[0].shape
    assert frames == 9
    assert height % 2 == width % 4 == 0
    assert height >= 320


def test_packing_is_announced(tmp_path):
    import imageio_ffmpeg

    f = clip().save(tmp_path / 'a')
    show = '-vf showinfo -frames:v 1 -f null -'.split()
    cmd = [imageio_ffmpeg.get_ffmpeg_exe(), '-i', str(f), *show]
    assert 'side by side' in subprocess.run(cmd, capture_output=True, text=True).stderr.lower()


def test_colours_come_back(tmp_path):
    for rgb in ((255, 0, 0), (0, 255, 255), (20, 200, 60)):
        v = np.full((2, 32, 32, 3), rgb, np.uint8)
        x = read_video(StereoVideo(v, v).save(tmp_path / 'a', layout='left', zoom=1))[0]
        assert np.abs(x.astype(int) - v).max() <= 6


@settings(deadline=None)
@given(h=st.integers(1, 3000))
def test_zoom_is_the_smallest(h):
    z = auto_zoom(h)
    assert z * h >= 320 and (z == 1 or (z - 1) * h < 320)


# saving can fail
@pytest.mark.parametrize(
    'kw',
    [
        dict(layout='sbs'),
        dict(zoom=0),
        dict(zoom=1.5),
        dict(loops=0),
        dict(loops=True),
        dict(path='a.avi'),
        dict(path='.'),
    ],
)
def test_bad_save_writes_nothing(kw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        clip().save(**{'path': 'sub/a.mp4', **kw})
    assert not list(tmp_path.iterdir())


def test_parents_are_made_and_files_replaced(tmp_path):
    f = clip().save(tmp_path / 'x/y/a', zoom=1)
    first = f.read_bytes()
    clip(t=5).save(tmp_path / 'x/y/a', zoom=1)
    assert f.read_bytes() != first and len(read_video(f)[0]) == 5


def test_a_file_where_a_folder_is_due(tmp_path):
    (tmp_path / 'f').touch()
    with pytest.raises(OutputError, match='could not be written'):
        clip().save(tmp_path / 'f/a.mp4')


@pytest.mark.parametrize(
    'what', [KeyboardInterrupt, MemoryError, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]
)
@pytest.mark.parametrize('suffix', ['.mp4', '.webp', '.png'])
def test_nothing_is_left_of_a_failed_save(what, suffix, tmp_path, monkeypatch):
    old = clip(t=2).save(tmp_path / f'a{suffix}', zoom=1)
    before = old.read_bytes()
    real = sio.writers[suffix]

    def broken(frames, fps, path, **kw):
        real(frames, fps, path, **kw)
        raise what

    monkeypatch.setitem(sio.writers, suffix, broken)
    with pytest.raises(OutputError if isinstance(what, OSError) else what):
        clip().save(tmp_path / f'a{suffix}', zoom=1)
    assert old.read_bytes() == before and {o.name for o in tmp_path.iterdir()} == {
        old.name,
        old.name + '.json',
    }


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_encoder_errors_are_told(tmp_path):
    with pytest.raises(OutputError):
        sio.write_h264(np.zeros((2, 16, 16, 3), np.uint8), 8, tmp_path / 'no/such/folder/a.mp4')
    with pytest.raises((OutputError, OSError)):
        sio.write_h264(rng.integers(0, 256, (30, 64, 64, 3), np.uint8), 8, '/dev/full')


def test_interrupt_in_the_middle_of_encoding(tmp_path, monkeypatch):
    class Frames(np.ndarray):
        def __iter__(self):
            yield np.asarray(self[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with atomic_write(tmp_path / 'a.mp4') as t:
            sio.write_h264(np.zeros((4, 16, 16, 3), np.uint8).view(Frames), 8, t)
    assert not list(tmp_path.iterdir())


# videos
def test_bad_videos_are_input_errors(tmp_path):
    f = clip().save(tmp_path / 'ok', zoom=1)
    (tmp_path / 'empty.mp4').touch()
    (tmp_path / 'text.mp4').write_text('x')
    (tmp_path / 'text.gif').write_text('x')
    (tmp_path / 'cut.mp4').write_bytes(f.read_bytes()[:300])
    for p in (
        tmp_path,
        tmp_path / 'none.mp4',
        tmp_path / 'empty.mp4',
        tmp_path / 'text.mp4',
        tmp_path / 'text.gif',
        tmp_path / 'cut.mp4',
    ):
        with pytest.raises(InputError, match=p.name):
            read_video(p)


@pytest.mark.parametrize('fps', [0.5, 7.5, 24, 29.97, 60])
def test_rate_is_kept(fps, tmp_path):
    assert abs(read_video(clip(fps=fps).save(tmp_path / 'a', zoom=1))[1] - fps) < 0.01


def test_a_turned_and_a_broad_film_are_read_upright_and_square(tmp_path):
    from helpers.films import X264, ffmpeg, picture

    ffmpeg(tmp_path, *picture(), *X264, 'plain.mp4')
    ffmpeg(tmp_path, '-display_rotation', 90, '-i', 'plain.mp4', '-c', 'copy', 'turned.mp4')
    ffmpeg(tmp_path, '-i', 'plain.mp4', '-vf', 'setsar=4/3', *X264, 'broad.mp4')
    plain, fps = read_video(tmp_path / 'plain.mp4')
    assert plain.shape == (10, 64, 96, 3) and fps == 10
    assert (read_video(tmp_path / 'turned.mp4')[0] == np.rot90(plain, 1, (1, 2))).all()
    assert read_video(tmp_path / 'broad.mp4')[0].shape == (10, 64, 128, 3)
