"Training: what a step draws, that it learns, and that a run that was cut off goes on where it stopped."
import json, os, subprocess, sys, time
from dataclasses import replace
import numpy as np, pytest, torch
from scz_nb.core import InputError, NoiseSource
from scz_nb import train as training
from scz_nb.schedule import alphas_cumprod
from scz_nb.tiny import TinyModel, save_weights, shipped_weights
from scz_nb.train import (Clips, Recipe, adopt, clip_numbers, crop, draw_batch, draw_given, judged, learning_rate, merge, noisy, score, there_and_back,
                          timestep_density, train, train_part)
from test_tiny import small

quick = dict(minutes=0, size=small, progress=False, recipe=Recipe(window=(8, 8), save_every=0))
rand = lambda: torch.Generator().manual_seed(0)

def test_every_clip_is_used_as_often_as_the_recipe_says():
    fresh = [clip_numbers(k, Recipe(batch=4), rand()) for k in range(5)]
    assert sorted(i for _, numbers in fresh for i in numbers) == list(range(20))
    g, recipe = torch.Generator().manual_seed(1), Recipe(batch=8, fresh=0.25)
    used = np.zeros(2*400 + 64)
    for k in range(400):
        first, numbers = clip_numbers(k, recipe, g)
        assert min(numbers) >= first and len(set(numbers)) == 8
        used[numbers] += 1
    assert abs(used[100:700].mean() - 4) < 0.1

def test_clips_are_their_numbers():
    clips = Clips(small, NoiseSource(0), 'video 0', 'cpu')
    a, = clips.take(7, [7]); b, = Clips(small, NoiseSource(0), 'video 0', 'cpu').take(0, [7])
    assert torch.equal(a[0], b[0]) and a[2:] == b[2:] and a[0].dtype == torch.uint8
    assert clips.take(7, [7])[0][0] is a[0] and 7 not in (clips.take(8, [8]), clips.kept)[1]
    other, = Clips(small, NoiseSource(0), 'video 1', 'cpu').take(0, [7])
    assert not torch.equal(a[0], other[0])
    assert {clips.render(i)[3] for i in range(30)} == {1, 2, 3}

def test_there_and_back():
    t = torch.arange(8.)
    for x in there_and_back(t, t, 'a ball rolls left')[:2]: assert x.tolist() == [0, 2, 4, 6, 6, 4, 2, 0]

def test_draws_of_given_frames():
    given = draw_given(20_000, 8, rand())
    first = given[:, 0] & (given.sum(1) == 1); ends = given[:, 0] & given[:, 7] & (given.sum(1) == 2)
    assert abs(first.float().mean() - 0.65) < 0.02 and abs(ends.float().mean() - 0.1) < 0.02 and abs((~given.any(1)).float().mean() - 0.2) < 0.02

def test_a_batch_holds_together():
    b = draw_batch(Clips(small, NoiseSource(0), 'video 0', 'cpu'), 0, Recipe(batch=40), rand())
    assert b.video.shape == (40, 3, 16, 32, 3) and 0 <= b.video.min() and 0.5 < b.video.max() <= 1 and b.stride.shape == (40,)
    back = [c.endswith('and back') for c in b.captions]
    assert any(back) and '' in b.captions
    for i in np.flatnonzero(back): assert b.given[i].tolist() == [True, False, True] and torch.equal(b.video[i, 0], b.video[i, 2])

def test_noise_and_velocity():
    w = timestep_density()
    assert abs(w.sum() - 1) < 1e-9 and w.min() >= 0.4/1000 - 1e-9 and w.argmax() not in (0, 999)
    z = torch.randn(3, 2, 2, 4, 4, generator=rand())
    zt, t, v = noisy(z, rand())
    a = alphas_cumprod(zero_snr=True)[t].view(-1, 1, 1, 1, 1)
    torch.testing.assert_close((a.sqrt()*zt - (1 - a).sqrt()*v).float(), z, atol=1e-5, rtol=1e-5)           # velocity and noisy latent give the clean one

def test_crop_takes_the_same_window():
    y, x = torch.meshgrid(torch.arange(9), torch.arange(11), indexing='ij')
    a, b = crop([y[None], x[None]], (4, 5), rand())
    assert a.shape == b.shape == (1, 4, 5) and (a[0, :, 0].diff() == 1).all() and (b[0, 0].diff() == 1).all() and crop([x], None, rand())[0] is x

def test_learning_rate():
    rates = [learning_rate(d, 1.) for d in np.linspace(0, 1, 101)]
    assert rates[0] < 0.02 and 1 - max(rates) < 0.01 and abs(rates[-1] - 0.02) < 1e-9 and np.argmax(rates) <= 3

def test_adopt_knows_words_by_name(tmp_path, monkeypatch):
    old = TinyModel(small)
    save_weights(old, tmp_path/'w.safetensors')
    words, old_words = training.VOCABULARY, old.text.words.weight.half().float()
    monkeypatch.setattr(training, 'VOCABULARY', words[::-1])
    new = adopt(TinyModel(small), tmp_path/'w.safetensors')
    for i, w in enumerate(words[::-1]): torch.testing.assert_close(new.text.words.weight[i + 2], old_words[words.index(w) + 2])
    torch.testing.assert_close(new.unet.out[2].weight, old.unet.out[2].weight.half().float())
    with pytest.raises(InputError, match='another network'): adopt(TinyModel(replace(small, model_channels=64)), tmp_path/'w.safetensors')

