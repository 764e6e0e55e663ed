"Eq. 2 and 3 and the loop over the first steps, with networks that are formulas."

import pytest
import torch
from helpers.denoisers import Formula, draw, latents, left, same, schedules, still, warp
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.config import StereoConfig
from scz_nb.diffusion.denoiser import Trajectory
from scz_nb.diffusion.restart import (
    clean_border,
    filling_latent,
    noisy_restart,
    relative_change,
    restart_length,
    warp_and_fill,
)
from scz_nb.diffusion.schedule import ddpm_schedule
from scz_nb.geometry.warp import Warp


def settings_for(s, iterations=3, steps=4, **kw):
    "Settings with that many restart steps of this run."
    c = StereoConfig(
        steps=len(s), restart_iterations=iterations, restart_steps=round(steps * 50 / len(s)), **kw
    )
    assert restart_length(c) == steps
    return c


def restart(s, warp=warp, left=left, on_step=lambda info: None, **kw):
    return noisy_restart(Formula(s), warp, left, settings_for(s, **kw), on_step)


def plain_step(s, z, i):
    return s.step(Formula(s).right(z, i), i, left.noises[i])


# Eq. 2
@pytest.mark.parametrize('s', schedules)
@pytest.mark.parametrize('i', [0, 1, 5, -1])
def test_filling_latent_is_equation_2(s, i):
    i %= len(s)
    z, eps, nothing = draw('z'), draw('eps'), torch.zeros(())
    lam, sigma = s.signal[i], s.sigma[i]
    ratio = sigma / s.sigma[i - 1] if i else 1.0
    torch.testing.assert_close(filling_latent(z, i, s, nothing), (1 - lam) * ratio * z)
    torch.testing.assert_close(filling_latent(nothing, i, s, eps), lam * sigma * eps)
    both = (1 - lam) * ratio * z + lam * sigma * eps
    torch.testing.assert_close(filling_latent(z, i, s, eps), both)


def test_the_first_step_has_ratio_1():
    s = schedules[1]
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert filling_latent(one, 0, s, zero).item() == 1 - s.signal[0]
    assert filling_latent(zero, 0, s, one).item() == s.signal[0] * s.sigma[0]


def test_at_zero_snr_the_first_filling_is_the_latent():
    assert torch.equal(filling_latent(draw('z'), 0, schedules[0], draw('eps')), draw('z'))


def test_no_noise_no_ratio():
    s = ddpm_schedule(50, eta=0.0)  # σ is 0 at every step: 0/0 is read as 1
    want = (1 - s.signal[7]) * draw('z')
    torch.testing.assert_close(filling_latent(draw('z'), 7, s, draw('eps')), want)


# Eq. 3
def test_border_blend():
    fill, border = draw('fill'), warp.border
    assert border.any() and not (border & warp.valid).any() and (warp.holes & ~border).any()
    mine = latents[0]
    assert torch.equal(clean_border(fill, mine, border, 0.0), fill)
    assert torch.equal(clean_border(fill, mine, border, 1.0), torch.where(border, mine, fill))
    want = torch.where(border, 0.9 * mine + 0.1 * fill, fill)
    torch.testing.assert_close(clean_border(fill, mine, border, 0.9), want)


def test_warp_and_fill_puts_each_in_its_place():
    mine, fill = latents[0], draw('fill')
    right = warp_and_fill(mine, fill, warp)
    assert same(right, warp(mine), warp.valid)
    assert same(right, fill, warp.holes & ~warp.border)
    assert same(right, mine, warp.border)
    assert same(warp_and_fill(mine, fill, warp, mu=0.0), fill, warp.holes)


# the loop
def by_hand(s, K, N, own=False, mu=1.0):
    d, kept = Formula(s), {}
    for k in range(K):
        right = latents[0]
        for i in range(N):
            fill = kept[i] if k else right if own else latents[i]
            at_border = torch.where(warp.border, mu * latents[i] + (1 - mu) * fill, fill)
            z = torch.where(warp.valid, warp(latents[i]), at_border)
            right = s.step(d.right(z, i), i, left.noises[i])
            kept[i] = filling_latent(right, i, s, d.draw('again'))
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
    fill = 'own' if own else 'left'
    made = restart(s, iterations=K, steps=N, border=mu, restart_fill=fill)
    assert torch.equal(made, by_hand(s, K, N, own, mu))


