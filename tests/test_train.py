"Training: what a step draws, that it learns, and that a run that was cut off goes on where it stopped."

import json
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

from scz_nb.core import InputError, NoiseSource, SczError
from scz_nb.diffusion.schedule import alphas_cumprod
from scz_nb.models import embedded
from scz_nb.models.embedded import (
    SIZES,
    TinyModel,
    held_out,
    held_out_scenes,
    load_compatible,
    merge,
    save_weights,
    shipped_model,
)
from scz_nb.training import train as training
from scz_nb.training.data import Clips, Recipe, clip_numbers, draw_batch, draw_given, ping_pong
from scz_nb.training.judge import load_judge, look
from scz_nb.training.optim import half_precision, learning_rate, optimisers
from scz_nb.training.report import caption_swap_gap, clip_scores, generate_clips
from scz_nb.training.train import (
    half_size,
    noisy,
    resolve_recipe,
    scale_recipe,
    timestep_density,
    train,
    train_part,
    video_loss,
)
from scz_nb.world.render import render
from scz_nb.world.scenes import sample_scene, twin

quick = dict(minutes=0, size=small, progress=False, recipe=Recipe(batch=4, rate=2e-3, save_every=0))
rand = lambda: torch.Generator().manual_seed(0)
beside = {
    **os.environ,
    'PYTHONPATH': os.pathsep.join([os.path.dirname(__file__), *sys.path]),
}  # of a process that imports this file


def fitted(config):
    "A fresh network whose latents have the right spread."
    model = TinyModel(config)
    model.picture.fit(torch.stack([c.left for c in held_out(config, 4)]))
    return model


def test_every_clip_is_used_as_often_as_the_recipe_says():
    "In one step with its twin."
    fresh = [clip_numbers(k, Recipe(batch=4), rand()) for k in range(5)]
    assert sorted(i for _, numbers in fresh for i in numbers) == list(range(20))
    g, recipe = torch.Generator().manual_seed(1), Recipe(batch=8, fresh=0.25)
    used = np.zeros(2 * 400 + 64)
    for k in range(400):
        first, numbers = clip_numbers(k, recipe, g)
        assert (
            min(numbers) >= first
            and len(set(numbers)) == 8
            and all(a % 2 == 0 and b == a + 1 for a, b in zip(numbers[::2], numbers[1::2]))
        )
        used[numbers] += 1
    assert abs(used[100:700].mean() - 4) < 0.1


def test_clips_are_their_numbers():
    clips = Clips(small, NoiseSource(0), 'video 0', 'cpu')
    (a,) = clips.take(7, [7])
    (b,) = Clips(small, NoiseSource(0), 'video 0', 'cpu').take(0, [7])
    assert torch.equal(a[0], b[0]) and a[2:] == b[2:] and a[0].dtype == torch.uint8
    assert clips.take(7, [7])[0][0] is a[0] and 7 not in (clips.take(8, [8]), clips.kept)[1]
    (other,) = Clips(small, NoiseSource(0), 'video 1', 'cpu').take(0, [7])
    assert not torch.equal(a[0], other[0])
    assert {clips.render(i)[3] for i in range(30)} == {1, 2, 3}


def test_clips_come_in_pairs():
    "An odd number is the twin of the number before: one word of the caption differs, and no more of the picture than the subject."
    clips, pairs = Clips(small, NoiseSource(0), 'video 0', 'cpu'), 0
    for i in range(0, 40, 2):
        (a, _, said, stride), (b, _, other, stride2) = clips.render(i), clips.render(i + 1)
        words = [(x, y) for x, y in zip(said.split(), other.split()) if x != y]
        if stride == stride2 and len(words) == 1 and said.split()[:2] == other.split()[:2]:
            pairs += 1
            assert {w.strip(',') for w in words[0]} == {'left', 'right'} and not torch.equal(a, b)
    assert pairs >= 10


def test_twins():
    for s in map(sample_scene, range(60)):
        t = twin(s)
        if t is None:
            assert s.things[s.subject].direction == 0 and s.camera not in ('left', 'right')
        else:
            assert (
                twin(t) == s
                and replace(t, things=s.things, caption=s.caption, camera=s.camera) == s
                and sum(x != y for x, y in zip(s.caption.split(), t.caption.split())) == 1
            )
    ball = next(
        s
        for s in map(sample_scene, range(99))
        if s.things[s.subject].kind == 'ball' and s.things[s.subject].direction
    )
    a, b = (render(x, small.world, right=False).left for x in (ball, twin(ball)))
    first, last = ((a[i] != b[i]).any(-1).float().mean() for i in (0, -1))
    assert (
        first < 0.1 < 2 * last and first < last
    )  # the ball alone, seen from its other side, then where it rolls


