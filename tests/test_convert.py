"Checkpoints: every tensor of the published files, their names here, and files that are wrong."

import functools
import gzip
import json
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from helpers.checkpoints import write_checkpoint
from helpers.pipelines import clip, networks, noise
from helpers.project import root
from torch import nn

from scz_nb.core import InputError, MissingDependency, SczError
from scz_nb.models.convert import (
    build,
    check_kind,
    fill,
    full_size,
    model_facts,
    originals,
    read_checkpoint,
    take_apart,
    vae_names,
)
from scz_nb.models.hub import hub
from scz_nb.models.pipeline import DynamiCrafterPipeline, clip_pixels
from scz_nb.models.stand_in import letter_tokenizer, manifest, random_checkpoint, small_size

file = root / 'tests/golden/dynamicrafter_checkpoints.json.gz'
checkpoints = json.loads(gzip.decompress(file.read_bytes()))
published = functools.cache(manifest)


def original(source, kind='dynamicrafter-512', **kw):
    "A small pipeline from a checkpoint file or its tensors."
    options = {'tokenizer': letter_tokenizer(), 'size': small_size, **kw}
    pipe = DynamiCrafterPipeline.from_original(source, kind, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope='module')
def pipe(pipes):
    return pipes['dynamicrafter-512']


@pytest.fixture(scope='module')
def state():
    "The tensors that `pipe` is made of."
    return random_checkpoint('dynamicrafter-512')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A checkpoint file of each model."
    d = tmp_path_factory.mktemp('original')
    for kind in originals:
        write_checkpoint(d / f'{kind}.ckpt', kind)
    return d


# every tensor of the published files
def is_clip(name):
    return name.startswith(('cond_stage_model.', 'embedder.'))


@pytest.mark.parametrize('size', checkpoints)
def test_the_list_of_tensors_is_the_published_one(size):
    ours = published(f'dynamicrafter-{size}')
    ours = {k: list(shape) for k, shape in ours.items() if not is_clip(k)}
    assert ours == checkpoints[size]['state_dict']


def is_known(name):
    "Whether a dropped tensor is one that is knowingly dropped."
    last_layer = 'cond_stage_model.model.transformer.resblocks.23.'
    text = ('embedder.model.token_', 'embedder.model.pos', 'embedder.model.ln_final')
    ends = ('proj', 'text_projection', 'logit_scale')
    return name.startswith((last_layer, *text)) or name.rsplit('.', 1)[-1] in ends


@pytest.mark.parametrize('size', checkpoints)
def test_every_tensor_is_used_or_knowingly_dropped(size):
    kind = f'dynamicrafter-{size}'
    empty = {k: torch.empty(s, device='meta') for k, s in published(kind).items()}
    parts, dropped = take_apart(empty)
    fill(build(kind), parts)  # raises for every tensor that is missing, unknown or misshapen
    assert all(map(is_known, dropped))
    assert len(dropped) == 21


