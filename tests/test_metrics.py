"Measures: limits for equal pairs, known numbers for known changes, libraries as the equations."

import math

import numpy as np
import pytest
import torch
from helpers.scenes import disparity_card, smooth_pair, smooth_texture
from scipy.ndimage import gaussian_filter, zoom

from scz_nb.core import InputError, MissingDependency
from scz_nb.evaluation.metrics import (
    disparity_error,
    flicker,
    hidden_right,
    masked_psnr,
    motorcycle,
    occluded,
    psnr,
    right_scores,
    roughness,
    sgbm_shift,
    shift_between,
    siou,
    ssim,
    stereo_agreement,
    valid_right,
    vertical_disparity,
    visible_to_both,
)
from scz_nb.geometry.flow import motion
from scz_nb.stats import spearman
from scz_nb.world.render import Clip, render, true_flow
from scz_nb.world.scenes import WorldConfig, sample_scene

W, H, T = 64, 40, 2
world = WorldConfig(frames=3, complexity='any')


@pytest.fixture(scope='module')
def scenes():
    found = [sample_scene(torch.Generator().manual_seed(10_000 + i), world) for i in (1, 2)]
    return [(scene, render(scene, world)) for scene in found]


# the holes
def test_hidden_right_of_a_card():
    got = hidden_right(disparity_card(), 0.125)
    want = np.zeros((T, H, W), bool)
    want[:, :, W - 2 :] = True  # outside the left frame: the wall moved by 2
    # the card moved from 30–46 to 22–38; the wall that it hid at 30–46 is now at 28–44
    want[:, 10:30, 38:44] = True
    assert got.dtype == bool and (got == want).all()


def test_what_the_right_eye_misses_of_a_card():
    c = disparity_card()
    missed = occluded(c.disparity, c.right_disparity, -12.5)[:, 15]
    assert (missed == np.isin(np.arange(W), [0, 1, *range(24, 30)])).all()


def test_hidden_right_equals_loops(scenes):
    for _, c in scenes:
        right, left = c.right_disparity.double().numpy(), c.disparity.double().numpy()
        got = hidden_right(c, 0.12)
        for t, y, x in np.ndindex(right.shape):
            at = round(x + right[t, y, x] * 12 / 100 * W)
            outside = not 0 <= at < W
            assert got[t, y, x] == (outside or abs(left[t, y, at] - right[t, y, x]) > 0.004)


def test_occluded_agrees_with_the_renderer(scenes):
    for _, c in scenes:
        hidden = ~c.visible.numpy()
        off = {
            scale: (occluded(c.disparity, c.right_disparity, scale) != hidden).mean()
            for scale in (-12, 12, -6, -24)
        }
        right = off.pop(-12)
        assert right < 0.05
        assert min(off.values()) > 2 * right  # the wrong sign, the wrong scale


def test_visible_to_both_agrees_with_the_renderer(scenes):
    for _, c in scenes:
        visible = visible_to_both(-12 * c.disparity.numpy())
        assert (visible != c.visible.numpy()).mean() < 0.05


def test_visible_to_both_and_valid_right_of_a_card():
    c = disparity_card()
    shift = -12.5 * c.disparity.numpy()
    assert (visible_to_both(shift) == ~occluded(c.disparity, c.right_disparity, -12.5)).all()
    assert (valid_right(shift) == ~hidden_right(c, 0.125)).all()


def test_unknown_shifts_go_nowhere():
    shift = -12.5 * disparity_card().disparity.numpy()
    shift[:, 20] = np.nan
    assert not visible_to_both(shift)[:, 20].any() and not valid_right(shift)[:, 20].any()


def test_occluded_bad_input():
    with pytest.raises(InputError, match='one shape'):
        occluded(np.zeros((2, 4, 6)), np.zeros((2, 4, 5)), 5)
    with pytest.raises(InputError, match='no right view'):
        hidden_right(Clip(torch.zeros(1, 4, 6, 3), torch.zeros(1, 4, 6), ''), 0.1)


# levels
@pytest.fixture
def masked():
    "A video, the same with 10 levels more within a mask, and the mask."
    a = smooth_texture()
    mask = np.zeros(a.shape[:3], bool)
    mask[:, 5:9, 10:30] = True
    b = a.copy()
    b[mask] += 10
    return a, b, mask


def test_psnr_is_the_library_s():
    from skimage.metrics import peak_signal_noise_ratio

    a, b = smooth_texture(), smooth_texture(seed=1)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-5)


