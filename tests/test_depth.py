"Depth estimators of transformers at small size, depth files, names in `run`, and frames brought to one scale."

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from helpers.project import root
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from scz_nb.core import InputError, MissingDependency, SczError
from scz_nb.depth.estimators import (
    GivenDepth,
    default_depth,
    depth_cache,
    depth_source,
    dissolves,
    estimate_depth,
    estimators,
    load_depth,
)
from scz_nb.depth.maps import (
    align_frames,
    depth_flicker,
    fit_line,
    read_depth,
    stretched,
    to_inverse,
)
from scz_nb.geometry.disparity import check_disparity, normalise
from scz_nb.geometry.flow import matches
from scz_nb.models.hub import hub

video = np.random.default_rng(0).integers(0, 256, (5, 40, 64, 3), np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv('SCZ_NB_CACHE', str(tmp_path_factory.mktemp('cache')))


# networks, each written by the classes of transformers
def vit(**kw):
    import transformers as tr

    return tr.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        patch_size=14,
        apply_layernorm=True,
        **kw,
    )


def depth_anything(metric=False):
    import transformers as tr

    back = vit(
        image_size=56, out_features=[f'stage{i}' for i in range(1, 5)], reshape_hidden_states=False
    )
    more = dict(depth_estimation_type='metric', max_depth=20) if metric else {}
    return tr.DepthAnythingForDepthEstimation(
        tr.DepthAnythingConfig(
            backbone_config=back,
            reassemble_hidden_size=16,
            neck_hidden_sizes=[8] * 4,
            fusion_hidden_size=8,
            head_hidden_size=8,
            **more,
        )
    )


def dpt():
    import transformers as tr

    return tr.DPTForDepthEstimation(
        tr.DPTConfig(
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[8] * 4,
            fusion_hidden_size=8,
        )
    )


def glpn():
    import transformers as tr

    return tr.GLPNForDepthEstimation(
        tr.GLPNConfig(
            depths=[1] * 4,
            hidden_sizes=[8] * 4,
            decoder_hidden_size=8,
            num_attention_heads=[1] * 4,
            mlp_ratios=[1] * 4,
        )
    )


def zoedepth():
    import transformers as tr

    back = tr.BeitConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
        patch_size=8,
        reshape_hidden_states=False,
        out_features=[f'stage{i}' for i in range(1, 5)],
    )
    return tr.ZoeDepthForDepthEstimation(
        tr.ZoeDepthConfig(
            backbone_config=back,
            neck_hidden_sizes=[8] * 4,
            fusion_hidden_size=8,
            bottleneck_features=8,
            num_relative_features=8,
            bin_configurations=[dict(n_bins=8, min_depth=0.001, max_depth=10.0, name='nyu')],
            bin_embedding_dim=8,
            num_attractors=[4, 2, 2, 1],
        )
    )


def depth_pro():
    import transformers as tr

    back = dict(
        model_type='dinov2',
        num_hidden_layers=4,
        hidden_size=16,
        num_attention_heads=2,
        patch_size=4,
        image_size=16,
    )
    return tr.DepthProForDepthEstimation(
        tr.DepthProConfig(
            patch_size=16,
            fusion_hidden_size=16,
            intermediate_hook_ids=[1, 0],
            intermediate_feature_dims=[16, 16],
            scaled_images_ratios=[0.5, 1.0],
            scaled_images_overlap_ratios=[0.0, 0.2],
            scaled_images_feature_dims=[16, 16],
            use_fov_model=False,
            num_fov_head_layers=0,
            image_model_config=back,
            patch_model_config=back,
            fov_model_config=back,
        )
    )


def processor(kind):
    from importlib import import_module

    make = lambda m, name, **kw: getattr(
        import_module(f'transformers.models.{m}.image_processing_pil_{m}'), name
    )(**kw)
    if kind in ('depth_anything', 'metric'):
        return make(
            'dpt',
            'DPTImageProcessorPil',
            size=dict(height=56, width=56),
            keep_aspect_ratio=True,
            ensure_multiple_of=14,
        )
    if kind == 'dpt':
        return make('dpt', 'DPTImageProcessorPil', size=dict(height=32, width=32))
    if kind == 'glpn':
        return make('glpn', 'GLPNImageProcessorPil')
    return make(
        'zoedepth',
        'ZoeDepthImageProcessorPil',
        size=dict(height=32, width=64),
        ensure_multiple_of=8,
    )


