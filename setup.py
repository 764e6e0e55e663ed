"What changes from release to release, read from settings.ini: version and requirements. The rest stands in pyproject.toml."

from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ini = ConfigParser(interpolation=None)
ini.read(Path(__file__).parent / 'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']


def lines(key):
    return cfg[key].split('\n')[1:] if cfg[key].startswith('\n') else cfg[key].splitlines()


setup(
    version=cfg['version'],
    install_requires=lines('requirements'),
    extras_require={
        k.removesuffix('_requirements'): lines(k) for k in cfg if k.endswith('_requirements')
    },
)
