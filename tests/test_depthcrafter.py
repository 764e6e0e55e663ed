"DepthCrafter: its UNet and its schedule against measured numbers, every class at small size from a folder, windows, dissolving, errors."

import json
import math
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from helpers.golden import assert_golden, by_formula, wave
from helpers.project import root
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from scz_nb.core import InputError, MissingDependency, windows
from scz_nb.depth.depthcrafter import (
    DepthCrafter,
    DepthCrafterPipeline,
    DepthCrafterUNet,
    build_parts,
    crossfade,
    dissolve_sigma,
    euler_step,
    fade_in,
    fit_size,
    karras_sigmas,
    load_depthcrafter,
    random_depthcrafter,
    small_parts,
    svd_scheduler,
    velocity_to_x0,
)
from scz_nb.geometry.disparity import check_disparity
from scz_nb.models.hub import hub
from scz_nb.models.pipeline import clip_pixels

golden = json.loads((Path(__file__).parent / 'golden/depthcrafter_numbers.json').read_text())
euler = EulerDiscreteScheduler(**svd_scheduler)
video = np.random.default_rng(0).integers(0, 256, (6, 64, 128, 3), np.uint8)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=noise(seed))


@pytest.fixture(scope='module')
def pipe():
    p = random_depthcrafter()
    p.set_progress_bar_config(disable=True)
    return p


@pytest.fixture(scope='module')
def folder(pipe, tmp_path_factory):
    d = tmp_path_factory.mktemp('depthcrafter') / 'saved'
    pipe.save_pretrained(d)
    return d


@pytest.fixture(scope='module')
def depth(folder):
    return load_depthcrafter(folder, 'cpu')


@pytest.fixture(scope='module')
def seen(pipe):
    return pipe.condition(video, noise())


@pytest.fixture(scope='module')
def framewise():
    "A pipeline whose UNet mixes no frames: every layer takes its spatial half."
    p = random_depthcrafter(seed=1)
    p.set_progress_bar_config(disable=True)
    for name, w in p.unet.named_parameters():
        if name.endswith('mix_factor'):
            w.data.fill_(100.0)
    return p


# against measured numbers
@pytest.mark.parametrize('name', golden['unet'])
def test_unet_golden(name):
    case = golden['unet'][name]
    unet = DepthCrafterUNet(**case['config']).eval()
    unet.load_state_dict(
        {k: by_formula(k, tuple(v.shape), case['salt']) for k, v in unet.state_dict().items()}
    )
    assert sum(p.numel() for p in unet.parameters()) == case['parameters']
    x, e = (wave(f'input.{k}', case[k], case['salt']).float() for k in ('x', 'embeddings'))
    with torch.no_grad():
        assert_golden(
            unet(x, case['timestep'], e, torch.tensor([case['added_time_ids']])).sample,
            case['output'],
        )


def test_scheduler_golden(pipe):
    want = golden['svd_scheduler_50_steps']
    torch.testing.assert_close(
        karras_sigmas(pipe.scheduler, 50), torch.tensor(want['sigmas']), rtol=1e-5, atol=1e-7
    )
    torch.testing.assert_close(
        karras_sigmas(pipe.scheduler, 50)[:-1].log() / 4,
        torch.tensor(want['timesteps']),
        rtol=1e-5,
        atol=1e-5,
    )


def test_sigma_of_a_strength_is_entry_50_less_strength(pipe):
    sigmas = golden['svd_scheduler_50_steps']['sigmas']
    for n in range(51):
        assert dissolve_sigma(pipe.scheduler, n) == pytest.approx(
            sigmas[50 - n], rel=1e-5
        )  # an entry to either side is off by a tenth at least
    assert min(abs(a / b - 1) for a, b in pairwise(sigmas[:-1])) > 0.1


# the network
def test_unet_is_the_original_when_the_embedding_is_the_same_in_all_frames(pipe):
    original = UNetSpatioTemporalConditionModel(**small_parts['unet']).eval()
    original.load_state_dict(pipe.unet.state_dict())
    x, e, ids = normal(2, 3, 8, 8, 16), normal(2, 1, 32), torch.tensor([[7, 127, 0.02]] * 2)
    with torch.no_grad():
        assert torch.equal(
            pipe.unet(x, 0.3, e.expand(-1, 3, -1), ids).sample, original(x, 0.3, e, ids).sample
        )


