"One thread, no hub: every test runs offline, on two cores, from any folder."

import os

os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
os.environ.setdefault(
    'OMP_NUM_THREADS', '1'
)  # notebooks run in a thread of their own; two OpenMP teams wait for one another
os.environ['PATH'] = os.path.dirname(__import__('sys').executable) + os.pathsep + os.environ['PATH']
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

root = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    items.sort(
        key=lambda item: item.get_closest_marker('slow') is None
    )  # long ones first: the processes end together


def pytest_xdist_make_scheduler(config, log):
    "A file's tests go to one process, which makes their fixtures once; each notebook goes where there is time."
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return nodeid if 'test_notebooks' in nodeid else nodeid.split('::')[0]

    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter):
    "Which notebook cells said something else than what is committed (tests/test_notebooks.py)."
    changed = [
        c
        for r in terminalreporter.getreports('passed')
        if r.when == 'call'
        for k, v in r.user_properties
        if k == 'changed'
        for c in v
    ]
    if changed:
        terminalreporter.section(f'{len(changed)} text outputs are not what is committed')
    for cell, was, now in changed:
        terminalreporter.line(f'{cell}\n  committed: {was!r}\n  now:       {now!r}')


@pytest.fixture(autouse=True)
def offline(monkeypatch, request):
    "A test that reaches for the network fails at once, with the address in the message."
    real = socket.socket.connect

    def connect(self, address):
        local = self.family == getattr(socket, 'AF_UNIX', None) or str(address[0]) in (
            '127.0.0.1',
            '::1',
            'localhost',
        )
        if not local:
            raise RuntimeError(f'a test reached for the network: {address}')
        return real(self, address)

    monkeypatch.setattr(socket.socket, 'connect', connect)


@pytest.fixture(scope='module')
def browser():
    "Headless Chromium, where there is one."
    chromium = (
        shutil.which('chromium')
        or shutil.which('chromium-browser')
        or shutil.which('google-chrome')
    )
    if not chromium:
        pytest.skip('no Chromium on this machine')
    sync = pytest.importorskip('playwright.sync_api')
    with sync.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=['--no-sandbox', '--disable-gpu'])
        yield b
        b.close()


# what a widget has drawn: tests of the drawings and of the page in a browser
def halves(px):
    "The two tiles of a drawing, without the gap between them."
    return px[:, : (px.shape[1] - 4) // 2], px[:, (px.shape[1] + 4) // 2 :]


def magenta(px):
    "How many pixels have the colour of holes."
    return (np.abs(px.astype(int) - (255, 0, 170)).max(-1) < 60).sum()
