"""Every notebook runs from top to bottom, as its own test.

Text that came out other than committed is reported at the end, by tests/conftest.py."""

import json
import math
import re

import nbdev.test
import pytest
from helpers.project import names, root

number = re.compile(r'-?\d+(?:\.\d+)?(?:e[+-]?\d+)?')
timed = re.compile(
    r'[\d.,]+ ?(?:h|min|s|ms|µs|seconds|GB|MB|GB/s|times)\b|0x[0-9a-f]+|/tmp/[\w/.-]+'
)


def words(output):
    "What an output says in words, if anything: no errors, pictures or widgets."
    if output['output_type'] == 'stream':
        return ''.join(output['text']) if output['name'] == 'stdout' else ''
    data = output.get('data', {})
    if any(kind.startswith(('image/', 'application/')) for kind in data):
        return ''
    return ''.join(data.get('text/html', data.get('text/plain', '')))


def text(cell):
    "What a cell printed or showed as words, without times, sizes and addresses."
    said = '\n'.join(filter(None, map(words, cell['outputs'])))
    return '' if 'base64,' in said else ' '.join(timed.sub('…', said).split())


def same(a, b, near=0.02):
    "Equal words, and numbers that differ by at most two percent or one in the last place."
    if number.sub('#', a) != number.sub('#', b):
        return False
    for x, y in zip(number.findall(a), number.findall(b)):
        place = 10.0 ** -len(x.partition('.')[2].partition('e')[0])
        if not math.isclose(float(x), float(y), rel_tol=near, abs_tol=1.01 * place):
            return False
    return True


def test_a_change_in_the_last_place_is_no_change():
    assert same('error 0.123, n = 8', 'error 0.124, n = 8')


def test_other_numbers_are_a_change():
    assert not same('error 0.123', 'error 0.223')


def test_other_words_are_a_change():
    assert not same('left 3', 'right 3')


@pytest.fixture
def ran(monkeypatch):
    "The notebooks that have run, with their outputs."
    kept = []

    class KeepingShell(nbdev.test.CaptureShell):
        def run_all(self, nb, **options):
            kept.append(nb)
            return super().run_all(nb, **options)

    monkeypatch.setattr(nbdev.test, 'CaptureShell', KeepingShell)
    monkeypatch.chdir(root)
    return kept


@pytest.mark.parametrize('name', names)
def test_notebook_runs(name, ran, capsys, record_property):
    path = root / 'nbs' / name
    options = dict(skip_flags=['cuda'], basepath=str(root), cell_timeout=900)
    worked, _ = nbdev.test.test_nb(path, **options)
    assert worked, capsys.readouterr().out[-4000:]
    code = [c for c in json.loads(path.read_text())['cells'] if c['cell_type'] == 'code']
    committed = {cell['id']: text(cell) for cell in code}
    changed = []
    for cell in ran[0].cells:
        if cell.cell_type == 'code' and cell.get('execution_count'):
            was, now = committed[cell.id], text(cell)
            if not same(was, now):
                changed.append((f'{name} {cell.id}', was[:300], now[:300]))
    record_property('changed', changed)
