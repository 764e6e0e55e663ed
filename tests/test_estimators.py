"Depth estimators of transformers at small size, names, the cache, and depth at the door of `run`."

import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.depth_networks import nets, save_network
from helpers.project import root
from torch.nn import functional as F

from scz_nb.core import InputError, MissingDependency, NoiseSource, to_uint8
from scz_nb.depth import estimators as home
from scz_nb.depth.estimators import (
    DepthSource,
    EmbeddedDepth,
    as_depth,
    default_depth,
    depth_cache,
    depth_source,
    estimate_depth,
    estimators,
    load_depth,
    window_disparity,
)
from scz_nb.depth.files import read_depth
from scz_nb.depth.maps import Depth, stretched, to_inverse
from scz_nb.geometry.disparity import check_disparity, normalise
from scz_nb.models.hub import find_model, hub
from scz_nb.stats import spearman
from scz_nb.world.render import render
from scz_nb.world.scenes import WorldConfig, sample_scene

video = np.random.default_rng(0).integers(0, 256, (5, 40, 64, 3), np.uint8)
near = np.random.default_rng(2).uniform(0.2, 0.7, (5, 40, 64)).astype(np.float32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv('SCZ_NB_CACHE', str(tmp_path_factory.mktemp('cache')))


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    "Function from the name of a class of networks to a folder with one."
    made = {}

    def folder(kind):
        if kind not in made:
            path = tmp_path_factory.mktemp(kind)
            save_network(kind, path)
            made[kind] = str(path)
        return made[kind]

    return folder


@pytest.fixture
def dpt(folders):
    return folders('dpt')


# networks of transformers
in_metres = 'metric', 'glpn', 'zoedepth'


@pytest.mark.parametrize('kind', nets)
def test_what_a_network_gives_is_known_by_its_config(kind, folders):
    depth = load_depth(folders(kind), 'cpu')
    assert depth.output == ('metric' if kind in in_metres else 'inverse')


@pytest.mark.parametrize('kind', nets)
def test_every_class_gives_disparity(kind, folders):
    depth = load_depth(folders(kind), 'cpu')
    d = depth(video)
    assert d.dtype == np.float32 and d.min() == 0 and d.max() == 1
    check_disparity(d, 5, 40, 64)
    np.testing.assert_array_equal(d, normalise(depth.raw(video), 1, 99).numpy())


@pytest.mark.parametrize('kind', nets)
def test_the_batch_does_not_matter(kind, folders):
    raw = load_depth(folders(kind), 'cpu', batch=2).raw(video)
    whole = load_depth(folders(kind), 'cpu', batch=5).raw(video)
    torch.testing.assert_close(whole, raw, rtol=1e-3, atol=1e-4 * float(raw.abs().max()))


@pytest.mark.parametrize('kind', ['depth_anything', 'metric', 'dpt', 'glpn', 'zoedepth'])
def test_numbers_are_those_of_transformers(kind, folders):
    "By transformers' own means: processor, network, one frame at a time."
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    processor = AutoImageProcessor.from_pretrained(folders(kind))
    net = AutoModelForDepthEstimation.from_pretrained(folders(kind)).eval()
    with torch.inference_mode():
        z = net(**processor(images=[video[2]], return_tensors='pt')).predicted_depth
    z = z.reshape(1, 1, *z.shape[-2:])
    if kind == 'zoedepth':  # it has reflected trunc(3·√20) rows and trunc(3·√32) columns
        z = F.interpolate(z, (40 + 26, 64 + 32), mode='bicubic')[..., 13:-13, 16:-16]
    if kind in in_metres:
        assert z.min() > 0
        z = 1 / z
    want = F.interpolate(z, (40, 64), mode='bilinear', antialias=True)[0, 0]
    got = load_depth(folders(kind), 'cpu').raw(video)[2]
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4 * float(z.max()))


