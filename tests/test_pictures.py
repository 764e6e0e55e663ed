"The paper's protocol: pictures and prompts, no truth."

import numpy as np
import pytest
from helpers.models import colours
from PIL import Image

from scz_nb.core import InputError
from scz_nb.evaluation.baselines import BASELINES, stereodiffusion
from scz_nb.evaluation.features import ClipScorer
from scz_nb.evaluation.pictures import (
    PICTURE_METHODS,
    evaluate_pictures,
    picture_scores,
    read_pictures,
)

quickest = dict(right='paper', steps=1, dissolve=0, restart_iterations=0, refine=())


def make_pictures(folder):
    "Two pictures of noise and their prompts."
    folder.mkdir()
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 255, (40, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f'p{i}.png')
    (folder / 'prompts.txt').write_text('p1.png a red kite\n\np0.png  the sea, at dusk \n')
    return folder


@pytest.fixture
def pictures(tmp_path):
    return make_pictures(tmp_path / 'pictures')


def test_prompts_from_text(pictures):
    want = [(pictures / 'p1.png', 'a red kite'), (pictures / 'p0.png', 'the sea, at dusk')]
    assert read_pictures(pictures) == want


def test_prompts_from_csv(pictures):
    (pictures / 'prompts.csv').write_text(
        'picture,prompt\np1.png,a red kite\np0.png,"the sea, at dusk"\n'
    )
    want = read_pictures(pictures)
    (pictures / 'prompts.txt').unlink()
    assert read_pictures(str(pictures)) == want


@pytest.mark.parametrize(
    'text, says',
    [
        ('a,b\n1,2\n', 'columns'),
        ('picture,prompt\nno.png,x\n', 'no.png'),
        ('picture,prompt\np0.png,x\np0.png,y\n', 'share'),
    ],
)
def test_bad_prompts_are_named(pictures, text, says):
    (pictures / 'prompts.csv').write_text(text)
    with pytest.raises(InputError, match=says):
        read_pictures(pictures)


def test_missing_prompts_are_named(pictures):
    (pictures / 'prompts.txt').write_text('\n')
    with pytest.raises(InputError, match='empty'):
        read_pictures(pictures)
    (pictures / 'prompts.txt').unlink()
    with pytest.raises(InputError, match='prompts.txt'):
        read_pictures(pictures)


columns = ['clip_t', 'clip_f', 'met3r', 'correlation', 'slope', 'vertical', 'flicker']


@pytest.fixture
def scored(hub):
    "The scores of a left view copied, and of its negative."
    left = np.random.default_rng(0).integers(0, 255, (2, 40, 64, 3), dtype=np.uint8)
    near = np.tile(np.linspace(0, 1, 64), (2, 40, 1))
    clip = ClipScorer(hub / 'clip')
    made = left, 255 - left
    return [picture_scores(left, v, 'abc', near, 8.0, clip, colours) for v in made]


def test_picture_scores_have_the_paper_s_columns_and_more(scored):
    assert [list(s) for s in scored] == [columns] * 2


def test_picture_scores_of_the_left_view_copied(scored):
    copied, _ = scored
    assert copied['clip_f'] == pytest.approx(100, abs=1e-3)
    assert copied['met3r'] == pytest.approx(0, abs=1e-4)
    assert copied['correlation'] == copied['vertical'] == 0


def test_picture_scores_of_its_negative(scored):
    _, negative = scored
    assert negative['clip_f'] < 100 and negative['met3r'] > 100


def test_picture_scores_without_networks():
    left = np.random.default_rng(0).integers(0, 255, (2, 40, 64, 3), dtype=np.uint8)
    near = np.tile(np.linspace(0, 1, 64), (2, 40, 1))
    assert list(picture_scores(left, left, '', near, 8.0)) == columns[3:]


@pytest.fixture(scope='module')
def paper(hub, tmp_path_factory):
    "The paper's protocol on two pictures: a function that runs it, its folder and its table."
    where = tmp_path_factory.mktemp('paper')
    make_pictures(where / 'pictures')
    methods = {"paper's form": {}, 'copy_left': BASELINES['copy_left']}
    how = dict(settings=quickest, methods=methods, clip=hub / 'clip', dino=colours, progress=False)

    def go(**kw):
        return evaluate_pictures(where / 'pictures', where / 'out', **how, **kw).read_text()

    return go, where / 'out', go()


def test_paper_protocol_has_a_row_a_method(paper):
    _, _, text = paper
    rows = {line.split(' | ')[0].strip('| '): line for line in text.splitlines()}
    assert {"paper's form", 'copy_left'} <= set(rows) and '2 scenes' in text
    assert '100.00 (100.00 to 100.00) | 0.00 (' in rows['copy_left']


def test_paper_protocol_keeps_figures_and_videos(paper):
    _, out, _ = paper
    found = {str(p.relative_to(out)) for p in out.rglob('*.*')}
    videos = {"stereo/paper's form/p1-0_LR.mp4", 'stereo/copy_left/p0-0_LR.mp4'}
    assert {'table.csv', 'table.png', 'item_p0-0.json'} | videos <= found


def test_paper_protocol_goes_on(paper):
    go, out, text = paper
    (out / 'item_p1-0.json').unlink()
    before = (out / 'item_p0-0.json').stat().st_mtime_ns
    assert go() == text
    assert (out / 'item_p0-0.json').stat().st_mtime_ns == before


def test_paper_protocol_refuses_other_settings(paper, tmp_path):
    go, _, _ = paper
    with pytest.raises(InputError, match='other settings'):
        go(backbone='tiny', results=tmp_path)


def test_other_systems_enter_the_table(pictures, tmp_path):
    (pictures / 'prompts.txt').write_text('p0.png kite\n')
    where = tmp_path / 'results' / 'Theirs' / 'p0-0'
    where.mkdir(parents=True)
    for t in range(8):
        Image.fromarray(np.full((40, 64, 3), 128, np.uint8)).save(where / f'{t:02}.png')
    methods = {'StereoDiffusion': stereodiffusion}
    how = dict(settings=quickest, methods=methods, clip=None, dino=None, progress=False)
    results = tmp_path / 'results'
    text = evaluate_pictures(pictures, tmp_path / 'out', **how, results=results).read_text()
    assert '| Theirs | ' in text and 'clip' not in text


def test_pictures_are_compared_with_baselines():
    assert set(PICTURE_METHODS) >= {"paper's form", 'StereoDiffusion', 'copy_left'}
