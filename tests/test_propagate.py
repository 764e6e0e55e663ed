"Eq. 12: the fast version against the loops, what moves, what is hidden, where scenes end."

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.core import InputError, to_uint8
from scz_nb.depth.maps import best_line, depth_flicker, with_jumps
from scz_nb.depth.propagate import (
    continuity,
    propagate,
    propagate_loops,
    push,
    push_loops,
    reverse_flow,
    scene_cuts,
    sources,
)
from scz_nb.geometry.flow import agree, dis_flow
from scz_nb.world.render import render, true_flow
from scz_nb.world.scenes import WorldConfig, sample_scene


# against the loops
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    T=st.integers(2, 5),
    H=st.integers(1, 6),
    W=st.integers(1, 9),
    reach=st.sampled_from([0.0, 0.5, 1.5, 4.0]),
    holes=st.sampled_from(['own', 'previous']),
    fade=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
)
def test_fast_is_the_loops_bit_by_bit(seed, T, H, W, reach, holes, fade):
    g = np.random.default_rng(seed)
    d = g.uniform(size=(T, H, W))
    there, back = (g.normal(0, 1, (T - 1, H, W, 2)) * reach for _ in range(2))
    flows = [np.round(2 * f) / 2 for f in (there, back)]  # halves: rounded alike
    want = propagate_loops(d, *flows, holes, fade).astype(np.float32)
    np.testing.assert_array_equal(propagate(d, flow=flows, holes=holes, fade=fade), want)


@pytest.mark.parametrize('holes', ['own', 'previous'])
def test_one_step_is_the_loops(holes):
    g = np.random.default_rng(0)
    d, f = g.uniform(size=(7, 11)), g.normal(0, 3, (1, 7, 11, 2))
    np.testing.assert_array_equal(push(d, sources(f)[0], holes), push_loops(d, f[0], holes))


@pytest.mark.parametrize('holes, want', [('previous', [1, 3, 3]), ('own', [0, 3, 0])])
def test_the_last_write_wins(holes, want):
    row, both = np.array([[1.0, 2, 3]]), np.array([[[1.0, 0], [0, 0], [-1, 0]]])
    assert push_loops(row, both, holes).tolist() == [want]


def test_right_is_right_and_down_is_down():
    d = np.arange(20.0).reshape(4, 5)
    f = np.zeros((4, 5, 2))
    f[..., 0], f[..., 1] = 2, 1
    assert push_loops(d, f, 'own')[1:, 2:].tolist() == d[:-1, :-2].tolist()


# a clip that only moves
def moving(frames=6, step=2, size=(8, 40)):
    "Points that keep their disparity and move `step` pixels to the right; both flows."
    H, W = size
    wide = np.random.default_rng(3).uniform(0, 1, (H, W + step * frames))
    begins = [step * (frames - t) for t in range(frames)]
    there = np.zeros((frames - 1, H, W, 2))
    there[..., 0] = step
    return np.stack([wide[:, b : b + W] for b in begins]), (there, -there)


near, flows = moving()
inner = np.s_[:, :, 12:-12]  # what all frames have


@pytest.fixture
def rough():
    return near + np.random.default_rng(0).uniform(size=(6, 1, 1))


@pytest.mark.parametrize('holes', ['own', 'previous'])
def test_a_clip_that_only_moves_stays(holes):
    out = propagate(near, flow=flows, holes=holes)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[inner], near[inner], atol=1e-6)


def test_what_comes_in_at_the_border_has_its_own_mean():
    np.testing.assert_allclose(propagate(near, flow=flows, holes='own'), near, atol=1e-6)


def test_the_result_is_the_mean_of_all_frames():
    shift = np.arange(6.0)[:, None, None]
    out = propagate(near + shift, flow=flows)
    np.testing.assert_allclose(out[inner], near[inner] + 2.5, atol=1e-5)


def test_noise_averages_out():
    noisy = near + 0.1 * np.random.default_rng(0).standard_normal(near.shape)
    left = np.abs(propagate(noisy, flow=flows) - near)[inner].mean()
    assert 0.35 < left / np.abs(noisy - near).mean() < 0.47  # 1/√6


