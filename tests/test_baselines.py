"Baselines: one signature, known fills of known holes, and results of other systems as files."

import numpy as np
import pytest
import torch
from helpers.scenes import card
from PIL import Image

from scz_nb.core import HookError, InputError, to_uint8
from scz_nb.diffusion.attention import bidirectional, self_attentions
from scz_nb.diffusion.schedule import ddpm_schedule
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


# fills of a card whose hole is in columns 16–21, and of the border behind column 38
def row(fill):
    left, near = card()
    return fill(left, near, 20)[0, 3]


def test_holes_are_black():
    assert (row(warp_holes)[16:22] == 0).all()


def test_background_is_the_wall_s_column_not_the_card():
    assert (row(fill_background)[16:22] == (0, 120, 0)).all()


def test_replication_takes_the_nearer_end():
    got = row(fill_border)
    assert (got[16:19] == (200, 0, 0)).all() and (got[19:22] == (0, 120, 0)).all()


@pytest.mark.parametrize('fill', [fill_border, fill_background])
def test_the_border_has_one_end_only(fill):
    assert (row(fill)[38:] == (0, 195, 0)).all()


def test_inpainting_mixes_both_ends():
    mix = row(BASELINES['inpaint_telea'])[16:22].astype(int)
    assert (mix[:, 0] > 0).any() and (mix[:, 1] > 0).any()


def test_copying_copies():
    assert (row(copy_left) == card()[0][0, 3]).all()


@pytest.mark.parametrize('name', BASELINES)
def test_baselines_leave_what_they_get(name):
    left, near = card()
    before = left.copy(), near.copy()
    right = BASELINES[name](left, near, 20)
    assert right.shape == left.shape and right.dtype == np.uint8 and right is not left
    assert (left == before[0]).all() and (near == before[1]).all()


@pytest.mark.parametrize('name', BASELINES)
def test_nothing_moves_at_scale_0(name):
    left, near = card()
    assert (BASELINES[name](left, near, 0) == left).all()


@pytest.mark.parametrize('name', BASELINES)
def test_baselines_take_tensors_and_floats(name):
    left, near = card()
    right = BASELINES[name](torch.from_numpy(left / 255.0), torch.from_numpy(near).float(), 20.0)
    assert (right == BASELINES[name](left, near, 20)).all()


@pytest.mark.parametrize('name', BASELINES)
def test_baselines_refuse_bad_input(name):
    left, near = card()
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


@pytest.mark.parametrize('fill', [fill_border, fill_background])
def test_where_all_left_the_frame_the_left_view_stays(fill):
    left, near = card(4, 16)
    near[:] = 1
    assert (fill(left, near, 100) == left).all()


def test_unknown_inpainting_is_refused():
    with pytest.raises(InputError, match='biharmonic'):
        fill_inpaint(*card(4, 16), 20, method='biharmonic')


# with true disparity: what the lesson says of who beats whom on the holes
@pytest.fixture(scope='module')
def clips():
    world = WorldConfig(frames=2, complexity='any')
    seeds = [torch.Generator().manual_seed(10_000 + i) for i in range(6)]
    return [render(sample_scene(seed, world), world) for seed in seeds]


def test_order_on_true_scenes(clips):
    def in_holes(fill):
        made = [(c, fill(c.left, c.disparity, 12)) for c in clips]
        return np.mean([masked_psnr(v, to_uint8(c.right), hidden_right(c, 0.12)) for c, v in made])

    score = {name: in_holes(fill) for name, fill in BASELINES.items()}
    assert score['fill_background'] > score['inpaint_ns'] + 0.5
    assert score['inpaint_ns'] > score['fill_border'] > score['copy_left'] + 2
    assert score['copy_left'] > score['warp_holes'] + 2


def test_moving_the_wrong_way_is_seen(clips):
    right_way = [fill_background(c.left, c.disparity, 12) for c in clips]
    mirrored = [fill_background(c.left.flip(2), c.disparity.flip(2), 12) for c in clips]
    mean = lambda views: np.mean([psnr(v, to_uint8(c.right)) for v, c in zip(views, clips)])
    assert mean(right_way) > mean([v[:, :, ::-1] for v in mirrored]) + 5


# results of others
def save_frames(folder, method, scene, video):
    where = folder / method / scene
    where.mkdir(parents=True)
    for t, f in enumerate(video):
        Image.fromarray(f).save(where / f'{t}.png')


def save_webp(folder, method, scene, video):
    (folder / method).mkdir(parents=True, exist_ok=True)
    first, *rest = map(Image.fromarray, video)
    how = dict(save_all=True, append_images=rest, lossless=True, duration=125)
    first.save(folder / method / f'{scene}.webp', **how)


def test_read_results(tmp_path):
    g = np.random.default_rng(0)
    a, b = (g.integers(0, 256, (11, 16, 24, 3), dtype=np.uint8) for _ in range(2))
    save_frames(tmp_path, 'propainter', 'one', a)
    save_webp(tmp_path, 'immerse', 'one', b)
    save_webp(tmp_path, 'immerse', 'two', a)
    for name in ('.DS_Store', 'readme.txt', 'propainter/one/.hidden'):
        (tmp_path / name).write_text('no result')
    got = read_results(tmp_path, 'one', a)
    assert list(got) == ['immerse', 'propainter']
    assert (got['propainter'] == a).all()  # frame 10 follows frame 9
    assert got['immerse'].shape == a.shape and (got['immerse'] == b).all()


def nothing(d, a):
    pass


def another_scene(d, a):
    save_frames(d, 'm', 'other', a)


def too_short(d, a):
    save_frames(d, 'm', 'one', a[:2])


def too_narrow(d, a):
    save_frames(d, 'm', 'one', a[:, :, :20])


