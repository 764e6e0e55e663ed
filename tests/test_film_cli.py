"`scz-nb convert`: options, stills, and what Ctrl-C leaves."

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.films import X264, ffmpeg, picture
from PIL import Image

from scz_nb.apps.cli import main
from scz_nb.media.film import probe


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films')
    ffmpeg(folder, *picture(), *X264, 'film.mp4')
    ffmpeg(folder, *picture('64x48', 25, 30), *X264, 'long.mp4')
    np.save(
        folder / 'near.npy', np.linspace(0, 1, 12, dtype=np.float32)[None, :, None].repeat(16, 2)
    )
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / 'photo.jpg')
    return folder


@pytest.fixture
def convert(folder, tmp_path, monkeypatch, capsys):
    "A function of words: the exit status, and what was said."
    monkeypatch.chdir(folder)

    def run(*words):
        depth = [] if '--depth' in words else ['--depth', 'near.npy']
        status = main(['convert', *map(str, words), *depth, '--out', str(tmp_path), '--quiet'])
        return status, *capsys.readouterr()

    return run


def test_two_layouts_with_the_names_of_a_player(convert, tmp_path):
    layouts = ['--layout', 'side-by-side', '--layout', 'half-top-bottom']
    status, out, err = convert('film.mp4', '--names', 'quest', *layouts, '--strength', '1deg')
    assert (status, err) == (0, '')
    names = ['film_LRF_Full_SBS.mp4', 'film_3dv.mp4']
    assert out.split() == [str(tmp_path / n) for n in names]
    assert [probe(p).frames for p in out.split()] == [10, 10]


def test_a_picture_becomes_a_still(convert, tmp_path):
    status, out, _ = convert('photo.jpg', '--layout', 'pair', '--layout', 'mpo')
    names = ['photo_left.jpg', 'photo_right.jpg', 'photo.mpo']
    assert status == 0 and out.split() == [str(tmp_path / n) for n in names]


@pytest.mark.parametrize(
    'words, said',
    [
        (['film.mp4', '--right', 'inpaint'], '--right is called --fill now'),
        (['film.mp4', '--scale', '4'], '--scale is called --strength now'),
        (['film.mp4', '--layout', 'mv-hevc'], 'MV-HEVC needs'),
        (['film.mp4', '--layout', 'anaglif'], "did you mean 'anaglyph'"),
        (['film.mp4', '--strength', 'much'], 'strength'),
        (['film.mp4', '--depth', 'nowhere.npy'], 'is not there'),
        (['nowhere.mp4'], 'does not exist'),
        (['photo.jpg', '--fill', 'magic'], 'unknown filling'),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(convert, tmp_path, words, said):
    status, out, err = convert(*words)
    assert status == 2 and not out and said in err and err.count('\n') == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == 'nt', reason='needs signals')
def test_ctrl_c_keeps_what_is_whole(folder, tmp_path):
    words = [sys.executable, '-m', 'scz_nb.apps', 'convert', 'long.mp4', '--out', str(tmp_path)]
    words += ['--depth', 'near.npy', '--crf', '0', '--quiet']
    film = tmp_path / 'long_LR.mp4'
    running = subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        piece = tmp_path / '.long_LR.mp4.pieces/00001.npz'
        while not piece.exists() and running.poll() is None:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=60)[1]
    finally:
        running.kill()
    assert running.returncode == 130 and 'frames are kept in' in said and not film.exists()
    begun = piece.stat().st_mtime_ns
    seen = []
    running = subprocess.Popen([*words, '--resume'], cwd=folder)
    while running.poll() is None:
        if piece.exists():
            seen.append(piece.stat().st_mtime_ns)
        time.sleep(0.02)
    assert running.returncode == 0 and set(seen) == {begun}  # it was not made again
    assert probe(film).frames == 750 and probe(film).duration == 30
    assert sorted(p.name for p in tmp_path.iterdir()) == ['long_LR.mp4', 'long_LR.mp4.json']
