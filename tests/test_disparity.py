"Signs, units and bad input of everything that turns depth into columns."

import math

import numpy as np
import pytest
import torch
from helpers.tensors import rand
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.core import InputError
from scz_nb.geometry.disparity import (
    check_disparity,
    converge,
    depth_to_disparity,
    normalise,
    resize_disparity,
    shift_columns,
    shift_pair,
)

quick = settings(deadline=None, max_examples=60)


# Eq. 6
def test_disparity_of_depth_is_pinned():
    d = depth_to_disparity(np.array([[1.0, 2.0, 8.0]]), focal=400, baseline=0.064)
    assert d.shape == (1, 3)
    torch.testing.assert_close(d, torch.tensor([[25.6, 12.8, 3.2]], dtype=torch.float64))


@pytest.mark.parametrize(
    'depth', [[0.0, 1.0], [-1.0, 1.0], [math.nan, 1.0], [math.inf, 1.0], [], 'far', [1j]]
)
def test_depth_that_is_none(depth):
    with pytest.raises(InputError):
        depth_to_disparity(depth, 1.0, 1.0)


@pytest.mark.parametrize(
    'kw',
    [
        dict(focal=0.0, baseline=1.0),
        dict(focal=1.0, baseline=-1.0),
        dict(focal=math.nan, baseline=1.0),
    ],
)
def test_eyes_that_are_none(kw):
    with pytest.raises(InputError):
        depth_to_disparity([1.0], **kw)


# normalise
@quick
@given(
    t=st.integers(1, 4),
    h=st.integers(1, 5),
    w=st.integers(1, 7),
    seed=st.integers(0, 99),
    a=st.floats(0.01, 100),
    b=st.floats(-50, 50),
)
def test_normalise_does_not_see_unit_and_offset(t, h, w, seed, a, b):
    d = rand(t, h, w, seed=seed).double()
    n, m = normalise(d), normalise(a * d + b)
    assert n.dtype == torch.float32 and n.shape == d.shape and 0 <= n.min() and n.max() <= 1
    if n.numel() > 1:
        assert n.min() == 0 and n.max() == 1
        if (d.max() - d.min()) * a > 0.1:
            torch.testing.assert_close(n, m, atol=2e-3, rtol=0)


def test_normalise_stretches_the_clip_not_the_frame():
    n = normalise(torch.tensor([[[0.0, 1.0]], [[1.0, 4.0]]]))
    assert n.tolist() == [[[0, 0.25]], [[0.25, 1]]]


def test_normalise_of_a_constant_is_zero():
    for v in (0.0, -3.0, 1e30):
        assert normalise(torch.full((2, 3, 4), v)).eq(0).all()


def test_percentiles_cut_wild_values():
    d = rand(4, 20, 30)
    d[0, 0, 0] = 1e6
    d[1, 2, 3] = -1e6
    assert normalise(d).std() < 0.1 < normalise(d, 1, 99).std()


def test_percentiles_of_more_values_than_are_sorted():
    d = torch.linspace(0, 1, 3_000_000).view(3, 1000, 1000)
    want = ((d - 0.1) / 0.8).clamp(0, 1)
    torch.testing.assert_close(normalise(d, 10, 90), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    'd',
    [
        np.array([1, 2, 3], np.uint8),
        np.array([1.0, 2, 3], np.float16),
        [1, 2, 3],
        torch.tensor([1, 2, 3]),
        np.arange(3, 0, -1)[::-1],
    ],
)
def test_normalise_takes_what_there_is(d):
    assert normalise(d).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize('low,high', [(50, 50), (60, 40), (-1, 100), (0, 101)])
def test_percentiles_that_are_none(low, high):
    with pytest.raises(InputError, match='percentiles'):
        normalise(rand(1, 2, 3), low, high)


@pytest.mark.parametrize(
    'f,more',
    [
        (normalise, ()),
        (check_disparity, (2, 3, 5)),
        (shift_columns, (-4, 64)),
        (resize_disparity, ((2, 2),)),
    ],
)
def test_nan_is_named_and_counted(f, more):
    d = rand(2, 3, 5)
    d[0, 1, 2] = math.nan
    d[1, 1, 1] = math.inf
    with pytest.raises(InputError, match='2 NaN or infinite values of 30'):
        f(d, *more)


# check_disparity
def test_what_fits_comes_back():
    d = rand(2, 3, 5)
    for x in (d, d.numpy(), d.double(), d.permute(2, 0, 1).contiguous().permute(1, 2, 0)):
        out = check_disparity(x, 2, 3, 5)
        assert out.dtype == torch.float32 and torch.equal(out, d)


def test_rounding_of_other_arithmetic_is_no_error():
    d = rand(2, 3, 5)
    assert check_disparity(d * (1 + 4e-6) + (1 - d.max()), 2, 3, 5).max() == 1


def test_bytes_are_numbers():
    assert check_disparity(np.zeros((2, 3, 5), np.uint8), 2, 3, 5).eq(0).all()


@pytest.mark.parametrize('shape', [(3, 2, 5), (2, 5, 3), (2, 1, 3, 5), (3, 5), (1, 3, 5)])
def test_shape_is_named(shape):
    with pytest.raises(InputError, match=r'\(2, 3, 5\)'):
        check_disparity(torch.zeros(shape), 2, 3, 5)


