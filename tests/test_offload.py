"Memory: what is counted, which level is chosen, and what happens when it runs out."

import numpy as np
import pytest
import torch
from helpers.pipelines import picture
from torch import nn

from scz_nb.core import InputError
from scz_nb.models.backbones import DynamiCrafterBackbone
from scz_nb.models.offload import LiveBytes, apply_offload, choose_level, estimate_memory
from scz_nb.sampler import run


@pytest.fixture(scope='module')
def pipe(pipes):
    return pipes['dynamicrafter-512']


def test_live_bytes_counts_what_is_alive():
    "The weights and x are known or older, a view is no new memory."
    net = nn.Linear(100, 100, bias=False)
    x = torch.ones(1000, 100)
    with LiveBytes(net) as count, torch.no_grad():
        y = net(x)
        view = y.T
        z = y + 1
        del y, view
        torch.zeros(10)
    assert (count.peak, count.live) == (2 * 400_000, z.nbytes)


def test_each_level_needs_less(pipe):
    need = estimate_memory(pipe)
    assert need == sorted(need, reverse=True)
    assert need[-1] > 0


def test_the_first_level_that_fits(pipe):
    need = estimate_memory(pipe)
    assert [choose_level(pipe, 1.25 * n + 1) for n in need[2:]] == [2, 3]
    assert choose_level(pipe, 1e12) == 0


def test_no_level_fits(pipe):
    with pytest.raises(InputError, match='GB are free'):
        choose_level(pipe, 1)


def test_levels_are_diffusers_own(pipe, monkeypatch):
    done = []

    def one_network(self, device):
        done.append(('network', device))

    def one_layer(self, device):
        done.append(('layer', device))

    monkeypatch.setattr(type(pipe), 'enable_model_cpu_offload', one_network)
    monkeypatch.setattr(type(pipe), 'enable_sequential_cpu_offload', one_layer)
    for offload in range(4):
        apply_offload(pipe, offload, 'cpu')
    assert done == [('network', 'cpu'), ('layer', 'cpu')]
    apply_offload(pipe, 0, 'cpu')


@pytest.mark.parametrize('offload, tiles', [(0, False), (1, True)])
def test_tiles(offload, tiles, pipe):
    apply_offload(pipe, offload, 'cpu')
    assert pipe.vae.use_tiling is tiles
    apply_offload(pipe, 0, 'cpu')


def test_an_unknown_level(pipe):
    with pytest.raises(InputError):
        apply_offload(pipe, 4, 'cpu')


def stereo(pipe):
    "A short run of the sampler."
    return run(
        picture,
        'fog',
        backbone=DynamiCrafterBackbone(pipe),
        depth=np.tile(np.linspace(0, 1, 64), (4, 32, 1)),
        steps=2,
        progress=False,
        config=dict(restart_iterations=2, refine=((25, 2),), scale=30.0),
    )


@pytest.fixture
def stay(monkeypatch):
    "No level moves anything: this machine may have no GPU."

    def apply_offload(pipe, offload, device):
        return pipe

    monkeypatch.setattr('scz_nb.models.offload.apply_offload', apply_offload)


def test_out_of_memory_steps_down_and_goes_on(pipe, stay, monkeypatch):
    whole, real, calls = stereo(pipe), pipe.unet.forward, []

    def forward(*args, **kw):
        calls.append(1)
        out = real(*args, **kw)  # queries are recorded or replayed, then it fails
        if len(calls) in (3, 9):
            raise torch.OutOfMemoryError('CUDA out of memory')
        return out

    monkeypatch.setattr(pipe.unet, 'forward', forward)
    with pytest.warns(UserWarning, match='out of memory: going on with'):
        again = stereo(pipe)
    assert np.array_equal(whole.left, again.left)
    assert np.array_equal(whole.right, again.right)


def test_out_of_memory_at_every_level(pipe, stay, monkeypatch):
    def never(*args, **kw):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(pipe.vae, 'encode', never)
    with pytest.warns(UserWarning), pytest.raises(InputError, match='too small'):
        stereo(pipe)
