"Denoisers that are formulas, and a scene of latents to try the stages on."

import torch

from scz_nb.core import NoiseSource
from scz_nb.diffusion.denoiser import Denoiser, Trajectory
from scz_nb.diffusion.schedule import Prediction, ddpm_schedule
from scz_nb.geometry.warp import Warp

shape = 1, 4, 3, 6, 10
schedules = [
    ddpm_schedule(50),
    ddpm_schedule(50, prediction='eps', spacing='uniform', zero_snr=False),
    ddpm_schedule(10),
    ddpm_schedule(20, eta=0.5, base_scale=0.7),
]

near = torch.zeros(3, 6, 10)
near[:, 1:4, 4:7] = 1.0
near[:, 5] = 0.5
warp = Warp(near, (6, 10), -20)  # to the left: holes right of the block and at the right border
still = Warp(near, (6, 10), 0)  # nothing moves, no holes


def draw(name):
    "Noise by its name."
    return NoiseSource(0).normal(name, shape)


latents = [draw(f'left {i}') for i in range(8)]
left = Trajectory(latents, [draw(f'step {i}') for i in range(50)])


class Formula(Denoiser):
    """A network as a formula, another at each step.

    It looks at the neighbours, so holes and surroundings act on one another."""

    def __init__(self, schedule, size=shape, guess=None):
        self.schedule = schedule
        self.size = size
        self.guess = guess  # function (z, i) → Prediction, in place of the formula
        self.seen = []  # (step, latent) of each call for the right view

    def draw(self, name):
        return NoiseSource(0).normal(name, self.size)

    def left(self, z, i):
        return self.right(z, i)

    def right(self, z, i):
        self.seen.append((i, z))
        if self.guess is not None:
            return self.guess(z, i)
        around = 0.3 * z.roll(1, -1) + 0.2 * z.roll(-1, -1)
        other = 0.1 * latents[min(i, 7)] if z.shape == shape else 0.0
        out = around - other + 0.01 * i
        a, s = self.schedule.signal[i], self.schedule.noise[i]
        return Prediction(a * z - s * out, a * out + s * z)


def same(a, b, where):
    "Whether two latents are equal there, to the bit."
    return torch.equal(a.masked_select(where.expand_as(a)), b.masked_select(where.expand_as(b)))
