"Full disks, names that others take, threads: nothing is lost, and what happened is a sentence."

import contextlib
import errno
import io
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.films import TONE, X264, ffmpeg
from helpers.films import picture as pattern
from PIL import Image, ImageCms

from scz_nb.apps import cli
from scz_nb.core import (
    InputError,
    OutputError,
    SczError,
    as_video,
    atomic_write,
    check_choice,
    check_writable,
    pick_device,
    reserved,
    sentences,
)
from scz_nb.evaluation.runner import run_items
from scz_nb.films.convert import convert
from scz_nb.films.still import convert_still
from scz_nb.media.io import kept, read_image, read_meta, read_video, rehearse
from scz_nb.media.video import StereoVideo
from scz_nb.models.backbones import TinyBackbone
from scz_nb.sampler import run

rng = np.random.default_rng(0)
frames = rng.integers(0, 256, (4, 40, 64, 3), np.uint8)
saved = StereoVideo(frames, frames[:, :, ::-1], rng.random((4, 40, 64)), meta=dict(seed=3))
picture = frames[0]

# the command line with a video that is there already in place of a run
stub = """
import os, sys, time, types
import numpy as np
from scz_nb.media.video import StereoVideo
frames = np.random.default_rng(0).integers(0, 256, (4, 40, 64, 3), np.uint8)
def run(**given):
    print('running', file=sys.stderr, flush=True)
    time.sleep(float(os.environ.get('SLEEP', 0)))
    return StereoVideo(frames, frames, meta=dict(seed=3))
sys.modules['scz_nb.sampler'] = types.SimpleNamespace(run=run)
from scz_nb.apps.cli import main
sys.exit(main())
"""


def start(*argv, code=stub, **env):
    "The command line in a process of its own."
    cmd = [sys.executable, '-c', code, *map(str, argv)]
    pipe = subprocess.PIPE
    return subprocess.Popen(cmd, stdout=pipe, stderr=pipe, env={**os.environ, **env})


def ended(process):
    "Exit status, output and errors."
    out, err = process.communicate(timeout=120)
    return process.returncode, out.decode(), err.decode()


def cli_says(*argv, capsys):
    "Exit status, output and errors of `scz-nb argv…`, here."
    try:
        status = cli.main([str(a) for a in argv])
    except SystemExit as e:
        status = e.code
    return status, *capsys.readouterr()


def is_sentence(err):
    return err.startswith('scz-nb: ') and err.count('\n') == 1 and 'Traceback' not in err


@pytest.fixture
def made(monkeypatch):
    "`run` gives a video that was made before; the list of what it was given."
    calls = []

    def stand_in(**given):
        calls.append(given)
        return saved

    monkeypatch.setitem(sys.modules, 'scz_nb.sampler', types.SimpleNamespace(run=stand_in))
    return calls


def names(folder):
    return sorted(p.name for p in folder.iterdir())


# names are taken
def test_eight_processes_make_eight_files(tmp_path, made):
    options = dict(out=str(tmp_path), layout=['left'], loops=1, prompt='x')
    together = multiprocessing.get_context('fork')
    processes = [
        together.Process(target=cli.make_files, args=('photo.jpg', options)) for _ in range(8)
    ]
    for p in processes:
        p.start()
    for p in processes:
        p.join(60)
    assert [p.exitcode for p in processes] == 8 * [0]
    paths = list(tmp_path.glob('*.mp4'))
    assert {p.name for p in paths} == {f'photo{n}_left.mp4' for n in ('', *range(-8, -1))}
    assert all(len(read_video(p)[0]) == 4 and read_meta(p)['seed'] == 3 for p in paths)
    assert len(names(tmp_path)) == 16


def test_eight_threads_make_eight_files(tmp_path):
    barrier = threading.Barrier(8)

    def save(i):
        barrier.wait()
        with cli.new_path(tmp_path, 'a', ['left']) as path:
            return saved.save(path, layout='left', zoom=1)

    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(save, range(8)))
    assert len(paths) == 8 and all(len(read_video(p)[0]) == 4 for p in paths)


