"""Show that a killed and resumed run is the uninterrupted one, on this machine and with these settings."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from snn_helpers.training.checkpoint import BEST, LAST, RESULT, load_checkpoint

COMPARED = ("model", "optimizer", "scheduler", "history", "rng")
_PATIENCE = 600  # seconds to a first checkpoint


def verify_resume(flags: Sequence[str], kills: int = 3) -> list[str]:
    """Train twice with the same flags, once through, once killed and resumed, and compare bit for bit.

    Parameters
    ----------
    flags : sequence of str
        Of `snn-helpers train`, without folders.
    kills : int
        How often the second run is killed (SIGKILL), each time at another moment after its first new checkpoint.
        Only a kill of a run that was not done yet counts.

    Returns
    -------
    list of str
        What differs; empty if the runs are equal.

    Raises
    ------
    RuntimeError
        If a run fails by itself, or ends before it was killed so often.
    """
    with tempfile.TemporaryDirectory() as home:
        whole, parts = Path(home, "whole"), Path(home, "parts")
        command = [sys.executable, "-m", "snn_helpers", "train", *flags, "--save_every", "1"]
        _run_through([*command, "--save_dir", str(whole)], "the run without a break")
        moments = random.Random(0)
        for number in range(1, kills + 1):
            at = _run_and_kill([*command, "--save_dir", str(parts), "--resume", "auto"], parts, moments)
            if at is None:
                raise RuntimeError(
                    f"the run ended before kill {number} of {kills}. Have it do more (--epochs, --num_samples), or "
                    "take fewer --kills."
                )
            print(f"killed ({number} of {kills}): {at}", flush=True)
        _run_through([*command, "--save_dir", str(parts), "--resume", "auto"], "the rest of the killed run")
        return [
            f"{name}: {where}"
            for name in (LAST, BEST)
            for where in _differences(*(load_checkpoint(folder / name) for folder in (whole, parts)))
        ]


def _run_through(command: list[str], what: str) -> None:
    print(f"{what} ...", end=" ", flush=True)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{what} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    print(f"{time.perf_counter() - started:.0f} s", flush=True)


def _run_and_kill(command: list[str], folder: Path, moments: random.Random) -> str | None:
    """Kill a run after a new checkpoint, and say where that was; None if it had ended before."""
    last = folder / LAST
    before, started = _written(last), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            while process.poll() is None and _written(last) == before:
                if time.perf_counter() - started > _PATIENCE:
                    raise RuntimeError(f"no checkpoint within {_PATIENCE} s; take fewer or smaller steps.")
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.05))
        finally:
            process.kill()
        error = process.stderr.read()
    if process.returncode not in (0, -9):
        raise RuntimeError(f"the run to be killed failed: {(error.strip() or 'no message').splitlines()[-1]}")
    if process.returncode == 0 or (folder / RESULT).exists():
        return None
    state = load_checkpoint(last)
    after = f"step {state['step']} of epoch {state['epoch'] + 1}" if state["step"] else f"epoch {state['epoch']}"
    return f"its last checkpoint is that after {after}"


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    return [where for key in COMPARED for where in _compare(first[key], second[key], key)]


def _compare(first: Any, second: Any, where: str) -> list[str]:
    """Return the places at which two trees of plain values and tensors differ by a bit."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return [] if torch.equal(first, second) else [where]
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [at for key in first for at in _compare(first[key], second[key], f"{where}.{key}")]
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second):
        return [at for index, pair in enumerate(zip(first, second)) for at in _compare(*pair, f"{where}.{index}")]
    return [] if type(first) is type(second) and first == second else [where]