def test_masked_psnr_of_known_errors(masked):
    a, b, mask = masked
    within = 20 * math.log10(25.5)
    assert masked_psnr(a, b, mask) == pytest.approx(within, abs=1e-9)
    assert masked_psnr(a, b, mask | True) == pytest.approx(psnr(a, b))
    assert psnr(a, b) == pytest.approx(within - 10 * math.log10(mask.mean()), abs=1e-9)


def test_masked_psnr_has_its_limits(masked):
    a, b, mask = masked
    assert masked_psnr(a, a, mask) == masked_psnr(a, b, ~mask) == math.inf
    assert math.isnan(masked_psnr(a, b, mask & False))


def test_masked_psnr_bad_input(masked):
    a, b, mask = masked
    for bad in (mask[:, :-1], mask.astype(int), np.repeat(mask[..., None], 3, -1)):
        with pytest.raises(InputError):
            masked_psnr(a, b, bad)


def test_roughness_of_a_level_is_nothing():
    assert roughness(smooth_texture() * 0 + 7) == 0


def test_spearman_has_its_limits():
    x = smooth_texture()
    assert spearman(x, x) == pytest.approx(1)
    assert spearman(x, -x.astype(float)) == pytest.approx(-1)
    assert spearman(x, x * 0) == 0


# structure
def ssim_equation(a, b):
    "On one channel (H, W)."
    mean = lambda x: gaussian_filter(x, 1.5, truncate=3.5)
    a, b = a.astype(float), b.astype(float)
    ma, mb = mean(a), mean(b)
    va, vb = mean(a * a) - ma**2, mean(b * b) - mb**2
    covariance = mean(a * b) - ma * mb
    c1, c2 = 2.55**2, 7.65**2
    above = (2 * ma * mb + c1) * (2 * covariance + c2)
    below = (ma**2 + mb**2 + c1) * (va + vb + c2)
    return (above / below)[5:-5, 5:-5].mean()


def noisy_texture():
    noise = np.random.default_rng(1).normal(0, 15, smooth_texture().shape)
    return np.clip(smooth_texture() + noise, 0, 255).astype(np.uint8)


def test_ssim_is_its_equation():
    a, b = smooth_texture(), noisy_texture()
    channels = [(t, ..., c) for t in range(T) for c in range(3)]
    want = np.mean([ssim_equation(a[at], b[at]) for at in channels])
    assert ssim(a, b) == pytest.approx(want, abs=1e-5)


def test_ssim_has_its_limits():
    a, b = smooth_texture(), noisy_texture()
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)
    assert ssim(a / 255.0, a) == pytest.approx(1, abs=1e-12)  # floats and bytes are one picture
    assert ssim(255 - a, a) < 0


def test_ssim_of_levels_compares_means():
    level = [np.full((1, 16, 16, 3), v, np.uint8) for v in (100, 150)]
    want = (2 * 100 * 150 + 2.55**2) / (100**2 + 150**2 + 2.55**2)
    assert ssim(*level) == pytest.approx(want, abs=1e-6)


def test_ssim_bad_input():
    a = smooth_texture()
    for bad in ((a, a[:1]), (a[:, :10], a[:, :10]), (a[0], a[0])):
        with pytest.raises(InputError):
            ssim(*bad)


def stripe(x, w=16, ground=0):
    v = np.full((T, H, W, 3), ground, np.uint8)
    v[:, :, x : x + w] = 255
    return v


def test_siou_has_its_limits():
    left, true = stripe(30), stripe(20)
    assert siou(left, true, true) == 1 and siou(left, left, left) == 1
    assert siou(left, left, true) == 0  # nothing was moved


def test_siou_of_a_stripe_two_pixels_off():
    # no edge in common; both differ from the left view, by 20 columns:
    # 20–29 and 36–45, and 22–29 and 38–45
    left, true = stripe(30), stripe(20)
    assert siou(left, stripe(22), true) == pytest.approx(0.25 * 16 / 20)
    assert siou(true, stripe(22), left) != siou(left, stripe(22), true)  # arguments have an order


def test_siou_counts_differences_above_5_levels():
    left, true = stripe(30), stripe(20)
    assert siou(left, stripe(20, ground=5), true) == pytest.approx(1)
    # 6 levels are a difference everywhere but in the 6 columns that both stripes share
    want = 0.75 + 0.25 * 20 / 58
    assert siou(left, stripe(20, ground=6), true) == pytest.approx(want)


