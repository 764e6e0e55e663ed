"The project's files: where they are, and what its settings say."

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


cfg = settings()
project = tomllib.loads((root / 'pyproject.toml').read_text())
address = f'https://github.com/{cfg["user"]}/{cfg["repo"]}'
site = f'https://{cfg["user"]}.github.io/{cfg["repo"]}/'
notebooks = sorted(p for p in (root / 'nbs').rglob('*.ipynb') if not is_hidden(p))
names = [str(p.relative_to(root / 'nbs')) for p in notebooks]
