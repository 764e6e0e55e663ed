"The port of DynamiCrafter's networks against numbers measured on the original ones."

import gzip
import json

import pytest
import torch
from helpers.golden import assert_golden, by_formula, wave
from helpers.project import root

from scz_nb.core import InputError
from scz_nb.models.stand_in import original_shapes
from scz_nb.models.unet import DynamiCrafterUNet, Resampler

here = root / 'tests/golden'
golden = json.loads((here / 'dynamicrafter_numbers.json').read_text())
checkpoints = json.loads(gzip.decompress((here / 'dynamicrafter_checkpoints.json.gz').read_bytes()))


def formula_unet(case):
    "A network of a golden case, its weights filled by the formula."
    unet = DynamiCrafterUNet.from_original_config(case['config']).eval()
    shapes = original_shapes(unet).items()
    state = {name: by_formula(name, shape, case['salt']) for name, shape in shapes}
    unet.load_original_state_dict(state, prefix='')
    return unet


@pytest.mark.parametrize('name', golden['unet'])
def test_unet_gives_the_originals_numbers(name):
    case = golden['unet'][name]
    unet = formula_unet(case)
    x = wave('input.x', case['x'], case['salt']).float()
    context = wave('input.context', case['context'], case['salt']).float()
    fs = None if case['fs'] is None else torch.tensor(case['fs'])
    with torch.no_grad():
        y = unet(x, torch.tensor(case['timesteps']), context, fs)
    assert_golden(y, case['output'])


@pytest.mark.parametrize('name', golden['unet'])
def test_unet_has_the_originals_size(name):
    case = golden['unet'][name]
    with torch.device('meta'):
        unet = DynamiCrafterUNet.from_original_config(case['config'])
    assert sum(p.numel() for p in unet.parameters()) == case['parameters']


def test_projector_gives_the_originals_numbers():
    case = golden['resampler']
    proj = Resampler(**case['config']).eval()
    state = {k: by_formula(k, v.shape, case['salt']) for k, v in proj.state_dict().items()}
    proj.load_original_state_dict(state, prefix='')
    with torch.no_grad():
        y = proj(wave('input.clip', case['x'], case['salt']).float())
    assert_golden(y, case['output'])


@pytest.mark.parametrize('size', checkpoints)
def test_every_tensor_of_the_checkpoint_is_filled(size):
    facts = checkpoints[size]
    with torch.device('meta'):
        unet = DynamiCrafterUNet.from_original_config(facts['unet'])
        proj = Resampler(**facts['image_proj'])
        tensors = {k: torch.empty(s) for k, s in facts['state_dict'].items()}
    unet.load_original_state_dict(tensors, assign=True)
    proj.load_original_state_dict(tensors, assign=True)
    ours = {'model.diffusion_model.' + k for k in original_shapes(unet)}
    ours |= {'image_proj_model.' + k for k in proj.state_dict()}
    assert ours == {k for k in tensors if not k.startswith('first_stage_model.')}


def small(**kw):
    "A network of two levels without a picture."
    sizes = dict(model_channels=32, channel_mult=(1, 2), num_res_blocks=1, num_head_channels=16)
    return DynamiCrafterUNet(
        **{**sizes, 'in_channels': 4, 'context_dim': 8, 'image_cross_attention': False, **kw}
    )


def less(state):
    del state['out.2.bias']


def more(state):
    state['more'] = torch.zeros(1)


def misshapen(state):
    state['out.2.bias'] = torch.zeros(9)


@pytest.mark.parametrize(
    'corrupt, message', [(less, 'lacks'), (more, 'unknown'), (misshapen, 'another shape')]
)
def test_loader_is_strict(corrupt, message):
    unet = small()
    state = dict(unet.state_dict())
    corrupt(state)
    with pytest.raises(InputError, match=message):
        unet.load_original_state_dict(state, prefix='')


@pytest.mark.parametrize('shape', [(1, 3, 2, 8, 8), (1, 4, 2, 9, 8), (4, 2, 8, 8)])
def test_bad_input_is_named(shape):
    with pytest.raises(InputError):
        small()(torch.zeros(shape), torch.tensor([1]), torch.zeros(1, 77, 8))


def test_missing_image_tokens_are_named():
    unet, x = small(image_cross_attention=True), torch.zeros(1, 4, 2, 8, 8)
    with pytest.raises(InputError, match='image tokens'):
        unet(x, torch.tensor([1]), torch.zeros(1, 77, 8))


@pytest.mark.parametrize('name', ['use_causal_attention', 'use_relative_position', 'nonsense'])
def test_unsupported_arguments_are_refused(name):
    with pytest.raises(InputError):
        small(**{name: True})
