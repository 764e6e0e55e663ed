"The site is built, whole, light, and works without the rest of the internet."

import functools
import http.server
import re
import shutil
import threading

import pytest
from helpers.project import cfg, module_files, modules, notebooks, source
from helpers.project import site as published

pytest.importorskip('pypandoc')
import check
import make_site
import pages
import reference
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "The site in a folder, and what is broken in it."
    out = tmp_path_factory.mktemp('docs') / 'site'
    return out, make_site.build(out)


@pytest.fixture(scope='module')
def site(built):
    out, broken = built
    assert not broken
    return out


# which pages there are
def test_nothing_leads_nowhere(built):
    "Links, anchors, pictures, ids, and nothing from other machines."
    assert built[1] == []


def test_the_sidebar_lists_each_notebook_once():
    listed = make_site.flat(make_site.contents()[:-1])
    assert sorted(listed) == sorted(pages.address(p) for p in notebooks)


def test_the_reference_has_each_module_once():
    assert sorted(reference.modules()) == sorted(modules)
    assert make_site.flat(reference.contents()) == [f'api/{m}' for m in reference.modules()]


def test_lessons_and_parts_have_sections_of_their_own():
    sections = dict(make_site.contents())
    assert all(p.startswith('lessons/') for p in make_site.flat(sections['Lessons']))
    assert all(p.startswith('parts/') for p in make_site.flat(sections['Parts']))
    numbers = [p.stem for p in notebooks if p.parent.name == 'lessons']
    assert [f'lessons/{stem[3:]}' for stem in numbers] == make_site.flat(sections['Lessons'])


def test_parts_stand_under_their_layers():
    by_address = {pages.address(p): p for p in notebooks}
    for section, parts in dict(make_site.contents())['Parts']:
        for part in parts:
            layer = re.search(r'default_exp (\w+)', source(by_address[part], 'code'))[1]
            assert layer in section.split(', '), part


def test_each_page_is_there_as_html_and_as_markdown(site):
    llms = (site / 'llms.txt').read_text()
    for page in make_site.flat(make_site.contents()):
        assert (site / f'{page}.html').exists()
        assert (site / f'{page}.html.md').exists()
        assert f'({page}.html.md)' in llms


@pytest.mark.parametrize('file', module_files, ids=modules)
def test_a_module_names_its_page(site, file):
    "nbdev writes an address of this site into each module."
    link = re.search(r'^Docs: (\S+)"""', file.read_text(), re.M)[1]
    assert link.startswith(published)
    assert (site / link.removeprefix(published)).exists()


# what they say
def test_titles_of_lessons_have_numbers(site):
    page = (site / 'lessons/warp.html').read_text()
    assert '<h1>02 ' in page
    assert 'aria-current="page" href="warp.html">02 ' in page
    assert 'rel="prev" href="disparity.html">01 ' in page
    assert 'rel="next" href="fill.html">03 ' in page


@pytest.mark.parametrize(
    'page,kind', [('lessons/warp', 'Lesson'), ('parts/flow', 'Part'), ('api/core', 'Reference')]
)
def test_a_page_says_what_it_is(site, page, kind):
    assert f'<p class="kind {kind}"' in (site / f'{page}.html').read_text()


def test_lesson_and_reference_lead_to_one_another(site):
    lesson = (site / 'lessons/warp.html').read_text()
    assert 'Reference: <a href="../api/geometry.warp.html">scz_nb.geometry.warp</a>' in lesson
    module = (site / 'api/geometry.warp.html').read_text()
    assert 'Developed in <a href="../lessons/warp.html">02 ' in module


def test_names_lead_to_the_reference(site):
    page = (site / 'lessons/warp.html').read_text()
    assert re.search(r'<a class="name" href="\.\./api/[\w.]+\.html#warp_map"><code>', page)


def test_links_to_files_lead_to_github():
    start = f'https://github.com/{cfg["user"]}/{cfg["repo"]}/blob/{cfg["branch"]}'
    assert make_site.target('../../LICENSE', 'lessons') == f'{start}/LICENSE'
    assert make_site.target('../tables/speed.md', 'parts') == f'{start}/nbs/tables/speed.md'


def test_links_to_notebooks_lead_to_pages():
    assert make_site.target('02_warp.ipynb#holes', 'lessons') == 'warp.html#holes'
    assert make_site.target('../parts/flow.ipynb', 'lessons') == '../parts/flow.html'


def test_other_links_stay():
    for link in ('#holes', 'https://arxiv.org/abs/2411.14295', 'images/gallery/ball.webp'):
        assert make_site.target(link, '') == link


def test_a_broken_site_is_told(site, tmp_path):
    shutil.copytree(site, tmp_path / 's')
    page = tmp_path / 's/index.html'
    wrong = {
        '<a href="gone.html">x</a>': 'gone.html leads nowhere',
        '<a href="lessons/warp.html#nowhere">y</a>': '#nowhere has no such place',
        '<p id="a"></p><p id="a"></p>': "'a' is there twice",
        '<img src="https://example.com/x.png" alt="x">': 'is loaded from another machine',
        '<img src="x.png" alt="Eyes: ax.set(xlim=(0, 1))">': 'code for one',
        '<img src="y.png" alt="y">': 'y.png has no width and height',
    }
    page.write_text(page.read_text().replace('</main>', ''.join(wrong) + '</main>'))
    found = '\n'.join(check.broken(tmp_path / 's'))
    assert [what for what in wrong.values() if what not in found] == []


