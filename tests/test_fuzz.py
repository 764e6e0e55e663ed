"""Damaged files and settings of every kind: what cannot be used is a sentence.

A minute of damage, the same each time. `make fuzz` looks for ten minutes with new numbers; what it
finds becomes a case of `found` below."""

import io
import json
import os
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from helpers.films import TONE, X264, ffmpeg
from helpers.films import picture as pattern
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from safetensors.torch import save

from scz_nb.apps import cli
from scz_nb.config import StereoConfig
from scz_nb.core import InputError, SczError
from scz_nb.depth.files import read_depth
from scz_nb.evaluation.runner import run_items
from scz_nb.films.convert import convert
from scz_nb.media.boxes import box, mark_stereo, stereo_boxes, with_boxes
from scz_nb.media.film import frames_of_film, probe
from scz_nb.media.io import keep_stereo, read_image, read_meta, read_video
from scz_nb.media.video import StereoVideo
from scz_nb.models.embedded import TOY, TinyModel, load_weights, save_weights
from scz_nb.world.scenes import VOCABULARY

pytestmark = pytest.mark.slow
VP9 = '-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus'.split()
more = int(os.environ.get('FUZZ', 0))  # times as many examples, and new ones
rng = np.random.default_rng(0)
frames = rng.integers(0, 256, (3, 16, 24, 3), np.uint8)


