"Optical flow: signs, what is found again, and what a flow must refuse."

import subprocess
import sys

import numpy as np
import pytest
from helpers.project import root
from helpers.tensors import rand

from scz_nb.core import InputError
from scz_nb.geometry.flow import (
    agree,
    backward_warp,
    both_flows,
    dis_flow,
    matches,
    motion,
    raft_flow,
    unoccluded,
    video_flow,
)


def constant(right, down, frames=1, height=4, width=6):
    return np.broadcast_to(np.float32([right, down]), (frames, height, width, 2))


def sliding(right=3, down=-2, frames=3):
    "A smooth texture that moves by whole pixels."
    big = np.kron(rand(20, 24, 3).numpy(), np.ones((8, 8, 1)))
    rows = [np.roll(big, (t * down, t * right), (0, 1))[40:120, 40:136] for t in range(frames)]
    return (np.stack(rows) * 255).astype(np.uint8)


def test_matches_are_pinned():
    "To the right by 2 and down by 1, rounded; the last columns and the last row leave."
    row, column, found = matches(constant(1.6, 1.4))
    assert row[0, 0].tolist() == [1] * 6 and column[0, 0].tolist() == [2, 3, 4, 5, 5, 5]
    assert found[0].tolist() == [[True] * 4 + [False] * 2] * 3 + [[False] * 6]


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_found(bad):
    assert not matches(constant(bad, 0)).found.any()


def test_what_is_not_visible_is_not_found():
    visible = np.arange(24).reshape(1, 4, 6) % 2 == 0
    assert (matches(constant(0, 0), visible).found == visible).all()


def test_a_flow_has_two_components():
    with pytest.raises(InputError, match='a flow is'):
        matches(np.zeros((1, 4, 6, 3)))


def test_there_and_back_is_home():
    assert agree(constant(1, 0), constant(-1, 0))[0].tolist() == [[True] * 5 + [False]] * 4
    assert not agree(constant(1, 0), constant(1.5, 0)).any()


def test_a_backward_warp_reads_where_the_flow_points():
    x = rand(1, 4, 6, 3).numpy()
    np.testing.assert_array_equal(backward_warp(x, constant(1, 0))[0, :, :5], x[0, :, 1:])
    half = backward_warp(x, constant(0, 0.5))[0, :3]
    np.testing.assert_allclose(half, (x[0, :3] + x[0, 1:]) / 2, atol=1e-5)


def test_two_on_one_place_hide_one_another():
    flow = constant(0, 0).copy()
    flow[0, 1, 2, 0] = 2.0  # arrives at column 4, where another one stays
    want = np.ones((4, 6), bool)
    want[1, [2, 4]] = False
    assert (unoccluded(flow)[0] == want).all()


def test_measured_flow_has_the_sign_of_the_motion():
    video = sliding(right=3, down=-2)
    flow, visible = motion(video)
    assert flow.shape == (2, 80, 96, 2) and visible.mean() > 0.7
    np.testing.assert_allclose(np.median(flow[visible], 0), [3, -2], atol=0.2)
    np.testing.assert_allclose(np.median(video_flow(video), (0, 1, 2)), [3, -2], atol=0.2)


def test_both_flows_measures_there_and_back():
    video = sliding()
    there, back = both_flows(video, dis_flow, video.shape[:3])
    np.testing.assert_array_equal(there, dis_flow(video[:-1], video[1:]))
    np.testing.assert_array_equal(back, dis_flow(video[1:], video[:-1]))


@pytest.mark.parametrize('f', [motion, video_flow])
def test_one_frame_does_not_move(f):
    with pytest.raises(InputError, match='two frames'):
        f(sliding(frames=1))


# RAFT
def test_raft_says_what_it_needs():
    code = """import sys; sys.modules['torchvision'] = None
from scz_nb.geometry.flow import raft_flow; raft_flow()"""
    r = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    last = r.stderr.splitlines()[-1]
    assert 'MissingDependency' in r.stderr
    assert 'pip install torchvision' in last and 'dis_flow' in last


def test_raft_has_two_sizes():
    with pytest.raises(InputError, match='small, large'):
        raft_flow('medium')
