"Latents that hold several frames: masks, moved trajectories, and right views through pixels."

import numpy as np
import pytest
import torch
from helpers.denoisers import draw, schedules
from hypothesis import given
from hypothesis import strategies as st

from scz_nb.config import StereoConfig
from scz_nb.core import NoiseSource, to_uint8
from scz_nb.diffusion.denoiser import Denoiser, LeftView, Trajectory
from scz_nb.diffusion.inpaint import in_all_frames, inpaint_right, known_view, visible_latents
from scz_nb.diffusion.pixels import (
    StillWarp,
    dual_calls,
    dual_right,
    exchange_clean,
    latent_warp,
    pixels_calls,
    pixels_right,
    through_pixels,
)
from scz_nb.evaluation.tables import held_out_scene
from scz_nb.geometry.warp import Warp
from scz_nb.sampler import run


@given(st.integers(2, 5), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_a_latent_is_known_if_all_of_its_frames_are(length, per, seed):
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(1, 1, 1 + (length - 1) * per, 2, 3, generator=g) < 0.7
    found = in_all_frames(mask, length)[0, 0]
    assert torch.equal(found[0], mask[0, 0, 0])
    for i in range(1, length):
        frames = mask[0, 0, 1 + (i - 1) * per : 1 + i * per]
        assert torch.equal(found[i], frames.all(0))


def test_a_latent_of_one_frame_is_as_it_was():
    seen = torch.rand(4, 8, 8) < 0.8
    assert torch.equal(visible_latents(seen, (4, 2, 2)), visible_latents(seen, (2, 2)))


@pytest.mark.parametrize('schedule', schedules)
def test_an_exchanged_trajectory_has_the_same_noise(schedule):
    x0, known = draw('x0'), draw('known')
    zs = [a * x0 + s * draw(f'n {i}') for i, (a, s) in enumerate(_levels(schedule))]
    way = exchange_clean(schedule, Trajectory([*zs[:-1], x0], []), known)
    for i, (a, s) in enumerate(_levels(schedule)[:-1]):
        torch.testing.assert_close(way.latents[i] - a * known, s * draw(f'n {i}'))


def _levels(schedule):
    return list(zip(schedule.signal, schedule.noise))


@pytest.fixture(scope='module')
def scene(backbone):
    return held_out_scene(3, backbone)


@pytest.fixture(scope='module')
def left(scene):
    return LeftView(scene.left, torch.as_tensor(scene.disparity))


def denoiser(backbone, scene, **config):
    config = StereoConfig.make(steps=5, scale=scene.scale, guidance=1.0, **config)
    told = dict(prompt=scene.clip.caption, first=scene.left[0])
    return Denoiser(backbone, config, NoiseSource(0), **told, cross_view=False)


@torch.no_grad()
def test_what_is_visible_are_moved_pixels(backbone, scene, left):
    view = known_view(denoiser(backbone, scene), left)
    assert view.filled.dtype == np.uint8 and view.mask.shape == (1, 1, *view.known.shape[2:])
    for right in (dual_right, pixels_right):
        made = right(denoiser(backbone, scene), left)
        assert np.array_equal(made[view.visible], view.filled[view.visible])
        assert not np.array_equal(made, view.filled)


@torch.no_grad()
@pytest.mark.parametrize('right, calls', [(dual_right, dual_calls), (pixels_right, pixels_calls)])
def test_network_evaluations_are_as_counted(right, calls, backbone, scene, left):
    d, steps = denoiser(backbone, scene), []
    right(d, left, steps.append)
    assert d.calls['right'] == calls(5) and d.calls['left'] == 0
    assert steps[-1].step == steps[-1].total == len(steps)


@torch.no_grad()
def test_a_way_through_pixels_holds_what_is_visible(backbone, scene, left):
    d = denoiser(backbone, scene)
    view = known_view(d, left)
    made = backbone.decode(through_pixels(d, view, torch.zeros_like(view.known)))
    off = np.abs(made.astype(int) - view.filled)[view.visible]
    assert off.mean() < 6  # of 255: what the autoencoder loses


@torch.no_grad()
def test_latents_of_one_frame_are_warped_themselves(backbone, scene, left):
    z = backbone.encode(scene.left)
    way = Trajectory([z, z], [])
    d = denoiser(backbone, scene)
    warp, same = latent_warp(d, LeftView(left.video, left.disparity, way))
    assert isinstance(warp, Warp) and same is way


def test_a_still_warp_keeps_latents(backbone, scene, left):
    view = known_view(denoiser(backbone, scene), left)
    warp = StillWarp(view, -4.0)
    assert warp(view.known) is view.known
    assert torch.equal(warp.holes, ~view.mask) and not (warp.border & warp.valid).any()


@pytest.mark.parametrize('right', ['dual', 'pixels'])
def test_from_a_picture_both_are_run(right, backbone, scene):
    picture = to_uint8(scene.clip.left)[0]
    video = run(
        picture, 'fog', backbone=backbone, steps=3, config=dict(right=right), progress=False
    )
    assert video.right.shape == video.left.shape
    assert video.meta['settings']['right'] == right


@torch.no_grad()
def test_to_the_left_eye_it_is_mirrored(backbone, scene):
    near = torch.as_tensor(scene.disparity)
    views = []
    for scale, flip in ((4.0, False), (-4.0, True)):
        video, disparity = scene.left, near
        if flip:
            video, disparity = video[:, :, ::-1].copy(), near.flip(-1)
        config = StereoConfig.make(steps=2, scale=scale)
        d = Denoiser(backbone, config, NoiseSource(0), cross_view=False)
        views.append(known_view(d, LeftView(video, disparity)).filled)
    assert np.array_equal(views[0], views[1][:, :, ::-1])


def test_inpainting_still_takes_frames(backbone, scene, left):
    assert inpaint_right(denoiser(backbone, scene), left).shape == left.video.shape