def test_eight_threads_into_one_file_leave_a_whole_one(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda i: saved.save(tmp_path / 'a', zoom=1), range(8)))
    assert len(read_video(paths.pop())[0]) == 4 and not paths
    assert names(tmp_path) == ['a_LR.mp4', 'a_LR.mp4.json']


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    "A film of eighty frames and some sound."
    folder = tmp_path_factory.mktemp('film')
    ffmpeg(folder, *pattern(seconds=8), *TONE, *X264, 'film.mp4')
    return folder / 'film.mp4'


def slope(small):
    "A depth: low is near."
    h = np.linspace(0, 1, small.shape[1], dtype=np.float32)[:, None]
    return np.broadcast_to(h, small.shape[:3])


films_made = [f'film{n}_LR.mp4' for n in ('', *range(-8, -1))]


def are_whole(folder):
    "Eight stereo films and what they say of themselves, and nothing else."
    assert names(folder) == sorted(n + end for n in films_made for end in ('', '.json'))
    return all(len(read_video(folder / n)[0]) == 80 for n in films_made)


def test_eight_conversions_at_once_make_eight_films(film, tmp_path):
    barrier = threading.Barrier(8)

    def go(i):
        barrier.wait()
        return convert(film, tmp_path, slope, progress=False, resume=i % 2 > 0)

    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(go, range(8)))
    assert len(paths) == 8 and are_whole(tmp_path)


def test_eight_converting_processes_make_eight_films(film, tmp_path):
    together = multiprocessing.get_context('fork')
    given = dict(args=(film, tmp_path, slope), kwargs=dict(progress=False))
    processes = [together.Process(target=convert, **given) for _ in range(8)]
    for p in processes:
        p.start()
    for p in processes:
        p.join(120)
    assert [p.exitcode for p in processes] == 8 * [0] and are_whole(tmp_path)


def still(layout, picture, folder):
    return convert_still(picture, folder, slope, layout=layout)


def are_whole_stills(folder, each):
    "The files of eight stills, each a picture, and nothing else."
    sizes = {Image.open(p).convert('RGB').size for p in folder.iterdir()}
    return len(names(folder)) == 8 * each and len(sizes) == 1


@pytest.mark.parametrize(('layout', 'each'), [('side-by-side', 1), ('pair', 2), ('mpo', 1)])
def test_eight_stills_at_once_are_eight(tmp_path, layout, each):
    Image.fromarray(picture).save(tmp_path / 'a.png')
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(still, 8 * [layout], 8 * [tmp_path / 'a.png'], 8 * [tmp_path / 'out']))
    assert sorted(p.name for files in made for p in files) == names(tmp_path / 'out')
    assert are_whole_stills(tmp_path / 'out', each)


def test_eight_processes_make_eight_stills(tmp_path):
    Image.fromarray(picture).save(tmp_path / 'a.png')
    together = multiprocessing.get_context('fork')
    given = 'jps', tmp_path / 'a.png', tmp_path / 'out'
    processes = [together.Process(target=still, args=given) for _ in range(8)]
    for p in processes:
        p.start()
    for p in processes:
        p.join(120)
    assert [p.exitcode for p in processes] == 8 * [0] and are_whole_stills(tmp_path / 'out', 1)


def test_a_still_with_a_name_of_eighty_letters(tmp_path):
    Image.fromarray(picture).save(tmp_path / f'{80 * "雪"}.png')
    (made,) = still('side-by-side', tmp_path / f'{80 * "雪"}.png', tmp_path / 'out')
    assert names(tmp_path / 'out') == [made.name] and made.name.startswith(60 * '雪')


def test_pieces_that_another_conversion_has_are_left_alone(film, tmp_path):
    # the inner one finds pieces of its own choices, which the outer one is at
    others = []
    first = True

    def depth(small):
        nonlocal first
        if first:
            first = False
            others.append(convert(film, tmp_path, depth, progress=False, resume=True).name)
        return slope(small)

    assert convert(film, tmp_path, depth, progress=False).name == 'film_LR.mp4'
    assert others == ['film-2_LR.mp4'] and not list(tmp_path.glob('.*'))


def test_names_are_given_back(tmp_path):
    with contextlib.suppress(KeyError), reserved(lambda i: [tmp_path / f'new/{i}']):
        assert names(tmp_path / 'new') == ['1']
        raise KeyError
    assert not names(tmp_path)


def test_names_are_taken_together(tmp_path):
    (tmp_path / 'b1').touch()
    with reserved(lambda i: [tmp_path / f'a{i}', tmp_path / f'b{i}']) as number:
        assert number == 2 and names(tmp_path) == ['a2', 'b1', 'b2']


