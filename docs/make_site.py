"""The site: `make docs` writes _docs/ from the notebooks, with nbdev and pandoc, and checks it.

The GitHub workflow publishes what this writes, and tests/test_docs.py tests it."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

import pypandoc
import reference
import yaml
from check import broken
from pages import Page, address, blob, cfg, github, notebook_page, root
from PIL import Image

here = Path(__file__).parent


# what there is, and in which order
def contents() -> list:  # pages, and (section, contents)
    "The pages in teaching order: nbs/sidebar.yml, then the reference."

    def plain(items):
        return [
            address(root / 'nbs' / item)
            if isinstance(item, str)
            else (item['section'], plain(item['contents']))
            for item in items
        ]

    listed = yaml.safe_load((root / 'nbs/sidebar.yml').read_text())
    notebooks = plain(listed['website']['sidebar']['contents'])
    return [*notebooks, ('Reference', reference.contents())]


def flat(items: list) -> list[str]:
    "All pages of (a part of) the contents."
    lists = [[item] if isinstance(item, str) else flat(item[1]) for item in items]
    return [page for pages in lists for page in pages]


def public_names(pages: list[Page]) -> dict[str, str]:  # name → address
    "Public names that only one module has, and where they stand in the reference."
    where = {}
    for page in pages:
        if page.kind == 'Reference':
            for name in re.findall(r'\{#([\w.]+)\}', page.body):
                where.setdefault(name, []).append(f'{page.path}.html#{name}')
    return {name: at[0] for name, at in where.items() if len(at) == 1 and len(name) > 3}


class Site:
    "All pages, and what their links need."

    def __init__(self, contents: list):
        files = [p for p in (root / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts]
        self.notebooks = {address(p): p for p in files}
        self.contents = contents
        self.order = flat(contents)
        self.pages = {path: self.make(path) for path in self.order}
        self.names = public_names(list(self.pages.values()))

    def make(self, path: str) -> Page:
        "One page by its address."
        if path in self.notebooks:
            return notebook_page(self.notebooks[path])
        return reference.module_page(path.removeprefix('api/'))

    def link(self, path: str, base: str, attributes: str = '') -> str:
        "A link from the folder `base` to a page, with its title."
        href = relpath(f'{path}.html', base or '.')
        return f'<a{attributes} href="{href}">{escape(self.pages[path].title)}</a>'

    def partner(self, page: Page) -> str:
        "The reference of a notebook's module, the notebook of a module; or nothing."
        other = [p for p in self.pages.values() if p.module == page.module and p is not page]
        return other[0].path if page.module and other else ''


# one page
def menu(site: Site, items: list, page: str) -> str:
    "Links to pages, under the names of their sections; this page is marked."
    lines = []
    for item in items:
        if isinstance(item, str):
            mark = ' aria-current="page"' if item == page else ''
            lines.append(f'<li>{site.link(item, dirname(page), mark)}</li>')
        else:
            name, inside = item
            lines.append(f'<li><span>{escape(name)}</span>{menu(site, inside, page)}</li>')
    return '<ul>' + '\n'.join(lines) + '</ul>'


def navigation(site: Site, page: str) -> str:
    "The sidebar: sections that open; the first and this page's are open."
    sections = []
    for n, (name, inside) in enumerate(site.contents):
        is_open = ' open' if n == 0 or page in flat(inside) else ''
        summary = f'<summary>{escape(name)}</summary>'
        sections.append(f'<details{is_open}>{summary}{menu(site, inside, page)}</details>')
    return '\n'.join(sections)


def target(link: str, base: str) -> str:
    "Where a link of a notebook in the folder `base` leads in the site, or on GitHub."
    path, hash_, anchor = link.partition('#')
    if not path or re.match(r'[a-z]+:', path):
        return link
    file = root / 'nbs' / normpath(join(base, path))
    if file.suffix == '.ipynb' and file.exists():
        return relpath(address(file) + '.html', base or '.') + hash_ + anchor
    within = file.resolve().relative_to(root).as_posix()
    if not file.exists() or within.startswith('nbs/images/'):
        return link
    return f'{blob}/{within}{hash_}{anchor}'


def linked(html: str, page: Page, names: dict[str, str]) -> str:
    "Links between notebooks made links between pages; public names in backticks lead to theirs."
    base = dirname(page.path)
    if page.kind == 'Reference':
        return html

    def named(m):
        at = names.get(m[1].removesuffix('()'))
        return f'<a class="name" href="{relpath(at, base or ".")}">{m[0]}</a>' if at else m[0]

    html = re.sub(r'href="([^"]+)"', lambda m: f'href="{target(m[1], base)}"', html)
    html = html.replace('src="media/', f'src="{relpath("media", base or ".")}/')
    parts = re.split(r'(<a\b.*?</a>|<pre\b.*?</pre>|<h\d.*?</h\d>)', html, flags=re.S)
    for i in range(0, len(parts), 2):  # between links, code and headings
        parts[i] = re.sub(r'<code>([\w.]+(?:\(\))?)</code>', named, parts[i])
    return ''.join(parts)


def picture_size(path: Path) -> tuple[int, int]:
    "Width and height of a picture; a drawing says them in its first tag."
    if path.suffix == '.svg':
        width, height = re.search(r'viewBox="0 0 (\d+) (\d+)"', path.read_text()).groups()
        return int(width), int(height)
    with Image.open(path) as picture:
        return picture.size


def sized(html: str, folder: Path) -> str:
    "Each picture with its width and height, so that nothing moves when it arrives."

    def size(m):
        src = re.search(r'src="([^"]+)"', m[1])[1]
        given = re.search(r' height="(\d+)"', m[1])
        width, height = picture_size(folder / src)
        shown = int(given[1]) if given else height
        rest = re.sub(r' height="\d+"', '', m[1])
        return f'<img width="{round(width * shown / height)}" height="{shown}"{rest}'

    return re.sub(r'<img(\s[^>]*)', size, html)


def variables(site: Site, page: Page) -> dict[str, str]:
    "What docs/page.html says around a page's text."
    base = dirname(page.path)
    i = site.order.index(page.path)
    before, after = site.order[max(i - 1, 0) : i], site.order[i + 1 : i + 2]
    partner = site.partner(page)
    colab = f'https://colab.research.google.com/github/{cfg["user"]}/{cfg["repo"]}/blob/'
    return dict(
        title=page.title,
        subtitle=page.subtitle,
        kind=page.kind,
        root=relpath('.', base or '.'),
        github=github,
        source=f'{blob}/{page.source}',
        colab=f'{colab}{cfg["branch"]}/{page.source}' if page.source.endswith('.ipynb') else '',
        note=page.note,
        partner=site.link(partner, base) if partner else '',
        version=cfg['version'],
        nav=navigation(site, page.path),
        before=site.link(before[0], base, ' rel="prev"') if before else '<span></span>',
        after=site.link(after[0], base, ' rel="next"') if after else '<span></span>',
    )


def render(site: Site, page: Page) -> str:
    "One page as HTML."
    filled = [
        a for name, text in variables(site, page).items() if text for a in ('-V', f'{name}={text}')
    ]
    html = pypandoc.convert_text(
        page.body,
        'html5',
        format='commonmark_x-smart-emoji',
        extra_args=[
            '--standalone',
            '--mathml',
            '--toc',
            '--toc-depth=3',
            f'--template={here / "page.html"}',
            f'--metadata=pagetitle:{page.title}',
            *filled,
        ],
    )
    return linked(html, page, site.names)


def plain(page: Page) -> str:
    "One page as markdown, without pictures."
    body = re.sub(r'<img [^>]*>\n?|````\{=html\}.*?````', '', page.body, flags=re.S)
    return f'# {page.title}\n\n> {page.subtitle}\n\n{body}'


# all of them
def llms(site: Site, items: list, level: int = 2) -> list[str]:
    "The lines of llms.txt: what there is to read, as plain markdown."
    lines = []
    for item in items:
        if isinstance(item, str):
            page = site.pages[item]
            lines.append(f'- [{page.title}]({item}.html.md): {page.subtitle}')
        else:
            lines += ['', '#' * level + f' {item[0]}', '', *llms(site, item[1], level + 1)]
    return lines


def index(folder: Path):
    "What the search finds."
    skip = 'pre, .output, .source, annotation'
    command = [sys.executable, '-m', 'pagefind', '--quiet', '--site', str(folder)]
    subprocess.run([*command, '--exclude-selectors', skip], check=True)


def write(site: Site, folder: Path):
    "All files of the site."
    (folder / 'media').mkdir(parents=True)
    shutil.copytree(root / 'nbs/images', folder / 'images')
    for name in ('site.css', 'site.js'):
        shutil.copy(here / name, folder / name)
    for name in ('LICENSE', 'NOTICE'):
        shutil.copy(root / name, folder / f'{name}.txt')
    for page in site.pages.values():
        for name, data in page.media.items():
            (folder / 'media' / name).write_bytes(data)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # pandoc is a process of its own
        rendered = pool.map(lambda page: render(site, page), site.pages.values())
        for page, html in zip(site.pages.values(), rendered):
            file = folder / f'{page.path}.html'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(sized(html, file.parent))
            file.with_name(f'{file.name}.md').write_text(plain(page))
    head = [f'# {cfg["lib_name"]}', '', f'> {cfg["description"]}']
    (folder / 'llms.txt').write_text('\n'.join([*head, *llms(site, site.contents), '']))
    index(folder)


def build(out: Path) -> list[str]:  # what is broken
    "Write the whole site; it appears whole or not at all."
    part = out.with_name(out.name + '.part')
    shutil.rmtree(part, ignore_errors=True)
    write(Site(contents()), part)
    bad = broken(part)
    if not bad:
        shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
    return bad


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Build the site.')
    parser.add_argument('--out', type=Path, default=root / '_docs')
    out = parser.parse_args().out.resolve()
    if bad := build(out):
        sys.exit('The site is not published, because of\n' + '\n'.join(bad))
    print(f'{len(list(out.rglob("*.html")))} pages in {out}; to read them:')
    print(f'python -m http.server -d {out} --bind 127.0.0.1')
