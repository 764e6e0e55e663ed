"One stage off at a time: rows, what they are compared with, and the table."

import pytest

from scz_nb.evaluation.ablations import ABLATIONS, compare_ablations, evaluate_ablations
from scz_nb.evaluation.runner import read_tables
from scz_nb.models.embedded import held_out

short = dict(steps=2, restart_iterations=1, refine=((44, 1),))


@pytest.fixture(scope='module')
def rows(backbone):
    clip = held_out(backbone.model.config, 3)[2]
    some = {name: ABLATIONS[name] for name in ('full', 'no refinement', 'scale 0')}
    return compare_ablations(clip.left[0].numpy(), clip.caption, short, some, backbone=backbone)


def test_rows_are_compared_with_the_first(rows):
    assert list(rows) == ['full', 'no refinement', 'scale 0']
    assert rows['full']['changed'] == 0 < rows['scale 0']['changed']


def test_nothing_moves_at_scale_0(rows):
    assert abs(rows['scale 0']['near']) < 0.1
    assert rows['scale 0']['roughness'] == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_the_table_of_ablations(tmp_path):
    text = evaluate_ablations(tmp_path, scenes=1, steps=1, processes=1, progress=False).read_text()
    assert text.startswith('# One stage off at a time') and '1 steps' in text
    (table,) = read_tables(tmp_path / 'table.csv')
    assert list(table) == list(ABLATIONS)
    assert all(f'| {name} |' in text for name in ABLATIONS)
