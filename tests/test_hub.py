"The list of models, where their files lie, and downloads that go wrong."

import errno

import pytest

from scz_nb.apps.cli import main
from scz_nb.core import InputError, MissingDependency, OutputError
from scz_nb.models.backbones import backbone_names
from scz_nb.models.hub import (
    fetch,
    file_size,
    find_model,
    from_hub,
    hub,
    models_of,
    storage,
    stored,
)


# the list
@pytest.mark.parametrize('name', hub)
def test_every_model_has_a_task_a_licence_and_its_parts(name):
    m = hub[name]
    assert m.task and m.licence
    assert m.kind in ('video', 'depth', 'measure', 'part')
    assert all(part in hub for part in m.parts)


@pytest.mark.parametrize('name', [n for n, m in hub.items() if m.kind != 'depth' and m.repo])
def test_a_model_is_pinned_to_a_commit(name):
    assert len(hub[name].revision) == 40


def test_a_listed_repository_has_its_pinned_commit():
    for name in ('clip-vit-b32', 'openai/clip-vit-base-patch32'):
        assert find_model(name) is hub['clip-vit-b32']


def test_another_repository_is_its_newest_upload():
    assert find_model('somebody/new-model').repo == 'somebody/new-model'
    assert find_model('somebody/new-model').revision == 'main'


# where files lie
@pytest.fixture
def here(hub_cache):
    "A model's file, as a download leaves it."
    m = hub['dynamicrafter-interp']
    file = storage('dynamicrafter-interp') / 'snapshots' / m.revision / m.files[0]
    file.parent.mkdir(parents=True)
    file.write_bytes(b'x')
    return file


def test_what_is_not_here(hub_cache):
    assert stored('dynamicrafter-interp') is None


def test_what_is_stored_is_found(here, hub_cache):
    assert stored('dynamicrafter-interp') == here
    assert here.is_relative_to(hub_cache)


def test_what_is_stored_is_not_downloaded(here):
    assert fetch('dynamicrafter-interp') == here


def test_what_is_shipped_is_found():
    assert stored('tiny').is_file()
    assert file_size('tiny') > 10**6
    assert stored('small') == fetch('small')


def test_a_branch_leads_to_its_commit(hub_cache):
    folder = storage('video-depth-anything')
    file = folder / 'snapshots/abc/video_depth_anything_vits.pth'
    (folder / 'refs').mkdir(parents=True)
    (folder / 'refs/main').write_text('abc')
    assert stored('video-depth-anything') is None
    file.parent.mkdir(parents=True)
    file.write_bytes(b'x')
    assert stored('video-depth-anything') == file


def test_a_model_of_several_files_is_here_when_all_are(hub_cache):
    folder = storage('depthcrafter') / 'snapshots' / hub['depthcrafter'].revision
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text('{}')
    assert stored('depthcrafter') is None
    (folder / 'diffusion_pytorch_model.safetensors').write_bytes(b'x')
    assert stored('depthcrafter') == folder


# the command line
def test_models_lists_the_video_models(here, capsys):
    assert main(['models']) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in models_of('video'))
    assert '10.4 GB' in out


def test_fetch_prints_the_path(here, capsys):
    assert main(['fetch', 'dynamicrafter-interp']) == 0
    assert capsys.readouterr().out.strip() == str(here)


@pytest.fixture
def lost(tmp_path, monkeypatch):
    "A package that has lost its weights."

    def shipped_weights(name):
        return tmp_path / name

    monkeypatch.setattr('scz_nb.models.hub.shipped_weights', shipped_weights)


def test_lost_weights_are_no_backbone(lost):
    assert stored('small') is None
    assert file_size('small') == 0
    assert 'small' not in backbone_names()


def test_lost_weights_are_listed_as_such(lost, capsys):
    assert main(['models']) == 0
    assert capsys.readouterr().out.count('no weights') == 2


@pytest.mark.parametrize('name', ['dynamicrafter-2', 'small'])
def test_what_cannot_be_fetched_is_one_line(name, lost, capsys):
    assert main(['fetch', name]) == 2
    assert capsys.readouterr().err.count('\n') == 1


# downloads
def room(monkeypatch, free):
    "A disk with that many bytes free."
    usage = type('Usage', (), dict(free=free))
    monkeypatch.setattr('shutil.disk_usage', lambda path: usage)


def hub_raises(monkeypatch, error):
    def download(*args, **kw):
        raise error

    monkeypatch.setattr('huggingface_hub.hf_hub_download', download)


def bare(name):
    "An error of huggingface_hub, without what its constructor wants."
    from huggingface_hub import errors

    cls = getattr(errors, name)
    return cls.__new__(cls)


problems = {
    'gated': (lambda: bare('GatedRepoError'), MissingDependency, 'gated.*hf auth login'),
    'gone': (lambda: bare('RepositoryNotFoundError'), MissingDependency, 'no longer'),
    'offline': (
        lambda: bare('LocalEntryNotFoundError'),
        MissingDependency,
        'check the connection.*dynamicrafter-512=PATH',
    ),
    'no route': (lambda: ConnectionError('no route'), MissingDependency, 'no route'),
    'full disk': (
        lambda: OSError(errno.ENOSPC, 'No space left on device'),
        OutputError,
        'disk is full.*goes on',
    ),
}


@pytest.mark.parametrize('problem', problems)
def test_what_goes_wrong_with_a_download(problem, hub_cache, monkeypatch):
    error, kind, message = problems[problem]
    room(monkeypatch, 10**12)
    hub_raises(monkeypatch, error())
    with pytest.raises(kind, match=message) as e:
        fetch('dynamicrafter-512')
    assert '\n' not in str(e.value)


def test_no_room_is_noticed_before_the_download(hub_cache, monkeypatch):
    hub_raises(monkeypatch, AssertionError('it was downloaded'))
    room(monkeypatch, 5 * 10**9)
    with pytest.raises(OutputError, match='needs 10.4 GB.*5.0 GB are free'):
        fetch('dynamicrafter-512')


def test_what_is_here_of_a_file_needs_no_room(hub_cache, monkeypatch):
    part = storage('dynamicrafter-512') / 'blobs/abc.incomplete'
    part.parent.mkdir(parents=True)
    with part.open('wb') as f:
        f.truncate(6 * 10**9)  # a hole: no room is taken
    hub_raises(monkeypatch, ConnectionError('no route'))
    room(monkeypatch, 5 * 10**9)
    with pytest.raises(MissingDependency, match='no route'):
        fetch('dynamicrafter-512')


@pytest.mark.parametrize('name', ['dynamicrafter-1024', 'depthcrafter', 'clip-vit-h'])
def test_offline_is_one_sentence(name, hub_cache, monkeypatch):
    room(monkeypatch, 10**12)
    with pytest.raises(MissingDependency, match='cannot be loaded from') as e:
        fetch(name)
    assert '\n' not in str(e.value)


# networks that transformers loads
def test_a_network_that_is_nowhere():
    with pytest.raises(MissingDependency, match='CLIPModel.*check the connection'):
        from_hub('CLIPModel', 'nobody/nothing')


def test_a_folder_without_a_network(tmp_path):
    with pytest.raises(InputError, match='write the folder again'):
        from_hub('CLIPModel', tmp_path)


def test_a_tokenizer_without_words_is_none():
    "transformers 5 makes an empty one where there are no files."
    with pytest.raises(MissingDependency, match='no files of a tokenizer'):
        from_hub('CLIPTokenizer', 'nobody/nothing')
