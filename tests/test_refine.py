"Eq. 4 in both forms, with networks that are formulas."

import pytest
import torch
from helpers.denoisers import Formula, draw, latents, left, same, schedules, still, warp
from hypothesis import given
from hypothesis import strategies as st

from scz_nb.config import StereoConfig
from scz_nb.core import InputError
from scz_nb.diffusion.refine import (
    cut_refine,
    refine_released,
    refine_step,
    refine_x0,
    scale_refine,
)
from scz_nb.diffusion.schedule import Prediction

forms = pytest.mark.parametrize('form', ['released', 'x0'])


def step(form, repeats, s=schedules[0], i=2, warp=warp, tol=0.0, right=None):
    "The latent after a refined step, and the latents that the network was shown."
    d, config = Formula(s), StereoConfig(refine_form=form, tol=tol)
    right = draw('right') if right is None else right
    *_, made = refine_step(d, warp, left, right, i, repeats, config)
    return made.latent, [z for _, z in d.seen]


@pytest.mark.parametrize('s', schedules)
@pytest.mark.parametrize('i', [0, 4, 7])
@forms
def test_one_repeat_is_a_plain_step(s, i, form):
    z = torch.where(warp.valid, warp(latents[i]), draw('right'))
    want = s.step(Formula(s).right(z, i), i, left.noises[i])
    assert torch.equal(step(form, 1, s, i)[0], want)


@forms
def test_only_holes_change_between_repeats(form):
    made, shown = step(form, 5)
    assert len(shown) == 5 and same(shown[0], draw('right'), warp.holes)
    for a, b in zip(shown, shown[1:]):
        assert same(b, warp(latents[2]), warp.valid)
        assert not same(a, b, warp.holes)


@forms
def test_every_repeat_gives_its_guess(form):
    d, config = Formula(schedules[0]), StereoConfig(refine_form=form)
    guesses = list(refine_step(d, warp, left, draw('right'), 2, 5, config))
    assert len(guesses) == len(d.seen) == 5
    for a, b in zip(guesses, guesses[1:]):
        assert not same(a.x0, b.x0, warp.holes)


@forms
def test_the_same_bits_again(form):
    assert torch.equal(step(form, 5)[0], step(form, 5)[0])


def test_the_forms_part_company_at_the_second_repeat():
    assert torch.equal(step('released', 1)[0], step('x0', 1)[0])
    for n in (2, 3):
        assert not torch.equal(step('released', n)[0], step('x0', n)[0])
        assert not torch.equal(step('x0', n)[0], step('x0', 1)[0])


@forms
def test_without_holes_repeats_change_nothing(form):
    made, shown = step(form, 6, warp=still)
    assert len(shown) == 1
    assert torch.equal(made, step('x0', 1, warp=still)[0])


@pytest.mark.parametrize('s', schedules)
@pytest.mark.parametrize('i', [0, 4, 7])
def test_the_released_form_by_hand(s, i):
    d, noise = Formula(s), left.noises[i]
    right = torch.where(warp.valid, warp(latents[i]), draw('right'))
    first = s.step(d.right(right, i), i, noise)
    ratio = s.sigma[i] / s.sigma[i - 1] if i else 1.0
    want = d.right(torch.where(warp.valid, right, ratio * first), i)
    *_, made = refine_released(Formula(s), right, warp.holes, i, noise, 2)
    assert torch.equal(made.x0, want.x0)
    assert torch.equal(made.latent, s.step(want, i, draw(f'step {i} repeat 1')))


@pytest.mark.parametrize('i', [6, 24, 44])
def test_the_released_form_draws_new_noise_and_loses_spread(i):
    s, size = schedules[0], (1, 1, 1, 100, 200)
    d = Formula(s, size, lambda z, i: Prediction(torch.zeros(size), z / s.noise[i]))
    everywhere = torch.ones(1, 1, 1, 1, 1, dtype=torch.bool)
    *_, made = refine_released(d, s.noise[i] * d.draw('a'), everywhere, i, d.draw('b'), 8)
    assert 0.6 < made.latent.std() / s.noise[i + 1] < 0.95


