"Dissolving, restart and refinement: exact algebra with networks that are formulas, and once with the real one."

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.config import StereoConfig
from scz_nb.core import InputError, NoiseSource
from scz_nb.diffusion.dissolve import dissolve, dissolve_timestep, downsample, spectrum
from scz_nb.diffusion.refine import refine_released, refine_step, refine_x0, scale_refine
from scz_nb.diffusion.restart import (
    clean_border,
    filling_latent,
    noisy_restart,
    relative_change,
    warp_and_fill,
)
from scz_nb.diffusion.schedule import add_noise, alphas_cumprod, compose, make_schedule, to_x0_eps
from scz_nb.geometry.warp import border_columns, warp_map, warp_with

shape = 1, 4, 3, 6, 10
noise = NoiseSource(0)
draw = lambda name: noise.normal(name, shape)
fresh = lambda i: draw(f'step {i}')
schedules = [
    make_schedule(50),
    make_schedule(50, prediction='eps', spacing='uniform', zero_snr=False),
    make_schedule(10),
    make_schedule(20, eta=0.5, base_scale=0.7),
]

near = torch.zeros(3, 6, 10)
near[:, 1:4, 4:7] = 1.0
near[:, 5] = 0.5
source, landed = warp_map(
    near, -20
)  # to the left: holes right of the block, and at the right border
mask, holes = landed[None, None], ~landed[None, None]
warp = lambda z: (warp_with(z, source, mask), mask)
stay = lambda z: (z, torch.ones_like(mask))  # nothing moves, no holes
walk = [draw(f'left {i}') for i in range(8)]


def predictor(s, seen=None):
    "A network as a formula, unlike for each step and pair of views: it looks at the neighbours, so holes and surroundings act on one another."

    def predict(left, right, i):
        if seen is not None:
            seen.append((i, right))
        return to_x0_eps(
            right,
            0.3 * right.roll(1, -1) + 0.2 * right.roll(-1, -1) - 0.1 * left + 0.01 * i,
            s.alpha[i],
            'v',
        )

    return predict


def same(a, b, where):
    return torch.equal(a.masked_select(where.expand_as(a)), b.masked_select(where.expand_as(b)))


# Eq. 2
@pytest.mark.parametrize('s', schedules)
def test_filling_latent_is_equation_2(s):
    z, eps = draw('z'), draw('eps')
    for i in (0, 1, 5, len(s) - 1):
        lam, sigma = s.alpha[i] ** 0.5, s.sigma[i]
        ratio = sigma / s.sigma[i - 1] if i else 1.0
        torch.testing.assert_close(
            filling_latent(z, i, s, torch.zeros_like(z)), (1 - lam) * ratio * z
        )
        torch.testing.assert_close(
            filling_latent(torch.zeros_like(z), i, s, eps), lam * sigma * eps
        )
        torch.testing.assert_close(
            filling_latent(z, i, s, eps), (1 - lam) * ratio * z + lam * sigma * eps
        )


def test_the_first_step_has_ratio_1():
    s = schedules[1]
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert filling_latent(one, 0, s, zero).item() == 1 - s.alpha[0] ** 0.5
    assert filling_latent(zero, 0, s, one).item() == s.alpha[0] ** 0.5 * s.sigma[0]
    assert torch.equal(
        filling_latent(draw('z'), 0, schedules[0], draw('eps')), draw('z')
    )  # zero SNR: λ = 0


def test_no_noise_no_ratio():
    s = make_schedule(50, eta=0.0)  # σ is 0 at every step: 0/0 is read as 1
    torch.testing.assert_close(
        filling_latent(draw('z'), 7, s, draw('eps')), (1 - s.alpha[7] ** 0.5) * draw('z')
    )


def test_lambda_grows_and_sigma_shrinks_over_the_walk():
    for s in schedules[:2]:
        assert all(a < b for a, b in zip(s.alpha, s.alpha[1:])) and s.sigma[0] > s.sigma[-1]


