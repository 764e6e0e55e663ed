"Every notebook runs from top to bottom, as its own test; text that came out other than committed is reported at the end."

import json
import math
import re

import pytest
from helpers.project import names, root

number, timed = (
    re.compile(r'-?\d+(?:\.\d+)?(?:e[+-]?\d+)?'),
    re.compile(r'[\d.,]+ ?(?:h|min|s|ms|µs|seconds|GB|MB|GB/s|times)\b|0x[0-9a-f]+|/tmp/[\w/.-]+'),
)


def texts(cell):
    "What a cell printed or showed as words: streams but stderr, text and tables; no times, addresses or pictures."
    out = []
    for o in cell['outputs']:
        data = o.get('data', {})
        if o['output_type'] == 'stream' and o['name'] == 'stdout':
            out.append(o['text'])
        elif not any(k.startswith(('image/', 'application/')) for k in data):
            out += [data[k] for k in ('text/html', 'text/plain') if k in data][:1]
    text = '\n'.join(''.join(t) for t in out)
    return '' if 'base64,' in text else ' '.join(timed.sub('…', text).split())


def same(a, b, near=0.02):
    "Equal words, and numbers that differ by no more than two percent or one in the last place."
    if number.sub('#', a) != number.sub('#', b):
        return False
    place = lambda t: 10.0 ** -len(t.partition('.')[2].partition('e')[0])
    return all(
        math.isclose(float(x), float(y), rel_tol=near, abs_tol=1.01 * place(x))
        for x, y in zip(number.findall(a), number.findall(b))
    )


def test_same_sees_what_changed():
    assert (
        same('error 0.123, n = 8', 'error 0.124, n = 8')
        and not same('error 0.123', 'error 0.223')
        and not same('left 3', 'right 3')
    )


@pytest.mark.parametrize('name', names)
def test_notebook_runs(name, monkeypatch, capsys, record_property):
    import nbdev.test as nbt

    ran = []

    class Keeping(nbt.CaptureShell):
        def run_all(self, nb, **kw):
            ran.append(nb)
            return super().run_all(nb, **kw)

    monkeypatch.setattr(nbt, 'CaptureShell', Keeping)
    monkeypatch.chdir(root)
    committed = {
        c['id']: texts(c)
        for c in json.loads((root / 'nbs' / name).read_text())['cells']
        if c['cell_type'] == 'code'
    }
    ok, seconds = nbt.test_nb(
        root / 'nbs' / name, skip_flags=['cuda'], basepath=str(root), cell_timeout=900
    )
    assert ok, capsys.readouterr().out[-4000:]
    changed = [
        (c.id, committed[c.id], texts(c))
        for c in ran[0].cells
        if c.cell_type == 'code' and c.get('execution_count')
    ]
    record_property(
        'changed',
        [(f'{name} {i}', was[:300], now[:300]) for i, was, now in changed if not same(was, now)],
    )
