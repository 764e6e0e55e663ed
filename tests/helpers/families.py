"Small pipelines of Wan, LTX and CogVideoX, and what diffusers' own pipelines make with them."

import numpy as np
import torch
from PIL import Image

from scz_nb.core import NoiseSource
from scz_nb.models.families import DiffusersBackbone
from scz_nb.models.small_families import small_size_of

steps = 4  # divides 1000: CogVideoX's scheduler is not consistent where it does not
scene = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)


def first_frame(b: DiffusersBackbone):
    "A picture of a backbone's size; None where it takes none."
    return None if b.first_frame is False else scene[: b.height, : b.width]


def ramp(b: DiffusersBackbone) -> np.ndarray:
    "A disparity: the right side is near."
    row = np.linspace(0, 1, b.width, dtype=np.float32)
    return np.tile(row, (b.frames, b.height, 1))


@torch.inference_mode()
def our_latents(b: DiffusersBackbone, guidance: float) -> torch.Tensor:
    "The mono latents of the sampling loop, without fresh noise."
    cond, s = b.condition('fog drifts', first_frame(b)), b.schedule(steps, 0.0)
    z = NoiseSource(0).normal('start', b.latent_shape)
    for i, t in enumerate(s.timesteps):
        z = s.step(s.interpret(z, b.denoise(z, t, cond, guidance), i), i)
    return z


@torch.no_grad()
def sure_of_itself(vae):
    "An autoencoder of CogVideoX whose latents have no spread: what is drawn is the mean."
    last = vae.encoder.conv_out.conv
    half = len(last.bias) // 2
    last.weight[half:], last.bias[half:] = 0, -40


def _frames_of(b: DiffusersBackbone) -> dict:
    "The first frame, as the family's own pipeline wants it."
    if b.first_frame is False:
        return {}
    picture = Image.fromarray(first_frame(b))
    if type(b).__name__ != 'WanVace':
        return dict(image=picture)
    grey, size = Image.new('RGB', picture.size, (127,) * 3), picture.size
    mask = [Image.new('L', size, 0)] + [Image.new('L', size, 255)] * (b.frames - 1)
    return dict(video=[picture] + [grey] * (b.frames - 1), mask=mask)


def _prompt_of(b: DiffusersBackbone) -> dict:
    "The prompt; for pipelines that cannot read it without ftfy in diffusers 0.39, encoded."
    if type(b).__name__ not in ('WanImage', 'WanVace', 'WanBoth'):
        return dict(prompt='fog drifts')
    text, empty = (told['encoder_hidden_states'] for told in b.say('fog drifts', ''))
    return dict(prompt_embeds=text, negative_prompt_embeds=empty)


@torch.inference_mode()
def their_latents(pipe, b: DiffusersBackbone, guidance: float) -> torch.Tensor:
    "The same by the family's own pipeline, from the same start."
    start, kind = NoiseSource(0).normal('start', b.latent_shape), type(b).__name__
    if kind == 'WanBoth':
        from diffusers import WanImageToVideoPipeline

        none = dict(image_encoder=None, image_processor=None, expand_timesteps=True)
        pipe = WanImageToVideoPipeline(**pipe.components, **none)
        pipe.set_progress_bar_config(disable=True)
    if kind == 'Ltx':  # latents that are handed in have the picture in them already
        start[:, :, :1] = b.condition('', first_frame(b)).first
        start = pipe._pack_latents(start)
    if kind == 'CogVideo':
        start = start.transpose(1, 2)
    out = pipe(
        **_prompt_of(b),
        height=b.height,
        width=b.width,
        num_frames=b.frames,
        num_inference_steps=steps,
        guidance_scale=guidance,
        latents=start,
        output_type='latent',
        **_frames_of(b),
    ).frames
    if kind == 'Ltx':
        return pipe._unpack_latents(out, *b.latent_shape[2:])
    return out.transpose(1, 2) if kind == 'CogVideo' else out


def size_of(name: str) -> tuple:
    "Frames, height and width of a small family."
    return small_size_of(name)
