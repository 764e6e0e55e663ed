"DepthCrafter: UNet and schedule against measured numbers, windows, dissolving, folders, errors."

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

from scz_nb.core import InputError, MissingDependency, SczError, windows
from scz_nb.depth.depthcrafter import (
    DepthCrafter,
    DepthCrafterPipeline,
    DepthCrafterUNet,
    build_parts,
    crossfade,
    dissolve_step,
    fade_in,
    fit_size,
    karras_schedule,
    load_depthcrafter,
    random_depthcrafter,
    small_parts,
    svd_scheduler,
)
from scz_nb.diffusion.schedule import Prediction, edm_schedule
from scz_nb.geometry.disparity import check_disparity
from scz_nb.models.hub import hub
from scz_nb.models.pipeline import clip_pixels

golden = json.loads((Path(__file__).parent / 'golden/depthcrafter_numbers.json').read_text())
fifty = golden['svd_scheduler_50_steps']
euler = EulerDiscreteScheduler(**svd_scheduler)
ids = torch.tensor([[7, 127, 0.02]])
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
def given(pipe):
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
    shapes = {k: tuple(v.shape) for k, v in unet.state_dict().items()}
    unet.load_state_dict({k: by_formula(k, v, case['salt']) for k, v in shapes.items()})
    assert sum(p.numel() for p in unet.parameters()) == case['parameters']
    x, e = (wave(f'input.{k}', case[k], case['salt']).float() for k in ('x', 'embeddings'))
    told = torch.tensor([case['added_time_ids']])
    with torch.no_grad():
        assert_golden(unet(x, case['timestep'], e, told).sample, case['output'])


def test_schedule_golden(pipe):
    got = pipe.schedule(50)
    np.testing.assert_allclose(got.noise, fifty['sigmas'], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(got.timesteps, fifty['timesteps'], rtol=1e-5, atol=1e-5)


def test_sigma_of_a_strength_is_entry_50_less_strength(pipe):
    for n in range(51):
        sigma = pipe.schedule(50).noise[dissolve_step(n)]
        assert sigma == pytest.approx(fifty['sigmas'][50 - n], rel=1e-5)
    neighbours = pairwise(fifty['sigmas'][:-1])  # an entry to either side is far off
    assert min(abs(a / b - 1) for a, b in neighbours) > 0.1


# the network
def test_unet_is_the_original_when_the_embedding_is_the_same_in_all_frames(pipe):
    original = UNetSpatioTemporalConditionModel(**small_parts['unet']).eval()
    original.load_state_dict(pipe.unet.state_dict())
    x, e, two = normal(2, 3, 8, 8, 16), normal(2, 1, 32), ids.repeat(2, 1)
    with torch.no_grad():
        same = pipe.unet(x, 0.3, e.expand(-1, 3, -1), two).sample
        assert torch.equal(same, original(x, 0.3, e, two).sample)


def test_a_frame_has_its_own_embedding(framewise):
    x, e = normal(1, 4, 8, 8, 8), normal(1, 4, 32)
    other = e.clone()
    other[:, 2] += 1
    with torch.no_grad():
        a, b, again = (framewise.unet(x, 0.3, v, ids).sample for v in (e, other, e))
    off = (a - b).abs().amax((0, 2, 3, 4))
    assert torch.equal(a, again)
    assert off[2] > 1e-3 and not off[[0, 1, 3]].any()


def test_tuple_and_output_are_the_same(pipe):
    x, e = normal(1, 2, 8, 8, 8), normal(1, 2, 32)
    with torch.no_grad():
        pair = pipe.unet(x, 0.3, e, ids, return_dict=False)
        assert torch.equal(pair[0], pipe.unet(x, 0.3, e, ids).sample)


def test_sizes_are_those_of_the_tensors():
    with torch.device('meta'):
        nets = build_parts()
    n = {k: sum(p.numel() for p in v.parameters()) for k, v in nets.items()}
    assert hub['depthcrafter'].size == 2 * n['unet']
    assert hub['stable-video-diffusion'].size == 2 * (n['vae'] + n['image_encoder'])


@pytest.mark.parametrize('name', ['depthcrafter', 'stable-video-diffusion'])
def test_revision_and_licence_are_known(name):
    m = hub[name]
    assert len(m.revision) == 40 and m.licence and m.repo


# steps
def test_steps_are_those_of_diffusers():
    theirs = EulerDiscreteScheduler(**svd_scheduler)
    theirs.set_timesteps(7)
    schedule = karras_schedule(euler, 7)
    x = y = normal(1, 3, 4, 8, 8) * 700
    for i, t in enumerate(theirs.timesteps):
        sigma, after = schedule.noise[i : i + 2]
        v = normal(1, 3, 4, 8, 8, seed=i)
        small = theirs.scale_model_input(y, t)
        torch.testing.assert_close(schedule.model_input(x, i), small, rtol=1e-5, atol=1e-5)
        step, guess = theirs.step(v, t, y), schedule.interpret(x, v, i)
        clean = step.pred_original_sample
        torch.testing.assert_close(guess.x0, clean, rtol=1e-4, atol=1e-4 * max(1, sigma))
        x, y = schedule.step(guess, i), step.prev_sample
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4 * max(1, after))
    assert schedule.noise[-1] == 0 and torch.equal(x, guess.x0)


