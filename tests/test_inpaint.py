"What is seen stays, and only that; both signs; any predictor."

import numpy as np
import pytest
import torch
from helpers.denoisers import Formula

from scz_nb.config import StereoConfig
from scz_nb.core import InputError, to_uint8
from scz_nb.diffusion.inpaint import expected, inpaint, visible_latents
from scz_nb.diffusion.schedule import Prediction, ddpm_schedule
from scz_nb.evaluation.metrics import psnr
from scz_nb.geometry.fill import away_from_holes, fill_background, warp_right
from scz_nb.models.embedded import held_out
from scz_nb.sampler import count_calls, run


@pytest.fixture(scope='module')
def pair(backbone):
    return held_out(backbone.model.config, 5)[4]


@pytest.fixture(scope='module')
def go(backbone, pair):
    return lambda **kw: run(
        **{
            **dict(
                video=pair.left,
                depth=pair.disparity,
                scale=12.0,
                steps=4,
                backbone=backbone,
                progress=False,
            ),
            **kw,
            'config': dict(right='inpaint', dissolve=0) | kw.get('config', {}),
        }
    )


@pytest.fixture(scope='module')
def video(go):
    return go()


def test_visible_pixels_are_the_warped_ones(video, pair):
    moved, seen, _ = warp_right(pair.left, pair.disparity, 12.0)
    assert (
        (video.left == to_uint8(pair.left)).all()
        and (video.right[seen] == moved[seen]).all()
        and 0.8 < seen.mean() < 0.99
    )
    assert (
        video.right[~seen].std() > 1
        and (video.right[~seen] != fill_background(pair.left, pair.disparity, 12.0)[~seen]).any()
    )


def test_nearer_to_the_truth_than_the_paper(video, pair, go):
    paper = go(config=dict(right='paper'))
    assert (
        psnr(video.right, pair.right) > psnr(paper.right, pair.right) + 3
        and psnr(video.right, pair.right) > psnr(pair.left, pair.right) + 3
    )


def test_seed_and_prompt(video, go):
    assert (
        (go().right == video.right).all()
        and (go(seed=1).right != video.right).any()
        and (go(prompt='a red ball').right != video.right).any()
    )


def test_no_shift_is_the_left_view(go):
    assert (go(scale=0.0).right == go(scale=0.0).left).all()


def test_other_eye_is_the_mirror_image(pair, go):
    v = go(scale=-12.0)
    assert (v.right == to_uint8(pair.left)).all()
    moved, seen, _ = warp_right(pair.left.flip(2), pair.disparity.flip(2), 12.0)
    assert (v.left[:, :, ::-1][seen] == moved[seen]).all()


def test_exponent_reaches_the_warp(pair, go):
    moved, seen, _ = warp_right(pair.left, pair.disparity**2, 12.0)
    assert (go(config=dict(exponent=2.0)).right[seen] == moved[seen]).all()


def test_any_length_and_no_noise(pair, go):
    assert go(video=pair.left[:3], depth=pair.disparity[:3]).right.shape == (3, 40, 64, 3)
    assert go(config=dict(eta=0.0)).right.shape == (
        8,
        40,
        64,
        3,
    )  # nothing is inverted, so no noise is needed


def test_generated_videos(backbone, pair):
    first = pair.left[0].numpy()
    stages = []
    v = run(
        first,
        pair.caption,
        backbone=backbone,
        steps=3,
        progress=False,
        config=dict(right='inpaint'),
        on_step=lambda s: stages.append(s.stage),
    )
    moved, seen, _ = warp_right(v.left, v.disparity, 12.0)
    assert (
        (v.right[seen] == moved[seen]).all()
        and stages == ['mono'] * 3 + ['depth'] + ['inpaint'] * 3
        and v.meta['settings']['right'] == 'inpaint'
    )
    for kw, n in (
        (dict(image2=pair.left[-1].numpy()), 6),
        (dict(loop=True), 7),
        (dict(image=None), 8),
    ):
        assert (
            len(
                run(
                    **{
                        **dict(
                            image=first,
                            prompt=pair.caption,
                            backbone=backbone,
                            steps=2,
                            progress=False,
                            config=dict(right='inpaint'),
                        ),
                        **kw,
                    }
                ).right
            )
            == n
        )


def test_the_holes_come_from_the_network_only():
    known = torch.ones(1, 2, 2, 3, 4)
    visible = torch.zeros(1, 1, 2, 3, 4, dtype=torch.bool)
    visible[..., :2] = True

    def believes(z, i):
        return Prediction(torch.full_like(z, -5.0), torch.zeros_like(z))

    made = inpaint(Formula(ddpm_schedule(4), known.shape, believes), known, visible)
    assert (made[..., :2] == 1).all() and (made[..., 2:] < -4).all()


def test_latents_are_visible_where_half_of_them_is():
    seen = np.zeros((1, 4, 4), bool)
    seen[0, :2, :1] = seen[0, 2:, :] = True
    seen[0, 2, 2] = seen[0, 3, 3] = seen[0, 2, 3] = False
    assert visible_latents(seen, (2, 2))[0, 0, 0].tolist() == [[True, False], [True, False]]


def test_unknown_ways_are_named(go):
    with pytest.raises(InputError, match="'conditioned', 'mean', 'dual' or 'pixels'"):
        go(config=dict(right='magic'))


def test_an_inpainted_view_costs_one_pass():
    assert count_calls(StereoConfig(right='inpaint')) == 100
    assert count_calls(StereoConfig(right='conditioned')) == 100


def test_the_mean_costs_one_call(go):
    assert count_calls(StereoConfig(right='mean')) == 51
    assert go(config=dict(right='mean')).meta['calls'] == dict(left=0, right=1)


@pytest.mark.parametrize('right', ['conditioned', 'mean'])
def test_what_is_told_stays_and_only_that(go, pair, right):
    made = go(config=dict(right=right)).right
    moved, seen, _ = warp_right(pair.left, pair.disparity, 12.0)
    sure = away_from_holes(seen)
    filled = fill_background(pair.left, pair.disparity, 12.0)
    assert (made[sure] == moved[sure]).all() and 0.7 < sure.mean() < 0.95
    assert (made[~sure] != filled[~sure]).mean() > 0.5
    assert psnr(made, pair.right) > psnr(pair.left, pair.right) + 3


@pytest.mark.parametrize('right', ['conditioned', 'mean'])
def test_only_a_model_that_was_trained_for_it_is_told_pixels(go, backbone, right):
    class Plain(type(backbone)):
        takes_pixels = False

    plain = Plain(backbone.model)
    with pytest.raises(InputError, match="cannot be told single pixels; set right='inpaint'"):
        go(backbone=plain, config=dict(right=right))


def test_the_mean_is_the_first_guess():
    known = torch.ones(1, 2, 2, 3, 4)
    visible = torch.zeros(1, 1, 2, 3, 4, dtype=torch.bool)
    visible[..., :2] = True

    def believes(z, i):
        assert i == 0
        return Prediction(torch.full_like(z, -5.0), torch.zeros_like(z))

    made = expected(Formula(ddpm_schedule(4), known.shape, believes), known, visible)
    assert (made[..., :2] == 1).all() and (made[..., 2:] == -5).all()