def test_a_frame_looks_at_its_own_embedding(framewise):
    x, e, ids = normal(1, 4, 8, 8, 8), normal(1, 4, 32), torch.tensor([[7, 127, 0.02]])
    other = e.clone()
    other[:, 2] += 1
    with torch.no_grad():
        off = [
            (framewise.unet(x, 0.3, o, ids).sample - framewise.unet(x, 0.3, e, ids).sample)
            .abs()
            .amax((0, 2, 3, 4))
            for o in (e, other)
        ]
    assert not off[0].any() and off[1][2] > 1e-3 and not off[1][[0, 1, 3]].any()


def test_tuple_and_output_are_the_same(pipe):
    x, e, ids = normal(1, 2, 8, 8, 8), normal(1, 2, 32), torch.tensor([[7, 127, 0.02]])
    with torch.no_grad():
        assert torch.equal(
            pipe.unet(x, 0.3, e, ids, return_dict=False)[0], pipe.unet(x, 0.3, e, ids).sample
        )


def test_sizes_are_those_of_the_tensors():
    with torch.device('meta'):
        nets = build_parts()
    n = {k: sum(p.numel() for p in v.parameters()) for k, v in nets.items()}
    assert hub['depthcrafter'].size == 2 * n['unet'] and hub['stable-video-diffusion'].size == 2 * (
        n['vae'] + n['image_encoder']
    )
    assert all(
        len(m.revision) == 40 and m.licence and m.repo
        for m in (hub['depthcrafter'], hub['stable-video-diffusion'])
    )


# steps
def test_steps_are_those_of_diffusers():
    s = EulerDiscreteScheduler(**svd_scheduler)
    s.set_timesteps(7)
    x = theirs = normal(1, 3, 4, 8, 8) * 700
    for i, (t, (sigma, after)) in enumerate(
        zip(s.timesteps, pairwise(karras_sigmas(euler, 7).tolist()))
    ):
        v = normal(1, 3, 4, 8, 8, seed=i)
        torch.testing.assert_close(
            s.scale_model_input(theirs, t), x / (1 + sigma**2) ** 0.5, rtol=1e-5, atol=1e-5
        )
        step = s.step(v, t, theirs)
        x0 = velocity_to_x0(x, v, sigma)
        torch.testing.assert_close(
            x0, step.pred_original_sample, rtol=1e-4, atol=1e-4 * max(1, sigma)
        )
        x, theirs = euler_step(x, x0, sigma, after), step.prev_sample
        torch.testing.assert_close(x, theirs, rtol=1e-4, atol=1e-4 * max(1, after))
    assert karras_sigmas(euler, 7)[-1] == 0 and torch.equal(x, x0)


def test_karras_sigmas_leaves_the_scheduler_alone():
    s = EulerDiscreteScheduler(**svd_scheduler)
    before = s.sigmas.clone()
    karras_sigmas(s, 9)
    assert torch.equal(s.sigmas, before) and s.num_inference_steps is None


@pytest.mark.parametrize('steps, tolerance', [(50, 0.09), (400, 0.012)])
def test_sampler_arrives_where_the_best_denoiser_leads(steps, tolerance):
    mean, spread, x = 0.3, 0.8, normal(4000).double() * 700
    exact = mean + (x - mean) * spread / math.hypot(spread, 700)
    for s, after in pairwise(karras_sigmas(euler, steps).double().tolist()):
        x = euler_step(x, (spread**2 * x + s * s * mean) / (spread**2 + s * s), s, after)
    assert (x - exact).std() / exact.std() < tolerance


def test_pipeline_samples_by_the_schedule(pipe, seen):
    "The loop of the pipeline, with its network replaced by a denoiser that is known."

    class Known(DepthCrafterPipeline):
        def denoise(self, x, sigma, given, guidance=1.0):
            return (0.8**2 * x + sigma**2 * 0.3) / (0.8**2 + sigma**2)

    known = Known(**pipe.components)
    eps, sigmas = normal(1, 6, 4, 8, 16), karras_sigmas(euler, 400).tolist()
    x, start = known.sample(seen, eps, sigmas), eps.double() * math.hypot(1, 700)
    exact = 0.3 + (start - 0.3) * 0.8 / math.hypot(0.8, 700)
    assert (x - exact).std() / exact.std() < 0.012


