"""The site: `python docs/build.py` writes _docs/ from the notebooks, with pandoc, and checks every link in it.

Quarto is in no package registry, so this is how the site is built anywhere (`make docs`); the GitHub workflow builds the same notebooks, in the order of the same
nbs/sidebar.yml, with Quarto."""

import argparse
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from html import escape
from pathlib import Path
from posixpath import join, normpath, relpath

import pypandoc
import yaml
from check import broken
from pages import Page, cfg, github, module_page, notebook_page, root
from PIL import Image

here = Path(__file__).parent


def sidebar() -> list:  # [(section, [page, …]), …]
    "The pages in teaching order, as nbs/sidebar.yml has them for Quarto, too."
    contents = yaml.safe_load((root / 'nbs/sidebar.yml').read_text())['website']['sidebar'][
        'contents'
    ]
    return [
        (part['section'], [Path(p).with_suffix('').as_posix() for p in part['contents']])
        for part in contents
    ]


def make_page(name: str) -> Page:
    "A page by its path."
    return (
        module_page(name[4:])
        if name.startswith('api/')
        else notebook_page(root / 'nbs' / f'{name}.ipynb')
    )


def named_links(pages: list) -> dict:  # name → page#name
    "Public names that only one module has."
    where = {}
    for p in pages:
        if p.path.startswith('api/'):
            for name in re.findall(r'\{#([\w.]+)\}', p.body):
                where.setdefault(name, []).append(f'{p.path}.html#{name}')
    return {name: at[0] for name, at in where.items() if len(at) == 1 and len(name) > 3}


def linked(html: str, page: str, names: dict) -> str:
    "Links between notebooks made links between pages; code in backticks that is a public name leads to its reference."
    base = '/'.join(page.split('/')[:-1])
    up = lambda target: relpath(target, base or '.')

    def local(m):
        target, hash_, anchor = m[2].partition('#')
        if re.match(r'[a-z]+:', target) or not target:
            return m[0]
        at = normpath(join('nbs', base, target))
        if at.startswith('nbs/') and at.endswith('.ipynb'):
            return f'{m[1]}="{up(at[4:-6] + ".html")}{hash_}{anchor}"'
        if at.startswith('nbs/') or target.endswith('.html') or target.startswith('media/'):
            return m[0]
        return f'{m[1]}="{github}/blob/{cfg["branch"]}/{at}"' if (root / at).exists() else m[0]

    html = re.sub(r'(href)="([^"]+)"', local, html)
    html = re.sub(r'src="media/', f'src="{up("media")}/', html)
    if page.startswith('api/'):
        return html

    def name(m):
        target = names.get(m[1].removesuffix('()'))
        return f'<a class="name" href="{up(target)}">{m[0]}</a>' if target else m[0]

    return ''.join(
        part
        if part.startswith(('<a', '<pre', '<h'))
        else re.sub(r'<code>([\w.]+(?:\(\))?)</code>', name, part)
        for part in re.split(r'(<a\b.*?</a>|<pre\b.*?</pre>|<h\d.*?</h\d>)', html, flags=re.S)
    )


def sized(html: str, folder: Path) -> str:
    "Every picture with its width and height, so that nothing moves when it arrives; a height that is given is kept."

    def size(m):
        w, h = Image.open(folder / re.search(r'src="([^"]+)"', m[0])[1]).size
        rest, given = re.sub(r' height="\d+"', '', m[1]), re.search(r' height="(\d+)"', m[1])
        shown = int(given[1]) if given else h
        return f'<img width="{round(w * shown / h)}" height="{shown}"{rest}'

    return re.sub(r'<img(\s[^>]*)', size, html)


def navigation(order: list, titles: dict, page: str) -> str:
    "The sidebar, this page marked."
    up = lambda p: relpath(f'{p}.html', '/'.join(page.split('/')[:-1]) or '.')
    item = lambda p: (
        f'<li><a href="{up(p)}"{" aria-current=page" if p == page else ""}>{escape(titles[p])}</a></li>'
    )
    return '\n'.join(
        f'<details{" open" if page in pages or not n else ""}><summary>{escape(part)}</summary><ul>{"".join(map(item, pages))}</ul></details>'
        for n, (part, pages) in enumerate(order)
    )


def render(args) -> tuple:  # path, html, page as plain markdown
    "One page as HTML."
    page, order, titles, names = args
    flat = [p for _, pages in order for p in pages]
    i, base = flat.index(page.path), '/'.join(page.path.split('/')[:-1]) or '.'
    step = lambda k, word: (
        f'<a rel="{word}" href="{relpath(flat[k] + ".html", base)}">{escape(titles[flat[k]])}</a>'
        if 0 <= k < len(flat)
        else '<span></span>'
    )
    fill = dict(
        title=page.title,
        subtitle=page.subtitle,
        root=relpath('.', base),
        page=page.path,
        github=github,
        source=f'{github}/blob/{cfg["branch"]}/{page.source}',
        version=cfg['version'],
        needs=page.needs,
        nav=navigation(order, titles, page.path),
        before=step(i - 1, 'prev'),
        after=step(i + 1, 'next'),
    )
    if page.source.endswith('.ipynb'):
        fill['colab'] = (
            f'https://colab.research.google.com/github/{cfg["user"]}/{cfg["repo"]}/blob/{cfg["branch"]}/{page.source}'
        )
    variables = [a for k, v in fill.items() for a in ('-V', f'{k}={v}')]
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
            *variables,
        ],
    )
    return (
        page.path,
        linked(html, page.path, names),
        f'# {page.title}\n\n> {page.subtitle}\n\n{page.body}',
    )


def llms(order: list, pages: dict) -> str:
    "llms.txt: what there is to read, as plain markdown."
    lines = [f'# {cfg["lib_name"]}', '', f'> {cfg["description"]}', '']
    for part, names in order:
        lines += (
            [f'## {part}', '']
            + [f'- [{pages[p].title}]({p}.md): {pages[p].subtitle}' for p in names]
            + ['']
        )
    return '\n'.join(lines)


def build(out: Path) -> list:  # what is broken
    "Write the whole site; it appears whole or not at all."
    part, order = out.with_name(out.name + '.part'), sidebar()
    shutil.rmtree(part, ignore_errors=True)
    (part / 'media').mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        pages = {p.path: p for p in pool.map(make_page, [p for _, names in order for p in names])}
        titles, names = {k: p.title for k, p in pages.items()}, named_links(list(pages.values()))
        for p in pages.values():
            for name, data in p.media.items():
                (part / 'media' / name).write_bytes(data)
        shutil.copytree(root / 'nbs/images', part / 'images')
        for path, html, text in pool.map(
            render, [(p, order, titles, names) for p in pages.values()]
        ):
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            (part / f'{path}.html').write_text(sized(html, (part / path).parent))
            (part / f'{path}.md').write_text(
                re.sub(r'<img [^>]*>\n?|````\{=html\}.*?````', '', text, flags=re.S)
            )
    for f in ('site.css', 'site.js'):
        shutil.copy(here / f, part / f)
    for f in ('LICENSE', 'NOTICE'):
        shutil.copy(root / f, part / f'{f}.txt')
    (part / 'llms.txt').write_text(llms(order, pages))
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pagefind',
            '--site',
            str(part),
            '--exclude-selectors',
            'pre, .output, .source, annotation',
            '--quiet',
        ],
        check=True,
    )
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
    print(
        f'{len(list(out.rglob("*.html")))} pages in {out}; to read them: python -m http.server -d {out} --bind 127.0.0.1'
    )
