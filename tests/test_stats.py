"Intervals and distances: known values, limits, errors."

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from scz_nb.core import InputError
from scz_nb.stats import bootstrap, frechet, wilson


def rand(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    'hits, n, interval',
    [
        (0, 10, (0, 0.2775)),
        (10, 10, (0.7225, 1)),
        (5, 10, (0.2366, 0.7634)),
        (85, 100, (0.7672, 0.9069)),
        (1, 20, (0.0089, 0.2361)),
    ],
)
def test_wilson(hits, n, interval):
    assert wilson(hits, n) == pytest.approx(interval, abs=1e-3)


def test_wilson_without_trials():
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize('hits, n', [(-1, 4), (5, 4)])
def test_wilson_of_what_cannot_be(hits, n):
    with pytest.raises(InputError):
        wilson(hits, n)


def test_frechet_of_equal_sets_is_zero():
    a = rand(200, 32, seed=0)
    assert frechet(a, a) < 1e-6 and frechet(a, a.flip(0)) < 1e-6


def test_frechet_of_singular_covariances():
    "Fewer rows than columns."
    a = rand(200, 32, seed=0)
    few = a[:8]
    assert frechet(few, few) < 1e-5
    assert math.isfinite(frechet(few, a[8:16]))


def test_frechet_of_shifted_and_scaled_gaussians():
    a = rand(300, 16, seed=1).double()
    shift = torch.linspace(-1, 1, 16).double()
    assert frechet(a, a + shift) == pytest.approx(shift.square().sum().item(), rel=1e-9)
    scaled = 4 * torch.cov(a.T).trace() + 4 * a.mean(0).square().sum()
    assert frechet(a, 3 * a) == pytest.approx(scaled.item(), rel=1e-9)


def test_frechet_is_symmetric():
    a, b = rand(300, 16, seed=1), rand(100, 16, seed=2)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_frechet_with_scipys_square_root():
    a, b = rand(300, 16, seed=1).double(), rand(100, 16, seed=2).double()
    ca, cb = np.cov(a.numpy().T), np.cov(b.numpy().T)
    spread = np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    means = (a.mean(0) - b.mean(0)).square().sum().item()
    assert frechet(a, b) == pytest.approx(means + spread, rel=1e-6)


@pytest.mark.parametrize('shape', [(1, 16), (4, 8), (16,)])
def test_frechet_of_wrong_shapes(shape):
    with pytest.raises(InputError):
        frechet(rand(300, 16, seed=1), torch.zeros(shape))


def test_bootstrap_of_a_gaussian():
    x = rand(400, seed=3) + 5
    low, high = bootstrap(x)
    assert low < x.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.25)
    assert bootstrap(x) == (low, high)


def test_bootstrap_leaves_out_nan():
    assert bootstrap([2.0] * 5) == (2, 2)
    assert bootstrap([1.0, 1.0, float('nan')]) == (1, 1)
    assert all(map(math.isnan, bootstrap([])))


def test_bootstrap_of_the_median():
    assert bootstrap([0.0, 0, 0, 0, 100], of='median')[0] == 0
    with pytest.raises(InputError, match='mode'):
        bootstrap([0.0, 1.0], of='mode')