def test_siou_is_a_mean_over_frames():
    left, a, b = stripe(30), stripe(20), stripe(22)
    assert siou(left[:1], a[:1], a[:1]) == 1
    half = np.concatenate([a[:1], b[:1]])
    assert siou(left, half, a) == pytest.approx((1 + 0.25 * 16 / 20) / 2)


def test_siou_bad_input():
    left, a = stripe(30), stripe(20)
    with pytest.raises(InputError):
        siou(left, a[:1], a)
    with pytest.raises(InputError):
        siou(left, a, a[:, :, :-1])


# depth
@pytest.mark.parametrize('how', ['dis', 'sgbm'])
def test_disparity_error_of_a_known_shift(how):
    left, right = smooth_pair(-3)
    want = np.full((T, H, W), -300 / W)  # 3 pixels to the left, in percent
    e = disparity_error(left, right, want, how)
    assert e['mean'] < 0.2 and e['over1'] < 0.02 and e['over3'] == 0 and e['measured'] > 0.9


@pytest.mark.parametrize('how', ['dis', 'sgbm'])
@pytest.mark.parametrize(
    'factor, mean, over1, over3',
    [
        (-1, 6, 1, 1),
        (2, 3, 1, None),
        (0.5, 1.5, 1, 0),
        (1.2, 0.6, 0, 0),
        (1.94, 2.82, 1, 0),
        (2.06, 3.18, 1, 1),
    ],
)
def test_disparity_error_of_wrong_signs_and_scales(how, factor, mean, over1, over3):
    left, right = smooth_pair(-3)
    e = disparity_error(left, right, np.full((T, H, W), -300 / W) * factor, how)
    assert e['mean'] == pytest.approx(mean, abs=0.2)
    assert e['over1'] == pytest.approx(over1, abs=0.05)
    assert over3 is None or e['over3'] == pytest.approx(over3, abs=0.05)


def test_disparity_error_ignores_what_one_eye_sees():
    c = disparity_card()
    right, shift = c.right.numpy().copy(), -12.5 * c.disparity.numpy()
    assert disparity_error(c.left, right, shift)['mean'] < 1
    assert disparity_error(c.left, c.left, shift)['mean'] > 2


def test_disparity_error_of_some_pixels():
    c = disparity_card()
    right, shift = c.right.numpy().copy(), -12.5 * c.disparity.numpy()
    some = np.zeros((T, H, W), bool)
    some[:, 12:28, 33:43] = True  # within the card
    assert disparity_error(c.left, right, shift, visible=some)['mean'] < 0.5
    still = disparity_error(c.left, c.left, shift, visible=some)['mean']
    assert still == pytest.approx(8, abs=0.1)


def test_disparity_error_bad_input():
    left, right = smooth_pair(-3)
    zero = np.zeros((T, H, W))
    for bad in (
        (left, right, zero[..., :-1]),
        (left, right, zero, 'raft'),
        (left, right, zero * np.nan),
        (left, right[:1], zero),
    ):
        with pytest.raises(InputError):
            disparity_error(*bad)


def test_shift_has_sign_and_unit():
    left, right = smooth_pair(4)
    shift = shift_between(left, right)
    assert np.median(shift[..., 0]) == pytest.approx(400 / W, abs=0.1)
    assert np.abs(np.median(shift[..., 1])) < 0.1


def test_vertical_shift_is_in_percent_of_the_width_too():
    left, _ = smooth_pair(4)
    lower = np.roll(left, 2, 1)
    down = np.median(shift_between(left, lower)[:, 8:-8, :, 1])
    assert down == pytest.approx(200 / W, abs=0.15)


def test_sgbm_shift_has_sign_and_unit():
    left, right = smooth_pair(4)
    there = np.nanmedian(sgbm_shift(left, right, 10))
    assert there == pytest.approx(400 / W, abs=0.1)
    assert there == -np.nanmedian(sgbm_shift(right, left, 10))


def test_agreement_of_a_shifted_texture():
    left, right = smooth_pair(-4)
    near = np.full((T, H, W), 0.5)
    near[:, :, ::2] += 1e-4
    got = stereo_agreement(left, right, near, 12.5)
    assert got['shift'] == pytest.approx(400 / W, abs=0.2) and got['vertical'] < 0.2
    with pytest.raises(InputError, match='mirror'):
        stereo_agreement(left, right, near, -12.5)


