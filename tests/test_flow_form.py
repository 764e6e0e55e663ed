"The embedded model as a flow-matching model: same steps, same answers, in other coordinates."

import pytest
import torch

from scz_nb.diffusion.schedule import ddpm_schedule
from scz_nb.models.backbones import TinyBackbone
from scz_nb.models.embedded import shipped_model
from scz_nb.models.flow_form import FlowTiny, flow_form


@pytest.fixture(scope='module')
def both():
    "The embedded model in both languages."
    model = shipped_model('tiny')
    return TinyBackbone(model), FlowTiny(model)


@pytest.mark.parametrize('eta', [0.0, 0.3, 1.0])
def test_a_step_is_the_same_latent_in_other_coordinates(eta):
    ddpm = ddpm_schedule(10, eta)
    flow = flow_form(ddpm)
    x0, eps, noise = torch.randn(3, 1, 4, 2, 3, 5, dtype=torch.float64)
    for i in range(9):
        a, s = ddpm.signal[i], ddpm.noise[i]
        z = ddpm.noisy(x0, eps, i)
        v, straight = a * eps - s * x0, eps - x0
        there = ddpm.step(ddpm.interpret(z, v, i), i, noise)
        here = flow.step(flow.interpret(z / (a + s), straight, i), i, noise)
        size = ddpm.signal[i + 1] + ddpm.noise[i + 1]
        torch.testing.assert_close(here, there / size)


def test_what_comes_out_is_decoded_as_it_was():
    ddpm = ddpm_schedule(10)
    flow = flow_form(ddpm)
    assert (flow.signal[-1], flow.noise[-1]) == (ddpm.signal[-1], ddpm.noise[-1])


@pytest.mark.parametrize('steps', [1, 7, 20, 50, 1000])
def test_the_timestep_of_every_level_is_found_again(both, steps):
    tiny, flow = both
    told = [flow.timestep(t / 1000) for t in flow.schedule(steps, 0.0).timesteps]
    assert told == list(tiny.schedule(steps, 0.0).timesteps)


@torch.no_grad()
def test_the_network_answers_the_same(both):
    tiny, flow = both
    one, other = tiny.schedule(10, 0.0), flow.schedule(10, 0.0)
    given = tiny.condition('a red boat', None, None, None)
    z = torch.randn(tiny.latent_shape, generator=torch.Generator().manual_seed(0))
    for i in (0, 4, 9):
        x = z / (one.signal[i] + one.noise[i])
        a = one.interpret(z, tiny.denoise(z, one.timesteps[i], given, 3.0), i)
        b = other.interpret(x, flow.denoise(x, other.timesteps[i], given, 3.0), i)
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
