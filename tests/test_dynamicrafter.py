"The port of DynamiCrafter's networks against numbers measured on the original ones."

import gzip
import json
from pathlib import Path

import pytest
import torch
from helpers.golden import assert_golden, by_formula, wave

from scz_nb.core import InputError
from scz_nb.models.unet import DynamiCrafterUNet, Resampler

here = Path(__file__).parent / 'golden'
golden = json.loads((here / 'dynamicrafter_numbers.json').read_text())
checkpoints = json.loads(gzip.decompress((here / 'dynamicrafter_checkpoints.json.gz').read_bytes()))


def original_names(unet):
    "Name and shape of each tensor as the published files have them."
    for k, v in unet.state_dict().items():
        shape = tuple(v.shape) + ((1,) if k.startswith('init_attn.0.proj') and v.ndim == 2 else ())
        yield k.replace('temporal_conv', 'temopral_conv'), shape


@pytest.mark.parametrize('name', golden['unet'])
def test_unet_golden(name):
    case = golden['unet'][name]
    unet = DynamiCrafterUNet.from_original_config(case['config']).eval()
    unet.load_original_state_dict(
        {k: by_formula(k, s, case['salt']) for k, s in original_names(unet)}, prefix=''
    )
    assert sum(p.numel() for p in unet.parameters()) == case['parameters']
    fs = None if case['fs'] is None else torch.tensor(case['fs'])
    with torch.no_grad():
        y = unet(
            wave('input.x', case['x'], case['salt']).float(),
            torch.tensor(case['timesteps']),
            wave('input.context', case['context'], case['salt']).float(),
            fs,
        )
    assert_golden(y, case['output'])


def test_resampler_golden():
    case = golden['resampler']
    proj = Resampler(**case['config']).eval()
    proj.load_original_state_dict(
        {k: by_formula(k, tuple(v.shape), case['salt']) for k, v in proj.state_dict().items()},
        prefix='',
    )
    with torch.no_grad():
        y = proj(wave('input.clip', case['x'], case['salt']).float())
    assert_golden(y, case['output'])


@pytest.mark.parametrize('size', checkpoints)
def test_fills_every_tensor_of_the_checkpoint(size):
    facts = checkpoints[size]
    with torch.device('meta'):
        unet, proj = (
            DynamiCrafterUNet.from_original_config(facts['unet']),
            Resampler(**facts['image_proj']),
        )
        tensors = {k: torch.empty(s) for k, s in facts['state_dict'].items()}
    unet.load_original_state_dict(tensors, assign=True)
    proj.load_original_state_dict(tensors, assign=True)
    ours = {'model.diffusion_model.' + k for k, _ in original_names(unet)} | {
        'image_proj_model.' + k for k in proj.state_dict()
    }
    theirs = {k for k in tensors if not k.startswith('first_stage_model.')}
    assert ours == theirs


def small(**kw):
    return DynamiCrafterUNet(
        **{
            **dict(
                in_channels=4,
                model_channels=32,
                channel_mult=(1, 2),
                num_res_blocks=1,
                num_head_channels=16,
                context_dim=8,
                image_cross_attention=False,
            ),
            **kw,
        }
    )


@pytest.mark.parametrize(
    'corrupt, message',
    [
        (lambda sd: sd.pop('out.2.bias'), 'lacks'),
        (lambda sd: sd.update(more=torch.zeros(1)), 'unknown'),
        (lambda sd: sd.update({'out.2.bias': torch.zeros(9)}), 'another shape'),
    ],
)
def test_loader_is_strict(corrupt, message):
    unet = small()
    sd = dict(unet.state_dict())
    corrupt(sd)
    with pytest.raises(InputError, match=message):
        unet.load_original_state_dict(sd, prefix='')


@pytest.mark.parametrize('shape', [(1, 3, 2, 8, 8), (1, 4, 2, 9, 8), (4, 2, 8, 8)])
def test_bad_input_is_named(shape):
    with pytest.raises(InputError):
        small()(torch.zeros(shape), torch.tensor([1]), torch.zeros(1, 77, 8))


def test_missing_image_tokens_are_named():
    with pytest.raises(InputError, match='image tokens'):
        small(image_cross_attention=True)(
            torch.zeros(1, 4, 2, 8, 8), torch.tensor([1]), torch.zeros(1, 77, 8)
        )


@pytest.mark.parametrize(
    'kw', [dict(use_causal_attention=True), dict(use_relative_position=True), dict(nonsense=1)]
)
def test_unsupported_arguments_are_refused(kw):
    with pytest.raises(InputError):
        small(**kw)
