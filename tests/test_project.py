"The project holds together: one version, one address, small notebooks, modules that stand alone."

import ast
import builtins
import json
import keyword
import pkgutil
import re
import socket
import subprocess
import sys

import pytest
import torch
from helpers.alone import import_alone, new_processes
from helpers.project import (
    address,
    cfg,
    module_files,
    modules,
    names,
    notebooks,
    project,
    root,
    site,
    source,
)
from readme import readme

each_notebook = pytest.mark.parametrize('nb', notebooks, ids=names)
each_module = pytest.mark.parametrize('module', modules)
paths = dict(zip(modules, module_files))


# one version, one address
def requirements(key='requirements'):
    return cfg[key].split()


def extras():
    "The names of optional requirements."
    return [key.removesuffix('_requirements') for key in cfg if key.endswith('_requirements')]


def test_version_stands_once():
    import scz_nb

    assert scz_nb.__version__ == cfg['version']


def test_pyproject_names_what_settings_name():
    said = project['project']
    assert said['name'] == cfg['lib_name']
    assert said['description'] == cfg['description']
    assert said['license'] == cfg['license']
    assert said['requires-python'] == '>=' + cfg['min_python']
    assert said['keywords'] == cfg['keywords'].split()
    assert said['authors'] == [{'name': cfg['author']}]
    assert said['urls'] == {'Repository': address, 'Documentation': site}


def test_pyproject_leaves_the_rest_to_settings():
    dynamic = project['project']['dynamic']
    assert set(dynamic) == {'version', 'dependencies', 'optional-dependencies'}
    # of nbdev only what concerns the site
    assert set(project['tool']['nbdev']) <= {'custom_sidebar', 'skip_procs'}


def test_setup_hands_on_what_settings_say():
    code = (
        'import json, runpy, setuptools\n'
        'setuptools.setup = lambda **kw: print(json.dumps(kw))\n'
        "runpy.run_path('setup.py')"
    )
    command = [sys.executable, '-c', code]
    said = json.loads(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout)
    assert said['version'] == cfg['version']
    assert said['install_requires'] == requirements()
    assert said['extras_require'] == {e: requirements(f'{e}_requirements') for e in extras()}
    assert set(extras()) == {'dev', 'fast', 'hub', 'app', 'onnx'}


def test_nbdev_is_no_runtime_need():
    assert not re.search(r'nbdev|pytest|jupyter|notebook', cfg['requirements'])


def test_constraints_pin_every_requirement():
    lines = (root / 'constraints.txt').read_text().splitlines()
    pins = {line.split('==')[0].lower().replace('_', '-') for line in lines if '==' in line}
    for key in ('requirements', *(f'{e}_requirements' for e in extras())):
        needed = {re.match(r'[\w-]+', r)[0].lower() for r in requirements(key)}
        assert needed <= pins, key


@pytest.mark.filterwarnings('ignore:A test tried')
def test_no_test_reaches_the_network():
    with pytest.raises(RuntimeError, match='192.0.2.1'):
        socket.create_connection(('192.0.2.1', 80), timeout=1)


def test_nbdev_knows_the_address():
    yml = (root / 'nbs/nbdev.yml').read_text()
    assert f'repo-url: "{address}"' in yml
    assert f'site-url: "{site.rstrip("/")}"' in yml


@pytest.mark.parametrize('file', [root / 'README.md', *notebooks], ids=['README', *names])
def test_links_are_made_from_the_address(file):
    pattern = r'(?:research\.google\.com/github|git\+https://github\.com)/([\w.-]+)/([\w-]+)'
    assert set(re.findall(pattern, file.read_text())) <= {(cfg['user'], cfg['repo'])}


def test_badges_are_made_from_the_address():
    pattern = r'github\.com/([\w.-]+)/([\w.-]+)/(?:actions|blob|raw)'
    found = set(re.findall(pattern, (root / 'README.md').read_text()))
    assert found == {(cfg['user'], cfg['repo'])}


