"Optimisers: where half precision is used, and how long the steps are."

import numpy as np
import pytest
import torch
from helpers.training import fitted, rand, some_batch
from torch.utils._python_dispatch import TorchDispatchMode

from scz_nb.training import optim
from scz_nb.training.optim import Twin, keep_memory, learning_rate, optimisers, with_network
from scz_nb.training.train import video_loss


@pytest.fixture(params=[True, False], ids=['units for bfloat16', 'no units'])
def able(request, monkeypatch):
    "A CPU that has units for bfloat16, and one that has none."
    capabilities = dict(amx_bf16=request.param)
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: capabilities, raising=False)
    return request.param


def test_a_twin_is_the_network_with_fewer_digits():
    model = fitted()
    batch = some_batch(2)
    with torch.no_grad():
        model.unet.out[-1].weight.normal_(0, 0.1, generator=rand())  # not zeros, as it begins
    twin = Twin(model.unet)
    half = with_network(model, 'unet', twin.half)
    exact = video_loss(model, batch, rand()).item()
    rounded = video_loss(half, batch, rand()).item()
    assert 0 < abs(rounded - exact) < 0.01 * exact
    assert model.unet is twin.network and half.text is model.text


def test_a_twin_follows_and_gives_its_gradients_back():
    network = torch.nn.Linear(3, 2)
    twin = Twin(network)
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    where = network.weight.grad.data_ptr()
    with torch.no_grad():
        network.weight.fill_(1 + 2**-12)  # 1 in bfloat16
    twin.refresh()
    assert (twin.half.weight == 1).all()
    twin.half(torch.ones(1, 3).bfloat16()).sum().backward()
    twin.collect()
    assert (network.weight.grad == 1).all() and network.weight.grad.dtype == torch.float32
    assert network.weight.grad.data_ptr() == where  # the optimisers hold on to this memory
    assert (network.weight == 1 + 2**-12).all()


def test_memory_is_kept_or_nothing_happens(monkeypatch):
    keep_memory()

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(optim.ctypes, 'CDLL', missing)
    keep_memory()


def test_muon_rounds_only_where_that_is_fast(able):
    types = set()

    class Types(TorchDispatchMode):
        def __torch_dispatch__(self, f, _, args=(), kwargs=None):
            types.update(a.dtype for a in args if torch.is_tensor(a))
            return f(*args, **(kwargs or {}))

    p = torch.nn.Parameter(torch.randn(32, 48, generator=rand()))
    muon, _ = optimisers({'a': p, 'b': torch.nn.Parameter(torch.zeros(3))})
    p.grad.normal_(generator=rand())
    with Types():
        muon.step()
    assert (torch.bfloat16 in types) == able


def test_muon_goes_equally_far_along_every_direction():
    p = torch.nn.Parameter(torch.randn(32, 48, generator=rand()))
    muon, _ = optimisers({'a': p, 'b': torch.nn.Parameter(torch.zeros(3))})
    p.grad.normal_(generator=rand())
    start = p.detach().clone()
    muon.step()
    step = torch.linalg.svdvals(p.detach() - start)
    assert step.min() > 0.4 * step.max() > 0


def test_learning_rate():
    rates = [learning_rate(d, 1.0) for d in np.linspace(0, 1, 101)]
    assert rates[0] < 0.02
    assert 1 - max(rates) < 0.01 and np.argmax(rates) <= 3
    assert abs(rates[-1] - 0.02) < 1e-9