def test_agreement_of_a_known_flow():
    left, right = smooth_pair(-4)  # to the left by 4 of 64 pixels: 6.25 %
    near = np.tile(np.linspace(0.2, 1, W), (T, H, 1))
    flow = np.stack([-4 * near, 0 * near + 0.64], -1)
    got = stereo_agreement(left, right, near, 6.25, flow=flow)
    for measure in ('correlation', 'slope', 'vertical'):
        assert got[measure] == pytest.approx(1)
    half = np.stack([2 * near, 0 * near], -1)  # half as much, the wrong way
    got = stereo_agreement(left, right, near, 6.25, flow=half)
    assert got['slope'] == pytest.approx(-0.5)


# calm
@pytest.fixture
def pan():
    "All moves 2 pixels to the left; and the flow of it."
    x = smooth_texture(96, 5)
    flow = np.zeros((4, H, W, 2), np.float32)
    flow[..., 0] = -2
    return np.stack([x[t, :, 2 * t : 2 * t + W] for t in range(5)]), flow


def test_flicker_of_what_only_moves(pan):
    video, flow = pan
    assert flicker(video, flow) == 0 and flicker(video) < 1.5


def test_flicker_sees_wrong_flows(pan):
    video, flow = pan
    assert flicker(video, -flow) > 10  # sign
    assert flicker(video, 0 * flow) > 5  # scale
    assert flicker(video, flow[..., ::-1]) > 5  # axes


def test_flicker_of_what_brightens(pan):
    video, flow = pan
    bright = (video + 10 * np.arange(5)[:, None, None, None]).astype(np.uint8)
    for v in (bright, bright / 255.0):
        assert flicker(v, flow) == pytest.approx(10, abs=1e-4)


def test_flicker_of_a_still(pan):
    video, flow = pan
    still = np.repeat(video[:1], 5, 0)
    assert flicker(still) == 0 and flicker(still, flow) > 5  # calm, but not where the truth moves


def test_flicker_counts_what_is_valid():
    x = smooth_texture(64, 2)
    x[1, :, 40:] = 255 - x[1, :, 40:]
    flow, valid = np.zeros((1, H, W, 2), np.float32), np.ones((1, H, W), bool)
    valid[..., 40:] = False
    assert flicker(x, flow, valid) == 0 and flicker(x, flow) > 1
    assert math.isnan(flicker(x, flow, valid & False))


def test_flicker_leaves_out_where_two_motions_meet():
    v = smooth_texture(64, 2)
    thing = 255 - smooth_texture(64, 1, 3)[0, 10:30, :16]
    v[1] = v[0]
    v[0, 10:30, 20:36] = thing
    v[1, 10:30, 24:40] = thing
    flow = np.zeros((1, H, W, 2), np.float32)
    flow[0, 10:30, 20:36, 0] = 4
    assert flicker(v, flow) == 0 and flicker(v, flow, np.ones((1, H, W), bool)) > 0.5


def test_flicker_on_true_motion(scenes):
    s, c = scenes[0]
    flow = true_flow(s, c, world).numpy()
    calm = flicker(c.left, flow)
    noise = np.random.default_rng(0).normal(0, 0.05, c.left.shape)
    assert calm < 4 and calm < flicker(np.clip(c.left.numpy() + noise, 0, 1), flow) - 4


def test_motion_is_the_true_one(scenes):
    s, c = scenes[0]
    true = true_flow(s, c, world).numpy()
    flow, valid = motion(c.left)
    assert flow.shape == true.shape and valid.shape == true.shape[:3]
    assert valid.mean() > 0.5 and np.abs(flow - true)[valid].mean() < 0.5


def test_motion_knows_what_it_cannot_see():
    c = disparity_card()
    video = np.stack([c.left[0], c.right[0]])  # the second eye as the next frame
    flow, valid = motion(video)
    hidden = occluded(c.disparity, c.right_disparity, -12.5)[:1]
    assert np.median(flow[0, 12:28, 33:43, 0]) == pytest.approx(-8, abs=0.2)
    assert np.median(flow[0, :8, :, 0]) == pytest.approx(-2, abs=0.2)
    assert valid[~hidden].mean() > 0.75 and valid[hidden].mean() < 0.4


def test_flicker_bad_input():
    x = smooth_texture()
    for bad in ((x[:1],), (x, np.zeros((2, H, 80, 2))), (x, np.zeros((1, H, 80)))):
        with pytest.raises(InputError):
            flicker(*bad)
    with pytest.raises(InputError):
        motion(x[:1])


