"Compiled loops, the paper's form and the GPU kernel against the scatter and the loops."

import math
import os
import subprocess
import sys

import pytest
import torch
from helpers.tensors import assert_same, dtypes, rand

from scz_nb.core import InputError
from scz_nb.geometry.disparity import shift_columns
from scz_nb.geometry.fast_warp import compiled_loops, machine_code, select_kernel, warp_unique
from scz_nb.geometry.warp import warp, warp_loops, warp_map, warp_with


@pytest.mark.parametrize('dtype', dtypes)
@pytest.mark.parametrize('scale', [-30, 30, 0, -250])
def test_the_form_of_the_paper_is_the_loops(dtype, scale):
    x, d = (rand(2, 3, 4, 11) * 200).to(dtype), (rand(2, 1, 4, 11, seed=1) * 4).round() / 4
    for slow, fast in zip(warp_loops(x, d, scale), warp_unique(x, d, scale)):
        assert_same(slow, fast)


# the compiled loops, and what compilers and GPUs need
@pytest.mark.parametrize('dtype', (*dtypes, torch.int16, torch.bool, torch.complex64))
@pytest.mark.parametrize('scale', [-30, 30, 0])
def test_compiled_loops_warp_large_pictures_as_the_scatter_does(dtype, scale):
    pytest.importorskip('numba')
    x = (rand(3, 2, 90, 128) * 200 - (0 if dtype == torch.uint8 else 100)).to(dtype)
    d = rand(3, 1, 90, 128, seed=1)
    assert compiled_loops() and machine_code(x) is compiled_loops()
    for z, e in ((x, d), (x.mT.contiguous().mT, d.mT.contiguous().mT), (x, d.half())):
        out, mask = warp(z, e, scale, 2.0)
        source, want = warp_map(e, scale, 2.0)
        assert torch.equal(mask, want)
        assert torch.equal(out, warp_with(x, source, want))
        assert out.dtype == dtype and out.shape == x.shape


def test_large_pictures_still_have_gradients():
    x, d = rand(1, 2, 200, 200).requires_grad_(), rand(1, 1, 200, 200, seed=1)
    out, mask = warp(x, d, -10)
    out.sum().backward()
    assert x.grad.sum() == mask.sum() * 2
    assert not warp(x.detach(), d, -10)[0].requires_grad


@pytest.mark.parametrize(
    'change,words',
    [
        (dict(disparity=rand(1, 1, 200, 200) * math.nan), 'NaN'),
        (dict(disparity=rand(1, 1, 200, 200) - 2), 'negative'),
        (dict(exponent=0.0), 'exponent'),
    ],
)
def test_large_pictures_still_have_errors(change, words):
    good = dict(x=rand(1, 2, 200, 200), disparity=rand(1, 1, 200, 200), scale=-4)
    with pytest.raises(InputError, match=words):
        warp(**good | change)


@pytest.mark.parametrize('scale', [-10, 10])
def test_a_compiler_makes_one_graph(scale):
    "It finds no break: nothing looks at the data."
    x, d = rand(2, 3, 200, 200), rand(2, 1, 200, 200, seed=1)
    compiled = torch.compile(
        lambda x, d: warp(x, d, scale, 2.0), backend='aot_eager', fullgraph=True, dynamic=False
    )
    for a, b in zip(warp(x, d, scale, 2.0), compiled(x, d)):
        assert_same(a, b)


def test_nothing_waits_for_a_gpu():
    "On `meta` there are no data to look at."
    x, d = rand(2, 3, 200, 200).to('meta'), rand(2, 1, 200, 200).to('meta')
    out, mask = warp(x, d, -10)
    assert out.shape == x.shape and mask.shape == d.shape and out.is_meta


def test_integers_have_32_bits():
    assert shift_columns(rand(3, 4), -10, 64).dtype == torch.int32


# the GPU kernel, where Triton is: PyTorch for CUDA brings it; on a CPU in its interpreter
compare_kernel = """
import torch
from scz_nb.geometry.disparity import shift_columns
from scz_nb.geometry.fast_warp import shift_and_select, warp_bits
from scz_nb.geometry.warp import warp_loops

g = torch.Generator().manual_seed(0)
dtypes = torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.float64
for i in range(40):
    B, C, H, W = (int(torch.randint(1, n, (), generator=g)) for n in (3, 4, 5, 150))
    s = float(torch.randint(-60, 60, (), generator=g))
    x = (torch.rand(B, C, H, W, generator=g) * 255).to(dtypes[i % 5])
    d = (torch.rand(B, 1, H, W, generator=g) * 8).round() / 8
    made = warp_bits(shift_and_select(), x, shift_columns(d, s, W), s)
    for slow, fast in zip(warp_loops(x, d, s), made):
        assert torch.equal(slow, fast), (i, s, W)
print('equal')
"""


def test_kernel_is_equal_to_the_loops():
    pytest.importorskip('triton')
    env = {**os.environ, 'TRITON_INTERPRET': '1'}
    command = [sys.executable, '-c', compare_kernel]
    r = subprocess.run(command, capture_output=True, text=True, env=env)
    assert r.stdout.strip() == 'equal', r.stderr


@pytest.mark.parametrize('bits', ['i8', 'i64'])
@pytest.mark.parametrize('card', [75, 80, 90])  # T4, A100, H100
def test_kernel_compiles_for(card, bits):
    triton = pytest.importorskip('triton')
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = dict(x=f'*{bits}', shift='*i32', out=f'*{bits}', mask='*i1')
    types |= dict(C='i32', W='i32', reach='i32')
    source = ASTSource(fn=select_kernel(), signature=types)
    made = triton.compile(source, target=GPUTarget('cuda', card, 32))
    assert made.asm['cubin']