# Eq. 3
def test_border_blend():
    left, fill = draw('left'), draw('fill')
    border = border_columns(mask, -20)
    assert border.any() and not (border & mask).any() and (holes & ~border).any()
    assert torch.equal(clean_border(fill, left, border, 0.0), fill)
    assert torch.equal(clean_border(fill, left, border, 1.0), torch.where(border, left, fill))
    torch.testing.assert_close(
        clean_border(fill, left, border, 0.9), torch.where(border, 0.9 * left + 0.1 * fill, fill)
    )


def test_warp_and_fill_puts_each_in_its_place():
    left, fill = draw('left'), draw('fill')
    right, border = warp_and_fill(left, fill, warp, -20), border_columns(mask, -20)
    assert (
        same(right, warp(left)[0], mask)
        and same(right, fill, holes & ~border)
        and same(right, left, border)
    )
    assert same(warp_and_fill(left, fill, warp, -20, mu=0.0), fill, holes)
    assert same(
        warp_and_fill(left, fill, warp, 20), fill, holes
    )  # the other sign looks at the left border, where nothing is empty


# noisy restart
def restart(s, predict, warp=warp, **kw):
    return noisy_restart(
        walk,
        predict,
        warp,
        s,
        kw.pop('noise', fresh),
        draw('eps'),
        **{**dict(scale=-20, iterations=3, steps=4), **kw},
    )


def by_hand(s, predict, K, N, own=False, mu=1.0):
    border, kept = border_columns(mask, -20), {}
    for k in range(K):
        right = walk[0]
        for i in range(N):
            fill = kept[i] if k else right if own else walk[i]
            warped = warp_with(walk[i], source, mask)
            right = torch.where(
                mask, warped, torch.where(border, mu * walk[i] + (1 - mu) * fill, fill)
            )
            right = compose(*predict(walk[i], right, i), i, s, fresh(i))
            kept[i] = filling_latent(right, i, s, draw('eps'))
    return right


@settings(deadline=None, max_examples=30)
@given(
    s=st.sampled_from(schedules),
    K=st.integers(1, 4),
    N=st.integers(1, 6),
    own=st.booleans(),
    mu=st.sampled_from([0.0, 0.9, 1.0]),
)
def test_restart_is_the_loop_written_down(s, K, N, own, mu):
    out = restart(
        s, predictor(s), iterations=K, steps=N, mu=mu, first_fill='own' if own else 'left'
    )
    assert torch.equal(out, by_hand(s, predictor(s), K, N, own, mu))


@pytest.mark.parametrize('fill', ['left', 'own'])
def test_one_iteration_without_holes_is_a_plain_step(fill):
    s = schedules[0]
    p = predictor(s)
    assert torch.equal(
        restart(s, p, stay, iterations=1, steps=1, first_fill=fill),
        compose(*p(walk[0], walk[0], 0), 0, s, fresh(0)),
    )
    assert torch.equal(
        restart(s, p, stay, iterations=1, first_fill=fill),
        compose(*p(walk[3], walk[3], 3), 3, s, fresh(3)),
    )
    moved = lambda z: (z.roll(2, -1), torch.ones_like(mask))
    assert torch.equal(
        restart(s, p, moved, iterations=1, first_fill=fill),
        compose(*p(walk[3], walk[3].roll(2, -1), 3), 3, s, fresh(3)),
    )
    assert torch.equal(
        restart(s, p, moved, iterations=5, first_fill=fill),
        restart(s, p, moved, iterations=1, first_fill=fill),
    )


def test_restart_gives_the_same_bits_again_and_leaves_its_inputs_alone():
    s, before = schedules[1], [z.clone() for z in walk]
    a, b = (restart(s, predictor(s)) for _ in range(2))
    assert torch.equal(a, b) and all(map(torch.equal, walk, before))
    assert not torch.equal(a, restart(s, predictor(s), noise=lambda i: draw(f'other {i}')))


def test_what_lands_is_never_touched_by_the_fillings():
    s, seen = schedules[0], []
    restart(s, predictor(s, seen))
    assert [i for i, _ in seen] == [0, 1, 2, 3] * 3
    for i, right in seen:
        assert same(right, warp(walk[i])[0], mask)
    for (_, a), (_, b) in zip(seen, seen[4:]):
        assert not same(a, b, holes & ~border_columns(mask, -20))


