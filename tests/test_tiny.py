"The embedded model: weights go out and come back, training goes on where it stopped."
import json
import numpy as np, pytest, torch
from scz_nb.core import InputError, MissingDependency
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

def test_training_learns_and_resumes(tmp_path):
    kw = dict(size=small, window=(8, 8), progress=False)
    _, first = train_part('video', 0.25, tmp_path, **kw)
    assert len(first) > 10 and np.mean(first[-5:]) < np.mean(first[:5])
    _, more = train_part('video', 0.02, tmp_path, **kw)
    assert more[:len(first)] == first and len(more) > len(first)
    depth, _ = train_part('depth', 0.02, tmp_path, **kw)
    both = merge(load_weights(tmp_path/'video.safetensors'), depth)
    assert torch.equal(both.depth.out[2].weight, depth.depth.out[2].weight)

def test_one_step_is_repeatable(tmp_path):
    runs = [train_part('depth', 1e-9, tmp_path/str(i), size=small, progress=False)[0] for i in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in runs)))

@pytest.mark.slow
def test_train_writes_a_report(tmp_path):
    path = train(0.1, 'cpu', out=tmp_path, progress=False)
    report = json.loads((tmp_path/'report.json').read_text())
    assert path == tmp_path/'tiny.safetensors' and 0 < report['video_loss'] < 2 and report['shipped']['depth_spearman'] > 0.5
    assert {'losses.png', 'samples.png', 'video.ckpt', 'depth.ckpt'} <= {p.name for p in tmp_path.iterdir()}

def test_unknown_size_and_part_are_named(tmp_path):
    with pytest.raises(InputError, match='tiny'): train(1, size='huge', out=tmp_path)
