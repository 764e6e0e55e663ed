"The project's files: where they are, and what its settings say."

import json
import tomllib
from configparser import ConfigParser
from pathlib import Path

root = Path(__file__).resolve().parents[2]


def settings():
    "The section of settings.ini that nbdev and pip read."
    ini = ConfigParser(interpolation=None)
    ini.read(root / 'settings.ini', encoding='utf-8')
    return ini['DEFAULT']


def is_hidden(path: Path) -> bool:
    "Whether a path of the project lies in a folder that a tool has made."
    return any(part.startswith(('_', '.')) for part in path.relative_to(root).parts)


def source(notebook: Path, kind: str) -> str:
    "All text of a notebook's cells of one kind: 'code' or 'markdown'."
    cells = json.loads(notebook.read_text())['cells']
    return '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == kind)


def module_name(path: Path) -> str:
    "Such as geometry.warp."
    return '.'.join(path.relative_to(package).with_suffix('').parts)


cfg = settings()
project = tomllib.loads((root / 'pyproject.toml').read_text())
address = f'https://github.com/{cfg["user"]}/{cfg["repo"]}'
site = f'https://{cfg["user"]}.github.io/{cfg["repo"]}/'
notebooks = sorted(p for p in (root / 'nbs').rglob('*.ipynb') if not is_hidden(p))
names = [str(p.relative_to(root / 'nbs')) for p in notebooks]
package = root / 'scz_nb'
module_files = sorted(p for p in package.rglob('*.py') if not is_hidden(p))
modules = [module_name(p) for p in module_files]
