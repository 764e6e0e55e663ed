"Edges, curves and the screen: pinned numbers, properties, and what a bad input says."

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.core import InputError
from scz_nb.depth.edit import check_number, dilate, gamma, scale_foreground, screen_plane
from scz_nb.depth.steady import smooth
from scz_nb.geometry.disparity import converge, shift_pair


def rand(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape)


def squared(d):
    return gamma(d, 2.0)


def steeper(d):
    return scale_foreground(d, 2.0)


def middle(d):
    return screen_plane(d, 50)


# dilate
def test_near_grows_by_the_disc():
    d = np.zeros((2, 5, 7))
    d[0, 2, 4] = 0.5
    want = d.copy()
    want[0, 1:4, 4] = want[0, 2, 3:6] = 0.5
    np.testing.assert_allclose(dilate(d, 1), want)
    two = dilate(d, 2)[0]
    assert two[2].tolist() == [0, 0, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert two[1].tolist() == [0, 0, 0, 0.5, 0.5, 0.5, 0]
    assert two[:, 4].tolist() == [0.5] * 5


def test_a_slope_stays():
    slope = np.linspace(0, 1, 40)[None, None].repeat(6, 1)
    np.testing.assert_array_equal(dilate(slope, 1), slope.astype(np.float32))
    assert np.abs(dilate(slope, 1, step=0.0) - slope).max() > 0.02


def test_no_pixels_no_change():
    d = rand(2, 5, 7)
    np.testing.assert_array_equal(dilate(d, 0), d.astype(np.float32))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), pixels=st.integers(0, 4), step=st.sampled_from([0.0, 0.05, 0.5]))
def test_dilate_only_brings_forward(seed, pixels, step):
    d = rand(2, 9, 13, seed=seed)
    before = d.astype(np.float32)
    out = dilate(d, pixels, step)
    assert (out >= before).all() and out.max() == before.max()
    assert (out - d)[out > before].min(initial=1) > step - 1e-6


# curves
fifths = np.array([[[0.0, 0.25, 0.5, 0.75, 1.0]]])


@pytest.mark.parametrize('power', [2.0, 0.5])
def test_gamma_is_pinned(power):
    np.testing.assert_allclose(gamma(fifths, power), fifths**power)


@pytest.mark.parametrize(
    'factor,plane,want',
    [
        (3.0, 0.5, [0, 0.125, 0.25, 0.625, 1]),
        (2.0, 0.25, [0, 0.25 / 1.75, 0.75 / 1.75, 1.25 / 1.75, 1]),
        (0.5, 0.5, [0, 1 / 3, 2 / 3, 5 / 6, 1]),
    ],
)
def test_scale_foreground_is_pinned(factor, plane, want):
    np.testing.assert_allclose(scale_foreground(fifths, factor, plane), [[want]], atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(power=st.floats(0.01, 100), factor=st.floats(0.01, 100), plane=st.floats(0, 1))
def test_curves_keep_the_order_and_the_ends(power, factor, plane):
    d = np.linspace(0, 1, 101)[None, None]
    for out in (gamma(d, power), scale_foreground(d, factor, plane)):
        assert out.dtype == np.float32
        assert out[0, 0, 0] == 0 and abs(out[0, 0, -1] - 1) < 1e-6
        assert (np.diff(out[0, 0]) >= -1e-7).all()


# the screen
def layers():
    d = np.zeros((2, 40, 60))
    d[:, 10:20, 30:50] = 0.7
    d[1, 15, 40] = 0.1  # one wild pixel
    d[:, 30:] = 0.3
    return d


@pytest.mark.parametrize('point,want', [((1, 15, 40), 0.7), ((0, 39, 0), 0.3), ((0, 0, 59), 0)])
def test_a_click_takes_what_is_around_it(point, want):
    assert screen_plane(layers(), point=point) == want


@pytest.mark.parametrize('percentile,want', [(0, 0), (80, 0.3), (100, 0.7)])
def test_a_percentile_lies_behind_the_screen(percentile, want):
    plane = screen_plane(layers(), percentile)
    assert plane == want and isinstance(plane, float)


def test_what_is_clicked_has_no_parallax():
    "Plane, converge and shift_pair together; the shift is -20 % of the width times disparity."
    left, right = np.zeros((1, 6, 40, 3), np.uint8), np.zeros((1, 6, 40, 3), np.uint8)
    left[0, 1:6, 20:25] = right[0, 1:6, 16:21] = 200  # 4 columns of 40: disparity 0.5
    near = np.zeros((1, 6, 40))
    near[0, 1:6, 20:25] = 0.5
    plane = screen_plane(near, point=(0, 3, 22))
    np.testing.assert_array_equal(*shift_pair(left, right, converge(plane, -20)))


# what is bad
ok = rand(2, 5, 7)


@pytest.mark.parametrize('f', [smooth, dilate, squared, steeper, middle])
@pytest.mark.parametrize(
    'd',
    [
        ok[0],
        ok[..., None],
        ok[:0],
        np.where(ok > 0.5, np.nan, ok),
        np.where(ok > 0.5, np.inf, ok),
        'near',
        None,
        ok * 1j,
    ],
)
def test_bad_maps_are_said(f, d):
    with pytest.raises(InputError):
        f(d)


@pytest.mark.parametrize('f', [squared, steeper, middle])
@pytest.mark.parametrize('d', [ok * 255, ok - 0.5])
def test_what_is_no_disparity_is_said(f, d):
    with pytest.raises(InputError, match=r'\[0, 1\]'):
        f(d)


@pytest.mark.parametrize(
    'f,args,words',
    [
        (smooth, dict(radius=-1), 'radius=-1'),
        (smooth, dict(radius=1.5), 'whole'),
        (smooth, dict(radius=True), 'radius'),
        (smooth, dict(stop=0), 'stop'),
        (smooth, dict(stop=np.nan), 'stop'),
        (dilate, dict(pixels='two'), 'pixels'),
        (dilate, dict(pixels=1, step=-1), 'step'),
        (gamma, dict(power=0), 'power'),
        (gamma, dict(power=-2), 'power'),
        (scale_foreground, dict(factor=0), 'factor'),
        (scale_foreground, dict(factor=2, plane=2), 'plane'),
        (screen_plane, dict(), 'either'),
        (screen_plane, dict(percentile=50, point=(0, 0, 0)), 'either'),
        (screen_plane, dict(percentile=101), 'percentile'),
        (screen_plane, dict(point=(0, 5, 0)), 'outside'),
        (screen_plane, dict(point=(0, -1, 0)), 'outside'),
        (screen_plane, dict(point=(1, 2)), 'frame, row, column'),
    ],
)
def test_bad_settings_are_said(f, args, words):
    with pytest.raises(InputError, match=words):
        f(ok, **args)


@pytest.mark.parametrize(
    'most,words', [(np.inf, 'a number from 0[.]'), (2, 'a number from 0 to 2[.]')]
)
def test_bounds_are_said(most, words):
    with pytest.raises(InputError, match=words):
        check_number('step', -1, 0, most)


@pytest.mark.parametrize('f', [smooth, dilate, squared, steeper])
def test_tensors_and_lists_are_taken(f):
    np.testing.assert_array_equal(f(torch.tensor(ok)), f(ok))
    np.testing.assert_array_equal(f(ok.tolist()), f(ok))