def test_restart_reports_every_step():
    s, said = schedules[0], []
    out = restart(
        s,
        predictor(s),
        iterations=2,
        steps=3,
        report=lambda done, total, z: said.append((done, total, z)),
    )
    assert (
        [d for d, _, _ in said] == [1, 2, 3, 4, 5, 6]
        and {t for _, t, _ in said} == {6}
        and torch.equal(said[-1][2], out)
    )


@pytest.mark.parametrize(
    'bad, words',
    [
        (dict(first_fill='lefft'), "'left'"),
        (dict(iterations=0), 'iteration'),
        (dict(steps=0), 'latents'),
        (dict(steps=9), 'there are 8'),
    ],
)
def test_restart_says_what_cannot_be(bad, words):
    with pytest.raises(InputError, match=words):
        restart(schedules[0], predictor(schedules[0]), **bad)


# refinement
@pytest.mark.parametrize('s', schedules)
@pytest.mark.parametrize('form', ['released', 'x0'])
def test_one_repeat_is_a_plain_step(s, form):
    p, right = predictor(s), draw('right')
    for i in (0, 4, len(s) - 1):
        z = torch.where(mask, warp(walk[1])[0], right)
        got = refine_step(
            right, walk[1], p, warp, i, s, fresh(i), draw('again'), repeats=1, form=form
        )
        assert torch.equal(got, compose(*p(walk[1], z, i), i, s, fresh(i)))


@pytest.mark.parametrize('form', ['released', 'x0'])
def test_only_holes_change_between_repeats(form):
    s, seen = schedules[0], []
    args = (
        draw('right'),
        walk[2],
        predictor(s, seen),
        warp,
        20,
        s,
        fresh(20),
        draw('again'),
        5,
        form,
    )
    out = refine_step(*args)
    inputs = [z for _, z in seen]
    assert len(inputs) == 5 and same(inputs[0], draw('right'), holes)
    for a, b in zip(inputs, inputs[1:]):
        assert same(b, warp(walk[2])[0], mask) and not same(a, b, holes)
    assert torch.equal(out, refine_step(*args))


def test_the_forms_part_company_at_the_second_repeat():
    s, p = schedules[0], predictor(schedules[0])
    step = lambda n, form: refine_step(
        draw('right'), walk[2], p, warp, 20, s, fresh(20), draw('again'), n, form
    )
    assert torch.equal(step(1, 'released'), step(1, 'x0'))
    for n in (2, 3):
        assert not torch.equal(step(n, 'released'), step(n, 'x0')) and not torch.equal(
            step(n, 'x0'), step(1, 'x0')
        )
    whole = lambda n, form: refine_step(
        draw('right'), walk[2], p, stay, 20, s, fresh(20), draw('again'), n, form
    )
    assert torch.equal(whole(6, 'released'), whole(1, 'x0'))  # no holes: repeats change nothing


@pytest.mark.parametrize('s', schedules)
@pytest.mark.parametrize('i', [0, 4, 9])
def test_both_forms_of_equation_4_by_hand(s, i):
    p, right, again = (
        predictor(s),
        torch.where(mask, warp(walk[1])[0], draw('right')),
        draw('again'),
    )
    f = lambda z: p(walk[1], z, i)
    out1 = compose(*f(right), i, s, fresh(i))
    ratio = s.sigma[i] / s.sigma[i - 1] if i else 1.0
    out2 = compose(*f(torch.where(mask, right, ratio * out1)), i, s, fresh(i))
    assert torch.equal(refine_released(right, f, mask, i, s, fresh(i), 2), out2)
    first, w = f(right)[0], s.alpha_prev[i] ** 0.5
    x0, eps = f(
        torch.where(mask, right, s.alpha[i] ** 0.5 * first + (1 - s.alpha[i]) ** 0.5 * again)
    )
    want = compose(torch.where(mask, x0, w * x0 + (1 - w) * first), eps, i, s, fresh(i))
    torch.testing.assert_close(refine_x0(right, f, mask, i, s, fresh(i), 2, again), want)


