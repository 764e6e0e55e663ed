"The published models: every tensor of their files, small checkpoints in the original format, every model and application through the same classes."

import errno
import functools
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.checkpoints import write_checkpoint
from helpers.project import root
from torch import nn

from scz_nb.core import InputError, MissingDependency, NoiseSource, OutputError, SczError
from scz_nb.diffusion.denoiser import Backbone
from scz_nb.models import backbones
from scz_nb.models.backbones import (
    DynamiCrafterBackbone,
    backbone_names,
    load_backbone,
    model_settings,
)
from scz_nb.models.convert import (
    build,
    fill,
    full_size,
    originals,
    read_checkpoint,
    take_apart,
    vae_names,
)
from scz_nb.models.hub import fetch, file_size, hub, models_of, storage, stored
from scz_nb.models.offload import LiveBytes, apply_offload, choose_level, estimate_memory
from scz_nb.models.pipeline import DynamiCrafterPipeline, clip_pixels, model_card
from scz_nb.models.stand_in import letter_tokenizer, manifest, small_size
from scz_nb.sampler import run

here = Path(__file__).parent / 'golden'
golden = json.loads((here / 'dynamicrafter_numbers.json').read_text())['schedule']
checkpoints = json.loads(gzip.decompress((here / 'dynamicrafter_checkpoints.json.gz').read_bytes()))
parts_of = lambda pipe: [k for k, v in pipe.components.items() if isinstance(v, nn.Module)]
published = functools.cache(manifest)
picture = np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def original(path, kind, **kw):
    return quiet(
        DynamiCrafterPipeline.from_original(
            path, kind, **{**dict(tokenizer=letter_tokenizer(), size=small_size), **kw}
        )
    )


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def clip(pipe, image=picture, prompt='fog', steps=2, **kw):
    return pipe(image, prompt, num_inference_steps=steps, generator=noise(), **kw).frames


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    d = tmp_path_factory.mktemp('original')
    for kind in originals:
        write_checkpoint(d / f'{kind}.ckpt', kind)
    return d


@pytest.fixture(scope='module')
def pipes(folder):
    return {kind: original(folder / f'{kind}.ckpt', kind) for kind in originals}


@pytest.fixture(scope='module')
def pipe(pipes):
    return pipes['dynamicrafter-512']


# every tensor of the published files
@pytest.mark.parametrize('size', checkpoints)
def test_every_tensor_is_used_or_knowingly_dropped(size):
    kind, facts = f'dynamicrafter-{size}', checkpoints[size]
    ours = published(kind)
    clip_towers = {k for k in ours if k.startswith(('cond_stage_model.', 'embedder.'))}
    assert {k: list(v) for k, v in ours.items() if k not in clip_towers} == facts['state_dict']
    state = {k: torch.empty(s, device='meta') for k, s in ours.items()}
    parts, dropped = take_apart(state)
    fill(build(kind), parts)  # raises for every tensor that is missing, unknown or misshapen
    assert (
        all(
            k.startswith('cond_stage_model.model.transformer.resblocks.23.')
            or k.rsplit('.', 1)[-1] in ('proj', 'text_projection', 'logit_scale')
            or k.startswith(
                ('embedder.model.token_', 'embedder.model.pos', 'embedder.model.ln_final')
            )
            for k in dropped
        )
        and len(dropped) == 21
    )
    hp, c = facts['hyperparameters'], originals[kind].facts
    assert c.get('base_scale', 0.7) == hp.get('base_scale') and c.get('prediction', 'v') == hp.get(
        'parameterization', 'eps'
    )
    assert c.get('zero_snr', True) == hp.get('rescale_betas_zero_snr', False)
    assert [c.get('height', 320) // 8, c.get('width', 512) // 8] == hp['image_size'] and hp[
        'scale_factor'
    ] == 0.18215


def test_sizes_are_those_of_the_tensors():
    for kind, like in (
        ('dynamicrafter-256', '-256'),
        ('dynamicrafter-512', '-512'),
        ('dynamicrafter-1024', '-512'),
        ('dynamicrafter-interp', '-512'),
        ('videocrafter2', None),
    ):
        assert hub[kind].size == 4 * sum(
            torch.Size(s).numel()
            for s in published(f'dynamicrafter{like}' if like else kind).values()
        )


def test_training_tables_are_dropped(pipe, folder):
    state = read_checkpoint(folder / 'dynamicrafter-512.ckpt')
    tables = [
        'betas',
        'alphas_cumprod',
        'alphas_cumprod_prev',
        'sqrt_alphas_cumprod',
        'sqrt_one_minus_alphas_cumprod',
        'log_one_minus_alphas_cumprod',
        'sqrt_recip_alphas_cumprod',
        'sqrt_recipm1_alphas_cumprod',
        'posterior_variance',
        'posterior_mean_coef1',
        'scale_arr',
        'logvar',
        'embedder.mean',
    ]
    _, dropped = take_apart({**state, **{k: torch.zeros(1) for k in tables}}, 3)
    assert set(tables) <= set(dropped)


