"The bench measures what it says: times, arithmetic, memory; and writes whole files."

import json
import time

import pytest
import torch
from torch import nn

from scz_nb.evaluation import bench as B
from scz_nb.evaluation.bench import (
    bench,
    bench_table,
    call_cost,
    reference_unet,
    roofline,
    seconds,
    unet_inputs,
    warp_variants,
)
from scz_nb.models.backbones import load_backbone


def test_the_best_of_several_calls_after_one_to_warm_up():
    naps = iter([0.2, 0.03, 0.01, 0.05])
    assert 0.01 <= seconds(lambda: time.sleep(next(naps)), 3) < 0.03
    assert next(naps, None) is None


def test_cost_of_a_matrix_product_is_known():
    net = nn.Linear(256, 512, bias=False)
    cost = call_cost(net, (torch.zeros(64, 256),), 1)
    assert (
        cost['flops'] == 2 * 64 * 256 * 512
        and cost['bytes'] == 64 * 512 * 4
        and cost['seconds'] > 0
    )


def test_ceilings_are_no_fantasy():
    best = roofline()
    assert 1e8 < best['bandwidth'] < 1e12 and 1e8 < best['arithmetic'] < 1e14


def test_rivals_of_the_warp_agree_and_are_named():
    rivals = warp_variants((2, 3, 20, 40), scale=-20.0)  # compares them on the way
    assert (
        list(rivals)[0].startswith('unique')
        and list(rivals)[-1] == 'copy'
        and all(f().shape == (2, 3, 20, 40) for f in rivals.values())
    )


@torch.inference_mode()
def test_transcription_has_other_code_and_the_same_numbers():
    unet = load_backbone('tiny', 'cpu').unet
    inputs = unet_inputs(unet, 3, 8, 12, tokens=5)
    inputs = (
        torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(0)),
        inputs[1],
        torch.randn(inputs[2].shape, generator=torch.Generator().manual_seed(1)),
    )
    plain = reference_unet(unet)
    torch.testing.assert_close(plain(*inputs), unet(*inputs), atol=1e-4, rtol=1e-4)
    large = unet_inputs(unet, 1, 24, 32, tokens=5)
    assert (
        call_cost(plain, large, 1)['bytes'] > 1.2 * call_cost(unet, large, 1)['bytes']
    )  # the matrix of weights
    assert torch.equal(
        unet(*inputs), load_backbone('tiny', 'cpu').unet(*inputs)
    )  # and the original is as it was


def test_bench_writes_a_table_after_every_part(tmp_path, monkeypatch):
    monkeypatch.setattr(B, 'warp_sizes', {'small': (1, 3, 16, 24)})
    text = bench('cpu', tmp_path).read_text()
    assert (
        'small, float32' in text
        and 'embedded model, 2 views' in text
        and 'share of the ceiling' in text
    )
    found = json.loads((tmp_path / 'bench.json').read_text())
    assert bench_table(found) == text and set(found) == {'machine', 'ceilings', 'warp', 'unet'}
    one, two = (found['unet'][f'embedded model, {n}'] for n in ('1 view', '2 views'))
    assert two['flops'] == 2 * one['flops']


def test_finished_parts_survive_an_interrupt(tmp_path, monkeypatch):
    monkeypatch.setattr(B, 'warp_sizes', {'small': (1, 3, 16, 24)})

    def stop(*a):
        raise KeyboardInterrupt

    monkeypatch.setattr(B, 'bench_unet', stop)
    with pytest.raises(KeyboardInterrupt):
        bench('cpu', tmp_path)
    assert (
        'small, float32' in (tmp_path / 'bench.md').read_text()
        and 'UNet' not in (tmp_path / 'bench.md').read_text()
    )


def test_no_memory_is_a_row_of_the_table(monkeypatch):
    unet = load_backbone('tiny', 'cpu').unet
    whole = B.call_cost

    def small(net, inputs, n=3):
        if len(inputs[0]) > 1:
            raise torch.OutOfMemoryError('no')
        return whole(net, inputs, 1)

    monkeypatch.setattr(B, 'call_cost', small)
    found = B.bench_unet(unet, {'small': (2, 8, 12)})
    assert found['small, 1 view'] and found['small, 2 views'] is None
    assert '| small, 2 views | out of memory |' in bench_table(
        dict(machine=B.machine(), roofline=dict(bandwidth=1.0, arithmetic=1.0), unet=found)
    )