nets = dict(
    depth_anything=depth_anything,
    metric=lambda: depth_anything(True),
    dpt=dpt,
    glpn=glpn,
    zoedepth=zoedepth,
    depth_pro=depth_pro,
)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    made = {}

    def folder(kind):
        if kind in made:
            return made[kind]
        path = tmp_path_factory.mktemp(kind)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            net = nets[kind]()
            for p in net.parameters():
                p.data.normal_(0, 0.2) if p.ndim > 1 else p.data.uniform_(0, 0.2)
        net.save_pretrained(path)
        if kind == 'depth_pro':
            (path / 'preprocessor_config.json').write_text(
                '{"image_processor_type": "DepthProImageProcessor", "size": {"height": 64, "width": 64}}'
            )
        else:
            processor(kind).save_pretrained(path)
        return made.setdefault(kind, str(path))

    return folder


@pytest.mark.parametrize('kind', nets)
def test_every_class_gives_nearness(kind, folders):
    f = load_depth(folders(kind), 'cpu', batch=2)
    assert f.output == ('metric' if kind in ('metric', 'glpn', 'zoedepth') else 'inverse')
    d, raw = f(video), f.raw(video)
    assert (
        d.dtype == np.float32
        and d.shape == raw.shape == (5, 40, 64)
        and d.min() == 0
        and d.max() == 1
    )
    check_disparity(d, 5, 40, 64)
    np.testing.assert_array_equal(d, normalise(raw, 1, 99).numpy())  # one stretch for the clip
    torch.testing.assert_close(
        load_depth(folders(kind), 'cpu', batch=5).raw(video),
        raw,
        rtol=1e-3,
        atol=1e-4 * float(raw.abs().max()),
    )


@pytest.mark.parametrize('kind', ['depth_anything', 'metric', 'dpt', 'glpn', 'zoedepth'])
def test_numbers_are_those_of_transformers(kind, folders):
    "By transformers' own hand: processor, network, a frame at a time."
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    p, net = (
        AutoImageProcessor.from_pretrained(folders(kind)),
        AutoModelForDepthEstimation.from_pretrained(folders(kind)).eval(),
    )
    with torch.inference_mode():
        z = net(**p(images=[video[2]], return_tensors='pt')).predicted_depth
    z = z.reshape(1, 1, *z.shape[-2:])
    if kind == 'zoedepth':
        z = F.interpolate(z, (40 + 26, 64 + 32), mode='bicubic')[
            ..., 13:-13, 16:-16
        ]  # trunc(3·√20) and trunc(3·√32), reflected
    if kind in ('metric', 'glpn', 'zoedepth'):
        assert z.min() > 0
        z = 1 / z
    torch.testing.assert_close(
        load_depth(folders(kind), 'cpu').raw(video)[2],
        F.interpolate(z, (40, 64), mode='bilinear', antialias=True)[0, 0],
        rtol=1e-3,
        atol=1e-4 * float(z.max()),
    )


