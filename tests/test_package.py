"""The package's front door: light to open, and everything it promises is behind it."""

import ast
import importlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import snn_helpers
from snn_helpers import widgets

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "snntorch", "tonic", "sklearn", "matplotlib", "numba", "scipy", "papermill", "mlxtend", "numpy")


def modules_after(statements):
    """Return the top-level names that a fresh process has loaded after running `statements`."""
    script = f"{statements}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_nothing_heavy():
    assert modules_after("import snn_helpers").isdisjoint(HEAVY)


def test_events_know_nothing_of_torch_or_plotting():
    loaded = modules_after(
        "import snn_helpers.events.recording, snn_helpers.events.store, snn_helpers.events.frames, "
        "snn_helpers.events.folder, snn_helpers.events.simulate"
    )
    assert loaded.isdisjoint({"torch", "snntorch", "matplotlib", "sklearn", "tonic"})


def test_command_line_shows_its_flags_without_torch():
    loaded = modules_after(
        "from snn_helpers.cli import main\ntry:\n    main(['train', '--help'])\nexcept SystemExit:\n    print()"
    )
    assert loaded.isdisjoint({"torch", "snntorch", "matplotlib", "sklearn", "tonic"})


def test_networks_and_training_load_without_torchs_compiler():
    """It takes longer to load than torch itself, and is for those who compile."""
    loaded = modules_after("from snn_helpers import SpikingCNN, accelerate, train")
    assert "torch" in loaded
    assert loaded.isdisjoint({"sympy", "tonic", "sklearn", "matplotlib", "papermill"})


@pytest.mark.parametrize("name", snn_helpers.__all__)
def test_public_names_are_there(name):
    assert getattr(snn_helpers, name).__name__ == name
    assert name in dir(snn_helpers)


@pytest.mark.parametrize("module", ["snn_helpers", "snn_helpers.widgets"])
def test_type_checkers_see_the_names_that_are_loaded_on_first_use(module):
    module = importlib.import_module(module)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.asname: node.module for node in block.body for alias in node.names if alias.asname == alias.name}
    assert seen == {name: f"{module.__name__}.{home}" for name, home in module._HOMES.items()}


def test_what_type_checkers_read_uses_every_public_name():
    tree = ast.parse((ROOT / "tests" / "typed_use.py").read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert {*snn_helpers.__all__, *widgets.__all__} <= used


def test_public_names_are_those_that_callers_rely_on():
    wanted = {"load_dataset", "SpikingCNN", "Leaky", "TrainConfig", "train", "record", "diagnose"}
    assert wanted <= set(snn_helpers.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"no attribute 'SpikingCN'; it has .*SpikingCNN"):
        _ = snn_helpers.SpikingCN


def test_importing_everything_uses_no_network():
    # Any attempt to reach another machine ends the process with an error.
    modules = "data, neurons, plots, activity, activity_report, cli, batch, models.cnn, training.loop, "
    modules += "training.baselines, events.simulate"
    script = (
        "import socket\n"
        "def refuse(*_, **__): raise SystemExit('network used')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "import importlib\n"
        f"for name in '{modules}'.split(', '): importlib.import_module('snn_helpers.' + name)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Return the names of the files in a wheel and in a source archive of this tree, without the archive's folder."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    for name in ("snn_helpers", "notebooks", "tests", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for stray in ("models/weights/cnn.npz.part", "widgets/notes.txt", "engine/__pycache__/generated/step.py"):
        (source / "snn_helpers" / stray).parent.mkdir(parents=True, exist_ok=True)
        (source / "snn_helpers" / stray).touch()
    code = f"from setuptools import build_meta as b; b.build_sdist({str(built)!r}); b.build_wheel({str(built)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel, tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        files = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
        return set(wheel.namelist()), files


def package_files():
    package = ROOT / "snn_helpers"
    found = [
        path for suffix in ("py", "js") for path in package.rglob(f"*.{suffix}") if "__pycache__" not in path.parts
    ]
    found += [*package.glob("models/weights/*.npz"), *package.glob("models/weights/*.json"), package / "py.typed"]
    names = {str(path.relative_to(ROOT)) for path in found}
    return names | {f"snn_helpers/notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}


def test_wheel_holds_modules_scripts_weights_and_the_series_and_nothing_else(archives):
    wheel, _ = archives
    assert {name for name in wheel if ".dist-info/" not in name} == package_files()
    assert {name.partition(".dist-info/")[2] for name in wheel} >= {"METADATA", "entry_points.txt", "licenses/LICENSE"}


def test_source_archive_holds_what_a_wheel_is_built_from(archives):
    _, files = archives
    beside = {
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CITATION.cff",
        "constraints.txt",
        "pyproject.toml",
        "MANIFEST.in",
    }
    written = {"PKG-INFO", "setup.cfg"}
    assert {name for name in files if ".egg-info/" not in name} == package_files() | beside | written
