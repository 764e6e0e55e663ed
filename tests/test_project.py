"The project holds together: one version, one address, small notebooks, modules that stand alone."

import ast
import json
import os
import re
import socket
import subprocess
import sys

import pytest
from helpers.project import address, cfg, names, notebooks, project, root, site

modules = sorted(p.stem for p in (root / 'scz_nb').glob('*.py') if not p.stem.startswith('_'))


# one version, one address
def test_version_stands_once():
    import scz_nb

    assert scz_nb.__version__ == cfg['version']


def test_pyproject_says_what_settings_say():
    p = project['project']
    assert (p['name'], p['description'], p['license']) == (
        cfg['lib_name'],
        cfg['description'],
        cfg['license'],
    )
    assert (
        p['requires-python'] == '>=' + cfg['min_python']
        and p['keywords'] == cfg['keywords'].split()
    )
    assert p['authors'] == [{'name': cfg['author']}]
    assert p['urls'] == {'Repository': address, 'Documentation': site}
    assert set(p['dynamic']) == {'version', 'dependencies', 'optional-dependencies'}
    assert set(project['tool']['nbdev']) <= {
        'custom_sidebar',
        'skip_procs',
    }  # the site's; everything else is nbdev's own


def test_setup_hands_on_what_settings_say():
    code = "import setuptools, runpy, json; setuptools.setup = lambda **kw: print(json.dumps(kw)); runpy.run_path('setup.py')"
    kw = json.loads(
        subprocess.run(
            [sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=True
        ).stdout
    )
    assert kw['version'] == cfg['version']
    assert kw['install_requires'] == cfg['requirements'].split() and kw['extras_require'] == {
        k: cfg[f'{k}_requirements'].split() for k in ('dev', 'fast', 'hub', 'app', 'onnx')
    }


def test_nbdev_is_no_runtime_need():
    assert not re.search(r'nbdev|pytest|jupyter|notebook', cfg['requirements'])


def test_constraints_pin_every_requirement():
    pins = {
        l.split('==')[0].lower().replace('_', '-')
        for l in (root / 'constraints.txt').read_text().splitlines()
        if '==' in l
    }
    needs = {
        re.match(r'[\w-]+', r)[0].lower()
        for r in (
            cfg['requirements']
            + cfg['dev_requirements']
            + cfg['hub_requirements']
            + cfg['app_requirements']
            + cfg['onnx_requirements']
        ).split()
    }
    assert needs <= pins


@pytest.mark.filterwarnings('ignore:A test tried')
def test_no_test_reaches_the_network():
    with pytest.raises(RuntimeError, match='192.0.2.1'):
        socket.create_connection(('192.0.2.1', 80), timeout=1)


def test_links_are_made_from_the_address():
    yml = (root / 'nbs/nbdev.yml').read_text()
    assert f'repo-url: "{address}"' in yml and f'site-url: "{site.rstrip("/")}"' in yml
    for f in [root / 'README.md', *notebooks]:
        for user, repo in re.findall(
            r'(?:research\.google\.com/github|git\+https://github\.com)/([\w.-]+)/([\w-]+)',
            f.read_text(),
        ):
            assert (user, repo) == (cfg['user'], cfg['repo']), f
    for user, repo in re.findall(
        r'github\.com/([\w.-]+)/([\w.-]+)/(?:actions|blob|raw)', (root / 'README.md').read_text()
    ):
        assert (user, repo) == (cfg['user'], cfg['repo'])


def test_readme_is_the_index_notebook():
    from readme import readme

    if (root / 'nbs/index.ipynb').exists():
        assert (root / 'README.md').read_text() == readme(), 'run make readme'


def test_links_lead_somewhere():
    for f in [root / 'README.md', root / 'CONTRIBUTING.md', *notebooks]:
        text = (
            f.read_text()
            if f.suffix == '.md'
            else '\n'.join(
                ''.join(c['source'])
                for c in json.loads(f.read_text())['cells']
                if c['cell_type'] == 'markdown'
            )
        )
        for link in re.findall(r'\]\((?!https?:|#|mailto:|attachment:)([\w./-]+)', text):
            assert (f.parent / link).exists(), f'{f.name} links to {link}'


word = re.compile(r'[A-Za-z_]\w*')


def source(nb, kind):
    return '\n'.join(
        ''.join(c['source']) for c in json.loads(nb.read_text())['cells'] if c['cell_type'] == kind
    )


@pytest.fixture(scope='module')
def vocabulary():
    "Every name that some code here uses, and torch's and Python's own."
    import builtins
    import keyword

    import torch

    files = [p for p in (root / 'tests').glob('*.py') if p.name != 'test_project.py'] + [
        root / f for f in ('Makefile', 'settings.ini', 'pyproject.toml')
    ]
    code = '\n'.join([source(n, 'code') for n in notebooks] + [f.read_text() for f in files])
    return {
        *word.findall(code),
        *dir(builtins),
        *keyword.kwlist,
        *dir(torch),
        *dir(torch.nn),
        *dir(torch.nn.functional),
    }


def dead_names(prose, vocabulary):
    "Names in backticks that nothing here is called; of `module.name` the module must have it."
    dead = []
    for span in re.findall(r'`([^`\n]+)`', re.sub(r'```.*?```', '', prose, flags=re.S)):
        name = span.partition('(')[0]
        if not re.fullmatch(r'[\w.]+', name) or (root / 'nbs' / f'{name}.ipynb').exists():
            continue
        module, _, what = name.removeprefix('scz_nb.').partition('.')
        if module in modules and what:
            found = what.split('.')[0] in word.findall((root / f'scz_nb/{module}.py').read_text())
        else:
            found = set(word.findall(name)) <= vocabulary
        if not found:
            dead.append(span)
    return dead


@pytest.mark.parametrize('nb', notebooks, ids=names)
def test_prose_names_what_exists(nb, vocabulary):
    assert not dead_names(source(nb, 'markdown'), vocabulary)


def test_a_dead_name_is_seen(vocabulary):
    assert dead_names('`warp` and `warp.warp`, but `wrapp(x)` and `warp.run_all`', vocabulary) == [
        'wrapp(x)',
        'warp.run_all',
    ]


@pytest.mark.parametrize('nb', notebooks, ids=names)
def test_notebook_opens_on_colab(nb):
    "A badge with this notebook's address in its first text; then a cell that installs on Colab and goes to the notebook's folder."
    name = nb.relative_to(root)
    cells = [
        c
        for c in json.loads(nb.read_text())['cells']
        if not ''.join(c['source']).startswith('#| default_exp')
    ]
    assert (
        f'(https://colab.research.google.com/github/{cfg["user"]}/{cfg["repo"]}/blob/{cfg["branch"]}/{name})'
        in ''.join(cells[0]['source'])
    )
    first = ''.join(cells[1]['source'])
    assert (
        "if 'google.colab' in sys.modules" in first
        and f'git clone -q --depth 1 {address} ' in first
        and first.rstrip().endswith(f"'-q {cfg['repo']}/{name.parent}')")
    )


# modules
def fresh(code, **env):
    "What `code` prints in a fresh Python."
    r = subprocess.run(
        [sys.executable, '-c', code],
        cwd=root,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )
    assert r.returncode == 0, r.stderr
    return r.stdout.strip()


@pytest.mark.parametrize('module', modules)
def test_module_stands_alone(module):
    "Each module imports in a fresh process, and nbdev is not needed for it."
    fresh(f"import sys; sys.modules['nbdev'] = None; import scz_nb.{module}")


@pytest.mark.parametrize(
    'module', [m for m in ('core', 'show', 'io', 'disparity', 'warp', 'cli') if m in modules]
)
def test_light_modules_stay_light(module):
    "Little time beyond torch's own, and none of the heavy packages."
    code = f"""import sys, time, torch, numpy; t = time.process_time(); import scz_nb.{module}
print(time.process_time() - t, *[m for m in ('diffusers', 'transformers', 'matplotlib', 'cv2', 'skimage', 'IPython') if m in sys.modules])"""
    seconds, *heavy = fresh(code).split()
    assert not heavy and float(seconds) < 1.0


# notebooks
@pytest.mark.parametrize('nb', notebooks, ids=names)
def test_notebook_is_small_and_whole(nb):
    assert nb.stat().st_size <= 500_000
    d = json.loads(nb.read_text())
    code = [c for c in d['cells'] if c['cell_type'] == 'code']
    for c in code:
        assert len(json.dumps(c['outputs'])) <= 100_000, ''.join(c['source'])[:80]
        assert not any(o['output_type'] == 'error' for o in c['outputs'])
        src = ''.join(c['source'])
        if re.match(r'#\|\s*export', src):
            assert len(src.rstrip().splitlines()) - 1 < 30, src[:80]
    assert len(code) <= 5 or any(c['outputs'] for c in code), 'it was never run'
    title = ''.join(next(c for c in d['cells'] if c['cell_type'] == 'markdown')['source'])
    assert re.match(r'# .+\n+> .+', title), 'a notebook begins with a title and a one-line subtitle'


@pytest.mark.parametrize('module', modules)
def test_public_names_have_docstrings(module):
    tree = ast.parse((root / f'scz_nb/{module}.py').read_text())
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_'):
            assert ast.get_docstring(node), node.name