def test_depth_pro_is_inverse_as_transformers_has_it(folders):
    "Its post-processing gives 1/x of what the network gives, which is why `output` is 'inverse'."
    from transformers.models.auto import AutoModelForDepthEstimation

    net = AutoModelForDepthEstimation.from_pretrained(folders('depth_pro')).eval()
    x = torch.from_numpy(video[:1]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        out = net(pixel_values=F.interpolate(x, (64, 64), mode='bilinear')).predicted_depth
    torch.testing.assert_close(
        load_depth(folders('depth_pro'), 'cpu').raw(video[:1])[0],
        F.interpolate(out[:, None], (40, 64), mode='bilinear', antialias=True)[0, 0],
    )


def test_output_can_be_said(folders):
    f = load_depth(folders('dpt'), 'cpu', output='metric')
    assert f.output == 'metric' and np.isfinite(f(video)).all()
    with pytest.raises(InputError, match='inverse, metric, far'):
        load_depth(folders('dpt'), output='metres')


def test_float_video_and_bad_video(folders):
    f = load_depth(folders('dpt'), 'cpu')
    np.testing.assert_array_equal(f(video / 255.0), f(video))
    for bad in (video[0], video[..., :2], video[:0]):
        with pytest.raises(InputError, match='video'):
            f(bad)


def test_progress_counts_batches(folders, capsys):
    load_depth(folders('dpt'), 'cpu', batch=2, progress=True)(video)
    assert '3/3' in capsys.readouterr().err
    load_depth(folders('dpt'), 'cpu', batch=2)(video)
    assert 'depth' not in capsys.readouterr().err


# names
def test_names_lead_to_what_they_say(tmp_path, folders):
    for name, e in estimators.items():
        assert (
            depth_source(name) == ('model', e.repo, e)
            and e.licence
            and e.params > 0
            and e.output in ('inverse', 'metric')
            and hub[name].revision
        )
    for name, licence in {
        'depthcrafter': 'research only',
        'video-depth-anything': 'Apache-2.0',
        'video-depth-anything-large': 'CC-BY-NC-4.0',
        'depth-anything-v2-large': 'CC-BY-NC-4.0',
        'tiny': 'Apache-2.0',
    }.items():
        assert licence in estimators[name].licence
    assert estimators[default_depth].licence == 'Apache-2.0'
    assert depth_source('somebody/some-model') == ('model', 'somebody/some-model', None)
    assert (
        depth_source(folders('dpt'))[:2] == ('model', folders('dpt'))
        and depth_source(tmp_path)[0] == 'file'
    )
    with pytest.raises(InputError, match="did you mean 'zoedepth'.*auto, depth-anything-v2-small"):
        depth_source('zoedept', ['auto'])
    for gone in ('depth.npz', 'no/where/depth', '/nowhere/depth.mp4'):
        with pytest.raises(InputError, match='not there'):
            depth_source(gone)


def test_no_network_and_no_transformers_are_said():
    with pytest.raises(MissingDependency, match='check the connection'):
        load_depth('depth-anything-v2-small')
    code = "import sys; sys.modules['transformers'] = None; from scz_nb.depth.estimators import load_depth; load_depth()"
    r = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    assert (
        "pip install 'scz_nb[hub]'" in r.stderr.splitlines()[-1] and 'MissingDependency' in r.stderr
    )


def test_a_broken_folder_is_said(tmp_path, folders):
    (tmp_path / 'config.json').write_text('{"model_type": "dpt"}')
    with pytest.raises(InputError, match='save_pretrained'):
        load_depth(tmp_path)
    (tmp_path / 'config.json').write_text('{"model_type": "nothing"}')
    with pytest.raises(InputError, match='save_pretrained'):
        load_depth(tmp_path)


# in `run`
picture = video[0]
quick = dict(restart_iterations=1, refine=(), dissolve=0)


@pytest.fixture(scope='module')
def published():
    "A small pipeline with random weights, as a backbone."

    from scz_nb.models.backbones import DynamiCrafterBackbone
    from scz_nb.models.stand_in import random_pipeline

    return DynamiCrafterBackbone(random_pipeline('dynamicrafter-512'))


def go(backbone, **kw):
    from scz_nb.sampler import run

    return run(picture, 'a ball', backbone=backbone, steps=2, config=quick, progress=False, **kw)


def test_run_takes_a_network_by_name(backbone, folders):
    v = go(backbone, depth=folders('dpt'))
    np.testing.assert_array_equal(v.disparity, load_depth(folders('dpt'), 'cpu')(v.left))
    assert v.meta['depth'] == folders('dpt')
    again = go(backbone, depth=load_depth(folders('dpt'), 'cpu'))
    np.testing.assert_array_equal(v.right, again.right)


def test_run_takes_a_file(backbone, tmp_path):
    near = np.random.default_rng(1).uniform(size=(8, 40, 64)).astype(np.float32)
    np.save(tmp_path / 'near.npy', near)
    v = go(backbone, depth=tmp_path / 'near.npy')
    np.testing.assert_allclose(v.disparity, normalise(near, 1, 99), atol=1e-6)
    assert v.meta['depth'] == str(tmp_path / 'near.npy')


def test_auto_is_the_default_estimator_where_a_model_knows_no_depth(
    published, folders, monkeypatch
):
    from scz_nb.depth import estimators as depth
    from scz_nb.diffusion.denoiser import Backbone

    monkeypatch.setitem(
        depth.estimators,
        default_depth,
        depth.Estimator(folders('depth_anything'), 'inverse', 0),
    )
    v = go(published)
    np.testing.assert_array_equal(v.disparity, load_depth(folders('depth_anything'), 'cpu')(v.left))
    assert v.meta['depth'] == default_depth and isinstance(published, Backbone)
    np.testing.assert_array_equal(published.estimate_depth(v.left, None), v.disparity)


@pytest.mark.parametrize(
    'depth, error, words',
    [
        ('auto', MissingDependency, 'check the connection'),
        ('dpt-large', MissingDependency, 'Intel/dpt-large'),
        ('dtp-large', InputError, "did you mean 'dpt-large'.*auto"),
        ('gone.npz', InputError, 'not there'),
    ],
)
def test_what_is_missing_is_said_before_a_network_runs(depth, error, words, published, monkeypatch):
    from scz_nb.models.pipeline import DynamiCrafterPipeline

    monkeypatch.setattr(
        DynamiCrafterPipeline, 'condition', lambda *a: pytest.fail('a network was run')
    )
    with pytest.raises(error, match=words):
        go(published, depth=depth)


# what comes out
def test_kinds_of_depth_agree():
    z = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1).expand(3, 4, 5)
    near, far = normalise(to_inverse(z, 'metric')), normalise(to_inverse(-z, 'far'))
    torch.testing.assert_close(near[:, 0, 0], torch.tensor([1.0, 1 / 3, 0.0]))
    torch.testing.assert_close(far[:, 0, 0], torch.tensor([0.0, 1 / 3, 1.0]))
    torch.testing.assert_close(to_inverse(z), z + 0)