def test_the_x0_form_keeps_the_noise_of_the_step():
    s, i, n = schedules[0], 20, [1, 1, 1, 200, 200]
    z, step, again = (noise.normal(name, n) for name in 'abc')
    all_hole, a, b = torch.zeros(1, 1, 1, 1, 1, dtype=torch.bool), s.alpha[i], s.alpha_prev[i]
    perfect = lambda z: (torch.zeros(n), z / (1 - a) ** 0.5)
    level = lambda r: (
        refine_x0((1 - a) ** 0.5 * z, perfect, all_hole, i, s, step, r, again).std().item()
        / (1 - b) ** 0.5
    )
    assert all(abs(level(r) - 1) < 0.02 for r in (1, 2, 5, 9))


@pytest.mark.parametrize('form', ['released', 'x0'])
def test_repeats_end_when_the_holes_have_settled(form):
    s, i = schedules[0], 20

    def step(tol, repeats=9, moved=warp):
        seen = []
        out = refine_step(
            draw('right'),
            walk[2],
            predictor(s, seen),
            moved,
            i,
            s,
            fresh(i),
            draw('again'),
            repeats,
            form,
            tol,
        )
        return out, len(seen)

    whole, all_nine = step(0.0)
    counts = {share: step(share)[1] for share in (0.001, 0.02, 0.05, 0.1, 0.2, 0.4, 10.0)}
    assert (
        all_nine == 9
        and list(counts.values()) == sorted(counts.values(), reverse=True)
        and counts[10.0] == 2
    )  # a change needs two to be seen
    between = [share for share, n in counts.items() if 2 < n < 9]
    assert between or form == 'released'
    for share in (*between, 10.0):
        assert torch.equal(
            step(share)[0], step(0.0, repeats=counts[share])[0]
        )  # it ends there, and nothing else changes
    assert step(0.0, moved=stay)[1] == 1 and torch.equal(
        step(0.0, moved=stay)[0], step(0.0, repeats=1, moved=stay)[0]
    )  # no holes, no repeats


def test_restart_ends_when_the_holes_have_settled():
    s = schedules[0]

    def count(tol, **kw):
        said = []
        out = restart(
            s,
            predictor(s),
            iterations=7,
            tol=tol,
            report=lambda done, total, z: said.append(done),
            **kw,
        )
        return out, said[-1] // 4

    whole, seven = count(0.0)
    early, n = count(0.05)
    assert (
        seven == 7
        and 2 <= n < 7
        and torch.equal(early, restart(s, predictor(s), iterations=n))
        and not torch.equal(early, whole)
    )
    assert count(100.0)[1] == 2


def test_relative_change_by_hand():
    a, b, where = (
        torch.tensor([3.0, 4, 9]).view(1, 1, 1, 1, 3),
        torch.tensor([3.0, 3, 7]).view(1, 1, 1, 1, 3),
        torch.tensor([True, True, False]).view(1, 1, 1, 1, 3),
    )
    assert (
        relative_change(a, b, where) == pytest.approx(1 / 5)
        and relative_change(a, b, ~where) == pytest.approx(2 / 9)
        and relative_change(a, b, where & False) == 0
    )


def test_refine_says_what_cannot_be():
    s = schedules[0]
    step = lambda **kw: refine_step(
        draw('right'), walk[0], predictor(s), warp, 3, s, fresh(3), draw('again'), **kw
    )
    with pytest.raises(InputError, match="'released'"):
        step(form='relesed')
    with pytest.raises(InputError, match='repeat'):
        step(repeats=0)


def test_the_plan_at_other_numbers_of_steps():
    plan = StereoConfig().refine
    assert scale_refine(plan, 50) == dict(plan)
    assert scale_refine(plan, 20) == {2: 8, 4: 8, 6: 3, 8: 6, 10: 6, 12: 6, 14: 6, 16: 6, 18: 4}
    assert scale_refine(plan, 10) == {1: 8, 2: 8, 3: 3, 4: 6, 5: 6, 6: 6, 7: 6, 8: 6, 9: 4}
    assert scale_refine(((6, 2), (9, 8), (10, 3)), 5) == {1: 8}  # one step: the largest counts
    assert scale_refine((), 50) == {}


