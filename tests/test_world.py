"TinyWorld: its words, its records, and what both eyes see."

import hashlib
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from scz_nb.core import InputError
from scz_nb.world.render import (
    EDGES,
    Lens,
    paint_view,
    render,
    sample_clips,
    thing_mask,
    true_flow,
)
from scz_nb.world.scenes import (
    KINDS,
    PLACES,
    THIN,
    TIMES,
    VERBS,
    VOCABULARY,
    Dice,
    Scene,
    Thing,
    WorldConfig,
    counterfactual,
    sample_scene,
    swap_sides,
)
from scz_nb.world.things import DRAW, Pen, Points, photographs

small = WorldConfig(width=32, height=20, frames=3)


@pytest.fixture(scope='module')
def scenes():
    return [sample_scene(seed, WorldConfig(complexity='any')) for seed in range(60)]


@pytest.fixture(scope='module')
def pairs(scenes):
    "Scenes that have a counterfactual, and that."
    return [(s, counterfactual(s)) for s in scenes if counterfactual(s)]


# words
def test_the_trained_weights_know_these_words_in_this_order():
    digest = hashlib.sha256(' '.join(VOCABULARY).encode()).hexdigest()
    assert (len(VOCABULARY), digest[:16]) == (86, '3d760ee75f4faf38')


def test_captions_say_nothing_else(scenes):
    for s in scenes:
        assert set(s.caption.replace(',', '').split()) <= set(VOCABULARY)


def test_sides_are_swapped():
    caption = 'a car drives left by a forest, the camera pans right'
    assert swap_sides(caption) == 'a car drives right by a forest, the camera pans left'


def test_only_the_first_sides_are_swapped():
    assert swap_sides('left left right', count=1) == 'right left right'


# records
def test_kinds_do_what_verbs_say():
    for kind in KINDS.values():
        assert set(kind.verbs.split()) <= set(VERBS)


@pytest.mark.parametrize('place', PLACES)
def test_inhabitants_are_kinds(place):
    place = PLACES[place]
    assert set(f'{place.kinds} {place.more}'.split()) <= set(KINDS)


@pytest.mark.parametrize('place', PLACES)
def test_backdrops_have_an_edge(place):
    for layer in PLACES[place].layers:
        assert {layer.kind, layer.other or layer.kind} <= set(EDGES)


def test_all_kinds_are_drawn():
    assert set(DRAW) == set(KINDS)


def test_something_thin_lives_in_every_complex_place():
    for place in PLACES.values():
        assert set(f'{place.kinds} {place.more}'.split()) & set(THIN)


@pytest.mark.parametrize('part', ['scene', 'thing', 'config'])
def test_records_are_frozen(part, scenes):
    record = dict(scene=scenes[0], thing=scenes[0].things[0], config=small)[part]
    with pytest.raises(FrozenInstanceError):
        record.x = 1


def test_unknown_complexity():
    with pytest.raises(InputError, match='complexity'):
        WorldConfig(complexity='hard')


# chance
def test_a_seed_is_short_for_a_new_generator():
    assert sample_scene(4) == sample_scene(torch.Generator().manual_seed(4))


def test_a_generator_goes_on():
    generator = torch.Generator().manual_seed(4)
    assert sample_scene(generator) != sample_scene(generator)


def test_the_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    render(sample_scene(0, WorldConfig(complexity='complex')), small)
    assert torch.equal(state, torch.get_rng_state())


def test_dice_stay_in_their_range():
    dice = Dice(0)
    assert all(2 <= dice(2, 3) <= 3 for _ in range(100))


def test_dice_pick_each_option():
    dice = Dice(0)
    assert {dice.pick('abc') for _ in range(50)} == {'a', 'b', 'c'}


# counterfactuals
def test_some_scenes_have_a_counterfactual(pairs):
    assert 20 < len(pairs) < 60


def test_there_is_none_where_nothing_goes_sideways(scenes):
    for s in scenes:
        if counterfactual(s) is None:
            assert s.things[s.subject].direction == 0
            assert s.camera not in ('left', 'right')


def test_its_counterfactual_is_the_scene(pairs):
    for scene, other in pairs:
        assert counterfactual(other) == scene


