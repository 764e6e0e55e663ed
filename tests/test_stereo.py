"Is the right view a right view? Measured on held-out scenes, with the embedded model as shipped."

import numpy as np
import pytest

from scz_nb.config import StereoConfig
from scz_nb.core import NoiseSource, to_uint8
from scz_nb.depth.estimators import EmbeddedDepth
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


# the defaults take ten times as long; the table of the embedded model has those
quick = dict(right='paper', steps=8, refine=tuple((step, 2) for step, _ in StereoConfig().refine))


def make(scene, **kw):
    first = scene.left[0].numpy()
    return run(first, scene.caption, device='cpu', progress=False, config=quick, **kw)


@pytest.fixture(scope='module')
def videos(scenes):
    return [make(c) for c in scenes[:16]]


def test_starts_as_the_picture_and_moves(videos, scenes):
    assert min(psnr(v.left[0], c.left[0].numpy()) for v, c in zip(videos, scenes)) >= 20
    assert np.median([np.abs(v.left[-1].astype(float) - v.left[0]).mean() for v in videos]) > 2


def test_the_right_view_is_a_right_view(videos, backbone):
    scale = backbone.defaults['scale']
    scores = [stereo_agreement(v.left, v.right, v.disparity, scale) for v in videos]
    median = {k: np.median([s[k] for s in scores]) for k in scores[0]}
    assert median['correlation'] >= 0.3
    # near moves left
    assert median['near'] < -1
    assert np.median([s['near'] - s['far'] for s in scores]) < -1
    assert median['slope'] > 0.3
    assert median['vertical'] < 1


def test_no_shift_at_scale_0(scenes):
    videos = [make(c, scale=0.0) for c in scenes[:2]]
    shifts = [stereo_agreement(v.left, v.right, v.disparity, 0.0)['shift'] for v in videos]
    assert max(shifts) < 0.5


def rank_correlations(backbone, scenes):
    "Between the estimated and the true disparity of each scene."
    for i, scene in enumerate(scenes):
        near = EmbeddedDepth(backbone.model, NoiseSource(i)).raw(scene.left.numpy())
        yield spearman(near, scene.disparity)


def test_depth_is_in_order(backbone, scenes):
    assert np.median(list(rank_correlations(backbone, scenes))) >= 0.9


# the larger size
@pytest.fixture(scope='module')
def large():
    return load_backbone('small', 'cpu')


@pytest.fixture(scope='module')
def large_scenes(large):
    return held_out(large.model.config, 3)


def test_depth_of_the_larger_size_is_in_order(large, large_scenes):
    assert np.median(list(rank_correlations(large, large_scenes))) >= 0.8


def test_the_larger_size_is_nearer_to_the_truth(backbone, scenes, large, large_scenes):
    "Right views from given left ones, both resized to what size tiny has."

    def resized(v):
        return np.stack([fit_image(f, backbone.width, backbone.height) for f in v])

    def right_view(b, scene):
        given = dict(video=scene.left.numpy(), depth=scene.disparity.numpy())
        v = run(**given, prompt=scene.caption, backbone=b, progress=False, config=quick)
        return resized(v.right)

    gains = []
    for scene, same in zip(large_scenes, scenes):
        true = resized(to_uint8(scene.right))
        made = psnr(right_view(large, scene), true)
        gains.append(made - psnr(right_view(backbone, same), true))
    assert np.mean(gains) > 0, gains
