"""Notebooks keep no widgets: nbdev-clean leaves their state in the file, this takes it out.

`python docs/stateless.py [nbs/parts/panels.ipynb …]`; with no names, all notebooks."""

import json
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[1]


def is_view(output: dict) -> bool:
    "Whether an output is a live widget, and no still picture of one."
    return any('vnd.jupyter.widget' in kind for kind in output.get('data', {}))


def has_state(nb: dict) -> bool:
    "Whether a notebook holds widgets: their state, or outputs that point to it."
    outputs = [o for c in nb['cells'] for o in c.get('outputs', [])]
    return 'widgets' in nb['metadata'] or any(map(is_view, outputs))


def without_state(nb: dict) -> dict:
    "The notebook without them; still pictures stay."
    metadata = {key: value for key, value in nb['metadata'].items() if key != 'widgets'}
    cells = []
    for cell in nb['cells']:
        if 'outputs' in cell:
            cell = cell | dict(outputs=[o for o in cell['outputs'] if not is_view(o)])
        cells.append(cell)
    return nb | dict(cells=cells, metadata=metadata)


if __name__ == '__main__':
    for path in [Path(p) for p in sys.argv[1:]] or sorted((root / 'nbs').rglob('*.ipynb')):
        nb = json.loads(path.read_text())
        if has_state(nb):
            text = json.dumps(without_state(nb), indent=1, ensure_ascii=False, sort_keys=True)
            path.write_text(text + '\n')