# prose
def test_readme_is_the_index_notebook():
    assert (root / 'README.md').read_text() == readme(), 'run make readme'


def test_readme_has_the_two_commands():
    text = (root / 'README.md').read_text()
    assert '\nmake demo' in text
    assert '\nmake test' in text


def test_readme_lists_each_lesson_and_part():
    text = (root / 'README.md').read_text()
    listed = [n for n in names if n.startswith(('lessons/', 'parts/'))]
    assert [n for n in listed if f'(nbs/{n})' not in text] == []


def test_contributing_lists_each_layer():
    text = (root / 'CONTRIBUTING.md').read_text()
    layers = {m.partition('.')[0] for m in modules}
    table = text[text.index('| layer |') : text.index('Notebooks are of two kinds')]
    assert set(re.findall(r'`(\w+)`(?=[^\n|]*\|[^\n]*\|)', table)) == layers


TEXTS = [root / 'README.md', root / 'CONTRIBUTING.md', *notebooks]


@pytest.mark.parametrize('file', TEXTS, ids=['README', 'CONTRIBUTING', *names])
def test_links_lead_somewhere(file):
    text = file.read_text() if file.suffix == '.md' else source(file, 'markdown')
    links = re.findall(r'\]\((?!https?:|#|mailto:|attachment:)([\w./-]+)', text)
    assert [link for link in links if not (file.parent / link).exists()] == []


word = re.compile(r'[A-Za-z_]\w*')


@pytest.fixture(scope='module')
def vocabulary():
    "Every name that some code here uses, and torch's and Python's own."
    files = [p for p in (root / 'tests').rglob('*.py') if p.name != 'test_project.py']
    files += [*(root / 'docs').glob('*.py')]
    files += [root / name for name in ('Makefile', 'settings.ini', 'pyproject.toml')]
    code = '\n'.join([source(nb, 'code') for nb in notebooks] + [f.read_text() for f in files])
    own = [*dir(builtins), *keyword.kwlist]
    torchs = [*dir(torch), *dir(torch.nn), *dir(torch.nn.functional)]
    return {*word.findall(code), *own, *torchs}


def module_of(name):
    "The module that a dotted name begins with, and the rest of it; both may be empty."
    parts = name.removeprefix('scz_nb.').split('.')
    for n in (2, 1):
        module = '.'.join(parts[:n])
        if module in paths:
            return module, parts[n:]
    by_stem = [m for m in paths if m.rpartition('.')[2] == parts[0]]
    return (by_stem[0], parts[1:]) if len(by_stem) == 1 else ('', parts)


def is_importable(name):
    "Whether a dotted name is one of another package."
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def is_dead(name, vocabulary):
    "Whether nothing here has this name; of `module.name` the module must have it."
    module, rest = module_of(name)
    if module and rest:
        return rest[0] not in word.findall(paths[module].read_text())
    layers = {m.partition('.')[0] for m in modules}
    if not module and name.startswith('scz_nb.'):
        return rest[0] not in layers or len(rest) > 1
    known = set(word.findall(name)) <= vocabulary | layers
    return not (module or known or ('.' in name and is_importable(name)))


def dead_names(prose, vocabulary):
    "Names in backticks that nothing here has."
    prose = re.sub(r'```.*?```', '', prose, flags=re.S)
    dead = []
    for span in re.findall(r'`([^`\n]+)`', prose):
        name = span.partition('(')[0]
        if re.fullmatch(r'[\w.]+', name) and is_dead(name, vocabulary):
            dead.append(span)
    return dead


@each_notebook
def test_prose_names_what_exists(nb, vocabulary):
    assert not dead_names(source(nb, 'markdown'), vocabulary)


def test_contributing_names_what_exists(vocabulary):
    assert not dead_names((root / 'CONTRIBUTING.md').read_text(), vocabulary)


def test_living_names_pass(vocabulary):
    prose = '`warp`, `warp.warp`, `geometry.warp`, `scz_nb.geometry.warp.warp_map`, `geometry`'
    assert not dead_names(prose, vocabulary)


