"""`scz-nb app`: who gets nothing; and what others see, in headless Chromium.

Every control is turned by mouse and keys, and its picture is examined; a run, its end, two tabs;
pages that come and go; and nothing leaves the machine."""

import base64
import io
import os
import time

import numpy as np
import pytest
from helpers.app import made, served
from helpers.drawing import halves, magenta, near
from helpers.films import X264, ffmpeg, picture, sound
from PIL import Image

from scz_nb.media.film import probe

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def app(tmp_path_factory):
    "A server of three pages at most."
    pytest.importorskip('voila')
    folder = tmp_path_factory.mktemp('app')
    with served(folder, '--pages', '3', '--out', str(folder / 'out')) as app:
        yield app


read_bytes = """async img => {
    const bytes = new Uint8Array(await (await fetch(img.src)).arrayBuffer())
    let s = ''
    for (const b of bytes) s += String.fromCharCode(b)
    return btoa(s)
}"""


class Page:
    "One browser tab, and what went wrong in it."

    def __init__(self, browser, app):
        self.address = app.base
        self.wrong = []
        context = browser.new_context(viewport=dict(width=1300, height=1000))
        self.tab = context.new_page()
        self.tab.set_default_timeout(15_000)
        self.tab.on('console', self.note_console)
        self.tab.on('pageerror', lambda e: self.wrong.append(str(e)))
        self.tab.on('request', self.note_request)
        self.tab.goto(app.address, wait_until='commit')

    def note_console(self, message):
        if message.type == 'error':
            self.wrong.append(message.text)

    def note_request(self, request):
        ours = self.address, self.address.replace('http', 'ws'), 'data:', 'blob:'
        if not request.url.startswith(ours):
            self.wrong.append(f'foreign: {request.url}')

    def go(self, name):
        "Bring one of the page's own tabs to the front."
        self.tab.locator('.lm-TabBar-tab', has_text=name).click()
        self.tab.locator('.lm-TabBar-tab.lm-mod-current', has_text=name).wait_for()

    def visible(self, selector):
        return self.tab.locator(f'{selector}:visible')

    def box(self, label):
        "The control with a label."
        kinds = [f'> .{c}:text-is("{label}")' for c in ('widget-label', 'widget-label-basic')]
        return self.visible('.jupyter-widgets').filter(has=self.tab.locator(', '.join(kinds))).last

    def handle(self, label):
        "What a slider is dragged by."
        return self.box(label).locator('.noUi-handle')

    def button(self, label):
        return self.tab.locator(f'button:visible:text-is("{label}")')

    def keys(self, label, *keys):
        "Press keys on a slider."
        self.handle(label).focus()
        for k in keys:
            self.tab.keyboard.press(k)

    def drag(self, label, dx):
        "Drag a slider by some pixels."
        b = self.handle(label).bounding_box()
        x, y = b['x'] + b['width'] / 2, b['y'] + b['height'] / 2
        self.tab.mouse.move(x, y)
        self.tab.mouse.down()
        self.tab.mouse.move(x + dx, y, steps=6)
        self.tab.mouse.up()

    def choose(self, label, option):
        self.box(label).locator('select').select_option(option)

    def words(self):
        "The last sentence on the page."
        return self.visible('p[role]').last.inner_text()

    def picture(self):  # (H, W, 3) uint8
        "The last picture on the page, pixel by pixel."
        data = self.visible('img.widget-image').last.evaluate(read_bytes)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert('RGB'))

    def until(self, ready, seconds=20):
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, f'it did not come: {self.words()}'
            time.sleep(0.05)

    def changed(self, turn):
        "The picture after `turn`, once it has become another one and changes no more."
        before = self.picture()
        turn()
        self.until(lambda: not np.array_equal(self.picture(), before))
        last, now = None, self.picture()
        while last is None or not np.array_equal(last, now):
            time.sleep(0.3)
            last, now = now, self.picture()
        return now