def test_there_and_back():
    t = torch.arange(8.0)
    for x in ping_pong(t, t, 'a ball rolls left')[:2]:
        assert x.tolist() == [0, 2, 4, 6, 6, 4, 2, 0]


def test_draws_of_given_frames():
    given = draw_given(20_000, 8, rand())
    first = given[:, 0] & (given.sum(1) == 1)
    ends = given[:, 0] & given[:, 7] & (given.sum(1) == 2)
    assert (
        abs(first.float().mean() - 0.65) < 0.02
        and abs(ends.float().mean() - 0.1) < 0.02
        and abs((~given.any(1)).float().mean() - 0.2) < 0.02
    )


def test_a_batch_holds_together():
    b = draw_batch(Clips(small, NoiseSource(0), 'video 0', 'cpu'), 0, Recipe(batch=40), rand())
    assert (
        b.video.shape == (40, 3, 16, 32, 3)
        and 0 <= b.video.min()
        and 0.5 < b.video.max() <= 1
        and b.stride.shape == (40,)
    )
    back = [c.endswith('and back') for c in b.captions]
    assert any(back) and '' in b.captions
    for i in np.flatnonzero(back):
        assert b.given[i].tolist() == [True, False, True] and torch.equal(
            b.video[i, 0], b.video[i, 2]
        )


def test_noise_and_velocity():
    w = timestep_density()
    assert (
        abs(w.sum() - 1) < 1e-9
        and w.min() >= 1 / 3000 - 1e-9
        and w[800:].sum() > 0.4
        and w[:800].argmax() not in (0, 799)
    )
    z = torch.randn(3, 2, 2, 4, 4, generator=rand())
    zt, t, v = noisy(z, False, rand())
    a = alphas_cumprod(zero_snr=True)[t].view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(
        (a.sqrt() * zt - (1 - a).sqrt() * v).float(), z, atol=1e-5, rtol=1e-5
    )  # velocity and noisy latent give the clean one
    noise = ((1 - a).sqrt() * zt + a.sqrt() * v).float()
    torch.testing.assert_close(
        noise[0], noise[1], atol=1e-5, rtol=1e-5
    )  # a pair shares noise and timestep
    assert t[0] == t[1] and not torch.allclose(noise[1], noise[2], atol=0.1)
    assert (
        noisy(torch.randn(200, 2, 1, 2, 2, generator=rand()), True, rand())[1].min()
        >= 800
        > noisy(torch.randn(200, 2, 1, 2, 2, generator=rand()), False, rand())[1].min()
    )


def test_easy_clips_have_one_thing_that_moves():
    clips = Clips(small, NoiseSource(0), 'video 0', 'cpu', easy=True)
    scenes = [clips.draw(torch.Generator().manual_seed(i), small.world) for i in range(20)]
    assert (
        all(len(s.things) == 1 and s.things[0].direction and not s.complex for s in scenes)
        and len({s.caption for s in scenes}) > 10
    )
    assert draw_batch(clips, 0, Recipe(batch=2), rand()).easy


def test_half_size_suits_the_networks():
    for c in SIZES.values():
        h = half_size(c)
        assert (
            c.width <= 2 * h.width <= 1.5 * c.width
            and c.height <= 2 * h.height <= 1.5 * c.height
            and replace(h, width=c.width, height=c.height) == c
        )
        model = fitted(h)
        assert np.isfinite(
            video_loss(
                model,
                draw_batch(Clips(h, NoiseSource(0), 'video 0', 'cpu'), 0, Recipe(batch=2), rand()),
                rand(),
            ).item()
        )


def test_what_moves_counts_five_times():
    "With nothing but zeros to predict it with, the loss of a clip is the weighted mean of its squared velocity."
    model, batch = (
        fitted(small),
        draw_batch(Clips(small, NoiseSource(0), 'video 0', 'cpu'), 0, Recipe(batch=4), rand()),
    )
    with torch.no_grad():
        for p in model.unet.out.parameters():
            p.zero_()
    z = model.picture.encode(batch.video)
    moves = ((z - z[:, :, :1]) ** 2).mean(1, keepdim=True).expand_as(z) > 0.1
    v2 = noisy(z, False, rand())[2] ** 2
    assert 0.01 < moves.float().mean() < 0.8
    torch.testing.assert_close(
        video_loss(model, batch, rand()),
        (5 * v2[moves].sum() + v2[~moves].sum()) / (5 * moves.sum() + (~moves).sum()),
    )