@pytest.mark.parametrize('s', schedules)
@pytest.mark.parametrize('i', [0, 4, 7])
def test_the_x0_form_by_hand(s, i):
    d = Formula(s)
    right = torch.where(warp.valid, warp(latents[i]), draw('right'))
    first, w = d.right(right, i).x0, s.signal[i + 1]
    noised = s.signal[i] * first + s.noise[i] * draw('again')
    x0, eps = d.right(torch.where(warp.valid, right, noised), i)
    want = torch.where(warp.valid, x0, w * x0 + (1 - w) * first)
    *_, made = refine_x0(Formula(s), right, warp.holes, i, left.noises[i], 2)
    torch.testing.assert_close(made.x0, want)
    torch.testing.assert_close(made.latent, s.step(Prediction(want, eps), i, left.noises[i]))


@pytest.mark.parametrize('repeats', [1, 2, 5, 9])
def test_the_x0_form_has_the_noise_of_the_step(repeats):
    s, i, size = schedules[0], 20, (1, 1, 1, 200, 200)
    d = Formula(s, size, lambda z, i: Prediction(torch.zeros(size), z / s.noise[i]))
    everywhere = torch.ones(1, 1, 1, 1, 1, dtype=torch.bool)
    *_, made = refine_x0(d, s.noise[i] * d.draw('a'), everywhere, i, d.draw('b'), repeats)
    assert made.latent.std().item() == pytest.approx(s.noise[i + 1], rel=0.02)


@forms
def test_repeats_end_when_the_holes_converge(form):
    counts = {tol: len(step(form, 9, tol=tol)[1]) for tol in (0.0, 0.001, 0.02, 0.1, 0.4, 1.0)}
    assert counts[0.0] == 9 and counts[1.0] == 2  # a change needs two to be seen
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    for tol, n in counts.items():  # it ends there, and nothing else changes
        assert torch.equal(step(form, 9, tol=tol)[0], step(form, n)[0])


def test_no_repeat_is_no_step():
    with pytest.raises(InputError, match='repeat'):
        step('x0', 0)


def test_an_unknown_form_is_named():
    with pytest.raises(InputError, match="'released'"):
        step('relesed', 1)


# the plan
def test_the_plan_at_other_numbers_of_steps():
    plan = StereoConfig().refine
    assert scale_refine(plan, 50) == dict(plan)
    assert scale_refine(plan, 20) == {2: 8, 4: 8, 6: 3, 8: 6, 10: 6, 12: 6, 14: 6, 16: 6, 18: 4}
    assert scale_refine(plan, 10) == {1: 8, 2: 8, 3: 3, 4: 6, 5: 6, 6: 6, 7: 6, 8: 6, 9: 4}


def test_where_several_entries_fall_on_a_step_the_largest_counts():
    assert scale_refine(((6, 2), (9, 8), (10, 3)), 5) == {1: 8}
    assert scale_refine((), 50) == {}


@given(steps=st.integers(1, 1000))
def test_the_plan_stays_within_the_run(steps):
    plan = scale_refine(StereoConfig().refine, steps)
    assert all(0 <= i < steps for i in plan)
    assert list(plan) == sorted(plan) and max(plan.values()) == 8


def test_a_plan_that_is_cut_ends_with_a_refined_step():
    plan = StereoConfig().refine
    assert cut_refine(plan, 44) == plan
    assert cut_refine(plan, 36)[-2:] == ((34, 6), (36, 6))
    assert cut_refine(plan, 12)[-2:] == ((9, 8), (12, 8))  # as often as the one before
    assert cut_refine(plan, 3) == ((3, 8),)
    assert cut_refine(plan, 50)[-1] == (50, 4)


@pytest.mark.parametrize('size, last', [('256', 45), ('512', 44), ('1024', 39)])
def test_paper_settings_end_at_the_last_warp_step(size, last):
    from scz_nb.models.backbones import paper_settings

    c = StereoConfig.make(**paper_settings(size))
    assert c.refine[-1][0] == last and c.refine[:3] == ((6, 8), (9, 8), (14, 3))
    assert c.scale == 4 and c.guidance == 7.5
