"The fast warp against its specification, in all types, and what a warp must refuse."

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scz_nb.core import InputError
from scz_nb.geometry.disparity import resize_disparity, shift_columns
from scz_nb.geometry.warp import (
    Warp,
    _compiled_loops,
    _machine_code,
    border_columns,
    warp,
    warp_loops,
    warp_map,
    warp_video,
    warp_with,
)


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


dtypes = torch.float32, torch.float16, torch.uint8, torch.bfloat16, torch.float64
bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def same(a, b):
    "Equal bit by bit, type and shape included."
    assert a.dtype == b.dtype and a.shape == b.shape
    if a.dtype != torch.bool:
        a, b = (v.contiguous().view(bits[v.element_size()]) for v in (a, b))
    assert torch.equal(a, b)


def case(b, c, h, w, seed, few, dtype):
    "A picture with many zeros and ties, and a disparity of few levels or of many."
    x = (
        torch.randint(0, 4, (b, c, h, w), generator=torch.Generator().manual_seed(seed))
        - (0 if dtype == torch.uint8 else 1)
    ).to(dtype)
    d = rand(b, 1, h, w, seed=seed + 1)
    return x, (d * few).round() / few if few else d


@settings(deadline=None, max_examples=300)
@given(
    b=st.integers(1, 2),
    c=st.integers(1, 3),
    h=st.integers(1, 4),
    w=st.integers(1, 17),
    seed=st.integers(0, 10**6),
    few=st.integers(0, 5),
    scale=st.floats(-100, 100)
    | st.sampled_from([-100.0, -25.0, -4.0, -1e-9, -0.0, 0.0, 4.0, 12.0, 100.0, 250.0, -250.0]),
    exponent=st.floats(0.25, 4),
    dtype=st.sampled_from(dtypes),
)
@example(b=1, c=1, h=1, w=1, seed=0, few=1, scale=-100.0, exponent=1.0, dtype=torch.uint8)
@example(b=1, c=1, h=2, w=1, seed=0, few=0, scale=99.0, exponent=1.0, dtype=torch.float16)
def test_fast_is_the_specification(b, c, h, w, seed, few, scale, exponent, dtype):
    x, d = case(b, c, h, w, seed, few, dtype)
    slow, fast = warp_loops(x, d, scale, exponent), warp(x, d, scale, exponent)
    for s, f in zip(slow, fast):
        same(s, f)
    assert fast[1].dtype == torch.bool and fast[1].shape == (b, 1, h, w)
    assert fast[0][~fast[1].expand_as(x)].eq(0).all()


@settings(deadline=None, max_examples=60)
@given(w=st.integers(1, 20), seed=st.integers(0, 999), scale=st.floats(-60, 60))
def test_mirror(w, seed, scale):
    "A mirrored picture with the opposite scale gives the mirrored result."
    x, d = rand(1, 2, 3, w, seed=seed), rand(1, 1, 3, w, seed=seed + 1)
    for a, b in zip(warp(x, d, scale), warp(x.flip(-1), d.flip(-1), -scale)):
        same(a, b.flip(-1))


@settings(deadline=None, max_examples=60)
@given(w=st.integers(1, 20), seed=st.integers(0, 999), scale=st.floats(-60, 60))
def test_the_nearest_wins(w, seed, scale):
    d = rand(1, 1, 1, w, seed=seed)
    shift, (out, mask) = shift_columns(d, scale, w).flatten().tolist(), warp(d, d, scale)
    for t in range(w):
        landed = [d[0, 0, 0, c].item() for c in range(w) if c + shift[c] == t]
        assert mask[0, 0, 0, t].item() == bool(landed)
        if landed:
            assert out[0, 0, 0, t].item() == max(landed)


# signs and whole shifts
def test_sign_is_pinned():
    x, d = (
        torch.tensor([1.0, 2, 3, 4, 5]).view(1, 1, 1, 5),
        torch.tensor([0.0, 0, 0, 1, 0]).view(1, 1, 1, 5),
    )
    for f in (warp, warp_loops):
        assert f(x, d, -40)[0].flatten().tolist() == [1, 4, 3, 0, 5] and f(x, d, -40)[
            1
        ].flatten().tolist() == [1, 1, 1, 0, 1]
        assert f(x, d, 40)[0].flatten().tolist() == [1, 2, 3, 0, 5]
        assert f(x, d, 20)[0].flatten().tolist() == [1, 2, 3, 0, 4]
    assert warp(x.mT, d.mT, -40)[0].flatten().tolist() == [
        1,
        2,
        3,
        4,
        5,
    ]  # a column: rows never move