def test_swapped_words():
    "A network that cannot read loses nothing by wrong words; clips without such words are left out."
    clips = held_out(small, 8)
    model = fitted(small)
    with torch.no_grad():
        for p in model.text.parameters():
            p.zero_()
    errors = caption_swap_gap(model, clips)
    assert (
        len(errors) == sum('left' in c.caption or 'right' in c.caption for c in clips) > 2
        and (errors == 0).all()
    )


@pytest.mark.parametrize('size', SIZES)
def test_the_shipped_model_reads(size):
    assert caption_swap_gap(shipped_model(size), held_out(SIZES[size], 16)).mean() > 0.02


@pytest.mark.slow
def test_the_shipped_model_moves_things_where_the_caption_says():
    "Held-out scenes, first frame given: directions as the judge sees them, motion beside a frozen first frame's, and the first frame itself."
    model, n = shipped_model(), 24
    scenes, clips = held_out_scenes(model.config, n), held_out(model.config, n)
    true, made = torch.stack([c.left for c in clips]), generate_clips(model, clips, True, steps=12)
    others = look(load_judge(), true)[0]
    made, frozen = (
        clip_scores(load_judge(), v, scenes, clips, model.config, others)
        for v in (made, true[:, :1].expand_as(true))
    )
    assert (
        made['direction'][0] >= 0.8
        and made['motion error'][0] < frozen['motion error'][0]
        and made['first frame'][0] >= 26
    ), made


def test_half_precision_rounds_products_but_not_attention(monkeypatch):
    "The loss of a step is nearly the same, and without units for bfloat16 it is the same."
    import torch.nn.functional as F

    model, batch = (
        fitted(small),
        draw_batch(Clips(small, NoiseSource(0), 'video 0', 'cpu'), 0, Recipe(batch=2), rand()),
    )
    with torch.no_grad():
        model.unet.out[-1].weight.normal_(0, 0.1, generator=rand())  # not zeros, as it begins
    loss = lambda *context: video_loss(model, batch, rand(), *context).item()
    half, x = (lambda: half_precision('cpu')), torch.full((1, 1, 2, 2), 1 + 2**-12)
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(amx_bf16=True), raising=False)
    with half():
        assert (x[0, 0] @ torch.eye(2)).dtype == torch.bfloat16
        assert torch.equal(F.scaled_dot_product_attention(x, x, x), x)  # 1 + 2⁻¹² is 1 in bfloat16
    assert (x[0, 0] @ torch.eye(2)).dtype == torch.float32
    assert 0 < abs(loss(half) - loss()) < 0.01 * loss()
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: {}, raising=False)
    assert loss(half) == loss()


@pytest.mark.parametrize('able', [True, False])
def test_muon_rounds_only_where_that_is_fast(monkeypatch, able):
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = set()

    class Types(TorchDispatchMode):
        def __torch_dispatch__(self, f, types, args=(), kwargs=None):
            seen.update(a.dtype for a in args if torch.is_tensor(a))
            return f(*args, **(kwargs or {}))

    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(amx_bf16=able), raising=False)
    p = torch.nn.Parameter(torch.randn(32, 48, generator=rand()))
    muon, _ = optimisers({'a': p, 'b': torch.nn.Parameter(torch.zeros(3))})
    p.grad.normal_(generator=rand())
    start = p.detach().clone()
    with Types():
        muon.step()
    assert (torch.bfloat16 in seen) == able
    step = torch.linalg.svdvals(p.detach() - start)  # about equally far along every direction
    assert step.min() > 0.4 * step.max() > 0