def test_old_parts_are_removed_and_new_ones_stay(tmp_path):
    with atomic_write(tmp_path / 'a.mp4') as old, atomic_write(tmp_path / 'b.mp4') as new:
        old.write_text('half')
        new.write_text('half')
        os.utime(old, (0, 0))
        check_writable(tmp_path)
        assert new.exists() and not old.exists()
        old.write_text('whole')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_end_that_can_be_caught_leaves_nothing(number, tmp_path):
    # a parent such as nohup may have told its children to ignore these
    code = 'import signal\nsignal.signal(2, signal.default_int_handler)\n'
    code += 'for n in 1, 15:\n    signal.signal(n, signal.SIG_DFL)\n' + stub
    p = start('run', '--prompt', 'x', '--out', tmp_path / 'new', code=code, SLEEP='60')
    assert p.stderr.readline() == b'running\n' and names(tmp_path / 'new') == ['video_LR.mp4']
    p.send_signal(number)
    assert ended(p)[0] == 128 + number and not names(tmp_path)


# finished work is not lost
@pytest.fixture
def tmpfs(tmp_path):
    "A disk of a megabyte, where one can be had."
    disk = tmp_path / 'disk'
    disk.mkdir()
    cmd = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(disk)]
    if not shutil.which('mount'):
        pytest.skip('there is no mount')
    tried = subprocess.run(cmd, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f'no disk can be mounted here: {tried.stderr.strip()}')
    try:
        yield disk
    finally:
        subprocess.run(['umount', '--lazy', str(disk)], check=True)


def fill(disk):
    "Leave no room on it."
    with contextlib.suppress(OSError), (disk / 'ballast').open('wb', 0) as f:
        while True:
            f.write(bytes(4096))


def kept_in(err):
    "The path that a sentence names."
    path = Path(err.partition(' is kept in ')[2].partition(':')[0])
    assert path.suffix == '.npz' and path.is_file()
    return path


def test_a_disk_that_fills_up(tmpfs, tmp_path, monkeypatch, made, capsys):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    argv = ['run', '--prompt', 'x', '--out', tmpfs, '--loops', 99]
    status, out, err = cli_says(*argv, capsys=capsys)
    assert status == 2 and is_sentence(err) and 'No space left' in err and not names(tmpfs)
    again = StereoVideo.load(kept_in(err))
    assert np.array_equal(again.left, saved.left) and np.array_equal(again.right, saved.right)
    assert np.array_equal(again.disparity, saved.disparity) and again.meta == saved.meta


def test_a_disk_that_is_full_is_found_first(tmpfs, made, capsys):
    fill(tmpfs)
    status, _, err = cli_says('run', '--prompt', 'x', '--out', tmpfs, capsys=capsys)
    assert status == 2 and is_sentence(err) and 'No space left' in err and not made


@pytest.mark.slow
def test_a_disk_that_fills_up_while_the_model_runs(tmpfs, tmp_path):
    argv = ['run', '--prompt', 'a red ball rolls left', '--out', tmpfs, '--steps', '2']
    code = 'import sys\nfrom scz_nb.apps.__main__ import main\nsys.exit(main())'
    p = start(*argv, '--right', 'inpaint', code=code, TMPDIR=str(tmp_path))
    assert p.stderr.read(5) == b'\rpict'  # the first bar, of the picture that words begin with
    fill(tmpfs)
    status, out, err = ended(p)
    said = err.splitlines()[-1]
    assert status == 2 and not out and 'No space left' in said and 'Traceback' not in err
    assert StereoVideo.load(kept_in(said)).meta['seed'] == 0 and names(tmpfs) == ['ballast']


def test_a_disk_that_fills_up_while_a_film_is_converted(tmpfs, film):
    calls = []

    def depth(small):
        calls.append(len(small))
        if len(calls) == 5:
            fill(tmpfs)
        return slope(small)

    with pytest.warns(UserWarning, match='48 of 80 frames are kept .*resume'):
        with pytest.raises(OutputError, match='No space left'):
            convert(film, tmpfs, depth, progress=False)
    assert names(tmpfs) == ['.film_LR.mp4.pieces', 'ballast']
    (tmpfs / 'ballast').unlink()
    assert len(read_video(convert(film, tmpfs, depth, progress=False, resume=True))[0]) == 80
    assert names(tmpfs) == ['film_LR.mp4', 'film_LR.mp4.json']


