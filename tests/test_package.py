"""The package's front door: light to open, and everything it promises is behind it."""

import subprocess
import sys

import pytest

import snn_helpers

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
