"The choices that eyes notice."

import numpy as np
import pytest

from scz_nb.core import InputError
from scz_nb.geometry.comfort import (
    Bars,
    budget,
    eye_shifts,
    float_window,
    move_left,
    soften,
    window_bars,
    without_rims,
    zero_plane,
)
from scz_nb.geometry.native import fill_holes, move_view


def test_a_budget_in_three_units():
    assert budget(3, 1000) == budget('3%', 1000) == budget('30px', 1000) == 3
    assert budget('1deg', 1000, view=40) == pytest.approx(2.398, abs=1e-3)
    assert budget('1°', 1000, view=90) == pytest.approx(0.8727, abs=1e-3)


@pytest.mark.parametrize('bad', ['', '-1', '3 %%', 'much', '30%', 'nan', '1e9', None, '.'])
def test_a_budget_that_is_none(bad):
    with pytest.raises(InputError, match='strength'):
        budget(bad, 1000)


def test_the_plane():
    d = np.linspace(0, 1, 90, dtype=np.float32)[None].repeat(60, 0)
    assert zero_plane(d, 0.25) == 0.25 and zero_plane(d, '25%') == pytest.approx(0.25, abs=0.01)
    assert zero_plane(d) == pytest.approx(0.5)
    d[20:40, 30:60] = 0.9
    assert zero_plane(d) == pytest.approx(0.9)
    assert zero_plane(np.ones((1, 1)), 'auto') == 1


@pytest.mark.parametrize('bad', ['center', '120%', 1.5, -0.1, None])
def test_a_plane_that_is_none(bad):
    with pytest.raises(InputError, match='plane'):
        zero_plane(np.zeros((4, 4)), bad)


def test_the_plane_does_not_move():
    d = np.array([[0.0, 0.5, 1.0]], np.float32)
    alone, half = eye_shifts(d, 10, 0.5), eye_shifts(d, 10, 0.5, shared=True)
    assert alone.left is None and alone.right.tolist() == [[5, 0, -5]]
    assert half.right.tolist() == [[2.5, 0, -2.5]] and half.left.tolist() == [[-2.5, 0, 2.5]]


def test_the_left_eye_is_the_right_one_in_a_mirror():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (12, 40, 3), dtype=np.uint8)
    d = np.zeros((12, 40), np.float32)
    d[:, 10:20] = 6
    moved = move_left(x, d)
    assert (moved.view[:, 16:26] == x[:, 10:20]).all() and (~moved.visible[:, 10:16]).all()
    assert (moved.shift[:, 16:26] == 6).all()


def test_bars_where_a_thing_in_front_is_cut():
    d = np.zeros((40, 100), np.float32)
    d[10:30, :8] = 0.9
    bars = window_bars(d, 10, 0.4)
    assert bars.left == pytest.approx(5) and bars.right == 0
    assert window_bars(d[:, ::-1], 10, 0.4) == Bars(0, bars.left)
    assert window_bars(d, 10, 0.95) == Bars(0, 0)
    left = right = np.full((4, 100, 3), 9, np.uint8)
    a, b = float_window(left, right, Bars(4.2, 3))
    assert not a[:, :5].any() and a[:, 5:].all() and not b[:, -3:].any() and b[:, :-3].all()
    assert left.all()


def test_soft_edges_change_the_rim_alone():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, 60, 3), dtype=np.uint8)
    d = np.zeros((20, 60), np.float32)
    d[:, 20:40] = 8
    moved = move_view(x, -d)
    hard = fill_holes(moved)
    assert without_rims(moved, 0) is moved and soften(moved, hard, 0) is hard
    solid = without_rims(moved, 2)
    assert (~solid.visible).sum() == (~moved.visible).sum() + 4 * 20
    soft = soften(moved, fill_holes(solid), 2)
    changed = (soft != hard)[:, np.flatnonzero(moved.visible[0])].any((0, 2))
    assert set(np.flatnonzero(moved.visible[0])[changed]) <= {30, 31, 40, 41}
    flat = soften(moved, solid.view, 2)
    assert (flat[:, 29] == x[:, 37]).all() and (flat[:, 31] < x[:, 39]).any()
