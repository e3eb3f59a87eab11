"""The series runs headlessly, and a notebook's training is the command line's."""

import csv
import json
from pathlib import Path

import nbformat
import papermill
import pytest

from snn_helpers.cli import main

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Set variables under which a run keeps its results in tmp_path; built data are shared, as for a user."""
    monkeypatch.setenv("SNN_RESULTS_DIR", str(tmp_path / "results"))
    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("SNN_PROFILE", "smoke")
    monkeypatch.chdir(ROOT)


def test_notebooks_run_in_the_smoke_profile_and_end_with_a_table(tmp_path, environment, capsys):
    notebooks = NOTEBOOKS[1:2]  # nbval runs all of them, in the same profile; see the Makefile
    code = main(["run", *map(str, notebooks), "--out", str(tmp_path / "out"), "--profile", "smoke"])
    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    for path in notebooks:
        found = json.loads((tmp_path / "results" / f"{path.stem}.json").read_text(encoding="utf-8"))
        assert found["findings"]
        for name, text in found["findings"].items():
            assert f"{name}: {text}" in said.out
        executed = nbformat.read(tmp_path / "out" / path.name, as_version=4)
        assert "widget" not in json.dumps(executed.metadata)


def test_training_in_the_notebook_equals_the_command_line(tmp_path, environment):
    settings = {"epochs": 1, "num_samples": 64, "time_steps": 2}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    cut = nbformat.read(ROOT / "notebooks/06_training.ipynb", as_version=4)
    code = [cell for cell in cut.cells if cell.cell_type == "code"]
    cut.cells = [*code[:3], *(cell for cell in code if "TrainingMonitor(" in cell.source)]  # its training alone
    nbformat.write(cut, tmp_path / "cut.ipynb")
    parameters = settings | {"save_dir": str(tmp_path / "by_notebook")}
    cut, out = tmp_path / "cut.ipynb", tmp_path / "out.ipynb"
    papermill.execute_notebook(cut, out, parameters, progress_bar=False, cwd=str(ROOT))
    assert main(["train", *flags, f"--save_dir={tmp_path / 'by_command'}"]) == 0

    folders = tmp_path / "by_notebook", tmp_path / "by_command"
    rows = [list(csv.DictReader((folder / "history.csv").read_text().splitlines())) for folder in folders]
    assert len(rows[0]) == 1
    assert rows[0] == rows[1]
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert results[0]["test_accuracy"] == results[1]["test_accuracy"]


def test_wrong_parameter_is_refused_before_anything_runs(tmp_path, environment, capsys):
    assert main(["run", str(NOTEBOOKS[0]), "--out", str(tmp_path / "out"), "-p", "profil", "smoke"]) == 1
    assert "'profile'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_value_stops_the_notebook_in_its_second_cell(tmp_path, environment):
    path, out = ROOT / "notebooks/06_training.ipynb", tmp_path / "out.ipynb"
    with pytest.raises(papermill.PapermillExecutionError, match=r"`beta` must be a number in \[0, 1\]; got 1\.5\."):
        papermill.execute_notebook(path, out, {"beta": 1.5}, progress_bar=False, cwd=str(ROOT))
    executed = [cell for cell in nbformat.read(out, as_version=4).cells if cell.get("execution_count")]
    assert len(executed) <= 3
