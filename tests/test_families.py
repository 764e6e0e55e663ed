"Wan, LTX and CogVideoX: as diffusers' own pipelines, and through all stages of the sampler."

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.families import (
    first_frame,
    our_latents,
    ramp,
    scene,
    size_of,
    steps,
    sure_of_itself,
    their_latents,
)

from scz_nb.core import InputError, MissingDependency, NoiseSource
from scz_nb.diffusion.denoiser import Backbone
from scz_nb.models import families, published
from scz_nb.models.backbones import load_backbone
from scz_nb.models.families import families as known_pipelines
from scz_nb.models.hub import hub
from scz_nb.models.small_families import small_families, small_family
from scz_nb.sampler import RIGHT_VIEWS, count_calls, resolve_config, run

names = list(small_families)
quick = dict(restart_iterations=2, refine=((25, 2),), scale=20.0, guidance=2.0)


class Folders(dict):
    "Family → the folder of a small pipeline, each written when it is first needed."

    def __init__(self, root):
        super().__init__()
        self.root = root

    def __missing__(self, name):
        pipe = small_family(name)
        if name == 'cogvideo':
            sure_of_itself(pipe.vae)
        pipe.save_pretrained(self.root / name)
        self[name] = self.root / name
        return self[name]


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    return Folders(tmp_path_factory.mktemp('families'))


@pytest.fixture(scope='module')
def backbones(folders):
    "Family → backbone from a folder."

    class Backbones(dict):
        def __missing__(self, name):
            self[name] = load_backbone(folders[name], 'cpu', size=size_of(name))
            return self[name]

    return Backbones()


@pytest.fixture
def folder(folders, tmp_path):
    "A folder of its own, to be damaged."
    return shutil.copytree(folders['wan-text'], tmp_path / 'wan')


# against diffusers
@pytest.mark.parametrize('guidance', [1.0, 3.0])
@pytest.mark.parametrize('name', names)
def test_the_mono_video_is_that_of_the_familys_own_pipeline(name, guidance, backbones):
    pipe = small_family(name)
    if name == 'cogvideo':
        sure_of_itself(pipe.vae)
    b = backbones[name]
    theirs = their_latents(pipe, b, guidance)
    torch.testing.assert_close(our_latents(b, guidance), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', names)
@torch.no_grad()
def test_pixels_are_those_of_the_familys_own_pipeline(name, backbones):
    b, pipe = backbones[name], backbones[name].pipe
    z = NoiseSource(0).normal('z', b.latent_shape)
    if name == 'cogvideo':
        video = pipe.decode_latents(z.transpose(1, 2))
    else:
        video = b.from_latents(b.plain(z))
    theirs = pipe.video_processor.postprocess_video(video, output_type='np')[0]
    assert np.abs(b.decode(z) / 255 - theirs).max() <= 0.51 / 255


@pytest.mark.parametrize('name', names)
def test_a_clip_has_latents_of_the_shape_that_is_promised(name, backbones):
    b = backbones[name]
    video = np.stack([scene[: b.height, : b.width]] * b.frames)
    z = b.encode(video)
    assert z.shape == b.latent_shape and z.dtype == torch.float32
    assert b.decode(z).shape == video.shape


def test_unipcs_levels_are_used_and_not_rounded(backbones):
    from diffusers import UniPCMultistepScheduler

    b = backbones['wan-text']
    old = b.pipe.scheduler
    flow = dict(prediction_type='flow_prediction', use_flow_sigmas=True, flow_shift=3.0)
    b.pipe.scheduler = UniPCMultistepScheduler(**flow)
    s = b.schedule(10, 0.0)
    b.pipe.scheduler.set_timesteps(10)
    assert s.noise == tuple(b.pipe.scheduler.sigmas.tolist())
    assert s.timesteps[0] == pytest.approx(1000 * s.noise[0])
    b.pipe.scheduler = old


def test_a_known_first_frame_comes_out_as_it_was_given(backbones):
    b = backbones['wan-both']
    given = b.condition('', first_frame(b)).first
    torch.testing.assert_close(our_latents(b, 1.0)[:, :, :1], given, atol=1e-5, rtol=1e-5)


# through the sampler
def stereo(b, **config):
    "A short run of the sampler."
    config = {**quick, **config}
    given = dict(backbone=b, depth=ramp(b), progress=False)
    return run(first_frame(b), 'fog drifts', **given, steps=steps, config=config)


def possible(b):
    "Right views that a backbone can make."
    return [k for k, m in RIGHT_VIEWS.items() if b.takes_pixels or not m.needs_pixels]


@pytest.mark.parametrize('name', names)
def test_every_right_view_of_every_family(name, backbones):
    b = backbones[name]
    assert isinstance(b, Backbone)
    for right in possible(b):
        v = stereo(b, right=right)
        config = resolve_config(b, dict(**quick, right=right), steps=steps)
        assert v.left.shape == v.right.shape == (b.frames, b.height, b.width, 3)
        assert not np.array_equal(v.left, v.right)
        assert sum(v.meta['calls'].values()) == count_calls(config, steps), right


@pytest.mark.parametrize('name', names)
def test_cross_view_attention_changes_the_right_view_alone(name, backbones):
    b = backbones[name]
    on, off = (stereo(b, right='paper', cross_view=w) for w in ((0.0, 1.0), None))
    assert np.array_equal(on.left, off.left)
    assert not np.array_equal(on.right, off.right)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in b.unet.modules())