@pytest.mark.parametrize('fill', ['left', 'own'])
def test_one_iteration_without_holes_is_a_plain_step(fill):
    s = schedules[0]
    for n in (1, 4):
        made = restart(s, still, iterations=1, steps=n, restart_fill=fill)
        assert torch.equal(made, plain_step(s, latents[n - 1], n - 1))


class Rolled(Warp):
    "Moves everything by two columns, and round the edge: no holes."

    def __call__(self, z):
        return z.roll(2, -1)


def test_without_holes_one_iteration_is_all():
    s, rolled = schedules[0], Rolled(torch.zeros(3, 6, 10), (6, 10), 0)
    once = restart(s, rolled, iterations=1)
    assert torch.equal(once, plain_step(s, latents[3].roll(2, -1), 3))
    assert torch.equal(restart(s, rolled, iterations=5), once)


@pytest.mark.parametrize('off', [dict(restart_iterations=0), dict(restart_steps=0)])
def test_switched_off_it_is_the_first_left_latent(off):
    s = schedules[0]
    made = noisy_restart(Formula(s), warp, left, StereoConfig(**off))
    assert torch.equal(made, latents[0])


def test_the_same_bits_again_and_inputs_left_alone():
    s, before = schedules[1], [z.clone() for z in latents]
    assert torch.equal(restart(s), restart(s))
    assert all(map(torch.equal, latents, before))


def test_the_noise_of_the_steps_matters():
    s, other = schedules[1], [draw(f'other {i}') for i in range(50)]
    assert not torch.equal(restart(s), restart(s, left=Trajectory(latents, other)))


def test_what_is_valid_is_never_touched_by_the_fillings():
    d = Formula(schedules[0])
    noisy_restart(d, warp, left, settings_for(d.schedule))
    assert [i for i, _ in d.seen] == [0, 1, 2, 3] * 3
    for i, z in d.seen:
        assert same(z, warp(latents[i]), warp.valid)
    for (_, a), (_, b) in zip(d.seen, d.seen[4:]):
        assert not same(a, b, warp.holes & ~warp.border)


def test_restart_reports_every_step():
    said = []
    made = restart(schedules[0], iterations=2, steps=3, on_step=said.append)
    assert [(o.stage, o.step, o.total) for o in said] == [('restart', n, 6) for n in range(1, 7)]
    assert torch.equal(said[-1].latents, made)
    assert all(o.x0.shape == made.shape for o in said)


def test_restart_ends_when_the_holes_converge():
    s = schedules[0]

    def count(tol):
        said = []
        made = restart(s, iterations=7, tol=tol, on_step=said.append)
        return made, said[-1].step // 4

    whole, seven = count(0.0)
    early, n = count(0.05)
    assert seven == 7 and 2 <= n < 7
    assert torch.equal(early, restart(s, iterations=n)) and not torch.equal(early, whole)
    assert count(1.0)[1] == 2


def test_relative_change_by_hand():
    a = torch.tensor([3.0, 4, 9]).view(1, 1, 1, 1, 3)
    b = torch.tensor([3.0, 3, 7]).view(1, 1, 1, 1, 3)
    where = torch.tensor([True, True, False]).view(1, 1, 1, 1, 3)
    assert relative_change(a, b, where) == pytest.approx(1 / 5)
    assert relative_change(a, b, ~where) == pytest.approx(2 / 9)
    assert relative_change(a, b, where & False) == 0


@pytest.mark.parametrize('steps, n', [(50, 6), (20, 2), (10, 1), (1, 1), (200, 24)])
def test_restart_length_scales_with_the_steps(steps, n):
    assert restart_length(StereoConfig(steps=steps)) == n
