"Optimisers: where half precision is used, and how long the steps are."

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.training import fitted, rand, some_batch
from torch.utils._python_dispatch import TorchDispatchMode

from scz_nb.training.optim import half_precision, learning_rate, optimisers
from scz_nb.training.train import video_loss


@pytest.fixture(params=[True, False], ids=['units for bfloat16', 'no units'])
def able(request, monkeypatch):
    "A CPU that has units for bfloat16, and one that has none."
    capabilities = dict(amx_bf16=request.param)
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: capabilities, raising=False)
    return request.param


def test_half_precision_rounds_products_but_not_attention(able):
    x = torch.full((1, 1, 2, 2), 1 + 2**-12)  # 1 in bfloat16
    with half_precision('cpu'):
        product = x[0, 0] @ torch.eye(2)
        assert torch.equal(F.scaled_dot_product_attention(x, x, x), x)
    assert product.dtype == (torch.bfloat16 if able else torch.float32)
    assert (x[0, 0] @ torch.eye(2)).dtype == torch.float32


def test_the_loss_of_a_step_is_nearly_the_same_in_half_precision(able):
    "And without units for bfloat16 it is the same."
    model = fitted()
    batch = some_batch(2)
    with torch.no_grad():
        model.unet.out[-1].weight.normal_(0, 0.1, generator=rand())  # not zeros, as it begins
    exact = video_loss(model, batch, rand()).item()
    half = video_loss(model, batch, rand(), lambda: half_precision('cpu')).item()
    if able:
        assert 0 < abs(half - exact) < 0.01 * exact
    else:
        assert half == exact


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