@pytest.mark.parametrize('name', names)
def test_each_self_attention_block_gives_its_queries(name, backbones):
    net = backbones[name].unet
    own = {n for n, m in net.named_modules() if getattr(m, 'is_self', False)}
    assert own == {n for n, _ in net.named_modules() if n.endswith('attn1')}
    assert len(own) >= net.config.num_layers


def test_network_evaluations_are_the_transformers(backbones):
    b, seen = backbones['wan-text'], []
    hook = b.unet.register_forward_hook(lambda *a: seen.append(1))
    v = stereo(b, right='inpaint')
    hook.remove()
    assert len(seen) == 2 * sum(v.meta['calls'].values())  # guidance


def test_the_transformer_of_vace_is_told_what_is_visible(backbones):
    b = backbones['wan-vace']
    video = np.stack([scene[: b.height, : b.width]] * b.frames)
    sure = np.ones(video.shape[:3], bool)
    sure[:, :, 40:48] = False
    told = b.pixel_condition(b.condition('fog', None), None, None, video, sure)
    control = told.more['control_hidden_states']
    places = control[:, 32:]  # a channel for each pixel of a latent
    assert places[..., :5].max() == 0 and places[..., 5].min() == 1 and places[..., 6:].max() == 0
    hidden = np.where(sure[..., None], video, 0)
    other = b.pixel_condition(b.condition('fog', None), None, None, hidden, sure)
    assert torch.equal(control, other.more['control_hidden_states'])  # holes say nothing


# the prompt
def test_a_prompt_is_encoded_once_and_its_encoder_dropped(folders, monkeypatch):
    b = load_backbone(folders['wan-text'], 'cpu', size=size_of('wan-text'))
    loads, load = [], families.load_text
    monkeypatch.setattr(families, 'load_text', lambda path: loads.append(path) or load(path))
    for prompt in ('fog', 'fog', ''):
        b.condition(prompt)
    assert len(loads) == 1
    assert b.pipe.text_encoder is None and b.pipe.tokenizer is None
    b.condition('rain')
    assert len(loads) == 2


def test_a_pipeline_that_can_read_keeps_its_encoder():
    pipe = small_family('wan-text')
    b = families.WanText(pipe, size=size_of('wan-text'))
    b.condition('fog')
    assert pipe.text_encoder is not None


# what cannot be
@pytest.mark.parametrize('size', [(8, 32, 64), (9, 33, 64), (9, 32, 8), (0, 32, 64)])
def test_a_size_that_cannot_be_is_one_sentence(size, folders):
    with pytest.raises(InputError, match=r'makes 4k\+1 frames .* multiples of 16 pixels'):
        load_backbone(folders['wan-text'], 'cpu', size=size)


def test_the_embedded_model_has_one_size():
    with pytest.raises(InputError, match='one size'):
        load_backbone('tiny', size=(9, 32, 64))


@pytest.mark.parametrize(
    'name, picture, message',
    [('wan-text', scene[:32, :64], 'from words alone'), ('wan-image', None, 'needs a picture')],
)
def test_a_picture_that_is_wrong_is_said_before_anything_is_run(
    name, picture, message, backbones, monkeypatch
):
    b = backbones[name]
    monkeypatch.setattr(type(b), 'condition', lambda *a: pytest.fail('a network was run'))
    with pytest.raises(InputError, match=message):
        run(picture, 'fog', backbone=b, depth=ramp(b), steps=2, progress=False)


def change_index(folder, **facts):
    "Write other facts into a folder's list of parts."
    path = folder / 'model_index.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_an_unknown_family_is_named_with_the_known_ones(folder):
    change_index(folder, _class_name='MochiPipeline')
    with pytest.raises(InputError, match='MochiPipeline; known are WanPipeline'):
        load_backbone(folder, 'cpu')