def test_missing_values_are_far():
    z = np.array([[[2.0, 0.0, np.nan, np.inf, -1.0, 5.0]]])
    assert np.allclose(to_inverse(z, 'metric'), [[[0.5, 0.2, 0.2, 0.2, 0.2, 0.2]]])
    assert np.allclose(to_inverse(z, 'inverse'), [[[2.0, 0.0, -1.0, -1.0, -1.0, 5.0]]])
    with pytest.raises(InputError, match='all are missing'):
        to_inverse(np.zeros((1, 2, 2)), 'metric')
    assert (normalise(to_inverse(np.full((2, 3, 3), 7.0)), 1, 99) == 0).all()  # constant: no depth


# files
ramp = np.linspace(0.1, 1, 3 * 6 * 8, dtype=np.float32).reshape(3, 6, 8)


def write(kind, path):
    if kind == 'npy':
        np.save(path / 'd.npy', ramp)
        return path / 'd.npy'
    if kind == 'npz':
        np.savez(path / 'd.npz', depth=ramp)
        return path / 'd.npz'
    for i, f in enumerate(ramp):
        if kind == '8 bit':
            Image.fromarray(np.rint(f * 255).astype(np.uint8)).save(path / f'{i}.png')
        elif kind == '16 bit':
            Image.fromarray(np.rint(f * 65535).astype(np.uint16)).save(path / f'{i}.png')
        elif kind == 'float':
            Image.fromarray(f).save(path / f'{i}.tiff')
        else:
            Image.fromarray(np.rint(f * 255).astype(np.uint8)[..., None].repeat(3, -1)).save(
                path / f'{i}.png'
            )
    return path


@pytest.mark.parametrize(
    'kind, tol',
    [('npy', 0), ('npz', 0), ('8 bit', 3e-3), ('16 bit', 2e-5), ('float', 1e-7), ('colour', 3e-3)],
)
def test_own_depth(kind, tol, tmp_path):
    f = load_depth(write(kind, tmp_path))
    assert isinstance(f, GivenDepth)
    got = f(np.zeros((3, 6, 8, 3), np.uint8))
    assert got.dtype == np.float32 and np.abs(got - normalise(ramp, 1, 99).numpy()).max() <= 2 * tol
    assert f(np.zeros((3, 12, 16, 3), np.uint8)).shape == (3, 12, 16)
    with pytest.raises(InputError, match='4, height'):
        f(np.zeros((4, 6, 8, 3), np.uint8))
    metric = load_depth(write(kind, tmp_path), output='metric')(np.zeros((3, 6, 8, 3), np.uint8))
    assert metric[0, 0, 0] > 0.9 and metric[-1, -1, -1] < 0.1


def test_own_depth_as_a_video(tmp_path):
    import imageio_ffmpeg
    import mediapy

    mediapy.set_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe())
    grey = np.linspace(20, 230, 4).astype(np.uint8)[:, None, None, None] + np.zeros(
        (4, 32, 48, 3), np.uint8
    )
    mediapy.write_video(str(tmp_path / 'd.mp4'), grey, fps=8)
    d = load_depth(tmp_path / 'd.mp4')(np.zeros((4, 16, 24, 3), np.uint8))
    assert d.shape == (4, 16, 24) and np.all(np.diff(d.mean((1, 2))) > 0.2)


def cut(save, path):
    save(path, ramp)
    path.write_bytes(path.read_bytes()[:200])
    return path


def flip(path):
    np.savez(path, x=ramp)
    b = bytearray(path.read_bytes())
    b[400] ^= 1
    path.write_bytes(b)
    return path