# windows
@settings(deadline=None)
@over(st.integers(2, 300), st.integers(1, 120), st.integers(0, 60))
def test_windows_cover_every_frame_and_overlap(frames, size, overlap):
    if overlap >= size:
        with pytest.raises(InputError):
            windows(frames, size, overlap)
        return
    w = windows(frames, size, overlap)
    assert w[0][0] == 0 and w[-1][1] == frames and all(b < e <= b + size for b, e in w)
    assert all(a[1] - b[0] == overlap and b[1] > a[1] for a, b in pairwise(w))
    assert len(w) == 1 if frames <= size else len(w) > 1


def test_windows_of_the_released_program():
    assert (
        windows(195, 110, 25) == [(0, 110), (85, 195)]
        and windows(110, 110, 25) == [(0, 110)]
        and windows(111, 110, 25) == [(0, 110), (85, 111)]
    )


@pytest.mark.parametrize('overlap', [1, 2, 25])
def test_weights_sum_to_one(overlap):
    w = fade_in(overlap)
    assert w[0] == 0 and (overlap == 1 or w[-1] == 1) and (w.diff() > 0).all()
    one = torch.ones(1, 30, 2, 1, 1)
    assert torch.equal(crossfade(one, one, overlap), torch.ones(1, 60 - overlap, 2, 1, 1))


def test_crossfade_is_linear_and_touches_the_overlap_only():
    a, b = torch.zeros(1, 6, 1, 1, 1), torch.ones(1, 7, 1, 1, 1)
    assert torch.equal(crossfade(a, b, 3).flatten(), torch.tensor([0, 0, 0, 0, 0.5, 1, 1, 1, 1, 1]))
    assert crossfade(a, b, 0).flatten().tolist() == [0] * 6 + [1] * 7


def test_windowed_is_whole_when_the_network_acts_per_frame(framewise):
    frames = np.random.default_rng(1).integers(0, 256, (10, 64, 64, 3), np.uint8)
    given, x = framewise.condition(frames, noise()), normal(1, 10, 4, 8, 8)
    for strength in (5, 25):
        torch.testing.assert_close(
            framewise.dissolve(x, strength, given, size=4, overlap=2),
            framewise.dissolve(x, strength, given),
            rtol=1e-4,
            atol=1e-4,
        )
    eps, sigmas = normal(1, 4, 4, 8, 8), karras_sigmas(euler, 3).tolist()
    whole, parts = (
        framewise.sample(given, eps, sigmas),
        framewise.sample(given, eps, sigmas, size=4, overlap=2),
    )  # the noise of a frame is the same in both
    assert (
        parts - whole
    ).abs().max() < 0.02 * whole.std()  # the old result was added: one in seven hundred
    apart = framewise.sample(given, eps.roll(1, 1), sigmas, size=4, overlap=2)
    assert (apart - whole).abs().mean() > 0.5 * whole.std()


def test_a_short_video_is_one_window(pipe, seen):
    eps, sigmas = normal(1, 6, 4, 8, 16), karras_sigmas(euler, 2).tolist()
    one = pipe.sample(seen, eps, sigmas, size=6, overlap=3)
    assert torch.equal(one, pipe.sample(seen, eps, sigmas, size=110, overlap=25))
    assert not torch.equal(one, pipe.sample(seen, eps[:, :4], sigmas, size=4, overlap=2))