def test_it_differs_in_things_camera_and_caption_only(pairs):
    for scene, other in pairs:
        back = replace(other, things=scene.things, caption=scene.caption, camera=scene.camera)
        assert back == scene


def test_one_word_of_the_caption_differs(pairs):
    for scene, other in pairs:
        words = zip(scene.caption.split(), other.caption.split())
        assert sum(a != b for a, b in words) == 1


def test_the_pictures_differ_where_the_subject_goes(pairs):
    "The ball alone, seen from its other side, then where it rolls."
    balls = [p for p in pairs if p[0].things[p[0].subject].kind == 'ball']
    scene, other = next(p for p in balls if p[0].things[p[0].subject].direction)
    a, b = (render(s, right=False).left for s in (scene, other))
    first, last = ((a[i] != b[i]).any(-1).float().mean() for i in (0, -1))
    assert first < 0.1 < 2 * last
    assert first < last


# shapes
shapes = dict(
    disc=lambda at: at.disc(0.1, 0, 0.2),
    oval=lambda at: at.oval(0.1, 0, 0.3, 0.2),
    rect=lambda at: at.rect(0.1, 0, 0.3, 0.2, 0.05),
    polygon=lambda at: at.polygon((0.1, -0.2), (0.3, 0.2), (-0.1, 0.2)),
    stroke=lambda at: at.stroke((0.0, 0.0), (0.2, 0.0), 0.1),
)


@pytest.mark.parametrize('name', shapes)
def test_a_shape_is_negative_inside_and_positive_outside(name):
    at = Points(torch.tensor([0.1, 0.9]), torch.tensor([0.0, 0.0]))
    inside, outside = shapes[name](at)
    assert inside < 0 < outside


@pytest.mark.parametrize('name', ['disc', 'rect', 'polygon', 'stroke'])
def test_a_signed_distance_is_a_distance(name):
    "Going straight away from a shape by 0.1 adds 0.1."
    at = Points(torch.tensor([0.1, 0.1]), torch.tensor([0.5, 0.6]))
    near, far = shapes[name](at)
    torch.testing.assert_close(far - near, torch.tensor(0.1))


@pytest.mark.parametrize('kind', KINDS)
def test_a_thing_is_mostly_opaque_and_leaves_room(kind):
    line = torch.linspace(-0.55, 0.55, 48)
    at = Points(line.view(1, 1, 1, -1), line.view(1, 1, -1, 1))
    zero = torch.zeros(1, 1, 1, 1)
    pen = Pen(at, zero + 1 / 48, Thing(kind, 'red', 0.5, 0, 0), 'day', zero, zero)
    DRAW[kind](pen, at)
    assert 0 <= pen.alpha.min() and 0.95 < pen.alpha.max() <= 1.0001
    assert 0.04 < pen.alpha.mean() < 0.95
    assert not pen.alpha[..., [0, -1], :].any()


