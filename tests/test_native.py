"The warp at native size."

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scz_nb.core import InputError
from scz_nb.geometry import native
from scz_nb.geometry.native import (
    Moved,
    fill_holes,
    fillings,
    move_view,
    scattered_sources,
    sharp_disparity,
    source_columns,
    source_loops,
)

shapes = st.tuples(st.integers(1, 3), st.integers(1, 12))
shifts = shapes.flatmap(
    lambda s: arrays(np.float32, s, elements=st.integers(-40, 40).map(lambda n: n / 8))
)


@settings(max_examples=60, deadline=None)
@given(shifts)
def test_three_ways_agree(shift):
    target = shift + np.arange(shift.shape[1], dtype=np.float32)
    slow = np.empty_like(target)
    source_loops(target, slow)
    np.testing.assert_allclose(source_columns(shift), slow, atol=1e-5)
    scattered = scattered_sources(torch.from_numpy(target)).numpy()
    np.testing.assert_allclose(scattered, slow, atol=1e-5)


def test_without_numba_it_is_the_same(monkeypatch):
    shift = -np.random.default_rng(0).uniform(0, 9, (7, 50)).astype(np.float32)
    compiled = source_columns(shift)
    monkeypatch.setattr(native, 'compiled_sources', lambda: None)
    np.testing.assert_allclose(source_columns(shift), compiled, atol=1e-5)


def picture(h=24, w=60):
    return np.random.default_rng(1).integers(0, 256, (h, w, 3), dtype=np.uint8)


def test_no_shift_gives_each_pixel_back():
    x = picture()
    moved = move_view(x, np.zeros(x.shape[:2]))
    assert (moved.view == x).all() and moved.visible.all() and not moved.shift.any()


@pytest.mark.parametrize('k', [-7, 3])
def test_whole_columns_move_exactly(k):
    x = picture()
    moved = move_view(x, np.full(x.shape[:2], float(k)))
    shown = np.roll(x, k, 1)
    assert (moved.view[moved.visible] == shown[moved.visible]).all()
    assert (~moved.visible).sum(1).tolist() == [abs(k)] * len(x)


def test_half_a_column_is_the_mean_of_two():
    x = picture()
    moved = move_view(x, np.full(x.shape[:2], -0.5))
    mean = (x[:, :-1].astype(int) + x[:, 1:]) / 2
    assert np.abs(moved.view[:, :-1] - mean).max() <= 1


def test_what_is_nearer_covers():
    x = picture()
    near = np.zeros(x.shape[:2])
    near[:, 30:40] = 8
    moved = move_view(x, -near)
    assert (moved.view[:, 22:32] == x[:, 30:40]).all()
    assert (~moved.visible[:, 32:40]).all() and moved.visible[:, 40:].all()
    assert (moved.shift[:, 22:32] == -8).all()


def test_sixteen_bits_stay_sixteen():
    x = picture().astype(np.uint16) * 257
    moved = move_view(x, np.full(x.shape[:2], -1.0))
    assert moved.view.dtype == np.uint16 and fill_holes(moved).dtype == np.uint16


@pytest.mark.parametrize('how', fillings)
def test_a_filling_touches_holes_only(how):
    x = picture()
    near = np.zeros(x.shape[:2])
    near[5:15, 30:40] = 8
    moved = move_view(x, -near)
    filled = fill_holes(moved, how)
    assert (
        filled[moved.visible]
        == x[np.indices(near.shape)[0], source_columns(-near).astype(int)][moved.visible]
    ).all()
    assert (filled[~moved.visible].astype(int).sum(-1) > 0).mean() > 0.9


def test_background_comes_from_the_far_side():
    x = np.zeros((20, 60, 3), np.uint8)
    x[:, :40] = 200, 0, 0  # near
    x[:, 40:] = 0, 0, 200  # far
    near = np.where(np.arange(60) < 40, 8.0, 0.0) * np.ones((20, 1))
    moved = move_view(x, -near)
    filled = fill_holes(moved)
    assert (filled[:, 32:] == (0, 0, 200)).all() and (filled[:, :32] == (200, 0, 0)).all()


@pytest.mark.parametrize('how', fillings)
def test_nothing_and_everything_visible(how):
    x = picture()
    whole = Moved(x, np.ones(x.shape[:2], bool), np.zeros(x.shape[:2]))
    none = Moved(np.zeros_like(x), np.zeros(x.shape[:2], bool), np.zeros(x.shape[:2]))
    assert (fill_holes(whole, how) == x).all()
    assert fill_holes(none, how).shape == x.shape


@pytest.mark.parametrize('h, w', [(1, 1), (1, 9), (9, 1), (5, 7)])
def test_small_sides(h, w):
    x = picture(h, w)
    moved = move_view(x, np.full((h, w), -2.25))
    assert fill_holes(moved).shape == x.shape
    assert sharp_disparity(np.ones((3, 3)), (h, w)).shape == (h, w)


def test_an_edge_stays_an_edge():
    small = np.zeros((9, 16), np.float32)
    small[:, 8:] = 1
    large = sharp_disparity(small, (90, 160), grow=0)
    assert set(np.unique(large)) == {0, 1} and (large[:, :80] == 0).all()
    grown = sharp_disparity(small, (90, 160), grow=2)
    assert (grown[:, 78:] == 1).all() and (grown[:, :78] == 0).all()


def test_a_slope_stays_a_slope():
    small = np.linspace(0, 1, 16, dtype=np.float32)[None].repeat(9, 0)
    large = sharp_disparity(small, (90, 160), jump=0.3, grow=0)
    assert np.diff(large[45]).max() < 0.02


def test_what_does_not_fit_says_so():
    with pytest.raises(InputError, match='does not fit'):
        move_view(picture(), np.zeros((3, 3)))
    with pytest.raises(InputError, match='finite'):
        source_columns(np.full((3, 3), np.nan))
    with pytest.raises(InputError, match='unknown filling'):
        fill_holes(move_view(picture(), np.full((24, 60), -1.0)), 'magic')


def test_it_is_better_than_a_copy_on_a_photograph():
    from scz_nb.evaluation.metrics import masked_psnr, motorcycle

    pair = motorcycle()
    width = pair.left.shape[2]
    d = -pair.shift[0] * width / 100
    d = np.where(np.isfinite(d), d, np.nanmin(d)).astype(np.float32)
    moved = move_view(pair.left[0], -d)
    score = lambda v, m: masked_psnr(v[None], pair.right, m[None])
    whole = np.ones(d.shape, bool)
    found = {how: score(fill_holes(moved, how), whole) for how in fillings}
    assert min(found.values()) > score(pair.left[0], whole) + 8
    assert score(moved.view, moved.visible) > 25
