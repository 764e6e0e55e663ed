"The fast warp against its specification, in all types, and what a warp must refuse."

import math

import pytest
import torch
from helpers.tensors import assert_same, dtypes, rand
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scz_nb.core import InputError
from scz_nb.geometry.disparity import resize_disparity, shift_columns
from scz_nb.geometry.warp import (
    Warp,
    border_columns,
    warp,
    warp_loops,
    warp_map,
    warp_video,
    warp_with,
)

both_ways = pytest.mark.parametrize('f', [warp, warp_loops])
some_scales = [-100.0, -25.0, -4.0, -1e-9, -0.0, 0.0, 4.0, 12.0, 100.0, 250.0, -250.0]


def case(b, c, h, w, seed, few, dtype):
    "A picture with many zeros and ties, and a disparity of few levels or of many."
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 4, (b, c, h, w), generator=g)
    x = (x - (0 if dtype == torch.uint8 else 1)).to(dtype)
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
    scale=st.floats(-100, 100) | st.sampled_from(some_scales),
    exponent=st.floats(0.25, 4),
    dtype=st.sampled_from(dtypes),
)
@example(b=1, c=1, h=1, w=1, seed=0, few=1, scale=-100.0, exponent=1.0, dtype=torch.uint8)
@example(b=1, c=1, h=2, w=1, seed=0, few=0, scale=99.0, exponent=1.0, dtype=torch.float16)
def test_fast_is_the_specification(b, c, h, w, seed, few, scale, exponent, dtype):
    x, d = case(b, c, h, w, seed, few, dtype)
    out, mask = warp(x, d, scale, exponent)
    for slow, fast in zip(warp_loops(x, d, scale, exponent), (out, mask)):
        assert_same(slow, fast)
    assert mask.dtype == torch.bool and mask.shape == (b, 1, h, w)
    assert out[~mask.expand_as(x)].eq(0).all()


@settings(deadline=None, max_examples=60)
@given(w=st.integers(1, 20), seed=st.integers(0, 999), scale=st.floats(-60, 60))
def test_mirror(w, seed, scale):
    "A mirrored picture with the opposite scale gives the mirrored result."
    x = rand(1, 2, 3, w, seed=seed)
    d = rand(1, 1, 3, w, seed=seed + 1)
    for a, b in zip(warp(x, d, scale), warp(x.flip(-1), d.flip(-1), -scale)):
        assert_same(a, b.flip(-1))


@settings(deadline=None, max_examples=60)
@given(w=st.integers(1, 20), seed=st.integers(0, 999), scale=st.floats(-60, 60))
def test_the_nearest_wins(w, seed, scale):
    d = rand(1, 1, 1, w, seed=seed)
    shift = shift_columns(d, scale, w).flatten().tolist()
    out, mask = warp(d, d, scale)
    for target in range(w):
        sources = [d[0, 0, 0, c].item() for c in range(w) if c + shift[c] == target]
        assert mask[0, 0, 0, target].item() == bool(sources)
        if sources:
            assert out[0, 0, 0, target].item() == max(sources)


# signs and whole shifts
point = torch.tensor([[[[1.0, 2, 3, 4, 5]]]]), torch.tensor([[[[0.0, 0, 0, 1, 0]]]])


@both_ways
@pytest.mark.parametrize(
    'scale,want', [(-40, [1, 4, 3, 0, 5]), (40, [1, 2, 3, 0, 5]), (20, [1, 2, 3, 0, 4])]
)
def test_sign_is_pinned(f, scale, want):
    out, mask = f(*point, scale)
    assert out.flatten().tolist() == want
    assert mask.flatten().tolist() == [v != 0 for v in want]


@both_ways
def test_rows_never_move(f):
    x, d = point
    assert f(x.mT, d.mT, -40)[0].flatten().tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize('w,scale', [(8, -100), (8, 100), (1, -100), (1, 100)])
def test_the_whole_picture_leaves(w, scale):
    out, mask = warp(rand(2, 3, 4, w) + 1, torch.ones(2, 1, 4, w), scale)
    assert out.eq(0).all() and not mask.any()
    assert border_columns(mask, scale).all()


@pytest.mark.parametrize('scale', [-30, 30])
def test_a_flat_wall_moves_as_one(scale):
    x = rand(2, 3, 4, 10)
    out, mask = warp(x, torch.ones(2, 1, 4, 10), scale)
    to_right = scale > 0
    assert torch.equal(
        out[..., 3:] if to_right else out[..., :7], x[..., :7] if to_right else x[..., 3:]
    )
    assert mask.sum(-1).eq(7).all()


@pytest.mark.parametrize('scale', [-30, 30])
def test_a_flat_wall_empties_one_border(scale):
    _, mask = warp(rand(2, 3, 4, 10), torch.ones(2, 1, 4, 10), scale)
    border = border_columns(mask, scale)
    assert (border[..., :3] if scale > 0 else border[..., 7:]).all()
    assert torch.equal(border, ~mask)
    assert not border_columns(mask, -scale).any()


def test_no_shift_no_change():
    x, d = rand(1, 3, 4, 9), rand(1, 1, 4, 9)
    for scale, disparity in ((0, d), (-8, d * 0), (5, d)):  # 5 % of 9 columns is less than one
        out, mask = warp(x, disparity, scale)
        assert torch.equal(out, x) and mask.all()


