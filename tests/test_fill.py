"A view warped in steps of a pixel, and its holes filled from the far side."

import numpy as np
import pytest
import torch
from helpers.scenes import card

from scz_nb.core import InputError
from scz_nb.geometry.fill import (
    away_from_holes,
    copy_columns,
    fill_background,
    visible_ends,
    warp_right,
)
from scz_nb.geometry.warp import warp

card_hole = np.isin(np.arange(40), [*range(16, 22), 38, 39])


# the warp
@pytest.mark.parametrize('subpixel', [1, 4])
def test_a_card_and_its_wall_move_apart(subpixel):
    "The card goes to columns 8–15; the wall at its right begins at 24 − 2 = 22."
    view, visible, near = warp_right(*card(), 20, subpixel)
    assert view.dtype == np.uint8 and (visible == ~card_hole).all()
    assert (view[:, :, 8:16] == (200, 0, 0)).all() and (near[:, :, 8:16] == 1).all()
    for x in (0, 3, 22, 37):
        assert (view[:, :, x, 1] == 5 * (x + 2)).all()
        assert np.allclose(near[:, :, x], 0.25)


@pytest.mark.parametrize('subpixel', [1, 4])
def test_holes_are_black_and_have_no_disparity(subpixel):
    view, _, near = warp_right(*card(), 20, subpixel)
    assert (view[:, :, card_hole] == 0).all() and (near[:, :, card_hole] == 0).all()


def test_whole_columns_are_those_of_the_warp():
    g = torch.Generator().manual_seed(0)
    left = torch.randint(0, 256, (2, 5, 33, 3), generator=g, dtype=torch.uint8)
    near = torch.rand(2, 5, 33, generator=g)
    want, mask = warp(left.permute(0, 3, 1, 2), near[:, None].double(), -15.0)
    view, visible, _ = warp_right(left, near, 15.0, subpixel=1)
    assert (view == want.permute(0, 2, 3, 1).numpy()).all()
    assert (visible == mask[:, 0].numpy()).all()


def test_steps_in_a_pixel_reach_half_pixels():
    "1.5 columns to the left: a line is shared by two; whole columns move by one."
    left, near = np.zeros((1, 2, 20, 3), np.uint8), np.full((1, 2, 20), 0.5)
    left[:, :, 10] = 200
    view, visible, _ = warp_right(left, near, 15, subpixel=4)
    assert view[0, 0, :, 0].tolist() == [0] * 8 + [100, 100] + [0] * 10
    assert visible[0, 0].tolist() == [True] * 19 + [False]
    assert warp_right(left, near, 15, subpixel=1).view[0, 0, 9, 0] == 200


@pytest.mark.parametrize('scale', [-1, 101, np.nan])
def test_scales_that_cannot_be_used(scale):
    with pytest.raises(InputError, match='scale'):
        warp_right(*card(), scale)


# the ends of a hole
def test_ends_are_pinned():
    row = np.array([[[False, True, False, False, True, False]]])
    before, after = visible_ends(row)
    assert before.tolist() == [[[-1, 1, 1, 1, 4, 4]]] and after.tolist() == [[[1, 1, 4, 4, 4, 6]]]


def test_columns_outside_take_the_left_view():
    right, left = np.full((1, 1, 3, 3), 7), np.full((1, 1, 3, 3), 9)
    column = np.array([[[-1, 2, 3]]])
    assert copy_columns(right, column, left)[0, 0, :, 0].tolist() == [9, 7, 9]


# the far side
def test_a_hole_takes_the_wall_not_the_card():
    view = fill_background(*card(), 20)[0, 3]
    assert (view[16:22] == (0, 120, 0)).all()  # the wall's column 24
    assert (view[38:] == (0, 195, 0)).all()  # at the border there is one end only


def bands(first, thing, last):
    "Blue, red and green from columns 0, 12 and 20 of 40, at these disparities."
    left, near = np.zeros((1, 4, 40, 3), np.uint8), np.zeros((1, 4, 40))
    left[:, :, :12], near[:, :, :12] = (0, 0, 90), first
    left[:, :, 12:20], near[:, :, 12:20] = (200, 0, 0), thing
    left[:, :, 20:], near[:, :, 20:] = (0, 90, 0), last
    return left, near


def test_a_thing_before_a_far_wall():
    assert (fill_background(*bands(0, 0.25, 0), 20)[0, 0, 18:20] == (0, 90, 0)).all()


def test_a_thing_before_a_nearer_wall():
    "Red to 8–15, green to 19–: the hole lies between them, and green is the far one."
    assert (fill_background(*bands(0, 0.5, 0.125), 20)[0, 0, 16:19] == (0, 90, 0)).all()


def test_a_thing_at_the_border():
    "It moves left, and the border opens; what is left of it stays."
    left, near = bands(0, 0, 1)
    left[:, :, 12:20] = (0, 0, 90)
    view = fill_background(left, near, 20)[0, 0]
    assert (view[:12] == (0, 0, 90)).all() and (view[12:] == (0, 90, 0)).all()


def test_a_row_without_anything_takes_the_left_view():
    left, near = card(4, 16)
    near[:] = 1
    assert (fill_background(left, near, 100) == left).all()


def test_floats_are_bytes():
    left, near = card()
    want = fill_background(left, near, 20)
    given = torch.from_numpy(left / 255.0), torch.from_numpy(near).float()
    assert (fill_background(*given, 20.0) == want).all()


def test_beside_a_hole():
    row = np.array([[[True, True, False, True, True, True, False]]])
    assert away_from_holes(row)[0, 0].tolist() == [True, False, False, False, True, False, False]
    assert away_from_holes(np.ones((2, 3, 4), bool)).all()
    assert not away_from_holes(np.zeros((2, 3, 4), bool)).any()