def test_a_schedule_leaves_the_scheduler_alone():
    s = EulerDiscreteScheduler(**svd_scheduler)
    before = s.sigmas.clone()
    karras_schedule(s, 9)
    assert torch.equal(s.sigmas, before) and s.num_inference_steps is None


def best_guess(x, sigma):
    "Of numbers with mean 0.3 and spread 0.8, and noise added."
    x0 = (0.8**2 * x + sigma**2 * 0.3) / (0.8**2 + sigma**2)
    return Prediction(x0, (x - x0) / sigma)


def exact_end(start):
    return 0.3 + (start - 0.3) * 0.8 / math.hypot(0.8, 700)


@pytest.mark.parametrize('steps, tolerance', [(50, 0.09), (400, 0.012)])
def test_sampler_arrives_where_the_best_denoiser_leads(steps, tolerance):
    schedule = karras_schedule(euler, steps)
    x = start = normal(4000).double() * 700
    for i, sigma in enumerate(schedule.noise[:-1]):
        x = schedule.step(best_guess(x, sigma), i)
    exact = exact_end(start)
    assert (x - exact).std() / exact.std() < tolerance


def test_pipeline_samples_by_the_schedule(pipe, given):
    "The loop of the pipeline, with its network replaced by a denoiser that is known."

    class Known(DepthCrafterPipeline):
        def denoise(self, x, i, schedule, given, guidance=1.0):
            return best_guess(x, schedule.noise[i])

    known, eps = Known(**pipe.components), normal(1, 6, 4, 8, 16)
    x = known.sample(given, eps, karras_schedule(euler, 400))
    exact = exact_end(eps.double() * math.hypot(1, 700))
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


@pytest.mark.parametrize(
    'frames, want',
    [
        (195, [(0, 110), (85, 195)]),
        (110, [(0, 110)]),
        (111, [(0, 110), (85, 111)]),
    ],
)
def test_windows_of_the_released_program(frames, want):
    assert windows(frames, 110, 25) == want


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


@pytest.fixture(scope='module')
def ten(framewise):
    "Ten frames, for windows of four."
    frames = np.random.default_rng(1).integers(0, 256, (10, 64, 64, 3), np.uint8)
    return framewise.condition(frames, noise())


@pytest.mark.parametrize('strength', [5, 25])
def test_dissolving_in_windows_is_whole_when_the_network_acts_per_frame(framewise, ten, strength):
    x = normal(1, 10, 4, 8, 8)
    parts = framewise.dissolve(x, strength, ten, size=4, overlap=2)
    whole = framewise.dissolve(x, strength, ten)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)


