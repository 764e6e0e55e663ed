"README.md from nbs/index.ipynb: `make readme`. tests/test_project.py holds both equal."

import json
import re
from pathlib import Path

root = Path(__file__).resolve().parents[1]


def block(text: str, language: str = '') -> str:
    "A block of code or of output; nothing for nothing."
    return f'```{language}\n{text.rstrip()}\n```\n' if text.strip() else ''


def output(o: dict) -> str:
    "The text of an output; pictures are left to the site, progress bars out."
    data = o.get('data', {})
    if any(kind.startswith('image/') or kind == 'text/html' for kind in data):
        return ''
    text = ''.join(o.get('text') or data.get('text/plain', ''))
    return '' if re.search(r'\d+%\|', text) else block(text)


def linked(text: str) -> str:
    "Links as they lead from the repository's root."
    text = re.sub(r'\]\((?!https?:|#|mailto:)', '](nbs/', text)
    return text.replace('](nbs/../', '](')


def readme() -> str:
    "The text of README.md: prose, code, and outputs that are text."
    parts = ['<!-- Made from nbs/index.ipynb by make readme. -->\n']
    for cell in json.loads((root / 'nbs/index.ipynb').read_text())['cells']:
        source = ''.join(cell['source']).strip()
        if not source or re.match(r'#\|\s*(hide|default_exp)', source):
            continue
        if cell['cell_type'] == 'markdown':
            parts.append(linked(source) + '\n')
        else:
            parts += [block(source, 'python'), *map(output, cell['outputs'])]
    return '\n'.join(filter(None, parts))


if __name__ == '__main__':
    (root / 'README.md').write_text(readme())
