"""`config='released'` against one plain loop.

The loop is written from the description of the authors' published program. Of this package it takes
the random pipeline, the noise that belongs to a name, and nothing of what is tested."""

import numpy as np
import pytest
import torch
from helpers.pipelines import picture
from torch.nn.functional import interpolate

from scz_nb.config import PRESETS
from scz_nb.core import NoiseSource
from scz_nb.models.backbones import DynamiCrafterBackbone
from scz_nb.models.stand_in import random_pipeline
from scz_nb.sampler import run

STEPS, SCALE, GUIDANCE = 50, 20.0, 7.5
REFINE = {6: 8, 9: 8, 14: 3, 19: 6, 24: 6, 29: 6, 34: 6, 39: 6, 44: 4}
kinds = pytest.mark.parametrize('kind', ['dynamicrafter-256', 'dynamicrafter-512'])


class Program:
    "What the program knows of a model: noise levels, network, condition, noises."

    def __init__(self, kind: str, first: np.ndarray):
        self.pipe = random_pipeline(kind)
        self.pipe.unet.double()  # so that what differs is the program, not the rounding
        c = self.pipe.config
        self.v = kind != 'dynamicrafter-256'
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        bar = (1 - betas).cumprod(0)
        if self.v:
            root = bar.sqrt()
            bar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        self.t = list(range(999, 0, -20)) if self.v else list(range(981, 0, -20))
        self.bar = [bar[t].item() for t in self.t] + [bar[0].item()]
        self.scale = [1.0] * (STEPS + 1)
        if self.v:
            falling = torch.linspace(1, 0.7, 400, dtype=torch.float64).tolist()
            self.scale = [falling[t] if t < 400 else 0.7 for t in self.t]
            self.scale.append(self.scale[-1])  # the last step has the factor 1
        self.sigma = []
        for a, a1 in zip(self.bar, self.bar[1:]):
            self.sigma.append(((1 - a1) / (1 - a) * (1 - a / a1)) ** 0.5)
        pixels = torch.tensor(first).permute(2, 0, 1)[None].float() / 127.5 - 1
        self.given = self.pipe.condition('fog', pixels)
        self.shape = 1, 4, c.frames, c.height // 8, c.width // 8

    def noise(self, name: str):
        return NoiseSource(0).normal(name, self.shape)

    def denoise(self, z, i, noise):
        "The latent of step i+1."
        t, a, a1 = self.t[i], self.bar[i], self.bar[i + 1]
        with torch.no_grad():
            text = self.pipe.evaluate(z, t, self.given.context, self.given)
            none = self.pipe.evaluate(z, t, self.given.empty, self.given)
        out = none + GUIDANCE * (text - none)
        if self.v:
            x0, eps = a**0.5 * z - (1 - a) ** 0.5 * out, a**0.5 * out + (1 - a) ** 0.5 * z
        else:
            x0, eps = (z - (1 - a) ** 0.5 * out) / a**0.5, out
        x0 = x0 * self.scale[i + 1] / self.scale[i]
        sigma = self.sigma[i]
        return a1**0.5 * x0 + max(1 - a1 - sigma**2, 0) ** 0.5 * eps + sigma * noise

    def query_layers(self):
        "Every query of the network, to the text too, but those of the first temporal transformer."
        named = self.pipe.unet.named_modules()
        return [m for n, m in named if n.endswith('.to_q') and not n.startswith('init_attn')]

    def pair(self, left, right, i, noises, shared):
        "Step i of both views; the right one takes the left one's queries if they are shared."
        queries = []
        hooks = [m.register_forward_hook(lambda m, a, q: queries.append(q)) for m in layers(self)]
        new_left = self.denoise(left, i, noises[0])
        for h in hooks:
            h.remove()
        hooks = []
        if shared:
            found = iter(queries)
            hooks = [m.register_forward_hook(lambda m, a, q: next(found)) for m in layers(self)]
        new_right = self.denoise(right, i, noises[1])
        for h in hooks:
            h.remove()
        return new_left, new_right


layers = Program.query_layers


