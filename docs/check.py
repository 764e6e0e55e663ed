"Links, anchors, pictures and ids of a built site."

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote


class Found(HTMLParser):
    "Ids and addresses of a page."

    def __init__(self, html: str):
        super().__init__()
        self.ids, self.links, self.media, self.pictures = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if 'id' in a:
            self.ids.append(a['id'])
        if tag in ('a', 'link') and a.get('href'):
            self.links.append(a['href'])
        if tag in ('img', 'script', 'video', 'source') and a.get('src'):
            self.media.append(a['src'])
        if tag == 'img':
            self.pictures.append(a)


def wrong_pictures(pictures: list[dict]) -> list[str]:
    "Pictures without words, or without the room that they will take."
    bad = []
    for a in pictures:
        src = a.get('src', '?')[:60]
        if not a.get('alt') or re.search(r'=\(|ax\.', a['alt']):
            bad.append(f'the picture {src} has no alternative text, or code for one')
        if not (a.get('width') and a.get('height')):
            bad.append(f'the picture {src} has no width and height')
    return bad


def wrong_link(link: str, page: Path, pages: dict[Path, Found]) -> str:
    "What is wrong with a link of a page to this site, or nothing."
    target, _, anchor = link.partition('#')
    goal = (page.parent / unquote(target)).resolve() if target else page
    if 'pagefind' in goal.parts:
        return ''
    if not goal.exists():
        return f'{link} leads nowhere'
    if anchor and goal in pages and unquote(anchor) not in pages[goal].ids:
        return f'{link} has no such place'
    return ''


def broken(site: Path) -> list[str]:  # one sentence each
    "What leads nowhere, is there twice, or loads from another machine."
    files = [f for f in sorted(site.resolve().rglob('*.html')) if 'pagefind' not in f.parts]
    pages = {f: Found(f.read_text()) for f in files}
    elsewhere = ('http:', 'https:', 'mailto:', 'data:')
    bad = []
    for f, page in pages.items():
        twice = [i for i, n in Counter(page.ids).items() if n > 1]
        links = [link for link in page.links + page.media if not link.startswith(elsewhere)]
        foreign = [src for src in page.media if src.startswith(('http:', 'https:'))]
        found = [
            *(f'the id {i!r} is there twice' for i in twice),
            *wrong_pictures(page.pictures),
            *(wrong_link(link, f, pages) for link in links),
            *(f'{src} is loaded from another machine' for src in foreign),
        ]
        bad += [f'{f.relative_to(site.resolve())}: {what}' for what in found if what]
    return bad