@pytest.fixture(scope='module')
def pages(app, browser):
    "Two tabs of the browser."
    two = [Page(browser, app) for _ in range(2)]
    for p in two:
        p.tab.wait_for_selector(made, timeout=90_000)
    yield two
    assert not two[0].wrong and not two[1].wrong  # no console error, no request to another machine


@pytest.fixture
def page(pages):
    return pages[0]


# strangers
paths = '/', None, '/voila/static/voila.js', '/api/kernels/1-2-3-4-5', '/login', '/nowhere'


@pytest.mark.parametrize('path', paths)
def test_a_stranger_gets_nothing(app, path):
    before = len(app.kernels())
    here = app.base.partition('//')[2].strip('/')
    port = here.partition(':')[2]
    for host in (
        f'evil.example:{port}',
        'evil.example',
        f'192.168.0.7:{port}',
        f'127.0.0.1.evil:{port}',
    ):
        status, text = app.ask(path, Host=host)
        assert status == 403 and len(text) < 200
    for origin in 'http://evil.example', f'https://{here}', 'http://127.0.0.1:1', 'null':
        status, text = app.ask(path, Origin=origin)
        assert status == 403 and len(text) < 200
    assert len(app.kernels()) == before


def test_a_stranger_gets_no_socket(app, pages):
    upgrade = dict(Upgrade='websocket', Connection='Upgrade', Origin='http://evil.example')
    upgrade |= {'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA=='}
    kernel = pages[0].tab.evaluate(
        "JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId"
    )
    assert app.ask(f'/api/kernels/{kernel}/channels', **upgrade)[0] == 403
    del upgrade['Origin']  # a program without the token
    assert app.ask(f'/api/kernels/{kernel}/channels', **upgrade)[0] == 403


def test_who_has_no_token_is_asked_for_it(app):
    before = len(app.kernels())
    assert app.ask('/')[0] == app.ask('/?token=0')[0] == 302
    assert app.ask('/api/kernels/1-2-3-4-5')[0] == 403
    assert len(app.kernels()) == before


def test_it_listens_on_this_machine_alone(app, pages):
    family = [app.process, *app.process.children(recursive=True)]
    assert len(family) >= 3  # the server and a kernel for each tab
    ports = [c for p in family for c in p.net_connections('inet')]
    listening = {c.laddr.ip for c in ports if c.status == 'LISTEN'}
    assert listening and listening <= {'127.0.0.1', '::1'}


# pages come and go
def until_kernels(app, number):
    "Wait until there are so many."
    end = time.monotonic() + 30
    while len(app.kernels()) != number:
        assert time.monotonic() < end, len(app.kernels())
        time.sleep(0.2)


def test_a_kernel_ends_with_its_page(app, pages, browser):
    third = Page(browser, app)
    third.tab.wait_for_selector(made, timeout=90_000)
    status, text = app.ask()
    assert status == 503 and '3 pages are open' in text and len(app.kernels()) == 3
    old = set(app.kernels())
    third.tab.reload(wait_until='commit')
    third.tab.wait_for_selector(made, timeout=90_000)
    until_kernels(app, 3)
    assert len(old & set(app.kernels())) == 2 and not third.wrong
    third.tab.context.close()
    until_kernels(app, 2)


def test_a_page_whose_kernel_has_ended_says_so(app, pages, browser):
    old = set(app.kernels())
    third = Page(browser, app)
    third.tab.wait_for_selector(made, timeout=90_000)
    assert third.tab.locator('#lost').is_hidden()
    (kernel,) = set(app.kernels()) - old
    kernel.kill()
    third.tab.wait_for_selector('#lost', timeout=60_000)
    assert 'load the page again' in third.tab.inner_text('#lost')
    third.tab.context.close()
    until_kernels(app, 2)


def test_kernels_end_with_a_server_that_is_killed(tmp_path):
    with served(tmp_path) as app:
        assert app.ask()[0] == 200
        (kernel,) = app.kernels()
        app.process.kill()
        kernel.wait(30)


