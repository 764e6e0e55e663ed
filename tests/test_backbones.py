"Backbones: every published model through all stages of the sampler; names, folders, files."

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import write_checkpoint
from helpers.pipelines import picture
from helpers.project import root

from scz_nb.core import InputError, MissingDependency, NoiseSource
from scz_nb.diffusion.denoiser import Backbone
from scz_nb.media.io import fit_image
from scz_nb.models.backbones import DynamiCrafterBackbone, load_backbone, model_settings
from scz_nb.models.convert import originals
from scz_nb.models.hub import hub, storage
from scz_nb.models.pipeline import DynamiCrafterPipeline
from scz_nb.models.stand_in import letter_tokenizer, small_size
from scz_nb.sampler import run

ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (4, 32, 1))
quick = dict(right='paper', restart_iterations=2, refine=((25, 2),), scale=30.0)


@pytest.fixture(scope='module')
def pipe(pipes):
    return pipes['dynamicrafter-512']


def stereo(pipe, image=picture, config=None, **kw):
    "A short run of the sampler."
    return run(
        image,
        'fog',
        backbone=pipe if isinstance(pipe, (str, Path)) else DynamiCrafterBackbone(pipe),
        steps=2,
        progress=False,
        config={**quick, **(config or {})},
        **{'depth': ramp, **kw},
    )


# through the sampler
@pytest.fixture(scope='module', params=list(originals))
def made(request, pipes):
    "A model, the video that it makes, and the stages that were gone through."
    kind, stages = request.param, set()
    image = None if kind == 'videocrafter2' else picture
    v = stereo(pipes[kind], image, on_step=lambda info: stages.add(info.stage))
    return kind, v, stages


def test_a_published_model_is_a_backbone(made, pipes):
    assert isinstance(DynamiCrafterBackbone(pipes[made[0]]), Backbone)


def test_both_views_of_every_model(made):
    _, v, _ = made
    assert v.left.shape == v.right.shape == (4, 32, 64, 3)
    assert not np.array_equal(v.left, v.right)


def test_every_model_goes_through_all_stages(made):
    assert {'mono', 'depth', 'restart', 'refine'} <= made[2]


def test_the_record_names_the_model_and_its_settings(made):
    kind, v, _ = made
    assert v.meta['backbone'] == kind
    assert v.meta['settings']['frame_stride'] == model_settings(kind)['frame_stride']


@pytest.fixture(scope='module')
def with_and_without(pipe):
    "The same run with cross-view attention and without it."
    windows = ((0.0, 1.0), None)
    return [stereo(pipe, config=dict(guidance=1.0, cross_view=w)) for w in windows]


def test_cross_view_attention_changes_the_right_view_alone(with_and_without):
    a, b = with_and_without
    assert np.array_equal(a.left, b.left)
    assert not np.array_equal(a.right, b.right)


def test_cross_view_attention_leaves_no_hook(with_and_without, pipe):
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in pipe.unet.modules())


few = dict(restart_iterations=1, refine=(), guidance=1.0)


@pytest.mark.parametrize(
    'kw, frames', [(dict(image2=picture[::-1].copy()), 2), (dict(loop=True), 3)]
)
def test_given_last_frames_are_dropped(kw, frames, pipes):
    assert len(stereo(pipes['dynamicrafter-interp'], config=few, **kw).left) == frames


def test_a_given_video_of_another_length(pipe):
    video, depth = np.stack([picture] * 5), np.tile(ramp[:1], (5, 1, 1))
    assert stereo(pipe, None, few, video=video, depth=depth).left.shape == (5, 32, 64, 3)


def test_mono_video_is_the_pipelines(pipe):
    b = DynamiCrafterBackbone(pipe)
    v = stereo(pipe, config=dict(restart_iterations=0, refine=(), guidance_rescale=0.7))
    names = ('start', 'step 0', 'step 1')
    z, *draws = (NoiseSource(0).normal(n, b.latent_shape) for n in names)
    s = b.schedule(2, 1.0)
    cond = b.condition('fog', fit_image(picture, b.width, b.height), None, 24)
    for i, t in enumerate(s.timesteps):
        guess = s.interpret(z, b.denoise(z, t, cond, 7.5, 0.7), i)
        z = s.step(guess, i, draws[i])
    assert np.abs(b.decode(z).astype(int) - v.left).max() <= 1


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
    def condition(*args):
        pytest.fail('a network was run')

    monkeypatch.setattr(DynamiCrafterPipeline, 'condition', condition)
    with pytest.raises(InputError, match=message):
        stereo(pipe, **kw)


def test_a_prompts_unknown_words_are_named(backbone):
    with pytest.warns(UserWarning, match='does not know.*teleports'):
        backbone.condition('a red ball teleports')


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
    assert (d['frame_stride'], d['guidance_rescale']) == (stride, rescale)
    assert d.get('scale', 4.0) == scale
    assert d['refine'][-1][0] == last
    assert d['dissolve'] == 0


# names, folders, files
@pytest.fixture(scope='module')
def saved(pipe, tmp_path_factory):
    "A folder that save_pretrained wrote."
    folder = tmp_path_factory.mktemp('models') / 'saved'
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    "A checkpoint file in the original format."
    return write_checkpoint(tmp_path_factory.mktemp('file') / 'model.ckpt', 'dynamicrafter-512')


