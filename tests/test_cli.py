"The command line: one line for every mistake, the right exit status, nothing half written."

import os
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
from helpers.project import root
from PIL import Image

from scz_nb import __version__
from scz_nb.apps import cli
from scz_nb.world.render import scene_picture


def cli_says(*argv, capsys):
    "Exit status, output and errors of `scz-nb argv…`."
    try:
        status = cli.main([str(a) for a in argv])
    except SystemExit as e:
        status = e.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def photo(tmp_path):
    f = tmp_path / 'photo.png'
    Image.fromarray(np.arange(40 * 64 * 3).reshape(40, 64, 3).astype(np.uint8)).save(f)
    return f


@pytest.fixture
def no_model(monkeypatch):
    "Any call of `run` is a failure: mistakes must be found before."

    def run(*a, **kw):
        raise AssertionError('the model was run')

    monkeypatch.setitem(sys.modules, 'scz_nb.sampler', types.SimpleNamespace(run=run))


def test_version_and_help(capsys):
    assert cli_says('--version', capsys=capsys)[:2] == (0, f'scz-nb {__version__}\n')
    status, out, _ = cli_says('run', '--help', capsys=capsys)
    assert status == 0 and all(
        f'--{o}' in out for o in 'prompt out backbone depth scale steps seed layout device'.split()
    )


@pytest.mark.parametrize(
    'more',
    [
        ['--layout', 'sbs'],
        ['--loops', '0'],
        ['--depth', 'none.npy'],
        ['--layout', 'left', '--layout', 'lfet'],
    ],
)
def test_mistakes_are_found_first(more, photo, no_model, capsys):
    status, out, err = cli_says('run', photo, *more, capsys=capsys)
    assert status == 2 and err.startswith('scz-nb: ') and err.count('\n') == 1 and not out


def test_unusable_folders_are_found_first(photo, no_model, tmp_path, capsys):
    (tmp_path / 'file').touch()
    for argv in (['run', photo], ['demo'], ['train-tiny']):
        status, out, err = cli_says(*argv, '--out', tmp_path / 'file' / 'deep', capsys=capsys)
        assert status == 2 and 'folder' in err and not out


@pytest.mark.parametrize('text', [None, '', 'not a picture'])
def test_bad_pictures(text, tmp_path, no_model, capsys):
    f = tmp_path / 'bad.png'
    if text is not None:
        f.write_text(text)
    status, out, err = cli_says('run', f, '--out', tmp_path / 'out', capsys=capsys)
    assert (
        status == 2
        and 'bad.png' in err
        and err.count('\n') == 1
        and not (tmp_path / 'out').exists()
    )


@pytest.mark.parametrize(
    'argv',
    [[], ['rum'], ['run'], ['run', 'a.png', '--steps', 'many'], ['train-tiny', '--minutes', '0']],
)
def test_wrong_usage(argv, no_model, capsys):
    assert cli_says(*argv, capsys=capsys)[0] == 2


def test_a_prompt_alone_is_enough(tmp_path, monkeypatch, capsys):
    seen = {}
    monkeypatch.setitem(
        sys.modules,
        'scz_nb.sampler',
        types.SimpleNamespace(
            run=lambda **kw: seen.update(kw) or types.SimpleNamespace(save=lambda path, **kw: path)
        ),
    )
    status, out, _ = cli_says(
        'run', '--prompt', 'a boat', '--backbone', 'videocrafter2', '--out', tmp_path, capsys=capsys
    )
    assert (
        status == 0
        and out.strip().endswith('video.mp4')
        and seen['image'] is None
        and seen['backbone'] == 'videocrafter2'
    )
    status, _, err = cli_says('run', capsys=capsys)
    assert status == 2 and 'a picture, a prompt or both' in err


def test_interrupt_is_130(photo, monkeypatch, tmp_path, capsys):
    def stop(**given):
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, 'scz_nb.sampler', types.SimpleNamespace(run=stop))
    assert cli_says('run', photo, '--out', tmp_path, capsys=capsys)[0] == 130


def test_bugs_keep_their_traceback(photo, no_model):
    with pytest.raises(AssertionError, match='the model was run'):
        cli.main(['run', str(photo)])


def test_demo_picture():
    image, caption = scene_picture(cli.demo_seed, 64, 40)
    assert image.shape == (40, 64, 3) and image.std() > 10 and len(caption.split()) >= 3


def test_run_writes_each_layout(photo, tmp_path, capsys):
    from scz_nb.media.io import read_meta, read_video

    argv = [
        'run',
        photo,
        '--prompt',
        'a red ball rolls left',
        '--steps',
        2,
        '--seed',
        3,
        '--scale',
        8,
        '--out',
        tmp_path / 'out',
        '--layout',
        'side-by-side',
        '--layout',
        'anaglyph',
        '--quiet',
    ]
    status, out, err = cli_says(*argv, capsys=capsys)
    assert status == 0 and [o.split('/')[-1] for o in out.split()] == [
        'photo_LR.mp4',
        'photo_anaglyph.mp4',
    ]
    x, fps = read_video(tmp_path / 'out/photo_LR.mp4')
    assert x.ndim == 4 and read_meta(tmp_path / 'out/photo_LR.mp4')['seed'] == 3


