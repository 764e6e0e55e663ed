"Training: the loss, that it learns, and that a run that was cut off goes on where it stopped."

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.models import small
from helpers.training import env, fitted, quick, rand, recipe, some_batch, some_clips

from scz_nb.core import InputError, SczError
from scz_nb.diffusion.schedule import alphas_cumprod
from scz_nb.models.embedded import (
    SIZES,
    TinyModel,
    given_frames,
    merge,
    save_weights,
    trusted,
)
from scz_nb.models.motion import Motion
from scz_nb.training import train as training
from scz_nb.training.data import Recipe, draw_batch
from scz_nb.training.train import (
    PARTS,
    Run,
    half_size,
    motion_loss,
    near_edges,
    noisy,
    resolve_recipe,
    scale_recipe,
    timestep_density,
    told,
    train,
    video_loss,
)


# what the networks predict
def test_timestep_density():
    w = timestep_density()
    assert abs(w.sum() - 1) < 1e-9
    assert w.min() >= 1 / 3000 - 1e-9
    assert w[800:].sum() > 0.4
    assert w[:800].argmax() not in (0, 799)


def test_velocity_and_noisy_latent_give_the_clean_one():
    z = torch.randn(3, 2, 2, 4, 4, generator=rand())
    zt, t, v = noisy(z, False, rand())
    a = alphas_cumprod(zero_snr=True)[t].view(-1, 1, 1, 1, 1)
    clean = a.sqrt() * zt - (1 - a).sqrt() * v
    torch.testing.assert_close(clean.float(), z, atol=1e-5, rtol=1e-5)


def test_a_pair_shares_noise_and_timestep():
    z = torch.randn(3, 2, 2, 4, 4, generator=rand())
    zt, t, v = noisy(z, False, rand())
    a = alphas_cumprod(zero_snr=True)[t].view(-1, 1, 1, 1, 1)
    noise = ((1 - a).sqrt() * zt + a.sqrt() * v).float()
    torch.testing.assert_close(noise[0], noise[1], atol=1e-5, rtol=1e-5)
    assert t[0] == t[1]
    assert not torch.allclose(noise[1], noise[2], atol=0.1)


def test_easy_clips_get_much_noise():
    z = torch.randn(200, 2, 1, 2, 2, generator=rand())
    easy, others = (noisy(z, kind, rand()).timesteps for kind in (True, False))
    assert easy.min() >= 800 > others.min()


@pytest.mark.parametrize('size', SIZES)
def test_half_size_suits_the_networks(size):
    c = SIZES[size]
    h = half_size(c)
    assert c.width <= 2 * h.width <= 1.5 * c.width
    assert c.height <= 2 * h.height <= 1.5 * c.height
    assert replace(h, width=c.width, height=c.height) == c
    assert np.isfinite(video_loss(fitted(h), some_batch(2, h, pixels=True), rand()).item())


def hidden(model, batch):
    "(n, C, T, h, w) bool: latents of clips told by pixels that are not known as a whole."
    share = torch.nn.functional.avg_pool2d(batch.known.float(), model.config.patch)
    return (share < 1)[:, None].expand(-1, model.config.channels, -1, -1, -1)


def test_what_is_told():
    "Single pixels, or else the guess where a first frame and a caption are given."
    model = fitted()
    batch = some_batch(12, pixels=True)
    z = model.picture.encode(batch.video)
    cond = told(model, batch, z)
    unknown = iter(hidden(model, batch))
    guess = model.guess(batch.video[:, 0], batch.captions, batch.stride)
    plain = given_frames(z, batch.given)
    kinds = set()
    for i, (row, caption) in enumerate(zip(cond, batch.captions)):
        if batch.by_pixel[i]:
            kinds.add('pixels')
            assert torch.equal(row[-1] == 0, next(unknown)[0])
        elif caption and batch.given[i].tolist() == [True, False, False]:
            kinds.add('guess')
            assert torch.equal(row[:, 1:], guess[i, :, 1:])
            assert torch.equal(row[:, 0], plain[i, :, 0])
        elif not batch.given[i, 0]:
            kinds.add('frames')
            assert torch.equal(row, plain[i])
    assert kinds == {'pixels', 'guess', 'frames'}


def test_motion_that_is_right_costs_nothing():
    model = fitted()
    batch = draw_batch(some_clips(motion=True), 0, Recipe(batch=4), rand())

    class Knows(torch.nn.Module):
        def forward(self, first, captions, stride):
            near = batch.disparity[:, 0, ..., 0]
            return Motion(batch.shift[:, 1:] + off, near)

    model.motion = Knows()
    off = 0.0
    assert motion_loss(model, batch, rand()) == 0
    off = 1.0
    assert motion_loss(model, batch, rand()).item() == pytest.approx(1.0)  # ½ pixel each way


