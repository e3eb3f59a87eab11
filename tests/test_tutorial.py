"""`snn-helpers tutorial`: the series in a folder of the reader's own, never over what they changed."""

import sys
from pathlib import Path

import nbformat
import pytest

from snn_helpers import _paths, batch, cli_batch, tutorial
from snn_helpers.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def templates(tmp_path, monkeypatch):
    """Return a folder of two small notebooks in the place of those that come with the package."""
    folder = tmp_path / "package"
    folder.mkdir()
    for name in ("00_first.ipynb", "01_second.ipynb"):
        cells = [
            nbformat.v4.new_code_cell("seed = 0  # help", metadata={"tags": ["parameters"]}, id="a"),
            nbformat.v4.new_code_cell("from pathlib import Path\nprint(Path.cwd())", id="b"),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / name)
    monkeypatch.setattr(tutorial, "TEMPLATES", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.ipynb")}


def test_the_series_comes_with_the_package():
    assert tutorial.TEMPLATES.samefile(ROOT / "notebooks")


def test_all_notebooks_are_copied_and_the_next_command_is_said(templates, capsys):
    assert main(["tutorial"]) == 0
    assert contents(Path("snn-tutorial")) == contents(templates)
    said = capsys.readouterr()
    assert said.out == "2 notebooks are in snn-tutorial: 2 copied now.\nNext, type: snn-helpers tutorial --lab\n"
    assert said.err == ""


def test_next_command_names_the_folder_and_what_is_not_installed(templates, capsys, monkeypatch):
    monkeypatch.setattr(cli_batch, "_is_installed", lambda name: name != "jupyterlab")
    assert main(["tutorial", "--out", "my course"]) == 0
    following = "Next, type: pip install 'snn_helpers[lab]' && snn-helpers tutorial --out 'my course' --lab\n"
    assert capsys.readouterr().out.endswith(following)
    assert main(["tutorial", "--lab"]) == 1
    assert capsys.readouterr().err == "snn-helpers: jupyterlab is missing. Type: pip install 'snn_helpers[lab]'\n"


def test_what_the_reader_changed_is_kept_and_named_and_the_rest_is_brought_up_to_date(templates, capsys):
    main(["tutorial", "--out", "mine"])
    mine = Path("mine") / "00_first.ipynb"
    mine.write_text(mine.read_text() + "\n")
    changed = mine.read_bytes()
    for path in templates.glob("*.ipynb"):  # a newer release of both
        path.write_text(path.read_text().replace("# help", "# better help"))
    (templates / "02_third.ipynb").write_bytes(changed)
    capsys.readouterr()
    assert main(["tutorial", "--out", "mine"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("3 notebooks are in mine: 2 copied now.\n")
    assert "kept as you changed them: 00_first.ipynb. For an original, rename yours and type" in said.err
    assert contents(Path("mine")) == contents(templates) | {"00_first.ipynb": changed}


@pytest.mark.parametrize("record", ["", "[1]", "{}", None])
def test_without_a_record_every_other_file_of_the_name_counts_as_the_readers(templates, record):
    folder = Path("mine")
    tutorial.copy_notebooks(folder)
    (folder / "01_second.ipynb").write_text("mine")
    if record is None:
        (folder / tutorial.RECORD).unlink()
    else:
        (folder / tutorial.RECORD).write_text(record)
    copied = tutorial.copy_notebooks(folder)
    assert (copied.written, copied.changed) == ((), ("01_second.ipynb",))
    assert (folder / "01_second.ipynb").read_text() == "mine"


def test_folder_that_holds_the_originals_is_refused(templates, capsys):
    before = contents(templates)
    assert main(["tutorial", "--out", str(templates)]) == 1
    assert "holds the original notebooks. Choose another folder." in capsys.readouterr().err
    assert contents(templates) == before
    assert not (templates / tutorial.RECORD).exists()


def test_folder_in_the_place_of_a_notebook_is_told(templates, capsys):
    (Path("mine") / "01_second.ipynb").mkdir(parents=True)
    assert main(["tutorial", "--out", "mine"]) == 1
    told = "`--out`: mine/01_second.ipynb is no file, where a notebook belongs. Choose another folder."
    assert capsys.readouterr().err == f"snn-helpers: {told}\n"


def test_package_without_notebooks_says_so(templates, capsys):
    for path in templates.glob("*.ipynb"):
        path.unlink()
    assert main(["tutorial"]) == 1
    assert "holds no notebooks: install the package again" in capsys.readouterr().err


def test_flags_of_a_run_need_a_run(templates, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["tutorial", "--profile", "smoke"])
    assert "add --run" in capsys.readouterr().err
    assert not Path("snn-tutorial").exists()


def test_lab_is_rooted_in_the_folder_and_opens_the_first_notebook(templates, monkeypatch):
    started = []
    monkeypatch.setattr(cli_batch, "_is_installed", lambda name: True)
    monkeypatch.setattr(cli_batch.os, "execv", lambda program, command: started.append(command))
    main(["tutorial", "--lab"])
    folder = Path("snn-tutorial").absolute()
    options = ["-m", "jupyterlab", f"--ServerApp.root_dir={folder}", str(folder / "00_first.ipynb")]
    assert started == [[sys.executable, *options]]


def test_run_takes_the_readers_copies(templates, capsys, monkeypatch):
    ran = []
    monkeypatch.setattr(
        batch, "run_series", lambda notebooks, out, values, *_: ran.append((notebooks, out, values)) or 1
    )
    main(["tutorial", "--out", "mine"])
    mine = Path("mine") / "00_first.ipynb"
    mine.write_text(mine.read_text() + "\n")
    assert main(["tutorial", "--out", "mine", "--run", "--profile", "smoke", "-p", "seed", "3"]) == 1
    values = {"seed": "3", "profile": "smoke"}
    assert ran == [((mine, Path("mine/01_second.ipynb")), Path("mine/executed"), values)]
    assert "The notebooks as they ran are in mine/executed." in capsys.readouterr().out


@pytest.mark.parametrize("checkout", [True, False])
def test_results_lie_in_the_folder_unless_a_checkout_keeps_them(tmp_path, monkeypatch, checkout):
    for name in ("RESULTS", "RUNS", "LOGS"):
        monkeypatch.setenv(f"SNN_{name}_DIR", "")
        monkeypatch.delenv(f"SNN_{name}_DIR")
    monkeypatch.setenv("SNN_LOGS_DIR", str(tmp_path / "own"))
    monkeypatch.setattr(_paths, "_checkout", lambda: tmp_path / "clone" if checkout else None)
    monkeypatch.chdir(tmp_path)
    _paths.keep_results_in(Path("mine"))
    place = tmp_path / ("clone" if checkout else "mine")
    homes = (_paths.results_home(), _paths.runs_home(), _paths.logs_home())
    assert homes == (place / "results", place / "checkpoints", tmp_path / "own")
