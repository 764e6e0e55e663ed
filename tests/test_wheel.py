"The installed wheel, away from the repository: no nbdev, no network, weights inside."

import os
import subprocess
import sys

import pytest
from helpers.project import root


@pytest.mark.slow
def test_run_works_from_a_wheel(tmp_path):
    def sh(*cmd, **kw):
        return subprocess.run(
            [str(c) for c in cmd], check=True, capture_output=True, text=True, **kw
        ).stdout

    sh(sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', tmp_path, root)
    (wheel,) = tmp_path.glob('*.whl')
    sh(
        sys.executable,
        '-m',
        'pip',
        'install',
        '-q',
        '--no-deps',
        '--no-index',
        '--target',
        tmp_path / 'site',
        wheel,
    )
    (tmp_path / 'empty').mkdir()
    code = """import sys
for name in ('nbdev', 'execnb', 'pytest', 'hypothesis'): sys.modules[name] = None
import numpy as np, scz_nb
from scz_nb.sampler import run
video = run(np.random.default_rng(0).random((50, 70, 3)), 'a boat drifts left', steps=2, progress=False)
print(video.save('boat.mp4'), scz_nb.__file__)"""
    out = sh(
        sys.executable,
        '-c',
        code,
        cwd=tmp_path / 'empty',
        env={**os.environ, 'PYTHONPATH': str(tmp_path / 'site')},
    )
    assert 'boat_LR.mp4' in out and str(tmp_path / 'site') in out
    assert {p.name for p in (tmp_path / 'empty').iterdir()} == {'boat_LR.mp4', 'boat_LR.mp4.json'}
