"Depth of any kind as inverse depth, flicker, and frames brought to one scale."

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scz_nb.core import InputError
from scz_nb.depth.maps import (
    Depth,
    align_frames,
    as_frames,
    best_line,
    depth_flicker,
    fit_line,
    fitted,
    stretched,
    to_inverse,
    with_jumps,
)
from scz_nb.geometry.disparity import normalise


# kinds of depth
def test_kinds_of_depth_agree():
    z = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1).expand(3, 4, 5)
    near = normalise(to_inverse(z, 'metric'))
    far = normalise(to_inverse(-z, 'far'))
    torch.testing.assert_close(near[:, 0, 0], torch.tensor([1.0, 1 / 3, 0.0]))
    torch.testing.assert_close(far[:, 0, 0], torch.tensor([0.0, 1 / 3, 1.0]))
    torch.testing.assert_close(to_inverse(z), z + 0)


def test_missing_values_are_far():
    z = np.array([[[2.0, 0.0, np.nan, np.inf, -1.0, 5.0]]])
    assert np.allclose(to_inverse(z, 'metric'), [[[0.5, 0.2, 0.2, 0.2, 0.2, 0.2]]])
    assert np.allclose(to_inverse(z, 'inverse'), [[[2.0, 0.0, -1.0, -1.0, -1.0, 5.0]]])


def test_depth_without_any_value_is_refused():
    with pytest.raises(InputError, match='all are missing'):
        to_inverse(np.zeros((1, 2, 2)), 'metric')


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match='inverse, metric, far'):
        to_inverse(np.ones((1, 2, 2)), 'metres')


def test_depth_of_another_size_is_resized():
    assert fitted(np.ones((3, 4, 5)), (3, 8, 10)).shape == (3, 8, 10)
    with pytest.raises(InputError, match='must be .3, height, width'):
        fitted(np.ones((2, 4, 5)), (3, 8, 10))


def test_constant_depth_is_far():
    with pytest.warns(UserWarning, match='constant'):
        assert (stretched(to_inverse(np.full((2, 3, 3), 7.0))) == 0).all()


def test_little_that_stands_out_is_no_constant():
    ball = torch.zeros(5, 40, 64)
    ball[2, 10:13, 10:13] = 4.0  # less than a hundredth
    assert stretched(ball).max() == 1


# the protocol
class Rows(Depth):
    name = 'rows'

    def raw(self, video):
        return torch.arange(video.shape[1]).view(1, -1, 1).expand(video.shape[:3]).float()


def test_a_depth_is_stretched_once():
    near = Rows()(np.zeros((2, 101, 5, 3), np.uint8))
    assert near.dtype == np.float32 and near.shape == (2, 101, 5)
    np.testing.assert_allclose(near[0, :, 0], np.clip((np.arange(101) - 1) / 98, 0, 1), atol=1e-6)


def test_a_depth_that_cannot_dissolve_says_so():
    with pytest.raises(InputError, match='needs a diffusion depth model, which rows is not'):
        Rows()(np.zeros((2, 4, 5, 3), np.uint8), 30)


@pytest.mark.parametrize('shape', [(4, 5, 3), (2, 4, 5, 2), (0, 4, 5, 3)])
def test_what_is_no_video_is_refused(shape):
    with pytest.raises(InputError, match='video'):
        as_frames(np.zeros(shape, np.uint8))


# flicker and alignment
def moving(frames=6, step=2, size=(20, 60)):
    "A clip whose points keep their disparity and move `step` pixels to the right; its flow."
    H, W = size
    wide = np.random.default_rng(3).uniform(0, 1, (H, W + step * frames))
    begins = [step * (frames - t) for t in range(frames)]
    flow = np.zeros((frames - 1, H, W, 2))
    flow[..., 0] = step
    return np.stack([wide[:, b : b + W] for b in begins]), flow


def of_frames(*values):
    return np.array(values, float)[:, None, None]


@settings(max_examples=25, deadline=None)
@given(
    a=st.lists(st.floats(0.3, 3), min_size=6, max_size=6),
    b=st.lists(st.floats(-1, 1), min_size=6, max_size=6),
)
def test_alignment_is_exact_for_scale_and_shift(a, b):
    near, flow = moving()
    out = align_frames(of_frames(*a) * near + of_frames(*b), flow)
    np.testing.assert_allclose(out, a[0] * near + b[0], atol=1e-9)
    assert depth_flicker(out, flow) < 1e-9


def test_a_few_wrong_pairs_do_not_matter():
    near, flow = moving()
    flow[:, :3, :, 1] = 9  # a sixth of the flow is wrong
    out = align_frames(of_frames(1, 2, 0.5, 1.5, 1, 3) * near, flow)
    np.testing.assert_allclose(out, near, atol=1e-6)


def test_noise_does_not_flatten():
    near, flow = moving(30, 1)
    noisy = near + 0.1 * np.random.default_rng(0).standard_normal(near.shape)
    out = align_frames(noisy, flow)
    assert 0.8 < out[-1].std() / noisy[-1].std() < 1.25


def test_frames_after_a_cut_keep_their_scale():
    near, flow = moving()
    visible = np.ones(flow.shape[:3], bool)
    visible[2] = False
    out = align_frames(of_frames(1, 1, 1, 2, 2, 2) * near, flow, visible)
    np.testing.assert_allclose(out[3], 2 * near[3])


def test_constant_frames_are_shifted():
    flow = moving()[1]
    flat = of_frames(1, 3, 2, 5, 1, 0) + np.zeros((6, 20, 60))
    np.testing.assert_allclose(align_frames(flat, flow), 1)


def test_flicker_of_what_is_never_found_again_is_not_a_number():
    near, flow = moving()
    assert np.isnan(depth_flicker(near, flow, np.zeros(flow.shape[:3])))


def test_flicker_is_the_change_along_the_motion():
    near, flow = moving()
    assert depth_flicker(near, flow) == 0
    rising = near + of_frames(*range(6))
    np.testing.assert_allclose(depth_flicker(rising, flow), 1)


@pytest.mark.parametrize('line', [(2, -1), (0.5, 3)])
def test_a_line_is_found(line):
    x = np.linspace(0, 1, 200)
    a, b = line
    np.testing.assert_allclose(fit_line(x, a * x + b), line, atol=1e-9)


@pytest.mark.parametrize(
    'depth, flow',
    [
        (np.zeros((3, 4, 4)), np.zeros((3, 4, 4, 2))),
        (np.zeros((1, 4, 4)), np.zeros((0, 4, 4, 2))),
        (np.zeros((3, 4, 4)), np.zeros((2, 4, 5, 2))),
        (np.full((3, 4, 4), np.nan), np.zeros((2, 4, 4, 2))),
    ],
)
@pytest.mark.parametrize('f', [align_frames, depth_flicker])
def test_what_does_not_fit_is_said(f, depth, flow):
    with pytest.raises(InputError):
        f(depth, flow)


def test_jumps_are_one_line_a_frame():
    near = moving()[0]
    jumps = with_jumps(near, np.random.default_rng(0))
    for true, frame in zip(near, jumps):
        np.testing.assert_allclose(best_line(frame, true), true, atol=1e-9)
    assert np.abs(best_line(jumps, near) - near).mean() > 0.01