@pytest.mark.parametrize('size', checkpoints)
def test_facts_are_those_of_the_published_configuration(size):
    ours, theirs = model_facts(f'dynamicrafter-{size}'), checkpoints[size]['hyperparameters']
    assert ours['base_scale'] == theirs.get('base_scale')
    assert ours['prediction'] == theirs.get('parameterization', 'eps')
    assert ours['zero_snr'] == theirs.get('rescale_betas_zero_snr', False)
    assert [ours['height'] // 8, ours['width'] // 8] == theirs['image_size']
    assert theirs['scale_factor'] == 0.18215


@pytest.mark.parametrize('kind', originals)
def test_sizes_are_those_of_the_tensors(kind):
    same = {'dynamicrafter-1024': 'dynamicrafter-512', 'dynamicrafter-interp': 'dynamicrafter-512'}
    shapes = published(same.get(kind, kind)).values()
    assert hub[kind].size == 4 * sum(torch.Size(s).numel() for s in shapes)


tables = (
    'betas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod sqrt_one_minus_alphas_cumprod '
    'log_one_minus_alphas_cumprod sqrt_recip_alphas_cumprod sqrt_recipm1_alphas_cumprod '
    'posterior_variance posterior_mean_coef1 scale_arr logvar embedder.mean'
).split()


def test_training_tables_are_dropped(state):
    _, dropped = take_apart({**state, **{k: torch.zeros(1) for k in tables}}, 3)
    assert set(tables) <= set(dropped)


# towers and autoencoder
class OpenClip(nn.Module):
    "A tower as OpenCLIP builds it, from torch's own attention."

    def __init__(self, d, heads, inner, layers):
        super().__init__()
        blocks = nn.ModuleList(self.block(d, heads, inner) for _ in range(layers))
        self.transformer = nn.ModuleDict(dict(resblocks=blocks))

    def block(self, d, heads, inner):
        mlp = nn.ModuleDict(dict(c_fc=nn.Linear(d, inner), c_proj=nn.Linear(inner, d)))
        attn = nn.MultiheadAttention(d, heads, batch_first=True)
        return nn.ModuleDict(dict(attn=attn, ln_1=nn.LayerNorm(d), ln_2=nn.LayerNorm(d), mlp=mlp))

    def run(self, x, layers, mask=None):
        for b in self.transformer['resblocks'][:layers]:
            h = b['ln_1'](x)
            x = x + b['attn'](h, h, h, attn_mask=mask, need_weights=False)[0]
            x = x + b['mlp']['c_proj'](F.gelu(b['mlp']['c_fc'](b['ln_2'](x))))
        return x


def tower_of(state, begin, layers):
    "A tower with the tensors of a checkpoint, and a function that gets one of the others."
    tower = OpenClip(32, 2, 64, layers)
    tower.load_state_dict({k: state[begin + k] for k in tower.state_dict()})
    return tower.eval(), lambda name: state[begin + name]


@torch.no_grad()
def test_text_tower_is_penultimate_and_filled_with_zeros(pipe, state):
    tower, get = tower_of(state, 'cond_stage_model.model.', 3)
    ids = pipe.tokenizer('a b')['input_ids']
    assert ids == [188, 158, 159, 189]
    x = get('token_embedding.weight')[torch.tensor([ids + [0] * 73])] + get('positional_embedding')
    x = tower.run(x, 2, torch.full((77, 77), -torch.inf).triu(1))
    want = F.layer_norm(x, (32,), get('ln_final.weight'), get('ln_final.bias'))
    torch.testing.assert_close(pipe.encode_prompt('a b'), want, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_long_prompt_is_cut(pipe):
    assert pipe.encode_prompt('a ' * 200).shape == (1, 77, 32)


@torch.no_grad()
def test_image_tower_gives_all_tokens_of_its_last_layer(pipe, state):
    tower, get = tower_of(state, 'embedder.model.visual.', 2)
    pixels = clip_pixels(torch.rand(1, 3, 32, 64, generator=noise()) * 2 - 1, 28)
    x = F.conv2d(pixels, get('conv1.weight'), stride=14).flatten(2).transpose(1, 2)
    x = torch.cat([get('class_embedding')[None, None], x], 1) + get('positional_embedding')
    want = tower.run(F.layer_norm(x, (32,), get('ln_pre.weight'), get('ln_pre.bias')), 2)
    got = pipe.image_encoder(pixels).last_hidden_state
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_names_agree_with_diffusers_own_converter():
    convert = pytest.importorskip('diffusers.loaders.single_file_utils')
    begin = 'first_stage_model.'
    shapes = manifest('videocrafter2', small_size)
    state = {k: torch.rand(s) for k, s in shapes.items() if k.startswith(begin)}
    ours = vae_names({k.removeprefix(begin): v for k, v in state.items()})
    blocks = [0] * 4
    theirs = convert.convert_ldm_vae_checkpoint(
        dict(state), dict(down_block_types=blocks, up_block_types=blocks)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


# kinds of files
def latents(source, **kw):
    return clip(original(source, **kw), output_type='latent')


@pytest.fixture(scope='module')
def want(pipe):
    return clip(pipe, output_type='latent')


@pytest.mark.parametrize('suffix', ['.ckpt', '.safetensors'])
def test_a_file_gives_the_same_bits_as_its_tensors(suffix, want, tmp_path):
    file = write_checkpoint(tmp_path / f'model{suffix}', 'dynamicrafter-512')
    assert torch.equal(latents(file), want)


def test_deepspeeds_wrapping_and_other_spelling(state, want, tmp_path):
    old = {k.replace('fps_embedding', 'framestride_embed'): v for k, v in state.items()}
    module = {f'_forward_module.{k}': v for k, v in old.items()}
    torch.save({'module': module}, tmp_path / 'deepspeed.pt')
    assert torch.equal(latents(tmp_path / 'deepspeed.pt'), want)


@pytest.fixture(scope='module')
def half(tmp_path_factory):
    file = tmp_path_factory.mktemp('half') / 'half.ckpt'
    return write_checkpoint(file, 'dynamicrafter-512', dtype=torch.float16)


def test_half_precision_stays(half):
    nets = networks(original(half)).values()
    assert {p.dtype for net in nets for p in net.parameters()} == {torch.float16}


def test_half_precision_becomes_single(half, want):
    got = latents(half, dtype=torch.float32)
    assert got.dtype == torch.float32
    assert 0 < (got - want).abs().max() < 0.2


def test_nothing_is_copied_into_memory(folder):
    parts, _ = take_apart(read_checkpoint(folder / 'dynamicrafter-512.ckpt'), 3)
    nets = build('dynamicrafter-512', small_size)
    fill(nets, parts)
    file = {k.replace('temopral', 'temporal'): v for k, v in parts['unet'].items()}
    ours = nets['unet'].state_dict()
    assert all(ours[k].data_ptr() == file[k].data_ptr() for k in ours)


def test_nothing_is_left_without_memory(state):
    parts, _ = take_apart(state, 3)
    nets = build('dynamicrafter-512', small_size)
    fill(nets, parts)
    tensors = [t for net in nets.values() for t in (*net.parameters(), *net.buffers())]
    assert not any(t.is_meta for t in tensors)


# towers from elsewhere
@pytest.fixture(scope='module')
def both(pipe, tmp_path_factory):
    "A whole CLIP model in a folder, with a tokenizer."
    from transformers import CLIPConfig, CLIPModel

    text = dict(small_size['text_encoder'], hidden_act='gelu')
    image = dict(small_size['image_encoder'], hidden_act='gelu')
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=32))
    model.folder = str(tmp_path_factory.mktemp('clip'))
    model.save_pretrained(model.folder)
    pipe.tokenizer.save_pretrained(model.folder)
    return model


@pytest.fixture(scope='module')
def pruned(state):
    return {k: v for k, v in state.items() if not is_clip(k)}


def test_towers_from_elsewhere(pipe, both, pruned):
    p = original(pruned, clip=both.folder, tokenizer=None)
    assert len(p.text_encoder.state_dict()) == len(pipe.text_encoder.state_dict())
    theirs = both.vision_model.state_dict()
    # in transformers 5.0 the tower is one part more of a model
    ours = {k.removeprefix('vision_model.'): v for k, v in p.image_encoder.state_dict().items()}
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())