def test_what_moves_counts_five_times():
    "Where zeros are predicted, the loss of a clip is the weighted mean of its squared velocity."
    model = fitted()
    batch = some_batch(4, pixels=True)
    with torch.no_grad():
        for p in model.unet.out.parameters():
            p.zero_()
    z = model.picture.encode(batch.video)
    weight = 1 + 4.0 * (((z - z[:, :, :1]) ** 2).mean(1, keepdim=True).expand_as(z) > 0.1)
    weight[batch.by_pixel] = 5.0 * hidden(model, batch)  # what is known is put back
    g = rand()
    pure = batch.by_pixel & (torch.rand(4, generator=g) < 0.5)
    _, t, v = noisy(z, False, g, pure)
    weight *= ~trusted(told(model, batch, z), t)  # where the network is asked
    assert batch.by_pixel.any() and not batch.by_pixel.all()
    mean = (weight * v**2).sum() / weight.sum()
    torch.testing.assert_close(video_loss(model, batch, rand()), mean)


def test_pure_noise_where_it_is_asked_for():
    pure = torch.tensor([True, False, False, True])
    zt, t, v = noisy(torch.ones(4, 2, 1, 2, 2), False, rand(), pure)
    assert (t[pure] == 999).all() and (t[~pure] < 999).any()
    torch.testing.assert_close(v[pure], -torch.ones_like(v[pure]))  # of a clip of ones


# where a training starts
def test_recipe_suits_the_size():
    tiny, large = SIZES['tiny'], SIZES['small']
    assert scale_recipe(Recipe(), tiny) == Recipe()
    assert scale_recipe(Recipe(), small) == Recipe()  # smaller ones get no larger batch
    a_quarter = Recipe(batch=Recipe().batch // 4, rate=Recipe().rate / 2)
    assert scale_recipe(Recipe(), large) == a_quarter
    assert scale_recipe(Recipe(batch=4), large).batch == 2


tiny, large = SIZES['tiny'], SIZES['small']
reads = Recipe(easy_share=0.0)
whole = scale_recipe(Recipe(easy_share=0.0, small_share=0.0), large)


@pytest.mark.parametrize(
    'gap, weights, config, want',
    [(0.0, tiny, tiny, Recipe()), (0.1, tiny, tiny, reads), (0.1, tiny, large, whole)]
    + [(0.1, large, large, whole)],
)
def test_recipe_suits_the_weights(monkeypatch, tmp_path, gap, weights, config, want):
    save_weights(TinyModel(weights), tmp_path / 'w.safetensors')
    monkeypatch.setattr(training, 'held_out', lambda *a: [])
    monkeypatch.setattr(training, 'caption_swap_gap', lambda *a: torch.full((3,), gap))
    found, start = resolve_recipe(Recipe(), config, tmp_path / 'w.safetensors')
    assert found == want and start.config == config


def test_recipe_from_scratch():
    assert resolve_recipe(Recipe(), large) == (scale_recipe(Recipe(), large), None)


# runs
def test_training_learns(tmp_path):
    _, losses = quick('video', tmp_path, 60)
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])


@pytest.mark.parametrize('part', PARTS)
def test_a_run_that_was_cut_off_ends_the_same(tmp_path, monkeypatch, part):
    whole, losses = quick(part, tmp_path / 'whole', 6)
    step = Run.step

    def cut(run):
        if len(run.losses) == 3:
            raise KeyboardInterrupt
        step(run)

    with monkeypatch.context() as m:
        m.setattr(Run, 'step', cut)
        with pytest.raises(KeyboardInterrupt):
            quick(part, tmp_path / 'cut', 6)
    state = torch.load(tmp_path / 'cut' / f'{part}.ckpt', weights_only=True)
    assert len(state['losses']) == 3
    other = Recipe(batch=2, easy_share=0.0)  # its own recipe is in the checkpoint
    again, more = quick(part, tmp_path / 'cut', 6, recipe=other)
    assert more == losses
    for a, b in zip(whole.state_dict().values(), again.state_dict().values()):
        assert torch.equal(a, b)
    assert not list(tmp_path.rglob('*part*'))


@pytest.mark.slow
def test_two_processes_agree_and_repeat(tmp_path):
    "From scratch twice with one seed, two processes each: the same curve for 50 steps."
    a, b = (quick('video', tmp_path / n, 50, processes=2)[1] for n in 'ab')
    assert a == b and len(a) == 50
    assert np.mean(a[-10:]) < np.mean(a[:10])
    _, one = quick('video', tmp_path / 'one', 2)
    assert one[0] != a[0]  # the mean over other clips, too


