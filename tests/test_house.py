"The house stands as it is drawn: layers import only from layers above them, and lines are short."

import ast
import json
import statistics
from graphlib import TopologicalSorter

import pytest
from helpers.project import notebooks, root

FLOORS = (  # a layer imports only from the floors above it, or from itself
    ('core',),
    ('config', 'stats'),
    ('geometry',),
    ('media',),
    ('diffusion',),
    ('world',),
    ('models',),
    ('depth',),
    ('training',),
    ('sampler',),
    ('films',),
    ('evaluation',),
    ('apps',),
)
floor = {layer: n for n, layers in enumerate(FLOORS) for layer in layers}
package = root / 'scz_nb'
files = sorted(p for p in package.rglob('*.py') if not p.stem.startswith('_'))


def module_of(path):
    "Such as ('geometry', 'warp')."
    return path.relative_to(package).with_suffix('').parts


def absolute(node, module):
    "Where an import statement of a module leads, such as ('geometry', 'warp'); None: elsewhere."
    name = node.module or ''
    if not node.level:
        parts = tuple(name.split('.'))
        return parts[1:] if parts[0] == 'scz_nb' else None
    above = module[: len(module) - node.level]
    return above + (tuple(name.split('.')) if name else ())


def imports(path):
    "All modules of the package that a file imports, also inside functions."
    module, found = module_of(path), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = tuple(alias.name.split('.'))
                if parts[0] == 'scz_nb':
                    found.add(parts[1:])
        if isinstance(node, ast.ImportFrom):
            where = absolute(node, module)
            if where is None:
                continue
            for alias in node.names:
                whole = (*where, alias.name)
                found.add(
                    whole if (package / '/'.join(whole)).with_suffix('.py').exists() else where
                )
    return {m for m in found if m}


def test_every_module_is_in_a_layer():
    assert {module_of(p)[0] for p in files} == set(floor)


@pytest.mark.parametrize('path', files, ids=lambda p: '.'.join(module_of(p)))
def test_a_layer_imports_only_from_above(path):
    here = module_of(path)[0]
    below = {m for m in imports(path) if m[0] != here and floor[m[0]] >= floor[here]}
    assert not below


def test_there_is_no_circle():
    graph = {module_of(p): imports(p) - {module_of(p)} for p in files}
    assert tuple(TopologicalSorter(graph).static_order())


def test_an_import_inside_a_function_is_seen(tmp_path):
    tree = 'def f():\n    from ..apps.cli import main\n    import scz_nb.sampler\n'
    path = package / 'geometry' / 'nowhere.py'
    found = set()
    for node in ast.walk(ast.parse(tree)):
        if isinstance(node, ast.ImportFrom):
            found.add(absolute(node, module_of(path)))
    assert found == {('apps', 'cli')}


# lines and cells
def sources(path):
    "The code cells of a notebook, but those for Colab."
    cells = json.loads(path.read_text())['cells']
    code = [''.join(c['source']) for c in cells if c['cell_type'] == 'code']
    return [s for s in code if s.strip() and 'google.colab' not in s]


@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.stem)
def test_cells_are_short(path):
    lengths = [sum(bool(line.strip()) for line in s.split('\n')) for s in sources(path)]
    assert statistics.median(lengths or [0]) <= (8 if path.parent.name == 'parts' else 6)


@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.stem)
def test_no_line_is_wider_than_100_columns(path):
    assert not [line for s in sources(path) for line in s.split('\n') if len(line) > 100]


def functions(path):
    "All functions of a file."
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


def body_lines(node):
    "Lines of a function's body that hold code, without its docstring."
    body = node.body[1:] if ast.get_docstring(node) else node.body
    lines = set()
    for statement in body:
        for n in ast.walk(statement):
            if hasattr(n, 'lineno'):
                lines.update((n.lineno, n.end_lineno))
    return lines, body


def test_a_line_holds_fifteen_syntax_nodes_at_most_in_the_mean():
    nodes, lines = 0, 0
    for path in files:
        for f in functions(path):
            where, body = body_lines(f)
            lines += len(where)
            nodes += sum(1 for statement in body for _ in ast.walk(statement))
    assert nodes / lines <= 15


def test_functions_are_short():
    long = []
    for path in files:
        for f in functions(path):
            start = f.body[1].lineno if ast.get_docstring(f) and f.body[1:] else f.body[0].lineno
            if f.end_lineno - start + 1 > 40:
                long.append(f'{path.name}:{f.lineno} {f.name}')
    assert not long


STAGES = ('diffusion', 'geometry', 'sampler', 'depth')


def test_stage_functions_take_seven_things_at_most():
    many = []
    for path in files:
        if module_of(path)[0] in STAGES:
            for f in functions(path):
                n = len(f.args.posonlyargs + f.args.args)
                if n - (f.args.args[:1] != [] and f.args.args[0].arg == 'self') > 7:
                    many.append(f'{path.name}:{f.lineno} {f.name} {n}')
    assert not many