@given(steps=st.integers(1, 1000))
def test_the_plan_stays_within_the_walk(steps):
    plan = scale_refine(StereoConfig().refine, steps)
    assert (
        all(0 <= i < steps for i in plan) and list(plan) == sorted(plan) and max(plan.values()) == 8
    )


# dissolved depth
def test_strength_0_is_the_same_tensor():
    x = draw('depth')
    assert dissolve(x, 0, None) is x and dissolve(x, 0, None, form='released') is x


@pytest.mark.parametrize('strength', [1, 5, 10, 30, 49, 50])
@pytest.mark.parametrize('kind', ['eps', 'v'])
def test_a_noised_latent_and_a_perfect_network_give_the_clean_one(strength, kind):
    x0, eps, calls = draw('x0').double(), draw('eps').double(), []
    zero = kind == 'v'
    a = alphas_cumprod(zero_snr=zero)[dissolve_timestep(strength)].item()
    out = a**0.5 * eps - (1 - a) ** 0.5 * x0 if kind == 'v' else eps
    predict = lambda x, t: calls.append((x, t)) or out
    noisy = add_noise(x0, eps, a)
    torch.testing.assert_close(dissolve(noisy, strength, predict, kind, zero), x0)
    assert [t for _, t in calls] == [20 * strength - 1] and torch.equal(calls[0][0], noisy)


def test_equation_5_and_its_released_form():
    x, e = draw('x0'), draw('eps')
    a = alphas_cumprod()[599].item()
    torch.testing.assert_close(
        dissolve(x, 30, lambda x, t: e, 'eps', zero_snr=False), (x - (1 - a) ** 0.5 * e) / a**0.5
    )
    torch.testing.assert_close(
        dissolve(x, 30, lambda x, t: e, 'eps', zero_snr=False, form='released'),
        x - ((1 - a) / a) ** 0.5 * e,
    )
    sigma = ((1 - a) / a) ** 0.5  # the same as an Euler sampler on x0 + σε with a v-network
    net = lambda z: z.roll(1, -1) - 0.2 * z
    euler = x / (1 + sigma**2) - sigma / (1 + sigma**2) ** 0.5 * net(x / (1 + sigma**2) ** 0.5)
    torch.testing.assert_close(
        dissolve(x, 30, lambda z, t: net(z), zero_snr=False, form='released'), euler
    )


@pytest.mark.parametrize('bad', [-1, 50.5, 51, math.nan, math.inf])
def test_strengths_out_of_range(bad):
    with pytest.raises(InputError, match='between 0'):
        dissolve(draw('x0'), bad, lambda x, t: x)
    with pytest.raises(InputError, match='between 0'):
        dissolve_timestep(bad)


def test_dissolve_says_what_cannot_be():
    with pytest.raises(InputError, match="'released'"):
        dissolve(draw('x0'), 30, lambda x, t: x, form='realesed')
    with pytest.raises(InputError, match='zero SNR'):
        dissolve(draw('x0'), 50, lambda x, t: x, 'eps')
    for bad in (0, -2, 2.5, '2', None):
        with pytest.raises(InputError, match='factor'):
            downsample(near, bad)


def test_timesteps_of_strengths():
    assert [dissolve_timestep(n) for n in (0, 1, 30, 50)] == [0, 19, 599, 999]
    assert dissolve_timestep(0.01) == 0 and dissolve_timestep(25, train_steps=100) == 49


