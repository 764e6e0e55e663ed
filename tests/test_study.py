"The user study: nothing tells a participant which method made what, nothing needs a server, and answers come back to their methods."

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
    for m in ('ours', 'theirs'):
        (d / 'stereo' / m).mkdir(parents=True)
        for i in ('a</script>', 'b', 'c'):
            (d / 'stereo' / m / f'{i.replace("/", "")}_LR.mp4').write_text(f'{m} {i}')
        (d / 'stereo' / m / 'b_LR.mp4.json').write_text(
            '{}'
        )  # what `StereoVideo.save` leaves beside
    study_page(d / 'stereo', d / 'out')
    return d


def script(study):
    return re.search(
        r'<script>\n(.*)</script></body>', (study / 'out' / 'index.html').read_text(), re.S
    )[1]


def test_page_is_blind_and_whole(study):
    page, key = (
        (study / 'out' / 'index.html').read_text(),
        json.loads((study / 'out' / 'key.json').read_text()),
    )
    assert not re.search(r'ours|theirs|https?://|src=[^\s]*//|<link|@import', page)
    assert page.count('</script>') == 1
    videos = {p.stem: p.read_text() for p in (study / 'out' / 'videos').iterdir()}
    assert videos.keys() == key['videos'].keys() and len(videos) == 6
    for n, what in key['videos'].items():
        assert videos[n].startswith(what['method']) and videos[n].replace('/', '').endswith(
            what['item']
        )
    names = [v['method'] for v in key['videos'].values()]
    assert names != sorted(names)  # numbers are shuffled
    for q, (head, hint) in QUESTIONS.items():
        assert q in page and head in page and hint in page
    assert (
        study_page(study / 'stereo', study / 'again').read_text() == page
        and study_page(study / 'stereo', study / 'other', seed=1).read_text() != page
    )


