"""The widgets' pure functions, run by node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "snn_helpers" / "widgets"


def in_node(script):
    """Run a module that imports from the widgets' scripts and prints JSON; return what it printed."""
    if not shutil.which("node"):
        pytest.skip("node is missing; the same functions are tested in Chromium in tests/browser")
    command = ["node", "--input-type=module", "-e", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPTS, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
