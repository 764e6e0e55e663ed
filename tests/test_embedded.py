"The embedded model: what it is given, and weights that go out and come back."

from dataclasses import replace

import pytest
import torch
from helpers.models import small
from safetensors.torch import save_file

from scz_nb.core import InputError, MissingDependency
from scz_nb.models import embedded
from scz_nb.models.embedded import (
    TinyConfig,
    TinyModel,
    WordEncoder,
    estimate_disparity,
    generate,
    given_frames,
    held_out_scenes,
    load_at_size,
    load_compatible,
    load_weights,
    save_weights,
    shipped_model,
    shipped_weights,
)
from scz_nb.world.render import sample_clips


# weights
def test_weights_round_trip(tmp_path):
    model = TinyModel(small)
    save_weights(model, tmp_path / 'w.safetensors')
    back = load_weights(tmp_path / 'w.safetensors')
    assert back.config == small
    assert [p.name for p in tmp_path.iterdir()] == ['w.safetensors']
    weights = back.state_dict()
    for k, a in model.state_dict().items():
        torch.testing.assert_close(a.half().float(), weights[k], atol=1e-6, rtol=1e-3, msg=k)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(MissingDependency, match='none.safetensors'):
        load_weights(tmp_path / 'none.safetensors')


def test_what_is_no_weights_file_is_named(tmp_path):
    (tmp_path / 'bad.safetensors').write_bytes(b'not weights')
    with pytest.raises(InputError, match='bad.safetensors'):
        load_weights(tmp_path / 'bad.safetensors')


def test_weights_of_something_else_are_named(tmp_path):
    save_file(dict(a=torch.zeros(2)), tmp_path / 'other.safetensors')
    with pytest.raises(InputError, match='header'):
        load_weights(tmp_path / 'other.safetensors')


def test_other_words_are_refused(tmp_path, monkeypatch):
    save_weights(TinyModel(small), tmp_path / 'w.safetensors')
    monkeypatch.setattr(embedded, 'VOCABULARY', embedded.VOCABULARY[::-1])
    with pytest.raises(InputError, match='words'):
        load_weights(tmp_path / 'w.safetensors')


def test_shipped_weights_are_small():
    assert sum(f.stat().st_size for f in shipped_weights().parent.iterdir()) < 40e6


def test_compatible_weights_know_words_by_name(tmp_path, monkeypatch):
    old = TinyModel(small)
    save_weights(old, tmp_path / 'w.safetensors')
    words = embedded.VOCABULARY
    old_words = old.text.words.weight.half().float()
    monkeypatch.setattr(embedded, 'VOCABULARY', words[::-1])
    new = load_compatible(TinyModel(small), tmp_path / 'w.safetensors')
    for i, w in enumerate(words[::-1]):
        row = new.text.words.weight[i + 2]
        torch.testing.assert_close(row, old_words[words.index(w) + 2])
    torch.testing.assert_close(new.unet.out[2].weight, old.unet.out[2].weight.half().float())


def test_another_network_is_named(tmp_path):
    save_weights(TinyModel(small), tmp_path / 'w.safetensors')
    with pytest.raises(InputError, match='another network'):
        load_compatible(TinyModel(replace(small, model_channels=64)), tmp_path / 'w.safetensors')


def test_weights_serve_at_another_size(tmp_path):
    save_weights(TinyModel(small), tmp_path / 'w.safetensors')
    wide = load_at_size(replace(small, width=64), tmp_path / 'w.safetensors')
    a, b = wide.state_dict(), load_weights(tmp_path / 'w.safetensors').state_dict()
    assert all(torch.equal(a[k], b[k]) for k in b)
    assert wide.config.width == 64
    assert not wide.training and not any(p.requires_grad for p in wide.parameters())


# what the networks are given
def test_words():
    enc = WordEncoder(6, 16)
    ids = enc.ids(['A red BALL, rolls left!', 'xylophone', 'a a a a a a a a a'])
    assert ids.shape == (3, 6)
    assert ids[0].tolist() == [enc.index[w] for w in 'a red ball rolls left'.split()] + [0]
    assert ids[1].tolist() == [1, 0, 0, 0, 0, 0]
    assert enc(['a ball', '']).shape == (2, 6, 16)


def test_given_frames_show_the_nearest():
    z = torch.randn(4, 6, 5, 2, 3)
    given = torch.zeros(4, 5, dtype=torch.bool)
    given[0, 0] = given[1, 0] = given[1, 4] = given[2, 3] = True
    c = given_frames(z, given)
    assert c.shape == (4, 7, 5, 2, 3)
    for row, shown in ((0, [0] * 5), (1, [0, 0, 0, 4, 4]), (2, [3] * 5)):
        assert torch.equal(c[row, :6], z[row][:, shown])  # of two as near, the earlier
    assert (c[3] == 0).all()


