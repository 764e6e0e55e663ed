"Small pipelines with random weights, and the clips that they make."

import numpy as np
import torch
from torch import nn

from scz_nb.models.stand_in import random_pipeline

picture = np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)


class Pipelines(dict):
    "Model → pipeline, each made when it is first needed."

    def __missing__(self, kind):
        self[kind] = random_pipeline(kind)
        return self[kind]


def noise(seed=0):
    "A generator for random numbers."
    return torch.Generator().manual_seed(seed)


def clip(pipe, image=picture, prompt='fog', steps=2, **kw):
    "What a pipeline makes of a picture."
    return pipe(image, prompt, num_inference_steps=steps, generator=noise(), **kw).frames


def networks(pipe):
    "Name → network of a pipeline."
    return {k: v for k, v in pipe.components.items() if isinstance(v, nn.Module)}
