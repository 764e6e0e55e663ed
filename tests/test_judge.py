"The judge's instruments: known values, limits, errors; the shipped judge on scenes it never saw."

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scz_nb.core import InputError, MissingDependency
from scz_nb.models.embedded import shipped_weights
from scz_nb.training import judge as J
from scz_nb.training.judge import (
    CORRUPTIONS,
    HEADS,
    SUBJECTS,
    accuracy,
    alter_labels,
    augment,
    corrupt,
    features,
    first_frame_psnr,
    flow_direction,
    labels,
    load_judge,
    motion_error,
    predict,
    prompt_adherence,
    save_judge,
    shipped_judge,
    subject_mask,
    train_judge,
    true_clips,
)
from scz_nb.world.scenes import WorldConfig, sample_scene


@pytest.fixture(scope='module')
def world():
    return true_clips(160, 30_000)


@pytest.fixture(scope='module')
def shipped():
    return load_judge()


def moving_square(dx=2, T=6, H=40, W=64):
    """A textured square that moves `dx` pixels a frame over a still textured ground.

    The clip, where the square is at first, and the same as (top, bottom, left, right)."""
    g = np.random.default_rng(0)

    def smooth(h, w):
        return np.kron(g.random((h // 4, w // 4, 3)), np.ones((4, 4, 1)))

    ground = 0.6 * smooth(H, W)
    thing = 0.4 + 0.6 * smooth(16, 16)
    x0 = 24 - dx * T // 2
    v = np.stack([ground] * T)
    for t in range(T):
        v[t, 12:28, x0 + dx * t : x0 + dx * t + 16] = thing
    mask = np.zeros((H, W), bool)
    mask[12:28, x0 : x0 + 16] = True
    return v.astype(np.float32), mask, (12, 28, x0, x0 + 16)


# the first frame
def test_first_frame_psnr():
    pictures = torch.full((3, 4, 6, 3), 0.3)
    videos = pictures[:, None].repeat(1, 5, 1, 1, 1)
    videos[0, 1:] = 1  # later frames count nothing
    videos[1] += 0.1
    videos[2, 0] += 0.01
    want = pytest.approx([math.inf, 20, 40], abs=1e-3)
    assert first_frame_psnr(videos, pictures).tolist() == want
    with pytest.raises(InputError):
        first_frame_psnr(videos, pictures[:, :2])


# flow
def test_flow_direction_in_pixels():
    v, mask, box = moving_square(dx=2)
    assert flow_direction(v, mask) == pytest.approx(10, abs=1.5)
    assert flow_direction(v, box) == flow_direction(v, mask)
    assert flow_direction(np.stack([v[0]] * 6), mask) == 0


def test_flow_direction_turns_with_the_mirror():
    v, mask, _ = moving_square(dx=2)
    mirrored = flow_direction(v[:, :, ::-1], mask[:, ::-1])
    assert mirrored == pytest.approx(-flow_direction(v, mask), abs=0.3)


def test_flow_direction_while_the_camera_pans():
    "All drifts; the difference stays."
    v, mask, _ = moving_square(dx=2)
    pan = np.stack([np.roll(f, 3 * t, 1) for t, f in enumerate(v)])
    assert flow_direction(pan, mask) == pytest.approx(10, abs=2.5)


def test_motion_error():
    v, mask, _ = moving_square(dx=2)
    truth = np.zeros((5, 40, 64, 2), np.float32)
    for t in range(5):
        truth[t, 12:28, 18 + 2 * t : 34 + 2 * t, 0] = 2
    still = motion_error(np.stack([v[0]] * 6), truth)
    assert still == pytest.approx(np.abs(truth[..., 0]).mean(), abs=1e-6)
    moving = motion_error(np.stack([v[0]] * 6), truth, truth[..., 0] > 0)
    assert moving == pytest.approx(2)
    assert motion_error(v, truth) < 0.6 * still < 0.6 * motion_error(v[::-1], truth)
    assert motion_error(v, v) == 0


def test_motion_error_of_nothing():
    v, _, _ = moving_square()
    truth = np.zeros((5, 40, 64, 2), np.float32)
    assert math.isnan(motion_error(v, truth, np.zeros((40, 64), bool)))
    with pytest.raises(InputError):
        motion_error(v, truth[1:])


@pytest.mark.parametrize('how', ['empty', 'full', 'another size'])
def test_wrong_masks_are_named(how):
    v, mask, _ = moving_square()
    bad = {'empty': mask & ~mask, 'full': mask | ~mask, 'another size': mask[1:]}
    with pytest.raises(InputError, match='mask'):
        flow_direction(v, bad[how])


# labels and corruptions
def test_labels_are_those_of_the_subject(world):
    _, scenes = world
    truth = labels(scenes)
    names = {-1: 'left', 0: 'none', 1: 'right'}
    for i, s in enumerate(scenes[:20]):
        t = s.things[s.subject]
        assert HEADS['direction'][truth['direction'][i]] == names[t.direction]
        assert HEADS['colour'][truth['colour'][i]] == t.colour
        assert SUBJECTS[truth['kind'][i]] == t.kind
    assert truth.keys() == {*HEADS, 'kind'}
    for classes in truth.values():
        assert classes.shape == (160,) and classes.dtype == torch.int64


def test_held_out_scenes_begin_at_10000():
    videos, scenes = true_clips(2)
    assert videos.shape == (2, 8, 40, 64, 3)
    for i, scene in enumerate(scenes):
        assert scene == sample_scene(torch.Generator().manual_seed(10_000 + i), WorldConfig())


def test_subject_mask(world):
    _, scenes = world
    masks = [subject_mask(s) for s in scenes[:12]]
    for m in masks:
        assert m.shape == (40, 64) and m.mean() < 0.6
    assert sum(m.any() for m in masks) >= 11


@pytest.mark.parametrize('how', CORRUPTIONS)
def test_corruptions_are_videos(world, how):
    v = world[0][:4]
    out = corrupt(v, how)
    assert out.shape == v.shape
    assert 0 <= out.min() and out.max() <= 1


def test_corruptions_break_one_thing(world):
    v = world[0][:4]
    assert torch.equal(corrupt(v, 'reversed').flip(1), v)
    assert (corrupt(v, 'frozen') == v[:, :1]).all()
    assert torch.equal(corrupt(v, 'noisy'), corrupt(v, 'noisy'))


def test_corruptions_of_detail(world):
    def detail(x):
        return x.diff(dim=3).abs().mean()

    v = world[0][:4]
    assert detail(corrupt(v, 'blurred')) < detail(v) < detail(corrupt(v, 'noisy'))


def test_unknown_corruptions_are_named(world):
    with pytest.raises(InputError, match='burned'):
        corrupt(world[0][:4], 'burned')


@pytest.mark.parametrize(
    'how, direction, camera',
    [
        ('mirrored', [2, 1, 0, 0], [2, 3, 0, -100]),
        ('reversed', [2, 1, 0, 0], [2, -100, 0, -100]),
        ('frozen', [1, 1, 1, 1], [0, 0, 0, 0]),
    ],
)
def test_alterations_change_labels(how, direction, camera):
    truth = dict(direction=torch.tensor([0, 1, 2, 2]), camera=torch.tensor([1, 3, 0, -100]))
    altered = alter_labels(truth, torch.tensor([True] * 4), how)
    assert altered['direction'].tolist() == direction
    assert altered['camera'].tolist() == camera
    last = alter_labels(truth, torch.tensor([False] * 3 + [True]), how)
    assert last['direction'].tolist() == [0, 1, 2, direction[3]]
    assert truth['direction'].tolist() == [0, 1, 2, 2]


def test_augment_leaves_its_input(world):
    v = world[0][:8]
    before = v.clone()
    truth = labels(world[1][:8])
    a, b = (augment(v, truth, torch.Generator().manual_seed(4))[0] for _ in range(2))
    assert torch.equal(v, before)
    assert torch.equal(a, b)
    assert a.shape == v.shape and not torch.equal(a, v)


# the network
@pytest.mark.parametrize('shape', [(1, 3, 20, 32, 3), (2, 16, 80, 128, 3), (1, 1, 40, 64, 3)])
def test_other_sizes(shipped, shape):
    logits = shipped(torch.rand(shape))
    want = {name: (shape[0], len(classes)) for name, classes in HEADS.items()}
    assert {name: tuple(x.shape) for name, x in logits.items()} == want


def test_an_enlarged_clip_is_the_same_clip(shipped, world):
    v = world[0][:64]
    frames = F.interpolate(v.flatten(0, 1).permute(0, 3, 1, 2), scale_factor=2.0)
    large = frames.permute(0, 2, 3, 1).unflatten(0, (64, 8))
    a, b = (shipped(x)['time'].argmax(1) for x in (v, large))
    assert (a == b).float().mean() > 0.9


@pytest.mark.parametrize('shape', [(8, 40, 64, 3), (1, 8, 3, 40, 64), (0, 8, 40, 64, 3)])
def test_what_is_no_video_is_named(shipped, shape):
    with pytest.raises(InputError, match='videos'):
        shipped(torch.rand(shape))


def test_videos_in_batches(shipped, world):
    v = world[0][:5]
    f = features(shipped, v, batch=2)
    assert f.shape == (5, 96)
    torch.testing.assert_close(f, features(shipped, list(v)), atol=1e-4, rtol=1e-4)
    place, again = (predict(shipped, x, batch=n)['place'] for x, n in ((v, 2), (list(v), 64)))
    torch.testing.assert_close(place, again, atol=1e-4, rtol=1e-4)


def test_the_kind_of_the_subject_decides_on_its_attributes_alone(shipped, world):
    v, scenes = world[0][:5], world[1][:5]
    without, given = predict(shipped, v), predict(shipped, v, scenes)
    assert not torch.allclose(without['colour'], given['colour'])
    torch.testing.assert_close(without['place'], given['place'], atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError):
        predict(shipped, v, scenes[:4])


def test_same_seed_same_weights():
    state = torch.get_rng_state()
    a, b, c = (
        train_judge(max_steps=3, batch=8, seed=s, progress=False).state_dict() for s in (1, 1, 2)
    )
    for name in a:
        assert torch.equal(a[name], b[name])
    assert not torch.equal(a['join.0.weight'], c['join.0.weight'])
    assert torch.equal(state, torch.get_rng_state())


# files
def test_weights_round_trip(tmp_path):
    judge = train_judge(max_steps=1, batch=4, progress=False)
    save_judge(judge, tmp_path / 'j.safetensors', steps='1')
    back = load_judge(tmp_path / 'j.safetensors')
    assert [p.name for p in tmp_path.iterdir()] == ['j.safetensors']
    assert back.config == judge.config and not back.training
    weights = back.state_dict()
    for k, a in judge.state_dict().items():
        torch.testing.assert_close(a.float(), weights[k].float(), atol=1e-5, rtol=1e-3, msg=k)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(MissingDependency, match='none.safetensors'):
        load_judge(tmp_path / 'none.safetensors')


@pytest.mark.parametrize('how', ['no weights', 'cut in half', 'another network'])
def test_bad_weights_are_named(tmp_path, how):
    whole = shipped_judge().read_bytes()
    bad = {
        'no weights': b'no judge',
        'cut in half': whole[: len(whole) // 2],
        'another network': shipped_weights().read_bytes(),
    }
    (tmp_path / 'bad.safetensors').write_bytes(bad[how])
    with pytest.raises(InputError, match='bad.safetensors'):
        load_judge(tmp_path / 'bad.safetensors')


def test_other_classes_are_named(monkeypatch):
    monkeypatch.setattr(J, 'HEADS', {**HEADS, 'time': ('day', 'noon')})
    with pytest.raises(InputError, match='train it anew'):
        load_judge()


# the shipped judge
def test_shipped_file_is_small():
    assert shipped_judge().stat().st_size < 1e6


def test_shipped_judge_reaches_its_floor(shipped, world):
    rates = accuracy(shipped, *world)
    assert rates['time'].share > 0.9
    assert rates['direction'].share > 0.85
    assert rates['colour'].share > 0.7
    assert rates['place'].share > 0.7


def test_shipped_judge_reads_motion_not_facing(shipped, world):
    videos, scenes = world

    def direction(v):
        return prompt_adherence(shipped, v, scenes)['direction']

    assert direction(videos).share > 0.85
    assert direction(videos).chance == 0.5
    assert direction(videos.flip(1)).share < 0.25
    assert direction(videos.flip(3)).share < 0.25
    assert direction(corrupt(videos, 'frozen')).low < 0.6


def test_videos_and_scenes_must_be_as_many(shipped, world):
    videos, scenes = world
    with pytest.raises(InputError):
        prompt_adherence(shipped, videos[:3], scenes)
