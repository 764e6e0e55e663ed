"Depth of one's own: arrays, pictures, videos and EXR files."

import subprocess
import sys

import numpy as np
import pytest
from helpers.project import root
from PIL import Image

from scz_nb.core import InputError, SczError
from scz_nb.depth.estimators import estimate_depth, load_depth
from scz_nb.depth.files import read_depth
from scz_nb.depth.maps import best_line
from scz_nb.geometry.disparity import normalise

ramp = np.linspace(0.1, 1, 3 * 6 * 8, dtype=np.float32).reshape(3, 6, 8)


def as_bytes(x):
    return np.rint(x * 255).astype(np.uint8)


def write(kind, path):
    "The ramp in files of one kind; what to read."
    if kind == 'npy':
        np.save(path / 'd.npy', ramp)
        return path / 'd.npy'
    if kind == 'npz':
        np.savez(path / 'd.npz', depth=ramp)
        return path / 'd.npz'
    pictures = {
        '8 bit': lambda f: as_bytes(f),
        '16 bit': lambda f: np.rint(f * 65535).astype(np.uint16),
        'float': lambda f: f,
        'colour': lambda f: as_bytes(f)[..., None].repeat(3, -1),
    }
    suffix = 'tiff' if kind == 'float' else 'png'
    for i, f in enumerate(ramp):
        Image.fromarray(pictures[kind](f)).save(path / f'{i}.{suffix}')
    return path


@pytest.mark.parametrize(
    'kind, tol',
    [('npy', 0), ('npz', 0), ('8 bit', 3e-3), ('16 bit', 2e-5), ('float', 1e-7), ('colour', 3e-3)],
)
def test_own_depth(kind, tol, tmp_path):
    depth = load_depth(write(kind, tmp_path))
    got = depth(np.zeros((3, 6, 8, 3), np.uint8))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, normalise(ramp, 1, 99).numpy(), rtol=0, atol=2 * tol)


def test_own_depth_is_brought_to_the_size_of_the_video(tmp_path):
    depth = load_depth(write('8 bit', tmp_path))
    assert depth(np.zeros((3, 12, 16, 3), np.uint8)).shape == (3, 12, 16)


def test_own_depth_has_a_map_for_each_frame(tmp_path):
    with pytest.raises(InputError, match='4, height'):
        load_depth(write('npy', tmp_path))(np.zeros((4, 6, 8, 3), np.uint8))


def test_own_depth_may_be_in_metres(tmp_path):
    depth = load_depth(write('npy', tmp_path), output='metric')(np.zeros((3, 6, 8, 3), np.uint8))
    assert depth[0, 0, 0] > 0.9 and depth[-1, -1, -1] < 0.1


def test_own_depth_as_a_video(tmp_path):
    import imageio_ffmpeg
    import mediapy

    mediapy.set_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe())
    levels = np.linspace(20, 230, 4).astype(np.uint8)[:, None, None, None]
    grey = levels + np.zeros((4, 32, 48, 3), np.uint8)
    mediapy.write_video(str(tmp_path / 'd.mp4'), grey, fps=8)
    d = load_depth(tmp_path / 'd.mp4')(np.zeros((4, 16, 24, 3), np.uint8))
    assert d.shape == (4, 16, 24) and np.all(np.diff(d.mean((1, 2))) > 0.2)


@pytest.mark.parametrize(
    'name, codec, levels',
    [('a.mkv', ['ffv1'], 2), ('a.mp4', ['libx264', '-crf', '0'], 400)],
)
def test_sixteen_bits_of_a_video_are_kept(name, codec, levels, tmp_path):
    import imageio_ffmpeg

    deep = np.rint(np.linspace(1000, 60000, 3 * 32 * 48)).astype(np.uint16).reshape(3, 32, 48)
    raw = '-loglevel error -f rawvideo -pix_fmt gray16le -s 48x32 -i - -c:v'.split()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *raw, *codec, str(tmp_path / name)]
    subprocess.run(command, input=deep.tobytes(), check=True)
    got = read_depth(tmp_path / name)
    assert got.shape == deep.shape
    assert np.abs(best_line(got, deep.astype(float)) - deep).max() < levels


def test_grey_with_alpha_is_its_grey(tmp_path):
    la = np.stack([as_bytes(ramp[0]), np.full((6, 8), 255, np.uint8)], -1)
    Image.fromarray(la, 'LA').save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_depth(tmp_path / 'a.png')[0], la[..., 0])


# what cannot be read
def no_pictures(p):
    return p


def broken_picture(p):
    (p / 'a.png').write_bytes(b'no')
    return p


def broken_array(p):
    (p / 'a.npy').write_bytes(b'no')
    return p / 'a.npy'


def two_arrays(p):
    np.savez(p / 'a.npz', x=ramp, y=ramp)
    return p / 'a.npz'


def cut_off(p):
    p.write_bytes(p.read_bytes()[:200])
    return p


def cut_off_npz(p):
    np.savez(p / 'b.npz', ramp)
    return cut_off(p / 'b.npz')


def cut_off_npy(p):
    np.save(p / 'b.npy', ramp)
    return cut_off(p / 'b.npy')


def one_bit_wrong(p):
    np.savez(p / 'c.npz', x=ramp)
    b = bytearray((p / 'c.npz').read_bytes())
    b[400] ^= 1
    (p / 'c.npz').write_bytes(b)
    return p / 'c.npz'


def an_object(p):
    np.savez(p / 'o.npz', x=np.array([{}]))
    return p / 'o.npz'


def broken_video(p):
    (p / 'a.mp4').write_bytes(b'no film')
    return p / 'a.mp4'


def colours(p):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)).save(
        p / 'r.png'
    )
    return p / 'r.png'


