"""benchmarks/speed.md from what pytest-benchmark has written: each group as ratios to its yardstick.

python benchmarks/speed.py speed.json
"""

import json
import sys
from pathlib import Path

from scz_nb.media.show import Table

yardsticks = {
    'warp': 'copy',
    'UNet': 'ours',
    'stereo': 'paper, both views at every call',
    'start': 'import torch',
}
words = {
    'warp': 'times a copy of the picture',
    'UNet': 'times ours',
    'stereo': "share of the paper's way",
    'start': 'times `import torch`',
}


def groups(found: dict) -> dict:  # group → name → benchmark
    out = {}
    for b in found['benchmarks']:
        name = next(
            (v for k, v in (b['params'] or {}).items() if k in ('name', 'form', 'what')),
            b['name'].removeprefix('test_'),
        )
        out.setdefault(b['group'], {})[name] = b
    return out


def table(found: dict) -> str:
    m, parts = found['machine_info'], ['# Speed']
    parts.append(
        f'One thread of {m["cpu"].get("brand_raw", m["machine"])}, Python {m["python_version"]}, {found["datetime"][:10]}; made by `make bench`. Times are the best of several calls; only the ratios within a table mean something.'
    )
    for group, rows in groups(found).items():
        kind = group.split()[0]
        best = {n: b['stats']['min'] for n, b in rows.items()}
        extra = sorted({k for b in rows.values() for k in b['extra_info']})
        head = ['', 'seconds', words[kind], *extra]
        more = lambda n: (
            v if isinstance(v := rows[n]['extra_info'].get(k, ''), str) else f'{v:.3g}'
            for k in extra
        )
        lines = [
            [n, f'{t:.4g}', f'{t / best[yardsticks[kind]]:,.2f}', *more(n)] for n, t in best.items()
        ]
        parts += [f'## {group}', str(Table(head, lines))]
        if kind == 'warp':
            parts.append(
                f'Compiled against unique: {best["unique (Appendix B)"] / best["compiled"]:.0f} times as fast.'
                + (
                    f' Against the loops: {best["loops"] / best["compiled"]:,.0f} times.'
                    if 'loops' in best
                    else ''
                )
            )
    return '\n\n'.join(parts) + '\n'


if __name__ == '__main__':
    (Path(__file__).parents[1] / 'nbs/tables/speed.md').write_text(
        table(json.loads(Path(sys.argv[1]).read_text()))
    )