@pytest.mark.parametrize(
    'name', ['wrapp(x)', 'warp.run_all', 'geometry.warp.run_all', 'scz_nb.geometry.wrap']
)
def test_a_dead_name_is_seen(name, vocabulary):
    assert dead_names(f'`warp` and `{name}`', vocabulary) == [name]


# modules
@pytest.fixture(scope='module')
def alone():
    "A function that imports a module in a new process, and says what that took."
    with new_processes() as pool:
        yield lambda module: pool.apply(import_alone, (module,))


@each_module
def test_module_stands_alone(module, alone):
    "Each module imports as the first one, and nbdev is not needed for it."
    assert f'scz_nb.{module}' in alone(module).loaded


LIGHT = (
    'core',
    'config',
    'stats',
    'geometry.disparity',
    'geometry.warp',
    'geometry.fill',
    'media.video',
    'media.io',
    'media.show',
    'apps.cli',
)
HEAVY = {'diffusers', 'transformers', 'matplotlib', 'cv2', 'skimage', 'IPython'}


@pytest.mark.parametrize('module', LIGHT)
def test_light_modules_stay_light(module, alone):
    "Little time beyond torch's own, and none of the heavy packages."
    found = alone(module)
    assert not HEAVY & set(found.loaded)
    assert found.seconds < 1.0


@each_module
def test_public_names_have_docstrings(module):
    for node in ast.parse(paths[module].read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_'):
            assert ast.get_docstring(node), node.name


# notebooks
def cells(nb):
    "All cells of a notebook but the one that names its module."
    found = json.loads(nb.read_text())['cells']
    return [c for c in found if not ''.join(c['source']).startswith('#| default_exp')]


def code_cells(nb):
    return [c for c in cells(nb) if c['cell_type'] == 'code']


@each_notebook
def test_notebook_opens_on_colab(nb):
    "A badge with its own address; then a cell that installs on Colab and goes to its folder."
    name = nb.relative_to(root)
    colab = f'https://colab.research.google.com/github/{cfg["user"]}/{cfg["repo"]}'
    title, install = (''.join(c['source']).rstrip() for c in cells(nb)[:2])
    assert f'({colab}/blob/{cfg["branch"]}/{name})' in title
    assert "if 'google.colab' in sys.modules:" in install
    assert f'git clone -q --depth 1 {address} ' in install
    assert install.endswith(f"'-q {cfg['repo']}/{name.parent}')")


@each_notebook
def test_notebook_has_a_title(nb):
    "A title and a one-line subtitle."
    title = next(''.join(c['source']) for c in cells(nb) if c['cell_type'] == 'markdown')
    assert re.match(r'# .+\n+> .+', title)


@each_notebook
def test_notebook_is_small(nb):
    assert nb.stat().st_size <= 500_000
    for cell in code_cells(nb):
        assert len(json.dumps(cell['outputs'])) <= 100_000, cell['id']


@each_notebook
def test_notebook_has_run_without_errors(nb):
    code = code_cells(nb)
    assert len(code) <= 5 or any(c['outputs'] for c in code), 'it was never run'
    for cell in code:
        assert not any(o['output_type'] == 'error' for o in cell['outputs']), cell['id']


def body_lines(cell):
    "Lines of code in a cell's functions and classes, without signatures, docstrings and tables."
    text = ''.join(cell['source'])
    heads, code = set(), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            first = (node.body[1:] if ast.get_docstring(node) else node.body) or [node]
            heads.update(range(node.lineno, first[0].lineno))
            code.update(range(first[0].lineno, node.end_lineno + 1))
    return [n for n in code - heads if text.splitlines()[n - 1].strip()]


@each_notebook
def test_exported_cells_are_short(nb):
    exported = [c for c in code_cells(nb) if re.match(r'#\|\s*export', ''.join(c['source']))]
    assert [c['id'] for c in exported if len(body_lines(c)) >= 30] == []
