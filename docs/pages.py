"Notebooks and modules as markdown, through nbdev's own processors: the half of the site that knows Python."

import base64
import importlib
import inspect
import json
import re
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

from nbdev.process import NBProcessor
from nbdev.processors import (
    clean_magics,
    filter_stream_,
    hide_,
    hide_line,
    populate_language,
    rm_header_dash,
    strip_ansi,
    strip_hidden_metadata,
)
from nbdev.showdoc import BasicMarkdownRenderer

root = Path(__file__).resolve().parents[1]
settings = ConfigParser(interpolation=None)
settings.read(root / 'settings.ini', encoding='utf-8')
cfg = settings['DEFAULT']
github = f'https://github.com/{cfg["user"]}/{cfg["repo"]}'
processors = [
    populate_language,
    strip_ansi,
    hide_line,
    filter_stream_,
    rm_header_dash,
    clean_magics,
    hide_,
    strip_hidden_metadata,
]
kinds = {
    'image/png': 'png',
    'image/jpeg': 'jpg',
    'image/webp': 'webp',
    'image/gif': 'gif',
    'image/svg+xml': 'svg',
}


@dataclass
class Page:
    path: str  # as a link from the site's root, without suffix
    title: str
    subtitle: str
    body: str  # markdown
    media: dict  # file name → bytes
    source: str  # path in the repository
    needs: str = ''  # what it says beside its badge


def directives(source):
    "Quarto's and nbdev's `#|` lines of a cell, and the rest."
    lines = source.splitlines()
    said = [l[2:].strip() for l in lines if l.startswith('#|')]
    return said, '\n'.join(l for l in lines if not l.startswith('#|')).strip('\n')


def fence(text, kind):
    return f'\n````{kind}\n{text}\n````\n'


class Media:
    "Pictures of a page, taken out of its outputs: one file each, loaded when they are scrolled to."

    def __init__(self, name):
        self.name, self.files = name, {}

    def add(self, data: bytes, ending: str) -> str:
        name = f'{self.name}-{len(self.files) + 1}.{ending}'
        self.files[name] = data
        return f'media/{name}'

    def inline(self, html):
        "The same for `data:` addresses in HTML."
        take = lambda m: f'src="{self.add(base64.b64decode(m[2]), m[1])}" loading="lazy"'
        return re.sub(r'src=["\']data:(?:image|video)/(\w+);base64,([^"\']+)["\']', take, html)


def show(output, media, heading):
    "One output of a cell as markdown; progress bars are left out."
    if output['output_type'] == 'stream':
        return (
            fence(''.join(output['text']).rstrip(), '{.output}')
            if output['name'] == 'stdout'
            else ''
        )
    data = {k: ''.join(v) if isinstance(v, list) else v for k, v in output.get('data', {}).items()}
    for kind, ending in kinds.items():
        if kind in data:
            raw = data[kind].encode() if ending == 'svg' else base64.b64decode(data[kind])
            return f'\n<img src="{media.add(raw, ending)}" alt="{describe(heading, len(media.files), data.get("text/plain", ""))}" loading="lazy">\n'
    if 'text/html' in data:
        return (
            f'\n````{{=html}}\n<div class="output">{media.inline(data["text/html"])}</div>\n````\n'
        )
    if 'text/markdown' in data:
        return '\n::: output\n' + data['text/markdown'] + '\n:::\n'
    text = data.get('text/plain', '').rstrip()
    return fence(text, '{.output}') if text and not re.search(r'\d+%\|', text) else ''


def describe(heading, number, text):
    "What a picture shows, for those who do not see it: the heading above it and what it says of itself in words, else its number."
    words = re.sub(r'\[(.*?)\]\(.*?\)', r'\1', heading)
    words = re.sub(r'[`$*\\"<>\[\]{}]', '', words).strip()
    return (
        f'{words}: {text.strip()}'
        if re.fullmatch(r"[\w ,.;:'×%–-]*\w [\w ,.;:'×%–-]*", text.strip())
        else f'{words}, figure {number}'
    )


