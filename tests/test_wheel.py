"The installed wheel, away from the repository: no nbdev, no network, weights inside."

import os
import subprocess
import sys

import pytest
from helpers.project import modules, root

pytestmark = pytest.mark.slow


def sh(*command, **options):
    "What a command prints; it must succeed."
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "A folder with the installed wheel, which is built from the source distribution."
    where = tmp_path_factory.mktemp('wheel')
    sh(sys.executable, '-m', 'build', '--no-isolation', '--outdir', where, root)
    (wheel,) = where.glob('*.whl')
    install = (sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index')
    sh(*install, '--target', where / 'site', wheel)
    return where / 'site'


@pytest.fixture
def away(site, tmp_path):
    "A function that runs code in an empty folder, with the wheel and without what tests need."
    missing = "for name in ('nbdev', 'execnb', 'pytest', 'hypothesis'): sys.modules[name] = None"
    env = os.environ | dict(PYTHONPATH=str(site))

    def run(code):
        return sh(sys.executable, '-c', f'import sys\n{missing}\n{code}', cwd=tmp_path, env=env)

    return run


def test_every_module_of_every_layer_is_inside(away, site):
    code = f"""
import importlib
for name in {modules}:
    print(importlib.import_module('scz_nb.' + name).__file__)
"""
    files = away(code).split()
    assert len(files) == len(modules)
    assert all(file.startswith(str(site)) for file in files)


def test_run_works(away, site, tmp_path):
    code = """
import numpy as np
from scz_nb.sampler import run
image = np.random.default_rng(0).random((50, 70, 3))
video = run(image, 'a boat drifts left', steps=2, progress=False)
print(video.save('boat.mp4'))
"""
    assert 'boat_LR.mp4' in away(code)
    assert {p.name for p in tmp_path.iterdir()} == {'boat_LR.mp4', 'boat_LR.mp4.json'}