@pytest.mark.parametrize('w,scale', [(8, -100), (8, 100), (1, -100), (1, 100)])
def test_the_whole_picture_leaves(w, scale):
    out, mask = warp(rand(2, 3, 4, w) + 1, torch.ones(2, 1, 4, w), scale)
    assert out.eq(0).all() and not mask.any() and border_columns(mask, scale).all()


@pytest.mark.parametrize('scale', [-30, 30])
def test_a_flat_wall_moves_as_one(scale):
    x = rand(2, 3, 4, 10)
    out, mask = warp(x, torch.ones(2, 1, 4, 10), scale)
    if scale < 0:
        assert (
            torch.equal(out[..., :7], x[..., 3:])
            and mask.sum(-1).eq(7).all()
            and border_columns(mask, scale)[..., 7:].all()
        )
    else:
        assert torch.equal(out[..., 3:], x[..., :7]) and border_columns(mask, scale)[..., :3].all()
    assert (
        torch.equal(border_columns(mask, scale), ~mask) and not border_columns(mask, -scale).any()
    )


def test_no_shift_no_change():
    x, d = rand(1, 3, 4, 9), rand(1, 1, 4, 9)
    for scale, dd in ((0, d), (-8, d * 0), (5, d)):  # 5 % of 9 columns is less than one
        out, mask = warp(x, dd, scale)
        assert torch.equal(out, x) and mask.all()


def test_true_zeros_are_no_holes():
    out, mask = warp(torch.zeros(1, 2, 3, 10), rand(1, 1, 3, 10), -40)
    assert out.eq(0).all() and mask.any() and not mask.all()


def test_not_a_number_moves_like_any_other():
    x = torch.tensor([1.0, math.nan, math.inf, 4.0]).view(1, 1, 1, 4)
    out, mask = warp(x, torch.tensor([0.0, 0, 0, 1]).view(1, 1, 1, 4), -25)
    same(out, warp_loops(x, torch.tensor([0.0, 0, 0, 1]).view(1, 1, 1, 4), -25)[0])
    assert out[0, 0, 0, 1].isnan() and out[0, 0, 0, 2] == 4 and out[0, 0, 0, 3] == 0


# what is handed in
def test_layout_in_memory_does_not_matter():
    x, d = rand(2, 3, 5, 8), rand(2, 1, 5, 8)
    want = warp(x, d, -30)
    for y, e in (
        (x.to(memory_format=torch.channels_last), d),
        (x.mT.contiguous().mT, d.mT.contiguous().mT),
        (torch.stack([x, x], -1)[..., 0], d.expand(2, 1, 5, 8)),
    ):
        for a, b in zip(want, warp(y, e, -30)):
            assert torch.equal(a, b)
        for a, b in zip(want, warp_loops(y, e, -30)):
            assert torch.equal(a, b)


def test_nothing_is_written_into_the_input():
    x, d = rand(2, 3, 5, 8), rand(2, 1, 5, 8)
    a, b = x.clone(), d.clone()
    for f in (warp, warp_loops):
        f(x, d, -30)
    assert torch.equal(x, a) and torch.equal(d, b)