# warp: three tiles of 307 columns, 4 white columns between
def third(px, k):
    "One of three tiles of a drawing."
    return px[:, k * 311 : k * 311 + 307]


def orange(px):
    "How many pixels of the warped view have the colour of holes at the border."
    border = px[:, 580:618].astype(int)
    return (np.abs(border - (255, 150, 0)).max(-1) < 40).sum()


@pytest.fixture
def warp(page):
    page.go('Warp')
    return page


def test_a_larger_scale_opens_more_holes(warp):
    first = magenta(warp.picture())
    assert magenta(warp.changed(lambda: warp.drag('scale', 60))) > 1.3 * first > 0


def test_a_larger_exponent_closes_holes(warp):
    before = magenta(warp.picture())
    assert magenta(warp.changed(lambda: warp.keys('exponent', 'End'))) < before


def test_arrows_turn_a_slider(warp):
    warp.changed(lambda: warp.keys('exponent', *['ArrowLeft'] * 3))


def test_convergence_shifts_the_picture(warp):
    warp.changed(lambda: warp.keys('convergence', 'End'))


def test_the_border_takes_the_left_view(warp):
    before = orange(warp.picture())
    assert orange(warp.changed(lambda: warp.keys('border', 'End'))) < 0.2 * before


def test_two_tabs_are_two(pages):
    one, other = pages
    for p in pages:
        p.go('Warp')
    mine = one.picture()
    assert 'by 8 %' in other.words()
    other.changed(lambda: other.keys('scale', 'End'))
    assert 'by 20 %' in other.words() and np.array_equal(mine, one.picture())


# depth: a map, the dissolved map, holes
@pytest.fixture
def depth(page):
    page.go('Depth')
    return page


def test_dissolving_can_be_turned_off(depth):
    first = depth.picture()
    none = depth.changed(lambda: depth.keys('strength', 'Home'))
    assert near(third(none, 0), third(first, 0), 1)
    assert near(third(none, 0), third(none, 1), 3) and not near(third(first, 0), third(first, 1), 3)


def test_the_true_depth_is_another(depth):
    before = depth.picture()
    true = depth.changed(lambda: depth.choose('estimator', 'true'))
    assert not near(third(true, 0), third(before, 0), 3)


def test_without_a_shift_there_is_no_hole(depth):
    assert magenta(third(depth.changed(lambda: depth.keys('scale', 'Home')), 2)) == 0


def test_another_frame_has_another_depth(depth):
    depth.changed(lambda: depth.drag('frame', 80))


# the first frame, and a run that is cancelled
press_and_read = """button => {
    const width = document.querySelector('.widget-hprogress .progress-bar').style.width
    button.click()
    return width
}"""


def steps(width):
    "How many of 50 steps a progress bar shows."
    return float(width.rstrip('%')) * 50 / 100


def test_cancel_ends_at_the_next_step(page):
    page.go('Run')
    page.keys('steps', 'End')
    page.button('Make').click()
    page.until(lambda: 'mono: step' in page.words())
    at = page.button('Cancel').evaluate(press_and_read)
    page.until(lambda: 'Cancelled' in page.words())
    bar = page.tab.locator('.widget-hprogress .progress-bar').first
    now = bar.evaluate('bar => bar.style.width')
    # the one that ran, and one whose message was on its way
    assert 0 < steps(at) <= steps(now) <= steps(at) + 2


def upload(page, path):
    "Choose a file."
    page.go('Run')
    with page.tab.expect_file_chooser() as chooser:
        page.visible('button.widget-upload').click()
    chooser.value.set_files(path)


def test_a_file_that_is_no_picture_is_named(page, tmp_path):
    path = tmp_path / 'holiday.png'
    path.write_bytes(b'no picture')
    upload(page, path)
    page.until(lambda: 'holiday.png is not a picture' in page.words())


