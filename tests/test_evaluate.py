"Tables against the truth: cut off and taken up again, by any number of processes, they are the same."
import json, os, subprocess, sys
import numpy as np, pytest
from scz_nb.core import InputError
from scz_nb.evaluate import METHODS, PROTOCOLS, Protocol, evaluate, interval_table, truth_rows

small = Protocol(scenes=2, steps=1)

@pytest.fixture(scope='module')
def rows(): return truth_rows(1, 2, dict(ours={}))

def test_rows_have_their_limits(rows):
    true, copied = rows['true right view'], rows['copy_left']
    assert true['psnr'] == true['hole_psnr'] == np.inf and true['siou'] == 1 and abs(true['ssim'] - 1) < 1e-6
    assert 30 < rows['the same, through the autoencoder']['psnr'] < 60
    assert copied['disparity'] > 3*true['disparity'] and all(true['ssim'] >= r['ssim'] for r in rows.values())

def test_truth_is_seeded(rows): assert truth_rows(1, 2, dict(ours={})) == rows

@pytest.mark.slow
def test_cut_off_and_by_other_processes(tmp_path):
    one = evaluate(small, tmp_path/'one', processes=1, progress=False).read_text()
    assert evaluate(small, tmp_path/'two', processes=2, progress=False).read_text() == one
    (tmp_path/'two'/'scene_0001.json').unlink(); (tmp_path/'two'/'table.md').unlink()
    before = (tmp_path/'two'/'scene_0000.json').stat().st_mtime_ns
    assert evaluate(small, tmp_path/'two', processes=1, progress=False).read_text() == one
    assert (tmp_path/'two'/'scene_0000.json').stat().st_mtime_ns == before
    assert {'table.md', 'table.csv', 'table.png', 'scene_0000.json'} <= {p.name for p in (tmp_path/'two').iterdir()}
    assert all(name in one for name in METHODS) and len((tmp_path/'two'/'table.csv').read_text().splitlines()) > 2*10
    code = 'import sys; from scz_nb.evaluate import Protocol, evaluate\nif __name__ == "__main__": evaluate(Protocol(2, 1), sys.argv[1], progress=False)'
    (tmp_path/'go.py').write_text(code)
    out = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2', str(tmp_path/'go.py'), str(tmp_path/'launched')],
                         env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr[-2000:]
    assert (tmp_path/'launched'/'table.md').read_text() == one
    with pytest.raises(InputError, match='another'): evaluate(Protocol(2, 4), tmp_path/'two', progress=False)

def test_unknown_protocol_is_named(tmp_path):
    with pytest.raises(InputError, match='quick'): evaluate('quik', tmp_path)

def test_intervals_hold_the_mean():
    tables = [dict(a=dict(x=float(i))) for i in range(10)]
    assert str(interval_table(tables)).splitlines()[2].startswith('| a | 4.50 (2.')