def test_sampling_in_windows_is_whole_when_the_network_acts_per_frame(framewise, ten):
    eps, schedule = normal(1, 4, 4, 8, 8), karras_schedule(euler, 3)
    whole = framewise.sample(ten, eps, schedule)
    parts = framewise.sample(ten, eps, schedule, size=4, overlap=2)  # the same noise for a frame
    close = 0.02 * whole.std()  # the old result was added: one in seven hundred
    assert (parts - whole).abs().max() < close
    apart = framewise.sample(ten, eps.roll(1, 1), schedule, size=4, overlap=2)
    assert (apart - whole).abs().mean() > 0.5 * whole.std()


def test_a_short_video_is_one_window(pipe, given):
    eps, schedule = normal(1, 6, 4, 8, 16), karras_schedule(euler, 2)
    one = pipe.sample(given, eps, schedule, size=6, overlap=3)
    assert torch.equal(one, pipe.sample(given, eps, schedule, size=110, overlap=25))
    assert not torch.equal(one, pipe.sample(given, eps[:, :4], schedule, size=4, overlap=2))


# the pipeline
def test_shape_and_range(pipe):
    out = pipe(video, 2, generator=noise())
    assert out.depth.shape == (6, 64, 128) and out.depth.dtype == torch.float32
    assert out.latents.shape == (1, 6, 4, 8, 16)
    assert 0 <= out.depth.min() < out.depth.max() <= 1