@pytest.mark.parametrize(
    'make, words',
    [
        (lambda p: p, 'neither pictures'),
        (lambda p: (p / 'a.png').write_bytes(b'no') and p, 'cannot be read'),
        (lambda p: (p / 'a.npy').write_bytes(b'no') and p / 'a.npy', 'cannot be read'),
        (lambda p: np.savez(p / 'a.npz', x=ramp, y=ramp) or p / 'a.npz', 'x, y'),
        (lambda p: cut(np.savez, p / 'b.npz'), 'cannot be read'),
        (lambda p: cut(np.save, p / 'b.npy'), 'cannot be read'),
        (lambda p: flip(p / 'c.npz'), 'cannot be read'),
        (lambda p: np.savez(p / 'o.npz', x=np.array([{}])) or p / 'o.npz', 'cannot be read'),
        (lambda p: (p / 'a.mp4').write_bytes(b'no film') and p / 'a.mp4', 'cannot be decoded'),
        (lambda p: Image.fromarray(video[0]).save(p / 'rgb.png') or p / 'rgb.png', 'coloured'),
        (lambda p: (p / 'a.exr').write_bytes(b'no') and p / 'a.exr', 'a.exr'),
        (
            lambda p: [Image.new('L', (4 + i, 4)).save(p / f'{i}.png') for i in range(2)] and p,
            'different sizes',
        ),
        (lambda p: p / 'gone.npy', 'not there'),
    ],
)
def test_bad_files_are_named(make, words, tmp_path):
    with pytest.raises(SczError, match=words):
        read_depth(make(tmp_path))


def test_grey_with_alpha_is_its_grey(tmp_path):
    la = np.stack([np.rint(ramp[0] * 255), np.full((6, 8), 255)], -1).astype(np.uint8)
    Image.fromarray(la, 'LA').save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_depth(tmp_path / 'a.png')[0], la[..., 0])


def test_sixteen_bits_of_a_video_are_kept(tmp_path):
    import imageio_ffmpeg

    deep = np.rint(np.linspace(1000, 60000, 3 * 32 * 48)).astype(np.uint16).reshape(3, 32, 48)
    run = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        '-loglevel',
        'error',
        '-f',
        'rawvideo',
        '-pix_fmt',
        'gray16le',
        '-s',
        '48x32',
        '-i',
        '-',
    ]
    for name, more, levels in (
        ('a.mkv', ['-c:v', 'ffv1'], 2),
        ('a.mp4', ['-c:v', 'libx264', '-crf', '0'], 400),
    ):
        subprocess.run([*run, *more, str(tmp_path / name)], input=deep.tobytes(), check=True)
        got = read_depth(tmp_path / name)
        assert (
            got.shape == deep.shape
            and np.abs(
                np.polyval(np.polyfit(got.ravel(), deep.ravel().astype(float), 1), got) - deep
            ).max()
            < levels
        ), name


@pytest.mark.skipif(find_spec('OpenEXR') is None, reason='OpenEXR is not installed')
def test_exr(tmp_path):
    import OpenEXR

    def write(name, **channels):
        header = dict(compression=OpenEXR.ZIP_COMPRESSION, type=OpenEXR.scanlineimage)
        with OpenEXR.File(header, {k: np.ascontiguousarray(v) for k, v in channels.items()}) as f:
            f.write(str(tmp_path / name))
        return tmp_path / name

    r = ramp[1] * 40
    np.testing.assert_array_equal(read_depth(write('z.exr', Z=r))[0], r)
    np.testing.assert_allclose(
        read_depth(write('half.exr', Y=r.astype(np.float16)))[0], r, rtol=1e-3
    )
    np.testing.assert_array_equal(
        read_depth(
            write(
                'layers.exr',
                **{'View.Depth.Z': r, 'View.Combined.R': 0 * r, 'View.Combined.G': 0 * r},
            )
        )[0],
        r,
    )
    np.testing.assert_allclose(read_depth(write('grey.exr', R=r, G=r, B=r))[0], r, rtol=1e-6)
    for name, kw, words in (
        ('rgb.exr', dict(R=r, G=0 * r, B=0 * r), 'coloured'),
        ('two.exr', dict(a=r, b=r), 'a, b'),
    ):
        with pytest.raises(InputError, match=words):
            read_depth(write(name, **kw))
    (tmp_path / 'no.exr').write_bytes(b'no')
    with pytest.raises(InputError, match='cannot be read'):
        read_depth(tmp_path / 'no.exr')
    far = write('far.exr', Z=np.where(r > 20, np.inf, r))
    assert estimate_depth(np.zeros((1, 6, 8, 3), np.uint8), far, 'metric').min() == 0


def test_without_openexr_the_remedy_is_said(tmp_path):
    (tmp_path / 'a.exr').write_bytes(b'x')
    code = f"import sys; sys.modules['OpenEXR'] = None; from scz_nb.depth.maps import read_depth; read_depth({str(tmp_path / 'a.exr')!r})"
    r = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    assert 'MissingDependency' in r.stderr and 'pip install OpenEXR' in r.stderr.splitlines()[-1]


# one call
near = np.random.default_rng(2).uniform(0.2, 0.7, (5, 40, 64)).astype(np.float32)


