"Eq. 12: the fast version against the loops, what moves, what is hidden, and what a bad input says."

import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.project import root
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.core import InputError, to_uint8
from scz_nb.depth.maps import depth_flicker
from scz_nb.depth.propagate import (
    going_on,
    propagate,
    propagate_loops,
    push,
    push_loops,
    scene_cuts,
    sources,
)
from scz_nb.geometry.flow import agree, dis_flow, raft_flow
from scz_nb.world.render import render, true_flow
from scz_nb.world.scenes import WorldConfig, sample_scene


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
    d, flows = (
        g.uniform(size=(T, H, W)),
        [np.round(g.normal(0, 1, (T - 1, H, W, 2)) * reach * 2) / 2 for _ in range(2)],
    )  # halves: rounded alike
    np.testing.assert_array_equal(
        propagate(d, flow=flows, holes=holes, fade=fade),
        propagate_loops(d, *flows, holes, fade).astype(np.float32),
    )


def test_one_step_is_the_loops_and_the_last_write_wins():
    g = np.random.default_rng(0)
    d, f = g.uniform(size=(7, 11)), g.normal(0, 3, (1, 7, 11, 2))
    for holes in ('own', 'previous'):
        np.testing.assert_array_equal(push(d, sources(f)[0], holes), push_loops(d, f[0], holes))
    row, both = np.array([[1.0, 2, 3]]), np.array([[[1.0, 0], [0, 0], [-1, 0]]])
    assert push_loops(row, both).tolist() == [[1, 3, 3]] and push_loops(
        row, both, 'own'
    ).tolist() == [[0, 3, 0]]


def test_right_is_right_and_down_is_down():
    d = np.arange(20.0).reshape(4, 5)
    f = np.zeros((4, 5, 2))
    f[..., 0], f[..., 1] = 2, 1
    assert push_loops(d, f, 'own')[1:, 2:].tolist() == d[:-1, :-2].tolist()


def moving(frames=6, step=2, size=(8, 40)):
    "Points that keep their disparity and move `step` pixels to the right; both flows."
    wide = np.random.default_rng(3).uniform(0, 1, (size[0], size[1] + step * frames))
    there = np.zeros((frames - 1, *size, 2))
    there[..., 0] = step
    return np.stack(
        [wide[:, step * (frames - t) : step * (frames - t) + size[1]] for t in range(frames)]
    ), (there, -there)


@pytest.mark.parametrize('holes', ['own', 'previous'])
def test_a_clip_that_only_moves_stays(holes):
    near, flows = moving()
    out = propagate(near, flow=flows, holes=holes)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[:, :, 12:-12], near[:, :, 12:-12], atol=1e-6)
    if holes == 'own':
        np.testing.assert_allclose(
            out, near, atol=1e-6
        )  # what comes in at the border has its own votes


def test_votes_are_the_mean_of_all_frames():
    near, flows = moving()
    shift = np.array([0, 1, 2, 3, 4, 5.0])[:, None, None]
    np.testing.assert_allclose(
        propagate(near + shift, flow=flows)[:, :, 12:-12], near[:, :, 12:-12] + 2.5, atol=1e-5
    )
    noisy = near + 0.1 * np.random.default_rng(0).standard_normal(near.shape)
    off = (
        np.abs(propagate(noisy, flow=flows) - near)[:, :, 12:-12].mean()
        / np.abs(noisy - near).mean()
    )
    assert 0.35 < off < 0.47  # 1/√6


def test_fade_from_nothing_to_all():
    near, flows = moving()
    rough = near + np.random.default_rng(0).uniform(size=(6, 1, 1))
    np.testing.assert_array_equal(propagate(rough, flow=flows, fade=0.0), rough.astype(np.float32))
    calm = [
        depth_flicker(propagate(rough, flow=flows, fade=f), flows[0]) for f in (0.0, 0.5, 0.9, 1.0)
    ]
    assert calm == sorted(calm, reverse=True)


def test_nothing_crosses_a_cut():
    near, flows = moving()
    rough = near + np.random.default_rng(0).uniform(size=(6, 1, 1))
    parts = [
        propagate(rough[a:b], flow=[f[a : b - 1] for f in flows]) for a, b in ((0, 2), (2, 5))
    ] + [rough[5:].astype(np.float32)]
    np.testing.assert_array_equal(
        propagate(rough, flow=flows, cuts=(5, 2, 2, 0, 99)), np.concatenate(parts)
    )


def test_check_holds_back_what_does_not_agree():
    near, (there, back) = moving()
    back[:, :4] = 9
    ok = agree(there, back)
    assert not ok[:, :4].any() and ok[:, 4:, :-2].all() and not ok[:, :, -2:].any()
    rough = near + np.random.default_rng(0).uniform(size=(6, 1, 1))
    out = propagate(rough, flow=(there, back), check=True)
    np.testing.assert_array_equal(out[:, :4], rough[:, :4].astype(np.float32))


def test_one_frame_and_one_value():
    np.testing.assert_array_equal(propagate(np.ones((1, 3, 4))), 1)
    near, flows = moving()
    np.testing.assert_array_equal(propagate(np.full_like(near, 0.25), flow=flows), 0.25)
    assert np.array_equal(
        propagate(torch.tensor(near), flow=[torch.tensor(f) for f in flows]),
        propagate(near, flow=flows),
    )