def test_gradients_go_to_the_source():
    x = rand(1, 2, 3, 8).requires_grad_()
    out, mask = warp(x, rand(1, 1, 3, 8), -30)
    out.sum().backward()
    assert x.grad.sum() == mask.sum() * 2 and set(x.grad.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize('dtype', dtypes)
def test_video_is_its_frames(dtype):
    z, d = (rand(2, 4, 3, 5, 8) * 200).to(dtype), rand(3, 5, 8)
    for scale in (-30, 30):
        out, mask = warp_video(z, d, scale, 2.0)
        assert mask.shape == (2, 1, 3, 5, 8) and mask.dtype == torch.bool
        for t in range(3):
            a, m = warp(z[:, :, t], d[t].expand(2, 1, 5, 8), scale, 2.0)
            same(out[:, :, t], a)
            same(mask[:, :, t], m)
        source, m = warp_map(d, scale, 2.0)
        same(warp_with(z, source, m), out)


@pytest.mark.parametrize(
    'x,d',
    [
        ((2, 3, 5, 8), (2, 5, 8)),
        ((2, 3, 5, 8), (1, 1, 5, 8)),
        ((2, 3, 5, 8), (2, 3, 5, 8)),
        ((2, 3, 5, 8), (2, 1, 8, 5)),
        ((3, 5, 8), (3, 1, 5, 8)),
        ((2, 3, 5, 0), (2, 1, 5, 0)),
        ((1, 2, 3, 5, 8), (1, 1, 5, 8)),
    ],
)
def test_shapes_that_do_not_fit(x, d):
    for f in (warp, warp_loops):
        with pytest.raises(InputError, match='shape'):
            f(torch.zeros(x), torch.zeros(d), -4)


@pytest.mark.parametrize(
    'x,d',
    [
        ((2, 4, 3, 5, 8), (3, 8, 5)),
        ((2, 4, 3, 5, 8), (2, 5, 8)),
        ((4, 3, 5, 8), (3, 5, 8)),
        ((2, 4, 3, 5, 8), (1, 3, 5, 8)),
    ],
)
def test_video_shapes_that_do_not_fit(x, d):
    with pytest.raises(InputError, match='shape'):
        warp_video(torch.zeros(x), torch.zeros(d), -4)


def test_values_that_cannot_be_used():
    x, d = rand(1, 2, 3, 8), rand(1, 1, 3, 8)
    for f in (warp, warp_loops):
        with pytest.raises(InputError, match='NaN'):
            f(x, d * math.nan, -4)
        with pytest.raises(InputError, match='scale'):
            f(x, d, math.nan)
        with pytest.raises(InputError, match='exponent'):
            f(x, d, -4, 0.0)
        with pytest.raises(InputError, match='negative'):
            f(x, d - 2, -4)
        with pytest.raises(InputError, match='tensors'):
            f(x.numpy(), d, -4)
    with pytest.raises(InputError, match='tensors'):
        warp_video(rand(1, 2, 3, 4, 5).numpy(), rand(3, 4, 5), -4)


# the border
@settings(deadline=None, max_examples=80)
@given(
    h=st.integers(1, 4),
    w=st.integers(1, 12),
    seed=st.integers(0, 999),
    scale=st.sampled_from([-4.0, 4.0]),
)
def test_border_is_the_run_at_the_edge(h, w, seed, scale):
    mask = rand(2, 1, 3, h, w, seed=seed) < 0.4
    b = border_columns(mask, scale)
    assert b.shape == mask.shape and b.dtype == torch.bool
    for got, m in zip(b.view(-1, w).tolist(), mask.view(-1, w).tolist()):
        if scale < 0:
            got, m = got[::-1], m[::-1]
        run = m.index(True) if True in m else w
        assert got == [True] * run + [False] * (w - run)


def test_border_needs_a_mask():
    assert not border_columns(torch.zeros(2, 3, dtype=torch.bool), 0.0).any()
    for bad in (torch.zeros(2, 3), [[True]], torch.zeros(3, dtype=torch.bool)):
        with pytest.raises(InputError, match='mask'):
            border_columns(bad, -4)


# the warp of one run
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('scale', [-20, 20, 0])
def test_warp_of_a_run_is_the_warp_of_its_resized_disparity(dtype, scale):
    disparity = rand(3, 20, 32)
    z = (rand(1, 4, 3, 5, 8) - 0.5).to(dtype)
    warp_run = Warp(disparity, (5, 8), scale, 2.0)
    out, valid = warp_video(z, resize_disparity(disparity, (5, 8)), scale, 2.0)
    same(warp_run(z), out)
    same(warp_run.valid, valid)


@pytest.mark.parametrize('scale', [-20, 20])
def test_warp_of_a_run_names_its_holes_and_its_border(scale):
    warp_run = Warp(rand(3, 20, 32), (5, 8), scale)
    assert warp_run.valid.shape == (1, 1, 3, 5, 8) and warp_run.scale == scale
    same(warp_run.holes, ~warp_run.valid)
    same(warp_run.border, border_columns(warp_run.valid, scale))
    assert warp_run(torch.ones(1, 2, 3, 5, 8))[warp_run.holes.expand(1, 2, -1, -1, -1)].eq(0).all()


# the compiled loops, and what compilers and GPUs need
@pytest.mark.parametrize('dtype', (*dtypes, torch.int16, torch.bool, torch.complex64))
@pytest.mark.parametrize('scale', [-30, 30, 0])
def test_compiled_loops_move_large_pictures_as_the_scatter_does(dtype, scale):
    pytest.importorskip('numba')
    x, d = (
        (rand(3, 2, 90, 128) * 200 - (0 if dtype == torch.uint8 else 100)).to(dtype),
        rand(3, 1, 90, 128, seed=1),
    )
    assert _compiled_loops() and _machine_code(x) is _compiled_loops()
    for z, e in ((x, d), (x.mT.contiguous().mT, d.mT.contiguous().mT), (x, d.half())):
        out, mask = warp(z, e, scale, 2.0)
        source, want = warp_map(e, scale, 2.0)
        assert (
            torch.equal(mask, want)
            and torch.equal(out, warp_with(x, source, want))
            and out.dtype == dtype
            and out.shape == x.shape
        )


def test_large_pictures_still_have_gradients_and_errors():
    x, d = rand(1, 2, 200, 200).requires_grad_(), rand(1, 1, 200, 200, seed=1)
    out, mask = warp(x, d, -10)
    out.sum().backward()
    assert x.grad.sum() == mask.sum() * 2 and not warp(x.detach(), d, -10)[0].requires_grad
    with pytest.raises(InputError, match='NaN'):
        warp(x.detach(), d * math.nan, -4)
    with pytest.raises(InputError, match='negative'):
        warp(x.detach(), d - 2, -4)
    with pytest.raises(InputError, match='exponent'):
        warp(x.detach(), d, -4, 0.0)


def test_one_graph_without_a_look_at_the_data():
    "A compiler finds no break; on `meta` there are no data to look at, so nothing waits for a GPU."
    x, d = rand(2, 3, 200, 200), rand(2, 1, 200, 200, seed=1)
    for scale in (-10, 10):
        for a, b in zip(
            warp(x, d, scale, 2.0),
            torch.compile(
                lambda x, d: warp(x, d, scale, 2.0),
                backend='aot_eager',
                fullgraph=True,
                dynamic=False,
            )(x, d),
        ):
            same(a, b)
    out, mask = warp(x.to('meta'), d.to('meta'), -10)
    assert out.shape == x.shape and mask.shape == d.shape and out.is_meta


def test_integers_have_32_bits():
    assert shift_columns(rand(3, 4), -10, 64).dtype == torch.int32


# the GPU kernel, where Triton is: PyTorch for CUDA brings it; on a CPU in its interpreter
def test_kernel_is_equal_to_the_loops():
    pytest.importorskip('triton')
    code = """
import torch
from scz_nb.geometry.disparity import shift_columns
from scz_nb.geometry.warp import _bits, _shift_and_select, warp_loops
g = torch.Generator().manual_seed(0)
for i in range(40):
    B, C, H, W = (int(torch.randint(1, n, (), generator=g)) for n in (3, 4, 5, 150))
    dtype, s = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.float64)[i % 5], float(torch.randint(-60, 60, (), generator=g))
    x, d = (torch.rand(B, C, H, W, generator=g)*255).to(dtype), (torch.rand(B, 1, H, W, generator=g)*8).round()/8
    bits, shift = x.view(_bits[x.element_size()]), shift_columns(d, s, W)
    out, mask = torch.empty_like(bits), torch.empty_like(shift, dtype=torch.bool)
    _shift_and_select()(bits, shift, s, out, mask)
    assert all(torch.equal(a, b) for a, b in zip((out.view(dtype), mask), warp_loops(x, d, s))), (i, s, W)
print('equal')"""
    import os
    import subprocess
    import sys

    r = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        env={**os.environ, 'TRITON_INTERPRET': '1'},
    )
    assert r.stdout.strip() == 'equal', r.stderr


@pytest.mark.parametrize('card', [75, 80, 90])  # T4, A100, H100
def test_kernel_compiles_for(card):
    triton = pytest.importorskip('triton')
    import inspect

    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from scz_nb.geometry.warp import _shift_and_select

    select = inspect.getclosurevars(_shift_and_select()).nonlocals['select']
    for bits in ('i8', 'i64'):
        types = dict(
            x=f'*{bits}',
            shift='*i32',
            out=f'*{bits}',
            mask='*i1',
            C='i32',
            H='i32',
            W='i32',
            reach='i32',
            left='constexpr',
            BLOCK='constexpr',
        )
        made = triton.compile(
            ASTSource(fn=select, signature=types, constexprs=dict(left=True, BLOCK=128)),
            target=GPUTarget('cuda', card, 32),
        )
        assert made.asm['cubin']