def test_recipe_suits_size_and_weights(monkeypatch, tmp_path):
    tiny, large = SIZES['tiny'], SIZES['small']
    assert (
        scale_recipe(Recipe(), tiny) == Recipe() == scale_recipe(Recipe(), small)
    )  # smaller ones get no larger batch
    assert (
        scale_recipe(Recipe(), large) == Recipe(batch=Recipe().batch // 4, rate=Recipe().rate / 2)
        and scale_recipe(Recipe(batch=4), large).batch == 2
    )
    monkeypatch.setattr(training, 'held_out', lambda *a: [])
    whole = scale_recipe(Recipe(easy_share=0.0, small_share=0.0), large)
    for reads, weights, config, want in (
        (0.0, tiny, tiny, Recipe()),
        (0.1, tiny, tiny, Recipe(easy_share=0.0)),
        (0.1, tiny, large, whole),
        (0.1, large, large, whole),
    ):
        save_weights(TinyModel(weights), tmp_path / 'w.safetensors')
        monkeypatch.setattr(training, 'caption_swap_gap', lambda *a: torch.full((3,), reads))
        recipe, start = resolve_recipe(Recipe(), config, tmp_path / 'w.safetensors')
        assert recipe == want and start.config == config
    assert resolve_recipe(Recipe(), large) == (scale_recipe(Recipe(), large), None)


def test_learning_rate():
    rates = [learning_rate(d, 1.0) for d in np.linspace(0, 1, 101)]
    assert (
        rates[0] < 0.02
        and 1 - max(rates) < 0.01
        and abs(rates[-1] - 0.02) < 1e-9
        and np.argmax(rates) <= 3
    )


def test_adopt_knows_words_by_name(tmp_path, monkeypatch):
    old = TinyModel(small)
    save_weights(old, tmp_path / 'w.safetensors')
    words, old_words = embedded.VOCABULARY, old.text.words.weight.half().float()
    monkeypatch.setattr(embedded, 'VOCABULARY', words[::-1])
    new = load_compatible(TinyModel(small), tmp_path / 'w.safetensors')
    for i, w in enumerate(words[::-1]):
        torch.testing.assert_close(new.text.words.weight[i + 2], old_words[words.index(w) + 2])
    torch.testing.assert_close(new.unet.out[2].weight, old.unet.out[2].weight.half().float())
    with pytest.raises(InputError, match='another network'):
        load_compatible(TinyModel(replace(small, model_channels=64)), tmp_path / 'w.safetensors')


def test_training_learns(tmp_path):
    _, losses = train_part('video', out=tmp_path, max_steps=60, **quick)
    assert len(losses) == 60 and np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])


@pytest.mark.parametrize('part', ['video', 'depth'])
def test_a_run_that_was_cut_off_ends_the_same(tmp_path, monkeypatch, part):
    whole, losses = train_part(part, out=tmp_path / 'whole', max_steps=6, **quick)
    update, calls = training._update, []

    def cut(*a):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(0)
        return update(*a)

    monkeypatch.setattr(training, '_update', cut)
    with pytest.raises(KeyboardInterrupt):
        train_part(part, out=tmp_path / 'cut', max_steps=6, **quick)
    monkeypatch.setattr(training, '_update', update)
    assert len(torch.load(tmp_path / 'cut' / f'{part}.ckpt', weights_only=True)['losses']) == 3
    again, more = train_part(
        part,
        out=tmp_path / 'cut',
        max_steps=6,
        **{**quick, 'recipe': Recipe(batch=2, easy_share=0.0)},
    )  # its own recipe is in the checkpoint
    assert more == losses and all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values())
    )
    assert not [p for p in tmp_path.rglob('*part*')]


@pytest.mark.slow
def test_two_processes_agree_and_repeat(tmp_path):
    "From scratch twice with one seed, two processes each: the same curve for 50 steps."
    a, b = (
        train_part('video', out=tmp_path / n, max_steps=50, processes=2, **quick)[1] for n in 'ab'
    )
    assert a == b and len(a) == 50 and np.mean(a[-10:]) < np.mean(a[:10])
    one = train_part('video', out=tmp_path / 'one', max_steps=2, **quick)[1]
    assert one[0] != a[0]  # the mean over other clips, too


@pytest.mark.slow
def test_a_launcher_joins_processes(tmp_path):
    "What the lesson says for several GPUs, with two CPU processes: torchrun sets the variables that accelerate's launcher sets."
    (tmp_path / 'go.py').write_text(
        'import sys, test_train as t; t.train_part("depth", out=sys.argv[1], max_steps=2, **t.quick)'
    )
    out = subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--nproc_per_node',
            '2',
            str(tmp_path / 'go.py'),
            str(tmp_path),
        ],
        env=beside,
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr[-2000:]
    state = torch.load(tmp_path / 'depth.ckpt', weights_only=True)
    assert len(state['losses']) == 2 and state['samples'] == 2 * 2 * quick['recipe'].batch


