"Links, anchors, pictures and ids of a built site."

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote


class Found(HTMLParser):
    "Ids and addresses of a page."

    def __init__(self):
        super().__init__()
        self.ids, self.links, self.images, self.mute, self.loose = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if 'id' in a:
            self.ids.append(a['id'])
        if tag in ('a', 'link') and a.get('href'):
            self.links.append(a['href'])
        if tag in ('img', 'script', 'video', 'source') and a.get('src'):
            self.images.append(a['src'])
        if tag == 'img' and (not a.get('alt') or re.search(r'=\(|ax\.', a['alt'])):
            self.mute.append(a.get('src', '?')[:60])
        if tag == 'img' and not (a.get('width') and a.get('height')):
            self.loose.append(a.get('src', '?')[:60])


def broken(site: Path) -> list:  # one sentence each
    "What leads nowhere, is there twice, or loads from another machine."
    pages = {}
    for f in sorted(site.rglob('*.html')):
        if 'pagefind' in f.parts:
            continue
        pages[f] = Found()
        pages[f].feed(f.read_text())
    bad = []
    for f, page in pages.items():
        at = f.relative_to(site)
        bad += [
            f'{at}: the id {i!r} is there twice'
            for i in sorted({i for i in page.ids if page.ids.count(i) > 1})
        ]
        bad += [
            f'{at}: the picture {src} has no alternative text, or code for one' for src in page.mute
        ]
        bad += [f'{at}: the picture {src} has no width and height' for src in page.loose]
        for link in page.links + page.images:
            target, _, anchor = link.partition('#')
            if link.startswith(('http:', 'https:', 'mailto:', 'data:')):
                if link in page.images and not link.startswith('data:'):
                    bad.append(f'{at}: {link} is loaded from another machine')
                continue
            goal = (f.parent / unquote(target)).resolve() if target else f
            if 'pagefind' in goal.parts:
                continue
            if not goal.exists():
                bad.append(f'{at}: {link} leads nowhere')
            elif anchor and goal in pages and unquote(anchor) not in pages[goal].ids:
                bad.append(f'{at}: {link} has no such place')
    return bad
