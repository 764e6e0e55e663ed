"`run`: same seed, same bits; every setting matters; mistakes are found before a network runs."

import numpy as np
import pytest
import torch
from PIL import Image

from scz_nb.config import StereoConfig
from scz_nb.core import HookError, InputError, to_uint8
from scz_nb.diffusion.attention import cross_view, self_attentions
from scz_nb.models.backbones import TinyBackbone, load_backbone
from scz_nb.models.embedded import held_out
from scz_nb.sampler import RIGHT_VIEWS, count_calls, resolve_config, run
from scz_nb.world.render import render
from scz_nb.world.scenes import WorldConfig, sample_scene

world = WorldConfig()
clip = render(sample_scene(torch.Generator().manual_seed(10_003), world), world, right=False)
picture = clip.left[0].numpy()


def no_hooks(backbone):
    return not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.unet.modules())


quick = dict(
    right='paper', restart_iterations=2, refine=((20, 2), (40, 2))
)  # all stages, few repeats


def go(backbone, prompt=clip.caption, image=picture, steps=4, config=None, **kw):
    if not isinstance(config, StereoConfig):
        config = {**quick, **(config or {})}
    return run(image, prompt, backbone=backbone, steps=steps, config=config, progress=False, **kw)


@pytest.fixture(scope='module')
def video(backbone):
    return go(backbone)


def test_same_seed_same_bits_and_nothing_global(backbone, video):
    torch.manual_seed(5)
    before, weights = torch.get_rng_state(), [p.clone() for p in backbone.unet.parameters()]
    again = go(load_backbone('tiny', 'cpu'))
    for name in ('left', 'right', 'disparity'):
        assert np.array_equal(getattr(video, name), getattr(again, name)), name
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(weights, backbone.unet.parameters()))
    assert no_hooks(backbone)


def test_the_record_says_how_often_the_network_was_run(backbone, video):
    asked = []
    hook = backbone.unet.register_forward_pre_hook(lambda m, a: asked.append(len(a[0])))

    def run_steps(**config):
        asked.clear()
        v = go(
            backbone,
            config=dict(restart_iterations=5, refine=((20, 6),), **config),
            depth=np.random.default_rng(0).random((8, 40, 64)),
        )
        return sum(v.meta['calls'].values()), sum(asked)

    try:
        whole, flat, early = run_steps(), run_steps(scale=0.0), run_steps(tol=0.5)
        guided, half = run_steps(guidance=2.0), run_steps(guidance=2.0, guidance_window=(0.0, 0.5))
        held = run_steps(right='inpaint')
    finally:
        hook.remove()
    for said, counted in (whole, flat, early, held):
        assert said == counted
    assert whole[0] == count_calls(
        StereoConfig(steps=4, restart_iterations=5, refine=((20, 6),)), 4
    )
    assert held[0] == flat[0] == 8 and early[0] < whole[0]  # without holes nothing repeats
    assert (
        guided == (whole[0], 2 * whole[0])
        and half[0] == whole[0]
        and whole[0] < half[1] < guided[1]
    )


def test_seed_and_prompt_matter(backbone, video):
    assert not np.array_equal(go(backbone, seed=1).left, video.left)
    assert not np.array_equal(go(backbone, 'a blue ball falls').left, video.left)


def test_shapes_and_metadata(backbone, video):
    assert video.left.shape == video.right.shape == (8, 40, 64, 3) and video.left.dtype == np.uint8
    assert (
        video.disparity.shape == (8, 40, 64)
        and 0 <= video.disparity.min()
        and video.disparity.max() <= 1
    )
    assert (
        video.meta['seed'] == 0
        and video.meta['prompt'] == clip.caption
        and video.meta['versions']['torch'] == torch.__version__
    )
    again = go(backbone, config=StereoConfig.make(**video.meta['settings']), steps=None)
    assert np.array_equal(again.right, video.right)


@pytest.mark.parametrize(
    'off',
    [
        dict(cross_view=None),
        dict(restart_iterations=0),
        dict(refine=()),
        dict(dissolve=0),
        dict(refine_form='released'),
        dict(exponent=2.0),
        dict(eta=0.5),
        dict(cross_view=(0.0, 0.5)),
        dict(scale=4.0),
    ],
)
def test_every_switch_changes_the_right_view(backbone, video, off):
    v = go(backbone, config=off)
    assert not np.array_equal(v.right, video.right)
    if 'eta' not in off:
        assert np.array_equal(
            v.left, video.left
        )  # the left view is the mono video whatever the right one does


