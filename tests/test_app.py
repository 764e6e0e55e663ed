"`scz-nb app` in headless Chromium: every widget turned by mouse and keys, its picture looked at; cancel; two tabs; nothing leaves the machine."

import base64
import io
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.drawing import halves, magenta
from helpers.project import root
from PIL import Image

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


@pytest.fixture(scope='module')
def app(tmp_path_factory):
    pytest.importorskip('voila')
    port, log = free_port(), tmp_path_factory.mktemp('app') / 'log'
    server = subprocess.Popen(
        [
            sys.executable,
            '-c',
            'import sys; from scz_nb.apps.cli import main; sys.exit(main())',
            'app',
            '--port',
            str(port),
            '--no-browser',
        ],
        cwd=root,
        stdout=log.open('w'),
        stderr=subprocess.STDOUT,
    )
    for _ in range(300):
        if server.poll() is not None:
            pytest.fail(log.read_text())
        with socket.socket() as s:
            if s.connect_ex(('127.0.0.1', port)) == 0:
                break
        time.sleep(0.1)
    yield server, f'http://127.0.0.1:{port}/'
    server.terminate()
    server.wait(20)


class Page:
    "One browser tab, and what went wrong in it."

    def __init__(self, browser, address, width=1300):
        self.tab, self.wrong = (
            browser.new_context(viewport=dict(width=width, height=1000)).new_page(),
            [],
        )
        self.tab.set_default_timeout(15_000)
        self.tab.on('console', lambda m: m.type == 'error' and self.wrong.append(m.text))
        self.tab.on('pageerror', lambda e: self.wrong.append(str(e)))
        self.tab.on(
            'request',
            lambda r: (
                r.url.startswith((address, address.replace('http', 'ws'), 'data:', 'blob:'))
                or self.wrong.append(f'foreign: {r.url}')
            ),
        )
        self.tab.goto(address, wait_until='commit')

    def go(self, name):
        self.tab.locator('.lm-TabBar-tab', has_text=name).click()
        self.tab.locator('.lm-TabBar-tab.lm-mod-current', has_text=name).wait_for()

    def box(self, label):
        return self.tab.locator(
            '.jupyter-widgets:visible',
            has=self.tab.locator(
                f'> .widget-label:text-is("{label}"), > .widget-label-basic:text-is("{label}")'
            ),
        ).last

    def handle(self, label):
        return self.box(label).locator('.noUi-handle')

    def button(self, label):
        return self.tab.locator(f'button:visible:text-is("{label}")')

    def keys(self, label, *keys):
        self.handle(label).focus()
        for k in keys:
            self.tab.keyboard.press(k)

    def drag(self, label, dx):
        b = self.handle(label).bounding_box()
        x, y = b['x'] + b['width'] / 2, b['y'] + b['height'] / 2
        self.tab.mouse.move(x, y)
        self.tab.mouse.down()
        self.tab.mouse.move(x + dx, y, steps=6)
        self.tab.mouse.up()

    def choose(self, label, option):
        self.box(label).locator('select').select_option(option)

    def words(self):
        return self.tab.locator('p[role]:visible').last.inner_text()

    def picture(self):  # (H, W, 3) uint8
        "The last picture on the page, pixel by pixel."
        code = """async img => { const bytes = new Uint8Array(await (await fetch(img.src)).arrayBuffer()); let s = ''; for (const b of bytes) s += String.fromCharCode(b); return btoa(s) }"""
        return np.asarray(
            Image.open(
                io.BytesIO(
                    base64.b64decode(
                        self.tab.locator('img.widget-image:visible').last.evaluate(code)
                    )
                )
            ).convert('RGB')
        )

    def until(self, ready, seconds=20):
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, f'it did not come: {self.words()}'
            time.sleep(0.05)

    def changed(self, turn):
        "The picture after `turn`, once it has become another one and has come to rest."
        before = self.picture()
        turn()
        self.until(lambda: not np.array_equal(self.picture(), before))
        now = self.picture()
        while True:
            time.sleep(0.3)
            if np.array_equal(now, now := self.picture()):
                return now


@pytest.fixture(scope='module')
def pages(app, browser):
    two = [Page(browser, app[1]) for _ in range(2)]
    for p in two:
        p.tab.wait_for_selector('button:text-is("Make")', timeout=90_000)
    yield two
    assert not two[0].wrong and not two[1].wrong  # no console error, no request to another machine


@pytest.fixture
def page(pages):
    return pages[0]


def near(a, b, most=3):
    return np.abs(a.astype(int) - b).mean() < most


def test_listens_on_this_machine_alone(app, pages):
    import psutil

    server = psutil.Process(app[0].pid)
    family = [server, *server.children(recursive=True)]
    listening = [
        c.laddr.ip
        for p in family
        for c in p.net_connections('inet')
        if c.status == psutil.CONN_LISTEN
    ]
    assert (
        len(family) >= 3 and listening and set(listening) <= {'127.0.0.1', '::1'}
    )  # the server and a kernel for each tab


def test_warp(page):
    page.go('Warp')
    first = page.picture()
    assert magenta(page.changed(lambda: page.drag('scale', 60))) > 1.3 * magenta(first) > 0
    none = page.changed(lambda: page.keys('exponent', 'End'))
    assert magenta(none) < magenta(first) * 1.3
    page.changed(lambda: page.keys('exponent', *['ArrowLeft'] * 3))
    page.changed(lambda: page.keys('convergence', 'End'))
    orange = lambda px: (
        np.abs(px[:, 580:618].astype(int) - (255, 150, 0)).max(-1) < 40
    ).sum()  # at the border of the moved view
    before = page.picture()
    assert orange(page.changed(lambda: page.keys('border', 'End'))) < 0.2 * orange(before)