def begun(folder, ignored=(), **kw):
    "A training in a process of its own, which ignores some signals, after its first steps."
    (folder / 'go.py').write_text(
        f'import sys, test_train as t\nif __name__ == "__main__": t.train_part("video", out=sys.argv[1], max_steps=10_000, **t.quick, **{kw})'
    )
    process = subprocess.Popen(
        [sys.executable, str(folder / 'go.py'), str(folder / 'cut')],
        env=beside,
        preexec_fn=lambda: [signal.signal(s, signal.SIG_IGN) for s in ignored],
    )
    ckpt, end = folder / 'cut' / 'video.ckpt', time.monotonic() + 120
    while not ckpt.exists() or len(torch.load(ckpt, weights_only=True)['losses']) < 5:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    return process, ckpt


@pytest.mark.slow
def test_killed_and_taken_up_again(tmp_path):
    "A process that is killed outright loses what came after its last checkpoint, and the curve goes on as if nothing had been."
    process, ckpt = begun(tmp_path)
    process.kill()
    process.wait()
    n = len(torch.load(ckpt, weights_only=True)['losses'])
    _, losses = train_part('video', out=tmp_path / 'cut', max_steps=n + 3, **quick)
    state = torch.load(ckpt, weights_only=True)
    assert (
        len(losses) == n + 3
        and np.isfinite(losses).all()
        and state['samples'] == (n + 3) * quick['recipe'].batch
    )


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='looks into /proc')
def test_workers_end_with_the_first_process(tmp_path):
    "Also those of a job in the background, which inherit from the shell that Ctrl-C is ignored."
    process, _ = begun(tmp_path, (signal.SIGINT,), processes=2)
    workers = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    assert len(workers) >= 2
    process.kill()
    process.wait()

    def alive(pid):
        try:
            return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
        except FileNotFoundError:
            return False

    end = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.2)
    left = [w for w in workers if alive(w)]
    for w in left:
        os.kill(int(w), signal.SIGKILL)
    assert not left


def test_parts_share_the_autoencoder(tmp_path):
    video, depth = (
        train_part(p, out=tmp_path, max_steps=1, **quick)[0] for p in ('video', 'depth')
    )
    assert torch.equal(merge(video, depth).depth.out[2].weight, depth.depth.out[2].weight)
    depth.picture.mean += 1
    with pytest.raises(InputError, match='autoencoder'):
        merge(video, depth)


def test_wrong_runs_are_named(tmp_path):
    train_part('depth', out=tmp_path, max_steps=1, **quick)
    with pytest.raises(InputError, match='another size'):
        train_part(
            'depth', out=tmp_path, max_steps=1, **{**quick, 'size': replace(small, width=64)}
        )
    with pytest.raises(InputError, match='abacus'):
        train(1, 'abacus', out=tmp_path)
    with pytest.raises(InputError, match='minutes'):
        train(float('inf'), out=tmp_path)
    with pytest.raises(InputError, match='tiny'):
        train(1, size='huge', out=tmp_path)
    with pytest.raises(InputError, match='leave out'):
        train(1, out=tmp_path, scratch=True, weights='w.safetensors')
    with pytest.raises(SczError, match='w.safetensors'):
        train(1, out=tmp_path, weights='w.safetensors')
    (tmp_path / 'video.ckpt').touch()
    with pytest.raises(InputError, match='scratch'):
        train(1, out=tmp_path, scratch=True)


@pytest.mark.slow
def test_train_writes_a_report(tmp_path, monkeypatch):
    monkeypatch.setitem(
        SIZES, 'tiny', replace(SIZES['tiny'], width=32, height=24)
    )  # the shipped networks on a quarter of the pixels, for time
    path = train(0.1, 'cpu', out=tmp_path, scenes=2, progress=False)
    report = json.loads((tmp_path / 'report.json').read_text())
    assert path == tmp_path / 'tiny.safetensors' and report['scores'].keys() == {'before', 'new'}
    for s in report['scores'].values():
        assert (
            0 < s['loss'][0] < 2
            and s['depth'][0] > 0.5
            and s['clips']['true clips']['first frame'][0] == 99
        )
    assert {'losses.png', 'samples.png', 'video.ckpt', 'depth.ckpt'} <= {
        p.name for p in tmp_path.iterdir()
    }