def test_every_road_leads_to_the_same_map(folders, tmp_path):
    np.save(tmp_path / 'd.npy', near)
    want = normalise(near, 1, 99).numpy()
    for model in (
        near,
        torch.tensor(near),
        near.tolist(),
        lambda v: near,
        lambda v: torch.tensor(near),
        str(tmp_path / 'd.npy'),
        tmp_path / 'd.npy',
        load_depth(tmp_path / 'd.npy'),
    ):
        got = estimate_depth(video, model)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-6)
    net = load_depth(folders('dpt'), 'cpu')
    for model in (net, folders('dpt'), net.raw):
        np.testing.assert_array_equal(estimate_depth(video, model, device='cpu'), net(video))
    np.testing.assert_array_equal(
        estimate_depth(video, 1 / near, 'metric'), stretched(to_inverse(1 / near, 'metric'))
    )


def test_a_video_may_be_a_file_and_depth_of_another_size(tmp_path):
    frames = [Image.fromarray(f) for f in video]
    frames[0].save(
        tmp_path / 'v.webp', save_all=True, append_images=frames[1:], duration=100, lossless=True
    )
    got = estimate_depth(tmp_path / 'v.webp', near[:, ::2, ::2])
    assert got.shape == (5, 40, 64) and got.min() == 0 and got.max() == 1
    np.testing.assert_array_equal(estimate_depth(video, near[:, ::2, ::2]), got)


def test_constant_depth_is_far_and_said():
    for model in (np.full((5, 40, 64), 3.0), lambda v: np.ones((5, 4, 6))):
        with pytest.warns(UserWarning, match='constant'):
            assert not estimate_depth(video, model).any()
    ball = np.zeros((5, 40, 64))
    ball[2, 10:13, 10:13] = 4.0  # far less than a hundredth, but no constant
    assert estimate_depth(video, ball).max() == 1


bad = dict(
    nan=(np.full((5, 40, 64), np.nan), 'all are missing'),
    inf=(np.full((5, 40, 64), np.inf), 'all are missing'),
    frame=(near[0], 'shape'),
    count=(near[1:], 'must be .5, height'),
    rgb=(near[..., None].repeat(3, -1), 'shape'),
    empty=(near[:, :0], 'shape'),
    words=('near', 'unknown depth'),
    text=(lambda v: 'near', 'type'),
    none=(None, 'type'),
    nothing=(lambda v: None, 'type'),
    complex=(near * 1j, 'real numbers'),
    ragged=([[[1.0], [2.0, 3.0]]] * 5, 'numbers'),
    function=(lambda v: near[:2], 'shape'),
    missing=(lambda v: near * np.nan, 'all are missing'),
    name=('depthcraftr', "did you mean 'depthcrafter'"),
    gone=('gone/depth.exr', 'not there'),
    number=(7, 'shape'),
)


@pytest.mark.parametrize('kind', bad)
def test_bad_depth_is_one_sentence(kind):
    model, words = bad[kind]
    with pytest.raises(InputError, match=words) as e:
        estimate_depth(video, model)
    assert str(e.value).count('\n') == 0 and not list(depth_cache().parent.rglob('*.npz'))


@pytest.mark.parametrize(
    'v',
    [video[0], video[..., :2], video[:0], video / 255.0 * np.nan, video.astype(int), 'gone.mp4'],
)
def test_a_bad_video_is_said(v):
    with pytest.raises(InputError):
        estimate_depth(v, near)


def test_partly_missing_depth_is_far():
    holes = np.where(near > 0.6, np.nan, near)
    got = estimate_depth(video, holes)
    assert np.isfinite(got).all() and (got[np.isnan(holes)] == 0).all()
    with pytest.raises(InputError, match='inverse, metric, far'):
        estimate_depth(video, near, 'metres')


# the cache
def files():
    return sorted(depth_cache().glob('*')) if depth_cache().is_dir() else []


def test_what_was_computed_is_kept(folders, monkeypatch):
    from scz_nb.depth import estimators as depth

    first = estimate_depth(video, folders('dpt'), device='cpu')
    assert len(files()) == 1 and files()[0].suffix == '.npz'
    np.testing.assert_allclose(read_depth(files()[0]), first)
    monkeypatch.setattr(
        depth, 'load_depth', lambda *a, **k: pytest.fail('the network was loaded again')
    )
    np.testing.assert_array_equal(estimate_depth(video, folders('dpt')), first)
    np.testing.assert_array_equal(
        estimate_depth(video / 255.0, folders('dpt')), first
    )  # the same content


