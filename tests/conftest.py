"One thread, no hub: every test runs offline, on two cores, from any folder."

import os
import sys

os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
# notebooks run in a thread of their own; two OpenMP teams wait for one another
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ['PATH'] = os.path.dirname(sys.executable) + os.pathsep + os.environ['PATH']

import pytest  # noqa: E402  after the environment is set, like everything that reads it


def pytest_collection_modifyitems(items):
    "Long tests first: the processes end together."
    items.sort(key=lambda item: item.get_closest_marker('slow') is None)


def pytest_xdist_make_scheduler(config, log):
    """A file's tests go to one process, which makes their fixtures once.

    Each notebook goes where there is time."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return nodeid if 'test_notebooks' in nodeid else nodeid.split('::')[0]

    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter):
    "Which notebook cells gave something else than what is committed (tests/test_notebooks.py)."
    changed = []
    for report in terminalreporter.getreports('passed'):
        if report.when == 'call':
            changed += dict(report.user_properties).get('changed', [])
    if changed:
        terminalreporter.section(f'{len(changed)} text outputs are not what is committed')
    for cell, was, now in changed:
        terminalreporter.line(f'{cell}\n  committed: {was!r}\n  now:       {now!r}')


@pytest.fixture(scope='module')
def backbone():
    "The embedded model as it is shipped, loaded once for each test file."
    from scz_nb.models.backbones import load_backbone

    return load_backbone('tiny', 'cpu')


@pytest.fixture(scope='module')
def recorded(backbone):
    "A recording of a short run with all stages of the paper, and the video that it made."
    from scz_nb.apps.recording import Recording
    from scz_nb.sampler import run
    from scz_nb.world.render import scene_picture

    quick = dict(right='paper', restart_iterations=3, refine=((20, 4), (40, 2)))
    recording = Recording()
    more = dict(backbone=backbone, steps=4, config=quick, on_step=recording, progress=False)
    return recording, run(*scene_picture(33), **more)


@pytest.fixture(scope='module')
def browser():
    "Headless Chromium, where there is one."
    from helpers.app import chromium

    if not chromium:
        pytest.skip('no Chromium on this machine')
    sync = pytest.importorskip('playwright.sync_api')
    with sync.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=['--no-sandbox', '--disable-gpu'])
        yield b
        b.close()


@pytest.fixture(scope='module')
def hub(tmp_path_factory):
    "Folders as they come from the hub: CLIP and DINOv2 at a small size, random weights."
    transformers = pytest.importorskip('transformers')
    import torch

    torch.manual_seed(0)
    where = tmp_path_factory.mktemp('hub')
    size = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    text = dict(size, vocab_size=54, max_position_embeddings=9, bos_token_id=0, eos_token_id=1)
    vision = dict(size, image_size=32, patch_size=8)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(where / 'clip')
    letters = [chr(97 + i) for i in range(26)]
    words = ['<|startoftext|>', '<|endoftext|>', *letters, *(letter + '</w>' for letter in letters)]
    vocab = {word: i for i, word in enumerate(words)}
    transformers.CLIPTokenizer(vocab=vocab, merges=[]).save_pretrained(where / 'clip')
    dino = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28
    )
    transformers.Dinov2Model(dino).save_pretrained(where / 'dino')
    return where


@pytest.fixture(scope='module')
def pipes():
    "Small pipelines with random weights by model, each made when it is first needed."
    from helpers.pipelines import Pipelines

    return Pipelines()


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    "An empty folder in the place of the hub's cache."
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    return tmp_path / 'hub'
