"""What no file of the package may do, read from the sources; and how it fares on unfriendly machines."""

import ast
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snn_helpers import _files, cli, tutorial
from snn_helpers._files import as_json, write_json
from snn_helpers.batch.attempts import visible_gpu
from snn_helpers.batch.sweep import Workers

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    *((path, "package") for path in (ROOT / "snn_helpers").rglob("*.py") if "__pycache__" not in path.parts),
    *((path, "beside") for folder in (".ci", "benchmarks") for path in (ROOT / folder).glob("*.py")),
]
LOADS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
NEEDED = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
WRITES = {"write", "write_text", "write_bytes", "write_whole"}


def faults(source, in_package=True):
    """Yield what a source does that none may: load what runs code, unpack anywhere, write JSON that is none."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in LOADS_CODE)
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in NEEDED and given.get(NEEDED[name][0]) != str(NEEDED[name][1]):
            yield f"{name} without {NEEDED[name][0]}={NEEDED[name][1]}"
        if name.rpartition(".")[2] in ("extract", "extractall", "unpack_archive", "read_pickle") and in_package:
            yield f"{name} may write outside its folder, or run code"
        if given.get("shell") == "True" or name in ("os.system", "os.popen"):
            yield f"{name} goes through a shell"
        if "0.0.0.0" in ast.unparse(node) or given.get("dashboard_address", "").strip("'").startswith(":"):
            yield f"{name} listens beyond this machine"
        if in_package and name == "json.dump":
            yield "json.dump: use _files.write_json"
        if in_package and name.rpartition(".")[2] in WRITES:
            for inner in (part for part in ast.walk(node) if isinstance(part, ast.Call)):
                if ast.unparse(inner.func) == "json.dumps" and "allow_nan=False" not in ast.unparse(inner):
                    yield "writes json.dumps, which may hold a bare NaN: use _files.write_json"


@pytest.mark.parametrize(("path", "where"), SOURCES, ids=[str(path.relative_to(ROOT)) for path, _ in SOURCES])
def test_source_does_nothing_that_none_may(path, where):
    assert list(faults(path.read_text(encoding="utf-8"), where == "package")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "archive.extractall(folder)",
        "subprocess.run(command, shell=True)",
        "serve('0.0.0.0')",
        "Cluster(dashboard_address=':0')",
        "json.dump(row, file)",
        "path.write_text(json.dumps(row), encoding='utf-8')",
    ],
)
def test_planted_fault_is_caught(source):
    assert list(faults(source))


def test_json_holds_null_where_a_number_is_not_finite(tmp_path):
    value = {"a": float("nan"), "b": [1.5, float("-inf"), (float("inf"), "µ")], "c": {"d": 2, "e": True}}
    write_json(tmp_path / "a.json", value)

    def refuse(word):
        raise AssertionError(word)

    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=refuse)
    assert found == {"a": None, "b": [1.5, None, [None, "µ"]], "c": {"d": 2, "e": True}}
    assert json.loads(as_json(value)) == found


def test_full_disk_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_files.Path, "write_text", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.json'"):
        write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_folder_that_may_not_be_written_is_refused_by_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["tutorial", "--out", str(tmp_path / "file" / "course")]) == 1
    assert "`--out`: cannot write to " in capsys.readouterr().err


def test_copies_go_to_a_path_with_spaces_and_letters_of_any_alphabet(tmp_path):
    copied = tutorial.copy_notebooks(tmp_path / "mein Kurs, Öğrenci" / "ışık 光")
    assert copied.written
    assert all(path.is_file() for path in copied.notebooks)


@pytest.mark.parametrize(
    "settings",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "tr_TR.ISO-8859-9"}],
    ids=["C", "C without UTF-8", "Turkish"],
)
def test_commands_speak_under_any_locale_and_without_a_home(settings, tmp_path):
    environment = {name: os.environ[name] for name in ("PATH", "NUMBA_CACHE_DIR") if name in os.environ}
    environment |= settings | {"HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "snn_helpers", "tutorial", "--out", "ışık µ"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Next, type: snn-helpers tutorial --out" in done.stdout or b"pip install" in done.stdout
    assert (tmp_path / os.fsdecode("ışık µ".encode()) / "00_start_here.ipynb").is_file()


def test_terminal_without_a_letter_shows_another_sign(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", screen)
    assert cli.main(["tutorial", "--out", "/dev/null/µ"]) == 1
    screen.flush()
    assert b"cannot write to /dev/null/?" in screen.buffer.getvalue()


@pytest.mark.parametrize(
    ("inherited", "number", "name"), [(None, 1, "1"), ("", 1, "1"), ("2, 5", 1, "5"), ("GPU-ab,GPU-cd", 0, "GPU-ab")]
)
def test_gpus_are_shared_out_among_those_that_this_process_may_use(monkeypatch, inherited, number, name):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if inherited is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    assert visible_gpu(number) == name


def test_more_gpus_than_this_process_may_use_are_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert Workers(gpus=1).gpus == 1
    with pytest.raises(ValueError, match="names 1 GPUs; ask for no more"):
        Workers(gpus=2)