def test_training_learns(tmp_path):
    _, losses = train_part('video', out=tmp_path, max_steps=60, **quick)
    assert len(losses) == 60 and np.mean(losses[-10:]) < 0.9*np.mean(losses[:10])

@pytest.mark.parametrize('part', ['video', 'depth'])
def test_a_run_that_was_cut_off_ends_the_same(tmp_path, monkeypatch, part):
    whole, losses = train_part(part, out=tmp_path/'whole', max_steps=6, **quick)
    update, calls = training._update, []
    def cut(*a):
        if len(calls) == 3: raise KeyboardInterrupt
        calls.append(0)
        return update(*a)
    monkeypatch.setattr(training, '_update', cut)
    with pytest.raises(KeyboardInterrupt): train_part(part, out=tmp_path/'cut', max_steps=6, **quick)
    monkeypatch.setattr(training, '_update', update)
    assert len(torch.load(tmp_path/'cut'/f'{part}.ckpt', weights_only=True)['losses']) == 3
    again, more = train_part(part, out=tmp_path/'cut', max_steps=6, **quick)
    assert more == losses and all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))
    assert not [p for p in tmp_path.rglob('*part*')]

@pytest.mark.slow
def test_two_processes_agree_and_repeat(tmp_path):
    "From scratch twice with one seed, two processes each: the same curve for 50 steps."
    a, b = (train_part('video', out=tmp_path/n, max_steps=50, processes=2, **quick)[1] for n in 'ab')
    assert a == b and len(a) == 50 and np.mean(a[-10:]) < np.mean(a[:10])
    one = train_part('video', out=tmp_path/'one', max_steps=2, **quick)[1]
    assert one[0] != a[0]                                                    # the mean over other clips, too

@pytest.mark.slow
def test_a_launcher_joins_processes(tmp_path):
    "What the lesson says for several GPUs, with two CPU processes: torchrun sets the variables that accelerate's launcher sets."
    (tmp_path/'go.py').write_text('import sys, test_train as t; t.train_part("depth", out=sys.argv[1], max_steps=2, **t.quick)')
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    out = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2', str(tmp_path/'go.py'), str(tmp_path)], env=env, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr[-2000:]
    state = torch.load(tmp_path/'depth.ckpt', weights_only=True)
    assert len(state['losses']) == 2 and state['samples'] == 2*2*quick['recipe'].batch

@pytest.mark.slow
def test_killed_and_taken_up_again(tmp_path):
    "A process that is killed outright loses what came after its last checkpoint, and the curve goes on as if nothing had been."
    (tmp_path/'go.py').write_text('import sys, test_train as t; t.train_part("video", out=sys.argv[1], max_steps=10_000, **t.quick)')
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    ckpt, steps = tmp_path/'cut'/'video.ckpt', lambda: len(torch.load(ckpt, weights_only=True)['losses'])
    process, end = subprocess.Popen([sys.executable, str(tmp_path/'go.py'), str(tmp_path/'cut')], env=env), time.monotonic() + 120
    while not ckpt.exists() or steps() < 5:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    process.kill(); process.wait()
    n = steps()
    _, losses = train_part('video', out=tmp_path/'cut', max_steps=n + 3, **{**quick, 'recipe': replace(quick['recipe'], crop_share=1.)})
    state = torch.load(ckpt, weights_only=True)
    assert len(losses) == n + 3 and np.isfinite(losses).all() and state['samples'] == (n + 3)*quick['recipe'].batch

def test_parts_share_the_autoencoder(tmp_path):
    video, depth = (train_part(p, out=tmp_path, max_steps=1, **quick)[0] for p in ('video', 'depth'))
    assert torch.equal(merge(video, depth).depth.out[2].weight, depth.depth.out[2].weight)
    depth.picture.mean += 1
    with pytest.raises(InputError, match='autoencoder'): merge(video, depth)

def test_wrong_runs_are_named(tmp_path):
    train_part('depth', out=tmp_path, max_steps=1, **quick)
    with pytest.raises(InputError, match='another size'): train_part('depth', out=tmp_path, max_steps=1, **{**quick, 'size': replace(small, width=64)})
    with pytest.raises(InputError, match='abacus'): train(1, 'abacus', out=tmp_path)
    with pytest.raises(InputError, match='minutes'): train(float('inf'), out=tmp_path)
    with pytest.raises(InputError, match='tiny'): train(1, size='huge', out=tmp_path)
    (tmp_path/'video.ckpt').touch()
    with pytest.raises(InputError, match='scratch'): train(1, out=tmp_path, scratch=True)

@pytest.mark.slow
def test_train_writes_a_report(tmp_path):
    path = train(0.1, 'cpu', out=tmp_path, scenes=2, progress=False)
    report = json.loads((tmp_path/'report.json').read_text())
    assert path == tmp_path/'tiny.safetensors' and report['scores'].keys() == {'shipped', 'new'}
    for s in report['scores'].values(): assert 0 < s['loss'][0] < 2 and s['depth'][0] > 0.5 and s['clips']['true clips']['first frame'][0] == 99
    assert {'losses.png', 'samples.png', 'video.ckpt', 'depth.ckpt'} <= {p.name for p in tmp_path.iterdir()}
