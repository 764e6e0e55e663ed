"Notebooks keep no widgets: nbdev-clean leaves their state in the file, so `python tests/stateless.py` takes it out. test_widgets.py holds every notebook to it."

import json
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[1]


def is_view(output):
    return any('vnd.jupyter.widget' in kind for kind in output.get('data', {}))


def has_state(nb: dict) -> bool:
    "Whether a notebook holds widgets: their state, or outputs that point to it."
    return 'widgets' in nb['metadata'] or any(
        is_view(o) for c in nb['cells'] for o in c.get('outputs', [])
    )


def without_state(nb: dict) -> dict:
    "The notebook without them; still pictures stay."
    cells = [
        c | dict(outputs=[o for o in c['outputs'] if not is_view(o)]) if 'outputs' in c else c
        for c in nb['cells']
    ]
    return nb | dict(
        cells=cells, metadata={k: v for k, v in nb['metadata'].items() if k != 'widgets'}
    )


if __name__ == '__main__':
    for path in [Path(p) for p in sys.argv[1:]] or sorted((root / 'nbs').rglob('*.ipynb')):
        nb = json.loads(path.read_text())
        if has_state(nb):
            path.write_text(
                json.dumps(without_state(nb), indent=1, ensure_ascii=False, sort_keys=True) + '\n'
            )