@pytest.mark.slow
def test_a_launcher_joins_processes(tmp_path):
    "Two CPU processes: torchrun sets the variables that accelerate's launcher sets."
    script = tmp_path / 'go.py'
    script.write_text('import sys; from helpers.training import *; quick("depth", sys.argv[1], 2)')
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2']
    command = [*launcher, str(script), str(tmp_path)]
    out = subprocess.run(command, env=env, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr[-2000:]
    state = torch.load(tmp_path / 'depth.ckpt', weights_only=True)
    assert len(state['losses']) == 2
    assert state['samples'] == 2 * 2 * recipe.batch


def begun(folder, ignored=(), processes=1):
    "A training in a process of its own, which ignores some signals, after its first steps."
    script = folder / 'go.py'
    script.write_text(
        'import sys\n'
        'from helpers.training import quick\n'
        f'if __name__ == "__main__": quick("video", sys.argv[1], 10_000, {processes})'
    )

    def ignore():
        for s in ignored:
            signal.signal(s, signal.SIG_IGN)

    command = [sys.executable, str(script), str(folder / 'cut')]
    process = subprocess.Popen(command, env=env, preexec_fn=ignore)
    ckpt = folder / 'cut' / 'video.ckpt'
    end = time.monotonic() + 120
    while not ckpt.exists() or len(torch.load(ckpt, weights_only=True)['losses']) < 5:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    return process, ckpt


@pytest.mark.slow
def test_killed_and_taken_up_again(tmp_path):
    """A process that is killed outright loses what came after its last checkpoint.

    The curve goes on as if nothing had been."""
    process, ckpt = begun(tmp_path)
    process.kill()
    process.wait()
    n = len(torch.load(ckpt, weights_only=True)['losses'])
    _, losses = quick('video', tmp_path / 'cut', n + 3)
    assert len(losses) == n + 3 and np.isfinite(losses).all()
    assert torch.load(ckpt, weights_only=True)['samples'] == (n + 3) * recipe.batch


def alive(pid):
    "Whether a process runs; a zombie does not."
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='looks into /proc')
def test_workers_end_with_the_first_process(tmp_path):
    "Also those of a job in the background, which inherit from the shell that Ctrl-C is ignored."
    process, _ = begun(tmp_path, (signal.SIGINT,), processes=2)
    workers = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    assert len(workers) >= 2
    process.kill()
    process.wait()
    end = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.2)
    left = [w for w in workers if alive(w)]
    for w in left:
        os.kill(int(w), signal.SIGKILL)
    assert not left


def test_parts_share_the_autoencoder(tmp_path):
    video, depth = (quick(part, tmp_path, 1)[0] for part in ('video', 'depth'))
    merged = merge(video, depth=depth)
    assert torch.equal(merged.depth.out[2].weight, depth.depth.out[2].weight)
    depth.picture.mean += 1
    with pytest.raises(InputError, match='autoencoder'):
        merge(video, depth=depth)


# errors
def test_a_checkpoint_of_another_size_is_named(tmp_path):
    quick('depth', tmp_path, 1)
    with pytest.raises(InputError, match='another size'):
        quick('depth', tmp_path, 1, config=replace(small, width=64))


def test_an_older_checkpoint_is_named(tmp_path):
    quick('depth', tmp_path, 1)
    state = torch.load(tmp_path / 'depth.ckpt', weights_only=True)
    state['mean'] = state.pop('ema')
    torch.save(state, tmp_path / 'depth.ckpt')
    with pytest.raises(InputError, match='older version'):
        quick('depth', tmp_path, 1)


def test_unknown_parts_are_named(tmp_path):
    with pytest.raises(InputError, match='sound'):
        Run('sound', tmp_path)


@pytest.mark.parametrize(
    'minutes, settings, message',
    [
        (1, dict(device='abacus'), 'abacus'),
        (float('inf'), {}, 'minutes'),
        (1, dict(size='huge'), 'tiny'),
        (1, dict(scratch=True, weights='w.safetensors'), 'leave out'),
        (1, dict(weights='w.safetensors'), 'w.safetensors'),
    ],
)
def test_wrong_trainings_are_named(tmp_path, minutes, settings, message):
    with pytest.raises(SczError, match=message):
        train(minutes, out=tmp_path, **settings)


def test_no_run_from_scratch_over_another(tmp_path):
    (tmp_path / 'video.ckpt').touch()
    with pytest.raises(InputError, match='scratch'):
        train(1, out=tmp_path, scratch=True)


def test_the_edges_of_disparity():
    disparity = torch.zeros(1, 2, 8, 12, 1)
    disparity[:, 1, :, 6:] = 0.5
    found = near_edges(disparity, 2)
    assert found.shape == (1, 1, 2, 4, 6) and not found[0, 0, 0].any()
    assert found[0, 0, 1].all(0).tolist() == [False, False, True, True, False, False]
