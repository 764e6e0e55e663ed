"Tables against the truth: cut off and taken up again, by any number of processes, they are the same."

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.models import colours
from PIL import Image

from scz_nb.core import InputError
from scz_nb.evaluation.baselines import BASELINES, stereodiffusion
from scz_nb.evaluation.tables import (
    PICTURE_METHODS,
    PROTOCOLS,
    Protocol,
    evaluate,
    evaluate_pictures,
    interval_table,
    picture_scores,
    read_pictures,
    truth_rows,
)

few = ('inpainting form', 'no refinement')
small = Protocol(scenes=2, steps=2, methods=few)


@pytest.fixture(scope='module')
def rows():
    return truth_rows(1, 2, {"paper's form": {}}, features=colours)


def test_rows_have_their_limits(rows):
    true, copied = rows['true right view'], rows['copy_left']
    assert (
        true['psnr'] == true['hole_psnr'] == np.inf
        and true['siou'] == 1
        and abs(true['ssim'] - 1) < 1e-6
    )
    assert 30 < rows['the same, through the autoencoder']['psnr'] < 60
    assert copied['disparity'] > 3 * true['disparity'] and all(
        true['ssim'] >= r['ssim'] for r in rows.values()
    )


def test_truth_is_seeded(rows):
    assert truth_rows(1, 2, {"paper's form": {}}, features=colours) == rows


@pytest.mark.slow
def test_cut_off_and_by_other_processes(tmp_path):
    one = evaluate(small, tmp_path / 'one', processes=1, progress=False).read_text()
    assert evaluate(small, tmp_path / 'two', processes=2, progress=False).read_text() == one
    (tmp_path / 'two' / 'scene_0001.json').unlink()
    (tmp_path / 'two' / 'table.md').unlink()
    before = (tmp_path / 'two' / 'scene_0000.json').stat().st_mtime_ns
    assert evaluate(small, tmp_path / 'two', processes=1, progress=False).read_text() == one
    assert (tmp_path / 'two' / 'scene_0000.json').stat().st_mtime_ns == before
    assert {'table.md', 'table.csv', 'table.png', 'scene_0000.json'} <= {
        p.name for p in (tmp_path / 'two').iterdir()
    }
    assert (
        all(name in one for name in few)
        and 'no restart' not in one
        and len((tmp_path / 'two' / 'table.csv').read_text().splitlines()) > 2 * 8
    )
    code = 'import sys; from scz_nb.evaluation.tables import Protocol, evaluate\nif __name__ == "__main__": evaluate(Protocol(2, 2, ("inpainting form", "no refinement")), sys.argv[1], progress=False)'
    (tmp_path / 'go.py').write_text(code)
    out = subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--nproc_per_node',
            '2',
            str(tmp_path / 'go.py'),
            str(tmp_path / 'launched'),
        ],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr[-2000:]
    assert (tmp_path / 'launched' / 'table.md').read_text() == one
    with pytest.raises(InputError, match='another'):
        evaluate(Protocol(2, 4, few), tmp_path / 'two', progress=False)


def test_unknown_protocol_is_named(tmp_path):
    with pytest.raises(InputError, match='quick'):
        evaluate('quik', tmp_path)


def test_intervals_hold_the_mean():
    tables = [dict(a=dict(x=float(i))) for i in range(10)]
    assert str(interval_table(tables)).splitlines()[2].startswith('| a | 4.50 (2.')


# the paper's protocol: pictures and prompts, no truth
quickest = dict(steps=1, dissolve=0, restart_iterations=0, refine=())


@pytest.fixture
def pictures(tmp_path):
    (folder := tmp_path / 'pictures').mkdir()
    for i in range(2):
        Image.fromarray(
            np.random.default_rng(i).integers(0, 255, (40, 64, 3), dtype=np.uint8)
        ).save(folder / f'p{i}.png')
    (folder / 'prompts.txt').write_text('p1.png a red kite\n\np0.png  the sea, at dusk \n')
    return folder


