"README.md from nbs/index.ipynb, without Quarto. Run as a script it writes the file; test_project.py holds both equal."

import json
import re
from pathlib import Path

root = Path(__file__).resolve().parents[1]


def _output(o):
    "The text of an output; pictures are left to the site, progress bars out."
    text = ''.join(o.get('text') or o.get('data', {}).get('text/plain', ''))
    if re.search(r'\d+%\|', text):
        return ''  # a progress bar
    rich = any(k.startswith('image/') or k == 'text/html' for k in o.get('data', {}))
    return '' if rich or not text.strip() else f'```\n{text.rstrip()}\n```\n'


def readme():
    "The text of README.md: prose, code, and outputs that are text."
    parts = ['<!-- Made from nbs/index.ipynb by make readme. -->\n']
    for c in json.loads((root / 'nbs/index.ipynb').read_text())['cells']:
        src = ''.join(c['source']).strip()
        if not src or re.match(r'#\|\s*(hide|default_exp)', src):
            continue
        if c['cell_type'] == 'markdown':
            parts.append(
                re.sub(r'\]\((?!https?:|#|mailto:)', '](nbs/', src).replace('](nbs/../', '](')
                + '\n'
            )
        elif c['cell_type'] == 'code':
            parts += [f'```python\n{src}\n```\n', *filter(None, map(_output, c['outputs']))]
    return '\n'.join(parts)


if __name__ == '__main__':
    (root / 'README.md').write_text(readme())
