"Odd shapes and values for everything that draws."

import io
import re
from base64 import b64decode

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scz_nb.core import InputError
from scz_nb.media.show import (
    anaglyph,
    anaglyph_kinds,
    depth_colors,
    difference,
    frames_of,
    grid,
    latents_rgb,
    panels,
    picture,
    plot,
    show_kinds,
    strip,
    to_html,
    wiggle,
)
from scz_nb.media.video import StereoVideo

rng = np.random.default_rng(1)


def noise(*shape):
    return rng.integers(0, 256, shape, np.uint8)


@settings(deadline=None, max_examples=40)
@given(
    t=st.integers(1, 9),
    h=st.integers(1, 40),
    w=st.integers(1, 40),
    n=st.integers(1, 12),
    height=st.integers(1, 50),
    smooth=st.booleans(),
)
def test_strip_has_its_size(t, h, w, n, height, smooth):
    img = strip(noise(t, h, w, 3), n=n, height=height, smooth=smooth)
    cell = w if h == height else max(1, round(w * height / h))
    k = min(n, t)
    assert img.size == (k * cell + 2 * (k - 1), height)


def test_strip_shows_first_and_last():
    v = np.zeros((7, 4, 4, 3), np.uint8)
    v[0] = 10
    v[-1] = 250
    a = np.asarray(strip(v, n=3, height=4))
    assert a[0, 0, 0] == 10 and a[0, -1, 0] == 250


def test_notebooks_keep_the_jpeg():
    img = picture(noise(20, 30, 3), height=40)
    assert img.size == (60, 40)
    assert img._repr_png_() is None
    assert img._repr_jpeg_()[:2] == b'\xff\xd8'


def test_a_large_picture_becomes_a_small_jpeg():
    x, y = np.meshgrid(np.arange(1200), np.arange(900))
    busy = np.stack([x * y % 256, x % 256, y % 256], -1).astype(np.uint8)
    plain = io.BytesIO()
    Image.fromarray(busy).save(plain, 'jpeg')
    assert len(picture(busy)._repr_jpeg_()) < plain.tell()


def test_grid_takes_videos_lists_and_masks():
    img = grid(
        [noise(3, 8, 12, 3), [noise(8, 12, 3), noise(8, 12)], np.ones((3, 8, 12), bool)],
        ['a', 'longer', 'c'],
        n=3,
        height=16,
    )
    assert img.height == 3 * 16 + 2 * 2
    with pytest.raises(InputError):
        grid([noise(3, 8, 12, 3)], ['a', 'b'])


@pytest.mark.parametrize(
    'bad',
    [
        np.zeros((2, 3, 4, 5)),
        np.zeros(3),
        np.zeros((0, 4, 4, 3)),
        np.full((4, 4), np.nan),
        np.zeros((4, 4, 3), np.int32),
        None,
    ],
)
def test_frames_of_refuses(bad):
    with pytest.raises(InputError):
        frames_of(bad)


@pytest.mark.parametrize('c', range(1, 9))
def test_latents_of_any_channels(c):
    z = torch.randn(c, 2, 5, 7, generator=torch.Generator().manual_seed(c))
    a = latents_rgb(z)
    assert a.shape == (2, 5, 7, 3)
    assert a.dtype == np.uint8
    assert a.std() > 10
    assert latents_rgb(z.bfloat16()).shape == a.shape


def test_latents_without_variation():
    assert latents_rgb(torch.ones(4, 5, 7)).shape == (5, 7, 3)
    with pytest.raises(InputError):
        latents_rgb(torch.full((4, 5, 7), float('nan')))
    with pytest.raises(InputError):
        latents_rgb(torch.ones(2, 4, 3, 5, 7, 1))


@pytest.mark.parametrize('kind', anaglyph_kinds)
def test_anaglyph_keeps_the_eyes_apart(kind):
    "A change in the right view must hardly reach the red channel, and the other way round."
    black, white = np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 255, np.uint8)
    left = anaglyph(white, black, kind)[0, 0].astype(int)
    right = anaglyph(black, white, kind)[0, 0].astype(int)
    assert left[0] >= 250 and left[1:].max() <= 10
    assert right[0] <= 10 and right[1:].min() >= 250


@pytest.mark.parametrize('kind', anaglyph_kinds)
def test_anaglyph_leaves_grey_grey(kind):
    on_left, on_right = map(np.array, anaglyph_kinds[kind])
    assert np.abs((on_left + on_right).sum(1) - 1).max() < 2e-3


def test_anaglyph_and_wiggle_refuse_unequal_views():
    for f in (anaglyph, wiggle, difference):
        with pytest.raises(InputError):
            f(noise(2, 4, 6, 3), noise(2, 6, 4, 3))
    with pytest.raises(InputError, match="'red-cyan'"):
        anaglyph(noise(4, 6, 3), noise(4, 6, 3), kind='red-cyam')


def test_depth_colours_rise():
    light = depth_colors(np.linspace(0, 1, 50)[None]).astype(int).sum(-1)[0]
    assert (np.diff(light) > 0).all()
    with pytest.raises(InputError):
        depth_colors(np.zeros((2, 2)), 'magna')


@pytest.mark.parametrize('shape', [(1, 5, 7, 3), (30, 96, 160, 3), (3, 200, 9, 3)])
def test_html_is_small(shape):
    out = to_html(noise(*shape), fps=6)
    img = Image.open(io.BytesIO(b64decode(re.search('base64,([^"]+)', out)[1])))
    assert len(out) < 100_000
    assert getattr(img, 'n_frames', 1) == shape[0]
    assert out._repr_html_() == out


@pytest.mark.parametrize('kind', show_kinds)
def test_every_kind_of_show(kind):
    left = noise(3, 16, 24, 3)
    assert '<img' in StereoVideo(left, np.roll(left, -1, 2), rng.random((3, 16, 24))).show(kind)


def test_disparity_that_is_not_there_is_not_shown():
    left = noise(3, 16, 24, 3)
    with pytest.raises(InputError):
        StereoVideo(left, left).show('disparity')


def test_plot_names_its_curves():
    ax = panels(2)[1]
    plot({'a': [1, 2, 3], 'b': ([0, 1], [2, 3]), '_c': [0, 0]}, 'x', 'y', ax=ax, xlim=(0, 2))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ['a', 'b']
    assert ax.get_xlabel() == 'x' and ax.get_xlim() == (0, 2) and len(ax.lines) == 3