# pictures
def test_a_picture_has_words():
    heading = 'The `warp` of [10](10.ipynb)'
    words = pages.describe(heading, 2, '<Figure size 350x140 with 1 Axes>')
    assert words == 'The warp of 10, figure 2'
    words = pages.describe('Two eyes', 1, 'left and right, frame 3')
    assert words == 'Two eyes: left and right, frame 3'


def test_a_picture_has_a_size(tmp_path):
    Image.new('RGB', (40, 20)).save(tmp_path / 'x.png')
    html = make_site.sized('<p><img src="x.png" alt="a"></p>', tmp_path)
    assert html == '<p><img width="40" height="20" src="x.png" alt="a"></p>'


def test_a_height_that_is_given_stays(tmp_path):
    Image.new('RGB', (40, 20)).save(tmp_path / 'x.png')
    html = make_site.sized('<img height="10" src="x.png" />', tmp_path)
    assert html == '<img width="20" height="10" src="x.png" />'


def weight(site, file):
    "Bytes of a page with its pictures and style."
    found = check.Found(file.read_text())
    files = {(file.parent / src).resolve() for src in found.media if not src.startswith('data:')}
    files |= {file, site / 'site.css'}
    return sum(f.stat().st_size for f in files if f.exists())


def test_the_first_page_is_light(site):
    assert weight(site, site / 'index.html') < 3e6


def test_pages_are_light(site):
    files = [p for p in site.rglob('*.html') if 'pagefind' not in p.parts]
    assert not [p.name for p in files if p.name != 'index.html' and weight(site, p) > 1e6]


# in a browser
@pytest.fixture(scope='module')
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


@pytest.fixture
def opened(browser, address):
    "A function that opens a page; no page may have errors, or failed or foreign requests."
    views, wrong = [], []

    def is_foreign(request):
        return not request.url.startswith((address, 'data:', 'blob:'))

    def opened(page, width=1400):
        view = browser.new_page(viewport=dict(width=width, height=900))
        views.append(view)
        view.on('console', lambda m: m.type == 'error' and wrong.append(m.text))
        view.on('pageerror', lambda e: wrong.append(str(e)))
        view.on('requestfailed', lambda r: wrong.append(r.url))
        view.on('request', lambda r: is_foreign(r) and wrong.append(f'foreign: {r.url}'))
        view.goto(f'{address}/{page}.html', wait_until='networkidle')
        return view

    yield opened
    for view in views:
        view.close()
    assert not wrong


PAGES = (
    'index',
    'lessons/warp',
    'lessons/restart',
    'parts/flow',
    'explanations/glossary',
    'tutorials/tour',
    'api/geometry.warp',
)


@pytest.mark.parametrize('width', [1400, 390])
@pytest.mark.parametrize('page', PAGES)
def test_page_in_a_browser(opened, page, width):
    view = opened(page, width)
    assert view.evaluate('document.documentElement.scrollWidth <= innerWidth')


def test_equations_are_there(opened):
    assert opened('lessons/warp').evaluate("document.querySelectorAll('math').length") > 3


SEARCHES = [
    ('warp_map', 'api/geometry.warp'),
    ('noisy restart', 'lessons/restart'),
    ('disocclusion', 'explanations/glossary'),
    ('how do I use my own video', 'tutorials/own_video'),
    ('disparty', 'lessons/disparity'),
]


@pytest.mark.parametrize('words,page', SEARCHES)
def test_search_finds(opened, words, page):
    view = opened('index')
    view.keyboard.press('/')
    view.fill('#hits input', words)
    view.wait_for_selector(f'#hits a[href*="{page}.html"]', timeout=10_000)
    aligned = "[...document.querySelectorAll('#hits a')].map(a => getComputedStyle(a).textAlign)"
    assert set(view.evaluate(aligned)) == {'start'}
    if ' my ' in words:
        assert page in view.get_attribute('#hits a', 'href')  # the first


def test_search_says_that_nothing_is_found(opened):
    view = opened('lessons/warp')
    view.keyboard.press('/')
    view.keyboard.type('qqzzyy')
    view.wait_for_function("document.querySelector('#hits p').innerText == 'Nothing found'")


def test_search_by_keys(opened):
    view = opened('lessons/warp')
    view.keyboard.press('/')
    view.fill('#hits input', 'disocclusion')
    view.wait_for_selector('#hits a')
    for key in ('ArrowDown', 'ArrowDown', 'ArrowUp', 'Enter'):
        view.keyboard.press(key)
    view.wait_for_url('**/explanations/glossary.html')


def test_a_page_keeps_still(opened):
    "A link goes where it leads to also while pictures arrive."
    view = opened('lessons/disparity')
    view.click('aside a[href="#the-exponent"]')
    view.wait_for_load_state('networkidle')
    top = "document.getElementById('the-exponent').getBoundingClientRect().top"
    assert abs(view.evaluate(top) - 64) < 3


def test_code_of_100_columns_fits(opened):
    view = opened('lessons/disparity')
    fits = 'blocks => blocks.every(p => p.scrollWidth == p.clientWidth)'
    assert view.eval_on_selector_all('main > div.sourceCode pre', fits)


def test_light_and_dark(opened):
    view = opened('index')
    back = 'getComputedStyle(document.body).backgroundColor'
    before = view.evaluate(back)
    view.click('#theme')
    after = view.evaluate(back)
    assert after != before
    view.reload()
    assert view.evaluate(back) == after  # kept


def test_menu_on_a_phone(opened):
    view = opened('lessons/warp', 390)
    assert not view.is_visible('#pages')
    view.click('#menu')
    assert view.is_visible('#pages')
    assert view.get_attribute('#menu', 'aria-expanded') == 'true'
