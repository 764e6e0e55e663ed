"The site is built, whole, light, and works without the rest of the internet."

import functools
import http.server
import shutil
import sys
import threading

import pytest
from helpers.project import root

sys.path.insert(0, str(root / 'docs'))
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    pytest.importorskip('pypandoc')
    from build import build

    out = tmp_path_factory.mktemp('docs') / 'site'
    assert build(out) == []  # links, anchors, pictures, ids, other machines
    return out


def test_every_notebook_has_a_page(site):
    from build import sidebar

    pages = [p for _, names in sidebar() for p in names]
    nbs = {
        p.relative_to(root / 'nbs').with_suffix('').as_posix()
        for p in (root / 'nbs').rglob('*.ipynb')
        if '.ipynb_checkpoints' not in p.parts
    }
    modules = {f'api/{p.stem}' for p in (root / 'scz_nb').glob('[!_]*.py')}
    assert len(pages) == len(set(pages)) and set(pages) == nbs | modules
    for p in pages:
        assert (
            (site / f'{p}.html').exists()
            and f'({p}.md)' in (site / 'llms.txt').read_text()
            and (site / f'{p}.md').exists()
        )


def test_a_broken_site_is_told(site, tmp_path):
    from check import broken

    shutil.copytree(site, tmp_path / 's')
    page = tmp_path / 's/index.html'
    page.write_text(
        page.read_text().replace(
            '</main>',
            '<a href="gone.html">x</a><a href="11_warp.html#nowhere">y</a><p id="a"></p><p id="a"></p><img src="https://example.com/x.png" alt="Eyes: ax.set(xlim=(0, 1))"></main>',
        )
    )
    said = '\n'.join(broken(tmp_path / 's'))
    assert all(
        s in said
        for s in (
            'gone.html leads nowhere',
            '#nowhere has no such place',
            "'a' is there twice",
            'loaded from another machine',
            'code for one',
            'no width and height',
        )
    )


def test_lessons_have_numbers(site):
    page = (site / '11_warp.html').read_text()
    for said in (
        '<h1>11 ',
        'aria-current=page>11 ',
        'rel="prev" href="10_disparity.html">10 ',
        'rel="next" href="12_depth.html">12 ',
    ):
        assert said in page


def test_pictures_have_words_and_sizes(tmp_path):
    from build import sized
    from pages import describe
    from PIL import Image

    assert (
        describe('The `warp` of [10](10.ipynb)', 2, '<Figure size 350x140 with 1 Axes>')
        == 'The warp of 10, figure 2'
    )
    assert describe('Two eyes', 1, 'left and right, frame 3') == 'Two eyes: left and right, frame 3'
    Image.new('RGB', (40, 20)).save(tmp_path / 'x.png')
    assert (
        sized('<p><img src="x.png" alt="a"><img height="10" src="x.png" /></p>', tmp_path)
        == '<p><img width="40" height="20" src="x.png" alt="a"><img width="20" height="10" src="x.png" /></p>'
    )


def weight(site, page):
    from check import Found

    found, f = Found(), site / page
    found.feed(f.read_text())
    files = {(f.parent / src).resolve() for src in found.images if not src.startswith('data:')}
    return (
        f.stat().st_size
        + sum(p.stat().st_size for p in files if p.exists())
        + (site / 'site.css').stat().st_size
    )


def test_pages_are_light(site):
    assert weight(site, 'index.html') < 3e6
    heavy = {
        p.name: weight(site, p.relative_to(site))
        for p in site.rglob('*.html')
        if 'pagefind' not in p.parts and weight(site, p.relative_to(site)) > 1e6
    }
    assert not heavy