def test_tinyworld_is_calmed():
    world = WorldConfig(complexity='any', frames=8)
    s = sample_scene(10_004, world)
    clip = render(s, world, right=False)
    near, g = clip.disparity.double().numpy(), np.random.default_rng(0)
    rough = (
        g.uniform(0.8, 1.25, (8, 1, 1)) * near
        + g.uniform(-0.1, 0.1, (8, 1, 1))
        + 0.02 * g.standard_normal(near.shape)
    )
    asked = []

    def still(a, b):
        asked.append(len(a))
        return np.zeros((*a.shape[:3], 2))

    measured = propagate(rough, clip.left)  # DIS
    from scz_nb.world.render import true_flow

    f = true_flow(s, clip, world).numpy()
    assert depth_flicker(measured, f) < depth_flicker(rough, f) / 3
    err = lambda d: np.abs(np.polyval(np.polyfit(d.ravel(), near.ravel(), 1), d) - near).mean()
    assert err(measured) < err(rough) / 2
    propagate(rough, clip.left, flow=still)
    assert asked == [7, 7]


def turned(f):
    "The flow back, from the flow there."
    at = sources(f)
    at = np.where(at < 0, np.arange(at[0].size).reshape(at[0].shape), at)
    return np.stack([-v.reshape(-1, 2)[i] for v, i in zip(f, at)])


def test_sixteen_frames_along_the_true_flow():
    "Eight scenes: the truth carried along its own flow stays within 0.02 where it is seen, along DIS flow too; and the flicker of a noisy estimate falls at least threefold in each."
    g, got = np.random.default_rng(0), []
    for i in range(1, 9):
        w = WorldConfig(complexity='any', frames=16)
        s = sample_scene(10_000 + i, w)
        c = render(s, w, right=False)
        n, v, f = c.disparity.double().numpy(), to_uint8(c.left), true_flow(s, c, w).numpy()
        true, dis = (f, turned(f)), (dis_flow(v[:-1], v[1:]), dis_flow(v[1:], v[:-1]))
        here, seen = agree(*true), np.ones(n.shape, bool)
        seen[:-1] &= here
        seen[1:] &= agree(*true[::-1])  # found again before and after
        rough = (
            g.uniform(0.8, 1.25, (16, 1, 1)) * n
            + g.uniform(-0.1, 0.1, (16, 1, 1))
            + 0.02 * g.standard_normal(n.shape)
        )
        calm = [
            depth_flicker(propagate(d, flow=k), f, here) for d, k in ((rough, true), (rough, dis))
        ]
        assert max(calm) < depth_flicker(rough, f, here) / 3, i
        got.append([np.abs(propagate(n, flow=k) - n)[seen].mean() for k in (true, dis)])
    along_true, along_dis = np.mean(got, 0)
    assert along_true < 0.02 and along_dis < 0.02 and np.max(got) < 0.04, got


# cuts
def film(pace=1.0, n=4, first=20_000, size=(64, 40)):
    w = WorldConfig(complexity='any', pace=pace, width=size[0], height=size[1])
    return np.concatenate(
        [to_uint8(render(sample_scene(first + i, w), w, right=False).left) for i in range(n)]
    )


@pytest.mark.parametrize('pace, size', [(1.0, (64, 40)), (6.0, (64, 40)), (3.0, (128, 80))])
def test_cuts_are_found_and_speed_is_none(pace, size):
    v = film(pace, first=30_000, size=size)  # none of the scenes on which the threshold was chosen
    assert scene_cuts(v) == list(range(8, 32, 8))
    share = going_on(v)
    assert share.shape == (31,) and share.min() >= 0 and share.max() <= 1


def test_what_is_no_cut():
    v, g = film(n=1), np.random.default_rng(0)
    noisy = np.clip(v + g.normal(0, 15, v.shape), 0, 255).astype(np.uint8)
    fade = (v * np.linspace(1, 0, 8)[:, None, None, None]).astype(np.uint8)
    still, black = np.repeat(v[:1], 5, 0), np.zeros((4, 40, 64, 3), np.uint8)
    for x in (v, noisy, fade, still, black, v[:1], v / 255.0):
        assert scene_cuts(x) == []


def test_black_and_white_are_cuts():
    v, black = film(n=1), np.zeros((3, 40, 64, 3), np.uint8)
    assert scene_cuts(np.concatenate([v[:3], black, v[3:]])) == [3, 6]
    assert scene_cuts(np.concatenate([black, 255 - black])) == [3]


def test_a_large_film_is_looked_at_small():
    v = film(n=2, size=(320, 200))[4:12]
    big = v.repeat(3, 1).repeat(3, 2)
    assert scene_cuts(big) == scene_cuts(v) == [4]
    asked = []

    def flow(a, b):
        asked.append(a.shape)
        return np.zeros((*a.shape[:3], 2))

    scene_cuts(big, flow)
    assert asked == [(7, 180, 288, 3)] * 2


def test_found_cuts_keep_scenes_apart():
    v, g = film(n=2), np.random.default_rng(0)
    d = np.concatenate([g.uniform(0, 0.4, (8, 40, 64)), g.uniform(0.6, 1, (8, 40, 64))])
    out = propagate(d, v, cuts=scene_cuts(v))
    assert out[:8].max() <= 0.4 < 0.6 <= out[8:].min() and propagate(d, v)[:8].max() > 0.45


# RAFT
def test_raft_says_what_it_needs():
    code = "import sys; sys.modules['torchvision'] = None; from scz_nb.geometry.flow import raft_flow; raft_flow()"
    r = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    assert (
        'MissingDependency' in r.stderr
        and 'pip install torchvision' in r.stderr.splitlines()[-1]
        and 'dis_flow' in r.stderr.splitlines()[-1]
    )
    with pytest.raises(InputError, match='small, large'):
        raft_flow('medium')


near, flows = moving()


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