@pytest.mark.skipif(shutil.which('node') is None, reason='node is not installed')
def test_page_shuffles_and_saves(study, tmp_path):
    key = json.loads((study / 'out' / 'key.json').read_text())
    marks = lambda k: {q: 1 + (k + j) % 5 for j, q in enumerate(QUESTIONS)}
    videos = sorted(key['videos'])
    state = dict(
        study=key['study'],
        participant='P "1", x',
        answers={v: marks(k) for k, v in enumerate(videos[:4])} | {videos[4]: {'frame_quality': 3}},
    )
    code = (
        script(study)
        + f"""
    const orders = Array.from({{length: 200}}, (_, k) => shuffled(study.videos, 'P' + k));
    console.log(JSON.stringify([orders, shuffled(study.videos, 'P7'), toCsv({json.dumps(state)})]));"""
    )
    (tmp_path / 'page.js').write_text(code)
    r = subprocess.run(['node', tmp_path / 'page.js'], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    orders, seventh, text = json.loads(r.stdout)
    assert (
        all(sorted(o) == videos for o in orders)
        and seventh == orders[7]
        and len(set(map(tuple, orders))) > 100
    )
    assert all(
        20 < sum(o[0] == v for o in orders) < 50 for v in videos
    )  # about 33 times first, each
    (tmp_path / 'a.csv').write_text(text)
    (tmp_path / 'b.json').write_text(json.dumps(dict(state, participant='P2')))
    rows = read_answers([tmp_path / 'a.csv', tmp_path / 'b.json'], study / 'out' / 'key.json')
    assert len(rows) == 8 and {r['participant'] for r in rows} == {
        'P "1", x',
        'P2',
    }  # the video that was left half-way does not count
    for r, v in zip(rows[:4], videos):
        assert (r['method'], r['item']) == tuple(key['videos'][v].values()) and {
            q: r[q] for q in QUESTIONS
        } == marks(videos.index(v))
    assert [{k: v for k, v in r.items() if k != 'participant'} for r in rows[:4]] == [
        {k: v for k, v in r.items() if k != 'participant'} for r in rows[4:]
    ]


def answer(p, m, *marks):
    return dict(participant=p, method=m, item='x', synthetic=False, **dict(zip(QUESTIONS, marks)))


def test_people_are_the_unit():
    rows = [answer('A', 'm', 5, 1, 1, 1)] * 9 + [answer('B', 'm', 1, 5, 2, 3)]
    assert participant_means(rows, 'm', 'frame_quality') == {'A': 5, 'B': 1}
    table = study_table(rows)
    assert table.rows == [
        (
            'm',
            '3.00 (1.00 to 5.00)',
            '3.00 (1.00 to 5.00)',
            '1.50 (1.00 to 2.00)',
            '2.00 (1.00 to 3.00)',
        )
    ]
    assert table.head == ('2 participants', *SHORT.values())


def test_preferred_counts_people_who_differ():
    rows = [
        r
        for k in range(10)
        for r in (
            answer(k, 'a', 3, 3, 3, 4),
            answer(k, 'b', 3, 3, 3, 5 if k < 2 else 3 if k < 9 else 4),
        )
    ]
    got = preferred(rows, 'a', 'b')
    assert (
        got['n'] == 9
        and got['share'] == pytest.approx(7 / 9)
        and preferred(rows, 'b', 'a')['share'] == pytest.approx(2 / 9)
    )
    assert got['low'] == pytest.approx(0.4526, abs=1e-3) and got['high'] == pytest.approx(
        0.9368, abs=1e-3
    )  # Wilson for 7 of 9
    assert preferred(rows, 'a', 'b', 'frame_quality')['n'] == 0


def test_examples_are_called_synthetic(study, tmp_path):
    levels = dict(ours=(4.5, 4.5, 1.2, 3), theirs=3)
    where = example_answers(study / 'out' / 'key.json', tmp_path / 'answers', levels, people=20)
    assert all('synthetic' in p.read_text() and 'synthetic' in p.name for p in where.iterdir())
    rows = read_answers(where, study / 'out' / 'key.json')
    assert (
        len(rows) == 20 * 6
        and 'SYNTHETIC' in str(study_table(rows))
        and all(r['synthetic'] for r in rows)
    )
    mean = lambda m, q: np.mean(list(participant_means(rows, m, q).values()))
    assert (
        mean('ours', 'frame_quality')
        > 4
        > 3.5
        > mean('theirs', 'frame_quality')
        > mean('ours', 'stereoscopic_effects')
    )
    assert (
        read_answers(
            example_answers(study / 'out' / 'key.json', tmp_path / 'again', levels, people=20),
            study / 'out' / 'key.json',
        )
        == rows
    )


def test_bad_answers_are_refused(study, tmp_path):
    key = json.loads((study / 'out' / 'key.json').read_text())
    good = dict(study=key['study'], participant='P1', answers={'001': dict.fromkeys(QUESTIONS, 3)})

    def read(*texts):
        for k, t in enumerate(texts):
            (tmp_path / f'{k}.json').write_text(t if isinstance(t, str) else json.dumps(t))
        return read_answers(
            [tmp_path / f'{k}.json' for k in range(len(texts))], study / 'out' / 'key.json'
        )

    assert len(read(good)) == 1
    for bad, says in (
        ('x', 'neither'),
        ('[]', 'no file of answers'),
        (dict(good, study='z'), 'belongs to study z'),
        (dict(good, answers={'9': dict.fromkeys(QUESTIONS, 3)}), 'does not have'),
        *(
            (dict(good, answers={'001': dict.fromkeys(QUESTIONS, m)}), 'whole numbers')
            for m in (0, 6, 2.5, None)
        ),
        (dict(good, answers={}), 'no answers'),
    ):
        with pytest.raises(InputError, match=says):
            read(bad)
    with pytest.raises(InputError, match='both of participant P1'):
        read(good, good)


def test_methods_must_show_the_same(study, tmp_path):
    assert list(find_videos(study / 'stereo', ['theirs'], ['b', 'c'])['theirs']) == ['b', 'c']
    with pytest.raises(InputError, match='unknown method'):
        find_videos(study / 'stereo', ['mine'])
    with pytest.raises(InputError, match='all methods'):
        find_videos(study / 'stereo', items=['b', 'z'])
    with pytest.raises(InputError, match='holds no videos'):
        find_videos(tmp_path)