def notebook_page(path: Path) -> Page:
    "A notebook with its outputs, code that is exported marked as such."
    name = path.relative_to(root / 'nbs').with_suffix('').as_posix()
    nb = NBProcessor(path, processors, rm_directives=False, process=True).nb
    media, out, heading, title, subtitle, needs = (
        Media(name.replace('/', '-')),
        [],
        name,
        None,
        '',
        '',
    )
    for cell in nb.cells:
        source = cell.source if hasattr(cell, 'source') and cell.source else ''
        if cell.cell_type == 'markdown':
            if title is None and (m := re.match(r'# (.+)\n+> (.+)\n*', source)):
                title, subtitle, source = (
                    ' '.join(re.findall(r'^\d+(?=_)', name) + [m[1]]),
                    m[2],
                    source[m.end() :],
                )
                badges = re.search(
                    r'^(\[!\[.*?\]\(.*?\)\]\(.*?\) ?)+(.*)$', source, re.M
                )  # the page has links instead
                needs, source = (
                    (badges[2], source.replace(badges[0], '', 1).strip())
                    if badges
                    else ('', source)
                )
            heads = re.findall(r'^#+ (.+)$', source, re.M)
            if heads:
                heading = heads[-1]
            out.append(source)
        elif cell.cell_type == 'code':
            said, code = directives(source)
            if any(s.startswith(('hide', 'default_exp')) for s in said):
                continue
            block = (
                fence(code, '{.python .exported}' if 'export' in said else '{.python}')
                if code
                else ''
            )
            if any(s.startswith('code-fold') for s in said):
                block = (
                    f'\n<details class="solution"><summary>Code</summary>\n{block}\n</details>\n'
                )
            out.append(block + ''.join(show(o, media, heading) for o in cell.get('outputs', [])))
    return Page(
        name, title or name, subtitle, '\n\n'.join(out), media.files, f'nbs/{name}.ipynb', needs
    )


def line_of(thing):
    return inspect.getsourcelines(inspect.unwrap(thing))[1]


def symbol(name, thing, address, level=2):
    "Signature with docments, docstring and source of a function or class."
    import scz_nb

    try:
        place = f'{address}/{Path(inspect.getsourcefile(thing)).relative_to(Path(scz_nb.__file__).parents[1])}#L{line_of(thing)}'
    except (TypeError, OSError, ValueError):
        place = None
    text = BasicMarkdownRenderer(thing)._repr_markdown_()
    code = re.search(r'```python\n.*?```', text, re.S)
    return '\n\n'.join(
        filter(
            None,
            [
                f'{"#" * level} {name} {{#{name}}}',
                place and f'[source]({place}){{.source}}\n',
                code and code[0],
                inspect.getdoc(thing) or '',
            ],
        )
    )


def module_page(module: str) -> Page:
    "Everything public of a module."
    m, lesson, address = (
        importlib.import_module(f'scz_nb.{module}'),
        lesson_of(module),
        f'{github}/blob/{cfg["branch"]}',
    )
    parts = [f'Developed in [{lesson}](../{lesson}.html).' if lesson else '']
    for name in sorted(
        m.__all__, key=lambda n: getattr(getattr(m, n), '__name__', 'zz') and n.lower()
    ):
        thing = getattr(m, name)
        if not (inspect.isfunction(thing) or inspect.isclass(thing)):
            parts.append(f'## {name} {{#{name}}}\n\n' + fence(repr(thing)[:400], '{.python}'))
            continue
        parts.append(symbol(name, thing, address))
        if inspect.isclass(thing):
            own = [
                n
                for n, f in vars(thing).items()
                if not n.startswith('_')
                and (inspect.isfunction(f) or isinstance(f, (classmethod, staticmethod)))
                and f.__doc__
            ]
            parts += [symbol(f'{name}.{n}', getattr(thing, n), address, 3) for n in own]
    return Page(
        f'api/{module}',
        f'scz_nb.{module}',
        (inspect.getdoc(m) or '').split('\n')[0],
        '\n\n'.join(parts),
        {},
        f'scz_nb/{module}.py',
    )


def lesson_of(module):
    "The notebook that exports a module."
    return next(
        (
            p.stem
            for p in sorted((root / 'nbs').glob('[0-9]*.ipynb'))
            if p.stem.partition('_')[2] == module
        ),
        None,
    )


def write_reference():
    "nbs/api/*.md, for Quarto."
    (root / 'nbs/api').mkdir(exist_ok=True)
    for f in sorted((root / 'scz_nb').glob('[!_]*.py')):
        p = module_page(f.stem)
        (root / f'nbs/{p.path}.md').write_text(
            f'---\ntitle: {p.title}\n---\n\n> {p.subtitle}\n\n{p.body}\n'
        )


if __name__ == '__main__':
    write_reference()
