"Settings, windows, noise, files and the stereo video, beyond what the notebooks show."

import json
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scz_nb.config import StereoConfig
from scz_nb.core import (
    InputError,
    NoiseSource,
    SczError,
    as_pair,
    as_video,
    atomic_write,
    first_line,
    in_windows,
    to_uint8,
    windows,
)
from scz_nb.media.video import StereoVideo


def test_defaults_are_those_of_the_method():
    c = StereoConfig()
    assert (c.steps, c.eta, c.guidance, c.scale, c.dissolve) == (50, 1.0, 7.5, 4.0, 30)
    assert (c.restart_iterations, c.restart_steps, c.restart_fill, c.border) == (7, 6, 'left', 1.0)
    assert sum(repeats for _, repeats in c.refine) == 53
    assert c.refine[0] == (6, 8)
    assert c.refine[-1] == (44, 4)
    assert c.cross_view == (0.0, 1.0)


@settings(deadline=None)
@given(
    steps=st.integers(1, 1000),
    eta=st.floats(0, 1),
    scale=st.floats(-100, 100),
    exponent=st.floats(0.01, 10),
    window=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    dissolve=st.integers(0, 50),
    plan=st.lists(st.tuples(st.integers(0, 49), st.integers(1, 100)), unique_by=lambda p: p[0]).map(
        sorted
    ),
)
def test_settings_survive_json(steps, eta, scale, exponent, window, dissolve, plan):
    c = StereoConfig.make(
        steps=steps,
        eta=eta,
        scale=scale,
        exponent=exponent,
        cross_view=window,
        dissolve=dissolve,
        refine=plan,
    )
    assert StereoConfig.make(**json.loads(json.dumps(c.asdict()))) == c
    assert hash(c) == hash(c.replace())


@pytest.mark.parametrize(
    'bad',
    [
        dict(steps=0),
        dict(steps=2.5),
        dict(steps=True),
        dict(steps='50'),
        dict(eta=1.1),
        dict(eta=None),
        dict(scale=101),
        dict(scale=float('inf')),
        dict(exponent=0),
        dict(cross_view=(0.8, 0.2)),
        dict(cross_view=0.5),
        dict(cross_view=(0, 1, 2)),
        dict(restart_fill='right'),
        dict(border=-0.1),
        dict(refine=((50, 1),)),
        dict(refine=((3, 0),)),
        dict(refine=((3, 1), (3, 2))),
        dict(refine=((3.5, 1),)),
        dict(refine=3),
        dict(refine_form='x1'),
        dict(dissolve=51),
        dict(frame_stride=0),
    ],
)
def test_bad_values_are_named(bad):
    name = next(iter(bad))
    with pytest.raises(InputError, match=f'^{name}='):
        StereoConfig.make(**bad)
    with pytest.raises(ValueError):
        StereoConfig(**bad)


def test_unknown_names_are_answered_with_known_ones():
    for f in (StereoConfig.make, StereoConfig().replace):
        with pytest.raises(InputError, match="'disolve'.*'dissolve'"):
            f(disolve=3)


@pytest.mark.parametrize(
    'old, new', [(dict(settled=0.1), "'tol'"), (dict(right='held'), "'inpaint'")]
)
def test_old_names_lead_to_new_ones(old, new):
    for f in (StereoConfig.make, StereoConfig().replace):
        with pytest.raises(InputError, match=f'is {new} now'):
            f(**old)


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        StereoConfig().steps = 3


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(-(2**70), 2**70), name=st.text(max_size=20), n=st.integers(0, 40))
def test_noise_depends_on_seed_and_name_alone(seed, name, n):
    torch.manual_seed(n)
    state = torch.get_rng_state()
    z = NoiseSource(seed).normal(name, (n, 3))
    assert torch.equal(z, NoiseSource(seed).normal(name, (n, 3)))
    assert torch.equal(state, torch.get_rng_state())
    assert z.shape == (n, 3)
    assert torch.isfinite(z).all()


def test_noise_is_pinned():
    "The seed of a published video must keep its meaning."
    z = NoiseSource(7).normal('ddim/3', (2, 5))[0]
    want = torch.tensor([0.7113, -1.2095, 0.1857, -0.4588, 0.9567])
    torch.testing.assert_close(z, want, atol=1e-4, rtol=0)


def test_noise_is_the_same_in_another_process():
    code = """from scz_nb.core import NoiseSource
print(NoiseSource(5).normal('a', (64,)).double().sum().item())"""
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert float(run.stdout) == NoiseSource(5).normal('a', (64,)).double().sum().item()


