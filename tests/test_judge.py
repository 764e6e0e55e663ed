"The judge's instruments: known values, limits, errors; and the shipped judge reaches its floor on scenes it never saw."

import math

import numpy as np
import pytest
import torch

from scz_nb.core import InputError, MissingDependency
from scz_nb.geometry.flow import video_flow
from scz_nb.stats import bootstrap, frechet, wilson
from scz_nb.training import judge as J
from scz_nb.training.judge import (
    CORRUPTIONS,
    HEADS,
    SUBJECTS,
    accuracy,
    augment,
    corrupt,
    first_frame_psnr,
    flow_direction,
    labels,
    load_judge,
    look,
    motion_error,
    prompt_adherence,
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
    "A textured square that moves `dx` pixels a frame over a still textured ground, and where it is at first."
    g = np.random.default_rng(0)
    smooth = lambda h, w: np.kron(g.random((h // 4, w // 4, 3)), np.ones((4, 4, 1)))
    ground, thing, x0 = 0.6 * smooth(H, W), 0.4 + 0.6 * smooth(16, 16), 24 - dx * T // 2
    v = np.stack([ground] * T)
    for t in range(T):
        v[t, 12:28, x0 + dx * t : x0 + dx * t + 16] = thing
    mask = np.zeros((H, W), bool)
    mask[12:28, x0 : x0 + 16] = True
    return v.astype(np.float32), mask, (12, 28, x0, x0 + 16)


# known values
def test_wilson():
    for (k, n), want in {
        (0, 10): (0, 0.2775),
        (10, 10): (0.7225, 1),
        (5, 10): (0.2366, 0.7634),
        (85, 100): (0.7672, 0.9069),
        (1, 20): (0.0089, 0.2361),
    }.items():
        assert wilson(k, n) == pytest.approx(want, abs=1e-3)
    assert wilson(0, 0) == (0, 1)
    for k, n in ((-1, 4), (5, 4)):
        with pytest.raises(InputError):
            wilson(k, n)


def test_frechet_of_equal_sets_is_zero():
    a = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    assert frechet(a, a) < 1e-6 and frechet(a, a.flip(0)) < 1e-6
    few = a[:8]  # fewer rows than columns: a singular covariance
    assert frechet(few, few) < 1e-5 and math.isfinite(frechet(few, a[8:16]))


def test_frechet_of_gaussians():
    a = torch.randn(300, 16, generator=torch.Generator().manual_seed(1)).double()
    shift = torch.linspace(-1, 1, 16).double()
    assert frechet(a, a + shift) == pytest.approx(shift.square().sum().item(), rel=1e-9)
    assert frechet(a, 3 * a) == pytest.approx(
        (4 * torch.cov(a.T).trace() + 4 * a.mean(0).square().sum()).item(), rel=1e-9
    )
    b = torch.randn(100, 16, generator=torch.Generator().manual_seed(2))
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)
    from scipy.linalg import sqrtm

    ca, cb = np.cov(a.numpy().T), np.cov(b.double().numpy().T)
    want = (a.mean(0) - b.mean(0)).square().sum().item() + np.trace(
        ca + cb - 2 * sqrtm(ca @ cb).real
    )
    assert frechet(a, b) == pytest.approx(want, rel=1e-6)
    for bad in (torch.zeros(1, 16), torch.zeros(4, 8), torch.zeros(16)):
        with pytest.raises(InputError):
            frechet(a, bad)


def test_first_frame_psnr():
    pictures = torch.full((3, 4, 6, 3), 0.3)
    videos = pictures[:, None].repeat(1, 5, 1, 1, 1)
    videos[1] += 0.1
    videos[2, 0] += 0.01
    videos[0, 1:] = 1  # later frames count nothing
    assert first_frame_psnr(videos, pictures).tolist() == pytest.approx(
        [math.inf, 20, 40], abs=1e-3
    )
    with pytest.raises(InputError):
        first_frame_psnr(videos, pictures[:, :2])


def test_bootstrap():
    x = torch.randn(400, generator=torch.Generator().manual_seed(3)) + 5
    lo, hi = bootstrap(x)
    assert lo < x.mean() < hi and hi - lo == pytest.approx(2 * 1.96 / 20, rel=0.25)
    assert (
        bootstrap(x) == (lo, hi)
        and bootstrap([2.0] * 5) == (2, 2)
        and bootstrap([1.0, 1.0, float('nan')]) == (1, 1)
    )
    assert bootstrap([0.0, 0, 0, 0, 100], of='median')[0] == 0 and all(
        map(math.isnan, bootstrap([]))
    )
    with pytest.raises(InputError, match='mode'):
        bootstrap(x, of='mode')


# flow
def test_flow_measures_pixels_and_turns_with_the_mirror():
    v, mask, box = moving_square(dx=2)
    assert flow_direction(v, mask) == pytest.approx(10, abs=1.5) and flow_direction(
        v, box
    ) == flow_direction(v, mask)
    assert flow_direction(v[:, :, ::-1], mask[:, ::-1]) == pytest.approx(
        -flow_direction(v, mask), abs=0.3
    )
    assert flow_direction(np.stack([v[0]] * 6), mask) == 0
    pan = np.stack(
        [np.roll(f, 3 * t, 1) for t, f in enumerate(v)]
    )  # the camera pans: all drifts, the difference stays
    assert flow_direction(pan, mask) == pytest.approx(10, abs=2.5)
    f = video_flow(v)
    assert (
        f.shape == (5, 40, 64, 2)
        and np.median(f[0][mask][:, 0]) == pytest.approx(2, abs=0.3)
        and abs(np.median(f[0][~mask])) < 0.1
    )


def test_motion_error():
    v, mask, _ = moving_square(dx=2)
    truth = np.zeros((5, 40, 64, 2), np.float32)
    for t in range(5):
        truth[t, 12:28, 18 + 2 * t : 34 + 2 * t, 0] = 2
    still = np.stack([v[0]] * 6)
    assert motion_error(still, truth) == pytest.approx(
        np.abs(truth[..., 0]).mean(), abs=1e-6
    ) and motion_error(still, truth, truth[..., 0] > 0) == pytest.approx(2)
    assert motion_error(v, truth) < 0.6 * motion_error(still, truth) and motion_error(v, v) == 0
    assert motion_error(v[::-1], truth) > motion_error(still, truth)
    assert math.isnan(motion_error(v, truth, np.zeros((40, 64), bool)))
    with pytest.raises(InputError):
        motion_error(v, truth[1:])


def test_flow_says_what_is_wrong():
    v, mask, _ = moving_square()
    for bad in (~mask & mask, mask | ~mask, mask[1:]):
        with pytest.raises(InputError, match='mask'):
            flow_direction(v, bad)
    with pytest.raises(InputError):
        video_flow(v[:1])


# labels and spoiling
def test_labels_are_those_of_the_subject(world):
    _, scenes = world
    truth = labels(scenes)
    for i, s in enumerate(scenes[:20]):
        t = s.things[s.subject]
        assert (
            HEADS['direction'][truth['direction'][i]]
            == {-1: 'left', 0: 'none', 1: 'right'}[t.direction]
            and HEADS['colour'][truth['colour'][i]] == t.colour
        )
        assert SUBJECTS[truth['kind'][i]] == t.kind
    assert {q: (a.shape, a.dtype) for q, a in truth.items()} == {
        q: ((160,), torch.int64) for q in (*HEADS, 'kind')
    }


def test_held_out_scenes_begin_at_10000():
    videos, scenes = true_clips(2)
    assert scenes == [
        sample_scene(torch.Generator().manual_seed(10_000 + i), WorldConfig()) for i in range(2)
    ] and videos.shape == (2, 8, 40, 64, 3)


def test_subject_mask(world):
    _, scenes = world
    masks = [subject_mask(s) for s in scenes[:12]]
    assert (
        all(m.shape == (40, 64) and m.mean() < 0.6 for m in masks)
        and sum(m.any() for m in masks) >= 11
    )


def test_spoils(world):
    v = world[0][:4]
    out = {how: corrupt(v, how) for how in CORRUPTIONS}
    assert all(o.shape == v.shape and 0 <= o.min() and o.max() <= 1 for o in out.values())
    assert (
        torch.equal(out['reversed'].flip(1), v)
        and (out['frozen'] == v[:, :1]).all()
        and torch.equal(out['noisy'], corrupt(v, 'noisy'))
    )
    assert (
        out['blurred'].diff(dim=3).abs().mean()
        < v.diff(dim=3).abs().mean()
        < out['noisy'].diff(dim=3).abs().mean()
    )
    with pytest.raises(InputError, match='burned'):
        corrupt(v, 'burned')


def test_alterations_change_labels():
    truth = dict(
        direction=torch.tensor([0, 1, 2, 2]),
        camera=torch.tensor([1, 3, 0, -100]),
        time=torch.zeros(4),
    )
    alter = lambda how, which=[True] * 4: {
        q: a.tolist() for q, a in J._alter(truth, torch.tensor(which), how).items()
    }
    assert alter('mirrored')['direction'] == [2, 1, 0, 0] and alter('mirrored')['camera'] == [
        2,
        3,
        0,
        -100,
    ]
    assert alter('reversed')['direction'] == [2, 1, 0, 0] and alter('reversed')['camera'] == [
        2,
        -100,
        0,
        -100,
    ]
    assert alter('frozen')['direction'] == [1] * 4 and alter('frozen')['camera'] == [0] * 4
    assert alter('mirrored', [False] * 3 + [True])['direction'] == [0, 1, 2, 0] and truth[
        'direction'
    ].tolist() == [0, 1, 2, 2]


def test_augment_leaves_its_input(world):
    v, before = world[0][:8], world[0][:8].clone()
    a, b = (augment(v, labels(world[1][:8]), torch.Generator().manual_seed(4)) for _ in range(2))
    assert (
        torch.equal(a[0], b[0])
        and torch.equal(v, before)
        and a[0].shape == v.shape
        and not torch.equal(a[0], v)
    )


# the network
def test_other_sizes(shipped, world):
    v, truth = world[0][:64], labels(world[1][:64])
    for shape in ((1, 3, 20, 32, 3), (2, 16, 80, 128, 3), (1, 1, 40, 64, 3)):
        out = shipped(torch.rand(shape))
        assert {q: tuple(o.shape) for q, o in out.items()} == {
            q: (shape[0], len(a)) for q, a in HEADS.items()
        }
    big = (
        torch.nn.functional.interpolate(v.flatten(0, 1).permute(0, 3, 1, 2), scale_factor=2.0)
        .permute(0, 2, 3, 1)
        .unflatten(0, (64, 8))
    )
    agree = (shipped(v)['time'].argmax(1) == shipped(big)['time'].argmax(1)).float().mean()
    assert agree > 0.9
    for bad in (torch.rand(8, 40, 64, 3), torch.rand(1, 8, 3, 40, 64), torch.rand(0, 8, 40, 64, 3)):
        with pytest.raises(InputError, match='videos'):
            shipped(bad)


def test_look_in_batches(shipped, world):
    v = world[0][:5]
    (f, out), (f2, out2) = look(shipped, v, batch=2), look(shipped, list(v))
    torch.testing.assert_close(f, f2, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out['place'], out2['place'], atol=1e-4, rtol=1e-4)
    assert f.shape == (5, 96)
    g, told = look(shipped, v, world[1][:5])  # features do not depend on what the judge is told
    torch.testing.assert_close(f, g, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(out['colour'], told['colour'])
    torch.testing.assert_close(out['place'], told['place'], atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError):
        look(shipped, v, world[1][:4])


def test_same_seed_same_weights(tmp_path):
    state = torch.get_rng_state()
    a, b, c = (
        train_judge(max_steps=3, batch=8, seed=s, progress=False).state_dict() for s in (1, 1, 2)
    )
    assert all(torch.equal(x, y) for x, y in zip(a.values(), b.values())) and not torch.equal(
        a['join.0.weight'], c['join.0.weight']
    )
    assert torch.equal(state, torch.get_rng_state())


def test_weights_round_trip(tmp_path):
    judge = train_judge(max_steps=1, batch=4, out=tmp_path / 'j.safetensors', progress=False)
    back = load_judge(tmp_path / 'j.safetensors')
    assert (
        back.config == judge.config
        and [p.name for p in tmp_path.iterdir()] == ['j.safetensors']
        and not back.training
    )
    for (k, a), b in zip(judge.state_dict().items(), back.state_dict().values()):
        torch.testing.assert_close(a.float(), b.float(), atol=1e-5, rtol=1e-3, msg=k)


def test_bad_weights_are_named(tmp_path, monkeypatch):
    with pytest.raises(MissingDependency, match='none.safetensors'):
        load_judge(tmp_path / 'none.safetensors')
    (tmp_path / 'bad.safetensors').write_bytes(b'no judge')
    with pytest.raises(InputError, match='bad.safetensors'):
        load_judge(tmp_path / 'bad.safetensors')
    whole = shipped_judge().read_bytes()
    (tmp_path / 'half.safetensors').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match='half.safetensors'):
        load_judge(tmp_path / 'half.safetensors')
    from scz_nb.models.embedded import shipped_weights

    with pytest.raises(InputError, match='tiny.safetensors'):
        load_judge(shipped_weights())
    monkeypatch.setattr(J, 'HEADS', {**HEADS, 'time': ('day', 'noon')})
    with pytest.raises(InputError, match='train it anew'):
        load_judge()


# the shipped judge
def test_shipped_file_is_small():
    assert shipped_judge().stat().st_size < 1e6


def test_shipped_judge_reaches_its_floor(shipped, world):
    right = {q: r['share'] for q, r in accuracy(shipped, *world).items()}
    assert (
        right['time'] > 0.9
        and right['direction'] > 0.85
        and right['colour'] > 0.7
        and right['place'] > 0.7
    ), right


def test_shipped_judge_reads_motion_not_facing(shipped, world):
    videos, scenes = world
    share = {
        k: prompt_adherence(shipped, v, scenes)['direction']
        for k, v in dict(
            true=videos, reversed=videos.flip(1), frozen=corrupt(videos, 'frozen')
        ).items()
    }
    assert (
        share['true']['share'] > 0.85
        and share['reversed']['share'] < 0.25
        and share['frozen']['low'] < 0.6
        and share['true']['chance'] == 0.5
    )
    mirror = prompt_adherence(shipped, videos.flip(3), scenes)['direction']['share']
    assert mirror < 0.25
    with pytest.raises(InputError):
        prompt_adherence(shipped, videos[:3], scenes)
