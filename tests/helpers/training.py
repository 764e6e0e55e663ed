"Short trainings for tests, also in processes of their own."

import os
import sys
from pathlib import Path

import torch

from helpers.models import small
from scz_nb.core import NoiseSource
from scz_nb.models.embedded import TinyModel, held_out
from scz_nb.training.data import Clips, Recipe, draw_batch
from scz_nb.training.train import Run, fit

recipe = Recipe(batch=4, rate=2e-3, save_every=0)
tests = str(Path(__file__).parents[1])
# of a process that imports this file
env = {**os.environ, 'PYTHONPATH': os.pathsep.join([tests, *sys.path])}


def rand():
    return torch.Generator().manual_seed(0)


def quick(part, folder, steps, processes=1, **settings):
    "Train for a few steps at a toy size: model with averaged weights, losses."
    settings = {'config': small, 'recipe': recipe, **settings}
    return fit(Run(part, folder, max_steps=steps, **settings), processes, progress=False)


def some_clips(config=small, **kinds):
    return Clips(config, NoiseSource(0), 'video 0', **kinds)


def some_batch(n, config=small, **kinds):
    return draw_batch(some_clips(config, **kinds), 0, Recipe(batch=n), rand())


def fitted(config=small):
    "A new network whose latents have the right spread."
    model = TinyModel(config)
    model.picture.fit(torch.stack([c.left for c in held_out(config, 4)]))
    return model