def test_a_picture_is_shown(page, tmp_path):
    path = tmp_path / 'good.png'
    Image.new('RGB', (96, 60), 'teal').save(path)
    page.go('Run')
    shown = page.changed(lambda: upload(page, path))
    assert near(shown, np.full_like(shown, (0, 128, 128)), 3)


def test_a_scene_has_its_picture(page):
    page.go('Run')
    field = page.box('or scene').locator('input')

    def enter():
        field.fill('41')
        field.press('Enter')

    page.changed(enter)


# a film of one's own
@pytest.fixture(scope='module')
def film(pages, tmp_path_factory):
    "A page on which a film was chosen that is too large for one message of an ordinary server."
    path = tmp_path_factory.mktemp('films') / 'mine.mp4'
    noise = picture('480x272', 25, 2, ',noise=alls=100:allf=t')
    ffmpeg(path.parent, *noise, '-f', 'lavfi', '-i', 'sine=d=2', *X264, '-qp', 1, path)
    assert path.stat().st_size > 10 << 20
    page = pages[0]
    page.go('Film')
    with page.tab.expect_file_chooser() as chooser:
        page.visible('button.widget-upload').click()
    chooser.value.set_files(path)
    page.until(lambda: 'mine.mp4: 480 × 272 pixels, 2.0 s' in page.words(), 60)
    page.button('Look').click()
    page.until(lambda: '9 frames of a second' in page.words(), 120)
    return page, path


@pytest.fixture
def look(film):
    film[0].go('Film')
    return film[0]


def test_a_second_of_a_film_is_shown(look):
    look.choose('look at', 'left')
    look.choose('size', 'as it is')
    look.until(lambda: look.picture().shape == (272, 480, 3))
    left = look.picture()
    right = look.changed(lambda: look.choose('look at', 'right'))
    assert not near(left, right, 3)


def test_strength_moves_the_right_view(look):
    look.changed(lambda: look.keys('strength, %', 'Home'))
    still = look.picture()
    left = look.changed(lambda: look.keys('strength, %', 'End'))
    assert not near(still, left, 3)


@pytest.mark.parametrize('label, option', [('on the screen', 'what is nearest'), ('holes', 'ns')])
def test_what_the_look_is_made_of(look, label, option):
    look.changed(lambda: look.choose(label, option))


def test_both_eyes_can_move(look):
    look.visible('input[type=checkbox]').first.focus()
    look.changed(lambda: look.tab.keyboard.press('Space'))


def test_a_key_shows_the_next_frame_of_the_second(look):
    look.changed(lambda: look.keys('frame', 'ArrowRight'))


def test_a_film_is_converted_and_saved(film, app, tmp_path):
    page, path = film
    page.go('Film')
    page.choose('layout', 'half-side-by-side')
    page.choose('names', 'quest')
    time.sleep(1)
    page.button('Convert').click()
    page.until(lambda: 'of 50 frames, ' in page.words() and ' left' in page.words(), 120)
    page.until(lambda: 'mine_3dh.mp4 made in' in page.words(), 300)
    with page.tab.expect_download() as saved:
        page.visible('a[download]').click()
    saved.value.save_as(tmp_path / 'saved.mp4')
    made = probe(tmp_path / 'saved.mp4')
    assert (made.width, made.height, made.frames) == (480, 272, 50)
    assert sound(tmp_path / 'saved.mp4') == sound(path)
    status, _ = app.ask('/films/mine_3dh.mp4')
    assert status in (302, 403)  # who has no token gets no film


def test_a_film_is_cancelled(film):
    page, _ = film
    page.go('Film')
    page.choose('layout', 'left')
    time.sleep(1)
    page.button('Convert').click()
    page.until(lambda: ' frames' in page.words() and 'made in' not in page.words(), 120)
    page.button('Cancel').click()
    page.until(lambda: 'Cancelled' in page.words(), 60)


