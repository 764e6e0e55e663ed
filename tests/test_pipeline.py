"DynamiCrafter as a pipeline: schedules, conditions, sampling, folders."

import json

import numpy as np
import pytest
import torch
from helpers.pipelines import clip, networks, noise, picture
from helpers.project import root

from scz_nb.core import InputError
from scz_nb.models.pipeline import (
    DynamiCrafterPipeline,
    clean_prompt,
    clip_mean,
    clip_pixels,
    clip_std,
    model_card,
)

golden = json.loads((root / 'tests/golden/dynamicrafter_numbers.json').read_text())['schedule']
kinds = {  # model → what it predicts, and its dynamic rescale
    'dynamicrafter-256': ('eps', 1.0),
    'dynamicrafter-512': ('v', 0.7),
    'dynamicrafter-1024': ('v', 0.3),
    'dynamicrafter-interp': ('v', 0.7),
    'videocrafter2': ('eps', 0.7),
}


@pytest.fixture(scope='module')
def pipe(pipes):
    return pipes['dynamicrafter-512']


# CLIP's picture
@pytest.mark.parametrize('shape', [(320, 512), (256, 256), (100, 300), (224, 224)])
def test_pictures_shrink_as_the_original_does(shape):
    svd = pytest.importorskip(
        'diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion'
    )
    x = torch.rand(1, 3, *shape, generator=noise()) * 2 - 1
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (clip_mean, clip_std))
    got = clip_pixels(x)
    assert got.shape == (1, 3, 224, 224)
    want = (svd._resize_with_antialiasing(x, (224, 224)) + 1) / 2
    atol = 2e-2 if max(shape) <= 224 else 1e-5
    torch.testing.assert_close(got * std + mean, want, atol=atol, rtol=0)


def test_clips_mean_and_spread():
    assert clip_mean == (0.48145466, 0.4578275, 0.40821073)
    assert clip_std == (0.26862954, 0.26130258, 0.27577711)


# pipeline → folder → pipeline
@pytest.fixture(scope='module', params=['dynamicrafter-256', 'videocrafter2'])
def twice(request, pipes, tmp_path_factory):
    "A pipeline, and the same saved and loaded."
    a, folder = pipes[request.param], tmp_path_factory.mktemp('saved')
    a.save_pretrained(folder)
    b = DynamiCrafterPipeline.from_pretrained(folder)
    b.set_progress_bar_config(disable=True)
    return a, b


def test_saved_and_loaded_weights_are_the_same_bits(twice):
    a, b = map(networks, twice)
    assert a.keys() == b.keys()
    for part in a:
        x, y = a[part].state_dict(), b[part].state_dict()
        assert x.keys() == y.keys()
        assert all(torch.equal(x[k], y[k]) for k in x), part


def test_loaded_networks_are_not_training(twice):
    assert not any(net.training for net in networks(twice[1]).values())


def test_saved_and_loaded_facts_are_the_same(twice):
    a, b = ({k: v for k, v in p.config.items() if k[0] != '_'} for p in twice)
    assert a == b


def test_saved_and_loaded_makes_the_same_clip(twice):
    a, b = twice
    image = None if a.config.kind == 'videocrafter2' else picture
    assert np.array_equal(clip(a, image), clip(b, image))