@pytest.mark.parametrize('lo,hi', [(0, 255), (-0.01, 1), (0, 1.001)])
def test_range_is_named(lo, hi):
    with pytest.raises(InputError, match='from .* to '):
        check_disparity(np.linspace(lo, hi, 30).reshape(2, 3, 5), 2, 3, 5)


# shift_columns
@pytest.mark.parametrize('scale,want', [(-4, [0, 0, -1, -1, -2, -2]), (4, [0, 0, 1, 1, 2, 2])])
def test_shift_is_pinned(scale, want):
    shift = shift_columns([0.0, 0.39, 0.4, 0.78, 0.79, 1.0], scale, 64)
    assert shift.tolist() == want and shift.dtype == torch.int32


def test_exponent_comes_before_the_scale():
    assert shift_columns(np.float32([0.5]), -4, 64, exponent=2.0).item() == 0


@quick
@given(seed=st.integers(0, 99), s=st.floats(0, 100), w=st.integers(1, 300), a=st.floats(0.25, 4))
def test_shift_goes_toward_zero_and_rises(seed, s, w, a):
    d = rand(50, seed=seed).sort()[0]
    k = shift_columns(d, s, w, a)
    assert torch.equal(shift_columns(d, -s, w, a), -k)
    assert k.diff().ge(0).all() and k.min() >= 0 and k.max() <= s * w / 100
    exact = d.double() ** a * s * w / 100
    assert (exact - k).ge(-1e-9).all() and (exact - k).le(1 + 1e-9).all()


@given(s=st.integers(-100, 100), w=st.integers(1, 2000))
def test_whole_shifts_are_not_lost_to_rounding(s, w):
    assert shift_columns([1.0], s, w).item() == int(np.sign(s)) * (abs(s) * w // 100)


@pytest.mark.parametrize('w,n', [(32, 2), (64, 3), (128, 6)])
def test_levels_at_scale_4(w, n):
    assert len(shift_columns(torch.linspace(0, 1, 5001), -4, w).unique()) == n


@pytest.mark.parametrize(
    'kw',
    [
        dict(scale=math.nan),
        dict(scale=math.inf),
        dict(exponent=0.0),
        dict(exponent=-1.0),
        dict(exponent=math.nan),
        dict(disparity=[-0.5]),
    ],
)
def test_shift_refuses(kw):
    with pytest.raises(InputError):
        shift_columns(**{**dict(disparity=[0.5], scale=4.0, width=64), **kw})


# resize_disparity
@pytest.mark.parametrize('mode', ['area', 'bilinear', 'near', 'nearest'])
@pytest.mark.parametrize('size', [(2, 3), (3, 5), (5, 9), (12, 7), (1, 1)])
def test_resize_keeps_constants_range_and_axes(mode, size):
    d = rand(2, 6, 9)
    out = resize_disparity(d, size, mode)
    assert out.shape == (2, *size) and d.min() <= out.min() + 1e-6 and out.max() <= d.max() + 1e-6
    flat = resize_disparity(torch.full((2, 6, 9), 0.7), size, mode)
    torch.testing.assert_close(flat, torch.full((2, *size), 0.7))
    ramp = resize_disparity(torch.linspace(0, 1, 9).expand(2, 6, 9), size, mode)
    assert ramp.diff(dim=-1).ge(0).all()  # rises to the right
    assert ramp.diff(dim=-2).abs().le(1e-6).all()  # not downwards


def test_area_is_the_mean_and_near_the_nearest():
    d = torch.zeros(1, 4, 6)
    d[0, 0, 1] = 1.0
    assert resize_disparity(d, (2, 3))[0].tolist() == [[0.25, 0, 0], [0, 0, 0]]
    assert resize_disparity(d, (2, 3), 'near')[0].tolist() == [[1, 0, 0], [0, 0, 0]]


def test_resize_refuses_a_single_frame_without_time():
    with pytest.raises(InputError):
        resize_disparity(rand(4, 6), (2, 3))


def test_resize_refuses_unknown_modes():
    with pytest.raises(InputError, match='choices'):
        resize_disparity(rand(1, 4, 6), (2, 3), 'lanczos')


# converge
@pytest.mark.parametrize('scale', [-20.0, 20.0])
@pytest.mark.parametrize('plane', [0.0, 0.5, 1.0])
def test_the_chosen_plane_comes_to_lie_on_the_screen(scale, plane):
    w = 30
    first = rand(2, 3, w, 3)
    second = first.roll(int(plane * scale / 100 * w), 2)
    left, right = shift_pair(first, second, converge(plane, scale))
    assert left.shape == (2, 3, w - int(plane * 20 / 100 * w), 3) and torch.equal(left, right)


def test_arrays_are_shifted_like_tensors():
    first, second = rand(2, 3, 30, 3), rand(2, 3, 30, 3, seed=1)
    arrays = shift_pair(first.numpy(), second.numpy(), 10.0)
    for tensor, array in zip(shift_pair(first, second, 10.0), arrays):
        assert (array == tensor.numpy()).all()


def test_converge_takes_the_exponent():
    assert converge(0.5, -8, 2.0) == 2.0 and converge(0, -8) == 0


@pytest.mark.parametrize('plane', [-0.1, 1.1, math.nan])
def test_converge_refuses(plane):
    with pytest.raises(InputError):
        converge(plane, 4)


@pytest.mark.parametrize('width,percent', [(4, 1.0), (3, 100.0)])
def test_shift_pair_refuses(width, percent):
    with pytest.raises(InputError):
        shift_pair(rand(1, 2, 3, 3), rand(1, 2, width, 3), percent)