# towers and autoencoder
class OpenClip(nn.Module):
    "A tower as OpenCLIP builds it, from torch's own attention."

    def __init__(self, d, heads, inner, layers):
        super().__init__()
        block = lambda: nn.ModuleDict(
            dict(
                attn=nn.MultiheadAttention(d, heads, batch_first=True),
                ln_1=nn.LayerNorm(d),
                ln_2=nn.LayerNorm(d),
                mlp=nn.ModuleDict(dict(c_fc=nn.Linear(d, inner), c_proj=nn.Linear(inner, d))),
            )
        )
        self.transformer = nn.ModuleDict(
            dict(resblocks=nn.ModuleList(block() for _ in range(layers)))
        )

    def run(self, x, layers, mask=None):
        for b in self.transformer['resblocks'][:layers]:
            h = b['ln_1'](x)
            x = x + b['attn'](h, h, h, attn_mask=mask, need_weights=False)[0]
            x = x + b['mlp']['c_proj'](F.gelu(b['mlp']['c_fc'](b['ln_2'](x))))
        return x


def loaded(tower, state, begin):
    tower.load_state_dict({k: state[begin + k] for k in tower.state_dict()})
    return tower.eval()


@torch.no_grad()
def test_text_tower_is_penultimate_and_filled_with_zeros(pipe, folder):
    state, begin = read_checkpoint(folder / 'dynamicrafter-512.ckpt'), 'cond_stage_model.model.'
    tower = loaded(OpenClip(32, 2, 64, 3), state, begin)
    ids = pipe.tokenizer('a b')['input_ids']
    assert ids == [188, 158, 159, 189]
    x = (
        state[begin + 'token_embedding.weight'][torch.tensor([ids + [0] * 73])]
        + state[begin + 'positional_embedding']
    )
    x = tower.run(x, 2, torch.full((77, 77), -torch.inf).triu(1))
    want = F.layer_norm(x, (32,), state[begin + 'ln_final.weight'], state[begin + 'ln_final.bias'])
    torch.testing.assert_close(pipe.encode_prompt('a b'), want, atol=1e-5, rtol=1e-5)
    assert pipe.encode_prompt('a ' * 200).shape == (1, 77, 32)  # a long prompt is cut


@torch.no_grad()
def test_image_tower_gives_all_tokens_of_its_last_layer(pipe, folder):
    state, begin = read_checkpoint(folder / 'dynamicrafter-512.ckpt'), 'embedder.model.visual.'
    get, tower = lambda k: state[begin + k], loaded(OpenClip(32, 2, 64, 2), state, begin)
    pixels = clip_pixels(torch.rand(1, 3, 32, 64, generator=noise()) * 2 - 1, 28)
    x = F.conv2d(pixels, get('conv1.weight'), stride=14).flatten(2).transpose(1, 2)
    x = torch.cat([get('class_embedding')[None, None], x], 1) + get('positional_embedding')
    x = tower.run(F.layer_norm(x, (32,), get('ln_pre.weight'), get('ln_pre.bias')), 2)
    torch.testing.assert_close(
        pipe.image_encoder(pixels).last_hidden_state, x, atol=1e-5, rtol=1e-5
    )


