"The bench measures what it says: times, arithmetic, memory; and writes whole files."

import json
import subprocess
import sys
import time

import pytest
import torch
from helpers.project import root
from torch import nn

from scz_nb.evaluation import bench as B
from scz_nb.evaluation.bench import (
    bench,
    bench_run,
    bench_start,
    bench_table,
    bench_unet,
    call_cost,
    machine,
    reference_unet,
    roofline,
    seconds,
    unet_inputs,
    warp_variants,
)


def test_the_best_of_several_calls_counts():
    naps = iter([0.2, 0.03, 0.01, 0.05])  # the first is there to warm up
    assert 0.01 <= seconds(lambda: time.sleep(next(naps)), at_least=0.08) < 0.03
    assert next(naps, None) is None


def test_one_call_is_enough():
    calls = []
    assert seconds(lambda: calls.append(time.sleep(0.01)), at_least=0) >= 0.01
    assert len(calls) == 2  # and one to warm up


def test_cost_of_a_matrix_product_is_known():
    net = nn.Linear(256, 512, bias=False)
    cost = call_cost(net, (torch.zeros(64, 256),), at_least=0)
    assert cost['flops'] == 2 * 64 * 256 * 512
    assert cost['bytes'] == 64 * 512 * 4
    assert cost['seconds'] > 0


def test_the_roofline_is_no_fantasy():
    best = roofline()
    assert 1e8 < best['bandwidth'] < 1e12 and 1e8 < best['arithmetic'] < 1e14


def test_variants_of_the_warp_agree_and_are_named():
    variants = warp_variants((2, 3, 20, 40), scale=-20.0)  # compares them on the way
    names = list(variants)
    assert names[0].startswith('unique') and names[-1] == 'copy'
    assert all(f().shape == (2, 3, 20, 40) for f in variants.values())


# the network, written plainly
@pytest.fixture(scope='module')
def inputs(backbone):
    x, t, context = unet_inputs(backbone.unet, 3, 8, 12, tokens=5)
    x = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    context = torch.randn(context.shape, generator=torch.Generator().manual_seed(1))
    return x, t, context


@torch.inference_mode()
def test_the_reference_has_the_same_numbers(backbone, inputs):
    plain = reference_unet(backbone.unet)
    torch.testing.assert_close(plain(*inputs), backbone.unet(*inputs), atol=1e-4, rtol=1e-4)


def test_the_reference_has_other_code(backbone):
    large = unet_inputs(backbone.unet, 1, 24, 32, tokens=5)
    plain, own = (
        call_cost(net, large, 0) for net in (reference_unet(backbone.unet), backbone.unet)
    )
    assert plain['bytes'] > 1.2 * own['bytes']  # the matrix of weights


@torch.inference_mode()
def test_the_reference_leaves_the_original_as_it_was(backbone, inputs):
    from scz_nb.models.backbones import load_backbone

    reference_unet(backbone.unet)
    assert torch.equal(backbone.unet(*inputs), load_backbone('tiny', 'cpu').unet(*inputs))


# the run
def test_the_left_view_once_gives_the_same_right_view(backbone):
    plans = {'both views': dict(steps=2), 'left view once': dict(steps=2)}
    both, once = bench_run(backbone, plans).values()
    assert both['difference'] == once['difference'] == 0
    assert once['calls'] < both['calls'] and both['seconds'] > 0


def test_a_run_starts_without_heavy_packages():
    code = (
        'import sys; from scz_nb.sampler import run; '
        "print({'diffusers', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'set()'


def test_the_start_is_timed_in_a_fresh_process():
    assert bench_start(('pass',))['pass'] > 0.005


# the table
@pytest.fixture
def one_small_warp(monkeypatch):
    monkeypatch.setattr(B, 'warp_sizes', {'small': (1, 3, 16, 24)})


def test_bench_writes_a_table_after_every_part(tmp_path, one_small_warp):
    text = bench('cpu', tmp_path).read_text()
    for words in (
        'small, float32',
        '| loops |',
        'embedded model, 2 views',
        'share of the roofline',
    ):
        assert words in text
    found = json.loads((tmp_path / 'bench.json').read_text())
    assert bench_table(found) == text
    assert set(found) == {'machine', 'roofline', 'warp', 'unet'}


def test_two_views_are_twice_the_arithmetic(backbone):
    one, two = bench_unet(backbone.unet, {'small': (2, 8, 12)}).values()
    assert two['flops'] == 2 * one['flops']


def test_finished_parts_survive_an_interrupt(tmp_path, one_small_warp, monkeypatch):
    def stop(*a):
        raise KeyboardInterrupt

    monkeypatch.setattr(B, 'bench_unet', stop)
    with pytest.raises(KeyboardInterrupt):
        bench('cpu', tmp_path)
    text = (tmp_path / 'bench.md').read_text()
    assert 'small, float32' in text and 'UNet' not in text


def test_no_memory_is_a_row_of_the_table(backbone, monkeypatch):
    whole = B.call_cost

    def small(net, inputs, at_least=0):
        if len(inputs[0]) > 1:
            raise torch.OutOfMemoryError('no')
        return whole(net, inputs, 0)

    monkeypatch.setattr(B, 'call_cost', small)
    found = bench_unet(backbone.unet, {'small': (2, 8, 12)})
    assert found['small, 1 view'] and found['small, 2 views'] is None
    best = dict(bandwidth=1.0, arithmetic=1.0)
    table = bench_table(dict(machine=machine(), roofline=best, unet=found))
    assert '| small, 2 views | out of memory |' in table


def test_the_shipped_figures_can_be_shown():
    found = json.loads((root / 'nbs/tables/speed.json').read_text())
    text = bench_table(found)
    for heading in ('warp 256×256', 'UNet of the embedded model', 'stereo run', 'start'):
        assert f'## {heading}\n' in text and f'## {heading}\n' in shipped()
    assert '| left view once | 26.89 | 0.59 | 180 | 0 |' in text


def shipped():
    return (root / 'nbs/tables/speed.md').read_text()
