"Noise levels, predictions and the step, for DDPM, EDM and flow matching."

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.core import InputError
from scz_nb.diffusion.schedule import (
    Prediction,
    ddpm_schedule,
    edm_schedule,
    flow_schedule,
    guide,
    guided,
    spaced_timesteps,
)

families = {
    'v': ddpm_schedule(20),
    'eps': ddpm_schedule(20, prediction='eps', spacing='uniform', zero_snr=False),
    'edm': edm_schedule([80 * 0.7**i for i in range(20)] + [0.0], eta=0.5),
    'flow': flow_schedule(20, eta=1.0, shift=3.0),
}


def rand(n, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def perfect(s, x0, eps, i):
    "What a perfect network says."
    a, n = s.signal[i], s.noise[i]
    if s.prediction == 'v':
        return (a * eps - n * x0) / math.hypot(a, n)
    return eps - x0 if s.prediction == 'flow' else eps


@pytest.mark.parametrize('s', families.values(), ids=families)
def test_noise_falls_and_the_last_entry_is_clean(s):
    assert len(s.signal) == len(s.noise) == len(s) + 1
    ratio = [n / math.hypot(a, n) for a, n in zip(s.signal, s.noise)]
    assert ratio == sorted(ratio, reverse=True)
    assert ratio[-1] < 0.05


@pytest.mark.parametrize('s', families.values(), ids=families)
def test_a_perfect_prediction_is_read_as_what_it_is(s):
    x0, eps = rand(50), rand(50, 1)
    for i in (1, 7, len(s) - 1):
        guess = s.interpret(s.noisy(x0, eps, i), perfect(s, x0, eps, i), i)
        torch.testing.assert_close(guess.x0, x0)
        torch.testing.assert_close(guess.eps, eps)


@pytest.mark.parametrize('s', families.values(), ids=families)
def test_a_step_with_the_truth_has_the_noise_of_its_entry(s):
    n, x0 = 100_000, 0.7
    eps, fresh = rand(n), rand(n, 1)
    for i in (0, 5, len(s) - 1):
        z = s.step(Prediction(torch.full((n,), x0).double(), eps), i, fresh)
        assert abs(z.mean() - s.signal[i + 1] * x0) < 0.02 * max(1, s.noise[i + 1])
        assert abs(z.std() - s.noise[i + 1]) < 0.02 * max(1e-3, s.noise[i + 1])


def test_sigma_is_ddims():
    s = ddpm_schedule(50)
    for i in range(50):
        a, after = s.signal[i] ** 2, s.signal[i + 1] ** 2
        want = ((1 - after) / (1 - a) * (1 - a / after)) ** 0.5
        assert s.sigma[i] == pytest.approx(want, abs=1e-12)


def test_eta_scales_sigma():
    half, whole = ddpm_schedule(10, 0.5), ddpm_schedule(10, 1.0)
    assert half.sigma == pytest.approx([0.5 * v for v in whole.sigma])
    assert not any(ddpm_schedule(10, 0.0).sigma)


@settings(deadline=None, max_examples=30)
@given(j=st.integers(1, 20), i=st.integers(0, 19), name=st.sampled_from(sorted(families)))
def test_the_way_back_up_ends_at_the_noise_of_the_entry(j, i, name):
    s, i = families[name], min(i, j)
    x0, eps, fresh = torch.zeros(20_000).double(), rand(20_000), rand(20_000, 1)
    again = s.renoise(s.noisy(x0, eps, j), j, i, fresh)
    assert again.std().item() == pytest.approx(s.noise[i], rel=0.03)


def test_a_clean_latent_goes_up_by_the_forward_process():
    s, x0, eps = families['flow'], rand(9), rand(9, 1)
    torch.testing.assert_close(s.renoise(x0, 20, 4, eps), s.noisy(x0, eps, 4))


def test_noise_must_be_given():
    with pytest.raises(InputError, match='noise'):
        families['v'].step(Prediction(rand(3), rand(3)), 4)


def test_noise_prediction_says_nothing_without_signal():
    s = ddpm_schedule(10, prediction='eps')
    with pytest.raises(InputError, match='zero SNR'):
        s.interpret(rand(3), rand(3), 0)


@pytest.mark.parametrize(
    'call, words',
    [
        (lambda: ddpm_schedule(10, prediction='flow'), "'eps' or 'v'"),
        (lambda: spaced_timesteps(0), 'between 1 and 1000'),
        (lambda: spaced_timesteps(10, 'leading'), 'uniform_trailing'),
        (lambda: spaced_timesteps(36, 'uniform'), 'divisor'),
    ],
)
def test_what_cannot_be_is_said(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_guidance_asks_once_or_twice():
    asked = []

    def ask(told):
        asked.append(told)
        return rand(8, len(asked)).view(1, 8)

    assert torch.equal(guided(ask, 'prompt', 'nothing', 1), rand(8, 1).view(1, 8))
    assert asked == ['prompt']
    want = guide(rand(8, 2).view(1, 8), rand(8, 3).view(1, 8), 4.0, 0.7)
    assert torch.equal(guided(ask, 'prompt', 'nothing', 4.0, 0.7), want)
    assert asked == ['prompt', 'prompt', 'nothing']
