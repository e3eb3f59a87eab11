import nbformat
import pytest

from snn_helpers import batch


def write_notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


FINDS = (
    "import json, os, pathlib\n"
    "folder = pathlib.Path(os.environ['SNN_RESULTS_DIR']); folder.mkdir(exist_ok=True)\n"
    "(folder / 'good.json').write_text(json.dumps({'findings': {'speed': speed * 2}}))"
)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_RESULTS_DIR", str(tmp_path / "results"))
    return tmp_path / "results"


def test_series_runs_on_after_a_failure_and_tells_what_was_found(tmp_path, results, capsys):
    bad = write_notebook(tmp_path / "bad.ipynb", "speed = 1  # help", "raise ValueError('no such recording')")
    good = write_notebook(tmp_path / "good.ipynb", "speed = 1  # help", FINDS)
    code = batch.run_series([bad, good], tmp_path / "out", {"speed": "21"})
    printed = capsys.readouterr().out
    assert code == 1
    assert "FAILED: ValueError: no such recording" in printed
    assert "speed: 42" in printed
    assert (tmp_path / "out" / "good.ipynb").is_file()


def test_old_findings_are_not_told_again(tmp_path, results, capsys):
    good = write_notebook(tmp_path / "good.ipynb", "speed = 1  # help", "speed")
    results.mkdir()
    old = results / "good.json"
    old.write_text('{"findings": {"speed": "stale"}}')
    import os

    os.utime(old, (1, 1))
    assert batch.run_series([good], tmp_path / "out", {}) == 0
    printed = capsys.readouterr().out
    assert "stale" not in printed
    assert "(wrote no findings)" in printed


def test_unknown_parameter_is_refused_with_the_near_name(tmp_path):
    path = write_notebook(tmp_path / "good.ipynb", "speed = 1  # help", "speed")
    with pytest.raises(ValueError, match="Did you mean 'speed'"):
        batch.run_series([path], tmp_path / "out", {"sped": 2})
    assert not (tmp_path / "out").exists()


def test_missing_notebook_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.ipynb: there is no such notebook"):
        batch.run_series([tmp_path / "none.ipynb"], tmp_path / "out", {})


def test_notebooks_are_never_overwritten(tmp_path):
    path = write_notebook(tmp_path / "good.ipynb", "speed = 1  # help", "speed")
    with pytest.raises(ValueError, match="choose another folder"):
        batch.run_series([path], tmp_path, {})
