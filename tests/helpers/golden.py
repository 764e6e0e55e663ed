"Networks filled by a formula, and the outputs that the original code gave for them (tests/golden)."

import zlib

import numpy as np
import torch


def wave(name, shape, salt=0):
    "Numbers in [-1, 1] that depend on the name alone."
    n = int(np.prod(shape))
    phase = zlib.crc32(name.encode()) % 10007 + salt
    return torch.from_numpy(np.sin(0.73 * np.arange(n) + phase).reshape(shape))


def by_formula(name, shape, salt):
    "A weight of this name: of a useful size, and the same wherever it is made."
    w = wave(name, shape, salt)
    if len(shape) > 1:
        return (w / np.sqrt(np.prod(shape[1:]))).float()
    return (1 + 0.1 * w if name.endswith('.weight') else 0.1 * w).float()


def assert_golden(y, want):
    "Shape, some values, mean, spread and largest value are the recorded ones."
    assert list(y.shape) == want['shape']
    values = y.flatten()[want['index']]
    torch.testing.assert_close(values, torch.tensor(want['value']), atol=1e-4, rtol=0)
    assert abs(y.mean().item() - want['mean']) < 2e-4, 'mean'
    assert abs(y.std(unbiased=False).item() - want['std']) < 2e-4, 'std'
    assert abs(y.abs().max().item() - want['absmax']) < 2e-4, 'absmax'
