"A given video: its trajectory leads back to it, and the sampler takes it in place of a picture."

import numpy as np
import pytest
import torch
from helpers.denoisers import Formula

from scz_nb.core import InputError
from scz_nb.diffusion.invert import invert
from scz_nb.diffusion.schedule import ddpm_schedule
from scz_nb.media.video import StereoVideo
from scz_nb.sampler import run
from scz_nb.world.render import render
from scz_nb.world.scenes import WorldConfig, sample_scene


@pytest.mark.parametrize(
    'kw',
    [
        {},
        dict(base_scale=0.7),
        dict(eta=0.3),
        dict(prediction='eps', spacing='uniform', zero_snr=False),
    ],
)
def test_the_trajectory_leads_back(kw):
    "With any network, however bad."
    g = torch.Generator().manual_seed(0)
    s, z0 = ddpm_schedule(10, **kw), torch.randn(1, 3, 2, 4, 5, generator=g)
    w = torch.randn(3, 3, generator=g)

    def bad(z, i):
        return s.interpret(z, torch.einsum('ij,bjthw->bithw', w, z.sin()), i)

    path = invert(Formula(s, z0.shape, bad), z0)
    assert len(path.latents) == 11 and len(path.noises) == 10
    assert torch.equal(path.latents[-1], z0)
    z = path.latents[0]
    for i in range(10):
        z = s.step(bad(z, i), i, path.noises[i])
        torch.testing.assert_close(z, path.latents[i + 1], atol=1e-3, rtol=1e-3)


def test_latents_have_the_noise_of_their_step():
    s, z0 = ddpm_schedule(10, base_scale=0.7), torch.ones(1, 4, 8, 20, 20)
    silent = Formula(s, z0.shape, lambda z, i: s.interpret(z, z * 0, i))
    for i, z in enumerate(invert(silent, z0).latents[:-1]):
        scale = np.prod(s.rescale[i:])  # the dynamic rescale that is still to come
        assert abs(z.mean() - s.signal[i] / scale) < 0.03
        assert abs(z.std() - s.noise[i]) < 0.03


def test_no_inversion_without_noise():
    with pytest.raises(InputError, match='eta'):
        invert(Formula(ddpm_schedule(5, 0.0)), torch.zeros(1))


@pytest.fixture(scope='module')
def pair():
    return render(sample_scene(8, w := WorldConfig(frames=11)), w)


def test_a_given_video_of_any_length(backbone, pair):
    left = (pair.left * 255).round().byte().numpy()
    for n in (11, 3):
        v = run(video=pair.left[:n], backbone=backbone, steps=2, progress=False)
        assert (
            (v.left == left[:n]).all()
            and v.right.shape == left[:n].shape
            and v.disparity.shape == (n, 40, 64)
            and v.meta['video']
        )
    again = run(video=left[:3], backbone=backbone, steps=2, progress=False)
    assert (
        (again.right == v.right).all() and again.meta == v.meta
    )  # floats and bytes are one video, and the same seed gives the same bits


def test_from_a_file_with_its_rate(backbone, pair, tmp_path):
    x = pair.left[:4].numpy()
    file = StereoVideo(x, x, None, fps=12).save(tmp_path / 'clip.mp4', layout='left', zoom=4)
    v = run(video=file, backbone=backbone, steps=2, progress=False)
    assert v.fps == 12 and len(v.left) == 4


def test_scale_and_true_depth(backbone, pair):
    same = run(
        video=pair.left[:8],
        depth=pair.disparity[:8],
        backbone=backbone,
        steps=4,
        scale=0.0,
        progress=False,
    )
    assert (
        np.abs(same.right.astype(float) - same.left).mean() < 6
    )  # no shift: the left view through the autoencoder and the last steps
    right = run(
        video=pair.left[:8],
        depth=pair.disparity[:8],
        backbone=backbone,
        steps=4,
        scale=12.0,
        progress=False,
    )
    swapped = run(
        video=pair.left[:8],
        depth=pair.disparity[:8],
        backbone=backbone,
        steps=4,
        scale=-12.0,
        progress=False,
    )
    assert (swapped.right == right.left).all() and (swapped.left != right.right).any()


def never(*a, **kw):
    raise AssertionError('a network was run')


@pytest.mark.parametrize(
    'kw, words',
    [
        (dict(image=np.zeros((40, 64, 3), np.uint8)), 'leave out'),
        (dict(loop=True), 'leave out'),
        (dict(config=dict(right='paper', eta=0)), 'eta'),
        (dict(video=np.zeros((40, 64, 3), np.uint8)), 'frames'),
        (dict(video=np.zeros((0, 40, 64, 3), np.uint8)), 'frames'),
        (dict(video='none.mp4'), 'none.mp4'),
        (dict(depth=np.zeros((7, 40, 64))), '8'),
    ],
)
def test_mistakes_are_named(backbone, pair, monkeypatch, kw, words):
    monkeypatch.setattr(type(backbone), 'denoise', never)
    with pytest.raises(InputError, match=words):
        run(**{**dict(video=pair.left[:8], backbone=backbone, progress=False), **kw})