def examples(number):
    "So many examples of a test, the same each time; FUZZ=100: a hundred times as many, and new."
    return settings(
        max_examples=number * max(more, 1),
        derandomize=not more,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# damage
acts = ['byte', 'bit', 'number', 'cut', 'drop', 'twice', 'zeros', 'end']
places = st.floats(0, 1, exclude_max=True)
damage = st.lists(st.tuples(st.sampled_from(acts), places, st.integers(0, 2**32 - 1)), max_size=6)


def spoil(content, plan):
    "Bytes after all of a plan's damage, half of it at the beginning, where the sizes are."
    for act, place, value in plan:
        at = int(place * min(len(content), 200 if value & 1 else len(content)))
        content = damaged(content, act, at, value)
    return content


def damaged(content, act, at, value):
    "Bytes with one thing done to them."
    length = 1 + value % 64
    head, tail = content[:at], content[at:]
    if act == 'cut':
        return head
    if act == 'byte':
        return head + bytes([value & 255]) + tail[1:]
    if act == 'bit' and tail:
        return head + bytes([tail[0] ^ (1 << value % 8)]) + tail[1:]
    if act == 'number':
        size, order = (1, 2, 4, 8)[value % 4], ('little', 'big')[value // 4 % 2]
        extreme = (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
        return head + extreme[value % 5].to_bytes(size, order) + tail[size:]
    if act == 'drop':
        return head + tail[length:]
    if act == 'twice':
        return head + tail[:length] + tail
    if act == 'zeros':
        return head + bytes(length) + tail[length:]
    return content + tail


# files to begin with
def as_picture(kind, mode='RGB', **options):
    "A picture as the bytes of a file."
    file = io.BytesIO()
    image = Image.fromarray(frames[0])
    if mode.startswith('I'):
        image = Image.fromarray((frames[0, ..., 0].astype(np.uint16) * 257))
    else:
        image = image.convert(mode)
    image.save(file, kind, **options)
    return file.getvalue()


def with_notes():
    "A picture with a comment, as `read_meta` reads it, and a profile."
    notes = PngImagePlugin.PngInfo()
    notes.add_text('comment', json.dumps(dict(seed=3)), zip=True)
    return as_picture('png', pnginfo=notes, icc_profile=bytes(200))


def animation(kind):
    file = io.BytesIO()
    first, *rest = (Image.fromarray(f) for f in frames)
    first.save(file, kind, save_all=True, append_images=rest, duration=100, comment=b'{"seed": 3}')
    return file.getvalue()


exif = Image.Exif()
exif[0x0112] = 6
pictures = [
    ('png', as_picture('png')),
    ('png', as_picture('png', 'P')),
    ('png', as_picture('png', 'I')),
    ('png', with_notes()),
    ('jpg', as_picture('jpeg', exif=exif)),
    ('jpg', as_picture('jpeg', 'CMYK', progressive=True)),
    ('gif', animation('gif')),
    ('webp', animation('webp')),
    ('webp', as_picture('webp')),
    ('png', animation('png')),
    ('tif', as_picture('tiff', compression='tiff_lzw')),
    ('tif', as_picture('tiff', 'I')),
    ('bmp', as_picture('bmp')),
    ('ppm', as_picture('ppm')),
    ('ico', as_picture('ico', 'RGBA')),
    ('tga', as_picture('tga', rle=True)),
    ('jp2', as_picture('jpeg2000')),
    ('avif', as_picture('avif')),
    ('pcx', as_picture('pcx')),
    ('sgi', as_picture('sgi')),
    ('dds', as_picture('dds')),
    ('icns', as_picture('icns', 'RGBA')),
]


def as_array(write, *x):
    file = io.BytesIO()
    write(file, *x)
    return file.getvalue()


maps = frames[..., 0] / 255
arrays = [
    ('npy', as_array(np.save, maps)),
    ('npz', as_array(np.savez, maps)),
    ('npz', as_array(np.savez_compressed, maps.astype(np.float16))),
]


class Seeds(dict):
    "Files by kind, which are not shown with an error."

    def __repr__(self):
        return 'seeds'


@pytest.fixture(scope='module')
def seeds(tmp_path_factory):
    "Files that a program has to write: kind → (suffix, bytes) of each."
    where = tmp_path_factory.mktemp('seeds')
    video = StereoVideo(frames, frames[:, :, ::-1], maps, meta=dict(seed=3))
    films = [video.save(where / f'a.{kind}', layout='left', zoom=1) for kind in ('mp4', 'gif')]
    save_weights(TinyModel(TOY), where / 'w.safetensors')
    exr = []
    try:
        import OpenEXR

        header = dict(compression=OpenEXR.ZIP_COMPRESSION, type=OpenEXR.scanlineimage)
        OpenEXR.File(header, {'Z': maps[0].astype(np.float32)}).write(str(where / 'a.exr'))
        exr = [('exr', (where / 'a.exr').read_bytes())]
    except ImportError:
        pass
    for name in ('s.mp4', 's.mkv', 's.mov', 's.webm'):
        codec = VP9 if 'webm' in name else X264
        ffmpeg(where, *pattern('32x24'), *TONE, *codec, '-metadata', 'title=T', name)
    streams = [*where.glob('s.*')]
    return Seeds(
        films=[(p.suffix[1:], p.read_bytes()) for p in films],
        streams=[(p.suffix[1:], p.read_bytes()) for p in sorted(streams)]
        + [p for p in pictures if p[0] in ('gif', 'webp')],
        weights=[('safetensors', (where / 'w.safetensors').read_bytes())],
        kept=[('npz', keep_stereo(video).read_bytes())],
        depth=[*arrays, *exr],
    )


words = st.text(max_size=8)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words),
    lambda x: st.one_of(
        st.lists(x, max_size=3),
        st.dictionaries(st.one_of(words, st.sampled_from(['key', 'result'])), x, max_size=3),
    ),
    max_leaves=6,
)
sizes = sorted(asdict(TOY))


# what must hold
def holds(read, path):
    "The reader gives an array or a model, or says in one sentence why it does not."
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            return read(path)
        except SczError as e:
            said = str(e)
            assert 10 < len(said) < 700 and '\n' not in said, said


def spoilt(folder, seed, plan):
    "A damaged file."
    suffix, content = seed
    path = folder / f'spoilt.{suffix}'
    path.write_bytes(spoil(content, plan))
    return path


def check_picture(path):
    image = holds(read_image, path)
    if image is not None:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3


@examples(300)
@given(st.sampled_from(pictures), damage)
def test_pictures(tmp_path_factory, seed, plan):
    check_picture(spoilt(tmp_path_factory.getbasetemp(), seed, plan))


@examples(60)
@given(st.sampled_from(pictures), damage)
def test_metadata_of_pictures(tmp_path_factory, seed, plan):
    meta = holds(read_meta, spoilt(tmp_path_factory.getbasetemp(), seed, plan))
    assert meta is None or isinstance(meta, dict)


@examples(60)
@given(st.sampled_from(pictures), damage)
def test_moving_pictures(tmp_path_factory, seed, plan):
    path = spoilt(tmp_path_factory.getbasetemp(), seed, plan)
    if path.suffix in ('.gif', '.webp', '.png', '.jpg'):
        found = holds(read_video, path)
        assert found is None or found[0].ndim == 4 and found[0].shape[-1] == 3 and found[1] > 0


@examples(15)
@given(data=st.data(), plan=damage)
def test_films(tmp_path_factory, seeds, data, plan):
    seed = data.draw(st.sampled_from(seeds['films']))
    path = spoilt(tmp_path_factory.getbasetemp(), seed, plan)
    found = holds(read_video, path)
    assert found is None or found[0].ndim == 4 and found[0].shape[-1] == 3 and found[1] > 0
    meta = holds(read_meta, path)
    assert meta is None or isinstance(meta, dict)


def frames_in(path):
    "What a film is, and its frames, one after the other."
    film = probe(path)
    return film, [f.picture for f in frames_of_film(film)]


@examples(60)
@given(data=st.data(), plan=damage)
def test_films_frame_by_frame(tmp_path_factory, seeds, data, plan):
    path = spoilt(
        tmp_path_factory.getbasetemp(), data.draw(st.sampled_from(seeds['streams'])), plan
    )
    found = holds(frames_in, path)
    if found is not None:
        film, pictures = found
        assert {p.shape for p in pictures} <= {(film.height, film.width, 3)}


@examples(20)
@given(data=st.data(), plan=damage)
def test_conversions(tmp_path_factory, seeds, data, plan):
    path = spoilt(
        tmp_path_factory.getbasetemp(), data.draw(st.sampled_from(seeds['streams'])), plan
    )
    with tempfile.TemporaryDirectory() as out:
        made = holds(lambda p: convert(p, out, flat_depth, progress=False), path)
        names = [p for p in Path(out).iterdir() if not p.name.startswith('.')]
        assert len(names) == (0 if made is None else 2)
        assert made is None or len(frames_in(made)[1])


def flat_depth(small):
    return np.zeros(small.shape[:3], np.float32)


@examples(100)
@given(data=st.data(), plan=damage)
def test_boxes(tmp_path_factory, seeds, data, plan):
    seed = data.draw(st.sampled_from([s for s in seeds['streams'] if s[0] in ('mp4', 'mov')]))
    path = spoilt(tmp_path_factory.getbasetemp(), seed, plan)
    extra = stereo_boxes('side-by-side')
    holds(lambda p: mark_stereo(p, p.with_name('marked.mp4'), extra), path)


@examples(100)
@given(data=st.data(), plan=damage)
def test_trees_of_boxes(seeds, data, plan):
    (whole,) = (content for kind, content in seeds['streams'] if kind == 'mov')
    moov = whole[whole.index(b'moov') - 4 :]
    holds(lambda b: with_boxes(b, b'extra', 5), spoil(moov, plan))


@examples(200)
@given(data=st.data(), plan=damage)
def test_depth(tmp_path_factory, seeds, data, plan):
    found = [*seeds['depth'], *(p for p in pictures if p[0] in ('png', 'tif', 'jpg', 'webp'))]
    seed = data.draw(st.sampled_from(found))
    maps = holds(read_depth, spoilt(tmp_path_factory.getbasetemp(), seed, plan))
    assert maps is None or isinstance(maps, np.ndarray)


@examples(40)
@given(data=st.data(), plan=damage)
def test_weights(tmp_path_factory, seeds, data, plan):
    (seed,) = seeds['weights']
    model = holds(load_weights, spoilt(tmp_path_factory.getbasetemp(), seed, plan))
    assert model is None or isinstance(model, TinyModel)


@pytest.fixture(scope='module')
def tensors():
    return dict(TinyModel(TOY).state_dict())


@examples(25)
@given(sizes=st.dictionaries(st.one_of(st.sampled_from(sizes), words), json_values, max_size=2))
def test_headers_of_weights(tmp_path_factory, tensors, sizes):
    path = tmp_path_factory.getbasetemp() / 'header.safetensors'
    header = dict(config=json.dumps(asdict(TOY) | sizes), words=' '.join(VOCABULARY))
    path.write_bytes(save(tensors, header))
    model = holds(load_weights, path)
    assert model is None or isinstance(model, TinyModel)


@examples(100)
@given(data=st.data(), plan=damage)
def test_kept_videos(tmp_path_factory, seeds, data, plan):
    (seed,) = seeds['kept']
    video = holds(StereoVideo.load, spoilt(tmp_path_factory.getbasetemp(), seed, plan))
    assert video is None or video.left.shape == video.right.shape


# settings
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    words,
    st.complex_numbers(),
    st.binary(max_size=4),
    st.decimals(),
    st.fractions(),
    st.dates(),
    st.sampled_from([np.float32(3), np.int8(5), np.array([1.0, 2]), object(), len]),
)
anything = st.recursive(
    plain,
    lambda x: st.one_of(
        st.lists(x, max_size=4), st.tuples(x, x), st.dictionaries(words, x, max_size=3)
    ),
    max_leaves=8,
)
names = sorted(StereoConfig.__dataclass_fields__)


