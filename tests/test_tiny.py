"The embedded model: what it is given, and weights that go out and come back."

import pytest
import torch
from helpers.models import small

from scz_nb.core import InputError, MissingDependency
from scz_nb.models import embedded as tiny
from scz_nb.models.embedded import (
    TinyConfig,
    TinyModel,
    WordEncoder,
    estimate_disparity,
    generate,
    given_frames,
    held_out_scenes,
    load_weights,
    save_weights,
    shipped_model,
    shipped_weights,
)
from scz_nb.world.render import sample_clips


def test_weights_round_trip(tmp_path):
    model = TinyModel(small)
    save_weights(model, tmp_path / 'w.safetensors')
    back = load_weights(tmp_path / 'w.safetensors')
    assert back.config == small and [p.name for p in tmp_path.iterdir()] == ['w.safetensors']
    for (k, a), b in zip(model.state_dict().items(), back.state_dict().values()):
        torch.testing.assert_close(a.half().float(), b, atol=1e-6, rtol=1e-3, msg=k)


def test_bad_weights_are_named(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(MissingDependency, match='none.safetensors'):
        load_weights(tmp_path / 'none.safetensors')
    (tmp_path / 'bad.safetensors').write_bytes(b'not weights')
    with pytest.raises(InputError, match='bad.safetensors'):
        load_weights(tmp_path / 'bad.safetensors')
    save_file(dict(a=torch.zeros(2)), tmp_path / 'other.safetensors')
    with pytest.raises(InputError, match='header'):
        load_weights(tmp_path / 'other.safetensors')


def test_shipped_weights_are_small():
    assert sum(f.stat().st_size for f in shipped_weights().parent.iterdir()) < 40e6


def test_depth_is_mirrored_in_a_mirror():
    model, clip = shipped_model(), sample_clips(1, 77, right=False)[0]
    noise = torch.randn(1, 4, 8, 20, 32, generator=torch.Generator().manual_seed(0))
    near, mirrored = (estimate_disparity(model, v, noise) for v in (clip.left, clip.left.flip(2)))
    assert near.shape == clip.disparity.shape and near.std() > 0.05
    torch.testing.assert_close(mirrored, near.flip(2), atol=1e-4, rtol=0)


def test_autoencoder_keeps_the_picture():
    model, clips = shipped_model(), sample_clips(4, 77, right=False)
    video, near = (
        torch.stack([c.left for c in clips]),
        torch.stack([c.disparity for c in clips])[..., None],
    )
    mse = (model.picture.decode(model.picture.encode(video)) - video).square().mean()
    assert -10 * torch.log10(mse) > 30
    torch.testing.assert_close(
        model.nearness.decode(model.nearness.encode(near)), near, atol=1e-4, rtol=0
    )


def test_words():
    enc = WordEncoder(6, 16)
    ids = enc.ids(['A red BALL, rolls left!', 'xylophone', 'a a a a a a a a a'])
    assert (
        ids[0].tolist()[:5] == [enc.index[w] for w in 'a red ball rolls left'.split()]
        and ids[0, 5] == 0
    )
    assert (
        ids[1].tolist() == [1, 0, 0, 0, 0, 0]
        and ids.shape == (3, 6)
        and enc(['a ball', '']).shape == (2, 6, 16)
    )


def test_given_frames_show_the_nearest():
    z, given = torch.randn(4, 6, 5, 2, 3), torch.zeros(4, 5, dtype=torch.bool)
    given[0, 0] = given[1, 0] = given[1, 4] = given[2, 3] = True
    c = given_frames(z, given)
    assert c.shape == (4, 7, 5, 2, 3)
    for row, shown in ((0, [0] * 5), (1, [0, 0, 0, 4, 4]), (2, [3] * 5)):
        assert torch.equal(c[row, :6], z[row][:, shown])  # of two as near, the earlier
    assert (
        (c[3] == 0).all()
        and torch.equal(c[:, 6, :, 0, 0] == 1, given)
        and (c[:, 6] == c[:, 6, :, :1, :1]).all()
    )


def test_condition_places_the_pictures():
    model = TinyModel(small)
    model.picture.fit(torch.rand(2, 2, 16, 32, 3))
    a, b = torch.rand(2, 1, 16, 32, 3)
    z = model.picture.encode(torch.stack([a, b], 1))
    c = model.condition(1, a, b)
    torch.testing.assert_close(c[:, :6, 0], z[:, :, 0])
    torch.testing.assert_close(c[:, :6, 2], z[:, :, 1])
    assert c[0, 6, :, 0, 0].tolist() == [1, 0, 1] and (model.condition(2) == 0).all()


def test_generate_is_seeded_and_listens():
    model = shipped_model()
    make = lambda text, **kw: generate(
        model, [text], torch.Generator().manual_seed(0), steps=2, **kw
    )
    a = make('a red ball rolls left')
    assert a.shape == (1, 8, 40, 64, 3) and torch.equal(a, make('a red ball rolls left'))
    assert not torch.equal(a, make('a blue car drives right')) and not torch.equal(
        a, make('a red ball rolls left', stride=3)
    )
    assert not torch.equal(a, make('a red ball rolls left', last=a[:, -1]))


def test_held_out_scenes_are_their_seeds():
    assert (
        held_out_scenes(TinyConfig(), 3)[1:]
        == held_out_scenes(TinyConfig(), 2)[1:] + held_out_scenes(TinyConfig(), 3)[2:]
    )
    assert len({s.caption for s in held_out_scenes(TinyConfig(), 8)}) > 5


def test_other_words_are_refused(tmp_path, monkeypatch):
    save_weights(TinyModel(small), tmp_path / 'w.safetensors')
    monkeypatch.setattr(tiny, 'VOCABULARY', tiny.VOCABULARY[::-1])
    with pytest.raises(InputError, match='words'):
        load_weights(tmp_path / 'w.safetensors')