def test_a_folder(saved):
    b = load_backbone(saved, 'cpu')
    assert b.name == str(saved)
    assert b.device == torch.device('cpu')
    assert {p.dtype for p in b.unet.parameters()} == {torch.float32}


def test_a_backbone_is_returned_as_it_is(pipe):
    b = DynamiCrafterBackbone(pipe)
    assert load_backbone(b) is b


def test_networks_in_half_precision_and_latents_in_single(saved):
    b = load_backbone(saved, 'cpu', torch.bfloat16)
    assert {p.dtype for p in b.unet.parameters()} == {torch.bfloat16}
    assert b.dtype == torch.float32


@pytest.fixture
def small(monkeypatch):
    "Checkpoints are read as those of small models."
    real = DynamiCrafterPipeline.from_original

    def from_original(path, kind, dtype):
        return real(path, kind, tokenizer=letter_tokenizer(), size=small_size, dtype=dtype)

    monkeypatch.setattr(DynamiCrafterPipeline, 'from_original', from_original)


def test_a_file(file, pipe, small):
    b = load_backbone(f'dynamicrafter-512={file}', 'cpu')
    ours, theirs = b.unet.state_dict(), pipe.unet.state_dict()
    assert torch.equal(ours['out.2.bias'], theirs['out.2.bias'])


def test_a_name(hub_cache, small):
    folder = storage('videocrafter2') / 'snapshots' / hub['videocrafter2'].revision
    folder.mkdir(parents=True)
    write_checkpoint(folder / 'model.ckpt', 'videocrafter2')
    assert load_backbone('videocrafter2', 'cpu').pipe.config.kind == 'videocrafter2'


@pytest.mark.parametrize(
    'bad, message',
    [
        ('dynamicrafter-51', 'did you mean'),
        ('dynamicrafter-51=x.ckpt', 'did you mean'),
        ('depth-pro', 'unknown backbone'),
        ('no/such/folder', 'not there'),
        ('m.ckpt', 'not there'),
        ('dynamicrafter-512=no.ckpt', 'not there'),
        (3, 'name'),
    ],
)
def test_bad_names(bad, message):
    with pytest.raises(InputError, match=message):
        load_backbone(bad, 'cpu')


def test_the_old_name_of_offload_leads_to_the_new_one():
    with pytest.raises(InputError, match='rung is offload now.*offload=2'):
        load_backbone('tiny', 'cpu', rung=2)


def test_an_unknown_option():
    with pytest.raises(TypeError, match='speed'):
        load_backbone('tiny', 'cpu', speed=2)


@pytest.mark.parametrize('offload', [-1, 4, 1.5, 'all'])
def test_an_unknown_offload_level(offload):
    with pytest.raises(InputError, match='whole number from 0'):
        load_backbone('tiny', 'cpu', offload=offload)


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match='model_index.json'):
        load_backbone(tmp_path, 'cpu')


def test_a_file_that_may_be_any_model(file):
    with pytest.raises(InputError, match="'dynamicrafter-512="):
        load_backbone(file, 'cpu')


def test_a_folder_of_another_pipeline(tmp_path):
    index = '{"_class_name": "DynamiCrafterPipeline", "unet": ["scz_nb.models.pipeline", "No"]}'
    (tmp_path / 'model_index.json').write_text(index)
    with pytest.raises(InputError, match='cannot be loaded as a pipeline'):
        load_backbone(tmp_path, 'cpu')


def lacks_a_tensor(folder):
    from safetensors.torch import load_file, save_file

    f = folder / 'unet/diffusion_pytorch_model.safetensors'
    save_file({k: v for k, v in load_file(f).items() if k != 'out.2.bias'}, f)


def lacks_the_tokenizer(folder):
    shutil.rmtree(folder / 'tokenizer')


def lacks_the_autoencoder(folder):
    shutil.rmtree(folder / 'vae')


def damaged(folder):
    (folder / 'text_encoder/model.safetensors').write_bytes(b'0' * 99)


@pytest.mark.parametrize(
    'corrupt, message',
    [
        (lacks_a_tensor, "lacks 1 tensors of the unet, the first is 'out.2.bias'"),
        (lacks_the_tokenizer, "no folder 'tokenizer'"),
        (lacks_the_autoencoder, 'cannot be loaded as a pipeline'),
        (damaged, 'cannot be loaded as a pipeline'),
    ],
)
def test_damaged_folders(corrupt, message, saved, tmp_path):
    folder = tmp_path / 'saved'
    shutil.copytree(saved, folder)
    corrupt(folder)
    with pytest.raises(InputError, match=message):
        load_backbone(folder, 'cpu')


def test_transformers_is_looked_for_before_anything_is_downloaded(hub_cache, monkeypatch):
    def download(*args, **kw):
        pytest.fail('it was downloaded')

    monkeypatch.setitem(sys.modules, 'transformers', None)
    monkeypatch.setattr('huggingface_hub.hf_hub_download', download)
    with pytest.raises(MissingDependency, match=r'scz_nb\[hub\]'):
        load_backbone('dynamicrafter-512', 'cpu')


def test_the_sampler_alone_imports_no_diffusers():
    code = """import sys, scz_nb.sampler
print([m for m in ('diffusers', 'transformers') if m in sys.modules])"""
    run = subprocess.run(
        [sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == '[]'
