"Every notebook runs from top to bottom, as its own test."
import pytest
from test_project import names, root

@pytest.mark.parametrize('name', names)
def test_notebook_runs(name, monkeypatch, capsys):
    from nbdev.test import test_nb as run_notebook
    monkeypatch.chdir(root)
    ok, seconds = run_notebook(root/'nbs'/name, skip_flags=['cuda'], basepath=str(root), cell_timeout=900)
    assert ok, capsys.readouterr().out[-4000:]