class Moved:
    "A warp to the right eye, pixel by pixel, from the left to the right: the last write wins."

    def __init__(self, disparity, size):
        small = interpolate(disparity[:, None], size, mode='bilinear')[:, 0].clamp(0, 1)
        self.shift = -(small * SCALE / 100 * size[1]).trunc().int()
        self.valid = self(torch.ones(1, 1, *small.shape)) > 0
        self.border = torch.zeros_like(self.valid)
        for f in range(len(small)):
            for column in reversed(range(size[1])):
                if self.valid[0, 0, f, :, column].any():
                    break
                self.border[0, 0, f, :, column] = True

    def __call__(self, z):
        out = torch.zeros_like(z)
        frames, height, width = self.shift.shape
        for f in range(frames):
            for y in range(height):
                for x in range(width):
                    to = x + self.shift[f, y, x].item()
                    if to >= 0:
                        out[:, :, f, y, to] = z[:, :, f, y, x]
        return out


def restart(p: Program, warp: Moved, calls: list):
    "The right latent after six steps that were gone over seven times."
    begin, again = p.noise('start'), p.noise('again')
    fresh = [p.noise(f'restart step {i}') for i in range(6)]
    fills = None
    for _ in range(7):
        left, right, made = begin, begin, []
        for i in range(6):
            fill = right if fills is None else fills[i]
            fill = torch.where(warp.border, 0.9 * left + 0.1 * fill, fill)
            z = torch.where(warp.valid, warp(left), fill)
            left, right = p.pair(left, z, i, [fresh[i]] * 2, 25 <= len(calls) < 45)
            calls.append(i)
            lam = p.bar[i] ** 0.5
            ratio = p.sigma[i] / p.sigma[i - 1] if i else 1.0
            made.append((1 - lam) * ratio * right + lam * p.sigma[i] * again)
        fills = made
    return right


def program(p: Program, disparity):
    "The right view's latent at the end, and the mono one's."
    mono = [p.noise('start')]
    for i in range(STEPS):
        mono.append(p.denoise(mono[i], i, p.noise(f'step {i}')))
    warp, calls = Moved(disparity, p.shape[-2:]), []
    right = restart(p, warp, calls)
    plan = {i: n for i, n in REFINE.items()}
    if not p.v:
        plan[45] = plan[44]
    for i in range(6, STEPS):
        noise = p.noise(f'right step {i}')
        start = torch.where(warp.valid, warp(mono[i]), right) if i in plan else right
        z = start
        for k in range(plan.get(i, 1)):
            shared = 25 <= len(calls) < 45
            right = p.pair(mono[i], z, i, (p.noise('unused'), noise), shared)[1]
            calls.append(i)
            ratio = p.sigma[i] / p.sigma[i - 1]
            z = torch.where(warp.valid, start, ratio * right)
            noise = p.noise(f'step {i} repeat {k + 1}')
    return right, mono[-1], warp


@pytest.fixture(scope='module')
def disparity():
    "Something near in front of a slope, whose right border is near, too."
    d = torch.linspace(0.2, 0.8, 64).repeat(4, 32, 1)
    d[:, 8:24, 24:40] = 1.0
    return d


@kinds
@pytest.mark.slow
def test_the_released_settings_are_the_program(kind, disparity):
    first = np.asarray(np.random.default_rng(0).integers(0, 255, (32, 64, 3)), np.uint8)
    p = Program(kind, first)
    want, mono, warp = program(p, disparity)
    assert warp.border.any() and (~warp.valid & ~warp.border).any()
    seen = []
    settings = dict(image=first, prompt='fog', depth=disparity.numpy(), scale=SCALE)
    backbone = DynamiCrafterBackbone(p.pipe)
    run(**settings, config='released', backbone=backbone, on_step=seen.append, progress=False)
    of = {stage: [s for s in seen if s.stage == stage][-1] for stage in ('mono', 'refine')}
    torch.testing.assert_close(of['mono'].latents, mono, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(of['refine'].latents, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('name', ['shrink', 'fresh_noise', 'cross_view_form', 'refine_form'])
def test_each_setting_does_something(name):
    rough = np.random.default_rng(0).uniform(0, 1, (4, 32, 64)).round()
    backbone = DynamiCrafterBackbone(random_pipeline('dynamicrafter-512'))
    given = dict(image=picture, prompt='fog', depth=rough, scale=SCALE, steps=10)
    short = dict(restart_iterations=5, restart_steps=25, refine=((30, 2),))
    released = PRESETS['released'] | short
    plain = {k: v for k, v in released.items() if k != name}
    videos = []
    for config in (released, plain):
        videos.append(run(**given, config=config, backbone=backbone, progress=False))
    assert not np.array_equal(videos[0].right, videos[1].right)
    assert np.array_equal(videos[0].left, videos[1].left)
