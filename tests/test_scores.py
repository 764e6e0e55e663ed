"Figures of the embedded model: the text is the file's; both forms of the right view are there."

import json

import pytest
from helpers.project import root

from scz_nb.evaluation.scores import embedded_text, evaluate_embedded, stereo_scores, stereo_table

tables = root / 'nbs/tables'


@pytest.mark.parametrize(
    'name, size, steps', [('embedded', 'tiny', 30), ('embedded_small', 'small', 20)]
)
def test_shipped_text_is_made_from_the_shipped_figures(name, size, steps):
    found = json.loads((tables / f'{name}.json').read_text())
    assert embedded_text(found, size, steps) == (tables / f'{name}.md').read_text()


def test_near_things_are_counted():
    rows = [dict(correlation=0.5, near=-3.0, far=0.0), dict(correlation=0.7, near=1.0, far=0.0)]
    (row,) = stereo_table(dict(inpaint=rows)).rows
    assert row[0] == 'inpainting form' and row[1].startswith('0.60 (')
    assert row[2].startswith('1 of 2 (')


def test_the_inpainting_form_follows_its_depth():
    got = stereo_scores(2, 'inpaint', steps=2)
    assert got['correlation'] > 0.8 and got['near'] < got['far']


@pytest.mark.slow
def test_figures_go_into_a_table(tmp_path):
    how = dict(scenes=2, steps=1, stereo=1, stereo_steps=1, processes=0, progress=False)
    text = evaluate_embedded(tmp_path, **how).read_text()
    assert '## shipped: ' in text and '| inpainting form | ' in text
    found = json.loads((tmp_path / 'table.json').read_text())
    assert list(found['stereo']) == ['paper', 'inpaint', 'mean']
    assert list(found['scores']) == ['shipped']
    assert evaluate_embedded(tmp_path, **how).read_text() == text  # nothing is measured again
