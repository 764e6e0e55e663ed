"Baselines: one signature, known fills of known holes, and results of other systems as files."

import numpy as np
import pytest
import torch
from helpers.scenes import card
from PIL import Image

from scz_nb.core import HookError, InputError, to_uint8
from scz_nb.diffusion.attention import bidirectional, self_attentions
from scz_nb.diffusion.schedule import ddim_step, make_schedule
from scz_nb.evaluation.baselines import (
    BASELINES,
    copy_left,
    ddim_invert,
    fill_background,
    fill_border,
    fill_inpaint,
    read_results,
    stereodiffusion,
    warp_holes,
)
from scz_nb.evaluation.metrics import hidden_right, masked_psnr, psnr
from scz_nb.world.render import render
from scz_nb.world.scenes import WorldConfig, sample_scene


def test_fills_of_a_card():
    left, near = card()
    row = lambda f: f(left, near, 20)[0, 3]
    assert (row(warp_holes)[16:22] == 0).all()
    assert (row(fill_background)[16:22] == (0, 120, 0)).all()  # the wall's column 24, not the card
    assert (row(fill_border)[16:19] == (200, 0, 0)).all() and (
        row(fill_border)[19:22] == (0, 120, 0)
    ).all()
    for f in (fill_border, fill_background):
        assert (row(f)[38:] == (0, 195, 0)).all()  # at the border there is one end only
    mix = row(BASELINES['inpaint_telea'])[16:22].astype(int)
    assert (mix[:, 0] > 0).any() and (mix[:, 1] > 0).any() and (row(copy_left) == left[0, 3]).all()


@pytest.mark.parametrize('name', BASELINES)
def test_baselines_have_one_signature(name):
    left, near = card()
    keep = left.copy(), near.copy()
    right = BASELINES[name](left, near, 20)
    assert right.shape == left.shape and right.dtype == np.uint8 and right is not left
    assert (left == keep[0]).all() and (near == keep[1]).all()
    assert (BASELINES[name](left, near, 0) == left).all()  # nothing moves at scale 0
    assert (
        BASELINES[name](torch.from_numpy(left / 255.0), torch.from_numpy(near).float(), 20.0)
        == right
    ).all()
    for bad in (
        (left[0], near, 20),
        (left, near[:1], 20),
        (left, near * 2, 20),
        (left, near, -20),
        (left, near, np.nan),
        (left[..., :2], near, 20),
    ):
        with pytest.raises(InputError):
            BASELINES[name](*bad)


def test_row_without_anything():
    left, near = card(4, 16)
    near[:] = 1
    for f in (fill_border, fill_background):
        assert (f(left, near, 100) == left).all()  # all left the frame: the left view stays
    with pytest.raises(InputError):
        fill_inpaint(left, near, 20, method='biharmonic')


def test_order_on_true_scenes():
    "With true disparity: what the lesson says of who beats whom on the holes."
    world = WorldConfig(frames=2, complexity='any')
    clips = [
        render(sample_scene(torch.Generator().manual_seed(10_000 + i), world), world)
        for i in range(6)
    ]
    score = {
        k: np.mean(
            [
                masked_psnr(f(c.left, c.disparity, 12), to_uint8(c.right), hidden_right(c, 0.12))
                for c in clips
            ]
        )
        for k, f in BASELINES.items()
    }
    assert (
        score['fill_background'] > score['inpaint_ns'] + 0.5
        and score['inpaint_ns']
        > score['fill_border']
        > score['copy_left'] + 2
        > score['warp_holes'] + 4
    )
    wrong = np.mean(
        [
            psnr(
                fill_background(c.left.flip(2), c.disparity.flip(2), 12)[:, :, ::-1],
                to_uint8(c.right),
            )
            for c in clips
        ]
    )  # things moved right
    assert (
        np.mean([psnr(fill_background(c.left, c.disparity, 12), to_uint8(c.right)) for c in clips])
        > wrong + 5
    )


# results of others
def save(folder, method, scene, video, frames=True):
    where = folder / method
    where.mkdir(parents=True, exist_ok=True)
    if not frames:
        return Image.fromarray(video[0]).save(
            where / f'{scene}.webp',
            save_all=True,
            append_images=[Image.fromarray(f) for f in video[1:]],
            lossless=True,
            duration=125,
        )
    (where / scene).mkdir()
    for t, f in enumerate(video):
        Image.fromarray(f).save(where / scene / f'{t}.png')


def test_read_results(tmp_path):
    g = np.random.default_rng(0)
    a, b = (g.integers(0, 256, (11, 16, 24, 3), dtype=np.uint8) for _ in range(2))
    save(tmp_path, 'propainter', 'one', a)
    save(tmp_path, 'immerse', 'one', b, frames=False)
    save(tmp_path, 'immerse', 'two', a, frames=False)
    (tmp_path / '.DS_Store').write_text('')
    (tmp_path / 'readme.txt').write_text('mine')
    (tmp_path / 'propainter' / 'one' / '.hidden').write_text('')
    got = read_results(tmp_path, 'one', a)
    assert (
        list(got) == ['immerse', 'propainter'] and (got['propainter'] == a).all()
    )  # frame 10 follows frame 9
    assert got['immerse'].shape == a.shape and (got['immerse'] == b).all()


