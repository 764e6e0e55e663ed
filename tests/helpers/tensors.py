"Random tensors from a seed, and equality of bits."

import torch

dtypes = torch.float32, torch.float16, torch.uint8, torch.bfloat16, torch.float64
_integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same(a, b):
    "Equal bit by bit, type and shape included."
    assert a.dtype == b.dtype and a.shape == b.shape
    if a.dtype != torch.bool:
        a, b = (v.contiguous().view(_integers[v.element_size()]) for v in (a, b))
    assert torch.equal(a, b)
