"""What each stage is good for: the method with one stage off at a time, on held-out scenes of TinyWorld.

    python benchmarks/ablations.py --scenes 8 --steps 20

writes benchmarks/ablations.md and benchmarks/ablations.json. Scenes are shared out to as many processes as there are cores.
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
from scz_nb.evaluation.ablations import compare_ablations
from scz_nb.evaluation.tables import median_table
from scz_nb.models.backbones import load_backbone
from scz_nb.models.embedded import held_out


def one_scene(i: int, steps: int) -> dict:
    torch.set_num_threads(1)
    backbone = load_backbone('tiny', 'cpu')
    clip = held_out(backbone.model.config, i + 1)[i]
    return compare_ablations(
        clip.left[0].numpy(), clip.caption, dict(steps=steps), backbone=backbone
    )


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--scenes', type=int, default=8)
    p.add_argument('--steps', type=int, default=20)
    args = p.parse_args()
    begin = time.time()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        tables = list(pool.map(partial(one_scene, steps=args.steps), range(args.scenes)))
    facts = dict(
        scenes=args.scenes,
        steps=args.steps,
        seconds=round(time.time() - begin),
        cores=os.cpu_count(),
        scz_nb=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        processor=platform.machine(),
    )
    here = Path(__file__).parents[1] / 'nbs/tables'
    (here / 'ablations.json').write_text(json.dumps(dict(facts=facts, tables=tables), indent=1))
    (here / 'ablations.md').write_text(
        f"""# One stage off at a time

Medians over {args.scenes} held-out scenes, {args.steps} steps, scale 12, the embedded model. Shifts in percent of the width, from left to right;
`roughness` is the right view's mean Laplacian over the left's (1 is right, above is noise); `changed` is how many grey levels (of 255)
the right view differs from the full method's.

{median_table(tables)}

"""
        + ', '.join(f'{k} {v}' for k, v in facts.items())
        + '\n'
    )
    print(median_table(tables))
