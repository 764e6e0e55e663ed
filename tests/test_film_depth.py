"Disparity for films: windows, cuts, maps of other sizes and rates."

import numpy as np
import pytest
from helpers.films import X264, ffmpeg, picture
from PIL import Image

from scz_nb.core import InputError
from scz_nb.films.depth import (
    DepthStream,
    Source,
    array_source,
    as_source,
    best_depth,
    file_source,
    is_cut,
    small_picture,
)
from scz_nb.media.film import Frame, frames_of_film, probe


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('depth')
    ffmpeg(folder, *picture(), *X264, 'film.mp4')
    return folder


@pytest.fixture
def film(folder):
    return probe(folder / 'film.mp4')


def read(film, source, **how):
    "All disparity of a film."
    windows = list(DepthStream(source, **how).windows(frames_of_film(film)))
    assert sum(len(w.frames) for w in windows) == 10
    return np.concatenate([w.disparity for w in windows])


def noise(n, seed=0, size=(24, 32)):
    "Frames of one scene: a texture that stays."
    x = np.random.default_rng(seed).integers(0, 20, (*size, 3), dtype=np.uint8) + 90 * seed
    return [np.roll(x, t // 2, 1) for t in range(n)]


def as_frames(pictures):
    return [Frame(x, t, 1) for t, x in enumerate(pictures)]


def wobbly(seed=0):
    "A source whose windows have units of their own; the truth is a slope that moves."
    rng = np.random.default_rng(seed)

    def maps(small, frames):
        t = np.array([f.time for f in frames], np.float32)[:, None, None]
        slope = np.linspace(0, 1, small.shape[2], dtype=np.float32)
        true = np.broadcast_to(slope + 0.01 * t, small.shape[:3])
        return rng.uniform(0.5, 2) * true + rng.uniform(-1, 1)

    return Source('wobbly', maps, size=6, overlap=2)


@pytest.mark.parametrize('n', [1, 2, 5, 6, 7, 23])
def test_every_frame_comes_once(n):
    windows = list(DepthStream(wobbly()).windows(as_frames(noise(n))))
    assert [f.time for w in windows for f in w.frames] == list(range(n))
    assert all(len(w.frames) == len(w.disparity) for w in windows)
    assert all(len(w.ahead) == len(w.disparity_ahead) for w in windows)
    assert windows[0].begins and windows[-1].ends


def test_windows_fit_one_another():
    got = np.concatenate([w.disparity for w in DepthStream(wobbly()).windows(as_frames(noise(40)))])
    change = np.abs(np.diff(got.mean((1, 2))))
    assert change.max() < 0.03  # each window alone has another scale and shift


def test_windows_end_at_cuts():
    shots = noise(5) + noise(9, seed=1)
    windows = list(DepthStream(wobbly()).windows(as_frames(shots)))
    assert [(w.frames[0].time, w.begins) for w in windows if w.begins] == [(0, True), (5, True)]
    assert all(not w.ahead for w in windows if w.ends)
    assert is_cut(shots[4], shots[5]) and not is_cut(shots[3], shots[4])


@pytest.mark.parametrize('stop', [1, 2, 4])
def test_a_stream_goes_on_as_if_nothing_had_happened(stop):
    frames = as_frames(noise(13) + noise(9, seed=1))
    whole = list(DepthStream(wobbly(), follow=0.5).windows(frames))

    class Again:
        "The same draws as before, from a window on."

        def __init__(self):
            self.maps = wobbly().maps

        def __call__(self, small, f):
            return self.maps(small, f)

    draws = Again()
    for w in whole[:stop]:
        full = w.frames + w.ahead
        draws(np.stack([f.picture for f in full]), full)
    source = Source('wobbly', draws, size=6, overlap=2)
    done = sum(len(w.frames) for w in whole[:stop])
    state = {k: np.asarray(v) for k, v in whole[stop - 1].state.items()}
    rest = list(DepthStream(source, follow=0.5, state=state).windows(frames[done:]))
    assert [w.begins for w in rest] == [w.begins for w in whole[stop:]]
    for a, b in zip(rest, whole[stop:]):
        np.testing.assert_array_equal(a.disparity, b.disparity)


def test_an_array_is_taken_as_it_is(film):
    maps = np.random.default_rng(0).uniform(0, 1, (10, 8, 12)).astype(np.float32)
    np.testing.assert_allclose(read(film, array_source(maps, film)), maps, atol=1e-6)
    still = read(film, array_source(maps[:1], film))
    np.testing.assert_allclose(still, maps[:1].repeat(10, 0), atol=1e-6)


def test_files_and_folders(film, folder, tmp_path):
    maps = np.linspace(0, 1, 10)[:, None, None] * np.linspace(0.5, 1, 12) * np.ones((10, 8, 12))
    np.save(tmp_path / 'd.npy', maps.astype(np.float32))
    np.savez(tmp_path / 'd.npz', maps)
    for t, m in enumerate(maps):
        (tmp_path / 'maps').mkdir(exist_ok=True)
        Image.fromarray((65535 * m).astype(np.uint16)).save(tmp_path / f'maps/{t:03}.png')
    for name in ('d.npy', 'd.npz', 'maps'):
        got = read(film, as_source(str(tmp_path / name), film))
        assert np.corrcoef(got.ravel(), maps.ravel())[0, 1] > 0.999, name
        assert got.min() >= 0 and got.max() > 0.95
    far = read(film, file_source(tmp_path / 'd.npz', film, 'far'))
    assert np.corrcoef(far.ravel(), maps.ravel())[0, 1] < -0.99


@pytest.mark.parametrize('rate', [5, 10, 20])
def test_a_film_of_maps_is_matched_by_time(film, tmp_path, rate):
    grey = f'color=black:s=32x32:r={rate}:d=1,format=gray,geq=lum=255*T'
    ffmpeg(tmp_path, '-f', 'lavfi', '-i', grey, '-c:v', 'ffv1', 'maps.mkv')
    got = read(film, file_source(tmp_path / 'maps.mkv', film)).mean((1, 2))
    seconds = np.arange(10) / 10
    want = np.floor(seconds * min(rate, 10) + 1e-6) / min(rate, 10)
    assert np.abs(np.diff(got)).max() < 0.3 and np.corrcoef(got, want)[0, 1] > 0.99


def test_a_film_of_maps_goes_on_in_the_middle(film, tmp_path):
    grey = 'color=black:s=32x32:r=10:d=1,format=gray,geq=lum=255*T'
    ffmpeg(tmp_path, '-f', 'lavfi', '-i', grey, '-c:v', 'ffv1', 'maps.mkv')
    whole = read(film, file_source(tmp_path / 'maps.mkv', film))
    frames = list(frames_of_film(film))[6:]
    stream = DepthStream(file_source(tmp_path / 'maps.mkv', film), state=dict(done=6))
    rest = np.concatenate([w.disparity for w in stream.windows(frames)])
    np.testing.assert_array_equal(rest, whole[6:])


def test_what_does_not_fit_says_so(film, tmp_path):
    ffmpeg(tmp_path, *picture('32x32', seconds=3, more=',format=gray'), *X264, 'long.mp4')
    with pytest.raises(InputError, match='lasts 3.0 s'):
        file_source(tmp_path / 'long.mp4', film)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='holds no pictures|neither pictures'):
        as_source(str(tmp_path / 'empty'), film)
    with pytest.raises(InputError, match='7 maps and .* 10 frames'):
        array_source(np.zeros((7, 4, 4)), film)
    with pytest.raises(InputError, match=r'in \[0, 1\]'):
        read(film, array_source(np.full((10, 4, 4), 2.0), film))
    with pytest.raises(InputError, match='unknown depth'):
        as_source('depth-anythin', film)
    with pytest.raises(InputError, match='kind of depth'):
        np.savez(tmp_path / 'd.npz', np.zeros((10, 4, 4)))
        file_source(tmp_path / 'd.npz', film, 'backwards')


def test_coloured_maps_are_refused(film, tmp_path):
    ffmpeg(tmp_path, *picture('32x32'), *X264, 'colours.mp4')
    with pytest.raises(InputError, match='grey'):
        read(film, file_source(tmp_path / 'colours.mp4', film))


def test_only_the_embedded_network_is_a_word(monkeypatch):
    from scz_nb.films import depth

    monkeypatch.setattr(depth, 'stored', lambda name: None)
    with pytest.warns(UserWarning, match='only the embedded depth network'):
        assert best_depth() == 'tiny'
    monkeypatch.setattr(depth, 'stored', lambda name: 'here')
    assert best_depth() == 'depth-anything-v2-small'


def test_a_network_by_name(film):
    got = read(film, as_source('tiny', film))
    assert got.shape == (10, 64, 96) or got.shape == (10, 40, 64)
    assert got.min() >= 0 and got.max() <= 1 and np.ptp(got) > 0.5


def test_a_network_that_takes_one_frame_is_made_steady(film, monkeypatch):
    from scz_nb.films import depth

    rng = np.random.default_rng(0)

    class Alone(depth.Depth):
        name = 'alone'

        def raw(self, video):
            ramp = np.linspace(0, 1, video.shape[2]) * np.ones(video.shape[:3])
            t = (len(video), 1, 1)
            return rng.uniform(0.5, 2, t) * ramp + rng.uniform(-1, 1, t)

    monkeypatch.setattr(depth, 'DepthEstimator', Alone)
    source = depth.network_source(Alone())
    got = read(film, source)
    assert source.alone and np.abs(np.diff(got.mean((1, 2)))).max() < 0.05


def test_small_pictures_have_square_pixels():
    assert small_picture(np.zeros((1080, 1440, 3), np.uint8), 4 / 3).shape == (432, 768, 3)
    assert small_picture(np.zeros((20, 30, 3), np.uint16)).dtype == np.uint8