def test_towers_from_nowhere(pruned, tmp_path):
    with pytest.raises(MissingDependency, match='nowhere'):
        original(pruned, clip=str(tmp_path / 'nowhere'))


def test_a_tokenizer_from_nowhere(state, tmp_path):
    "transformers gives one that knows no words."
    with pytest.raises(MissingDependency, match='tokenizer.*nowhere'):
        original(state, clip=str(tmp_path / 'nowhere'), tokenizer=None)


# files that are wrong
name = 'model.diffusion_model.out.2.bias'


def without(*names):
    def corrupt(state):
        for k in names:
            del state[k]

    return corrupt


def with_more(**more):
    def corrupt(state):
        state.update({k.replace('__', '.'): t for k, t in more.items()})

    return corrupt


def misshapen(state):
    state[name] = torch.zeros(9)


def no_unet(state):
    for k in [k for k in state if k.startswith('model.')]:
        del state[k]


zero = torch.zeros(1)


@pytest.mark.parametrize(
    'corrupt, message',
    [
        (without(name), "lacks 1 tensor, the first is 'out.2.bias'"),
        (with_more(more=zero), "unknown tensor, the first is 'more'"),
        (
            with_more(first_stage_model__extra=zero),
            "autoencoder checkpoint has unknown 1 tensor, the first is 'extra'",
        ),
        (misshapen, 'another shape for 1 tensor'),
        (without('first_stage_model.quant_conv.bias'), 'autoencoder.*quant_conv.bias'),
        (without('embedder.model.visual.ln_pre.bias'), 'image encoder.*pre_layrnorm.bias'),
        (without('image_proj_model.latents'), 'image projector.*latents'),
        (no_unet, 'no checkpoint of DynamiCrafter'),
        (with_more(epoch=3), 'no table of named tensors'),
    ],
)
def test_wrong_checkpoints_are_named(corrupt, message, state, tmp_path):
    bad = dict(state)
    corrupt(bad)
    torch.save({'state_dict': bad}, tmp_path / 'bad.ckpt')
    with pytest.raises(InputError, match=message) as e:
        original(tmp_path / 'bad.ckpt')
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('suffix', ['.ckpt', '.safetensors'])
@pytest.mark.parametrize('content', ['half', 'ten bytes', 'nothing', 'a page'])
def test_damaged_files(suffix, content, tmp_path):
    bad = write_checkpoint(tmp_path / f'bad{suffix}', 'videocrafter2')
    good = bad.read_bytes()
    contents = {
        'half': good[: len(good) // 2],
        'ten bytes': good[:10],
        'nothing': b'',
        'a page': b'<html>404</html>',
    }
    bad.write_bytes(contents[content])
    with pytest.raises(InputError, match=f'bad{suffix} cannot be read as a checkpoint'):
        read_checkpoint(bad)


class Foreign:
    pass


def test_a_file_that_would_run_code(tmp_path):
    torch.save({'state_dict': {'a': Foreign()}}, tmp_path / 'foreign.ckpt')
    with pytest.raises(InputError, match='foreign.ckpt cannot be read'):
        read_checkpoint(tmp_path / 'foreign.ckpt')


def test_a_file_that_is_not_there(tmp_path):
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


def test_full_size_network_refuses_a_small_file(state):
    with pytest.raises(InputError, match='other model or size'):
        original(state, size=full_size)


# files as training runs and other programs leave them
@pytest.fixture
def config_class(monkeypatch):
    "A class of a module that is not installed where the file is read."

    class DictConfig:
        def __reduce__(self):
            return DictConfig, ('content',), dict(a=1)

    module = types.ModuleType('omegaconf.dictconfig')
    module.DictConfig, DictConfig.__module__ = DictConfig, module.__name__
    DictConfig.__qualname__ = 'DictConfig'
    monkeypatch.setitem(sys.modules, 'omegaconf', types.ModuleType('omegaconf'))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield DictConfig


def test_a_lightning_file_with_its_configuration(config_class, monkeypatch, tmp_path):
    state = random_checkpoint('videocrafter2')
    facts = dict(hyper_parameters=config_class(), epoch=3)
    torch.save({'state_dict': state, **facts}, tmp_path / 'run.ckpt')
    monkeypatch.delitem(sys.modules, 'omegaconf.dictconfig')
    found = read_checkpoint(tmp_path / 'run.ckpt')
    assert list(found) == list(state)
    assert all(torch.equal(found[k], state[k]) for k in state)


def test_averaged_weights_are_left_out():
    state = random_checkpoint('videocrafter2')
    more = {'model_ema.diffusion_modelout2weight': torch.zeros(1), 'model_ema.decay': torch.ones(1)}
    parts, dropped = take_apart({**state, **more}, 3)
    assert set(more) <= set(dropped)


@pytest.mark.parametrize('prefix', ['model.diffusion_model.', ''])
def test_the_unet_alone_is_named(prefix):
    begin = 'model.diffusion_model.'
    state = random_checkpoint('videocrafter2')
    unet = {prefix + k.removeprefix(begin): t for k, t in state.items() if k.startswith(begin)}
    with pytest.raises(InputError, match='UNet alone'):
        take_apart(unet, 3)


@pytest.mark.parametrize('kind, end', [('dynamicrafter-512', 0.3), ('dynamicrafter-1024', 0.7)])
def test_a_file_of_the_other_size_is_named(kind, end):
    table = torch.cat([torch.linspace(1, end, 400), torch.full((600,), end)])
    check_kind({'scale_arr': table}, 'dynamicrafter-512' if end == 0.7 else 'dynamicrafter-1024')
    with pytest.raises(InputError, match=f'not {kind}: its dynamic rescale ends at {end}'):
        check_kind({'scale_arr': table}, kind)
    with pytest.raises(InputError, match='dynamic rescale'):
        DynamiCrafterPipeline.from_original(
            {**random_checkpoint(kind), 'scale_arr': table}, kind, tokenizer='none', size=small_size
        )


def test_a_configuration_is_named(tmp_path):
    (tmp_path / 'inference_t2v_512_v2.0.yaml').write_text('model:\n  target: x\n')
    with pytest.raises(InputError, match='is a configuration, not weights'):
        read_checkpoint(tmp_path / 'inference_t2v_512_v2.0.yaml')