def test_first_fill_matters_where_there_is_a_second_step(backbone):
    a, b = (
        go(
            backbone,
            steps=16,
            config=dict(restart_fill=f, refine=(), cross_view=None, restart_iterations=1),
        )
        for f in ('left', 'own')
    )
    assert not np.array_equal(a.right, b.right)


def test_border_blend_matters_where_there_is_a_border(backbone):
    near = np.ones((8, 40, 64), np.float32)
    a, b = (go(backbone, depth=near, config=dict(border=m, dissolve=0)) for m in (1.0, 0.0))
    assert not np.array_equal(a.right, b.right)


def test_guidance_matters(backbone, video):
    assert not np.array_equal(go(backbone, config=dict(guidance=3.0)).left, video.left)


def test_given_depth_is_taken_as_it_is(backbone):
    near = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (8, 40, 1))
    assert np.array_equal(go(backbone, depth=near, config=dict(dissolve=0)).disparity, near)
    v = go(backbone, depth=lambda left: near[: len(left)], config=dict(dissolve=0))
    assert np.array_equal(v.disparity, near)


def test_negative_scale_swaps_the_eyes(backbone, video):
    v = go(backbone, scale=-12.0)
    assert np.array_equal(v.right, video.left) and not np.array_equal(v.left, video.right)


def test_unknown_words_are_named(backbone):
    with pytest.warns(UserWarning, match='submarine, recites'):
        backbone.condition('a submarine recites left', None)
    with pytest.warns(UserWarning, match='船'):
        backbone.condition('船', None)
    with pytest.warns(UserWarning, match='room'):
        backbone.condition('a ' * 30, None)


def test_half_precision(video):
    v = run(picture, clip.caption, dtype=torch.bfloat16, device='cpu', steps=2, progress=False)
    assert v.meta['dtype'] == 'bfloat16' and v.right.shape == video.right.shape and v.left.std() > 1


def test_text_to_video(backbone):
    assert go(backbone, 'a red boat sails left on the sea', image=None).left.std() > 1


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'CMYK', 'I;16', 'P', '1', 'LA'])
def test_pictures_of_any_kind(backbone, tmp_path, mode):
    im = Image.fromarray((picture * 255).astype(np.uint8)).resize((331, 97))
    im = (
        Image.fromarray(np.asarray(im.convert('L')).astype(np.uint16) * 257)
        if mode == 'I;16'
        else im.convert(mode)
    )
    path = tmp_path / ('a.tif' if mode == 'CMYK' else 'a.png')
    im.save(path)
    assert go(backbone, image=str(path), steps=1).left.shape == (8, 40, 64, 3)


@pytest.mark.parametrize(
    'given, what',
    [
        (dict(image=np.zeros((60, 60, 3), np.uint8)), 'picture is 60×60'),
        (
            dict(image=None, video=np.zeros((8, 40, 40, 3), np.uint8), depth=np.zeros((8, 40, 64))),
            'video is 40×40',
        ),
    ],
)
def test_says_what_is_cut_off(backbone, given, what):
    with pytest.warns(UserWarning, match=f'{what}.*38 % of it are lost') as said:
        go(backbone, steps=1, **given)
    assert [w.filename for w in said] == [__file__]  # points at the caller


@pytest.fixture
def no_network(monkeypatch):
    def never(*a, **kw):
        raise AssertionError('a network was run')

    for name in ('denoise', 'condition', 'encode', 'decode'):
        monkeypatch.setattr(TinyBackbone, name, never)


nan = np.full((8, 40, 64), np.nan)


@pytest.mark.parametrize(
    'kw, words',
    [
        (dict(image='nowhere.jpg'), 'nowhere.jpg'),
        (dict(image=np.zeros((1, 1, 3), np.uint8)), '1'),
        (dict(image=nan[0][..., None].repeat(3, -1)), 'NaN'),
        (dict(backbone='dynamicrafter-512x'), 'tiny'),
        (dict(config=dict(gidance=2)), 'guidance'),
        (dict(config=[1]), 'StereoConfig'),
        (dict(depth=nan), 'NaN'),
        (dict(depth=np.zeros((8, 40, 63))), '63'),
        (dict(depth=np.full((8, 40, 64), 2.0)), r'\[0, 1\]'),
        (dict(depth='midas'), 'auto'),
        (dict(steps=0), 'steps'),
        (dict(loop=True, image2=picture), 'loop'),
        (dict(image=None, image2=picture), 'image2'),
        (dict(image=None, prompt=''), 'picture'),
        (dict(config=dict(frame_stride=7)), 'frame_stride'),
        (dict(device='abacus'), 'abacus'),
        (dict(prompt=None), 'prompt'),
        (dict(on_step=3), 'on_step'),
        (dict(backbone=3), 'backbone'),
        (dict(dtype='bfloat16'), 'dtype'),
        (dict(dtype=torch.int8), 'dtype'),
    ],
)
def test_mistakes_are_found_before_a_network_runs(no_network, kw, words):
    with pytest.raises(InputError, match=words):
        run(**{**dict(image=picture, prompt='a ball', progress=False), **kw})


