"""How good is the embedded model? Its clips beside true ones and beside those of earlier weights, on held-out scenes of TinyWorld.

    python benchmarks/embedded.py --scenes 128 --stereo 32 --before earlier.safetensors
    python benchmarks/embedded.py --size small --scenes 24 --stereo 12 --steps 20

writes benchmarks/embedded.md and benchmarks/embedded.json, and for another size than tiny benchmarks/embedded_SIZE.*. One process for each weights file, then one for each core.
"""

import argparse
import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from scz_nb import __version__
from scz_nb.evaluation.metrics import stereo_agreement
from scz_nb.media.show import Table
from scz_nb.models.backbones import load_backbone
from scz_nb.models.embedded import SIZES, held_out, load_at_size, read_weights, shipped_weights
from scz_nb.sampler import run
from scz_nb.stats import bootstrap, wilson
from scz_nb.training.report import score, scores_table


def one_model(path, size: str, scenes: int, steps: int) -> dict:
    torch.set_num_threads(1)
    return score(load_at_size(SIZES[size], path), scenes, steps)


def one_stereo(i: int, size: str, right: str, scale: float, steps: int) -> dict:
    torch.set_num_threads(1)
    backbone = load_backbone(size, 'cpu')
    clip = held_out(backbone.model.config, i + 1)[i]
    v = run(
        clip.left[0].numpy(),
        clip.caption,
        backbone=backbone,
        steps=steps,
        scale=scale,
        config=dict(right=right),
        progress=False,
    )
    return stereo_agreement(v.left, v.right, v.disparity, scale)


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--size', choices=SIZES, default='tiny')
    p.add_argument('--scenes', type=int, default=128, help='held-out scenes for the clips')
    p.add_argument('--steps', type=int, default=30, help='sampling steps of the clips')
    p.add_argument('--stereo', type=int, default=32, help='held-out scenes for the right views')
    p.add_argument(
        '--before',
        help='weights to compare with, of any size (default: none for tiny, the shipped tiny ones for other sizes)',
    )
    args, begin = p.parse_args(), time.time()
    if args.size != 'tiny' and not args.before:
        args.before = shipped_weights()
    files = {
        **({'before': args.before} if args.before else {}),
        'shipped': shipped_weights(args.size),
    }
    with ProcessPoolExecutor(os.cpu_count(), get_context('spawn')) as pool:
        scores = dict(
            zip(
                files,
                pool.map(
                    partial(one_model, size=args.size, scenes=args.scenes, steps=args.steps),
                    files.values(),
                ),
            )
        )
        stereo = {
            right: list(
                pool.map(
                    partial(one_stereo, size=args.size, right=right, scale=8.0, steps=20),
                    range(args.stereo),
                )
            )
            for right in ('paper', 'inpaint')
        }

    def measured(rows):
        ahead, corr = (
            [s['near'] < s['far'] for s in rows],
            [s['correlation'] for s in rows],
        )  # near things lie further left in the right view
        return (
            f'{np.median(corr):.2f} ({" to ".join(f"{b:.2f}" for b in bootstrap(corr, of="median"))})',
            f'{sum(ahead)} of {len(ahead)} ({" to ".join(f"{b:.2f}" for b in wilson(sum(ahead), len(ahead)))})',
        )

    config, samples = (
        SIZES[args.size],
        {k: read_weights(f)[1].get('samples', '?') for k, f in files.items()},
    )
    facts = dict(
        scz_nb=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        processor=platform.machine(),
        cores=os.cpu_count(),
        seconds=round(time.time() - begin),
    )
    here = (
        Path(__file__).parents[1]
        / 'nbs/tables'
        / ('embedded' if args.size == 'tiny' else f'embedded_{args.size}')
    )
    here.with_suffix('.json').write_text(
        json.dumps(dict(facts=facts, samples=samples, scores=scores, stereo=stereo), indent=1)
    )
    own = lambda k: [
        f'{v:.3f} ({lo:.3f} to {hi:.3f})'
        for v, lo, hi in (scores[k][f] for f in ('loss', 'caption_swap_gap', 'depth'))
    ]
    tables = '\n\n'.join(
        f'## {k}: {samples[k]} samples\n\n{scores_table(scores[k])}' for k in files
    )
    here.with_suffix('.md').write_text(
        f"""# The embedded model, size {args.size}, measured

{args.scenes} held-out scenes of {config.width}×{config.height} pixels, simple and complex; clips in {args.steps} steps; 95 % intervals over scenes in brackets. What the columns mean: `scz_nb.training.report.clip_scores`. Chance is one half for direction.

{Table(('weights', 'velocity error', 'caption-swap gap at t = 999', 'rank correlation of depth'), [(k, *own(k)) for k in files])}

{tables}

## Stereo with the shipped weights

{args.stereo} scenes, 20 steps, scale 8, estimated depth.

{Table(('right view', 'correlation of measured and intended shift, median', 'near things further left'), [(k, *measured(v)) for k, v in stereo.items()])}

"""
        + ', '.join(f'{k} {v}' for k, v in facts.items())
        + '\n'
    )
    print(here.with_suffix('.md').read_text())
