"The exact denoiser, and what the stages make of it."

import pytest
import torch

from scz_nb.config import StereoConfig
from scz_nb.diffusion.exact import ExactDenoiser, GaussianRow
from scz_nb.diffusion.schedule import ddpm_schedule
from scz_nb.sampler import mono_pass, paper_latents

row, fifty = GaussianRow(), ddpm_schedule(50)
warp = row.warp(1000)


@pytest.fixture(scope='module')
def left():
    return mono_pass(ExactDenoiser(row, fifty, StereoConfig()))


def test_no_guess_is_better():
    "The closed form against guesses that are a little larger or smaller."
    d = ExactDenoiser(row, fifty, StereoConfig(), 4000)
    root = torch.linalg.cholesky(row.covariance(row.shift))
    x = d.draw('rows') @ root.T
    for i in (5, 25, 45):
        guess = d.right(fifty.noisy(x, d.draw(f'noise {i}'), i), i)
        error = [(k * guess.x0 - x).square().mean().item() for k in (0.9, 1.0, 1.1)]
        assert min(error) == error[1]
        made = fifty.signal[i] * guess.x0 + fifty.noise[i] * guess.eps
        torch.testing.assert_close(made, fifty.noisy(x, d.draw(f'noise {i}'), i))


def test_a_true_row_has_the_right_scores(left):
    d = ExactDenoiser(row, fifty, StereoConfig())
    right = d.draw('rows') @ torch.linalg.cholesky(row.covariance(row.shift)).T
    assert row.scores(right, right)['fit'] == pytest.approx(1, abs=0.05)
    x = left.latents[-1]
    copied = row.scores(torch.where(warp.holes, x, warp(x)), x)
    assert copied['strayed'] == 0 and copied['fit'] > 1.5


def fit(left, **settings):
    d = ExactDenoiser(row, fifty, StereoConfig(**settings))
    return row.scores(paper_latents(d, warp, left), left.latents[-1])


def test_repeats_with_the_noise_that_belongs_to_them_fit(left):
    fits = {f: fit(left, refine_form=f)['fit'] for f in ('x0', 'released', 'resampled')}
    assert fits['released'] < 0.9 < fits['resampled'] < 1.1 < 1.8 < fits['x0']


def test_warping_again_makes_the_stereo(left):
    once = tuple((step, 1) for step, _ in StereoConfig().refine)
    assert fit(left, refine=once)['strayed'] < 0.2 < 0.5 < fit(left, refine=())['strayed']


def test_a_restart_in_front_of_repeats_cannot_be_seen(left):
    ends = []
    for k in (1, 7):
        d = ExactDenoiser(row, fifty, StereoConfig(restart_iterations=k))
        ends.append(paper_latents(d, warp, left))
    torch.testing.assert_close(*ends, atol=1e-6, rtol=0)
