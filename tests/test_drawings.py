"Drawings show what their sentence says: holes, latents, repeats, both views."

import io
import time

import numpy as np
import pytest
from helpers.drawing import halves, magenta, near
from PIL import Image

from scz_nb.apps.drawings import (
    VIEWS,
    draw_depth,
    draw_latents,
    draw_repeat,
    draw_stereo,
    draw_warp,
    drawing,
    latent_holes,
    outlined,
    warped_view,
)
from scz_nb.core import InputError
from scz_nb.media.show import anaglyph
from scz_nb.media.video import StereoVideo

rng = np.random.default_rng(0)
flat = np.full((20, 40, 3), 90, np.uint8)
block = np.zeros((20, 40), np.float32)
block[5:15, 15:20] = 1.0


def test_a_drawing_has_white_between_its_tiles():
    px = drawing([flat, flat], '').pixels()
    assert px.shape == (20, 84, 3) and px[:, 41:43].min() > 240
    assert near(px[:, :40], flat) and near(px[:, 44:], flat)


def test_a_notebook_gets_picture_and_words():
    d = drawing([flat], 'grey')
    data = d._repr_mimebundle_()
    assert set(data) == {'image/jpeg', 'text/plain'} and data['text/plain'] == 'grey'


# warp
def test_holes_are_where_the_block_was():
    view = warped_view(flat, block, 10.0)  # 4 columns to the left
    assert view.holes[5:15, 16:20].all() and view.holes.sum() == 40
    assert not view.border.any()


def test_a_negative_scale_leaves_holes_at_the_other_side():
    holes = warped_view(flat, block, -10.0).holes
    assert holes[5:15, 15:19].all() and holes.sum() == 40


def test_holes_are_magenta_and_counted():
    d = draw_warp(flat, block, scale=10, height=20)
    assert '5.0 % of the warped view are holes, 0.0 % at its border' in d.words
    assert d.pixels().shape == (20, 3 * 40 + 8, 3)
    assert magenta(d.pixels()[:, 44:84]) > 30


def test_without_a_shift_there_is_no_hole():
    assert magenta(draw_warp(flat, block, scale=0, height=20).pixels()) == 0


def test_holes_at_the_border_are_orange():
    left = rng.integers(0, 255, (8, 40, 3), np.uint8)
    view = warped_view(left, np.ones((8, 40)), 10.0)
    assert view.border[:, -4:].all() and view.border.sum() == view.holes.sum() == 32
    assert (view.pixels[view.border] == (255, 150, 0)).all()


def test_the_border_takes_the_left_view():
    left = rng.integers(0, 255, (8, 40, 3), np.uint8)
    view = warped_view(left, np.ones((8, 40)), 10.0, border=1.0)
    assert np.array_equal(view.pixels[view.border], left[view.border])


def test_convergence_shifts_and_opens_no_hole():
    a, b = (draw_warp(flat, block, scale=10, convergence=c, height=20) for c in (0.0, 1.0))
    assert a.words.split('.')[0] == b.words.split('.')[0]
    assert b.pixels().shape[1] == a.pixels().shape[1] - 4


def test_the_warp_is_fast():
    left, near = rng.integers(0, 255, (160, 256, 3), np.uint8), rng.random((160, 256), np.float32)
    times = []
    for k in range(12):
        begin = time.perf_counter()
        draw_warp(left, near, scale=k, convergence=0.3, border=0.5)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.1, f'{1000 * min(times):.0f} ms'


# depth
@pytest.fixture(scope='module')
def depths(backbone, recorded):
    "Strength → drawing of a depth map, 128 columns for each of the maps."
    _, v = recorded
    return {s: draw_depth(backbone, v.left, v.disparity, strength=s, height=80) for s in (0, 30)}


def test_the_change_of_a_map_is_said(depths):
    assert 'changes by 0.0 %' in depths[0].words
    assert 'changes by 0.0 %' not in depths[30].words


def test_at_strength_zero_both_maps_are_one(depths):
    px = depths[0].pixels()
    assert near(px[:, :128], px[:, 132:260])


def test_dissolving_changes_the_second_map_alone(depths):
    a, b = depths[0].pixels(), depths[30].pixels()
    assert near(a[:, :128], b[:, :128])
    assert not np.array_equal(b[:, 132:260], a[:, 132:260])


def test_spectra_are_drawn(depths):
    last = depths[0].pixels()[:, -128:]
    assert not near(last, np.full_like(last, 255), 1)


# latents
def latents(recorded, step=4, **settings):
    return draw_latents(recorded[0], step, height=40, **settings).pixels()