# the pipeline
def test_shape_range_and_determinism(pipe):
    state = torch.get_rng_state()
    a, b, c = (pipe(video, 2, generator=noise(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn from what is everybody's
    assert (
        a.depth.shape == (6, 64, 128)
        and a.depth.dtype == torch.float32
        and a.latents.shape == (1, 6, 4, 8, 16)
    )
    assert 0 <= a.depth.min() < a.depth.max() <= 1
    assert torch.equal(a.depth, b.depth) and not torch.equal(a.depth, c.depth)


def test_size_is_that_of_the_frames(pipe):
    frames = np.random.default_rng(2).integers(0, 256, (2, 90, 150, 3), np.uint8)
    out = pipe(frames, num_inference_steps=1, generator=noise())
    assert out.depth.shape == (2, 90, 150) and out.latents.shape[-2:] == (8, 16)
    assert pipe(frames, num_inference_steps=1, longest=64, generator=noise()).latents.shape[
        -2:
    ] == (8, 8)


@pytest.mark.parametrize(
    'size, want',
    [
        ((1080, 1920), (576, 1024)),
        ((576, 1024), (576, 1024)),
        ((480, 640), (512, 640)),
        ((64, 64), (64, 64)),
        ((70, 4000), (64, 1024)),
        ((1920, 1080), (1024, 576)),
    ],
)
def test_fit_size(size, want):
    assert fit_size(*size) == want


def test_floats_are_bytes(pipe):
    assert torch.equal(
        pipe(video, 1, generator=noise()).depth,
        pipe(video.astype(np.float32) / 255, 1, generator=noise()).depth,
    )


def test_save_and_load_same_bits(pipe, folder):
    again = DepthCrafterPipeline.from_pretrained(folder)
    again.set_progress_bar_config(disable=True)
    assert torch.equal(
        again(video, 2, generator=noise()).depth, pipe(video, 2, generator=noise()).depth
    )
    assert (
        type(again.unet) is DepthCrafterUNet
        and json.loads((folder / 'model_index.json').read_text())['_class_name']
        == 'DepthCrafterPipeline'
    )


def test_chunk_does_not_matter_to_the_frames_noise(pipe):
    a, b = (pipe.condition(video, noise(), chunk=n) for n in (1, 4))
    torch.testing.assert_close(a.latents, b.latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a.embeddings, b.embeddings, rtol=1e-4, atol=1e-4)


def test_callback_sees_and_replaces(pipe):
    sigmas = []

    def look(p, i, sigma, kw):
        sigmas.append((i, sigma))
        return dict(latents=torch.zeros_like(kw['latents'])) if i == 1 else kw

    out = pipe(video, 2, generator=noise(), callback_on_step_end=look)
    assert (
        [i for i, _ in sigmas] == [0, 1]
        and [s for _, s in sigmas] == karras_sigmas(euler, 2)[:-1].tolist()
        and not out.latents.any()
    )


def test_guidance_is_linear(pipe, seen):
    x = normal(1, 6, 4, 8, 16)
    a, b, c = (pipe.denoise(x, 2.0, seen, w) for w in (0.0, 1.0, 1.5))
    torch.testing.assert_close(c, a + 1.5 * (b - a), rtol=1e-4, atol=1e-4)
    assert not torch.equal(a, b)


def test_the_network_is_told_what_it_was_trained_with(pipe, seen):
    "The order of the channels, the shrinking, the timestep and the time ids, by hand."
    x, sigma = normal(1, 6, 4, 8, 16) * 3, 3.0
    c = (1 + sigma**2) ** -0.5
    with torch.no_grad():
        v = pipe.unet(
            torch.cat([c * x, seen.latents], 2),
            torch.tensor(math.log(sigma) / 4),
            seen.embeddings,
            torch.tensor([[7.0, 127.0, 0.02]]),
        ).sample
    torch.testing.assert_close(pipe.denoise(x, sigma, seen), c * c * x - sigma * c * v)


def test_what_is_told_is_encoded_by_hand(pipe, seen):
    "CLIP sees the frames, the autoencoder sees them with noise of size 0.02; latents are not scaled."
    x, g = torch.tensor(video).permute(0, 3, 1, 2) / 127.5 - 1, noise()
    noisy = torch.stack([f + 0.02 * torch.randn(f.shape, generator=g) for f in x])
    with torch.no_grad():
        torch.testing.assert_close(
            seen.latents[0], pipe.vae.encode(noisy).latent_dist.mode(), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(
            seen.embeddings[0],
            pipe.image_encoder(clip_pixels(x, 28)).image_embeds,
            rtol=1e-4,
            atol=1e-4,
        )
        assert (seen.latents[0] - pipe.vae.encode(x).latent_dist.mode()).abs().max() > 1e-3


def test_half_precision(folder):
    half, full = (load_depthcrafter(folder, 'cpu', dtype=d) for d in (torch.float16, None))
    for f in (half, full):
        f.options['num_inference_steps'] = 1
    assert {half.pipe.unet.dtype, half.pipe.vae.dtype, half.pipe.image_encoder.dtype} == {
        torch.float16
    }
    a, b = (f.raw(video[:2, :, :64]) for f in (half, full))
    assert (
        a.dtype == torch.float32
        and (a - b).abs().max() < 0.05
        and half.pipe.vae.dtype == torch.float16
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu_and_back(folder, depth):
    f = load_depthcrafter(folder, 'cuda', dtype=torch.float32)
    torch.testing.assert_close(f.raw(video), depth.raw(video), rtol=1e-2, atol=1e-2)
    assert all(
        p.device.type == 'cpu'
        for net in (f.pipe.unet, f.pipe.vae, f.pipe.image_encoder)
        for p in net.parameters()
    )


# as a depth estimator
def test_depth_from_a_folder(depth):
    d, raw = depth(video), depth.raw(video)
    assert (
        type(d) is np.ndarray
        and d.dtype == np.float32
        and d.shape == (6, 64, 128)
        and d.min() == 0
        and d.max() == 1
    )
    check_disparity(d, 6, 64, 128)
    np.testing.assert_array_equal(d, ((raw - raw.min()) / (raw.max() - raw.min())).numpy())
    np.testing.assert_array_equal(d, depth(video))


def test_files_in_half_precision_alone(pipe, folder, tmp_path):
    for name in ('unet', 'vae', 'image_encoder'):
        getattr(pipe, name).save_pretrained(tmp_path / name, variant='fp16')
    shutil.copytree(folder / 'scheduler', tmp_path / 'scheduler')
    np.testing.assert_array_equal(
        load_depthcrafter(tmp_path, 'cpu')(video[:2]), load_depthcrafter(folder, 'cpu')(video[:2])
    )


def test_from_the_hubs_cache(pipe, folder, tmp_path, monkeypatch):
    "Where the hub's files lie, loading asks nobody: the two repositories as a download leaves them."
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    at = {
        k: tmp_path / f'models--{m.repo.replace("/", "--")}' / 'snapshots' / m.revision
        for k, m in hub.items()
        if k in ('depthcrafter', 'stable-video-diffusion')
    }
    pipe.unet.save_pretrained(at['depthcrafter'])
    for name in ('vae', 'image_encoder'):
        getattr(pipe, name).save_pretrained(at['stable-video-diffusion'] / name, variant='fp16')
    pipe.scheduler.save_pretrained(at['stable-video-diffusion'] / 'scheduler')
    np.testing.assert_array_equal(
        load_depthcrafter(device='cpu')(video[:2]), load_depthcrafter(folder, 'cpu')(video[:2])
    )
    (at['depthcrafter'] / 'diffusion_pytorch_model.safetensors').unlink()
    with pytest.raises(InputError, match='delete that folder'):
        load_depthcrafter(device='cpu')


# dissolving
def test_strength_0_changes_nothing(pipe, seen, depth):
    x = normal(1, 6, 4, 8, 16)
    assert pipe.dissolve(x, 0, seen) is x
    near = depth(video)
    np.testing.assert_array_equal(depth.dissolve(video, 0), near)
    assert torch.equal(depth.dissolve_depth(near, video, 0), torch.tensor(near))


def test_strength_50_forgets_the_depth(pipe, seen):
    a, b = normal(1, 6, 4, 8, 16), normal(1, 6, 4, 8, 16, seed=1)
    left = [
        ((pipe.dissolve(a, n, seen) - pipe.dissolve(b, n, seen)).std() / (a - b).std()).item()
        for n in (1, 5, 10, 20, 30, 50)
    ]
    assert (
        left[0] > 0.99 and left == sorted(left, reverse=True) and left[4] < 0.06 and left[5] < 0.005
    )


@pytest.mark.parametrize('n', [1, 12, 30, 50])
def test_dissolving_is_one_call_at_that_entry(pipe, seen, n):
    x, sigma = normal(1, 6, 4, 8, 16), golden['svd_scheduler_50_steps']['sigmas'][50 - n]
    out = pipe.dissolve(x, n, seen)
    torch.testing.assert_close(out, pipe.denoise(x, sigma, seen), rtol=1e-4, atol=1e-4)
    for other in (49 - n, 51 - n):  # off by one
        if 0 <= other < 50:
            assert (
                out - pipe.denoise(x, golden['svd_scheduler_50_steps']['sigmas'][other], seen)
            ).abs().max() > 1e-4


def test_dissolved_depth(pipe):
    depth = DepthCrafter(pipe, 'cpu', steps=1)
    near = depth(video)
    for n in (10, 40):
        d = depth.dissolve(video, n)
        assert (
            d.shape == near.shape
            and d.dtype == np.float32
            and d.min() == 0
            and d.max() == 1
            and not np.array_equal(d, near)
        )
        e = depth.dissolve_depth(near, video, n)
        assert e.shape == near.shape and e.dtype == torch.float32 and 0 <= e.min() and e.max() <= 1
    a, b = (depth.dissolve_depth(o, video, 50) for o in (near, 1 - near))
    assert (a - b).abs().max() < 0.01


def test_dissolving_goes_on_the_latents_of_the_depth(pipe):
    "The call of the pipeline is sampling, dissolving, decoding."
    plain, out = pipe(video, 2, generator=noise()), pipe(video, 2, strength=15, generator=noise())
    x = pipe.dissolve(plain.latents, 15, pipe.condition(video, noise()))
    assert torch.equal(out.latents, x) and torch.equal(out.depth, pipe.decode(x, (64, 128)))


def test_a_depth_map_survives_its_latents(pipe):
    "Depth latents are scaled as decoding expects it."
    z = pipe.encode_depth(torch.rand(2, 64, 64, generator=noise()))
    with torch.no_grad():
        mode = pipe.vae.encode(
            torch.rand(2, 64, 64, generator=noise())[:, None].expand(-1, 3, -1, -1) * 2 - 1
        ).latent_dist.mode()
    torch.testing.assert_close(z[0], mode * pipe.vae.config.scaling_factor)


# errors
def holes():
    x = video.astype(np.float32) / 255
    x[0, 0, 0] = np.nan
    return x


@pytest.mark.parametrize(
    'bad, match',
    [
        (video[:1], '2 frames or more'),
        (video[:, :40], '64×64'),
        (holes(), 'NaN'),
        (video[0], r'frames, height, width, 3'),
        (video[:0], 'frames, height'),
        (video.astype(int), 'dtype'),
    ],
)
def test_bad_videos(depth, bad, match):
    with pytest.raises(InputError, match=match):
        depth(bad)
    with pytest.raises(InputError, match=match):
        depth.dissolve_depth(np.zeros((6, 64, 128), np.float32), bad, 5)


@pytest.mark.parametrize('strength', [-1, 51, 2.5, None, 'much', True, float('nan')])
def test_bad_strengths(depth, strength):
    with pytest.raises(InputError, match='0 .none. to 50'):
        depth.dissolve(video, strength)
    with pytest.raises(InputError, match='0 .none. to 50'):
        depth.dissolve_depth(np.zeros((6, 64, 128), np.float32), video, strength)


@pytest.mark.parametrize(
    'bad, match',
    [
        (np.full((6, 64, 128), np.nan), 'NaN'),
        (np.zeros((5, 64, 128)), 'shape'),
        (np.full((6, 64, 128), 7.0), r'\[0, 1\]'),
    ],
)
def test_bad_depth_maps(depth, bad, match):
    with pytest.raises(InputError, match=match):
        depth.dissolve_depth(bad, video, 5)


@pytest.mark.parametrize(
    'kw',
    [
        dict(num_inference_steps=0),
        dict(num_inference_steps=2.5),
        dict(window_size=4, overlap=4),
        dict(overlap=-1),
    ],
)
def test_bad_options(pipe, kw):
    with pytest.raises(InputError):
        pipe(video, **kw)


def edit(path, **kw):
    path.write_text(json.dumps({**json.loads(path.read_text()), **kw}))


def drop_tensor(path):
    from safetensors.torch import load_file, save_file

    x = load_file(path)
    x.pop(sorted(x)[0])
    save_file(x, path)


spoiled = {
    'no vae': (lambda d: shutil.rmtree(d / 'vae'), "no folder 'vae'"),
    'no scheduler': (lambda d: shutil.rmtree(d / 'scheduler'), "no folder 'scheduler'"),
    'svd': (
        lambda d: (
            edit(d / 'model_index.json', _class_name='StableVideoDiffusionPipeline'),
            edit(d / 'unet/config.json', _class_name='UNetSpatioTemporalConditionModel'),
        ),
        'makes pictures',
    ),
    'channels': (
        lambda d: DepthCrafterUNet(**{**small_parts['unet'], 'in_channels': 4}).save_pretrained(
            d / 'unet'
        ),
        'another network',
    ),
    'embeddings': (
        lambda d: DepthCrafterUNet(
            **{**small_parts['unet'], 'cross_attention_dim': 48}
        ).save_pretrained(d / 'unet'),
        'embeddings of 48',
    ),
    'scheduler': (
        lambda d: edit(d / 'scheduler/scheduler_config.json', prediction_type='epsilon'),
        'v-prediction',
    ),
    'unet tensor': (lambda d: drop_tensor(d / 'unet/diffusion_pytorch_model.safetensors'), 'unet'),
    'tower tensor': (
        lambda d: drop_tensor(d / 'image_encoder/model.safetensors'),
        'lacks 1 tensors',
    ),
    'cut off': (
        lambda d: (d / 'vae/diffusion_pytorch_model.safetensors').write_bytes(b'short'),
        'vae of DepthCrafter cannot be loaded',
    ),
    'no weights': (
        lambda d: (d / 'unet/diffusion_pytorch_model.safetensors').unlink(),
        'unet of DepthCrafter cannot be loaded',
    ),
}


@pytest.mark.parametrize('how', spoiled)
def test_bad_folders(folder, tmp_path, how):
    corrupt, match = spoiled[how]
    shutil.copytree(folder, tmp_path / 'f')
    corrupt(tmp_path / 'f')
    with pytest.raises(InputError, match=match) as e:
        load_depthcrafter(tmp_path / 'f', 'cpu')
    assert '\n' not in str(e.value) and len(str(e.value)) < 500


def test_no_folder_and_no_network(tmp_path):
    with pytest.raises(InputError, match='is not there'):
        load_depthcrafter(tmp_path / 'nowhere')
    with pytest.raises(MissingDependency, match='check the connection') as e:
        load_depthcrafter(device='cpu')
    assert hub['stable-video-diffusion'].repo in str(e.value)


def test_missing_transformers():
    code = """import sys; sys.modules['transformers'] = None
from scz_nb.depth.depthcrafter import load_depthcrafter
try: load_depthcrafter('folder')
except ImportError as e: print(type(e).__name__, e)"""
    out = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    assert out.stdout.startswith('MissingDependency') and 'pip install' in out.stdout, out.stderr


def test_run_lets_depthcrafter_dissolve_its_own_latents(tmp_path):
    "A backbone that knows no depth, and `depth='a folder of DepthCrafter'` with `dissolve`: the depth of the video is DepthCrafter's own, dissolved."
    from scz_nb.depth.estimators import dissolves
    from scz_nb.models.backbones import DynamiCrafterBackbone
    from scz_nb.models.stand_in import random_pipeline, small_size
    from scz_nb.sampler import run

    size = {**small_size, 'facts': dict(height=64, width=64, frames=4)}
    pipe = random_pipeline('videocrafter2', size)
    backbone, folder = DynamiCrafterBackbone(pipe), str(tmp_path / 'dc')
    random_depthcrafter().save_pretrained(folder)
    go = lambda strength, **kw: run(
        None,
        'a boat',
        backbone=backbone,
        depth=folder,
        steps=2,
        config=dict(dissolve=strength, right='inpaint'),
        progress=False,
        **kw,
    )
    v, plain = go(30), go(0)
    depth = load_depthcrafter(folder, 'cpu')
    assert (
        dissolves(folder)
        and dissolves(depth)
        and np.array_equal(v.disparity, depth.dissolve(v.left, 30))
        and np.array_equal(plain.disparity, depth(v.left))
    )
    assert not np.array_equal(v.disparity, plain.disparity)
    with pytest.raises(InputError, match='dissolve'):
        run(
            None,
            'a boat',
            backbone=backbone,
            depth=np.zeros((4, 64, 64)),
            steps=2,
            config=dict(dissolve=30),
            progress=False,
        )
