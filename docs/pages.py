"Notebooks as markdown, by nbdev's own processors; their pictures as files."

import base64
import re
from configparser import ConfigParser
from dataclasses import dataclass, field
from pathlib import Path

from nbdev.config import nbpath2html
from nbdev.process import NBProcessor
from nbdev.processors import (
    clean_magics,
    filter_stream_,
    hide_,
    hide_line,
    rm_header_dash,
    strip_ansi,
)

root = Path(__file__).resolve().parents[1]
settings = ConfigParser(interpolation=None)
settings.read(root / 'settings.ini', encoding='utf-8')
cfg = settings['DEFAULT']
github = f'https://github.com/{cfg["user"]}/{cfg["repo"]}'
blob = f'{github}/blob/{cfg["branch"]}'

PROCESSORS = (strip_ansi, hide_line, filter_stream_, rm_header_dash, clean_magics, hide_)
KINDS = {
    'lessons': 'Lesson',
    'parts': 'Part',
    'tutorials': 'Tutorial',
    'explanations': 'Explanation',
    'api': 'Reference',
}
ENDINGS = {
    'image/png': 'png',
    'image/jpeg': 'jpg',
    'image/webp': 'webp',
    'image/gif': 'gif',
    'image/svg+xml': 'svg',
}


@dataclass
class Page:
    "One page of the site."

    path: str  # its address from the site's root, without suffix
    title: str
    subtitle: str
    body: str  # markdown
    source: str  # file in the repository
    module: str = ''  # that the notebook exports
    note: str = ''  # what stands next to its Colab badge
    media: dict[str, bytes] = field(default_factory=dict)  # file name → bytes

    @property
    def kind(self) -> str:
        "Such as Lesson or Part, by the folder."
        return KINDS.get(self.path.partition('/')[0], '')


def address(notebook: Path) -> str:
    "A notebook's address in the site, as nbdev has it: lessons/warp for nbs/lessons/02_warp.ipynb."
    return nbpath2html(notebook.relative_to(root / 'nbs')).with_suffix('').as_posix()


def fence(text: str, attributes: str) -> str:
    "A block of code or of output."
    return f'\n````{attributes}\n{text}\n````\n'


class Pictures:
    "The pictures of a page, out of its outputs: one file each, loaded when they are scrolled to."

    def __init__(self, page: str):
        self.page = page.replace('/', '-')
        self.files = {}
        self.heading = page

    def add(self, data: bytes, ending: str) -> str:
        "Keep a picture; its address."
        name = f'{self.page}-{len(self.files) + 1}.{ending}'
        self.files[name] = data
        return f'media/{name}'

    def tag(self, data: str, kind: str, text: str) -> str:
        "A picture of an output, with words for those who do not see it."
        raw = data.encode() if kind == 'image/svg+xml' else base64.b64decode(data)
        src = self.add(raw, ENDINGS[kind])
        alt = describe(self.heading, len(self.files), text)
        return f'\n<img src="{src}" alt="{alt}" loading="lazy">\n'

    def inline(self, html: str) -> str:
        "HTML whose `data:` addresses have become files."

        def take(m):
            return f'src="{self.add(base64.b64decode(m[2]), m[1])}" loading="lazy"'

        return re.sub(r'src=["\']data:(?:image|video)/(\w+);base64,([^"\']+)["\']', take, html)


def describe(heading: str, number: int, text: str) -> str:
    "The heading above a picture, and what the picture says of itself in words, else its number."
    words = re.sub(r'\[(.*?)\]\(.*?\)', r'\1', heading)
    words = re.sub(r'[`$*\\"<>\[\]{}]', '', words).strip()
    text = text.strip()
    if re.fullmatch(r"[\w ,.;:'×%–-]*\w [\w ,.;:'×%–-]*", text):
        return f'{words}: {text}'
    return f'{words}, figure {number}'


def printed(text: str) -> str:
    "Text of an output; progress bars are left out."
    return (
        '' if not text.strip() or re.search(r'\d+%\|', text) else fence(text.rstrip(), '{.output}')
    )


def show(output: dict, pictures: Pictures) -> str:
    "One output of a cell as markdown."
    if output['output_type'] == 'stream':
        return printed(''.join(output['text'])) if output['name'] == 'stdout' else ''
    data = {kind: ''.join(value) for kind, value in output.get('data', {}).items()}
    for kind in ENDINGS:
        if kind in data:
            return pictures.tag(data[kind], kind, data.get('text/plain', ''))
    if 'text/html' in data:
        html = f'<div class="output">{pictures.inline(data["text/html"])}</div>'
        return fence(html, '{=html}')
    if 'text/markdown' in data:
        return f'\n::: output\n{data["text/markdown"]}\n:::\n'
    return printed(data.get('text/plain', ''))


def code(cell) -> str:
    "The code of a cell: exported code has a mark, a solution is folded."
    exported = ' .exported' if 'export' in cell.directives_ else ''
    block = fence(cell.source.strip('\n'), f'{{.python{exported}}}')
    if 'code-fold' not in cell.directives_:
        return block
    return f'\n<details class="solution"><summary>Code</summary>\n{block}\n</details>\n'


@dataclass
class Opening:
    "The first text of a notebook: title, one line below it, badges with a note, and the rest."

    title: str
    subtitle: str
    note: str
    rest: str


def opening(source: str) -> Opening:
    "Read a notebook's first text; its badges are left out, the page has links in their place."
    head = re.match(r'# (.+)\n+> (.+)\n*', source)
    rest = source[head.end() :]
    badges = re.search(r'^(\[!\[.*?\]\(.*?\)\]\(.*?\) ?)+(.*)$', rest, re.M)
    if badges:
        rest = rest.replace(badges[0], '', 1)
    return Opening(head[1], head[2], badges[2] if badges else '', rest.strip())


def notebook_page(path: Path) -> Page:
    "A notebook with its outputs."
    cells = NBProcessor(path, list(PROCESSORS), process=True).nb.cells
    module = next(
        (c.directives_['default_exp'] for c in cells if 'default_exp' in c.directives_), ''
    )
    cells = [c for c in cells if 'default_exp' not in c.directives_]
    first = opening(cells.pop(0).source)
    pictures = Pictures(address(path))
    parts = [first.rest]
    for cell in cells:
        if cell.cell_type == 'markdown':
            pictures.heading = (re.findall(r'^#+ (.+)$', cell.source, re.M) or [pictures.heading])[
                -1
            ]
            parts.append(cell.source)
        if cell.cell_type == 'code':
            outputs = [show(o, pictures) for o in cell.get('outputs', [])]
            parts.append((code(cell) if cell.source.strip() else '') + ''.join(outputs))
    number = re.match(r'\d\d(?=_)', path.stem)
    return Page(
        path=address(path),
        title=f'{number[0]} {first.title}' if number else first.title,
        subtitle=first.subtitle,
        body='\n\n'.join(parts),
        source=path.relative_to(root).as_posix(),
        module=module,
        note=first.note,
        media=pictures.files,
    )