def test_a_disk_that_fills_up_while_a_still_is_made(tmpfs, tmp_path):
    big = rng.integers(0, 256, (700, 900, 3), np.uint8)  # noise does not get smaller
    Image.fromarray(big).save(tmp_path / 'a.png')
    with pytest.raises(OutputError, match=r'could not be written.*kept in \S+a\.npz') as e:
        still('side-by-side', tmp_path / 'a.png', tmpfs)
    assert not names(tmpfs)
    video = StereoVideo.load(Path(str(e.value).split("load('")[1].split("'")[0]))
    assert np.array_equal(video.left[0], big)


def test_a_full_disk_takes_no_film_and_keeps_no_piece(tmpfs, film):
    fill(tmpfs)
    with pytest.raises(OutputError, match='No space left'):
        convert(film, tmpfs, slope, progress=False)
    assert names(tmpfs) == ['ballast']


def test_a_damaged_piece_is_made_again(film, tmp_path):
    calls = []

    def depth(small):
        calls.append(len(small))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return slope(small)

    with pytest.warns(UserWarning, match='are kept'), pytest.raises(KeyboardInterrupt):
        convert(film, tmp_path, depth, progress=False)
    (notes,) = tmp_path.glob('.*/*.npz')
    notes.write_bytes(notes.read_bytes()[:100])
    path = convert(film, tmp_path, depth, progress=False, resume=True)
    assert len(read_video(path)[0]) == 80 and path.name == 'film_LR.mp4'


def test_a_file_that_grows_too_large(tmp_path):
    code = f'import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n{stub}'
    folder = tmp_path / 'tmp'
    folder.mkdir()
    where = dict(TMPDIR=str(folder), HOME=str(folder), PWD=str(folder))
    p = start('run', '--prompt', 'x', '--out', tmp_path / 'out', code=code, **where)
    status, out, err = ended(p)
    assert status == 2 and err.splitlines()[-1].startswith('scz-nb: ') and 'Traceback' not in err
    assert 'could not be encoded' in err and 'no folder takes the video' in err
    assert names(tmp_path) == ['tmp'] and not names(folder)


def test_ffmpeg_is_taken_away_before(tmp_path, monkeypatch, made, capsys):
    import imageio_ffmpeg

    monkeypatch.setattr(imageio_ffmpeg, 'get_ffmpeg_exe', lambda: str(tmp_path / 'none'))
    status, _, err = cli_says('run', '--prompt', 'x', '--out', tmp_path, capsys=capsys)
    assert status == 2 and is_sentence(err) and 'ffmpeg is not there' in err and not made


def test_ffmpeg_is_taken_away_during_the_run(tmp_path, monkeypatch, capsys):
    import imageio_ffmpeg

    def stand_in(**given):
        monkeypatch.setattr(imageio_ffmpeg, 'get_ffmpeg_exe', lambda: str(tmp_path / 'none'))
        return saved

    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setitem(sys.modules, 'scz_nb.sampler', types.SimpleNamespace(run=stand_in))
    status, _, err = cli_says('run', '--prompt', 'x', '--out', tmp_path / 'out', capsys=capsys)
    assert status == 2 and is_sentence(err) and 'ffmpeg is not there' in err
    assert np.array_equal(StereoVideo.load(kept_in(err)).right, saved.right)


def test_one_layout_that_fails_takes_no_other_with_it(tmp_path, monkeypatch, capsys):
    def stand_in(**given):
        (tmp_path / 'video_left.mp4').unlink()
        (tmp_path / 'video_left.mp4').mkdir()
        return saved

    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setitem(sys.modules, 'scz_nb.sampler', types.SimpleNamespace(run=stand_in))
    layouts = ['--layout', 'left', '--layout', 'right']
    argv = ['run', '--prompt', 'x', '--out', tmp_path, *layouts]
    status, out, err = cli_says(*argv, capsys=capsys)
    assert status == 2 and out.strip().endswith('video_right.mp4') and kept_in(err)


def test_the_home_folder_keeps_what_no_temporary_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', '/proc')
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(OutputError, match='is kept in'), kept(saved):
        raise OutputError('full')
    assert list(tmp_path.glob('*/video.npz'))


