"Eq. 5: dissolving a latent, and what it does to a map's detail."

import math

import pytest
import torch
from helpers.denoisers import draw, near
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.core import InputError
from scz_nb.diffusion.dissolve import dissolve, dissolve_timestep, downsample, spectrum
from scz_nb.diffusion.schedule import add_noise, alphas_cumprod


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
