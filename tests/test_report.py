"Scores of an embedded model: of a network that reads nothing, and of the shipped one."

import json
from dataclasses import replace

import pytest
import torch
from helpers.models import small
from helpers.training import fitted

from scz_nb.models.embedded import SIZES, held_out, held_out_scenes, shipped_model
from scz_nb.training.judge import features, load_judge
from scz_nb.training.report import caption_swap_gap, clip_scores, generate_clips
from scz_nb.training.train import train


def test_a_network_that_cannot_read_has_no_caption_swap_gap():
    model = fitted()
    with torch.no_grad():
        for words in (model.text, model.motion.words):
            for p in words.parameters():
                p.zero_()
    assert (caption_swap_gap(model, held_out(small, 8)) == 0).all()


def test_captions_without_sides_are_left_out_of_the_gap():
    clips = held_out(small, 8)
    said = sum('left' in c.caption or 'right' in c.caption for c in clips)
    assert len(caption_swap_gap(fitted(), clips)) == said > 2


@pytest.mark.parametrize('size', SIZES)
def test_the_shipped_model_reads(size):
    assert caption_swap_gap(shipped_model(size), held_out(SIZES[size], 16)).mean() > 0.02


@pytest.mark.slow
def test_the_shipped_model_moves_things_where_the_caption_says():
    """Held-out scenes, first frame given.

    Directions as the judge finds them, motion compared with a frozen first frame's, and the first
    frame itself."""
    model = shipped_model()
    judge = load_judge()
    scenes, clips = held_out_scenes(model.config, 24), held_out(model.config, 24)
    true = torch.stack([c.left for c in clips])
    others = features(judge, true)
    made = generate_clips(model, clips, True, steps=12)
    made = clip_scores(judge, made, scenes, clips, model.config, others)
    frozen = true[:, :1].expand_as(true)
    frozen = clip_scores(judge, frozen, scenes, clips, model.config, others)
    assert made['direction'][0] >= 0.8, made
    assert made['motion error'][0] < frozen['motion error'][0], made
    assert made['first frame'][0] >= 26, made


@pytest.mark.slow
def test_train_writes_a_report(tmp_path, monkeypatch):
    # the shipped networks on a quarter of the pixels, for time
    monkeypatch.setitem(SIZES, 'tiny', replace(SIZES['tiny'], width=32, height=24))
    path = train(0.1, 'cpu', out=tmp_path, scenes=2, progress=False)
    assert path == tmp_path / 'tiny.safetensors'
    names = {p.name for p in tmp_path.iterdir()}
    assert {'losses.png', 'samples.png', 'video.ckpt', 'depth.ckpt'} <= names
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['scores'].keys() == {'before', 'new'}
    for s in report['scores'].values():
        assert 0 < s['loss'][0] < 2 and s['depth'][0] > 0.5
        assert s['clips']['true clips']['first frame'][0] == 99