def test_fade_0_is_the_input(rough):
    out = propagate(rough, flow=flows, fade=0.0)
    np.testing.assert_array_equal(out, rough.astype(np.float32))


def test_the_less_fade_the_calmer(rough):
    made = [propagate(rough, flow=flows, fade=f) for f in (0.0, 0.5, 0.9, 1.0)]
    calm = [depth_flicker(d, flows[0]) for d in made]
    assert calm == sorted(calm, reverse=True)


def test_nothing_crosses_a_cut(rough):
    parts = []
    for a, b in ((0, 2), (2, 5), (5, 6)):
        parts.append(propagate(rough[a:b], flow=[f[a : b - 1] for f in flows]))
    out = propagate(rough, flow=flows, cuts=(5, 2, 2, 0, 99))
    np.testing.assert_array_equal(out, np.concatenate(parts))


def test_check_keeps_out_what_does_not_agree(rough):
    there, back = flows[0], flows[1].copy()
    back[:, :4] = 9
    ok = agree(there, back)
    assert not ok[:, :4].any() and ok[:, 4:, :-2].all() and not ok[:, :, -2:].any()
    out = propagate(rough, flow=(there, back), check=True)
    np.testing.assert_array_equal(out[:, :4], rough[:, :4].astype(np.float32))


def test_one_frame_stays():
    np.testing.assert_array_equal(propagate(np.ones((1, 3, 4))), 1)


def test_one_value_stays():
    np.testing.assert_array_equal(propagate(np.full_like(near, 0.25), flow=flows), 0.25)


def test_tensors_are_arrays():
    out = propagate(torch.tensor(near), flow=[torch.tensor(f) for f in flows])
    np.testing.assert_array_equal(out, propagate(near, flow=flows))


def test_the_reverse_of_a_flow_leads_home():
    there = flows[0]
    assert agree(there, reverse_flow(there))[:, :, :-2].all()


@pytest.mark.parametrize(
    'kw, words',
    [
        (dict(disparity=near[0]), 'frames, height, width'),
        (dict(disparity=np.where(near > 0.5, np.nan, near)), 'finite'),
        (dict(flow=flows[:1]), 'two flows'),
        (dict(flow=(flows[0], flows[1][1:])), 'shape'),
        (dict(fade=2.0), 'fade'),
        (dict(holes='none'), 'own, previous'),
        (dict(flow=lambda a, b: None), 'give the video'),
        (
            dict(flow=lambda a, b: np.zeros((1, 2, 3, 2)), video=np.zeros((6, 8, 40, 3), np.uint8)),
            'shape',
        ),
        (dict(flow=lambda a, b: None, video=np.zeros((5, 8, 40, 3), np.uint8)), 'do not fit'),
    ],
)
def test_what_does_not_fit_is_said(kw, words):
    with pytest.raises(InputError, match=words):
        propagate(**{**dict(disparity=near, flow=flows), **kw})


# TinyWorld
def clip_of(i, frames):
    "Frames, disparity and true flow of a scene."
    world = WorldConfig(complexity='any', frames=frames)
    scene = sample_scene(10_000 + i, world)
    c = render(scene, world, right=False)
    return to_uint8(c.left), c.disparity.double().numpy(), true_flow(scene, c, world).numpy()


def error(depth, true):
    return np.abs(best_line(depth, true) - true).mean()


def test_tinyworld_is_calmed():
    v, n, f = clip_of(4, 8)
    rough = with_jumps(n, np.random.default_rng(0), 0.02)
    measured = propagate(rough, v)  # DIS
    assert depth_flicker(measured, f) < depth_flicker(rough, f) / 3
    assert error(measured, n) < error(rough, n) / 2


def test_the_flow_is_measured_there_and_back():
    v, n, _ = clip_of(4, 8)
    lengths = []

    def still(a, b):
        lengths.append(len(a))
        return np.zeros((*a.shape[:3], 2))

    propagate(n, v, flow=still)
    assert lengths == [7, 7]