def test_noise_dtype_is_rounded_not_redrawn():
    n = NoiseSource(1)
    assert torch.equal(n.normal('x', (9,), dtype=torch.bfloat16), n.normal('x', (9,)).bfloat16())


@pytest.mark.parametrize('seed', [1.5, '3', None, True])
def test_seed_must_be_whole(seed):
    with pytest.raises(InputError):
        NoiseSource(seed)


def views(t=2, h=6, w=10):
    return np.zeros((t, h, w, 3), np.uint8), np.ones((t, h, w, 3), np.uint8)


def test_video_takes_tensors_and_floats():
    left, right = views()
    near = torch.ones(2, 6, 10, dtype=torch.float64)
    v = StereoVideo(torch.from_numpy(left), right / 255.0, near, fps=24)
    assert v.left.dtype == v.right.dtype == np.uint8
    assert v.disparity.dtype == np.float32
    assert (v.right == 1).all()
    assert v.anaglyph().shape == (2, 6, 10, 3)
    assert repr(v) == 'StereoVideo(2 frames of 10×6, 24 fps, with disparity)'


@pytest.mark.parametrize(
    'change',
    [
        dict(left=np.zeros((2, 10, 6, 3), np.uint8)),
        dict(left=np.zeros((6, 10, 3), np.uint8)),
        dict(left=np.zeros((0, 6, 10, 3), np.uint8)),
        dict(right=np.zeros((2, 6, 10, 4), np.uint8)),
        dict(right=np.full((2, 6, 10, 3), np.nan)),
        dict(right=np.zeros((2, 6, 10, 3), np.int64)),
        dict(disparity=np.zeros((2, 10, 6))),
        dict(disparity=np.full((2, 6, 10), 2.0)),
        dict(disparity=np.full((2, 6, 10), np.nan)),
        dict(fps=0),
        dict(fps=float('nan')),
        dict(fps='8'),
    ],
)
def test_video_refuses_what_does_not_fit(change):
    left, right = views()
    with pytest.raises(SczError):
        StereoVideo(**{'left': left, 'right': right, **change})


def test_to_uint8_rounds():
    assert to_uint8(np.arange(256) / 255).tolist() == list(range(256))


@pytest.mark.parametrize('shape', [(4, 6, 3), (2, 4, 6), (2, 4, 6, 4), (0, 4, 6, 3), (2, 0, 6, 3)])
def test_what_is_no_video_is_named(shape):
    with pytest.raises(InputError, match=rf'a video is .*; got {re.escape(str(shape))}'):
        as_video(np.zeros(shape))
    with pytest.raises(InputError):
        as_pair(np.zeros(shape), np.zeros(shape))


def test_a_pair_has_one_shape():
    with pytest.raises(InputError, match='one shape'):
        as_pair(np.zeros((2, 4, 6, 3)), np.zeros((2, 6, 4, 3)))


@pytest.mark.parametrize(
    'text, want',
    [
        ('one. two', 'one'),
        ('one\ntwo', 'one'),
        ('file.txt is bad:\n  x', 'file.txt is bad'),
        ('x' * 300, 'x' * 160),
        ('', 'ValueError'),
        (' \n', 'ValueError'),
    ],
)
def test_first_line(text, want):
    assert first_line(ValueError(text)) == want


# windows
@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 19), st.booleans())
def test_windows_cover_every_frame(frames, size, overlap, full):
    assume(overlap < size)
    ends = windows(frames, size, overlap, full)
    assert ends[0][0] == 0 and ends[-1][1] == frames
    assert all(0 < end - begin <= size for begin, end in ends)
    assert all(after[0] <= before[1] - overlap for before, after in pairwise(ends))
    assert all(after[1] > before[1] for before, after in pairwise(ends))


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 19))
def test_full_windows_have_one_size(frames, size, overlap):
    assume(overlap < size)
    sizes = {end - begin for begin, end in windows(frames, size, overlap, full=True)}
    assert sizes == {min(frames, size)}


@pytest.mark.parametrize('overlap', [-1, 4, 5])
def test_impossible_overlap(overlap):
    with pytest.raises(InputError, match='from 0 to 3'):
        windows(9, 4, overlap)


def test_windows_of_tensors_are_joined_as_tensors():
    x = torch.arange(11)
    assert torch.equal(in_windows(lambda v: 2 * v, 4, x), 2 * x)


# files
def test_each_call_writes_to_its_own_temporary_file(tmp_path):
    with atomic_write(tmp_path / 'a.txt') as one, atomic_write(tmp_path / 'a.txt') as two:
        assert one != two
        one.write_text('one')
        two.write_text('two')
    assert (tmp_path / 'a.txt').read_text() == 'one'
    assert [p.name for p in tmp_path.iterdir()] == ['a.txt']