@settings(deadline=None, max_examples=30)
@given(
    factor=st.sampled_from([1, 2, 4, 8]),
    h=st.integers(1, 4),
    w=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_downsampling_keeps_mean_and_range(factor, h, w, seed):
    x = torch.rand(2, 8 * h, 8 * w, generator=torch.Generator().manual_seed(seed))
    out = downsample(x, factor)
    assert out.shape == x.shape and out.min() >= x.min() - 1e-6 and out.max() <= x.max() + 1e-6
    torch.testing.assert_close(out.mean((1, 2)), x.mean((1, 2)))
    if factor == 1:
        torch.testing.assert_close(out, x)
    else:
        assert out.var() < x.var()


@given(value=st.floats(0, 1, width=32), factor=st.integers(1, 30))
def test_downsampling_keeps_a_constant_map(value, factor):
    x = torch.full((2, 7, 12), value)
    torch.testing.assert_close(downsample(x, factor), x)


def test_spectrum():
    h, w = 24, 40
    wave = lambda n, axis: (
        torch.cos(2 * math.pi * n * torch.arange((h, w)[axis]) / (h, w)[axis])
        .reshape((-1, 1) if axis == 0 else (1, -1))
        .expand(1, h, w)
    )
    for n in (1, 4, 9):
        for axis in (0, 1):
            f = spectrum(wave(n, axis))
            assert f.shape == (12,) and f.argmax() == n
    assert spectrum(torch.full((2, h, w), 0.7)).abs().max() < 1e-6
    x = torch.rand(2, h, w, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(spectrum(3 * x), 3 * spectrum(x))
    for other in (x.double(), x.half()):
        torch.testing.assert_close(spectrum(other), spectrum(x), atol=1e-3, rtol=1e-3)


# with the network that is shipped
@torch.no_grad()
def test_stages_with_the_real_network():
    from scz_nb.diffusion.attention import cross_view
    from scz_nb.models.backbones import load_backbone

    b = load_backbone('tiny', 'cpu')
    s, size = b.schedule(10, 1.0), b.latent_shape
    lefts = [noise.normal(f'z{i}', size) for i in range(2)]
    source, landed = warp_map(torch.linspace(1, 0, size[-1]).expand(*size[-3:]), -12)
    warp = lambda z: (warp_with(z, source, landed), landed[None, None])
    cond, rand = b.condition('a red ball', None), lambda i: noise.normal(f'n{i}', size)

    def predict(left, right, i):
        with cross_view(b.unet, i, len(s)):
            out = b.denoise(torch.cat([left, right]), s.timesteps[i], cond)
        return to_x0_eps(right, out[1:], s.alpha[i], s.prediction)

    make = lambda K: noisy_restart(
        lefts, predict, warp, s, rand, rand('eps'), scale=-12, iterations=K, steps=1
    )
    one, two = make(1), make(2)
    assert (
        one.shape == size
        and torch.isfinite(two).all()
        and not torch.equal(one, two)
        and torch.equal(two, make(2))
    )
    refined = {
        f: refine_step(two, lefts[1], predict, warp, 1, s, rand(1), rand('again'), 2, f)
        for f in ('released', 'x0')
    }
    assert all(
        torch.isfinite(z).all() and z.shape == size for z in refined.values()
    ) and not torch.equal(*refined.values())
    near = torch.linspace(0, 1, b.width).expand(b.frames, b.height, b.width)
    video = torch.full((b.frames, b.height, b.width, 3), 128, dtype=torch.uint8)
    soft = b.dissolve_depth(near, video, 30)
    assert (
        soft.shape == near.shape
        and 0 <= soft.min()
        and soft.max() <= 1
        and not torch.equal(soft, near)
    )
    torch.testing.assert_close(
        b.dissolve_depth(near, video, 0), near, atol=1e-4, rtol=0
    )  # 2×2 patches, 4 channels: nothing is lost


@pytest.mark.parametrize('size, last', [('256', 45), ('512', 44), ('1024', 39)])
def test_paper_settings_end_at_the_last_warp_step(size, last):
    from scz_nb.config import StereoConfig
    from scz_nb.models.backbones import paper_settings

    c = StereoConfig.make(**paper_settings(size))
    assert (
        c.refine[-1][0] == last
        and c.refine[:3] == ((6, 8), (9, 8), (14, 3))
        and c.scale == 4
        and c.guidance == 7.5
    )