def test_pictures_and_prompts(pictures):
    want = [(pictures / 'p1.png', 'a red kite'), (pictures / 'p0.png', 'the sea, at dusk')]
    assert read_pictures(pictures) == want
    (pictures / 'prompts.csv').write_text(
        'picture,prompt\np1.png,a red kite\np0.png,"the sea, at dusk"\n'
    )
    (pictures / 'prompts.txt').unlink()
    assert read_pictures(str(pictures)) == want
    for text, says in (
        ('a,b\n1,2\n', 'columns'),
        ('picture,prompt\nno.png,x\n', 'no.png'),
        ('picture,prompt\np0.png,x\np0.png,y\n', 'share'),
    ):
        (pictures / 'prompts.csv').write_text(text)
        with pytest.raises(InputError, match=says):
            read_pictures(pictures)
    (pictures / 'prompts.csv').unlink()
    with pytest.raises(InputError, match='prompts.txt'):
        read_pictures(pictures)


def test_picture_scores_have_their_limits(hub):
    from scz_nb.evaluation.features import ClipScorer

    left = np.random.default_rng(0).integers(0, 255, (2, 40, 64, 3), dtype=np.uint8)
    clip, near = ClipScorer(hub / 'clip'), np.tile(np.linspace(0, 1, 64), (2, 40, 1))
    copied = picture_scores(left, left, 'abc', near, 8.0, clip, colours)
    assert (
        copied['clip_f'] == pytest.approx(100, abs=1e-3)
        and copied['met3r'] == pytest.approx(0, abs=1e-4)
        and copied['correlation'] == copied['vertical'] == 0
    )
    other = picture_scores(left, 255 - left, 'abc', near, 8.0, clip, colours)
    assert (
        other['clip_f'] < 100
        and other['met3r'] > 100
        and list(other)
        == list(copied)
        == ['clip_t', 'clip_f', 'met3r', 'correlation', 'slope', 'vertical', 'flicker']
    )
    assert 'clip_f' not in picture_scores(left, left, '', near, 8.0)


def test_paper_protocol(pictures, hub, tmp_path):
    methods = {"paper's form": {}, 'copy_left': BASELINES['copy_left']}
    go = lambda out, **kw: evaluate_pictures(
        pictures,
        tmp_path / out,
        settings=quickest,
        methods=methods,
        clip=hub / 'clip',
        dino=colours,
        progress=False,
        **kw,
    ).read_text()
    one = go('one')
    rows = {l.split(' | ')[0].strip('| '): l for l in one.splitlines()}
    assert (
        set(methods) <= set(rows)
        and '100.00 (100.00 to 100.00) | 0.00 (' in rows['copy_left']
        and '2 scenes' in one
    )
    found = {str(p.relative_to(tmp_path / 'one')) for p in (tmp_path / 'one').rglob('*.*')}
    assert {
        'table.csv',
        'table.png',
        'item_p0-0.json',
        "stereo/paper's form/p1-0_LR.mp4",
        'stereo/copy_left/p0-0_LR.mp4',
    } <= found
    (tmp_path / 'one' / 'item_p1-0.json').unlink()  # cut off, and taken up again
    before = (tmp_path / 'one' / 'item_p0-0.json').stat().st_mtime_ns
    assert go('one') == one
    assert (tmp_path / 'one' / 'item_p0-0.json').stat().st_mtime_ns == before
    with pytest.raises(InputError, match='other settings'):
        go('one', backbone='tiny', results=tmp_path)


def test_other_systems_enter_the_table(pictures, tmp_path):
    (pictures / 'prompts.txt').write_text('p0.png kite\n')
    (where := tmp_path / 'results' / 'Theirs' / 'p0-0').mkdir(parents=True)
    for t in range(8):
        Image.fromarray(np.full((40, 64, 3), 128, np.uint8)).save(where / f'{t:02}.png')
    text = evaluate_pictures(
        pictures,
        tmp_path / 'out',
        settings=quickest,
        methods={'StereoDiffusion': stereodiffusion},
        results=tmp_path / 'results',
        clip=None,
        dino=None,
        progress=False,
    ).read_text()
    assert '| Theirs | ' in text and 'clip' not in text
    assert (
        set(PICTURE_METHODS) >= {"paper's form", 'StereoDiffusion', 'copy_left'}
        and PROTOCOLS['quick'].met3r
        and not Protocol(1, 1).met3r
    )


def test_met3r_is_a_column_where_features_are(rows):
    assert rows['true right view']['met3r'] > 0 == round(rows['copy_left']['met3r'], 6)