def no_frames(d, a):
    (d / 'm' / 'one').mkdir(parents=True)


def twice(d, a):
    save_frames(d, 'm', 'one', a)
    save_webp(d, 'm', 'one', a)


def no_video(d, a):
    (d / 'm').mkdir()
    (d / 'm' / 'one.mp4').write_bytes(b'no video')


def empty(d, a):
    (d / 'm').mkdir()


@pytest.mark.parametrize(
    'make, words',
    [
        (nothing, 'no results'),
        (another_scene, 'other'),
        (too_short, '2 frames'),
        (too_narrow, '20×16'),
        (no_frames, 'no frames'),
        (twice, '2 results'),
        (no_video, 'one.mp4'),
        (empty, 'nothing'),
    ],
)
def test_read_results_says_what_is_wrong(tmp_path, make, words):
    a = np.zeros((3, 16, 24, 3), np.uint8)
    make(tmp_path, a)
    with pytest.raises(InputError, match=words):
        read_results(tmp_path, 'one', a)


def test_a_missing_folder_of_results_is_named(tmp_path):
    with pytest.raises(InputError, match='no results'):
        read_results(tmp_path / 'not there', 'one', np.zeros((3, 16, 24, 3)))


# attention to both views
@pytest.fixture(scope='module')
def attention(backbone):
    "A self-attention layer, and tokens of two views."
    layer = next(m for m in self_attentions(backbone.unet))
    shape = (2, 1, 7, layer.to_q.in_features)
    return layer, *torch.randn(shape, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_bidirectional_attention_is_its_equation(attention):
    layer, left, right = attention
    with bidirectional(layer) as layers:
        out = layer(torch.cat([left, right]))
    assert layers == [layer]
    keys, values = (torch.cat([f(left), f(right)], 1) for f in (layer.to_k, layer.to_v))
    for view, got in ((left, out[:1]), (right, out[1:])):
        want = layer.to_out(layer.attend(layer.to_q(view), keys, values))
        torch.testing.assert_close(got, want)
    assert (out[1:] - layer(right)).abs().max() > 1e-4


@torch.inference_mode()
def test_equal_views_change_nothing(attention):
    layer, left, _ = attention
    both = torch.cat([left, left])
    with bidirectional(layer):
        got = layer(both)
    torch.testing.assert_close(got, layer(both))


@torch.inference_mode()
def test_bidirectional_attention_leaves_nothing_behind(attention):
    layer, left, right = attention
    views = torch.cat([left, right])
    before = layer(views)
    with bidirectional(layer):
        layer(views)
    assert torch.equal(layer(views), before) and not layer.to_k._forward_hooks


def test_bidirectional_attention_needs_two_views_and_layers(attention):
    layer, left, _ = attention
    with pytest.raises(InputError):
        with bidirectional(layer):
            layer(left)
    with pytest.raises(HookError):
        with bidirectional(torch.nn.Linear(2, 2)):
            pass


# StereoDiffusion
def test_ddim_inversion_of_a_known_denoiser():
    """A network that always sees the same clean latents.

    Inversion is exact, and the way back leads to them."""
    g = torch.Generator().manual_seed(0)
    x0, s = torch.randn(1, 2, 3, 4, 5, generator=g), ddpm_schedule(20, 0.0)
    levels = dict(zip((*s.timesteps, 0), zip(s.signal, s.noise)))

    def denoise(z, t):
        signal, noise = levels[t]
        return (signal * z - x0) / noise  # v under which x̂0 is x0

    zs = ddim_invert(0.9 * x0, denoise, s, begin=4)
    assert len(zs) == 21 and zs[3] is None and torch.equal(zs[20], 0.9 * x0)
    for i in range(4, 20):
        z = s.step(s.interpret(zs[i], denoise(zs[i], s.timesteps[i]), i), i)
        torch.testing.assert_close(z, zs[i + 1], atol=2e-4, rtol=2e-4)


@pytest.fixture(scope='module')
def scene(backbone):
    world = backbone.model.config.world
    return render(sample_scene(10_002, world), world)


@pytest.fixture(scope='module')
def make(backbone, scene):
    "StereoDiffusion's right view of the scene in four steps."
    left, near = to_uint8(scene.left), scene.disparity.numpy()
    scale = 100 * backbone.model.config.world.baseline

    def right(scale=scale, **kw):
        return stereodiffusion(left, near, scale, scene.caption, backbone, 4, **kw)

    return right


@pytest.fixture(scope='module')
def right(make):
    return make()


def test_stereodiffusion_is_seeded(make, right):
    assert right.shape == make().shape and right.dtype == np.uint8 and (make() == right).all()


def test_stereodiffusion_moves_what_is_visible(backbone, scene, right):
    visible = ~hidden_right(scene, backbone.model.config.world.baseline)
    toward = lambda v: masked_psnr(v, to_uint8(scene.right), visible)
    # the wrong sign or no shift would be farther than the left view
    assert toward(right) > toward(to_uint8(scene.left)) + 1


def test_stereodiffusion_moves_nothing_at_scale_0(make, scene, right):
    left = to_uint8(scene.left)
    assert psnr(make(0.0), left) > psnr(right, left) + 2


def test_putting_back_changes_the_right_view(make, right):
    assert (make(again=None) != right).any()


def test_stereodiffusion_bad_input(backbone, scene):
    small = np.zeros((2, 20, 20, 3), np.uint8), np.zeros((2, 20, 20))
    with pytest.raises(InputError, match='64×40'):
        stereodiffusion(*small, 5, backbone=backbone)
    with pytest.raises(InputError):
        stereodiffusion(to_uint8(scene.left), scene.disparity, -5, backbone=backbone)