def test_names_agree_with_diffusers_own_converter():
    convert = pytest.importorskip('diffusers.loaders.single_file_utils')
    state = {
        k: torch.rand(s)
        for k, s in manifest('videocrafter2', small_size).items()
        if k.startswith('first_stage_model.')
    }
    ours = vae_names({k.removeprefix('first_stage_model.'): v for k, v in state.items()})
    theirs = convert.convert_ldm_vae_checkpoint(
        dict(state), dict(down_block_types=[0] * 4, up_block_types=[0] * 4)
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize('shape', [(320, 512), (256, 256), (100, 300), (224, 224)])
def test_pictures_shrink_as_the_original_does(shape):
    svd = pytest.importorskip(
        'diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion'
    )
    x = torch.rand(1, 3, *shape, generator=noise()) * 2 - 1
    mean, std = (
        torch.tensor(v).view(3, 1, 1)
        for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    got = clip_pixels(x)
    want = (svd._resize_with_antialiasing(x, (224, 224)) + 1) / 2
    assert got.shape == (1, 3, 224, 224)
    torch.testing.assert_close(
        got * std + mean, want, atol=2e-2 if max(shape) <= 224 else 1e-5, rtol=0
    )


# checkpoint → pipeline → saved → loaded
@pytest.mark.parametrize('kind', ['dynamicrafter-256', 'videocrafter2'])
def test_saved_and_loaded_is_the_same_to_the_bit(kind, pipes, tmp_path):
    a = pipes[kind]
    a.save_pretrained(tmp_path)
    b = quiet(DynamiCrafterPipeline.from_pretrained(tmp_path))
    assert parts_of(a) == parts_of(b) and not any(getattr(b, p).training for p in parts_of(b))
    for p in parts_of(a):
        x, y = getattr(a, p).state_dict(), getattr(b, p).state_dict()
        assert x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x), p
    assert {k: v for k, v in a.config.items() if k[0] != '_'} == {
        k: v for k, v in b.config.items() if k[0] != '_'
    }
    image = None if kind == 'videocrafter2' else picture
    assert np.array_equal(clip(a, image), clip(b, image))


def test_safetensors_half_precision_and_wrapped_files(pipe, folder, tmp_path):
    state, want = (
        read_checkpoint(folder / 'dynamicrafter-512.ckpt'),
        clip(pipe, output_type='latent'),
    )
    other = original(
        write_checkpoint(tmp_path / 'm.safetensors', 'dynamicrafter-512'), 'dynamicrafter-512'
    )
    assert torch.equal(clip(other, output_type='latent'), want)
    torch.save(
        {
            'module': {
                f'_forward_module.{k}'.replace('fps_embedding', 'framestride_embed'): v
                for k, v in state.items()
            }
        },
        tmp_path / 'deepspeed.pt',
    )
    assert torch.equal(
        clip(original(tmp_path / 'deepspeed.pt', 'dynamicrafter-512'), output_type='latent'), want
    )
    half = original(
        write_checkpoint(tmp_path / 'half.ckpt', 'dynamicrafter-512', dtype=torch.float16),
        'dynamicrafter-512',
    )
    assert {p.dtype for part in parts_of(half) for p in getattr(half, part).parameters()} == {
        torch.float16
    }
    wide = original(tmp_path / 'half.ckpt', 'dynamicrafter-512', dtype=torch.float32)
    got = clip(wide, output_type='latent')
    assert got.dtype == torch.float32 and 0 < (got - want).abs().max() < 0.2


def test_nothing_is_copied_into_memory(pipe, folder):
    state = read_checkpoint(folder / 'dynamicrafter-512.ckpt')
    parts, _ = take_apart(state, 3)
    nets = build('dynamicrafter-512', small_size)
    fill(nets, parts)
    ours, file = (
        nets['unet'].state_dict(),
        {k.replace('temopral', 'temporal'): v for k, v in parts['unet'].items()},
    )
    assert all(ours[k].data_ptr() == file[k].data_ptr() for k in ours)
    assert not any(p.is_meta for net in nets.values() for p in [*net.parameters(), *net.buffers()])


def test_towers_from_elsewhere(pipe, folder, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    c = small_size['text_encoder'], small_size['image_encoder']
    both = CLIPModel(
        CLIPConfig(
            text_config=dict(c[0], hidden_act='gelu'),
            vision_config=dict(c[1], hidden_act='gelu'),
            projection_dim=32,
        )
    )
    both.save_pretrained(tmp_path / 'clip')
    pipe.tokenizer.save_pretrained(tmp_path / 'clip')
    state = read_checkpoint(folder / 'dynamicrafter-512.ckpt')
    torch.save(
        {k: v for k, v in state.items() if not k.startswith(('cond_stage_model.', 'embedder.'))},
        tmp_path / 'pruned.pt',
    )
    p = original(
        tmp_path / 'pruned.pt', 'dynamicrafter-512', clip=str(tmp_path / 'clip'), tokenizer=None
    )
    assert len(p.text_encoder.state_dict()) == len(pipe.text_encoder.state_dict())
    theirs = both.vision_model.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in p.image_encoder.state_dict().items())
    with pytest.raises(MissingDependency, match='nowhere'):
        original(tmp_path / 'pruned.pt', 'dynamicrafter-512', clip=str(tmp_path / 'nowhere'))


name = 'model.diffusion_model.out.2.bias'


@pytest.mark.parametrize(
    'corrupt, message',
    [
        (lambda sd: sd.pop(name), r"lacks 1 tensor, the first is 'out.2.bias'"),
        (lambda sd: sd.update(more=torch.zeros(1)), "unknown tensor, the first is 'more'"),
        (
            lambda sd: sd.update({'first_stage_model.extra': torch.zeros(1)}),
            "autoencoder checkpoint has unknown 1 tensor, the first is 'extra'",
        ),
        (lambda sd: sd.update({name: torch.zeros(9)}), 'another shape for 1 tensor'),
        (lambda sd: sd.pop('first_stage_model.quant_conv.bias'), 'autoencoder.*quant_conv.bias'),
        (
            lambda sd: sd.pop('embedder.model.visual.ln_pre.bias'),
            'image encoder.*pre_layrnorm.bias',
        ),
        (lambda sd: sd.pop('image_proj_model.latents'), 'image projector.*latents'),
        (
            lambda sd: [sd.pop(k) for k in list(sd) if k.startswith('model.')],
            'no checkpoint of DynamiCrafter',
        ),
        (lambda sd: sd.update(epoch=3), 'no table of named tensors'),
    ],
)
def test_wrong_checkpoints_are_named(corrupt, message, folder, tmp_path):
    state = dict(read_checkpoint(folder / 'dynamicrafter-512.ckpt'))
    corrupt(state)
    torch.save({'state_dict': state}, tmp_path / 'bad.ckpt')
    with pytest.raises(InputError, match=message) as e:
        original(tmp_path / 'bad.ckpt', 'dynamicrafter-512')
    assert '\n' not in str(e.value)


class Foreign:
    pass


@pytest.mark.parametrize('suffix', ['.ckpt', '.safetensors'])
def test_damaged_and_foreign_files(suffix, folder, tmp_path):
    good = write_checkpoint(tmp_path / f'good{suffix}', 'videocrafter2').read_bytes()
    bad = tmp_path / f'bad{suffix}'
    for content in (good[: len(good) // 2], good[:10], b'', b'<html>404</html>'):
        bad.write_bytes(content)
        with pytest.raises(InputError, match=f'bad{suffix} cannot be read as a checkpoint'):
            read_checkpoint(bad)
    torch.save({'state_dict': {'a': Foreign()}}, tmp_path / 'foreign.ckpt')
    with pytest.raises(InputError, match='foreign.ckpt cannot be read'):
        read_checkpoint(tmp_path / 'foreign.ckpt')
    with pytest.raises(InputError, match='not there'):
        read_checkpoint(tmp_path / 'none.ckpt')


@pytest.mark.parametrize(
    'kind, file',
    [
        ('videocrafter2', 'dynamicrafter-512'),
        ('dynamicrafter-512', 'videocrafter2'),
        ('dynamicrafter-256', 'dynamicrafter-512'),
        ('dynamicrafter-512', 'dynamicrafter-256'),
    ],
)
def test_another_models_checkpoint_is_refused(kind, file, folder):
    with pytest.raises(SczError):
        original(folder / f'{file}.ckpt', kind, clip='/nowhere')


def test_full_size_network_refuses_a_small_file(folder):
    with pytest.raises(InputError, match='other model or size'):
        original(folder / 'dynamicrafter-512.ckpt', 'dynamicrafter-512', size=full_size)


# schedules
def test_schedules_are_the_originals(pipes):
    up = lambda v: torch.tensor(v[::-1])
    for kind, spacing, key in (
        ('dynamicrafter-256', 'uniform', 'uniform_50'),
        ('dynamicrafter-512', 'uniform_trailing', 'zero_snr_uniform_trailing_50'),
    ):
        s = pipes[kind].schedule(50, 1.0)
        assert list(s.timesteps[::-1]) == golden[f'ddim_{spacing}_50']
        alpha = [a**2 for a in s.signal]
        for ours, theirs in (
            (alpha[:-1], f'alphas_{key}'),
            (alpha[1:], f'alphas_prev_{key}'),
            (list(s.sigma), f'sigmas_eta1_{key}'),
        ):
            torch.testing.assert_close(up(ours), torch.tensor(golden[theirs]), atol=1e-5, rtol=1e-5)
    assert [p.schedule().prediction for p in pipes.values()] == ['eps', 'v', 'v', 'v', 'eps']
    product = lambda kind: float(
        np.prod(pipes[kind].schedule(50).rescale)
    )  # scale at t = 0 over scale at the noisiest t
    assert [round(1 / product(k), 3) for k in pipes] == [1.0, 0.7, 0.3, 0.7, 0.7]


# what the UNet is told
@torch.no_grad()
def test_guidance_is_empty_prompt_and_grey_picture_beside_the_same_frames(pipe):
    x = pipe._picture(picture)
    assert x.shape == (1, 3, 32, 64) and -1 <= x.min() and x.max() <= 1
    g = pipe.condition('fog', x)
    assert (
        g.context.shape == (1, 77 + 16 * 4, 32)
        and g.frames.shape == (1, 4, 4, 4, 8)
        and g.stride == 24
    )
    torch.testing.assert_close(
        g.empty, torch.cat([pipe.encode_prompt(''), pipe.encode_image(torch.zeros_like(x))], 1)
    )
    assert all(torch.equal(g.frames[:, :, 0], g.frames[:, :, i]) for i in range(4))
    z, t, fs = (
        torch.randn(2, 4, 4, 4, 8, generator=noise()),
        torch.tensor([500, 500]),
        torch.tensor([24, 24]),
    )
    both = torch.cat([z, g.frames.expand(2, -1, -1, -1, -1)], 1)
    c, u = (pipe.unet(both, t, o.expand(2, -1, -1), fs) for o in (g.context, g.empty))
    torch.testing.assert_close(pipe.predict(z, 500, g, 7.5), u + 7.5 * (c - u))
    plain, rescaled = pipe.predict(z, 500, g, 7.5), pipe.predict(z, 500, g, 7.5, 1.0)
    torch.testing.assert_close(rescaled.std((1, 2, 3, 4)), c.std((1, 2, 3, 4)))
    assert torch.equal(pipe.predict(z, 500, g, 1.0), c)


def test_first_and_last_frame_and_zeros_between(pipes):
    p = pipes['dynamicrafter-interp']
    a, b = p._picture(picture), p._picture(picture[:, ::-1].copy())
    f = p.condition('', a, b, 5).frames
    assert (
        not f[:, :, 1:-1].any()
        and torch.equal(f[:, :, :1], p.encode(a[:, :, None]).detach())
        and torch.equal(f[:, :, -1:], p.encode(b[:, :, None]).detach())
    )


def test_latents_go_there_and_back_scaled(pipe):
    with torch.no_grad():
        v = torch.rand(1, 3, 2, 32, 64, generator=noise()) * 2 - 1
        z = pipe.encode(v)
        assert z.shape == (1, 4, 2, 4, 8) and pipe.decode(z).shape == v.shape
        torch.testing.assert_close(
            z[0, :, 1], pipe.vae.encode(v[:, :, 1]).latent_dist.mean[0] * 0.18215
        )


# the pipeline alone
def test_callback_sees_and_replaces_latents(pipe):
    seen = []

    def zero_at_the_end(p, i, t, kw):
        seen.append((p is pipe, i, t, tuple(kw['latents'].shape)))
        return {'latents': torch.zeros_like(kw['latents'])} if i == 1 else kw

    out = clip(pipe, output_type='latent', callback_on_step_end=zero_at_the_end)
    assert not out.any() and seen == [
        (True, 0, 999, (1, 4, 4, 4, 8)),
        (True, 1, 499, (1, 4, 4, 4, 8)),
    ]


def test_seed_prompt_stride_and_guidance_matter(pipe):
    base = clip(pipe, output_type='latent', steps=1)
    assert torch.equal(base, clip(pipe, output_type='latent', steps=1))
    for kw in (
        dict(prompt='sun'),
        dict(frame_stride=3),
        dict(guidance_scale=1.0),
        dict(guidance_rescale=0.0),
        dict(eta=0.0),
        dict(latents=torch.ones(1, 4, 4, 4, 8)),
        dict(image=picture // 2),
    ):
        assert not torch.equal(base, clip(pipe, **{**dict(output_type='latent', steps=1), **kw})), (
            kw
        )


def test_output_types(pipe):
    a, b, c = (clip(pipe, steps=1, output_type=o) for o in ('np', 'pt', 'pil'))
    assert (
        a.shape == (1, 4, 32, 64, 3)
        and b.shape == (1, 4, 3, 32, 64)
        and len(c[0]) == 4
        and c[0][0].size == (64, 32)
    )
    assert isinstance(pipe(picture, num_inference_steps=1, return_dict=False), tuple)
    with pytest.raises(InputError, match='output_type'):
        clip(pipe, output_type='mp4')


def test_given_frames_are_dropped(pipes):
    p = pipes['dynamicrafter-interp']
    assert (
        clip(p, last_image=picture, steps=1).shape[1] == 2
        and clip(p, loop=True, steps=1).shape[1] == 3
        and clip(p, steps=1).shape[1] == 4
    )


@pytest.mark.parametrize(
    'kind, kw, message',
    [
        ('videocrafter2', dict(image=picture), 'text alone'),
        ('dynamicrafter-512', dict(image=None), 'needs a picture'),
        ('dynamicrafter-512', dict(loop=True), 'last frame'),
        ('dynamicrafter-256', dict(steps=600), 'divisor'),
    ],
)
def test_what_a_model_cannot_do_is_said_first(kind, kw, message, pipes, monkeypatch):
    monkeypatch.setattr(
        DynamiCrafterPipeline, 'condition', lambda *a: pytest.fail('a network was run')
    )
    with pytest.raises(InputError, match=message):
        clip(pipes[kind], **kw)


# as backbones of the sampler
ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (4, 32, 1))
quick = dict(restart_iterations=2, refine=((25, 2),), scale=30.0)


def stereo(pipe, image=picture, config={}, **kw):
    return run(
        image,
        kw.pop('prompt', 'fog'),
        backbone=pipe if isinstance(pipe, (str, Path)) else DynamiCrafterBackbone(pipe),
        steps=2,
        progress=False,
        config={**quick, **config},
        **{**dict(depth=ramp), **kw},
    )


@pytest.mark.parametrize('kind', originals)
def test_every_model_through_all_stages(kind, pipes):
    b, seen = DynamiCrafterBackbone(pipes[kind]), []
    assert isinstance(b, Backbone)
    v = stereo(
        pipes[kind],
        None if kind == 'videocrafter2' else picture,
        on_step=lambda i: seen.append(i.stage),
    )
    assert v.left.shape == v.right.shape == (4, 32, 64, 3) and not np.array_equal(v.left, v.right)
    assert {'mono', 'depth', 'restart', 'refine'} <= set(seen)
    assert (
        v.meta['backbone'] == kind
        and v.meta['settings']['frame_stride'] == model_settings(kind)['frame_stride']
    )


def test_cross_view_attention_holds_on_to_the_real_network(pipe):
    a, b = (stereo(pipe, config=dict(guidance=1.0, cross_view=w)) for w in ((0.0, 1.0), None))
    assert np.array_equal(a.left, b.left) and not np.array_equal(a.right, b.right)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in pipe.unet.modules())


def test_interpolation_loop_and_given_video(pipes):
    p = pipes['dynamicrafter-interp']
    few = dict(restart_iterations=1, refine=(), guidance=1.0)
    assert (
        stereo(p, config=few, image2=picture[::-1].copy()).left.shape[0] == 2
        and stereo(p, config=few, loop=True).left.shape[0] == 3
    )
    v = stereo(
        pipes['dynamicrafter-512'],
        None,
        few,
        video=np.stack([picture] * 5),
        depth=np.tile(ramp[:1], (5, 1, 1)),
    )
    assert v.left.shape == (5, 32, 64, 3)


def test_mono_video_is_the_pipelines(pipe):
    b = DynamiCrafterBackbone(pipe)
    v = stereo(pipe, config=dict(restart_iterations=0, refine=(), guidance_rescale=0.7))
    draws = [NoiseSource(0).normal(n, b.latent_shape) for n in ('start', 'step 0', 'step 1')]
    s, z, cond = b.schedule(2, 1.0), draws[0], b.condition('fog', b_picture(b), None, 24)
    for i, t in enumerate(s.timesteps):
        guess = s.interpret(z, b.denoise(z, t, cond, 7.5, 0.7), i)
        z = s.step(guess, i, draws[i + 1])
    assert np.abs(b.decode(z).astype(int) - v.left).max() <= 1


def b_picture(b):
    from scz_nb.media.io import fit_image

    return fit_image(picture, b.width, b.height)


@pytest.mark.parametrize(
    'kw, message',
    [
        (dict(depth='aut'), 'auto.*depth-anything-v2-small'),
        (dict(config=dict(dissolve=30)), 'dissolve'),
        (dict(image=None), 'needs a picture'),
        (dict(loop=True), 'last frame'),
        (dict(config=dict(frame_stride=99)), 'frame_stride'),
    ],
)
def test_the_sampler_says_first_what_cannot_be_done(kw, message, pipe, monkeypatch):
    monkeypatch.setattr(
        DynamiCrafterPipeline, 'condition', lambda *a: pytest.fail('a network was run')
    )
    with pytest.raises(InputError, match=message):
        stereo(pipe, **kw)


@pytest.mark.parametrize(
    'kind, stride, rescale, scale, last',
    [
        ('dynamicrafter-256', 3, 0.0, 4.0, 45),
        ('dynamicrafter-512', 24, 0.7, 4.0, 44),
        ('dynamicrafter-1024', 10, 0.7, 4.0, 39),
        ('dynamicrafter-interp', 5, 0.7, 8.0, 44),
        ('videocrafter2', 28, 0.0, 4.0, 44),
    ],
)
def test_defaults_are_the_papers(kind, stride, rescale, scale, last):
    d = model_settings(kind)
    assert (d['frame_stride'], d['guidance_rescale'], d.get('scale', 4.0), d['refine'][-1][0]) == (
        stride,
        rescale,
        scale,
        last,
    ) and d['dissolve'] == 0


# memory
def test_live_bytes_counts_what_is_alive():
    net = nn.Linear(100, 100, bias=False)
    x = torch.ones(1000, 100)
    with LiveBytes(net) as count, torch.no_grad():
        y = net(x)
        view, z = y.T, y + 1
        del y, view
        torch.zeros(10)
    assert count.peak == 2 * 400_000 and count.live == 400_000, (
        'the weights and x are known or older, a view is no new memory'
    )


def test_each_rung_needs_less(pipe):
    need = estimate_memory(pipe)
    assert need == sorted(need, reverse=True) and need[-1] > 0
    assert [choose_level(pipe, 1.25 * n + 1) for n in need[2:]] == [2, 3] and choose_level(
        pipe, 1e12
    ) == 0
    with pytest.raises(InputError, match='GB are free'):
        choose_level(pipe, 1)


def test_rungs_are_diffusers_own(pipe, monkeypatch):
    done = []
    for name in ('enable_model_cpu_offload', 'enable_sequential_cpu_offload'):
        monkeypatch.setattr(
            DynamiCrafterPipeline, name, lambda self, device, name=name: done.append((name, device))
        )
    for offload in range(4):
        apply_offload(pipe, offload, 'cpu')
        done.append(pipe.vae.use_tiling)
    assert done == [
        False,
        True,
        ('enable_model_cpu_offload', 'cpu'),
        True,
        ('enable_sequential_cpu_offload', 'cpu'),
        True,
    ]
    apply_offload(pipe, 0, 'cpu')
    with pytest.raises(InputError):
        apply_offload(pipe, 4, 'cpu')


def test_out_of_memory_steps_down_and_goes_on(pipe, monkeypatch):
    monkeypatch.setattr('scz_nb.models.offload.apply_offload', lambda pipe, offload, device: pipe)
    whole, real, calls, fails = stereo(pipe), pipe.unet.forward, [], (3, 9)

    def forward(*a, **kw):
        calls.append(1)
        out = real(*a, **kw)  # the questions are written or asked, then it fails
        if len(calls) in fails:
            raise torch.OutOfMemoryError('CUDA out of memory')
        return out

    monkeypatch.setattr(pipe.unet, 'forward', forward)
    with pytest.warns(UserWarning, match='out of memory: going on with'):
        again = stereo(pipe)
    assert np.array_equal(whole.left, again.left) and np.array_equal(whole.right, again.right)

    def never(*a, **kw):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(pipe.vae, 'encode', never)
    with pytest.warns(UserWarning), pytest.raises(InputError, match='too small'):
        stereo(pipe)


# names, folders, files
def test_a_folder_or_file_works_like_a_name(pipe, folder, tmp_path, monkeypatch):
    pipe.save_pretrained(tmp_path / 'saved')
    a = load_backbone(tmp_path / 'saved', 'cpu')
    assert (
        a.name == str(tmp_path / 'saved')
        and a.device == torch.device('cpu')
        and {p.dtype for p in a.unet.parameters()} == {torch.float32}
    )
    assert load_backbone(a) is a
    half = load_backbone(tmp_path / 'saved', 'cpu', torch.bfloat16)
    assert {p.dtype for p in half.unet.parameters()} == {
        torch.bfloat16
    } and half.dtype == torch.float32
    real = DynamiCrafterPipeline.from_original
    monkeypatch.setattr(
        DynamiCrafterPipeline,
        'from_original',
        lambda path, kind, dtype: real(
            path, kind, tokenizer=letter_tokenizer(), size=small_size, dtype=dtype
        ),
    )
    b = load_backbone(f'dynamicrafter-512={folder / "dynamicrafter-512.ckpt"}', 'cpu')
    assert torch.equal(b.unet.state_dict()['out.2.bias'], a.unet.state_dict()['out.2.bias'])
    monkeypatch.setattr(backbones, 'fetch', lambda n: folder / f'{n}.ckpt')
    assert load_backbone('videocrafter2', 'cpu').pipe.config.kind == 'videocrafter2'


@pytest.mark.parametrize(
    'bad, message',
    [
        ('dynamicrafter-51', 'did you mean'),
        ('dynamicrafter-51=x.ckpt', 'did you mean'),
        ('no/such/folder', 'not there'),
        ('m.ckpt', 'not there'),
        ('dynamicrafter-512=no.ckpt', 'not there'),
        (3, 'name'),
    ],
)
def test_bad_names(bad, message):
    with pytest.raises(InputError, match=message):
        load_backbone(bad, 'cpu')


def test_folders_and_files_that_are_no_model(folder, tmp_path):
    with pytest.raises(InputError, match='model_index.json'):
        load_backbone(tmp_path, 'cpu')
    with pytest.raises(InputError, match="'dynamicrafter-512="):
        load_backbone(folder / 'dynamicrafter-512.ckpt', 'cpu')
    (tmp_path / 'model_index.json').write_text(
        '{"_class_name": "DynamiCrafterPipeline", "unet": ["scz_nb.models.pipeline", "VideoUNet"]}'
    )
    with pytest.raises(InputError, match='cannot be loaded as a pipeline'):
        load_backbone(tmp_path, 'cpu')


def without(name):
    def corrupt(saved):
        from safetensors.torch import load_file, save_file

        f = saved / 'unet/diffusion_pytorch_model.safetensors'
        save_file({k: v for k, v in load_file(f).items() if k != name}, f)

    return corrupt


@pytest.mark.parametrize(
    'corrupt, message',
    [
        (without('out.2.bias'), "lacks 1 tensors of the unet, the first is 'out.2.bias'"),
        (lambda d: shutil.rmtree(d / 'tokenizer'), "no folder 'tokenizer'"),
        (
            lambda d: (d / 'text_encoder/model.safetensors').write_bytes(b'0' * 99),
            'cannot be loaded as a pipeline',
        ),
        (lambda d: shutil.rmtree(d / 'vae'), 'cannot be loaded as a pipeline'),
    ],
)
def test_damaged_folders(corrupt, message, pipe, tmp_path):
    pipe.save_pretrained(tmp_path / 'saved')
    corrupt(tmp_path / 'saved')
    with pytest.raises(InputError, match=message):
        load_backbone(tmp_path / 'saved', 'cpu')


# the hub
@pytest.fixture
def cache(tmp_path, monkeypatch):
    import huggingface_hub.constants
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(huggingface_hub.file_download.constants, 'HF_HUB_CACHE', str(tmp_path))
    return tmp_path


def hub_raises(monkeypatch, error):
    import huggingface_hub

    def download(*a, **kw):
        raise error

    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', lambda *a, **kw: None)


def test_what_goes_wrong_with_a_download(cache, monkeypatch):
    from huggingface_hub import errors

    monkeypatch.setattr('shutil.disk_usage', lambda p: type('U', (), dict(free=10**12)))
    bare = lambda cls: cls.__new__(cls)
    for error, kind, message in (
        (bare(errors.GatedRepoError), MissingDependency, 'gated.*hf auth login'),
        (bare(errors.RepositoryNotFoundError), MissingDependency, 'no longer'),
        (
            errors.LocalEntryNotFoundError('offline'),
            MissingDependency,
            'check the connection.*dynamicrafter-512=PATH',
        ),
        (ConnectionError('no route'), MissingDependency, 'no route'),
        (OSError(errno.ENOSPC, 'No space left on device'), OutputError, 'disk is full.*goes on'),
    ):
        hub_raises(monkeypatch, error)
        with pytest.raises(kind, match=message) as e:
            fetch('dynamicrafter-512')
        assert '\n' not in str(e.value)


def test_no_room_is_seen_before_the_download(cache, monkeypatch):
    hub_raises(monkeypatch, AssertionError('it was downloaded'))
    monkeypatch.setattr('shutil.disk_usage', lambda p: type('U', (), dict(free=5 * 10**9)))
    with pytest.raises(OutputError, match='needs 10.4 GB.*5.0 GB are free'):
        fetch('dynamicrafter-512')


def test_offline_is_one_sentence(cache, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda p: type('U', (), dict(free=10**12)))
    with pytest.raises(MissingDependency, match='cannot be loaded from') as e:
        fetch('dynamicrafter-1024')
    assert '\n' not in str(e.value)


def test_transformers_is_asked_for_before_anything_is_downloaded(monkeypatch):
    monkeypatch.setattr(backbones, 'find_spec', lambda name: None)
    monkeypatch.setattr(backbones, 'fetch', lambda name: pytest.fail('it was downloaded'))
    with pytest.raises(MissingDependency, match=r'scz_nb\[hub\]'):
        load_backbone('dynamicrafter-512', 'cpu')


def test_model_card_says_what_it_is(pipes):
    assert 'velocity' in model_card(pipes['dynamicrafter-512']) and 'image-to-video' in model_card(
        pipes['dynamicrafter-512']
    )
    assert 'text-to-video' in model_card(pipes['videocrafter2']) and 'noise' in model_card(
        pipes['videocrafter2']
    )


def test_what_is_stored_is_found(cache, capsys, monkeypatch, tmp_path):
    assert stored('dynamicrafter-interp') is None
    m = hub['dynamicrafter-interp']
    f = storage('dynamicrafter-interp') / 'snapshots' / m.revision / m.files[0]
    f.parent.mkdir(parents=True)
    f.write_bytes(b'x')
    assert stored('dynamicrafter-interp') == fetch('dynamicrafter-interp') == f and str(
        f
    ).startswith(str(cache))
    assert (
        stored('tiny').is_file() and file_size('tiny') > 10**6 and stored('small') == fetch('small')
    )
    from scz_nb.apps.cli import main

    assert main(['models']) == 0
    out = capsys.readouterr().out
    assert all(k in out for k in models_of('video')) and str(f) in out and '10.4 GB' in out
    assert main(['fetch', 'dynamicrafter-interp']) == 0 and capsys.readouterr().out.strip() == str(
        f
    )
    monkeypatch.setattr(
        'scz_nb.models.hub.shipped_weights', lambda name: tmp_path / name
    )  # a package that lost its weights
    assert (
        stored('small') is None
        and file_size('small') == 0
        and 'small' not in backbone_names()
        and main(['models']) == 0
    )
    assert capsys.readouterr().out.count('no weights') == 2
    assert (
        main(['fetch', 'dynamicrafter-2']) == 2
        and main(['fetch', 'small']) == 2
        and capsys.readouterr().err.count('\n') == 2
    )


def test_the_sampler_alone_imports_no_diffusers():
    code = "import sys, scz_nb.sampler; print([m for m in ('diffusers', 'transformers') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
        == '[]'
    )
