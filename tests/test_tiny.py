"The embedded model: weights go out and come back, training goes on where it stopped."
import json
from dataclasses import replace
import numpy as np, pytest, torch
from scz_nb.core import InputError, MissingDependency
from scz_nb import tiny
from scz_nb.tiny import (TinyConfig, TinyModel, WordEncoder, first_frame_condition, load_weights, merge, save_weights, shipped_model, shipped_weights,
                         train, train_part, training_clips)

small = TinyConfig(width=32, height=16, frames=3, model_channels=32, channel_mult=(1, 1), depth_channel_mult=(1, 1), attention_resolutions=(2,),
                   depth_attention_resolutions=(2,), text_dim=16)

def test_weights_round_trip(tmp_path):
    model = TinyModel(small)
    save_weights(model, tmp_path/'w.safetensors')
    back = load_weights(tmp_path/'w.safetensors')
    assert back.config == small and [p.name for p in tmp_path.iterdir()] == ['w.safetensors']
    for (k, a), b in zip(model.state_dict().items(), back.state_dict().values()): torch.testing.assert_close(a.half().float(), b, atol=1e-6, rtol=1e-3, msg=k)

def test_bad_weights_are_named(tmp_path):
    with pytest.raises(MissingDependency, match='none.safetensors'): load_weights(tmp_path/'none.safetensors')
    (tmp_path/'bad.safetensors').write_bytes(b'not weights')
    with pytest.raises(InputError, match='bad.safetensors'): load_weights(tmp_path/'bad.safetensors')

def test_shipped_weights_are_small(): assert sum(f.stat().st_size for f in shipped_weights().parent.iterdir()) < 40e6

def test_autoencoder_keeps_the_picture():
    model = shipped_model()
    video, near, _ = training_clips(4, torch.Generator().manual_seed(77), model.config)
    mse = (model.picture.decode(model.picture.encode(video)) - video).square().mean()
    assert -10*torch.log10(mse) > 30
    torch.testing.assert_close(model.nearness.decode(model.nearness.encode(near)), near, atol=1e-4, rtol=0)

def test_words():
    enc = WordEncoder(6, 16)
    ids = enc.ids(['A red BALL, rolls left!', 'xylophone', 'a a a a a a a a a'])
    assert ids[0].tolist()[:5] == [enc.index[w] for w in 'a red ball rolls left'.split()] and ids[0, 5] == 0
    assert ids[1].tolist() == [1, 0, 0, 0, 0, 0] and ids.shape == (3, 6) and enc(['a ball', '']).shape == (2, 6, 16)

def test_first_frame_condition():
    z = torch.randn(2, 6, 4, 5, 8)
    c = first_frame_condition(z, 4, torch.tensor([True, False]))
    assert c.shape == (2, 7, 4, 5, 8) and torch.equal(c[0, :6, 3], z[0, :, 0]) and (c[1] == 0).all()
    assert (c[0, 6, 0] == 1).all() and (c[0, 6, 1:] == 0).all()

quick = dict(minutes=0, size=small, window=(8, 8), progress=False)

def test_training_learns(tmp_path):
    _, losses = train_part('video', out=tmp_path, max_steps=60, **quick)
    assert len(losses) == 60 and np.mean(losses[-10:]) < 0.9*np.mean(losses[:10])

def test_a_run_that_was_cut_off_ends_the_same(tmp_path, monkeypatch):
    whole, losses = train_part('depth', out=tmp_path/'whole', max_steps=6, **quick)
    update, calls = tiny._update, []
    def cut(*a):
        if len(calls) == 3: raise KeyboardInterrupt
        calls.append(0)
        return update(*a)
    monkeypatch.setattr(tiny, '_update', cut)
    with pytest.raises(KeyboardInterrupt): train_part('depth', out=tmp_path/'cut', max_steps=6, **quick)
    monkeypatch.setattr(tiny, '_update', update)
    again, more = train_part('depth', out=tmp_path/'cut', max_steps=6, **quick)
    assert more == losses and all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))
    assert not [p for p in tmp_path.rglob('*part*')]

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
    (tmp_path/'video.ckpt').touch()
    with pytest.raises(InputError, match='scratch'): train(1, out=tmp_path, scratch=True)

def test_other_words_are_refused(tmp_path, monkeypatch):
    save_weights(TinyModel(small), tmp_path/'w.safetensors')
    monkeypatch.setattr(tiny, 'VOCABULARY', tiny.VOCABULARY[::-1])
    with pytest.raises(InputError, match='words'): load_weights(tmp_path/'w.safetensors')

@pytest.mark.slow
def test_train_writes_a_report(tmp_path):
    path = train(0.1, 'cpu', out=tmp_path, progress=False)
    report = json.loads((tmp_path/'report.json').read_text())
    assert path == tmp_path/'tiny.safetensors' and 0 < report['video_loss'] < 2 and report['shipped']['depth_spearman'] > 0.5
    assert {'losses.png', 'samples.png', 'video.ckpt', 'depth.ckpt'} <= {p.name for p in tmp_path.iterdir()}

def test_unknown_size_and_part_are_named(tmp_path):
    with pytest.raises(InputError, match='tiny'): train(1, size='huge', out=tmp_path)