def test_the_generator_decides_alone(pipe):
    state = torch.get_rng_state()
    a, b, c = (pipe(video, 2, generator=noise(s)).depth for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize('longest, want', [(1024, (8, 16)), (64, (8, 8))])
def test_size_is_that_of_the_frames(pipe, longest, want):
    frames = np.random.default_rng(2).integers(0, 256, (2, 90, 150, 3), np.uint8)
    out = pipe(frames, num_inference_steps=1, longest=longest, generator=noise())
    assert out.depth.shape == (2, 90, 150) and out.latents.shape[-2:] == want


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
    floats = video.astype(np.float32) / 255
    a, b = (pipe(v, 1, generator=noise()).depth for v in (video, floats))
    assert torch.equal(a, b)


def test_save_and_load_same_bits(pipe, folder):
    again = DepthCrafterPipeline.from_pretrained(folder)
    again.set_progress_bar_config(disable=True)
    a, b = (p(video, 2, generator=noise()).depth for p in (again, pipe))
    assert torch.equal(a, b) and type(again.unet) is DepthCrafterUNet
    index = json.loads((folder / 'model_index.json').read_text())
    assert index['_class_name'] == 'DepthCrafterPipeline'


def test_chunk_does_not_matter_to_the_frames_noise(pipe):
    a, b = (pipe.condition(video, noise(), chunk=n) for n in (1, 4))
    torch.testing.assert_close(a.latents, b.latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a.embeddings, b.embeddings, rtol=1e-4, atol=1e-4)


def test_callback_sees_and_replaces(pipe):
    calls = []

    def look(p, i, sigma, kw):
        calls.append((i, sigma))
        return dict(latents=torch.zeros_like(kw['latents'])) if i == 1 else kw

    out = pipe(video, 2, generator=noise(), callback_on_step_end=look)
    assert calls == list(enumerate(karras_schedule(euler, 2).noise[:-1]))
    assert not out.latents.any()


def test_guidance_is_linear(pipe, given):
    x, schedule = normal(1, 6, 4, 8, 16), edm_schedule([2.0, 0.0])
    a, b, c = (pipe.denoise(x, 0, schedule, given, w).x0 for w in (0.0, 1.0, 1.5))
    torch.testing.assert_close(c, a + 1.5 * (b - a), rtol=1e-4, atol=1e-4)
    assert not torch.equal(a, b)


def test_the_network_is_told_what_it_was_trained_with(pipe, given):
    "The order of the channels, the shrinking, the timestep and the time ids, by hand."
    x, sigma = normal(1, 6, 4, 8, 16) * 3, 3.0
    c = (1 + sigma**2) ** -0.5
    shown, at = torch.cat([c * x, given.latents], 2), torch.tensor(math.log(sigma) / 4)
    with torch.no_grad():
        v = pipe.unet(shown, at, given.embeddings, torch.tensor([[7.0, 127.0, 0.02]])).sample
    guess = pipe.denoise(x, 0, edm_schedule([sigma, 0.0]), given)
    torch.testing.assert_close(guess.x0, c * c * x - sigma * c * v)
    torch.testing.assert_close(guess.x0 + sigma * guess.eps, x)


def test_the_autoencoder_gets_frames_with_noise(pipe, given):
    "Noise of size 0.02; latents are not scaled."
    x, g = torch.tensor(video).permute(0, 3, 1, 2) / 127.5 - 1, noise()
    noisy = torch.stack([f + 0.02 * torch.randn(f.shape, generator=g) for f in x])
    with torch.no_grad():
        want, plain = (pipe.vae.encode(v).latent_dist.mode() for v in (noisy, x))
    torch.testing.assert_close(given.latents[0], want, rtol=1e-4, atol=1e-4)
    assert (given.latents[0] - plain).abs().max() > 1e-3


def test_clip_gets_the_frames(pipe, given):
    x = torch.tensor(video).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        want = pipe.image_encoder(clip_pixels(x, 28)).image_embeds
    torch.testing.assert_close(given.embeddings[0], want, rtol=1e-4, atol=1e-4)


def test_half_precision(folder):
    half, full = (load_depthcrafter(folder, 'cpu', dtype=d) for d in (torch.float16, None))
    nets = half.pipe.unet, half.pipe.vae, half.pipe.image_encoder
    assert {net.dtype for net in nets} == {torch.float16}
    half.steps = full.steps = 1
    a, b = (f.raw(video[:2, :, :64]) for f in (half, full))
    assert a.dtype == torch.float32 and (a - b).abs().max() < 0.05
    assert half.pipe.vae.dtype == torch.float16


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu_and_back(folder, depth):
    f = load_depthcrafter(folder, 'cuda', dtype=torch.float32)
    torch.testing.assert_close(f.raw(video), depth.raw(video), rtol=1e-2, atol=1e-2)
    nets = f.pipe.unet, f.pipe.vae, f.pipe.image_encoder
    assert all(p.device.type == 'cpu' for net in nets for p in net.parameters())


# as a `Depth`
def test_depth_from_a_folder(depth):
    d, raw = depth(video), depth.raw(video)
    assert type(d) is np.ndarray and d.dtype == np.float32 and d.min() == 0 and d.max() == 1
    check_disparity(d, 6, 64, 128)
    np.testing.assert_array_equal(d, ((raw - raw.min()) / (raw.max() - raw.min())).numpy())
    np.testing.assert_array_equal(d, depth(video))


def test_files_in_half_precision_alone(pipe, folder, tmp_path, depth):
    for name in ('unet', 'vae', 'image_encoder'):
        getattr(pipe, name).save_pretrained(tmp_path / name, variant='fp16')
    shutil.copytree(folder / 'scheduler', tmp_path / 'scheduler')
    got = load_depthcrafter(tmp_path, 'cpu')(video[:2])
    np.testing.assert_array_equal(got, depth(video[:2]))


@pytest.fixture
def hub_cache(pipe, tmp_path, monkeypatch):
    "The two repositories as a download leaves them; the folder of each."
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    at = {}
    for name in ('depthcrafter', 'stable-video-diffusion'):
        m = hub[name]
        at[name] = tmp_path / f'models--{m.repo.replace("/", "--")}' / 'snapshots' / m.revision
    pipe.unet.save_pretrained(at['depthcrafter'])
    base = at['stable-video-diffusion']
    for name in ('vae', 'image_encoder'):
        getattr(pipe, name).save_pretrained(base / name, variant='fp16')
    pipe.scheduler.save_pretrained(base / 'scheduler')
    return at


def test_from_the_hubs_cache(hub_cache, depth):
    "Where the hub's files lie, loading needs no network."
    got = load_depthcrafter(device='cpu')(video[:2])
    np.testing.assert_array_equal(got, depth(video[:2]))


def test_a_broken_cache_is_said(hub_cache):
    (hub_cache['depthcrafter'] / 'diffusion_pytorch_model.safetensors').unlink()
    # hub 1 sees it and would fetch the file again; hub 2 leaves it to those who read it
    with pytest.raises(SczError, match='delete that folder|check the connection and try again'):
        load_depthcrafter(device='cpu')


# dissolving
def test_strength_0_changes_nothing(pipe, given, depth):
    x = normal(1, 6, 4, 8, 16)
    assert pipe.dissolve(x, 0, given) is x
    near = depth(video)
    np.testing.assert_array_equal(depth(video, 0), near)
    np.testing.assert_array_equal(depth.dissolve(video, near, 0), near)


def test_strength_50_forgets_the_depth(pipe, given):
    a, b = normal(1, 6, 4, 8, 16), normal(1, 6, 4, 8, 16, seed=1)
    left = []
    for n in (1, 5, 10, 20, 30, 50):
        off = pipe.dissolve(a, n, given) - pipe.dissolve(b, n, given)
        left.append((off.std() / (a - b).std()).item())
    assert left == sorted(left, reverse=True)
    assert left[0] > 0.99 and left[4] < 0.06 and left[5] < 0.005


@pytest.mark.parametrize('n', [1, 12, 30, 50])
def test_dissolving_is_one_call_at_that_entry(pipe, given, n):
    x = normal(1, 6, 4, 8, 16)

    def one_call(entry):
        return pipe.denoise(x, 0, edm_schedule([fifty['sigmas'][entry], 0.0]), given).x0

    out = pipe.dissolve(x, n, given)
    torch.testing.assert_close(out, one_call(50 - n), rtol=1e-4, atol=1e-4)
    for other in (49 - n, 51 - n):  # off by one
        if 0 <= other < 50:
            assert (out - one_call(other)).abs().max() > 1e-4


@pytest.mark.parametrize('n', [10, 40])
def test_dissolved_depth(pipe, n):
    depth = DepthCrafter(pipe, 'cpu', steps=1)
    near, d = depth(video), depth(video, n)
    assert d.shape == near.shape and d.dtype == np.float32 and d.min() == 0 and d.max() == 1
    assert not np.array_equal(d, near)


@pytest.mark.parametrize('n', [10, 40])
def test_any_map_can_be_dissolved(depth, n):
    near = np.random.default_rng(1).uniform(size=(6, 64, 128)).astype(np.float32)
    d = depth.dissolve(video, near, n)
    assert d.shape == near.shape and d.dtype == np.float32 and 0 <= d.min() and d.max() <= 1
    assert not np.array_equal(d, near)


@pytest.mark.parametrize('strength', [0, 30])
def test_depth_as_in_the_stereo_program(pipe, strength):
    program = DepthCrafter(pipe, 'cpu', released=True)
    lifted = 128 + video // 2  # frames in [0.5, 1]
    given = pipe.condition(lifted, program._noise(), 1024)
    x = pipe(lifted, 5, 1.2, generator=program._noise()).latents
    want = pipe.decode(pipe.dissolve(x, strength, given, guidance=1.0), video.shape[1:3])
    made = program(video, strength)
    np.testing.assert_allclose(made, want, atol=1e-5)
    assert made.min() > 0 and made.max() < 1  # not stretched


def test_at_strength_50_the_given_map_is_forgotten(depth):
    near = np.random.default_rng(1).uniform(size=(6, 64, 128)).astype(np.float32)
    a, b = (depth.dissolve(video, d, 50) for d in (near, 1 - near))
    assert np.abs(a - b).max() < 0.01


def test_dissolving_goes_on_the_latents_of_the_depth(pipe):
    "The call of the pipeline is sampling, dissolving, decoding."
    plain, out = (pipe(video, 2, strength=n, generator=noise()) for n in (0, 15))
    x = pipe.dissolve(plain.latents, 15, pipe.condition(video, noise()))
    assert torch.equal(out.latents, x) and torch.equal(out.depth, pipe.decode(x, (64, 128)))


def test_a_depth_map_survives_its_latents(pipe):
    "Depth latents are scaled as decoding expects it."
    near = torch.rand(2, 64, 64, generator=noise())
    with torch.no_grad():
        mode = pipe.vae.encode(near[:, None].expand(-1, 3, -1, -1) * 2 - 1).latent_dist.mode()
    torch.testing.assert_close(pipe.encode_depth(near)[0], mode * pipe.vae.config.scaling_factor)


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
        depth.dissolve(bad, np.zeros((6, 64, 128), np.float32), 5)


@pytest.mark.parametrize('strength', [-1, 51, 2.5, None, 'much', True, float('nan')])
def test_bad_strengths(depth, strength):
    with pytest.raises(InputError, match='0 .none. to 50'):
        depth(video, strength)
    with pytest.raises(InputError, match='0 .none. to 50'):
        depth.dissolve(video, np.zeros((6, 64, 128), np.float32), strength)


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
        depth.dissolve(video, bad, 5)


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


def remove(name):
    return lambda d: shutil.rmtree(d / name)


def as_svd(d):
    edit(d / 'model_index.json', _class_name='StableVideoDiffusionPipeline')
    edit(d / 'unet/config.json', _class_name='UNetSpatioTemporalConditionModel')


def other_unet(**kw):
    return lambda d: DepthCrafterUNet(**small_parts['unet'] | kw).save_pretrained(d / 'unet')


def other_scheduler(d):
    edit(d / 'scheduler/scheduler_config.json', prediction_type='epsilon')


corrupted = {
    'no vae': (remove('vae'), "no folder 'vae'"),
    'no scheduler': (remove('scheduler'), "no folder 'scheduler'"),
    'svd': (as_svd, 'makes pictures'),
    'channels': (other_unet(in_channels=4), 'another network'),
    'embeddings': (other_unet(cross_attention_dim=48), 'embeddings of 48'),
    'scheduler': (other_scheduler, 'v-prediction'),
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


@pytest.mark.parametrize('how', corrupted)
def test_bad_folders(folder, tmp_path, how):
    corrupt, match = corrupted[how]
    shutil.copytree(folder, tmp_path / 'f')
    corrupt(tmp_path / 'f')
    with pytest.raises(InputError, match=match) as e:
        load_depthcrafter(tmp_path / 'f', 'cpu')
    assert '\n' not in str(e.value) and len(str(e.value)) < 500


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match='is not there'):
        load_depthcrafter(tmp_path / 'nowhere')


def test_no_network():
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


# in `run`
@pytest.fixture(scope='module')
def backbone():
    "A model that knows no depth, for four frames of 64×64."
    from scz_nb.models.backbones import DynamiCrafterBackbone
    from scz_nb.models.stand_in import random_pipeline, small_size

    size = {**small_size, 'facts': dict(height=64, width=64, frames=4)}
    return DynamiCrafterBackbone(random_pipeline('videocrafter2', size))


def go(backbone, depth, strength):
    from scz_nb.sampler import run

    config = dict(dissolve=strength, right='inpaint')
    common = dict(steps=2, config=config, progress=False)
    return run(None, 'a boat', backbone=backbone, depth=depth, **common)


@pytest.mark.parametrize('strength', [0, 30])
def test_run_lets_depthcrafter_dissolve_its_own_latents(backbone, folder, depth, strength):
    v = go(backbone, str(folder), strength)
    assert v.meta['depth'] == 'depthcrafter'
    np.testing.assert_array_equal(v.disparity, depth(v.left, strength))


def test_run_refuses_to_dissolve_without_depthcrafter(backbone):
    with pytest.raises(InputError, match='dissolve'):
        go(backbone, np.zeros((4, 64, 64)), 30)
