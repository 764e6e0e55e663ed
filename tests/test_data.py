"What a training step draws."

import numpy as np
import pytest
import torch
from helpers.models import small
from helpers.training import rand, some_batch, some_clips

from scz_nb.core import NoiseSource
from scz_nb.training.data import (
    RECIPES,
    Clips,
    Recipe,
    TrainingClip,
    clip_numbers,
    draw_given,
    forth_and_back,
    ping_pong,
)


def test_every_clip_is_used_once_without_replay():
    steps = [clip_numbers(k, Recipe(batch=4), rand()) for k in range(5)]
    assert sorted(i for _, numbers in steps for i in numbers) == list(range(20))


def test_every_clip_is_used_as_often_as_the_recipe_says():
    g = rand()
    recipe = Recipe(batch=8, replay=4)
    used = np.zeros(2 * 400 + 64)
    for k in range(400):
        _, numbers = clip_numbers(k, recipe, g)
        used[numbers] += 1
    assert abs(used[100:700].mean() - 4) < 0.1


@pytest.mark.parametrize('recipe', [*RECIPES.values(), Recipe(batch=8, replay=4)])
def test_a_step_draws_pairs_and_each_once(recipe):
    first, numbers = clip_numbers(7, recipe, rand())
    assert min(numbers) >= first
    assert len(set(numbers)) == len(numbers) == recipe.batch
    even, odd = np.array(numbers[::2]), np.array(numbers[1::2])
    assert (even % 2 == 0).all() and (odd == even + 1).all()


def test_clips_are_their_numbers():
    (a,) = some_clips().take(7, [7])
    (b,) = some_clips().take(0, [7])
    assert torch.equal(a.video, b.video)
    assert a[2:] == b[2:]
    assert a.video.dtype == torch.uint8
    (other,) = Clips(small, NoiseSource(0), 'video 1').take(0, [7])
    assert not torch.equal(a.video, other.video)


def test_clips_are_rendered_once_and_forgotten():
    clips = some_clips()
    (a,) = clips.take(7, [7])
    assert clips.take(7, [7])[0] is a
    clips.take(8, [8])
    assert set(clips.cache) == {8}


def test_all_strides_are_drawn():
    assert {some_clips().render(i).stride for i in range(30)} == {1, 2, 3}


def test_an_odd_number_is_the_counterfactual_of_the_number_before():
    "One word of the caption differs, and no more of the picture than the subject."
    clips = some_clips()
    pairs = 0
    for i in range(0, 40, 2):
        a, b = clips.render(i), clips.render(i + 1)
        said, other = a.caption.split(), b.caption.split()
        words = [(x, y) for x, y in zip(said, other) if x != y]
        if a.stride == b.stride and len(words) == 1 and said[:2] == other[:2]:
            pairs += 1
            assert {w.strip(',') for w in words[0]} == {'left', 'right'}
            assert not torch.equal(a.video, b.video)
    assert pairs >= 10


def test_ping_pong():
    t = torch.arange(8.0)
    clip = ping_pong(TrainingClip(t, t, 'a ball rolls left', 2))
    assert clip.video.tolist() == clip.disparity.tolist() == [0, 2, 4, 6, 6, 4, 2, 0]
    assert clip.caption == 'a ball rolls left and back' and clip.stride == 2


def test_draws_of_given_frames():
    given = draw_given(20_000, 8, rand())
    one, two = given.sum(1) == 1, given.sum(1) == 2
    first = given[:, 0] & one
    ends = given[:, 0] & given[:, 7] & two
    assert abs(first.float().mean() - 0.65) < 0.02
    assert abs(ends.float().mean() - 0.1) < 0.02
    assert abs((~given.any(1)).float().mean() - 0.2) < 0.02


def test_a_batch_holds_together():
    b = some_batch(40)
    assert b.video.shape == (40, 3, 16, 32, 3)
    assert 0 <= b.video.min() and 0.5 < b.video.max() <= 1
    assert b.stride.shape == (40,)
    assert '' in b.captions


def test_ping_pong_clips_are_given_both_ends():
    b = some_batch(40)
    back = [i for i, caption in enumerate(b.captions) if caption.endswith('and back')]
    assert back
    for i in back:
        assert b.given[i].tolist() == [True, False, True]
        assert torch.equal(b.video[i, 0], b.video[i, 2])


def test_two_fifths_of_the_video_networks_clips_are_told_by_pixels():
    b = some_batch(200, pixels=True)
    assert 0.3 < b.by_pixel.float().mean() < 0.5
    assert len(b.filled) == len(b.known) == b.by_pixel.sum()
    assert b.known.shape == b.filled.shape[:-1] == b.video[b.by_pixel].shape[:-1]
    assert not some_batch(40).by_pixel.any()


def test_forth_and_back_loses_what_is_right_of_a_near_thing():
    "Of the far plane, as many columns as the thing shifts more than it; and the right edge."
    disparity = np.full((1, 4, 40), 0.25)  # one column
    disparity[..., 10:20] = 0.75  # three
    video = np.random.default_rng(0).integers(0, 256, (1, 4, 40, 3), dtype=np.uint8)
    filled, visible = forth_and_back(video, disparity, 10)
    assert np.flatnonzero(~visible[0, 0]).tolist() == [20, 21, 39]
    assert (filled[visible] == video[visible]).all()
    assert (filled[:, :, 20:22] == video[:, :, 22:23]).all()  # filled from the far side
    same, everything = forth_and_back(video, 0 * disparity, 10)
    assert (same == video).all() and everything.all()


def test_motion_starts_at_the_first_frame():
    clip = some_clips(motion=True).render(0)
    assert (clip.shift[0] == 0).all() and clip.shift.shape == (3, 16, 32, 2)
    assert torch.equal(ping_pong(clip).shift[2], clip.shift[0])
    assert some_clips().render(0).shift is None


def test_easy_clips_have_one_thing_that_moves():
    clips = some_clips(easy=True)
    scenes = [clips.draw(torch.Generator().manual_seed(i), small.world) for i in range(20)]
    for s in scenes:
        assert len(s.things) == 1 and s.things[0].direction and not s.complex
    assert len({s.caption for s in scenes}) > 10
    assert some_batch(2, easy=True).easy