# schedules
@pytest.mark.parametrize(
    'kind, spacing, prefix',
    [
        ('dynamicrafter-256', 'uniform', ''),
        ('dynamicrafter-512', 'uniform_trailing', 'zero_snr_'),
    ],
)
def test_schedules_are_the_originals(kind, spacing, prefix, pipes):
    s, key = pipes[kind].schedule(50, 1.0), f'{prefix}{spacing}_50'
    assert list(s.timesteps[::-1]) == golden[f'ddim_{spacing}_50']
    alpha = [a**2 for a in s.signal[::-1]]  # theirs go upwards
    ours = {'alphas': alpha[1:], 'alphas_prev': alpha[:-1], 'sigmas_eta1': s.sigma[::-1]}
    for name, values in ours.items():
        theirs = torch.tensor(golden[f'{name}_{key}'])
        torch.testing.assert_close(torch.tensor(values), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('kind', kinds)
def test_what_each_model_predicts(kind, pipes):
    s, (prediction, rescale) = pipes[kind].schedule(50), kinds[kind]
    assert s.prediction == prediction
    whole = np.prod(s.rescale)  # scale at the cleanest t over scale at the noisiest
    assert float(1 / whole) == pytest.approx(rescale, rel=0.05)
    assert (s.rescale[-1] == 1) == (kind != 'videocrafter2')  # as in the two programs


# what the UNet is told
@pytest.fixture(scope='module')
def x(pipe):
    return pipe._picture(picture)


@pytest.fixture(scope='module')
def given(pipe, x):
    return pipe.condition('fog', x)


def test_a_picture_is_cut_to_the_models_size(x):
    assert x.shape == (1, 3, 32, 64)
    assert -1 <= x.min() and x.max() <= 1


def test_shapes_of_the_condition(given):
    assert given.context.shape == (1, 77 + 16 * 4, 32)
    assert given.frames.shape == (1, 4, 4, 4, 8)
    assert given.stride == 24


@torch.no_grad()
def test_the_empty_context_is_an_empty_prompt_and_a_grey_picture(pipe, x, given):
    grey = pipe.encode_image(torch.zeros_like(x))
    torch.testing.assert_close(given.empty, torch.cat([pipe.encode_prompt(''), grey], 1))


def test_the_first_frame_is_given_to_every_frame(given):
    first = given.frames[:, :, 0]
    assert all(torch.equal(first, given.frames[:, :, i]) for i in range(4))


@pytest.fixture(scope='module')
def branches(pipe, given):
    "Latents of two views, and the UNet's predictions with the prompt and without it."
    z = torch.randn(2, 4, 4, 4, 8, generator=noise())
    both = torch.cat([z, given.frames.expand(2, -1, -1, -1, -1)], 1)
    t, fs = torch.tensor([500, 500]), torch.tensor([24, 24])
    with torch.no_grad():
        c = pipe.unet(both, t, given.context.expand(2, -1, -1), fs)
        u = pipe.unet(both, t, given.empty.expand(2, -1, -1), fs)
    return z, c, u


def test_guidance(pipe, given, branches):
    z, c, u = branches
    torch.testing.assert_close(pipe.predict(z, 500, given, 7.5), u + 7.5 * (c - u))


def test_guidance_of_one_is_one_call(pipe, given, branches):
    z, c, _ = branches
    assert torch.equal(pipe.predict(z, 500, given, 1.0), c)


def test_rescaled_guidance_has_the_spread_of_the_prompts_branch(pipe, given, branches):
    z, c, _ = branches
    rescaled = pipe.predict(z, 500, given, 7.5, 1.0)
    torch.testing.assert_close(rescaled.std((1, 2, 3, 4)), c.std((1, 2, 3, 4)))


@torch.no_grad()
def test_first_and_last_frame_and_zeros_between(pipes):
    p = pipes['dynamicrafter-interp']
    first, last = p._picture(picture), p._picture(picture[:, ::-1].copy())
    frames = p.condition('', first, last, 5).frames
    assert not frames[:, :, 1:-1].any()
    assert torch.equal(frames[:, :, :1], p.encode(first[:, :, None]))
    assert torch.equal(frames[:, :, -1:], p.encode(last[:, :, None]))


@torch.no_grad()
def test_latents_and_back(pipe):
    v = torch.rand(1, 3, 2, 32, 64, generator=noise()) * 2 - 1
    z = pipe.encode(v)
    assert z.shape == (1, 4, 2, 4, 8)
    assert pipe.decode(z).shape == v.shape


@torch.no_grad()
def test_latents_are_scaled_means(pipe):
    v = torch.rand(1, 3, 2, 32, 64, generator=noise()) * 2 - 1
    mean = pipe.vae.encode(v[:, :, 1]).latent_dist.mean[0]
    torch.testing.assert_close(pipe.encode(v)[0, :, 1], mean * 0.18215)


# sampling
def test_callback_sees_and_replaces_latents(pipe):
    seen = []

    def zero_at_the_end(p, i, t, kw):
        seen.append((p is pipe, i, t, tuple(kw['latents'].shape)))
        return {'latents': torch.zeros_like(kw['latents'])} if i == 1 else kw

    out = clip(pipe, output_type='latent', callback_on_step_end=zero_at_the_end)
    assert not out.any()
    assert seen == [(True, 0, 999, (1, 4, 4, 4, 8)), (True, 1, 499, (1, 4, 4, 4, 8))]


@pytest.fixture(scope='module')
def base(pipe):
    return clip(pipe, output_type='latent', steps=1)


def test_the_same_seed_gives_the_same_bits(pipe, base):
    assert torch.equal(base, clip(pipe, output_type='latent', steps=1))


@pytest.mark.parametrize(
    'kw',
    [
        dict(prompt='sun'),
        dict(frame_stride=3),
        dict(guidance_scale=1.0),
        dict(guidance_rescale=0.0),
        dict(eta=0.0),
        dict(latents=torch.ones(1, 4, 4, 4, 8)),
        dict(image=picture // 2),
    ],
    ids=lambda kw: next(iter(kw)),
)
def test_every_option_matters(kw, pipe, base):
    assert not torch.equal(base, clip(pipe, output_type='latent', steps=1, **kw))


@pytest.mark.parametrize('output, shape', [('np', (1, 4, 32, 64, 3)), ('pt', (1, 4, 3, 32, 64))])
def test_output_types(output, shape, pipe):
    assert clip(pipe, steps=1, output_type=output).shape == shape


def test_pictures_as_output(pipe):
    frames = clip(pipe, steps=1, output_type='pil')[0]
    assert len(frames) == 4
    assert frames[0].size == (64, 32)


def test_a_tuple_as_output(pipe):
    assert isinstance(pipe(picture, num_inference_steps=1, return_dict=False), tuple)


def test_an_unknown_output_type(pipe):
    with pytest.raises(InputError, match='output_type'):
        clip(pipe, output_type='mp4')


@pytest.mark.parametrize(
    'kw, frames', [(dict(last_image=picture), 2), (dict(loop=True), 3), ({}, 4)]
)
def test_given_frames_are_dropped(kw, frames, pipes):
    assert clip(pipes['dynamicrafter-interp'], steps=1, **kw).shape[1] == frames


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
    def condition(*args):
        pytest.fail('a network was run')

    monkeypatch.setattr(DynamiCrafterPipeline, 'condition', condition)
    with pytest.raises(InputError, match=message):
        clip(pipes[kind], **kw)


@pytest.mark.parametrize(
    'kind, task, predicts',
    [
        ('dynamicrafter-512', 'image-to-video', 'velocity'),
        ('videocrafter2', 'text-to-video', 'noise'),
    ],
)
def test_model_card_says_what_it_is(kind, task, predicts, pipes):
    card = model_card(pipes[kind])
    assert f'pipeline_tag: {task}\n' in card
    assert f'the network predicts {predicts}.' in card


@pytest.mark.parametrize(
    'written, plain',
    [
        ('“fog”', '"fog"'),
        ('a cat’s paw', "a cat's paw"),
        ('fog &amp;amp; rain', 'fog & rain'),
        (' fog \n  and  rain ', 'fog and rain'),
        ('âœ” fog', '✔ fog'),
    ],
)
def test_prompts_are_cleaned_as_openclip_does(written, plain, pipe):
    assert clean_prompt(written) == plain
    assert torch.equal(pipe.encode_prompt(written), pipe.encode_prompt(plain))