@pytest.mark.parametrize('content', [b'', b'no picture', b'\xff\xd8\xff\xe0broken'])
def test_bad_files_are_named(no_network, tmp_path, content):
    (tmp_path / 'bad.jpg').write_bytes(content)
    with pytest.raises(InputError, match='bad.jpg'):
        run(str(tmp_path / 'bad.jpg'), progress=False)


def test_on_step_sees_stages_and_may_stop(backbone):
    seen = []
    go(backbone, on_step=lambda info: seen.append((info.stage, info.step, info.total)))
    stages = [s for i, (s, *_) in enumerate(seen) if not i or seen[i - 1][0] != s]
    assert stages == ['mono', 'depth', 'restart', 'refine'] and all(1 <= i <= n for _, i, n in seen)

    class Stop(Exception):
        pass

    def stop(info):
        if info.stage == 'restart':
            raise Stop

    with pytest.raises(Stop):
        go(backbone, on_step=stop)
    assert no_hooks(backbone)


def test_on_step_sees_every_repeat_once(backbone):
    seen = []
    video = go(backbone, on_step=seen.append)
    right = [info for info in seen if info.stage in ('restart', 'refine')]
    assert len(right) == video.meta['calls']['right'] > len({(i.stage, i.step) for i in right})
    assert all(info.latents.shape == info.x0.shape for info in right)


def test_settings_rise_in_order(backbone):
    assert (
        resolve_config(backbone, None).scale == backbone.defaults['scale']
        and StereoConfig().scale == 4
    )
    assert resolve_config(backbone, dict(scale=5, eta=0), scale=7) == StereoConfig.make(
        **{**backbone.defaults, 'scale': 7, 'eta': 0}
    )
    assert resolve_config(backbone, StereoConfig(scale=5)).scale == 5


def test_cross_view_leaves_left_alone_and_says_what_is_wrong(backbone):
    z, cond = torch.randn(2, *backbone.latent_shape[1:]), backbone.condition('a ball', None)
    with torch.inference_mode():
        plain = backbone.denoise(z, 500, cond)
        with cross_view(backbone.unet, 3, 10):
            crossed = backbone.denoise(z, 500, cond)
        with cross_view(backbone.unet, 3, 10, window=(0.5, 1.0)):
            outside = backbone.denoise(z, 500, cond)
        torch.testing.assert_close(crossed[0], plain[0], atol=1e-5, rtol=1e-5)
        assert (crossed[1] - plain[1]).abs().max() > 1e-3 and torch.equal(outside, plain)
        with pytest.raises(InputError, match='batch'):
            with cross_view(backbone.unet):
                backbone.denoise(z[:1], 500, cond)
    with pytest.raises(HookError):
        with cross_view(torch.nn.Linear(1, 1)):
            pass
    assert len(self_attentions(backbone.unet)) > 4 and no_hooks(backbone)


def test_each_right_view_has_its_name_in_the_settings():
    for name in RIGHT_VIEWS:
        assert StereoConfig(right=name).right == name
    with pytest.raises(InputError) as e:
        StereoConfig(right='magic')
    assert all(repr(name) in str(e.value) for name in RIGHT_VIEWS)
    assert str(e.value).count("'") == 2 * len(RIGHT_VIEWS) + 2


def test_words_alone_draw_a_picture_first(backbone):
    stages = []
    few = dict(steps=3, config=dict(right='inpaint'), progress=False, backbone=backbone)
    v = run(prompt='a red ball rolls left', on_step=lambda i: stages.append(i.stage), **few)
    assert stages == ['picture'] * 3 + ['mono'] * 3 + ['depth'] + ['inpaint'] * 3
    assert v.meta['calls'] == dict(left=6, right=3)
    assert (run(prompt='a red ball rolls left', **few).right == v.right).all()
    assert v.meta['settings']['guidance'] == 1.0  # the picture alone is guided


def test_a_picture_without_a_prompt_stands_still(backbone):
    picture = to_uint8(held_out(backbone.model.config, 5)[4].left[0])
    few = dict(steps=6, config=dict(right='mean'), progress=False, backbone=backbone)
    still = run(picture, **few)
    assert still.meta['prompt'] == ''
    assert (still.left == run(picture, backbone.still, **few).left).all()
    change = np.abs(still.left[-1].astype(int) - still.left[0]).mean()
    assert change < 6
