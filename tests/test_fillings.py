"Fillings against truth."

import numpy as np

from scz_nb.evaluation.fillings import (
    drawn_pair,
    drawn_psnr,
    filling_rows,
    filling_scores,
    photographed_pair,
)
from scz_nb.films.pairs import best_filling
from scz_nb.geometry.native import fillings


def test_auto_is_the_best_or_within_its_interval():
    pairs = [drawn_pair(seed) for seed in range(940, 952)]
    holes = {
        how: np.array([filling_scores(p, how)['holes'] for p in pairs])
        for how in ('copy', *fillings)
    }
    for how, found in holes.items():
        ahead = found - holes[best_filling]
        error = ahead.std() / np.sqrt(len(ahead))
        assert ahead.mean() - 2 * error <= 0, how
    assert holes[best_filling].mean() > holes['copy'].mean() + 3


def test_the_photograph():
    pair = photographed_pair()
    found = {how: filling_scores(pair, how) for how in ('copy', *fillings)}
    assert min(found[how]['whole'] for how in fillings) > found['copy']['whole'] + 8
    drawn = {how: drawn_psnr(pair, how) for how in found}
    for how, x in drawn.items():
        assert abs(x.mean() - found[how]['holes']) < 0.2  # one figure, twice
        assert np.percentile(x - drawn[best_filling], 2.5) <= 0, how
    assert np.percentile(drawn[best_filling] - drawn['copy'], 2.5) > 3


def test_rows_of_a_table():
    rows = filling_rows(dict(a=[dict(holes=1.0, whole=2.0), dict(holes=3.0, whole=4.0)]))
    assert rows[0][0] == 'a' and rows[0][1].startswith('2.00 (') and len(rows[0]) == 3