@examples(400)
@given(st.dictionaries(st.one_of(st.sampled_from(names), words), anything, max_size=3))
def test_settings(given_settings):
    found = holds(lambda kw: StereoConfig.make(**kw), given_settings)
    assert found is None or StereoConfig.make(**found.asdict()) == found


options = [
    '--steps',
    '--seed',
    '--scale',
    '--tol',
    '--layout',
    '--loops',
    '--right',
    '--depth',
    '--out',
    '--quiet',
    '--last',
    '--loop',
    '--offload',
    '--device',
    '--backbone',
]


@examples(200)
@given(
    st.sampled_from(
        ['run', 'convert', 'demo', 'eval', 'train-tiny', 'models', 'fetch', 'bench', 'app']
    ),
    st.lists(
        st.one_of(st.sampled_from(options), words, st.integers().map(str), st.floats().map(str)),
        max_size=5,
    ),
)
def test_words_of_the_command_line(command, given_words):
    err = io.StringIO()
    with pytest.MonkeyPatch.context() as m:
        m.setattr('sys.stderr', err)
        m.setattr('sys.stdout', err)
        try:
            holds(lambda w: cli.parse(command, w), given_words)
        except SystemExit as e:
            assert e.code in (0, 2)
    assert 'Traceback' not in err.getvalue()


