"""What is lost when the method is made faster: repeats that end early, fewer steps, guidance in a window.

    python benchmarks/curves.py --scenes 8

writes benchmarks/curves.json (every scene) and benchmarks/curves.md (differences to the paper's plan, with 95 % intervals over scenes).
Held-out scenes of TinyWorld with their true right views. Scenes are shared out to as many processes as there are cores; what is in a file in --out is not made again.
"""

import argparse
import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from scz_nb import __version__
from scz_nb.core import atomic_write, to_uint8
from scz_nb.evaluation.metrics import right_scores
from scz_nb.geometry.flow import motion
from scz_nb.models.backbones import load_backbone
from scz_nb.sampler import run
from scz_nb.stats import bootstrap
from scz_nb.world.render import render
from scz_nb.world.scenes import sample_scene

tol = {
    f'{S} steps, tol {x}': dict(steps=S, tol=x)
    for S, x in (
        (50, 0.0),
        (50, 0.1),
        (50, 0.2),
        (50, 0.3),
        (20, 0.0),
        (20, 0.02),
        (20, 0.05),
        (20, 0.1),
        (20, 0.2),
        (30, 0.1),
        (10, 0.1),
    )
}
guided = {
    f'20 steps, tol 0.1, guidance 3 in {a}–{b}': dict(
        steps=20, tol=0.1, guidance=3.0, guidance_window=(a, b)
    )
    for a, b in ((0.0, 1.0), (0.0, 0.5), (0.2, 0.8))
}
plans = tol | guided | {'20 steps, inpainting form': dict(steps=20, right='inpaint')}
base, columns = '50 steps, tol 0.0', ('psnr', 'hole_psnr', 'siou', 'flicker')


def one_scene(i: int, out: Path):
    torch.set_num_threads(1)
    path = out / f'scene_{i:03}.json'
    rows = json.loads(path.read_text()) if path.exists() else {}
    if set(plans) <= set(rows):
        return
    backbone = load_backbone('tiny', 'cpu')
    world = backbone.model.config.world
    clip = render(sample_scene(10_000 + i, world), world)
    moves = motion(to_uint8(clip.right))
    for name, plan in plans.items():
        if name in rows:
            continue
        begin = time.process_time()
        v = run(
            video=to_uint8(clip.left),
            prompt=clip.caption,
            depth=clip.disparity.numpy(),
            scale=100 * world.baseline,
            config=dict(dissolve=0) | plan,
            backbone=backbone,
            progress=False,
        )
        rows[name] = right_scores(clip, v.right, world.baseline, moves) | dict(
            calls=v.meta['calls'], seconds=time.process_time() - begin
        )
    with atomic_write(path) as tmp:
        tmp.write_text(json.dumps(rows))


def table(scenes: list) -> str:
    "Means over scenes, and each measure's difference to the paper's plan on the same scenes."
    mean = lambda name, k: sum(s[name][k] for s in scenes) / len(scenes)

    def loss(name, k):
        lo, hi = bootstrap([s[name][k] - s[base][k] for s in scenes])
        return f'{mean(name, k) - mean(base, k):+.2f} ({lo:+.2f} to {hi:+.2f})'

    lines = [
        '| plan | network evaluations | CPU time | ' + ' | '.join(columns) + ' |',
        '| --- ' * (3 + len(columns)) + '|',
    ]
    for name in plans:
        lines.append(
            f'| {name} | {mean(name, "calls"):.0f} ({mean(name, "calls") / 310:.2f}) | {mean(name, "seconds") / mean(base, "seconds"):.2f} | '
            + ' | '.join(f'{mean(name, k):.2f}' if name == base else loss(name, k) for k in columns)
            + ' |'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--scenes', type=int, default=8)
    p.add_argument('--out', default='runs/curves')
    p.add_argument('--processes', type=int, default=os.cpu_count())
    args = p.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(args.processes) as pool:
        list(pool.map(partial(one_scene, out=out), range(args.scenes)))
    scenes = [json.loads((out / f'scene_{i:03}.json').read_text()) for i in range(args.scenes)]
    facts = dict(
        scenes=args.scenes,
        scz_nb=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        processor=platform.machine(),
    )
    here = Path(__file__).parents[1] / 'nbs/tables'
    (here / 'curves.json').write_text(json.dumps(dict(facts=facts, scenes=scenes), indent=1))
    words = (
        "Scenes 10,000 and on with their true disparity; the left view is given. Network evaluations in brackets: as a share of the paper's 310 for 50 steps. CPU time: as a share of the first row's. "
        "The first row's measures are means; the others are differences to it on the same scenes, with 95 % intervals over scenes."
    )
    (here / 'curves.md').write_text(
        f'# What is lost when it is made faster\n\n{words}\n\n{table(scenes)}\n\n{args.scenes} scenes, '
        + ', '.join(f'{k} {v}' for k, v in facts.items() if k != 'scenes')
        + '\n'
    )
    print((here / 'curves.md').read_text())