def test_two_tabs_are_two(pages):
    one, other = pages
    other.go('Warp')
    assert 'by 8 %' in other.words() and 'by 8 %' not in one.words()
    mine = one.picture()
    other.changed(lambda: other.keys('scale', 'End'))
    assert 'by 20 %' in other.words() and np.array_equal(mine, one.picture())


def test_depth(page):
    page.go('Depth')
    third = lambda px, k: px[:, k * 311 : k * 311 + 307]  # map, dissolved, holes
    first = page.picture()
    none = page.changed(lambda: page.keys('strength', 'Home'))
    assert (
        near(third(none, 0), third(first, 0), 1)
        and near(third(none, 0), third(none, 1), 3)
        and not near(third(first, 0), third(first, 1), 3)
    )
    true = page.changed(lambda: page.choose('estimator', 'true'))
    assert not near(third(true, 0), third(none, 0))
    assert magenta(third(page.changed(lambda: page.keys('scale', 'Home')), 2)) == 0
    page.changed(lambda: page.drag('frame', 80))


def test_cancel_and_errors(page, tmp_path):
    page.go('Run')
    page.keys('steps', 'End')
    page.button('Make').click()
    page.until(lambda: 'mono: step' in page.words())
    code = """b => { const n = document.querySelector('.widget-hprogress .progress-bar').style.width; b.click(); return n }"""
    at = page.button('Cancel').evaluate(code)
    page.until(lambda: 'Cancelled' in page.words())
    now = page.tab.locator('.widget-hprogress .progress-bar').evaluate('b => b.style.width')
    steps = lambda width: float(width.rstrip('%')) * 50 / 100
    assert (
        0 < steps(at) <= steps(now) <= steps(at) + 2
    )  # the one that ran, and one whose message was on its way
    bad, good = tmp_path / 'holiday.png', tmp_path / 'good.png'
    bad.write_bytes(b'no picture')
    Image.new('RGB', (96, 60), 'teal').save(good)

    def upload(path):
        with page.tab.expect_file_chooser() as asked:
            page.tab.locator('button.widget-upload:visible').click()
        asked.value.set_files(path)

    upload(bad)
    page.until(lambda: 'holiday.png is not a picture' in page.words())
    shown = page.changed(lambda: upload(good))
    assert near(shown, np.full_like(shown, (0, 128, 128)))
    field = page.box('or scene').locator('input')
    page.changed(lambda: (field.fill('41'), field.press('Enter')))


def test_run(page):
    page.go('Run')
    page.keys('steps', 'Home', 'ArrowRight', 'ArrowRight', 'ArrowRight')
    time.sleep(1)  # a front end keeps quick changes back, but no press of a button
    page.button('Make').focus()
    page.tab.keyboard.press('Space')
    page.until(
        lambda: 'Made in' in page.tab.locator('p[role=status]:visible').first.inner_text(), 60
    )
    page.until(
        lambda: page.tab.locator('img.widget-image:visible').count() == 2
    )  # the first frame and the viewer
    a, b = halves(page.changed(lambda: page.choose('kind', 'side by side')))
    c, d = halves(page.changed(lambda: page.choose('kind', 'cross-eyed')))
    assert near(a, d) and near(b, c) and not near(a, b)
    box = page.tab.locator('input[type=checkbox]:visible')
    e, f = halves(page.changed(lambda: (box.focus(), page.tab.keyboard.press('Space'))))
    assert near(a, e) and near(b, f)
    page.changed(lambda: page.keys('frame', 'ArrowRight'))
    with page.tab.expect_download() as saved:
        page.tab.locator('a[download]').first.click()
    assert (
        saved.value.suggested_filename == 'stereo_LR.mp4'
        and os.path.getsize(saved.value.path()) > 2000
    )
    before = page.picture()
    page.tab.locator('.widget-play button:visible').first.click()
    page.until(lambda: not np.array_equal(page.picture(), before))  # it plays
    page.tab.locator('.widget-play button:visible').first.click()


def test_latents(page):
    page.go('Latents')
    last = page.picture()
    noise = page.changed(lambda: page.keys('step', 'Home'))
    rough = lambda px: np.abs(
        px[:, 12:].astype(int) - px[:, :-12]
    ).mean()  # from one latent to the next
    assert rough(noise) > 1.5 * rough(last)
    apart = page.changed(lambda: (page.keys('step', 'End'), page.choose('view', 'difference')))
    assert abs(np.median(apart) - 128) < 12
    page.changed(lambda: page.choose('channel', '2'))
    page.changed(lambda: page.drag('frame', 60))


def test_repeats(page):
    page.go('Repeats')
    first = page.picture()
    second = page.changed(lambda: page.keys('again', 'ArrowRight'))
    dark = lambda px: px[:, 311:618].mean()
    assert dark(second) > dark(first)  # a change is seen where there was none
    marked = magenta(second)
    assert (
        magenta(page.changed(lambda: page.tab.locator('input[type=checkbox]:visible').click()))
        < marked
    )
    page.changed(lambda: page.choose('step', 'restart 1'))
    page.changed(lambda: page.keys('frame', 'End'))


def test_other_tab_has_seen_nothing_of_it(pages):
    pages[1].go('Latents')
    assert 'Make a video first' in pages[1].tab.locator('.widget-html:visible').last.inner_text()
