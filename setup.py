"""What changes from release to release, read from settings.ini: version and requirements.

The rest stands in pyproject.toml."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ini = ConfigParser(interpolation=None)
ini.read(Path(__file__).parent / 'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
extras = [key.removesuffix('_requirements') for key in cfg if key.endswith('_requirements')]

setup(
    version=cfg['version'],
    install_requires=cfg['requirements'].strip().splitlines(),
    extras_require={extra: cfg[f'{extra}_requirements'].strip().splitlines() for extra in extras},
)
