"Is the right view a right view? Measured on held-out scenes, with the embedded model as it is shipped."

import numpy as np
import pytest

from scz_nb.config import StereoConfig
from scz_nb.core import NoiseSource, to_uint8
from scz_nb.evaluation.metrics import psnr, stereo_agreement
from scz_nb.media.io import fit_image
from scz_nb.models.backbones import load_backbone
from scz_nb.models.embedded import held_out
from scz_nb.sampler import run
from scz_nb.stats import spearman

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def scenes(backbone):
    return held_out(backbone.model.config, 32)


quick = dict(
    steps=8, refine=tuple((step, 2) for step, _ in StereoConfig().refine)
)  # the defaults take ten times as long; benchmarks/embedded.py measures those


def make(scene, **kw):
    return run(
        scene.left[0].numpy(), scene.caption, device='cpu', progress=False, config=quick, **kw
    )


@pytest.fixture(scope='module')
def videos(scenes):
    return [make(c) for c in scenes[:16]]


def test_starts_as_the_picture_and_moves(videos, scenes):
    assert min(psnr(v.left[0], c.left[0].numpy()) for v, c in zip(videos, scenes)) >= 20
    assert np.median([np.abs(v.left[-1].astype(float) - v.left[0]).mean() for v in videos]) > 2


def test_the_right_view_is_a_right_view(videos, backbone):
    scores = [
        stereo_agreement(v.left, v.right, v.disparity, backbone.defaults['scale']) for v in videos
    ]
    assert np.median([s['correlation'] for s in scores]) >= 0.3
    assert (
        np.median([s['near'] for s in scores]) < -1
        and np.median([s['near'] - s['far'] for s in scores]) < -1
    )  # near moves left
    assert np.median([s['slope'] for s in scores]) > 0.3
    assert np.median([s['vertical'] for s in scores]) < 1


def test_no_shift_at_scale_0(scenes):
    videos = [make(c, scale=0.0) for c in scenes[:2]]
    shifts = [stereo_agreement(v.left, v.right, v.disparity, 0.0)['shift'] for v in videos]
    assert max(shifts) < 0.5


def test_depth_is_in_order(backbone, scenes):
    ranks = [
        spearman(backbone.estimate_depth(c.left.numpy(), NoiseSource(i)), c.disparity)
        for i, c in enumerate(scenes)
    ]
    assert np.median(ranks) >= 0.9


def test_the_larger_size(backbone, scenes):
    "Its depth, and right views from given left ones: nearer to the truth than those of size tiny, seen at the same size."
    large = load_backbone('small', 'cpu')
    pairs = list(zip(held_out(large.model.config, 3), scenes))
    assert (
        np.median(
            [
                spearman(large.estimate_depth(c.left.numpy(), NoiseSource(i)), c.disparity)
                for i, (c, _) in enumerate(pairs)
            ]
        )
        >= 0.8
    )
    resized = lambda v: np.stack([fit_image(f, backbone.width, backbone.height) for f in v])

    def quality(b, clip, true):
        "PSNR of the right view to a clip's left one, at the smaller size."
        v = run(
            video=clip.left.numpy(),
            prompt=clip.caption,
            backbone=b,
            depth=clip.disparity.numpy(),
            progress=False,
            config=quick,
        )
        return psnr(resized(v.right), true)

    gains = []
    for c, s in pairs:
        true = resized(to_uint8(c.right))
        gains.append(quality(large, c, true) - quality(backbone, s, true))
    assert np.mean(gains) > 0, gains