@pytest.fixture(scope='module')
def eight():
    "Eight scenes of sixteen frames: disparity, true flow and DIS flow, and visible pixels."
    scenes = []
    for i in range(1, 9):
        v, n, f = clip_of(i, 16)
        true = f, reverse_flow(f)
        dis = dis_flow(v[:-1], v[1:]), dis_flow(v[1:], v[:-1])
        visible = np.ones(n.shape, bool)  # found again before and after
        visible[:-1] &= agree(*true)
        visible[1:] &= agree(*true[::-1])
        scenes.append((n, true, dis, visible))
    return scenes


def test_the_truth_stays_along_the_flow(eight):
    off = []
    for n, true, dis, visible in eight:
        off.append([np.abs(propagate(n, flow=f) - n)[visible].mean() for f in (true, dis)])
    assert np.mean(off, 0).max() < 0.02 and np.max(off) < 0.04, off


def test_flicker_falls_threefold_in_each_scene(eight):
    g = np.random.default_rng(0)
    for i, (n, true, dis, _) in enumerate(eight):
        there, both = true[0], agree(*true)
        rough = with_jumps(n, g, 0.02)
        calm = [depth_flicker(propagate(rough, flow=f), there, both) for f in (true, dis)]
        assert max(calm) < depth_flicker(rough, there, both) / 3, i


# cuts
def film(pace=1.0, n=4, first=20_000, size=(64, 40)):
    "Scenes one after the other, eight frames each."
    w = WorldConfig(complexity='any', pace=pace, width=size[0], height=size[1])
    clips = [render(sample_scene(first + i, w), w, right=False) for i in range(n)]
    return np.concatenate([to_uint8(c.left) for c in clips])


@pytest.mark.parametrize('pace, size', [(1.0, (64, 40)), (6.0, (64, 40)), (3.0, (128, 80))])
def test_cuts_are_found_and_speed_is_none(pace, size):
    v = film(pace, first=30_000, size=size)  # none of the scenes on which the threshold was chosen
    assert scene_cuts(v) == list(range(8, 32, 8))
    share = continuity(v)
    assert share.shape == (31,) and share.min() >= 0 and share.max() <= 1


one_scene = film(n=1)
noise = np.random.default_rng(0).normal(0, 15, one_scene.shape)


@pytest.mark.parametrize(
    'v',
    [
        one_scene,
        np.clip(one_scene + noise, 0, 255).astype(np.uint8),
        (one_scene * np.linspace(1, 0, 8)[:, None, None, None]).astype(np.uint8),
        np.repeat(one_scene[:1], 5, 0),
        np.zeros((4, 40, 64, 3), np.uint8),
        one_scene[:1],
        one_scene / 255.0,
    ],
    ids=['scene', 'noise', 'fade to black', 'still', 'black', 'one frame', 'floats'],
)
def test_what_is_no_cut(v):
    assert scene_cuts(v) == []


def test_black_and_white_are_cuts():
    v, black = film(n=1), np.zeros((3, 40, 64, 3), np.uint8)
    assert scene_cuts(np.concatenate([v[:3], black, v[3:]])) == [3, 6]
    assert scene_cuts(np.concatenate([black, 255 - black])) == [3]


def test_a_large_film_is_made_small():
    v = film(n=2, size=(320, 200))[4:12]
    big = v.repeat(3, 1).repeat(3, 2)
    assert scene_cuts(big) == scene_cuts(v) == [4]
    shapes = []

    def flow(a, b):
        shapes.append(a.shape)
        return np.zeros((*a.shape[:3], 2))

    scene_cuts(big, flow)
    assert shapes == [(7, 180, 288, 3)] * 2


def test_found_cuts_keep_scenes_apart():
    v, g = film(n=2), np.random.default_rng(0)
    d = np.concatenate([g.uniform(0, 0.4, (8, 40, 64)), g.uniform(0.6, 1, (8, 40, 64))])
    out = propagate(d, v, cuts=scene_cuts(v))
    assert out[:8].max() <= 0.4 < 0.6 <= out[8:].min() and propagate(d, v)[:8].max() > 0.45
