"""The speed suite: `make bench` runs it with pytest-benchmark and writes benchmarks/speed.md.

Every group is measured in one run, so that ratios hold whatever the machine; nothing else should run beside it.
"""

import numpy as np
import pytest
import torch

from scz_nb.core import NoiseSource
from scz_nb.diffusion.attention import QueryCache
from scz_nb.diffusion.denoiser import left_queries
from scz_nb.evaluation.bench import (
    call_cost,
    reference_unet,
    unet_inputs,
    warp_sizes,
    warp_variants,
)
from scz_nb.geometry.warp import warp_loops
from scz_nb.models.backbones import load_backbone
from scz_nb.sampler import mono_pass, resolve_config, right_pass
from scz_nb.world.render import render
from scz_nb.world.scenes import sample_scene

torch.set_num_threads(1)


@pytest.fixture(scope='module')
def tiny():
    return load_backbone('tiny', 'cpu')


# the warp
names = ['unique (Appendix B)', 'scatter', 'compiled', 'scatter, map known', 'copy']


@pytest.fixture(scope='module', params=warp_sizes)
def rivals(request):
    return request.param, warp_variants(warp_sizes[request.param])


@pytest.mark.parametrize('name', names)
def test_warp(benchmark, rivals, name):
    size, found = rivals
    benchmark.group = f'warp {size}'
    benchmark.pedantic(found[name], rounds=5 if 'clip' in size else 15, warmup_rounds=1)


def test_loops(benchmark):
    benchmark.group = 'warp 256×256'
    x, d = torch.rand(1, 3, 256, 256), torch.rand(1, 1, 256, 256)
    benchmark.pedantic(warp_loops, (x, d, -4.0), rounds=1)


# the network
@pytest.mark.parametrize('form', ['ours', 'einsum and Conv3d'])
def test_unet(benchmark, tiny, form):
    benchmark.group = 'UNet of the embedded model'
    net, inputs = (
        tiny.unet if form == 'ours' else reference_unet(tiny.unet),
        unet_inputs(tiny.unet, *tiny.latent_shape[2:], tokens=tiny.model.config.text_tokens),
    )
    with torch.inference_mode():
        torch.testing.assert_close(net(*inputs), tiny.unet(*inputs), atol=1e-4, rtol=1e-4)
        benchmark.pedantic(net, inputs, rounds=10, warmup_rounds=2)


# the run
class BothViews(QueryCache):
    "Keeps nothing: the left view runs again before each call of the right one, as in the paper."

    def __contains__(self, i):
        return False


plans = {
    'paper, both views at every call': dict(),
    'left view once': dict(),
    'tol 0.1': dict(tol=0.1),
    'tol 0.2': dict(tol=0.2),
    'tol 0.3': dict(tol=0.3),
    '20 steps': dict(steps=20),
    '20 steps, tol 0.2': dict(steps=20, tol=0.2),
}
made = {}


@pytest.mark.parametrize('name', plans)
@torch.inference_mode()
def test_run(benchmark, tiny, name):
    "From the condition to the two views' clean latents; depth is given."
    benchmark.group = 'stereo run'
    world = tiny.model.config.world
    clip = render(sample_scene(10_007, world), world)
    config = resolve_config(tiny, plans[name])

    def whole():
        cond, s, noise = (
            tiny.condition(clip.caption, (clip.left[0].numpy() * 255).round().astype(np.uint8)),
            tiny.schedule(config.steps, config.eta),
            NoiseSource(0),
        )
        queries = left_queries(tiny, config)
        lefts, noises = mono_pass(tiny, cond, s, noise, config, queries)
        store = BothViews(tiny.unet, config.steps, config.cross_view) if 'both' in name else queries
        z, calls = right_pass(tiny, cond, s, noise, config, lefts, noises, store, clip.disparity)
        return z, config.steps + calls

    made[name], count_calls = benchmark.pedantic(whole, rounds=1)
    benchmark.extra_info['view-steps'] = count_calls
    if name == 'left view once':
        apart = (made[name] - made['paper, both views at every call']).abs().max().item()
        benchmark.extra_info["largest difference to the paper's way"] = apart
        assert apart < 1e-4


# the start
@pytest.mark.parametrize(
    'what', ['import torch', 'import scz_nb.geometry.warp', 'from scz_nb.sampler import run']
)
def test_import(benchmark, what):
    import subprocess
    import sys

    benchmark.group = 'start'
    code = f"{what}; import sys; assert '{what}' == 'import torch' or not {{'diffusers', 'transformers'}} & set(sys.modules)"
    benchmark.pedantic(
        lambda: subprocess.run([sys.executable, '-c', code], check=True), rounds=7, warmup_rounds=1
    )
