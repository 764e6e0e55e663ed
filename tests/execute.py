"""Run notebooks from top to bottom and save them with their outputs: python tests/execute.py [nbs/10_disparity.ipynb …]; all of them, if none is named.

One process a core. A notebook that fails is left as it was and named at the end. Those whose seconds are read run last, one at a time."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from stateless import root, without_state

timed = ('44_bench.ipynb', '51_dynamicrafter.ipynb', 'paper_table5.ipynb')


def execute(path: Path) -> str:
    "Run one notebook and save it without the state of widgets; what went wrong, or nothing."
    import nbformat
    from nbclient import NotebookClient

    from scz_nb.core import atomic_write

    nb = nbformat.read(path, 4)
    try:
        NotebookClient(
            nb,
            timeout=900,
            kernel_name='python3',
            resources=dict(metadata=dict(path=str(path.parent))),
        ).execute()
    except Exception as e:
        return f'{path.relative_to(root)}: {e}'
    with atomic_write(path) as tmp:
        nbformat.write(nbformat.from_dict(without_state(nb)), tmp)
    return ''


if __name__ == '__main__':
    os.environ['OMP_NUM_THREADS'] = '1'
    paths = [Path(p).resolve() for p in sys.argv[1:]] or sorted((root / 'nbs').rglob('*.ipynb'))
    alone = [p for p in paths if p.name in timed]
    with ProcessPoolExecutor() as pool:
        failed = list(pool.map(execute, (p for p in paths if p not in alone)))
    failed = list(filter(None, failed + list(map(execute, alone))))
    print(*failed, sep='\n')
    sys.exit(len(failed))