def test_files_replace_none_and_warnings_are_lines(tmp_path, monkeypatch, capsys):
    Image.new('RGB', (60, 60), 'teal').save(tmp_path / 'square.png')
    argv = [
        'run',
        tmp_path / 'square.png',
        '--prompt',
        'a xylophone',
        '--steps',
        1,
        '--right',
        'inpaint',
        '--out',
        tmp_path,
        '--quiet',
    ]
    (first, out, err), (second, again, _) = (cli_says(*argv, capsys=capsys) for _ in range(2))
    assert first == second == 0 and [o.strip().split('/')[-1] for o in (out, again)] == [
        'square_LR.mp4',
        'square-2_LR.mp4',
    ]
    lines = err.splitlines()
    assert all(line.startswith('scz-nb: ') for line in lines) and len(lines) == len(set(lines)) == 2
    assert 'xylophone' in err and '60×60' in err and '38 %' in err  # 60×37.5 of 60×60 are left


def test_last_or_loop(tmp_path, no_model, capsys):
    for name in ('a.jpg', 'b.jpg'):
        Image.new('RGB', (64, 40)).save(tmp_path / name)
    status, _, err = cli_says(
        'run', tmp_path / 'a.jpg', '--last', tmp_path / 'b.jpg', '--loop', capsys=capsys
    )
    assert status == 2 and '--last or --loop' in err


@pytest.mark.slow
def test_demo(tmp_path, capsys):
    status, out, _ = cli_says('demo', '--steps', 2, '--out', tmp_path, '--quiet', capsys=capsys)
    named = {
        line.split(': ')[0].split('/')[-1]
        for line in out.splitlines()
        if line.startswith(str(tmp_path))
    }
    assert status == 0 and named == {
        p.name for p in tmp_path.iterdir() if p.suffix in ('.mp4', '.png')
    } == {f'demo{h}_{k}.mp4' for h in ('', '_paper') for k in ('LR', 'anaglyph')} | {
        'demo_left.png',
        'demo_disparity.png',
    }


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(photo, tmp_path):
    code = (  # a background job may ignore the signal
        'import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n'
        'from scz_nb.apps.cli import main; sys.exit(main())'
    )
    cmd = [sys.executable, '-c', code, 'run', str(photo), '--out', str(tmp_path / 'out')]
    p = subprocess.Popen(cmd, stderr=subprocess.PIPE, cwd=root, start_new_session=True)
    seen = b''
    while b'mono' not in seen:
        seen += p.stderr.read1()  # sampling has begun
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=60)
    assert p.returncode == 130
    assert not [o for _, _, fs in os.walk(tmp_path / 'out') for o in fs]


@pytest.mark.parametrize(
    'old, new',
    [
        (['--rung', '2'], '--offload'),
        (['--settled=0.1'], '--tol'),
        (['--right', 'held'], "'inpaint'"),
    ],
)
def test_old_names_lead_to_new_ones(old, new, photo, tmp_path, capsys):
    status, out, err = cli_says('run', photo, *old, '--out', tmp_path, capsys=capsys)
    assert status == 2 and new in err and err.count('\n') == 1 and not out


def test_own_pictures_need_a_folder(capsys):
    status, _, err = cli_says('eval', '--protocol', 'paper', capsys=capsys)
    assert status == 2 and '--pictures' in err


def test_options_become_settings(tmp_path, monkeypatch, capsys):
    seen = {}
    monkeypatch.setitem(
        sys.modules,
        'scz_nb.sampler',
        types.SimpleNamespace(
            run=lambda **kw: seen.update(kw) or types.SimpleNamespace(save=lambda path, **kw: path)
        ),
    )
    go = lambda *argv: (
        seen.clear()
        or cli_says('run', '--prompt', 'a boat', '--out', tmp_path, *argv, capsys=capsys)[0]
    )
    assert go() == 0 and 'config' not in seen and 'backbone' not in seen
    assert go('--tol', '0.1', '--right', 'inpaint') == 0 and seen['config'] == dict(
        right='inpaint', tol=0.1
    )
    assert (
        go('--offload', '2', '--device', 'cpu') == 0
        and seen['backbone'].name == 'tiny'
        and 'device' not in seen
    )
    assert go('--offload', '4') == 2


def test_bench_prints_its_table(tmp_path, monkeypatch, capsys):
    from scz_nb.evaluation import bench as B

    monkeypatch.setattr(B, 'warp_sizes', {'small': (1, 3, 16, 24)})
    status, out, _ = cli_says('bench', '--device', 'cpu', '--out', tmp_path / 'b', capsys=capsys)
    assert status == 0 and 'small, float32' in out and (tmp_path / 'b/bench.json').exists()