def test_two_transformers_are_one_too_many(folder):
    change_index(folder, boundary_ratio=0.9)
    with pytest.raises(InputError, match='two transformers'):
        load_backbone(folder, 'cpu')


def test_a_folder_that_is_no_pipeline(tmp_path):
    with pytest.raises(InputError, match='no model_index.json'):
        load_backbone(tmp_path, 'cpu')


def test_an_index_that_cannot_be_read(folder):
    (folder / 'model_index.json').write_text('{')
    with pytest.raises(InputError, match='save_pretrained'):
        load_backbone(folder, 'cpu')


@pytest.mark.parametrize('part', ['vae', 'transformer', 'scheduler', 'text_encoder', 'tokenizer'])
def test_a_missing_part_is_named(part, folder):
    shutil.rmtree(folder / part)
    with pytest.raises(InputError, match=f"has no folder '{part}'"):
        load_backbone(folder, 'cpu')


def test_a_missing_file_is_named(folder):
    (folder / 'vae' / 'diffusion_pytorch_model.safetensors').unlink()
    with pytest.raises(InputError, match='cannot be loaded'):
        load_backbone(folder, 'cpu')


def test_missing_tensors_are_named(folder):
    from safetensors.torch import load_file, save_file

    path = folder / 'transformer' / 'diffusion_pytorch_model.safetensors'
    state = load_file(path)
    state.pop('blocks.0.attn1.to_q.weight')
    save_file(state, path, {'format': 'pt'})
    with pytest.raises(InputError, match='blocks.0.attn1.to_q.weight'):
        load_backbone(folder, 'cpu')


def test_a_scheduler_of_another_kind(backbones):
    from diffusers import DDPMScheduler

    b = backbones['wan-text']
    old, b.pipe.scheduler = b.pipe.scheduler, DDPMScheduler()
    with pytest.raises(InputError, match='none of flow matching'):
        b.schedule(4, 0.0)
    b.pipe.scheduler = old


@pytest.mark.parametrize('name', published.published)
def test_without_a_network_it_says_what_to_do(name, monkeypatch):
    import huggingface_hub

    def offline(*args, **kwargs):
        raise OSError('no connection')

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', offline)
    with pytest.raises(MissingDependency, match='pass the folder') as e:
        load_backbone(name)
    assert hub[name].repo in str(e.value) and '\n' not in str(e.value)


def test_when_memory_runs_out_less_of_it_is_used(backbones, monkeypatch):
    b, calls = backbones['wan-text'], []

    def step_down(pipe, offload, device, what):
        calls.append(what)
        return offload + 1

    def full(*args):
        if not calls:
            raise torch.OutOfMemoryError
        return torch.zeros(1, 3, 9, 32, 64)

    monkeypatch.setattr(families, 'next_level', step_down)
    monkeypatch.setattr(b, 'from_latents', full)
    b.decode(torch.zeros(b.latent_shape))
    assert calls == [f'{b.name} at 64×32'] and b.offload == 1
    b.offload = 0


def test_each_pipeline_of_diffusers_is_there():
    import diffusers

    assert all(hasattr(diffusers, name) for name in known_pipelines)


# as published
millions = {  # parameters of transformer and autoencoder
    'wan2.1-t2v-1.3b': (1419, 127),
    'wan2.1-i2v-14b': (16395, 127),
    'wan2.1-vace-1.3b': (2154, 127),
    'wan2.2-ti2v-5b': (5000, 705),
    'ltx-video-2b': (1923, 419),
    'cogvideox-5b-i2v': (5570, 216),
}


@pytest.fixture(scope='module')
def on_meta():
    class Meta(dict):
        def __missing__(self, name):
            self[name] = published.on_meta(name)
            return self[name]

    return Meta()


@pytest.mark.parametrize('name', published.published)
def test_a_published_configuration_builds(name, on_meta):
    b = on_meta[name]
    nets = b.unet, b.pipe.vae
    counts = [sum(p.numel() for p in n.parameters()) for n in nets]
    assert tuple(round(n / 1e6) for n in counts) == millions[name]
    assert b.device.type == 'meta' and hub[name].repo and len(hub[name].revision) == 40


