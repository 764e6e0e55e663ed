"Tables against the truth: rows, limits, files; by any processes the same."

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.models import colours
from helpers.project import root

from scz_nb.core import InputError
from scz_nb.evaluation.ablations import ABLATIONS
from scz_nb.evaluation.baselines import BASELINES
from scz_nb.evaluation.curves import PAPER_PLAN, PLANS, curves_table
from scz_nb.evaluation.runner import read_tables
from scz_nb.evaluation.tables import (
    FORMS,
    METHODS,
    PROTOCOLS,
    RESTARTS,
    Protocol,
    evaluate,
    truth_rows,
)

few = ('inpainting form', 'no refinement')
small = Protocol(scenes=2, steps=2, methods=few)


# against the truth
@pytest.fixture(scope='module')
def rows():
    return truth_rows(1, 2, {"paper's form": {}}, features=colours)


def test_the_truth_has_the_limits(rows):
    true = rows['true right view']
    assert true['psnr'] == true['hole_psnr'] == np.inf
    assert true['siou'] == 1 and abs(true['ssim'] - 1) < 1e-6
    assert all(true['ssim'] >= r['ssim'] for r in rows.values())


def test_the_autoencoder_loses_little(rows):
    assert 30 < rows['the same, through the autoencoder']['psnr'] < 60


def test_the_left_view_has_no_depth(rows):
    assert rows['copy_left']['disparity'] > 3 * rows['true right view']['disparity']


def test_met3r_is_a_column_where_features_are(rows):
    assert rows['true right view']['met3r'] > 0 == round(rows['copy_left']['met3r'], 6)


def test_truth_is_seeded(rows):
    assert truth_rows(1, 2, {"paper's form": {}}, features=colours) == rows


def test_cost_is_measured_where_it_is_wanted():
    some = {name: METHODS[name] for name in few}
    rows = truth_rows(1, 2, some, references=False, cost=True)
    assert list(rows) == list(few)
    # the left view is given: its network runs for the paper's form alone
    assert rows['inpainting form']['calls'] == 2 < rows['no refinement']['calls']
    assert all(r['seconds'] > 0 for r in rows.values())


def test_protocols_name_methods_that_exist():
    for p in PROTOCOLS.values():
        if isinstance(p, Protocol):
            assert set(p.methods) <= set(METHODS | RESTARTS | PLANS)
    assert PROTOCOLS['quick'].met3r and not Protocol(1, 1).met3r


def test_unknown_protocol_is_named(tmp_path):
    with pytest.raises(InputError, match='quick'):
        evaluate('quik', tmp_path)


@pytest.fixture(scope='module')
def evaluated(tmp_path_factory):
    "A folder with a small evaluation, and the text of its table."
    out = tmp_path_factory.mktemp('eval')
    return out, evaluate(small, out, processes=1, progress=False).read_text()


@pytest.mark.slow
def test_a_table_has_its_rows_and_files(evaluated):
    out, text = evaluated
    assert all(f'| {name} |' in text for name in (*few, *BASELINES)) and 'no restart' not in text
    names = {p.name for p in out.iterdir()}
    assert {'table.md', 'table.csv', 'table.png', 'scene_0000.json', 'scene_0001.json'} == names
    tables = read_tables(out / 'table.csv')
    assert len(tables) == 2 and set(few) < set(tables[0])


@pytest.mark.slow
def test_cut_off_and_by_other_processes(evaluated, tmp_path):
    _, one = evaluated
    assert evaluate(small, tmp_path, processes=2, progress=False).read_text() == one
    (tmp_path / 'scene_0001.json').unlink()
    (tmp_path / 'table.md').unlink()
    before = (tmp_path / 'scene_0000.json').stat().st_mtime_ns
    assert evaluate(small, tmp_path, processes=1, progress=False).read_text() == one
    assert (tmp_path / 'scene_0000.json').stat().st_mtime_ns == before


@pytest.mark.slow
def test_launched_processes_make_the_same_table(evaluated, tmp_path):
    code = (
        'import sys\n'
        'from scz_nb.evaluation.tables import Protocol, evaluate\n'
        'if __name__ == "__main__":\n'
        f'    evaluate(Protocol(2, 2, {few}), sys.argv[1], progress=False)\n'
    )
    (tmp_path / 'go.py').write_text(code)
    launch = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2']
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    command = [*launch, str(tmp_path / 'go.py'), str(tmp_path / 'launched')]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / 'launched' / 'table.md').read_text() == evaluated[1]


@pytest.mark.slow
def test_figures_of_other_settings_are_refused(evaluated):
    with pytest.raises(InputError, match='another'):
        evaluate(Protocol(2, 4, few), evaluated[0], progress=False)


# what is lost when it is made faster
def test_curves_compare_with_the_paper_s_plan():
    row = dict(psnr=20.0, hole_psnr=10.0, siou=0.5, flicker=5.0, calls=310, seconds=4.0)
    fast = dict(row, psnr=21.0, calls=155, seconds=1.0)
    table = curves_table([{PAPER_PLAN: row, '20 steps, tol 0.1': fast}] * 3)
    paper, other = table.rows
    assert paper[:4] == (PAPER_PLAN, '310 (1.00)', '1.00', '20.00')
    assert other[1:4] == ('155 (0.50)', '0.25', '+1.00 (+1.00 to +1.00)')
    assert other[4] == '+0.00 (+0.00 to +0.00)'


# the tables that are shipped
@pytest.mark.parametrize(
    'name, rows',
    [
        ('truth_full', PROTOCOLS['full'].methods),
        ('truth_quick', PROTOCOLS['quick'].methods),
        ('forms', FORMS),
        ('ablations', ABLATIONS),
        ('curves', PLANS),
    ],
)
def test_shipped_tables_have_today_s_rows(name, rows):
    for scene in read_tables(root / f'nbs/tables/{name}.csv'):
        assert set(rows) <= set(scene)
