"The reference: one page a module, layer by layer, from signatures and docstrings."

import importlib
import inspect
from pathlib import Path

from fastcore.docments import DocmentText
from pages import Page, blob, fence, root

LAYERS = (  # from the ground up, as imports go
    'core',
    'config',
    'stats',
    'geometry',
    'media',
    'diffusion',
    'world',
    'models',
    'depth',
    'training',
    'sampler',
    'films',
    'evaluation',
    'apps',
)


def modules() -> list[str]:
    "All modules, such as geometry.warp, in the order of their layers."
    package = root / 'scz_nb'
    files = [p.relative_to(package).with_suffix('') for p in package.rglob('[!_]*.py')]
    return ['.'.join(p.parts) for p in sorted(files, key=lambda p: (LAYERS.index(p.parts[0]), p))]


def contents() -> list:
    "Pages of the reference: single modules, and a section for each layer."
    found = []
    for module in modules():
        layer, _, name = module.partition('.')
        if not name:
            found.append(f'api/{module}')
        elif not found or found[-1][0] != layer:
            found.append((layer, [f'api/{module}']))
        else:
            found[-1][1].append(f'api/{module}')
    return found


def source_link(thing) -> str:
    "Where a function or class stands on GitHub; nothing for what is made in another package."
    thing = inspect.unwrap(thing)
    try:
        file = Path(inspect.getsourcefile(thing)).relative_to(root)
    except (TypeError, ValueError):
        return ''
    return f'[source]({blob}/{file}#L{inspect.getsourcelines(thing)[1]}){{.source}}\n'


def symbol(name: str, thing, level: int = 2) -> str:
    "Signature with docments, docstring and source of a function or class."
    parts = [
        f'{"#" * level} {name} {{#{name}}}',
        source_link(thing),
        fence(str(DocmentText(thing, maxline=100, docstring=False)), '{.python}'),
        inspect.getdoc(thing) or '',
    ]
    return '\n\n'.join(p for p in parts if p)


def methods(thing: type) -> list[str]:
    "Names of a class's own public methods that have a docstring."
    kinds = (classmethod, staticmethod)
    return [
        name
        for name, f in vars(thing).items()
        if not name.startswith('_')
        and (inspect.isfunction(f) or isinstance(f, kinds))
        and f.__doc__
    ]


def entry(name: str, thing) -> str:
    "One public name of a module, with the methods of a class."
    if not (inspect.isfunction(thing) or inspect.isclass(thing)):
        return f'## {name} {{#{name}}}\n\n' + fence(repr(thing)[:400], '{.python}')
    own = methods(thing) if inspect.isclass(thing) else []
    return '\n\n'.join(
        [symbol(name, thing), *(symbol(f'{name}.{m}', getattr(thing, m), 3) for m in own)]
    )


def module_page(module: str) -> Page:
    "Everything public of a module, in the order in which it is developed."
    m = importlib.import_module(f'scz_nb.{module}')
    return Page(
        path=f'api/{module}',
        title=f'scz_nb.{module}',
        subtitle=(inspect.getdoc(m) or '').partition('\n')[0],
        body='\n\n'.join(entry(name, getattr(m, name)) for name in m.__all__),
        source=Path(m.__file__).relative_to(root).as_posix(),
        module=module,
    )