def broken_exr(p):
    (p / 'a.exr').write_bytes(b'no')
    return p / 'a.exr'


def two_sizes(p):
    for i in range(2):
        Image.new('L', (4 + i, 4)).save(p / f'{i}.png')
    return p


def nothing(p):
    return p / 'gone.npy'


@pytest.mark.parametrize(
    'make, words',
    [
        (no_pictures, 'neither pictures'),
        (broken_picture, 'cannot be read'),
        (broken_array, 'cannot be read'),
        (two_arrays, 'x, y'),
        (cut_off_npz, 'cannot be read'),
        (cut_off_npy, 'cannot be read'),
        (one_bit_wrong, 'cannot be read'),
        (an_object, 'cannot be read'),
        (broken_video, 'cannot be decoded'),
        (colours, 'coloured'),
        (broken_exr, 'a.exr'),
        (two_sizes, 'different sizes'),
        (nothing, 'not there'),
    ],
)
def test_bad_files_are_named(make, words, tmp_path):
    with pytest.raises(SczError, match=words):
        read_depth(make(tmp_path))


# EXR
metres = ramp[1] * 40


@pytest.fixture
def exr(tmp_path):
    "Function that writes channels to an EXR file."
    OpenEXR = pytest.importorskip('OpenEXR')

    def write(**channels):
        header = dict(compression=OpenEXR.ZIP_COMPRESSION, type=OpenEXR.scanlineimage)
        channels = {k: np.ascontiguousarray(v) for k, v in channels.items()}
        with OpenEXR.File(header, channels) as f:
            f.write(str(tmp_path / 'a.exr'))
        return tmp_path / 'a.exr'

    return write


def test_exr_of_one_channel(exr):
    np.testing.assert_array_equal(read_depth(exr(Z=metres))[0], metres)


def test_exr_in_half_precision(exr):
    got = read_depth(exr(Y=metres.astype(np.float16)))[0]
    np.testing.assert_allclose(got, metres, rtol=1e-3)


def test_exr_of_many_layers(exr):
    layers = {'View.Depth.Z': metres, 'View.Combined.R': 0 * metres, 'View.Combined.G': 0 * metres}
    np.testing.assert_array_equal(read_depth(exr(**layers))[0], metres)


def test_exr_in_grey(exr):
    np.testing.assert_allclose(read_depth(exr(R=metres, G=metres, B=metres))[0], metres, rtol=1e-6)


def test_exr_in_colours_is_refused(exr):
    with pytest.raises(InputError, match='coloured'):
        read_depth(exr(R=metres, G=0 * metres, B=0 * metres))


def test_exr_with_two_unknown_channels_is_refused(exr):
    with pytest.raises(InputError, match='a, b'):
        read_depth(exr(a=metres, b=metres))


def test_exr_with_infinite_depth(exr):
    far = exr(Z=np.where(metres > 20, np.inf, metres))
    assert estimate_depth(np.zeros((1, 6, 8, 3), np.uint8), far, 'metric').min() == 0


def test_broken_exr(tmp_path):
    pytest.importorskip('OpenEXR')
    with pytest.raises(InputError, match='cannot be read'):
        read_depth(broken_exr(tmp_path))


def cut_files(p, data):
    "A file that ends after each of forty lengths, the last but one byte among them."
    for length in np.linspace(1, len(data) - 1, 40, dtype=int):
        p.write_bytes(data[:length])
        yield p


@pytest.mark.parametrize('how', ['NO', 'RLE', 'ZIPS', 'ZIP', 'PIZ', 'PXR24', 'DWAA'])
@pytest.mark.parametrize('tiles', [False, True])
def test_exr_that_is_cut_off_is_never_read(tmp_path, how, tiles):
    OpenEXR = pytest.importorskip('OpenEXR')
    header = dict(compression=getattr(OpenEXR, f'{how}_COMPRESSION'))
    header['type'] = OpenEXR.tiledimage if tiles else OpenEXR.scanlineimage
    if tiles:
        header['tiles'] = OpenEXR.TileDescription()
    grey = np.ascontiguousarray(np.tile(metres, (3, 3)))
    OpenEXR.File(header, dict(Z=grey)).write(str(tmp_path / 'a.exr'))
    assert read_depth(tmp_path / 'a.exr')[0].shape == grey.shape
    for p in cut_files(tmp_path / 'b.exr', (tmp_path / 'a.exr').read_bytes()):
        with pytest.raises(InputError, match=r'b\.exr cannot be read as an EXR file'):
            read_depth(p)


def test_exr_of_two_parts_that_is_cut_off(tmp_path):
    "Depth is the first part: all of it, or a sentence."
    OpenEXR = pytest.importorskip('OpenEXR')
    header = dict(compression=OpenEXR.ZIP_COMPRESSION, type=OpenEXR.scanlineimage)
    left = np.ascontiguousarray(metres)
    parts = [OpenEXR.Part(dict(header), dict(Z=left), name) for name in ('left', 'right')]
    OpenEXR.File(parts).write(str(tmp_path / 'a.exr'))
    for p in cut_files(tmp_path / 'b.exr', (tmp_path / 'a.exr').read_bytes()):
        try:
            got = read_depth(p)[0]
        except InputError as e:
            assert 'cannot be read as an EXR file' in str(e)
        else:
            np.testing.assert_array_equal(got, left)


def test_without_openexr_the_remedy_is_said(tmp_path):
    code = f"""import sys; sys.modules['OpenEXR'] = None
from scz_nb.depth.files import read_depth
read_depth({str(broken_exr(tmp_path))!r})"""
    r = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    assert 'MissingDependency' in r.stderr and 'pip install OpenEXR' in r.stderr.splitlines()[-1]