@examples(100)
@given(json_values, damage)
def test_files_of_an_evaluation(tmp_path_factory, value, plan):
    folder = tmp_path_factory.getbasetemp() / 'items'
    folder.mkdir(exist_ok=True)
    (folder / 'a.json').write_bytes(spoil(json.dumps(value).encode(), plan))
    holds(
        lambda where: run_items(len, {'a': 'abc'}, where, key=dict(power=2), progress=False), folder
    )


# what was found: an error that was no sentence, once each
found = [  # reader, suffix and number of a picture, its damage
    (read_image, 'dds', 0, [('drop', 0.041, 802355090)]),
    (
        read_image,
        'avif',
        0,
        [
            ('twice', 0.757475120651921, 521761911),
            ('byte', 0.4802559755541813, 898567931),
            ('zeros', 0.6316025095719721, 4093508579),
        ],
    ),
    (
        read_meta,
        'avif',
        0,
        [
            ('end', 0.5773196958877799, 576726996),
            ('twice', 0.8854308485382621, 2242813213),
            ('number', 0.9133207726642895, 2540974444),
        ],
    ),
    (
        read_meta,
        'ppm',
        0,
        [('bit', 0.06358124361601691, 600180863), ('bit', 0.14716859282622985, 1104094699)],
    ),
    (
        read_meta,
        'jp2',
        0,
        [('byte', 0.7107624228794456, 1883279736), ('number', 0.4528989457125354, 2244686545)],
    ),
    (
        read_meta,
        'sgi',
        0,
        [
            ('zeros', 0.005385512579356266, 3497398194),
            ('zeros', 0.2547376616738095, 973152591),
            ('zeros', 0.1823274980513303, 2182290997),
            ('drop', 0.07177613962842733, 4017018783),
        ],
    ),
    (
        read_meta,
        'png',
        1,
        [('number', 0.050104375863715855, 2557977225), ('end', 0.32458061832855367, 3470886308)],
    ),
    (
        read_meta,
        'tif',
        1,
        [
            ('bit', 0.060406098939641106, 2323078731),
            ('cut', 0.15037145771075067, 689071290),
            ('number', 0.47209600553258846, 688731352),
        ],
    ),
    (
        read_meta,
        'webp',
        1,
        [
            ('drop', 0.06035774399971283, 1730827492),
            ('zeros', 0.319789459748791, 21430500),
            ('cut', 0.7748499474678825, 750889632),
        ],
    ),
    (
        read_video,
        'gif',
        0,
        [
            ('zeros', 0.9976344175612256, 2367817444),
            ('number', 0.3630949238425365, 845160019),
            ('end', 0.6787052267068792, 1542244890),
        ],
    ),
    (
        read_video,
        'gif',
        0,
        [
            ('cut', 0.7568314336230577, 2640431700),
            ('twice', 0.6968910060958352, 4244544127),
            ('drop', 0.9025481873591906, 774930377),
            ('drop', 0.137239774452809, 2101136677),
        ],
    ),
    (
        read_depth,
        'webp',
        0,
        [
            ('number', 0.10129395776625472, 2799084027),
            ('end', 0.9777509764504309, 190721627),
            ('byte', 0.7444018123172925, 2625193781),
            ('drop', 0.5141691159937144, 3629703954),
        ],
    ),
    (
        read_depth,
        'tif',
        1,
        [
            ('byte', 0.7506982876995989, 796417053),
            ('twice', 0.07119073511211205, 3866887992),
            ('bit', 0.3607798180138564, 1354883427),
            ('byte', 0.7803265393991853, 3199215382),
        ],
    ),
    (read_depth, 'npz', 1, [('zeros', 0.4263143707695969, 132798371)]),
    (
        read_depth,
        'npy',
        0,
        [
            ('twice', 0.8109782957551203, 1992758447),
            ('zeros', 0.42398795000354483, 3302397433),
            ('zeros', 0.5075471960261948, 2647181260),
            ('twice', 0.19982300083910676, 76785907),
        ],
    ),
]