def test_given_frames_are_marked():
    given = torch.tensor([[True, False, False, True, False]])
    mask = given_frames(torch.randn(1, 6, 5, 2, 3), given)[:, 6]
    assert torch.equal(mask[:, :, 0, 0] == 1, given)
    assert (mask == mask[:, :, :1, :1]).all()


def test_condition_places_the_pictures():
    model = TinyModel(small)
    model.picture.fit(torch.rand(2, 2, 16, 32, 3))
    a, b = torch.rand(2, 1, 16, 32, 3)
    z = model.picture.encode(torch.stack([a, b], 1))
    c = model.condition(1, a, b)
    torch.testing.assert_close(c[:, :6, 0], z[:, :, 0])
    torch.testing.assert_close(c[:, :6, 2], z[:, :, 1])
    assert c[0, 6, :, 0, 0].tolist() == [1, 0, 1]
    assert (model.condition(2) == 0).all()


def test_a_caption_brings_a_guess():
    model = TinyModel(small)
    model.picture.fit(torch.rand(2, 2, 16, 32, 3))
    first = torch.rand(3, 16, 32, 3)
    captions = ['a ball rolls left', '', 'a ball rolls left']
    cond = model.condition(3, first, None, captions, torch.tensor([1, 2, 3]))
    plain = model.condition(3, first)
    assert torch.equal(cond[:, :, 0], plain[:, :, 0])  # the first frame is what it is
    assert torch.equal(cond[1], plain[1])
    assert set(cond[0, -1, 1:].unique().tolist()) <= {0.0, 0.5}
    assert not torch.equal(cond[0, :, 1:], cond[2, :, 1:])


def test_a_last_frame_stays_beside_a_guess():
    model = TinyModel(small)
    model.picture.fit(torch.rand(2, 2, 16, 32, 3))
    first, last = torch.rand(2, 1, 16, 32, 3)
    cond = model.condition(1, first, last, ['a ball rolls left'])
    plain = model.condition(1, first, last)
    assert torch.equal(cond[:, :, [0, 2]], plain[:, :, [0, 2]])
    assert (cond[:, -1, 1] <= 0.5).all()


def test_known_pixels_are_marked():
    model = TinyModel(small)
    model.picture.fit(torch.rand(2, 2, 16, 32, 3))
    video = torch.rand(1, 3, 16, 32, 3)
    visible = torch.ones(1, 3, 16, 32, dtype=torch.bool)
    visible[..., 20:] = False
    cond = model.known_pixels(video, visible)
    torch.testing.assert_close(cond[:, :-1], model.picture.encode(video))
    assert (cond[:, -1, :, :, :10] == 1).all() and (cond[:, -1, :, :, 10:] == 0).all()
    visible[..., 1] = False  # half of a latent is not enough
    assert (model.known_pixels(video, visible)[:, -1, :, :, 0] == 0).all()


# what the shipped model makes
def test_autoencoder_keeps_the_picture():
    model = shipped_model()
    video = torch.stack([c.left for c in sample_clips(4, 77, right=False)])
    mse = (model.picture.decode(model.picture.encode(video)) - video).square().mean()
    assert -10 * torch.log10(mse) > 30


def test_autoencoder_keeps_the_disparity():
    model = shipped_model()
    disparity = torch.stack([c.disparity for c in sample_clips(4, 77, right=False)])[..., None]
    decoded = model.nearness.decode(model.nearness.encode(disparity))
    torch.testing.assert_close(decoded, disparity, atol=1e-4, rtol=0)


def test_disparity_is_mirrored_in_a_mirror():
    model = shipped_model()
    clip = sample_clips(1, 77, right=False)[0]
    noise = torch.randn(1, 4, 8, 20, 32, generator=torch.Generator().manual_seed(0))
    plain, mirrored = (estimate_disparity(model, v, noise) for v in (clip.left, clip.left.flip(2)))
    assert plain.shape == clip.disparity.shape and plain.std() > 0.05
    torch.testing.assert_close(mirrored, plain.flip(2), atol=1e-4, rtol=0)


@pytest.fixture(scope='module')
def make():
    "Generates one clip in two steps from seed 0."
    model = shipped_model()
    return lambda text, **given: generate(
        model, [text], torch.Generator().manual_seed(0), steps=2, **given
    )


def test_generate_is_seeded(make):
    clip = make('a red ball rolls left')
    assert clip.shape == (1, 8, 40, 64, 3)
    assert torch.equal(clip, make('a red ball rolls left'))


def test_generate_depends_on_all_that_is_given(make):
    clip = make('a red ball rolls left')
    assert not torch.equal(clip, make('a blue car drives right'))
    assert not torch.equal(clip, make('a red ball rolls left', stride=3))
    assert not torch.equal(clip, make('a red ball rolls left', last=clip[:, -1]))


def test_held_out_scenes_are_their_seeds():
    three, two = (held_out_scenes(TinyConfig(), n) for n in (3, 2))
    assert three[:2] == two
    assert len({s.caption for s in held_out_scenes(TinyConfig(), 8)}) > 5
