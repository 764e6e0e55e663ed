"""`scz-nb app` in a process of its own, and how much memory it takes.

python tests/helpers/app.py 300   opens that many pages, one after the other, and says what stays
"""

import contextlib
import http.client
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

root = Path(__file__).parents[2]
names = 'chromium', 'chromium-browser', 'google-chrome'
chromium = next(filter(None, map(shutil.which, names)), None)
made = 'button:text-is("Make")'


def free_port():
    "A port that nothing listens on."
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class App:
    "A server: its process, its address with the token, and that of other pages."

    def __init__(self, process, address):
        self.process = psutil.Process(process.pid)
        self.address = address
        self.base = address.partition('?')[0]

    def kernels(self):
        return self.process.children()

    def memory(self):
        "Megabytes of the server and its kernels."
        return sum(p.memory_info().rss for p in (self.process, *self.kernels())) >> 20

    def ask(self, path=None, **headers):
        "Status and text of an answer; None: the page's own path with the token."
        where = urlsplit(self.address)
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
        with contextlib.closing(connection):
            path = f'/?{where.query}' if path is None else path
            connection.request('GET', path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


def address_in(log, process):
    "The address that the server prints, once somebody listens there."
    for _ in range(300):
        found = re.search(r'http://\S+', log.read_text())
        assert process.poll() is None, log.read_text()
        if found:
            with socket.socket() as s:
                if s.connect_ex(('127.0.0.1', urlsplit(found[0]).port)) == 0:
                    return found[0]
        time.sleep(0.1)
    raise AssertionError(f'the server did not come: {log.read_text()}')


@contextlib.contextmanager
def served(folder, *options):
    "The command `scz-nb app`, ended at the end."
    log = folder / 'app.log'
    code = 'import sys; from scz_nb.apps.cli import main; sys.exit(main())'
    words = ['app', '--port', str(free_port()), '--no-browser', *options]
    with log.open('w') as out:
        command = [sys.executable, '-c', code, *words]
        process = subprocess.Popen(command, cwd=root, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield App(process, address_in(log, process))
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()


def visit(browser, app, number):
    "Open a page, wait until it is there (of three, one does not wait), and leave it in some way."
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(app.address, wait_until='commit')
    if number % 3:
        tab.wait_for_selector(made, timeout=90_000)
    if number % 2:
        tab.close(run_before_unload=True)
    context.close()


def count_loads(loads):
    "Print the memory while pages are loaded and left."
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as d, served(Path(d)) as app, sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        begin = time.monotonic()
        for number in range(loads + 1):
            if number % 25 == 0:
                seconds = time.monotonic() - begin
                kernels = len(app.kernels())
                print(f'{number} loads, {seconds:.0f} s: {app.memory()} MB, {kernels} kernels')
                sys.stdout.flush()
            if number < loads:
                visit(browser, app, number)
        browser.close()
        time.sleep(130)
        print(f'two minutes later: {app.memory()} MB, {len(app.kernels())} kernels')


if __name__ == '__main__':
    count_loads(int(sys.argv[1]))