@pytest.mark.parametrize(
    'corrupt, words',
    [
        (lambda d, a: None, 'no results'),
        (lambda d, a: save(d, 'm', 'other', a), 'other'),
        (lambda d, a: save(d, 'm', 'one', a[:2]), '2 frames'),
        (lambda d, a: save(d, 'm', 'one', a[:, :, :20]), '20×16'),
        (lambda d, a: (d / 'm' / 'one').mkdir(parents=True), 'no frames'),
        (lambda d, a: (save(d, 'm', 'one', a), save(d, 'm', 'one', a, frames=False)), '2 results'),
        (
            lambda d, a: ((d / 'm').mkdir(), (d / 'm' / 'one.mp4').write_bytes(b'no video')),
            'one.mp4',
        ),
        (lambda d, a: (d / 'm').mkdir(), 'nothing'),
    ],
)
def test_read_results_says_what_is_wrong(tmp_path, corrupt, words):
    a = np.zeros((3, 16, 24, 3), np.uint8)
    corrupt(tmp_path, a)
    with pytest.raises(InputError, match=words):
        read_results(tmp_path, 'one', a)
    with pytest.raises(InputError):
        read_results(tmp_path / 'not there', 'one', a)


# StereoDiffusion
@pytest.fixture(scope='module')
def scene(backbone):
    return render(sample_scene(10_002, backbone.model.config.world), backbone.model.config.world)


def test_bidirectional_attention_is_its_equation(backbone):
    net = next(m for m in self_attentions(backbone.unet))
    g = torch.Generator().manual_seed(0)
    l, r = torch.randn(2, 1, 7, net.to_q.in_features, generator=g)
    views = torch.cat([l, r])
    with torch.inference_mode():
        with bidirectional(net) as layers:
            out, same = net(views), net(torch.cat([l, l]))
        keys, values = (torch.cat([f(l), f(r)], 1) for f in (net.to_k, net.to_v))
        for view, got in ((l, out[:1]), (r, out[1:])):
            torch.testing.assert_close(got, net.to_out(net.attend(net.to_q(view), keys, values)))
        torch.testing.assert_close(same, net(torch.cat([l, l])))  # equal views change nothing
        assert (
            layers == [net]
            and (out[1:] - net(r)).abs().max() > 1e-4
            and torch.equal(net(views), net(views))
            and not net.to_k._forward_hooks
        )
        with pytest.raises(InputError):
            with bidirectional(net):
                net(l)
    with pytest.raises(HookError):
        with bidirectional(torch.nn.Linear(2, 2)):
            pass


def test_ddim_inversion_of_a_known_denoiser():
    "A network that always sees the same clean latents: inversion is exact, and the way back leads to them."
    g = torch.Generator().manual_seed(0)
    x0, s = torch.randn(1, 2, 3, 4, 5, generator=g), make_schedule(20, 0.0)
    alphas = {t: a for t, a in zip((*s.timesteps, 0), (*s.alpha, s.alpha_prev[-1]))}

    def denoise(z, t):
        return (alphas[t] ** 0.5 * z - x0) / (1 - alphas[t]) ** 0.5  # v under which x̂0 is x0

    zs = ddim_invert(0.9 * x0, denoise, s, begin=4)
    assert len(zs) == 21 and zs[3] is None and torch.equal(zs[20], 0.9 * x0)
    for i in range(4, 20):
        z, _ = ddim_step(zs[i], denoise(zs[i], s.timesteps[i]), i, s)
        torch.testing.assert_close(z, zs[i + 1], atol=2e-4, rtol=2e-4)


def test_stereodiffusion_moves_what_is_seen(backbone, scene):
    left, near, scale = (
        to_uint8(scene.left),
        scene.disparity.numpy(),
        100 * backbone.model.config.world.baseline,
    )
    make = lambda s=scale, **kw: stereodiffusion(left, near, s, scene.caption, backbone, 4, **kw)
    right = make()
    assert right.shape == left.shape and right.dtype == np.uint8 and (make() == right).all()
    toward = lambda v: masked_psnr(v, to_uint8(scene.right), ~hidden_right(scene, scale / 100))
    assert (
        toward(right) > toward(left) + 1
    )  # the wrong sign or no shift would be farther than the left view
    assert psnr(make(0.0), left) > psnr(right, left) + 2  # nothing moves at scale 0
    assert (make(again=None) != right).any()


def test_stereodiffusion_bad_input(backbone, scene):
    with pytest.raises(InputError, match='64×40'):
        stereodiffusion(
            np.zeros((2, 20, 20, 3), np.uint8), np.zeros((2, 20, 20)), 5, backbone=backbone
        )
    with pytest.raises(InputError):
        stereodiffusion(to_uint8(scene.left), scene.disparity, -5, backbone=backbone)