def test_a_picture_with_a_name_of_eighty_letters(tmp_path, made, capsys):
    for letter in '名', 'é', 'x':
        photo = tmp_path / (letter * (240 // len(letter.encode())) + '.png')
        Image.fromarray(picture).save(photo)
        argv = ['run', photo, '--out', tmp_path / 'out', '--layout', 'anaglyph']
        status, out, err = cli_says(*argv, capsys=capsys)
        assert status == 0 and Path(out.strip()).name.startswith(letter * 60), err


def test_a_folder_that_looks_like_a_protocol(tmp_path, monkeypatch, made, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in 'a:b', 'http:', '-y':
        status, out, err = cli_says('run', '--prompt', 'x', f'--out={folder}', capsys=capsys)
        assert status == 0 and len(read_video(out.strip())[0]) == 4, err
        assert read_meta(out.strip())['seed'] == 3


@pytest.mark.skipif(not os.path.exists('/proc/self'), reason='needs /proc')
def test_a_folder_that_takes_no_files_not_even_from_root(made, capsys):
    status, _, err = cli_says('run', '--prompt', 'x', '--out', '/proc/x', capsys=capsys)
    assert status == 2 and is_sentence(err) and not made


def test_loops_are_not_copies_and_have_an_end(tmp_path, made, capsys):
    status, _, err = cli_says('run', '--prompt', 'x', '--loops', 100_000, capsys=capsys)
    assert status == 2 and is_sentence(err) and 'at most 1000' in err and not made
    assert len(read_video(saved.save(tmp_path / 'a', zoom=1, loops=20))[0]) == 80


def test_a_rehearsal_leaves_nothing_and_changes_nothing(tmp_path):
    path = saved.save(tmp_path / 'a', zoom=1)
    before = path.read_bytes()
    for name in 'a', 'b', 'c.gif', 'd.png':
        rehearse(tmp_path / name)
    assert path.read_bytes() == before and names(tmp_path) == [path.name, path.name + '.json']


def test_a_reader_that_leaves_costs_no_layout(tmp_path):
    layouts = ['--layout', 'left', '--layout', 'right']
    p = start('run', '--prompt', 'x', '--out', tmp_path, *layouts, SLEEP='0.3')
    p.stdout.close()
    p.stderr.close()
    assert p.wait(timeout=60) == 0
    assert [n for n in names(tmp_path) if n.endswith('mp4')] == [
        'video_left.mp4',
        'video_right.mp4',
    ]


def test_a_terminal_that_knows_no_chinese(tmp_path):
    layouts = ['--layout', 'left', '--layout', 'right']
    argv = ['run', '--prompt', '船', '--out', tmp_path / '名', *layouts]
    status, out, err = ended(start(*argv, PYTHONIOENCODING='latin-1'))
    assert status == 0 and out.count('\\u540d') == 2 and len(names(tmp_path / '名')) == 4


# said rightly
def test_floats_to_255_are_no_white_video():
    for x in np.full((2, 9, 9, 3), 200.0), torch.full((2, 9, 9, 3), -1.0):
        with pytest.raises(InputError, match='divide by'):
            as_video(x)
        with pytest.raises(InputError, match='divide by'):
            StereoVideo(x, x)
    assert as_video(np.full((2, 9, 9, 3), 1.0005)).max() == 255


def display_p3():
    "The profile of a wide display: D65, primaries of P3, as bytes (v2, matrix and gamma)."

    def tag(x):
        return b'XYZ \0\0\0\0' + struct.pack('>3i', *(round(v * 65536) for v in x))

    curve = b'curv\0\0\0\0' + struct.pack('>IHH', 1, round(2.2 * 256), 0)
    text = b'desc\0\0\0\0' + struct.pack('>I', 8) + b'Display\0' + bytes(12 + 67)
    tags = {
        b'desc': text,
        b'cprt': b'text\0\0\0\0none\0\0\0\0',
        b'wtpt': tag((0.9505, 1.0, 1.0891)),
        b'rXYZ': tag((0.5151, 0.2412, -0.0011)),
        b'gXYZ': tag((0.2920, 0.6922, 0.0419)),
        b'bXYZ': tag((0.1571, 0.0666, 0.7841)),
        **{k: curve for k in (b'rTRC', b'gTRC', b'bTRC')},
    }
    offset, table, body = 128 + 4 + 12 * len(tags), struct.pack('>I', len(tags)), b''
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack('>II', offset + len(body), len(content))
        body += content
    size = offset + len(body)
    head = struct.pack('>I4sI4s4s4s', size, b'none', 0x02100000, b'mntr', b'RGB ', b'XYZ ')
    head = head.ljust(36, b'\0') + b'acsp' + bytes(28)
    head += struct.pack('>3i', 63190, 65536, 54061)
    return head.ljust(128, b'\0') + table + body


@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
def test_colours_of_a_wide_display_become_those_of_srgb(mode, tmp_path):
    red = Image.new(mode, (16, 16), (200, 50, 50, 255)[: len(mode)])
    red.save(tmp_path / 'p3.png', icc_profile=display_p3())
    r, g, b = read_image(tmp_path / 'p3.png')[0, 0].astype(int)
    assert r > 208 and g < 40 and b < 50  # a stronger red than the same numbers in sRGB


def test_srgb_pictures_stay_as_they_are(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    Image.fromarray(picture).save(tmp_path / 'a.png', icc_profile=srgb)
    assert np.array_equal(read_image(tmp_path / 'a.png'), picture)


def test_a_broken_profile_is_left_out_and_said(tmp_path):
    Image.fromarray(picture).save(tmp_path / 'a.png', icc_profile=b'no profile')
    with pytest.warns(UserWarning, match='profile'):
        assert np.array_equal(read_image(tmp_path / 'a.png'), picture)


@pytest.mark.parametrize('module', ['scz_nb.apps', 'scz_nb.apps.cli'])
def test_the_module_is_the_command(module):
    cmd = [sys.executable, '-m', module, 'fetch', 'nothing']
    p = subprocess.run(cmd, capture_output=True, text=True)
    assert p.returncode == 2 and 'unknown' in p.stderr


@pytest.mark.parametrize('option', ['strength', 'plane', 'fill', 'layout', 'names', 'container'])
def test_a_long_choice_is_not_said_at_length(option, film, tmp_path):
    with pytest.raises(InputError) as e:
        convert(film, tmp_path, slope, **{option: '9' * 5000}, progress=False)
    assert len(str(e.value)) < 400


def test_a_long_list_ends(backbone):
    with pytest.warns(UserWarning) as said:
        backbone.condition(' '.join(f'w{i}' for i in range(5000)), None)
    assert len(str(said[0].message)) < 400
    with pytest.raises(InputError) as e:
        check_choice('layout', 'x' * 9999, ['left'])
    assert len(str(e.value)) < 300


@pytest.mark.parametrize('option', ['depth', 'out', 'backbone', 'last'])
def test_an_empty_option_is_not_the_current_folder(option, made, capsys):
    status, _, err = cli_says('run', '--prompt', 'x', f'--{option}', '', capsys=capsys)
    assert status == 2 and f'{option} is empty' in err and not made


# sentences for what had none
@pytest.fixture
def no_network(monkeypatch):
    def never(*a, **kw):
        raise AssertionError('a network was run')

    for name in ('denoise', 'condition', 'encode', 'decode'):
        monkeypatch.setattr(TinyBackbone, name, never)


@pytest.fixture
def bomb(tmp_path):
    Image.new('1', (20_000, 20_000)).save(tmp_path / 'bomb.png')
    return tmp_path / 'bomb.png'


def huge(tmp_path):
    "An array of 400 TB in its own words, and of 99 bytes."
    shape = "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000, 100, 100), }"
    head = b'\x93NUMPY\x01\x00' + struct.pack('<H', 118) + shape.ljust(117).encode() + b'\n'
    (tmp_path / 'huge.npy').write_bytes(head + bytes(99))
    return tmp_path / 'huge.npy'


def test_a_bomb_is_refused_wherever_it_is_given(bomb, no_network, film, tmp_path):
    for given in dict(image=bomb), dict(video=bomb), dict(image=picture, depth=str(bomb)):
        with pytest.raises(InputError, match='pixels'):
            run(**given, progress=False)
    with pytest.raises(InputError, match='pixels'):
        convert(film, tmp_path, bomb, progress=False)
    with pytest.raises(InputError, match='pixels'):
        convert_still(bomb, tmp_path)


def test_an_array_that_is_larger_than_it_can_be(tmp_path, no_network, film, made, capsys):
    path = huge(tmp_path)
    with pytest.raises(InputError, match='memory'):
        run(picture, depth=str(path), progress=False)
    with pytest.raises(InputError, match='huge.npy cannot be read'):
        convert(film, tmp_path, path, progress=False)
    status, _, err = cli_says('run', '--prompt', 'x', '--depth', path, capsys=capsys)
    assert status == 2 and is_sentence(err) and 'memory' in err and not made


def closed():
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'png')
    image = Image.open(file)
    image.close()
    return image


def cut():
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'png')
    return Image.open(io.BytesIO(file.getvalue()[:500]))


long = 'x' * 300
bad = {
    'a closed picture': lambda: dict(image=closed()),
    'a cut picture': lambda: dict(image=cut()),
    'a ragged video': lambda: dict(image=None, video=[picture, picture[:20]]),
    'a video without height': lambda: dict(image=None, video=frames[:, :0]),
    'a video of objects': lambda: dict(image=None, video=[object()]),
    'a number of 5000 digits': lambda: dict(scale=10**5000),
    'the same in a dict': lambda: dict(config=dict(refine=((10**5000, 1),))),
    'a device without numbers': lambda: dict(device='meta'),
    'an empty depth': lambda: dict(depth=''),
    'a long picture': lambda: dict(image=long),
    'a long video': lambda: dict(image=None, video=long),
    'a long depth': lambda: dict(depth=long),
    'a long model': lambda: dict(backbone=long),
}


@pytest.mark.parametrize('what', bad)
def test_what_is_given_wrongly_is_said_in_a_sentence(what, no_network):
    with pytest.raises(SczError) as e:
        run(**{**dict(image=picture, prompt='a ball', progress=False), **bad[what]()})
    assert '\n' not in str(e.value) and len(str(e.value)) < 500


def test_a_cut_file_of_an_evaluation_is_named(tmp_path):
    (tmp_path / 'scene-1.json').write_text('{"key": {}, "resu')
    with pytest.raises(InputError, match='scene-1.json is cut'):
        run_items(len, {'scene-1': 'abc'}, tmp_path, progress=False)


def test_a_device_gives_numbers_back():
    with pytest.raises(InputError, match='meta'):
        pick_device('meta')


def test_a_folder_that_may_not_be_entered(tmp_path, monkeypatch, made, capsys):
    def refuse(self, **kw):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    if os.geteuid():
        (tmp_path / 'shut').mkdir(mode=0)
    else:  # root may enter it: what stat says to others
        monkeypatch.setattr(Path, 'stat', refuse)
        monkeypatch.setattr(Path, 'exists', refuse)
    argv = ['run', tmp_path / 'shut/a.png', '--out', tmp_path / 'shut/out']
    status, _, err = cli_says(*argv, capsys=capsys)
    assert status == 2 and is_sentence(err) and 'Permission denied' in err


@pytest.mark.parametrize(
    'error', [MemoryError(), OSError(errno.EIO, 'Input/output error'), RecursionError()]
)
def test_the_machine_speaks_in_sentences_and_bugs_do_not(error):
    with pytest.raises(Exception) as e, sentences():
        raise error
    assert isinstance(e.value, SczError) != isinstance(error, RecursionError)


def test_ctrl_c_in_the_first_second():
    code = (
        'import signal, sys, os, threading\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
        'from scz_nb.apps.__main__ import main\n'
        "print('begins', flush=True)\n"
        'sys.exit(main())'
    )
    p = start('models', code=code)
    assert p.stdout.readline() == b'begins\n'
    time.sleep(0.3)
    p.send_signal(signal.SIGINT)
    status, _, err = ended(p)
    assert status == 130 and err == 'scz-nb: interrupted\n'


# threads
def test_the_record_says_how_many_threads(backbone):
    video = run(picture, 'a ball', backbone=backbone, steps=1, progress=False)
    assert video.meta['threads'] == torch.get_num_threads()


def test_two_threads_with_one_backbone_take_turns(backbone):
    def go(seed):
        quick = dict(right='paper', restart_iterations=1, refine=((20, 1),))
        return run(
            picture,
            'a red ball rolls left',
            backbone=backbone,
            seed=seed,
            steps=2,
            config=quick,
            progress=False,
        ).right

    alone = [go(seed) for seed in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(go, (0, 1)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together))
