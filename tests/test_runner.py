"One runner, one writer: what is cut off goes on, by any number of processes, and files are whole."

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from scz_nb.core import InputError
from scz_nb.evaluation.runner import (
    Gain,
    column,
    gain,
    interval_table,
    median_table,
    number_table,
    read_tables,
    run_items,
    write_tables,
)

items = {f'item_{i}': i for i in range(5)}


def square(x):
    "What is measured here; at the top of a module, so that processes find it."
    return dict(plain=dict(value=x), squared=dict(value=x * x))


ended = """
import sys, time
from scz_nb.evaluation.runner import run_items
if __name__ == '__main__':
    run_items(time.sleep, {str(i): 60 for i in range(9)}, sys.argv[1], processes=2, progress=False)
"""


def test_workers_end_with_a_parent_that_is_terminated(tmp_path):
    "Also in the background of a shell, where Ctrl-C is ignored."
    (tmp_path / 'go.py').write_text(ended)
    command = [sys.executable, tmp_path / 'go.py', tmp_path / 'out']
    parent = subprocess.Popen(command, preexec_fn=lambda: signal.signal(2, signal.SIG_IGN))
    watch, end = psutil.Process(parent.pid), time.monotonic() + 60
    while len(watch.children()) < 3 or min(p.num_threads() for p in watch.children()[1:]) < 2:
        assert parent.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    workers = watch.children()
    parent.terminate()
    assert parent.wait(10) == -signal.SIGTERM
    left = psutil.wait_procs(workers, timeout=20)[1]
    for worker in left:
        os.kill(worker.pid, signal.SIGKILL)
    assert not left


def unlucky(x):
    if x == 3:
        raise ValueError('cut off')
    return square(x)


def go(out, measure=square, some=items, key=None, **kw):
    return run_items(measure, some, out, key or dict(power=2), progress=False, **kw)


def test_results_are_in_order(tmp_path):
    assert go(tmp_path) == [square(i) for i in range(5)]
    assert {p.name for p in tmp_path.iterdir()} == {f'item_{i}.json' for i in range(5)}


def test_processes_find_the_same(tmp_path):
    one = go(tmp_path / 'one')
    assert go(tmp_path / 'two', processes=2) == one
    name = 'item_4.json'
    assert (tmp_path / 'one' / name).read_text() == (tmp_path / 'two' / name).read_text()


@pytest.mark.parametrize('processes', [0, 2])
def test_what_is_cut_off_goes_on(tmp_path, processes):
    with pytest.raises(ValueError, match='cut off'):
        go(tmp_path, unlucky, processes=processes)
    assert (tmp_path / 'item_0.json').exists() and not (tmp_path / 'item_3.json').exists()
    before = (tmp_path / 'item_0.json').stat().st_mtime_ns
    assert go(tmp_path) == [square(i) for i in range(5)]
    assert (tmp_path / 'item_0.json').stat().st_mtime_ns == before  # not measured again


def test_figures_of_other_settings_are_refused(tmp_path):
    go(tmp_path)
    with pytest.raises(InputError, match='other settings'):
        go(tmp_path, key=dict(power=3))


def test_figures_that_do_not_belong_are_left_alone(tmp_path):
    go(tmp_path)
    some = dict(list(items.items())[:2])
    assert go(tmp_path, some=some) == [square(0), square(1)]


def test_launched_processes_share_the_items(tmp_path, monkeypatch):
    import scz_nb.evaluation.runner as runner

    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setattr(runner, 'wait_for_others', lambda: None)
    with pytest.raises(FileNotFoundError):  # rank 0 is not there
        go(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {'item_1.json', 'item_3.json'}


@pytest.fixture
def tables():
    return [square(float(i)) for i in range(10)]


def test_intervals_hold_the_mean(tables):
    assert str(interval_table(tables)).splitlines()[2].startswith('| plain | 4.50 (2.')


def test_infinite_means_are_called_so():
    tables = [dict(a=dict(x=math.inf))] * 3
    assert '| a | ∞ |' in str(interval_table(tables))


def test_medians(tables):
    assert str(median_table(tables, ('value',))).splitlines()[2] == '| plain | 4.50 |'
    assert 'other' not in str(median_table(tables, ('value', 'other')))


def test_numbers_are_rounded_and_texts_stay():
    table = number_table(('', 'x'), [('a', 1 / 3), ('b', None), ('c', math.inf)], digits=3)
    assert table.rows == [['a', '0.333'], ['b', '–'], ['c', '∞']]


def test_gain_is_scene_by_scene(tables):
    got = gain(tables, 'squared', 'plain', 'value')
    assert got.mean == pytest.approx(np.mean([i * i - i for i in range(10)]))
    assert got.low < got.mean < got.high
    assert (got.better, got.scenes) == (8, 10)  # 0 and 1 are their own squares
    assert str(Gain(0.5, -0.25, 1.0, 3, 4)) == '+0.50 (-0.25 to +1.00), 3 of 4'


def test_files_hold_what_was_measured(tables, tmp_path):
    path = write_tables(tables, tmp_path, intro='# Squares')
    assert path.read_text().startswith('# Squares\n\n|') and '10 scenes, ' in path.read_text()
    assert read_tables(tmp_path / 'table.csv') == tables
    assert {p.name for p in tmp_path.iterdir()} == {'table.md', 'table.csv', 'table.png'}
    assert (tmp_path / 'table.png').read_bytes()[:4] == b'\x89PNG'


def test_unusual_numbers_survive_the_file(tmp_path):
    tables = [dict(a=dict(x=math.inf, y=math.nan))]
    write_tables(tables, tmp_path)
    (got,) = read_tables(tmp_path / 'table.csv')
    assert got['a']['x'] == math.inf and math.isnan(got['a']['y'])


def test_unusual_numbers_survive_an_item(tmp_path):
    (got,) = run_items(float, dict(x='nan'), tmp_path, progress=False)
    assert math.isnan(got)
    assert json.loads((tmp_path / 'x.json').read_text())['key'] == {}


def test_column(tables):
    assert column(tables, 'squared', 'value').tolist() == [i * i for i in range(10)]