@pytest.mark.parametrize('read, suffix, number, plan', found)
def test_what_was_found_in_files(tmp_path, read, suffix, number, plan):
    seed = [s for s in pictures + arrays if s[0] == suffix][number]
    assert holds(read, spoilt(tmp_path, seed, plan)) is None


@pytest.mark.parametrize('tree', [b'', box('free'), box('moov', box('trak')), b'moov'])
def test_a_tree_that_lacks_a_box_says_which(tree):
    with pytest.raises(InputError, match='has no box'):
        with_boxes(tree, b'', 0)


@pytest.mark.parametrize('comment', ['3', '[1]', 'null', '[' * 9999])
def test_metadata_is_a_dict(tmp_path, comment):
    notes = PngImagePlugin.PngInfo()
    notes.add_text('comment', comment)
    path = tmp_path / 'a.png'
    path.write_bytes(as_picture('png', pnginfo=notes))
    with pytest.raises(InputError, match='carries no metadata'):
        read_meta(path)


@pytest.mark.parametrize('text', ['null', '[]', '3', '{"key": {}}', '{"result": 3}', '[' * 99999])
def test_a_file_of_an_evaluation_that_is_none_is_named(tmp_path, text):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(InputError, match='a.json'):
        run_items(len, {'a': 'abc'}, tmp_path, key=dict(power=2), progress=False)


@pytest.mark.parametrize(
    'config',
    ['[]', '3', '{"width": 0}', '{"num_res_blocks": 4096}', '{"channel_mult": []}', '{"a": 1}'],
)
def test_a_network_that_cannot_be_is_no_model(tmp_path, tensors, config):
    path = tmp_path / 'a.safetensors'
    path.write_bytes(save(tensors, dict(config=config, words=' '.join(VOCABULARY))))
    with pytest.raises(InputError, match='does not hold weights'):
        load_weights(path)