# a run, by keyboard
def says(page, text):
    "Whether the run panel says something."
    return text in page.visible('p[role=status]').first.inner_text()


@pytest.fixture(scope='module')
def result(pages):
    "A page on which a video has been made."
    page = pages[0]
    page.go('Run')
    page.keys('steps', 'Home', 'ArrowRight', 'ArrowRight', 'ArrowRight')
    time.sleep(1)  # a front end keeps quick changes back, but no press of a button
    page.button('Make').focus()
    page.tab.keyboard.press('Space')
    page.until(lambda: says(page, 'Made in'), 60)
    # the first frame and the viewer
    page.until(lambda: page.visible('img.widget-image').count() == 2)
    return page


@pytest.fixture
def viewer(result):
    result.go('Run')
    return result


def test_crossed_eyes_exchange_the_views(viewer):
    a, b = halves(viewer.changed(lambda: viewer.choose('kind', 'side by side')))
    c, d = halves(viewer.changed(lambda: viewer.choose('kind', 'cross-eyed')))
    assert near(a, d, 3) and near(b, c, 3) and not near(a, b, 3)


def test_swapped_eyes_exchange_the_views(viewer):
    a, b = halves(viewer.picture())
    box = viewer.visible('input[type=checkbox]')
    box.focus()
    c, d = halves(viewer.changed(lambda: viewer.tab.keyboard.press('Space')))
    assert near(a, d, 3) and near(b, c, 3)


def test_a_key_shows_the_next_frame(viewer):
    viewer.changed(lambda: viewer.keys('frame', 'ArrowRight'))


def test_a_video_can_be_saved(viewer):
    with viewer.tab.expect_download() as saved:
        viewer.tab.locator('a[download]').first.click()
    assert saved.value.suggested_filename == 'stereo_LR.mp4'
    assert os.path.getsize(saved.value.path()) > 2000


def test_the_viewer_plays(viewer):
    before, button = viewer.picture(), viewer.visible('.widget-play button').first
    button.click()
    viewer.until(lambda: not np.array_equal(viewer.picture(), before))
    button.click()


# what was recorded
@pytest.fixture
def latents(result):
    result.go('Latents')
    return result


def roughness(px):
    "How much a picture changes from one latent to the next."
    return np.abs(px[:, 12:].astype(int) - px[:, :-12]).mean()


def test_the_first_step_is_noise(latents):
    last = latents.picture()
    noise = latents.changed(lambda: latents.keys('step', 'Home'))
    assert roughness(noise) > 1.5 * roughness(last)


def test_a_difference_is_around_grey(latents):
    def turn():
        latents.keys('step', 'End')
        latents.choose('view', 'difference')

    assert abs(np.median(latents.changed(turn)) - 128) < 12


def test_a_channel_can_be_chosen(latents):
    latents.changed(lambda: latents.choose('channel', '2'))


def test_latents_have_frames(latents):
    latents.changed(lambda: latents.drag('frame', 60))


@pytest.fixture
def repeats(result):
    result.go('Repeats')
    return result


def test_the_second_pass_has_a_change(repeats):
    first = repeats.picture()
    second = repeats.changed(lambda: repeats.keys('again', 'ArrowRight'))
    assert third(second, 1).mean() > third(first, 1).mean()


def test_outlines_can_be_left_out(repeats):
    marked = magenta(repeats.picture())
    box = repeats.visible('input[type=checkbox]')
    assert magenta(repeats.changed(lambda: box.click())) < marked


def test_a_restart_has_repeats(repeats):
    repeats.changed(lambda: repeats.choose('step', 'restart 1'))


def test_repeats_have_frames(repeats):
    repeats.changed(lambda: repeats.keys('frame', 'End'))


def test_the_other_tab_knows_nothing_of_it(pages, result):
    pages[1].go('Latents')
    assert 'Make a video first' in pages[1].visible('.widget-html').last.inner_text()
