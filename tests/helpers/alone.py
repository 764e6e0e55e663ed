"Import one module of the package in a process that has seen none of it."

import importlib
import multiprocessing
import sys
import time
from typing import NamedTuple


class Import(NamedTuple):
    "What an import took."

    seconds: float  # of the processor, beyond torch and numpy
    loaded: list  # names of all modules that are there then


def import_alone(module: str) -> Import:
    "Import a module where nbdev is missing."
    sys.modules['nbdev'] = None
    start = time.process_time()
    importlib.import_module(f'scz_nb.{module}')
    return Import(time.process_time() - start, sorted(sys.modules))


def new_processes():
    "A pool whose processes have torch and numpy and nothing else; each is used once."
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['torch', 'numpy'])
    return context.Pool(1, maxtasksperchild=1)