def test_latents_change_from_step_to_step(recorded):
    assert latents(recorded).shape == (40, 64, 3)
    assert not near(latents(recorded, 1), latents(recorded, 4))


def test_latents_of_both_views_differ(recorded):
    assert not near(latents(recorded, view='right'), latents(recorded, view='left'), 2)


def test_a_single_channel_is_grey(recorded):
    px = latents(recorded, channel=2)
    assert near(px[..., 0], px[..., 2], 2)


def test_a_difference_is_around_grey(recorded):
    assert abs(latents(recorded, view='difference').mean() - 128) < 12


def test_a_step_that_is_not_there_is_named(recorded):
    with pytest.raises(InputError, match='step 9'):
        draw_latents(recorded[0], 9)


def test_an_unknown_view_is_named(recorded):
    with pytest.raises(InputError, match=VIEWS[0]):
        draw_latents(recorded[0], 4, view='lefft')


# repeats
@pytest.fixture(scope='module')
def repeat(backbone, recorded):
    "A function that draws a pass of a step that was done four times."
    recording, video = recorded
    guesses, holes = recording.guesses()['refine 3'], latent_holes(video, (8, 20, 32))

    def draw(again, **settings):
        return draw_repeat(guesses, holes, backbone.decode, again, height=80, **settings)

    return draw


def test_some_latents_are_holes(recorded):
    assert 0 < latent_holes(recorded[1], (8, 20, 32)).float().mean() < 0.5


def test_holes_need_a_disparity_for_each_frame(recorded):
    v = recorded[1]
    short = StereoVideo(v.left[1:], v.right[1:], v.disparity[1:], meta=v.meta)
    with pytest.raises(InputError, match='8 frames'):
        latent_holes(short, (8, 20, 32))


def test_the_first_pass_has_none_before_it(repeat):
    assert 'Nothing to compare' in repeat(1).words


def test_every_pass_has_its_own_change(repeat):
    assert 'since the pass before' in repeat(2).words and repeat(4).words != repeat(2).words


def test_behind_the_last_pass_is_the_last(repeat):
    assert repeat(99).data == repeat(4).data


def test_outlines_of_holes_are_magenta(repeat):
    plain, marked = repeat(3, outlines=False).pixels(), repeat(3).pixels()
    assert magenta(plain[:, :128]) < magenta(marked[:, :128])


def test_an_outline_is_the_rim_of_a_mask():
    mask = np.zeros((5, 10), bool)
    mask[1:4, 2:6] = True
    px = outlined(flat, mask)
    marked = (px == (255, 0, 170)).all(-1)
    assert marked[4, 8:24].all() and marked[15, 8:24].all()
    assert not marked[5:15, 9:23].any()


# stereo
def blocks():
    "A clip of coloured blocks, which JPEG keeps."
    small = rng.integers(0, 255, (3, 4, 5, 1))
    return np.kron(small, np.ones((1, 8, 8, 3))).astype(np.uint8)


video = StereoVideo(blocks(), blocks(), rng.random((3, 32, 40)))


def stereo(kind, **settings):
    return draw_stereo(video, kind, height=32, **settings).pixels()


@pytest.mark.parametrize('kind, order', [('side by side', 'lr'), ('cross-eyed', 'rl')])
def test_a_pair_is_in_its_order(kind, order):
    views = dict(l=video.left, r=video.right)
    a, b = halves(stereo(kind, frame=2))
    first, second = (views[name][2] for name in order)
    assert near(a, first, 6) and near(b, second, 6) and not near(a, second, 6)


def test_swapping_exchanges_the_views():
    assert near(stereo('side by side', swap=True), stereo('cross-eyed'), 6)


def test_an_anaglyph_is_that_of_show():
    want = anaglyph(video.left[1], video.right[1], 'dubois')
    assert near(stereo('anaglyph, dubois', frame=1), want, 6)


def test_a_wiggle_shows_both_views_in_turn():
    moving = Image.open(io.BytesIO(draw_stereo(video, 'wiggle', frame=1, height=32).data))
    assert moving.n_frames == 2
    for i, view in enumerate((video.left, video.right)):
        moving.seek(i)
        assert near(np.asarray(moving.convert('RGB')), view[1], 12)


def test_an_unknown_kind_is_named():
    with pytest.raises(InputError, match='wigle'):
        draw_stereo(video, 'wigle')


def test_disparity_that_is_not_there_is_named():
    with pytest.raises(InputError, match='disparity'):
        draw_stereo(StereoVideo(video.left, video.right), 'disparity')