def test_depth_pro_is_inverse_as_transformers_has_it(folders):
    "Its post-processing gives 1/x of what the network gives, so its output is 'inverse'."
    from transformers.models.auto import AutoModelForDepthEstimation

    net = AutoModelForDepthEstimation.from_pretrained(folders('depth_pro')).eval()
    x = torch.from_numpy(video[:1]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        out = net(pixel_values=F.interpolate(x, (64, 64), mode='bilinear')).predicted_depth
    want = F.interpolate(out[:, None], (40, 64), mode='bilinear', antialias=True)[0, 0]
    torch.testing.assert_close(load_depth(folders('depth_pro'), 'cpu').raw(video[:1])[0], want)


def test_output_can_be_said(dpt):
    depth = load_depth(dpt, 'cpu', output='metric')
    assert depth.output == 'metric' and np.isfinite(depth(video)).all()
    with pytest.raises(InputError, match='inverse, metric, far'):
        load_depth(dpt, output='metres')


def test_a_float_video_is_the_same(dpt):
    depth = load_depth(dpt, 'cpu')
    np.testing.assert_array_equal(depth(video / 255.0), depth(video))


@pytest.mark.parametrize('bad', [video[0], video[..., :2], video[:0]])
def test_a_network_takes_a_video(bad, dpt):
    with pytest.raises(InputError, match='video'):
        load_depth(dpt, 'cpu')(bad)


def test_progress_counts_batches(dpt, capsys):
    load_depth(dpt, 'cpu', batch=2, progress=True)(video)
    assert '3/3' in capsys.readouterr().err


def test_without_progress_there_is_no_bar(dpt, capsys):
    load_depth(dpt, 'cpu', batch=2)(video)
    assert 'depth' not in capsys.readouterr().err


# names
@pytest.mark.parametrize('name', estimators)
def test_names_lead_to_what_they_say(name):
    e = estimators[name]
    assert depth_source(name) == (e.loader, hub[name].repo, e)
    assert hub[name].licence and hub[name].revision
    assert e.params > 0 and e.output in ('inverse', 'metric')


@pytest.mark.parametrize(
    'name, licence',
    {
        'depthcrafter': 'research only',
        'video-depth-anything': 'Apache-2.0',
        'video-depth-anything-large': 'CC-BY-NC-4.0',
        'depth-anything-v2-large': 'CC-BY-NC-4.0',
        'tiny': 'Apache-2.0',
        default_depth: 'Apache-2.0',
    }.items(),
)
def test_licences(name, licence):
    assert licence in find_model(name).licence


def test_other_names_are_repositories_or_folders(tmp_path, dpt):
    assert depth_source('somebody/some-model') == ('transformers', 'somebody/some-model', None)
    assert depth_source(dpt) == ('transformers', dpt, None)
    assert depth_source(tmp_path).loader == 'file'


def test_a_wrong_name_is_said():
    with pytest.raises(InputError, match="did you mean 'zoedepth'.*auto, depth-anything-v2-small"):
        depth_source('zoedept', ['auto'])


@pytest.mark.parametrize('gone', ['depth.npz', 'no/where/depth', '/nowhere/depth.mp4'])
def test_a_path_that_leads_nowhere_is_said(gone):
    with pytest.raises(InputError, match='not there'):
        depth_source(gone)


def test_no_network_is_said():
    with pytest.raises(MissingDependency, match='check the connection'):
        load_depth('depth-anything-v2-small')


def test_no_transformers_is_said():
    code = """import sys; sys.modules['transformers'] = None
from scz_nb.depth.estimators import load_depth; load_depth()"""
    r = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    assert 'MissingDependency' in r.stderr
    assert "pip install 'scz_nb[hub]'" in r.stderr.splitlines()[-1]


@pytest.mark.parametrize('kind', ['dpt', 'nothing'])
def test_a_broken_folder_is_said(kind, tmp_path):
    (tmp_path / 'config.json').write_text(f'{{"model_type": "{kind}"}}')
    with pytest.raises(InputError, match='save_pretrained'):
        load_depth(tmp_path)


def test_depthcrafter_says_what_it_needs():
    with pytest.raises(MissingDependency, match='check the connection'):
        load_depth('depthcrafter', 'cpu')


@pytest.mark.skipif(find_spec('video_depth_anything') is not None, reason='it is installed')
def test_video_depth_anything_says_what_it_needs():
    with pytest.raises(MissingDependency, match='github.com/DepthAnything/Video-Depth-Anything'):
        load_depth('video-depth-anything', 'cpu')


# one call
def test_every_way_leads_to_the_same_map(tmp_path):
    np.save(tmp_path / 'd.npy', near)
    ways = [near, torch.tensor(near), near.tolist(), lambda v: near, lambda v: torch.tensor(near)]
    path = tmp_path / 'd.npy'
    want = normalise(near, 1, 99).numpy()
    for model in (*ways, str(path), path, load_depth(path)):
        got = estimate_depth(video, model)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_a_network_is_a_name_an_object_or_a_function(dpt):
    net = load_depth(dpt, 'cpu')
    for model in (net, dpt, net.raw):
        np.testing.assert_array_equal(estimate_depth(video, model, device='cpu'), net(video))


def test_an_array_may_be_in_metres():
    got = estimate_depth(video, 1 / near, 'metric')
    np.testing.assert_array_equal(got, stretched(to_inverse(1 / near, 'metric')))
    with pytest.raises(InputError, match='inverse, metric, far'):
        estimate_depth(video, near, 'metres')


def test_a_video_may_be_a_file_and_depth_of_another_size(tmp_path):
    from PIL import Image

    first, *rest = (Image.fromarray(f) for f in video)
    more = dict(append_images=rest, duration=100, lossless=True)
    first.save(tmp_path / 'v.webp', save_all=True, **more)
    got = estimate_depth(tmp_path / 'v.webp', near[:, ::2, ::2])
    assert got.shape == (5, 40, 64) and got.min() == 0 and got.max() == 1
    np.testing.assert_array_equal(estimate_depth(video, near[:, ::2, ::2]), got)


@pytest.mark.parametrize('model', [np.full((5, 40, 64), 3.0), lambda v: np.ones((5, 4, 6))])
def test_constant_depth_is_far_and_said(model):
    with pytest.warns(UserWarning, match='constant'):
        assert not estimate_depth(video, model).any()


def test_partly_missing_depth_is_far():
    holes = np.where(near > 0.6, np.nan, near)
    got = estimate_depth(video, holes)
    assert np.isfinite(got).all() and (got[np.isnan(holes)] == 0).all()


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
    assert '\n' not in str(e.value)
    assert not list(depth_cache().parent.rglob('*.npz'))


@pytest.mark.parametrize(
    'v',
    [video[0], video[..., :2], video[:0], video / 255.0 * np.nan, video.astype(int), 'gone.mp4'],
)
def test_a_bad_video_is_said(v):
    with pytest.raises(InputError):
        estimate_depth(v, near)


# the cache
def files():
    return sorted(depth_cache().glob('*')) if depth_cache().is_dir() else []


def test_what_was_computed_is_kept(dpt, monkeypatch):
    first = estimate_depth(video, dpt, device='cpu')
    (file,) = files()
    assert file.suffix == '.npz'
    np.testing.assert_allclose(read_depth(file), first)
    monkeypatch.setattr(home, 'load_depth', lambda *a: pytest.fail('the network was loaded again'))
    np.testing.assert_array_equal(estimate_depth(video, dpt), first)
    np.testing.assert_array_equal(estimate_depth(video / 255.0, dpt), first)  # the same content


def other_pixel(folder):
    other = video.copy()
    other[3, 2, 1, 0] ^= 1
    estimate_depth(other, folder, device='cpu')


def other_output(folder):
    estimate_depth(video, folder, 'metric', device='cpu')


def fewer_frames(folder):
    estimate_depth(video[:4], folder, device='cpu')


def other_weights(folder):
    os.utime(folder + '/config.json', ns=(1, 1))
    estimate_depth(video, folder, device='cpu')


@pytest.mark.parametrize('other', [other_pixel, other_output, fewer_frames, other_weights])
def test_another_content_is_another_file(other, dpt):
    estimate_depth(video, dpt, device='cpu')
    other(dpt)
    assert len(files()) == 2


def test_only_networks_are_kept(dpt):
    estimate_depth(video, dpt, device='cpu', cache=False)
    estimate_depth(video, near)
    estimate_depth(video, lambda v: near)
    assert not files()


@pytest.mark.parametrize(
    'harm',
    [
        lambda p: p.write_bytes(b''),
        lambda p: p.write_bytes(p.read_bytes()[:300]),
        lambda p: p.write_bytes(b'PK' + bytes(500)),
        lambda p: np.savez(p, x=np.zeros((2, 3, 4), np.float32)),
        lambda p: p.write_bytes(p.read_bytes()[:5000] + bytes(64) + p.read_bytes()[5064:]),
    ],
    ids=['empty', 'cut off', 'no archive', 'another array', 'a hole'],
)
def test_a_broken_file_is_computed_again(harm, dpt):
    first = estimate_depth(video, dpt, device='cpu')
    harm(files()[0])
    np.testing.assert_array_equal(estimate_depth(video, dpt, device='cpu'), first)
    np.testing.assert_array_equal(read_depth(files()[0]), first)  # and is whole again


def test_no_room_is_no_reason_to_lose_it(dpt, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('x')
    monkeypatch.setenv('SCZ_NB_CACHE', str(tmp_path / 'file'))
    with pytest.warns(UserWarning, match='not kept'):
        got = estimate_depth(video, dpt, device='cpu')
    np.testing.assert_array_equal(got, load_depth(dpt, 'cpu')(video))


def test_a_disk_that_is_full_leaves_no_half_file(tmp_path):
    code = """import resource, signal, numpy as np
from scz_nb.depth.estimators import estimate_depth, depth_cache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
video = np.random.default_rng(0).integers(0, 255, (8, 40, 64, 3), np.uint8)
near = estimate_depth(video, 'tiny', device='cpu')
print(near.shape, near.max(), list(depth_cache().iterdir()))"""
    environment = {**os.environ, 'SCZ_NB_CACHE': str(tmp_path)}
    command = [sys.executable, '-c', code]
    r = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)
    assert r.stdout.strip() == '(8, 40, 64) 1.0 []' and 'not kept' in r.stderr, r.stderr


def test_the_cache_lies_where_it_is_said(monkeypatch):
    monkeypatch.setenv('SCZ_NB_CACHE', '/a/b')
    assert str(depth_cache()) == '/a/b/depth'
    monkeypatch.delenv('SCZ_NB_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', '/x')
    assert str(depth_cache()) == '/x/scz_nb/depth'
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert str(depth_cache()) == os.path.expanduser('~/.cache/scz_nb/depth')


# the embedded network
def clip_of(i, **kw):
    world = WorldConfig(complexity='any', **kw)
    return render(sample_scene(10_000 + i, world), world, right=False)


def test_the_embedded_network_knows_its_world():
    """Rank correlation with the true disparity of held-out scenes.

    At their size and at three times it, and for clips longer and shorter than eight frames."""
    got = []
    for i, size in ((1, (64, 40)), (4, (64, 40)), (4, (192, 120)), (9, (64, 40))):
        c = clip_of(i, frames=11, width=size[0], height=size[1])
        v, true = to_uint8(c.left), c.disparity.numpy()
        whole = estimate_depth(v, 'tiny', device='cpu', cache=False)
        one = estimate_depth(v[:1], 'tiny', device='cpu', cache=False)
        assert whole.shape == true.shape and one.shape == true[:1].shape
        got.append((spearman(whole, true), spearman(one, true[:1])))
    assert np.mean(got, 0).min() > 0.75, got


@pytest.fixture(scope='module')
def embedded(backbone):
    return EmbeddedDepth(backbone.model, NoiseSource(3))


def test_windows_of_the_embedded_depth_reach_back(embedded):
    v = to_uint8(clip_of(4, frames=11).left)
    raw = embedded.raw(v)
    first = window_disparity(embedded.model, v[:8], NoiseSource(3))
    last = window_disparity(embedded.model, v[3:], NoiseSource(3))
    assert torch.equal(raw, torch.cat([first, last[5:]]))


def test_embedded_depth_is_stretched_once(embedded):
    v = to_uint8(clip_of(4, frames=11).left)
    np.testing.assert_array_equal(embedded(v), normalise(embedded.raw(v), 1, 99).numpy())


def test_the_embedded_depth_dissolves_any_map(embedded):
    v = video[:, :, :]
    soft = embedded.dissolve(v, near, 30)
    assert soft.dtype == np.float32 and soft.shape == near.shape
    assert np.abs(np.diff(soft, axis=2)).mean() < np.abs(np.diff(near, axis=2)).mean() / 2
    given = EmbeddedDepth(embedded.model, NoiseSource(3), load_of(near))
    np.testing.assert_array_equal(given(v, 30), soft)
    np.testing.assert_array_equal(embedded(v, 30), embedded.dissolve(v, embedded(v), 30))


def load_of(disparity):
    "A `Depth` that gives this."

    class Given(Depth):
        name = 'given'

        def __call__(self, video, strength=0):
            return disparity

    return Given()


def test_strength_0_is_the_map_itself(embedded):
    np.testing.assert_array_equal(embedded.dissolve(video, near, 0), near)


# depth at the door of `run`
noise = NoiseSource(0)
stand_in = SimpleNamespace(
    name='some-model', default_depth=default_depth, frames=5, height=40, width=64, device='cpu'
)


def test_auto_is_the_embedded_backbones_own_network(backbone):
    for name in ('auto', 'tiny'):
        depth = as_depth(name, backbone, noise)
        assert isinstance(depth, EmbeddedDepth) and depth.source is None
        assert depth.name == 'auto' and depth.dissolves


def test_auto_is_the_default_estimator_of_a_model_without_depth(folders, monkeypatch):
    place = SimpleNamespace(**vars(stand_in) | dict(default_depth=folders('depth_anything')))
    depth = as_depth('auto', place, noise)
    want = load_depth(folders('depth_anything'), 'cpu')
    np.testing.assert_array_equal(depth(video), want(video))


def test_an_embedded_backbone_dissolves_what_is_given(backbone, dpt):
    v = clip_of(4).left.numpy()
    for given in (np.full((8, 40, 64), 0.5), lambda video: np.zeros((8, 40, 64)), dpt):
        depth = as_depth(given, backbone, noise, strength=20)
        assert depth.dissolves and depth.source is not None
        want = depth.dissolve(v, depth.source(v), 20)
        np.testing.assert_array_equal(depth(v, 20), want)


def test_a_depth_that_dissolves_itself_is_left_alone(backbone):
    own = load_of(near)
    own.dissolves = True
    assert as_depth(own, backbone, noise, strength=20) is own


@pytest.mark.parametrize('depth', ['auto', 'dpt-large', near, lambda v: near, load_of(near)])
def test_what_cannot_dissolve_is_refused_before_it_is_loaded(depth, monkeypatch):
    monkeypatch.setattr(home, 'load_depth', lambda *a: pytest.fail('it was loaded'))
    with pytest.raises(InputError, match='dissolve=30 needs a diffusion depth model'):
        as_depth(depth, stand_in, noise, strength=30)


def test_an_array_must_fit_the_video(backbone):
    with pytest.raises(InputError, match='must be .frames, height, width. = .8, 40, 64'):
        as_depth(near, backbone, noise)
    assert as_depth(near, backbone, noise, frames=5).name != 'array'
    with pytest.raises(InputError, match='must lie in'):
        as_depth(near + 1, backbone, noise, frames=5)


def test_what_a_function_gives_must_fit_the_video(backbone):
    depth = as_depth(lambda v: near[:, 1:], backbone, noise)
    with pytest.raises(InputError, match='must be .frames, height, width. = .5, 40, 64'):
        depth(video)


def test_a_backbone_without_depth_says_so():
    with pytest.raises(InputError, match='no depth of its own'):
        as_depth('auto', SimpleNamespace(name='some-model', default_depth=None), noise)


# in `run`
def go(backbone, **kw):
    from scz_nb.sampler import run

    quick = dict(restart_iterations=1, refine=(), dissolve=0)
    common = dict(steps=2, config=quick, progress=False)
    return run(video[0], 'a ball', backbone=backbone, **common, **kw)


@pytest.fixture(scope='module')
def published():
    "A small pipeline with random weights, as a backbone."
    from scz_nb.models.backbones import DynamiCrafterBackbone
    from scz_nb.models.stand_in import random_pipeline

    return DynamiCrafterBackbone(random_pipeline('dynamicrafter-512'))


def test_run_takes_a_network_by_name(backbone, dpt):
    v = go(backbone, depth=dpt)
    np.testing.assert_array_equal(v.disparity, load_depth(dpt, 'cpu')(v.left))
    assert v.meta['depth'] == dpt
    again = go(backbone, depth=load_depth(dpt, 'cpu'))
    np.testing.assert_array_equal(v.right, again.right)


def test_run_takes_a_file(backbone, tmp_path):
    d = np.random.default_rng(1).uniform(size=(8, 40, 64)).astype(np.float32)
    np.save(tmp_path / 'near.npy', d)
    v = go(backbone, depth=tmp_path / 'near.npy')
    np.testing.assert_allclose(v.disparity, normalise(d, 1, 99), atol=1e-6)
    assert v.meta['depth'] == str(tmp_path / 'near.npy')


def test_auto_in_run_is_the_default_estimator(published, folders, monkeypatch):
    source = DepthSource('transformers', folders('depth_anything'))
    monkeypatch.setattr(home, 'depth_source', lambda name, more=(): source)
    v = go(published)
    want = load_depth(folders('depth_anything'), 'cpu')(v.left)
    np.testing.assert_array_equal(v.disparity, want)
    assert v.meta['depth'] == default_depth


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
    run_network = lambda *a: pytest.fail('a network was run')
    monkeypatch.setattr(type(published.pipe), 'condition', run_network)
    with pytest.raises(error, match=words):
        go(published, depth=depth)


def test_a_folder_of_depthcrafter_is_a_name(tmp_path):
    from scz_nb.depth.depthcrafter import random_depthcrafter

    random_depthcrafter().save_pretrained(tmp_path / 'dc')
    v = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)
    depth = as_depth(str(tmp_path / 'dc'), stand_in, noise, strength=30)
    assert depth.name == 'depthcrafter' and depth.dissolves
    np.testing.assert_array_equal(estimate_depth(v, tmp_path / 'dc', device='cpu'), depth(v))
    assert len(files()) == 1


def test_a_broken_folder_of_depthcrafter_is_said(tmp_path):
    from scz_nb.depth.depthcrafter import random_depthcrafter

    random_depthcrafter().save_pretrained(tmp_path / 'dc')
    (tmp_path / 'dc/unet/config.json').write_text('{}')
    with pytest.raises(InputError):
        load_depth(tmp_path / 'dc', 'cpu')