@pytest.fixture(scope='module')
def address(site):
    handler = type(
        'Quiet', (http.server.SimpleHTTPRequestHandler,), dict(log_message=lambda *a: None)
    )
    server = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(handler, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def opened(browser, address, page, width):
    "A page, and what went wrong on it: console errors, failed and foreign requests."
    view, wrong = browser.new_page(viewport=dict(width=width, height=900)), []
    view.on('console', lambda m: m.type == 'error' and wrong.append(m.text))
    view.on('pageerror', lambda e: wrong.append(str(e)))
    view.on('requestfailed', lambda r: wrong.append(r.url))
    view.on(
        'request',
        lambda r: (
            r.url.startswith((address, 'data:', 'blob:')) or wrong.append(f'foreign: {r.url}')
        ),
    )
    view.goto(f'{address}/{page}.html', wait_until='networkidle')
    return view, wrong


@pytest.mark.parametrize('width', [1400, 390])
@pytest.mark.parametrize(
    'page',
    ['index', '11_warp', '22_restart', 'explanations/glossary', 'tutorials/tour', 'api/warp'],
)
def test_page_in_a_browser(browser, address, page, width):
    view, wrong = opened(browser, address, page, width)
    assert not wrong
    assert view.evaluate('document.documentElement.scrollWidth <= innerWidth'), (
        'the page is wider than the screen'
    )
    if page == '11_warp':
        assert view.evaluate("document.querySelectorAll('math').length") > 3
    view.close()


@pytest.mark.parametrize(
    'words,page',
    [
        ('warp_map', 'api/warp'),
        ('noisy restart', '22_restart'),
        ('disocclusion', 'explanations/glossary'),
        ('how do I use my own video', 'tutorials/own_video'),
        ('disparty', '10_disparity'),
    ],
)
def test_search_finds(browser, address, words, page):
    view, wrong = opened(browser, address, 'index', 1400)
    view.keyboard.press('/')
    view.fill('#hits input', words)
    view.wait_for_selector(f'#hits a[href*="{page}.html"]', timeout=10_000)
    assert view.evaluate(
        "[...document.querySelectorAll('#hits a')].every(a => getComputedStyle(a).textAlign == 'start')"
    )
    if ' my ' in words:
        assert page in view.get_attribute('#hits a', 'href')  # the first
    assert not wrong
    view.close()


def test_search_by_keys(browser, address):
    view, wrong = opened(browser, address, '11_warp', 1400)
    view.keyboard.press('/')
    view.keyboard.type('qqzzyy')
    view.wait_for_function("document.querySelector('#hits p').innerText == 'Nothing found'")
    view.fill('#hits input', 'disocclusion')
    view.wait_for_selector('#hits a')
    for key in ('ArrowDown', 'ArrowDown', 'ArrowUp', 'Enter'):
        view.keyboard.press(key)
    view.wait_for_url('**/explanations/glossary.html')
    assert not wrong
    view.close()


def test_a_page_keeps_still(browser, address):
    view, _ = opened(browser, address, '10_disparity', 1400)
    view.click('aside a[href="#the-exponent"]')
    view.wait_for_load_state('networkidle')
    assert (
        abs(
            view.evaluate("document.getElementById('the-exponent').getBoundingClientRect().top")
            - 64
        )
        < 3
    )
    fits = "[...document.querySelectorAll('main > div.sourceCode pre')].every(p => p.scrollWidth == p.clientWidth || p.innerText.split('\\n').some(l => l.length > 110))"
    assert view.evaluate(fits), 'code of 110 columns does not fit'
    view.close()


def test_light_and_dark(browser, address):
    view, _ = opened(browser, address, 'index', 1400)
    back = lambda: view.evaluate('getComputedStyle(document.body).backgroundColor')
    before = back()
    view.click('#theme')
    assert back() != before
    after = back()
    view.reload()
    assert back() == after  # kept
    view.close()


def test_menu_on_a_phone(browser, address):
    view, _ = opened(browser, address, '11_warp', 390)
    assert not view.is_visible('#pages')
    view.click('#menu')
    assert view.is_visible('#pages') and view.get_attribute('#menu', 'aria-expanded') == 'true'
    view.close()