def test_photographs_are_halved_down_to_a_few_pixels():
    for levels in photographs():
        widths = [level.shape[-1] for level in levels]
        assert widths == [widths[0] // 2**k for k in range(len(levels))]
        assert min(levels[-1].shape[-2:]) <= 16


# both eyes
def test_shapes_and_types_of_a_clip():
    clip = render(sample_scene(0), small)
    for view in (clip.left, clip.right):
        assert view.shape == (3, 20, 32, 3) and view.dtype == torch.float32
    for disparity in (clip.disparity, clip.right_disparity):
        assert disparity.shape == (3, 20, 32) and disparity.dtype == torch.float32
    assert clip.visible.shape == (3, 20, 32) and clip.visible.dtype == torch.bool


def test_a_clip_of_one_view_has_no_right_one():
    clip = render(sample_scene(0), small, right=False)
    assert clip.right is clip.right_disparity is clip.visible is None


def test_without_a_baseline_both_eyes_see_the_same():
    clip = render(sample_scene(0), replace(small, baseline=0.0))
    assert torch.equal(clip.left, clip.right)
    assert clip.visible.all()


def test_all_values_are_in_range(scenes):
    for s in scenes[:20]:
        clip = render(s, small)
        for x in (clip.left, clip.right, clip.disparity, clip.right_disparity):
            assert 0 <= x.min() and x.max() <= 1


def test_a_thing_is_shifted_to_the_left():
    "By its disparity times baseline times width."
    ball = Thing('ball', 'red', disparity=0.7, x=0.1, y=0.45)
    cfg = WorldConfig(width=96, height=48, frames=1, baseline=0.1)
    views = [paint_view(Lens(Scene('sea', 'day', things=(ball,)), cfg, eye)) for eye in (0, 1)]
    masks = [(v.disparity[0, 0] - 0.7).abs() < 1e-4 for v in views]
    left, right = (m.nonzero()[:, 1].float().mean() for m in masks)
    samples = cfg.supersample * 0.1 * 96 * 0.7
    torch.testing.assert_close(right - left, torch.tensor(-samples), atol=0.3, rtol=0)


def test_what_is_outside_the_picture_is_not_painted():
    beside = Thing('house', 'red', disparity=0.5, x=2.0, y=0.5)
    scene = Scene('photo', 'day')
    there = render(replace(scene, things=(beside,)), small)
    assert torch.equal(there.left, render(scene, small).left)


def test_clips_are_their_scenes():
    (clip,) = sample_clips(1, 5, small)
    assert torch.equal(clip.left, render(sample_scene(5, small), small).left)


# flow
def test_nothing_moves_in_a_still_scene():
    scene = replace(sample_scene(3), things=(), camera='', weather='')
    flow = true_flow(scene, render(scene, small, right=False), small)
    assert flow.abs().max() < 1e-4


@pytest.mark.parametrize('direction', [-1, 1])
def test_a_thing_moves_as_far_as_its_verb_says(direction):
    box = Thing('box', 'red', 0.6, x=0.0, y=0.6, verb='slides', direction=direction)
    scene = Scene('desert', 'day', things=(box,))
    cfg = WorldConfig(frames=3, complexity='simple')
    clip = render(scene, cfg, right=False)
    flow = true_flow(scene, clip, cfg)
    on_box = (clip.disparity[0] - 0.6).abs() < 1e-4
    expected = direction * VERBS['slides'].sideways * cfg.width / 2
    assert flow[0][on_box].median(0).values.tolist() == pytest.approx([expected, 0], abs=1e-3)


def moving_box(frames=5):
    "A box that slides to the right, its world, and its clip."
    box = Thing('box', 'red', 0.6, x=0.0, y=0.6, verb='slides', direction=1)
    scene = Scene('desert', 'day', things=(box,), camera='closer')
    cfg = WorldConfig(frames=frames, complexity='simple')
    return scene, cfg, render(scene, cfg, right=False)


def test_motion_from_the_first_frame_ends_where_the_steps_lead():
    scene, cfg, clip = moving_box()
    steps = true_flow(scene, clip, cfg)
    since_first = true_flow(scene, clip, cfg, since='first')
    torch.testing.assert_close(since_first[0], steps[0])
    y, x = 24, 34  # on the box; each step is read where the last one has led
    there = torch.tensor([float(x), float(y)])
    for t in range(4):
        col, row = there.round().long().tolist()
        there = there + steps[t, row, col]
    torch.testing.assert_close(since_first[3, y, x], there - torch.tensor([x, y]), atol=0.2, rtol=0)


def test_another_start_of_motion_is_refused():
    scene, cfg, clip = moving_box(2)
    with pytest.raises(InputError, match='since'):
        true_flow(scene, clip, cfg, since='last')


def test_a_thing_is_where_its_disparity_says():
    scene, cfg, clip = moving_box()
    mask = thing_mask(scene, clip, 0, cfg)
    red = (clip.left[..., 0] - clip.left[..., 2]) > 0.25
    assert mask.shape == clip.disparity.shape
    assert (mask & red).sum() > 0.9 * mask.sum()
    centres = [m.nonzero()[:, 1].float().mean() for m in mask]
    assert all(b > a for a, b in zip(centres, centres[1:]))


@pytest.mark.parametrize('time', TIMES)
def test_night_is_darker_than_day(time):
    scene = Scene('meadow', time)
    day = replace(scene, time='day')
    mean, by_day = (render(s, small, right=False).left.mean() for s in (scene, day))
    assert mean <= by_day
