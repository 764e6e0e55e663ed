"Files of weights in the published models' format, with random numbers in them."

from pathlib import Path

import torch

from scz_nb.models.stand_in import random_checkpoint


def write_checkpoint(path, kind, **options):
    "A checkpoint file, .ckpt or .safetensors."
    state, path = random_checkpoint(kind, **options), Path(path)
    if path.suffix == '.safetensors':
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save({'state_dict': state}, path)
    return path