def test_another_content_is_another_file(folders):
    folder, ask = (
        folders('dpt'),
        lambda v=video, **kw: estimate_depth(v, folders('dpt'), device='cpu', **kw),
    )
    ask()
    other = video.copy()
    other[3, 2, 1, 0] ^= 1
    ask(other)
    assert len(files()) == 2
    ask(output='metric')
    assert len(files()) == 3
    ask(video[:4])
    assert len(files()) == 4
    os.utime(folder + '/config.json', ns=(1, 1))
    ask()
    assert len(files()) == 5  # other weights
    ask(cache=False)
    estimate_depth(video, near)
    estimate_depth(video, lambda v: near)
    assert len(files()) == 5


@pytest.mark.parametrize(
    'harm',
    [
        lambda p: p.write_bytes(b''),
        lambda p: p.write_bytes(p.read_bytes()[:300]),
        lambda p: p.write_bytes(b'PK' + bytes(500)),
        lambda p: np.savez(p, x=np.zeros((2, 3, 4), np.float32)),
        lambda p: p.write_bytes(p.read_bytes()[:5000] + bytes(64) + p.read_bytes()[5064:]),
    ],
)
def test_a_broken_file_is_computed_again(harm, folders):
    first = estimate_depth(video, folders('dpt'), device='cpu')
    harm(files()[0])
    np.testing.assert_array_equal(estimate_depth(video, folders('dpt'), device='cpu'), first)
    np.testing.assert_array_equal(read_depth(files()[0]), first)  # and is whole again


def test_no_room_is_no_reason_to_lose_it(folders, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('x')
    monkeypatch.setenv('SCZ_NB_CACHE', str(tmp_path / 'file'))
    with pytest.warns(UserWarning, match='not kept'):
        got = estimate_depth(video, folders('dpt'), device='cpu')
    np.testing.assert_array_equal(got, load_depth(folders('dpt'), 'cpu')(video))


def test_a_disk_that_is_full_leaves_no_half_file(tmp_path):
    code = """import resource, signal, numpy as np
from scz_nb.depth.estimators import estimate_depth, depth_cache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
near = estimate_depth(np.random.default_rng(0).integers(0, 255, (8, 40, 64, 3), np.uint8), 'tiny', device='cpu')
print(near.shape, near.max(), list(depth_cache().iterdir()))"""
    r = subprocess.run(
        [sys.executable, '-c', code],
        cwd=root,
        capture_output=True,
        text=True,
        env={**os.environ, 'SCZ_NB_CACHE': str(tmp_path)},
    )
    assert r.stdout.strip() == '(8, 40, 64) 1.0 []' and 'not kept' in r.stderr, r.stderr


def test_the_cache_lies_where_it_is_said(monkeypatch):
    monkeypatch.setenv('SCZ_NB_CACHE', '/a/b')
    assert str(depth_cache()) == '/a/b/depth'
    monkeypatch.delenv('SCZ_NB_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', '/x')
    assert str(depth_cache()) == '/x/scz_nb/depth'
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert str(depth_cache()) == os.path.expanduser('~/.cache/scz_nb/depth')


# networks for whole clips
def test_the_embedded_network_knows_its_world():
    "Rank correlation with the true disparity of held-out scenes, at their size, at three times it, and for clips longer and shorter than eight frames."
    from scz_nb.core import to_uint8
    from scz_nb.stats import spearman
    from scz_nb.world.render import render
    from scz_nb.world.scenes import WorldConfig, sample_scene

    got = []
    for i, size in ((1, (64, 40)), (4, (64, 40)), (4, (192, 120)), (9, (64, 40))):
        w = WorldConfig(complexity='any', frames=11, width=size[0], height=size[1])
        c = render(sample_scene(10_000 + i, w), w, right=False)
        v, true = to_uint8(c.left), c.disparity.numpy()
        whole, one = (
            estimate_depth(v, 'tiny', device='cpu', cache=False),
            estimate_depth(v[:1], 'tiny', device='cpu', cache=False),
        )
        assert whole.shape == true.shape and one.shape == true[:1].shape
        got.append((spearman(whole, true), spearman(one, true[:1])))
    assert np.mean(got, 0).min() > 0.75, got


def test_a_folder_of_depthcrafter_is_a_name(tmp_path):
    from scz_nb.depth.depthcrafter import load_depthcrafter, random_depthcrafter

    random_depthcrafter().save_pretrained(tmp_path / 'dc')
    v = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)
    f = load_depth(tmp_path / 'dc', 'cpu')
    assert (
        f.name == 'depthcrafter'
        and dissolves(f)
        and dissolves(str(tmp_path / 'dc'))
        and not dissolves('depth-anything-v2-small')
        and not dissolves(np.zeros((3, 4, 5)))
    )
    torch.testing.assert_close(f.raw(v), load_depthcrafter(tmp_path / 'dc', 'cpu').raw(v))
    np.testing.assert_array_equal(estimate_depth(v, tmp_path / 'dc', device='cpu'), f(v))
    assert len(files()) == 1
    (tmp_path / 'dc/unet/config.json').write_text('{}')
    with pytest.raises(InputError):
        load_depth(tmp_path / 'dc', 'cpu')


