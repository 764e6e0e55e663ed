"All right views in both languages: budgets, rows and the table."

import pytest

from scz_nb.config import StereoConfig
from scz_nb.evaluation import views
from scz_nb.evaluation.views import BUDGETS, fitting, view_plans, view_rows, views_table
from scz_nb.sampler import RIGHT_VIEWS, count_calls


def right_calls(settings):
    "Network evaluations for the right view."
    config = StereoConfig.make(**settings)
    return count_calls(config, config.steps) - config.steps


@pytest.mark.parametrize('budget', BUDGETS)
@pytest.mark.parametrize('right', [r for r, m in RIGHT_VIEWS.items() if m.calls(50) > 1])
def test_a_budget_is_used_and_kept(right, budget):
    assert budget - 1 <= right_calls(fitting(right, budget)) <= budget


def test_every_right_view_is_there():
    rights = {settings['right'] for settings in view_plans().values()}
    assert rights == set(RIGHT_VIEWS)
    assert len([name for name in view_plans() if name.startswith('mean')]) == 1


@pytest.fixture(scope='module')
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, 'BUDGETS', (2, 3))
        return view_rows(3)


def test_both_languages_have_all_rows(rows):
    ddpm, flow = ({n for n in rows if n.endswith(end)} for end in (', DDPM', ', flow'))
    assert {n.removesuffix(', DDPM') for n in ddpm} == {n.removesuffix(', flow') for n in flow}
    assert len(ddpm) + len(flow) == len(rows)


@pytest.mark.parametrize('right', ['inpaint', 'conditioned', 'dual', 'pixels'])
def test_a_right_view_is_the_same_in_both_languages(right, rows):
    for budget in (2, 3):
        ddpm, flow = (rows[f'{right}, {budget}, {kind}'] for kind in ('DDPM', 'flow'))
        assert ddpm['psnr'] == pytest.approx(flow['psnr'], abs=0.05)
        assert ddpm['calls'] == flow['calls']


def test_the_table_has_a_line_for_each_right_view(rows):
    table = views_table([rows, rows])
    assert [line[0] for line in table.rows] == [n[:-6] for n in rows if n.endswith(', DDPM')]