# all together
def test_right_scores_of_the_truth(scenes):
    _, c = scenes[1]
    true = right_scores(c, c.right, 0.12)
    assert (true['psnr'], true['hole_psnr'], true['siou']) == (math.inf, math.inf, 1)
    assert true['ssim'] == pytest.approx(1)


def test_right_scores_see_what_is_wrong(scenes):
    _, c = scenes[1]
    true, copy, mirror = (right_scores(c, v, 0.12) for v in (c.right, c.left, c.left.flip(2)))
    assert true['disparity'] < 0.7 * copy['disparity']
    assert true['over1'] < copy['over1'] and true['flicker'] < copy['flicker']
    assert copy['siou'] > mirror['siou'] or copy['ssim'] > mirror['ssim']
    holes = masked_psnr(c.left, c.right, hidden_right(c, 0.12))
    assert copy['hole_psnr'] == pytest.approx(holes)


def test_a_single_frame_has_no_flicker(scenes):
    c = scenes[1][1]
    one = Clip(c.left[:1], c.disparity[:1], '', c.right[:1], c.right_disparity[:1], c.visible[:1])
    assert math.isnan(right_scores(one, one.right, 0.12)['flicker'])


# a photographed pair
@pytest.fixture(scope='module')
def bike():
    try:
        return motorcycle()
    except MissingDependency as e:
        pytest.skip(str(e))


def test_the_photographed_pair(bike):
    assert bike.left.shape == bike.right.shape == (1, 500, 741, 3)
    assert bike.left.dtype == np.uint8
    assert -8.2 < np.nanmin(bike.shift) < np.nanmax(bike.shift) < -0.9


def test_estimators_on_a_photographed_pair(bike):
    left, right, shift = bike
    both = visible_to_both(shift)
    for got in (shift_between(left, right)[..., 0], sgbm_shift(left, right, 8.1)):
        assert np.nanmedian(np.abs(got - shift)[both]) * 7.41 < 0.5
        assert np.nanmedian(np.abs(got + shift)[both]) * 7.41 > 20  # the wrong sign
        assert np.isfinite(got[both]).mean() > 0.85


@pytest.mark.parametrize('how', ['dis', 'sgbm'])
def test_disparity_error_of_a_photographed_pair(bike, how):
    left, right, shift = bike
    e = disparity_error(left, right, shift, how)
    assert e['mean'] < 2 and e['over3'] < 0.1
    assert disparity_error(left, right, 1.1 * shift, how)['mean'] > 3


def test_holes_of_a_photographed_pair(bike):
    left, right, shift = bike
    width, hole = 741, ~valid_right(shift)
    back = shift_between(right, left)[..., 0] * width / 100
    at = np.rint(np.arange(width) + back).astype(int)
    inside = at.clip(0, width - 1)
    there = np.take_along_axis(shift, inside, 2) * width / 100
    lost = np.abs(there + back)
    known = (at < width) & np.isfinite(there)
    far = lambda where: np.mean(lost[where & known] > 1.5)
    assert far(hole) > 3 * far(~hole)  # no way back from a hole
    colour = np.take_along_axis(left, inside[..., None], 2)
    wrong = np.abs(colour.astype(int) - right).mean(-1)
    assert np.median(wrong[hole & known]) > 2 * np.median(wrong[~hole & known])


# up and down
@pytest.fixture
def lower():
    "A texture, and it k pixels lower."
    x = zoom(np.random.default_rng(3).random((20, 20, 3)), (4, 4, 1), order=1)
    tall = x[None].repeat(T, 0)
    return lambda k: tall[:, 20 - k : 60 - k, 8:72]


def test_vertical_disparity_has_its_unit(lower):
    assert vertical_disparity(lower(0), lower(0)) == 0
    for k in (2, -3):
        assert vertical_disparity(lower(0), lower(k)) == pytest.approx(abs(k), abs=0.2)


def test_sideways_is_not_up():
    assert vertical_disparity(*smooth_pair(4)) < 0.2


def test_vertical_disparity_of_some_pixels(lower):
    some = np.zeros((T, H, W), bool)
    some[:, 10:30, 10:30] = True
    half = np.where(some[..., None], lower(0), lower(2))
    within, without = (vertical_disparity(lower(0), half, where) for where in (some, ~some))
    assert within < 0.5 < without