def test_depthcrafter_and_video_depth_anything_say_what_they_need():
    with pytest.raises(MissingDependency, match='check the connection'):
        load_depth('depthcrafter', 'cpu')
    if find_spec('video_depth_anything') is None:
        with pytest.raises(
            MissingDependency, match='github.com/DepthAnything/Video-Depth-Anything'
        ):
            load_depth('video-depth-anything', 'cpu')


# flicker and alignment
def moving(frames=6, step=2, size=(20, 60)):
    "A clip whose points keep their disparity and move `step` pixels to the right; its flow."
    wide = np.random.default_rng(3).uniform(0, 1, (size[0], size[1] + step * frames))
    clip = np.stack(
        [wide[:, step * (frames - t) : step * (frames - t) + size[1]] for t in range(frames)]
    )
    flow = np.zeros((frames - 1, *size, 2))
    flow[..., 0] = step
    return clip, flow


@settings(max_examples=25, deadline=None)
@given(
    a=st.lists(st.floats(0.3, 3), min_size=6, max_size=6),
    b=st.lists(st.floats(-1, 1), min_size=6, max_size=6),
)
def test_alignment_is_exact_for_scale_and_shift(a, b):
    near, flow = moving()
    a, b = (np.array(v)[:, None, None] for v in (a, b))
    out = align_frames(a * near + b, flow)
    np.testing.assert_allclose(out, a[0] * near + b[0], atol=1e-9)
    assert depth_flicker(out, flow) < 1e-9


def test_a_few_wrong_pairs_do_not_matter():
    near, flow = moving()
    a = np.array([1, 2, 0.5, 1.5, 1, 3.0])[:, None, None]
    flow[:, :3, :, 1] = 9  # a sixth of the flow is wrong
    np.testing.assert_allclose(align_frames(a * near, flow), near, atol=1e-6)


def test_noise_does_not_flatten():
    near, flow = moving(30, 1)
    noisy = near + 0.1 * np.random.default_rng(0).standard_normal(near.shape)
    out = align_frames(noisy, flow)
    assert 0.8 < out[-1].std() / noisy[-1].std() < 1.25


def test_seen_and_cuts():
    near, flow = moving()
    seen = np.ones(flow.shape[:3], bool)
    seen[2] = False  # a cut: the frames after it keep their own scale
    out = align_frames(np.array([1, 1, 1, 2, 2, 2.0])[:, None, None] * near, flow, seen)
    np.testing.assert_allclose(out[3], 2 * near[3])
    assert np.isnan(depth_flicker(near, flow, 0 * seen))
    flat = align_frames(np.stack([np.full((20, 60), v) for v in (1.0, 3, 2, 5, 1, 0)]), flow)
    np.testing.assert_allclose(flat, 1)


def test_matches_are_rounded_and_bounded():
    flow = np.zeros((1, 2, 5, 2))
    flow[0, :, :, 0] = 1.6
    flow[0, 0, 0] = np.nan
    flow[0, 1, 1] = (0, -1.4)
    y, x, ok = matches(flow)
    assert (
        x[0, 1].tolist() == [2, 1, 4, 4, 4]
        and y[0, 1].tolist() == [1, 0, 1, 1, 1]
        and ok[0].tolist() == [[False, True, True, False, False], [True, True, True, False, False]]
    )


def test_line_has_two_sides():
    x = np.linspace(0, 1, 200)
    for a, b in ((2, -1), (0.5, 3)):
        np.testing.assert_allclose(fit_line(x, a * x + b), (a, b), atol=1e-9)


@pytest.mark.parametrize(
    'depth, flow',
    [
        (np.zeros((3, 4, 4)), np.zeros((3, 4, 4, 2))),
        (np.zeros((1, 4, 4)), np.zeros((0, 4, 4, 2))),
        (np.zeros((3, 4, 4)), np.zeros((2, 4, 5, 2))),
        (np.full((3, 4, 4), np.nan), np.zeros((2, 4, 4, 2))),
    ],
)
def test_what_does_not_fit_is_said(depth, flow):
    for f in (align_frames, depth_flicker):
        with pytest.raises(InputError):
            f(depth, flow)