shapes = {  # of tensors that say which model it is
    'wan2.1-t2v-1.3b': ('blocks.29.attn1.to_q.weight', (1536, 1536)),
    'wan2.1-i2v-14b': ('patch_embedding.weight', (5120, 36, 1, 2, 2)),
    'wan2.1-vace-1.3b': ('vace_patch_embedding.weight', (1536, 96, 1, 2, 2)),
    'wan2.2-ti2v-5b': ('patch_embedding.weight', (3072, 48, 1, 2, 2)),
    'ltx-video-2b': ('transformer_blocks.27.attn1.to_q.weight', (2048, 2048)),
    'cogvideox-5b-i2v': ('transformer_blocks.41.attn1.to_q.weight', (3072, 3072)),
}


@pytest.mark.parametrize('name', published.published)
def test_tensors_have_their_published_names_and_shapes(name, on_meta):
    tensor, shape = shapes[name]
    assert on_meta[name].unet.state_dict()[tensor].shape == shape


latents = {
    'wan2.1-t2v-1.3b': (1, 16, 21, 60, 104),
    'wan2.1-i2v-14b': (1, 16, 21, 60, 104),
    'wan2.1-vace-1.3b': (1, 16, 21, 60, 104),
    'wan2.2-ti2v-5b': (1, 48, 31, 44, 80),
    'ltx-video-2b': (1, 128, 21, 16, 22),
    'cogvideox-5b-i2v': (1, 16, 13, 60, 90),
}


@pytest.mark.parametrize('name', published.published)
def test_latents_have_their_published_shape(name, on_meta):
    assert on_meta[name].latent_shape == latents[name]


def test_the_ladder_goes_down_and_a_small_clip_needs_less():
    size = (9, 128, 192)
    large, small = published.on_meta('ltx-video-2b'), published.on_meta('ltx-video-2b', size=size)
    ladders = [b.memory() for b in (large, small)]
    for ladder in ladders:
        assert sorted(ladder, reverse=True) == ladder
    assert all(a > b for a, b in zip(*ladders))


def test_arithmetic_of_a_call_is_that_of_its_matrices(on_meta):
    b = published.on_meta('ltx-video-2b', size=(9, 128, 192))
    tokens = int(np.prod(b.latent_shape[2:]))
    weights = sum(p.numel() for n, p in b.unet.named_parameters() if 'blocks' in n and p.ndim == 2)
    counted = published.cost(b).flops
    assert 0.8 < counted / (2 * tokens * weights) < 1.3  # texts and attention are the rest


def test_too_little_memory_is_one_sentence(folders, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (1000, 1000))
    b = load_backbone(folders['wan-text'], 'cpu', size=size_of('wan-text'))
    with pytest.raises(InputError, match='needs about .* GB of GPU memory at the least'):
        published.level_for(b, 'cuda')


@pytest.mark.parametrize('name', ['wan-vace', 'ltx', 'cogvideo'])
@pytest.mark.parametrize('frames', [5, 14])
def test_a_given_video_of_any_length(name, frames, backbones):
    b = backbones[name]
    video = np.stack([scene[: b.height, : b.width]] * frames)
    near = np.tile(ramp(b)[:1], (frames, 1, 1))
    for config in (dict(right='inpaint'), dict(right='paper', eta=1.0)):
        v = run(
            video=video, depth=near, backbone=b, steps=2, progress=False, config={**quick, **config}
        )
        assert np.array_equal(v.left, video) and v.right.shape == video.shape


@torch.inference_mode()
def test_an_inverted_video_is_come_back_to(backbones):
    from scz_nb.diffusion.denoiser import Denoiser
    from scz_nb.diffusion.invert import invert

    b = backbones['wan-text']
    config = resolve_config(b, dict(eta=1.0, steps=steps))
    z0 = NoiseSource(0).normal('clip', b.latent_shape)
    way = invert(Denoiser(b, config, NoiseSource(0), cross_view=False), z0)
    again = Denoiser(b, config, NoiseSource(0), cross_view=False)
    z = way.latents[0]
    for i in range(steps - 1):
        z = again.schedule.step(again.left(z, i), i, way.noises[i])
        torch.testing.assert_close(z, way.latents[i + 1], atol=1e-3, rtol=1e-3)
    assert torch.equal(way.latents[-1], z0) and not way.noises[-1].any()


@pytest.mark.parametrize('name', ['wan-image', 'ltx', 'cogvideo'])
def test_in_half_precision_only_the_transformer_is(name, folders):
    b = load_backbone(folders[name], 'cpu', dtype=torch.bfloat16, size=size_of(name))
    assert b.unet.dtype == torch.bfloat16 and b.pipe.vae.dtype == torch.float32
    v = stereo(b, right='pixels')
    assert v.right.shape == v.left.shape and b.dtype == torch.float32
