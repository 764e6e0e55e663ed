"""The user study.

Nothing tells a participant which method made what, nothing needs a server, and answers come back
to their methods."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from scz_nb.core import InputError
from scz_nb.evaluation.study import (
    QUESTIONS,
    SHORT,
    example_answers,
    find_videos,
    participant_means,
    preferred,
    read_answers,
    study_page,
    study_table,
)


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    "A study of files that need not be videos: method and item are their text."
    d = tmp_path_factory.mktemp('study')
    for m in ('mine', 'theirs'):
        (d / 'stereo' / m).mkdir(parents=True)
        for i in ('a</script>', 'b', 'c'):
            (d / 'stereo' / m / f'{i.replace("/", "")}_LR.mp4').write_text(f'{m} {i}')
        # what `StereoVideo.save` leaves with a video
        (d / 'stereo' / m / 'b_LR.mp4.json').write_text('{}')
    study_page(d / 'stereo', d / 'out')
    return d


@pytest.fixture(scope='module')
def page(study):
    return (study / 'out' / 'index.html').read_text()


@pytest.fixture(scope='module')
def key(study):
    return json.loads((study / 'out' / 'key.json').read_text())


def test_page_is_blind(page):
    assert not re.search(r'mine|theirs', page)


def test_page_needs_no_server(page):
    assert not re.search(r'https?://|src=[^\s]*//|<link|@import', page)
    assert page.count('</script>') == 1


def test_page_has_all_questions(page):
    for q, (head, hint) in QUESTIONS.items():
        assert q in page and head in page and hint in page


def test_key_knows_the_videos(study, key):
    videos = {p.stem: p.read_text() for p in (study / 'out' / 'videos').iterdir()}
    assert videos.keys() == key['videos'].keys() and len(videos) == 6
    for n, what in key['videos'].items():
        assert videos[n].startswith(what['method'])
        assert videos[n].replace('/', '').endswith(what['item'])


def test_numbers_are_shuffled(key):
    names = [v['method'] for v in key['videos'].values()]
    assert names != sorted(names)


def test_page_is_seeded(study, page):
    assert study_page(study / 'stereo', study / 'again').read_text() == page
    assert study_page(study / 'stereo', study / 'other', seed=1).read_text() != page


# the page's own code
@pytest.fixture(scope='module')
def in_node(page, tmp_path_factory):
    "What an expression of the page's script is, as JSON."
    if shutil.which('node') is None:
        pytest.skip('node is not installed')
    script = re.search(r'<script>\n(.*)</script></body>', page, re.S)[1]
    path = tmp_path_factory.mktemp('node') / 'page.js'

    def evaluate(expression):
        path.write_text(f'{script}\nconsole.log(JSON.stringify({expression}));')
        r = subprocess.run(['node', path], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)

    return evaluate


def test_every_participant_has_an_order_of_their_own(in_node, key):
    people = 'Array.from({length: 200}, (_, k) => shuffled(study.videos, "P" + k))'
    orders = in_node(people)
    videos = sorted(key['videos'])
    assert all(sorted(o) == videos for o in orders)
    assert in_node('shuffled(study.videos, "P7")') == orders[7]
    assert len(set(map(tuple, orders))) > 100
    for v in videos:  # about 33 times first, each
        assert 20 < sum(o[0] == v for o in orders) < 50


def marks(k):
    return {q: 1 + (k + j) % 5 for j, q in enumerate(QUESTIONS)}


@pytest.fixture
def state(key):
    "What the browser keeps of a participant who left the fifth video half-way."
    videos = sorted(key['videos'])
    answers = {v: marks(k) for k, v in enumerate(videos[:4])}
    answers[videos[4]] = {'frame_quality': 3}
    return dict(study=key['study'], participant='P "1", x', answers=answers)


def test_saved_answers_come_back(in_node, study, key, state, tmp_path):
    (tmp_path / 'a.csv').write_text(in_node(f'toCsv({json.dumps(state)})'))
    (tmp_path / 'b.json').write_text(json.dumps(dict(state, participant='P2')))
    files = [tmp_path / 'a.csv', tmp_path / 'b.json']
    rows = read_answers(files, study / 'out' / 'key.json')
    assert len(rows) == 8  # the video that was left half-way does not count
    assert {r['participant'] for r in rows} == {'P "1", x', 'P2'}
    for k, (r, v) in enumerate(zip(rows[:4], sorted(key['videos']))):
        assert (r['method'], r['item']) == tuple(key['videos'][v].values())
        assert {q: r[q] for q in QUESTIONS} == marks(k)
    nameless = [{k: v for k, v in r.items() if k != 'participant'} for r in rows]
    assert nameless[:4] == nameless[4:]


# how sure
def answer(p, m, *given):
    return dict(participant=p, method=m, item='x', synthetic=False, **dict(zip(QUESTIONS, given)))


@pytest.fixture
def two_people():
    return [answer('A', 'm', 5, 1, 1, 1)] * 9 + [answer('B', 'm', 1, 5, 2, 3)]


def test_people_are_the_unit(two_people):
    assert participant_means(two_people, 'm', 'frame_quality') == {'A': 5, 'B': 1}


def test_the_table_has_intervals_over_people(two_people):
    table = study_table(two_people)
    assert table.head == ('2 participants', *SHORT.values())
    even = '3.00 (1.00 to 5.00)'
    assert table.rows == [('m', even, even, '1.50 (1.00 to 2.00)', '2.00 (1.00 to 3.00)')]


@pytest.fixture
def ten_people():
    "Two like b better, seven a, one neither."
    rows = []
    for k in range(10):
        liked = 5 if k < 2 else 3 if k < 9 else 4
        rows += [answer(k, 'a', 3, 3, 3, 4), answer(k, 'b', 3, 3, 3, liked)]
    return rows


def test_preferred_counts_people_who_differ(ten_people):
    got = preferred(ten_people, 'a', 'b')
    assert got['n'] == 9 and got['share'] == pytest.approx(7 / 9)
    assert got['low'] == pytest.approx(0.4526, abs=1e-3)  # Wilson for 7 of 9
    assert got['high'] == pytest.approx(0.9368, abs=1e-3)


def test_preferred_has_two_sides(ten_people):
    assert preferred(ten_people, 'b', 'a')['share'] == pytest.approx(2 / 9)
    assert preferred(ten_people, 'a', 'b', 'frame_quality')['n'] == 0


# examples
levels = dict(mine=(4.5, 4.5, 1.2, 3), theirs=3)


@pytest.fixture
def examples(study, tmp_path):
    return example_answers(study / 'out' / 'key.json', tmp_path / 'answers', levels, people=20)


def test_examples_are_called_synthetic(study, examples):
    assert all('synthetic' in p.read_text() and 'synthetic' in p.name for p in examples.iterdir())
    rows = read_answers(examples, study / 'out' / 'key.json')
    assert len(rows) == 20 * 6 and all(r['synthetic'] for r in rows)
    assert 'SYNTHETIC' in str(study_table(rows))


def test_examples_lie_around_their_levels(study, examples):
    rows = read_answers(examples, study / 'out' / 'key.json')
    mean = lambda m, q: np.mean(list(participant_means(rows, m, q).values()))
    assert mean('mine', 'frame_quality') > 4
    assert 3.5 > mean('theirs', 'frame_quality') > mean('mine', 'stereoscopic_effects')


def test_examples_are_seeded(study, examples, tmp_path):
    key = study / 'out' / 'key.json'
    again = example_answers(key, tmp_path / 'again', levels, people=20)
    assert read_answers(again, key) == read_answers(examples, key)


# what cannot be
@pytest.fixture
def read(study, tmp_path):
    "Texts or objects as files of answers, read."

    def go(*files):
        for k, f in enumerate(files):
            (tmp_path / f'{k}.json').write_text(f if isinstance(f, str) else json.dumps(f))
        paths = [tmp_path / f'{k}.json' for k in range(len(files))]
        return read_answers(paths, study / 'out' / 'key.json')

    return go


@pytest.fixture
def good(key):
    answers = {'001': dict.fromkeys(QUESTIONS, 3)}
    return dict(study=key['study'], participant='P1', answers=answers)


def test_good_answers_are_read(read, good):
    assert len(read(good)) == 1


@pytest.mark.parametrize('text, says', [('x', 'neither'), ('[]', 'no file of answers')])
def test_other_files_are_refused(read, text, says):
    with pytest.raises(InputError, match=says):
        read(text)


@pytest.mark.parametrize(
    'change, says',
    [
        (dict(study='z'), 'belongs to study z'),
        (dict(answers={'9': dict.fromkeys(QUESTIONS, 3)}), 'does not have'),
        (dict(answers={}), 'no answers'),
    ],
)
def test_other_answers_are_refused(read, good, change, says):
    with pytest.raises(InputError, match=says):
        read(dict(good, **change))


@pytest.mark.parametrize('mark', [0, 6, 2.5, None])
def test_other_marks_are_refused(read, good, mark):
    with pytest.raises(InputError, match='whole numbers'):
        read(dict(good, answers={'001': dict.fromkeys(QUESTIONS, mark)}))


def test_a_participant_counts_once(read, good):
    with pytest.raises(InputError, match='both of participant P1'):
        read(good, good)


def test_some_methods_and_items_can_be_chosen(study):
    found = find_videos(study / 'stereo', ['theirs'], ['b', 'c'])
    assert list(found) == ['theirs'] and list(found['theirs']) == ['b', 'c']


@pytest.mark.parametrize(
    'chosen, says',
    [(dict(methods=['ours']), 'unknown method'), (dict(items=['b', 'z']), 'all methods')],
)
def test_methods_must_show_the_same(study, chosen, says):
    with pytest.raises(InputError, match=says):
        find_videos(study / 'stereo', **chosen)


def test_a_folder_without_videos_is_named(tmp_path):
    with pytest.raises(InputError, match='holds no videos'):
        find_videos(tmp_path)