def test_true_zeros_are_no_holes():
    out, mask = warp(torch.zeros(1, 2, 3, 10), rand(1, 1, 3, 10), -40)
    assert out.eq(0).all()
    assert mask.any() and not mask.all()


def test_not_a_number_moves_like_any_other():
    x = torch.tensor([[[[1.0, math.nan, math.inf, 4.0]]]])
    d = torch.tensor([[[[0.0, 0, 0, 1]]]])
    out, _ = warp(x, d, -25)
    assert_same(out, warp_loops(x, d, -25)[0])
    assert out[0, 0, 0, 1].isnan() and out[0, 0, 0, 2] == 4 and out[0, 0, 0, 3] == 0


# what is handed in
def test_layout_in_memory_does_not_matter():
    x, d = rand(2, 3, 5, 8), rand(2, 1, 5, 8)
    want = warp(x, d, -30)
    layouts = (
        (x.to(memory_format=torch.channels_last), d),
        (x.mT.contiguous().mT, d.mT.contiguous().mT),
        (torch.stack([x, x], -1)[..., 0], d.expand(2, 1, 5, 8)),
    )
    for f in (warp, warp_loops):
        for y, e in layouts:
            for a, b in zip(want, f(y, e, -30)):
                assert torch.equal(a, b)


@both_ways
def test_nothing_is_written_into_the_input(f):
    x, d = rand(2, 3, 5, 8), rand(2, 1, 5, 8)
    before = x.clone(), d.clone()
    f(x, d, -30)
    assert torch.equal(x, before[0]) and torch.equal(d, before[1])


def test_gradients_go_to_the_source():
    x = rand(1, 2, 3, 8).requires_grad_()
    out, mask = warp(x, rand(1, 1, 3, 8), -30)
    out.sum().backward()
    assert x.grad.sum() == mask.sum() * 2
    assert set(x.grad.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize('scale', [-30, 30])
@pytest.mark.parametrize('dtype', dtypes)
def test_video_is_its_frames(dtype, scale):
    z, d = (rand(2, 4, 3, 5, 8) * 200).to(dtype), rand(3, 5, 8)
    out, mask = warp_video(z, d, scale, 2.0)
    assert mask.shape == (2, 1, 3, 5, 8) and mask.dtype == torch.bool
    for t in range(3):
        frame, valid = warp(z[:, :, t], d[t].expand(2, 1, 5, 8), scale, 2.0)
        assert_same(out[:, :, t], frame)
        assert_same(mask[:, :, t], valid)


@pytest.mark.parametrize('scale', [-30, 30])
def test_a_map_warps_a_video(scale):
    z, d = rand(2, 4, 3, 5, 8), rand(3, 5, 8)
    source, mask = warp_map(d, scale, 2.0)
    assert_same(warp_with(z, source, mask), warp_video(z, d, scale, 2.0)[0])


@both_ways
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
def test_shapes_that_do_not_fit(f, x, d):
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


@both_ways
@pytest.mark.parametrize(
    'change,words',
    [
        (dict(disparity=rand(1, 1, 3, 8) * math.nan), 'NaN'),
        (dict(disparity=rand(1, 1, 3, 8) - 2), 'negative'),
        (dict(scale=math.nan), 'scale'),
        (dict(exponent=0.0), 'exponent'),
        (dict(x=rand(1, 2, 3, 8).numpy()), 'tensors'),
    ],
)
def test_values_that_cannot_be_used(f, change, words):
    good = dict(x=rand(1, 2, 3, 8), disparity=rand(1, 1, 3, 8), scale=-4)
    with pytest.raises(InputError, match=words):
        f(**good | change)


def test_a_video_must_be_a_tensor():
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
    border = border_columns(mask, scale)
    assert border.shape == mask.shape and border.dtype == torch.bool
    for got, row in zip(border.view(-1, w).tolist(), mask.view(-1, w).tolist()):
        if scale < 0:
            got, row = got[::-1], row[::-1]
        run = row.index(True) if True in row else w
        assert got == [True] * run + [False] * (w - run)


def test_no_shift_has_no_border():
    assert not border_columns(torch.zeros(2, 3, dtype=torch.bool), 0.0).any()


@pytest.mark.parametrize('bad', [torch.zeros(2, 3), [[True]], torch.zeros(3, dtype=torch.bool)])
def test_border_needs_a_mask(bad):
    with pytest.raises(InputError, match='mask'):
        border_columns(bad, -4)


# the warp of one run
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('scale', [-20, 20, 0])
def test_warp_of_a_run_is_the_warp_of_its_resized_disparity(dtype, scale):
    disparity = rand(3, 20, 32)
    z = (rand(1, 4, 3, 5, 8) - 0.5).to(dtype)
    to_right = Warp(disparity, (5, 8), scale, 2.0)
    out, valid = warp_video(z, resize_disparity(disparity, (5, 8)), scale, 2.0)
    assert_same(to_right(z), out)
    assert_same(to_right.valid, valid)


@pytest.mark.parametrize('scale', [-20, 20])
def test_warp_of_a_run_names_its_holes_and_its_border(scale):
    to_right = Warp(rand(3, 20, 32), (5, 8), scale)
    assert to_right.valid.shape == (1, 1, 3, 5, 8) and to_right.scale == scale
    assert_same(to_right.holes, ~to_right.valid)
    assert_same(to_right.border, border_columns(to_right.valid, scale))
    z = to_right(torch.ones(1, 2, 3, 5, 8))
    assert z[to_right.holes.expand_as(z)].eq(0).all()
