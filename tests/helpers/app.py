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
        "Megabytes of the server and all that it started; what processes share counts once."
        total = 0
        for p in (self.process, *self.process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                total += p.memory_full_info().pss
        return total >> 20

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
    """Open a page, wait until it is there (of three, one does not wait), and leave it in some way.

    Gives how often the server said that too many pages are open."""
    context = browser.new_context()
    context.set_default_timeout(600_000)  # a machine that others use is slow, not broken
    tab = context.new_page()
    full = 0
    while tab.goto(app.address, wait_until='commit').status == 503:
        full += 1
    if number % 3:
        tab.wait_for_selector(made)
    if number % 2:
        tab.close(run_before_unload=True)
    context.close()
    return full


def count_loads(loads):
    "Print the memory while pages are loaded and left."
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as d, served(Path(d)) as app, sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        begin = time.monotonic()

        def say(when):
            "A line of figures, and the memory among them."
            now, seconds = app.memory(), time.monotonic() - begin
            kernels = len(app.kernels())
            print(f'{when}, {seconds:.0f} s: {now} MB, {kernels} kernels', flush=True)
            return now

        before = most = say('0 loads')
        full = 0
        for number in range(1, loads + 1):
            full += visit(browser, app, number)
            most = max(most, say(f'{number} loads') if number % 25 in (0, 1) else app.memory())
        browser.close()
        while app.kernels() and time.monotonic() < begin + 40 * loads + 300:
            time.sleep(1)
        after = say('all pages closed')
        status, _ = app.ask(Host='attacker.example')
        print(
            f'before {before} MB, at most {most} MB, after {after} MB; {full} times too many pages'
        )
        print(f'a request under a foreign Host: status {status}')


if __name__ == '__main__':
    count_loads(int(sys.argv[1]))
