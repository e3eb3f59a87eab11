"""Checkpoints: tensors and plain Python only, written whole or not at all, the one before kept."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from snn_helpers._files import whole_file
from snn_helpers._paths import user_path

KEYS = ("model", "optimizer", "scheduler", "scaler", "epoch", "step", "partial", "config", "history", "rng")
KEYS += ("initial_firing", "seconds", "speed", "data", "geometry", "threads")
FORMAT_VERSION = 4
LAST, BEST, PREVIOUS = "last.pt", "best.pt", "previous.pt"
RESULT = "result.json"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file and what is wrong with it."""


def save_checkpoint(path: Path, state: dict[str, Any], keep_before: Path | None = None) -> None:
    """Write `state`, which must have the keys `KEYS`, under a temporary name and rename it.

    The file loads with `torch.load(path, weights_only=True)`. A run that dies while it writes, or a disk that is full,
    leaves the file that was there before.

    Parameters
    ----------
    path : Path
        The checkpoint.
    state : dict
        What it holds.
    keep_before : Path or None
        Name under which the checkpoint that was there is kept.

    Raises
    ------
    CheckpointError
        If it cannot be written, which the message says why.
    """
    path = user_path(path)
    try:
        with whole_file(path) as part:
            torch.save({"format": FORMAT_VERSION, **state}, part)
            if keep_before is not None and path.exists():
                _keep(path, keep_before)
    except (OSError, RuntimeError) as err:  # torch raises RuntimeError where its writer fails
        reason = err.strerror if isinstance(err, OSError) else None
        reason = reason or f"{str(err).splitlines()[0]}; {_free(path)}"
        last = path.with_name(LAST)
        kept = f"go on with `--resume {last}`, which is intact" if last.exists() else "there is none before it"
        raise CheckpointError(f"{path}: this checkpoint could not be written ({reason}). Make room; {kept}.") from err


def _free(path: Path) -> str:
    """Say how much room there is: torch's writer does not say that a disk is full."""
    try:
        return f"{shutil.disk_usage(path.parent).free / 2**20:,.0f} MiB are free there"
    except OSError:
        return "its folder is gone"


def _keep(path: Path, name: Path) -> None:
    """Have the file under a second name, at no moment without it under the first."""
    with whole_file(name) as part:
        part.unlink(missing_ok=True)
        try:
            os.link(path, part)
        except OSError:  # a file system without links
            shutil.copyfile(path, part)


def load_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged (a flipped bit is noticed), of another format, or lacks a part.
    """
    path = user_path(path)
    if not os.path.isfile(path):  # False, too, where a folder on the way must not be read
        inside = " or ".join(name for name in (BEST, LAST) if os.path.isfile(path / name))
        hint = f"Name a file in it: {inside}." if inside else "`snn-helpers train` writes last.pt and best.pt."
        raise CheckpointError(f"{path}: there is no checkpoint here. {hint}")
    try:
        _check_sums(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # torch raises pickle, zip and runtime errors alike
        reason = (str(err) or type(err).__name__).splitlines()[0]  # an empty file's error has no words
        raise CheckpointError(f"{path}: this is no checkpoint, or it is damaged ({reason}).") from err
    written = state.get("format") if isinstance(state, dict) else None
    if isinstance(written, int) and written != FORMAT_VERSION:
        newer = written > FORMAT_VERSION
        raise CheckpointError(
            f"{path}: written by {'a newer' if newer else 'an older'} version (format {written}, this one reads "
            f"{FORMAT_VERSION}). {'Upgrade.' if newer else 'Train again, or use the version that wrote it.'}"
        )
    missing = [key for key in ("format", *KEYS) if key not in state] if isinstance(state, dict) else list(KEYS)
    if missing:
        raise CheckpointError(f"{path}: not a checkpoint of this package; it lacks {', '.join(missing)}.")
    return state


def load_or_previous(path: Path) -> tuple[dict[str, Any], Path]:
    """Read a run's last checkpoint or, where it is damaged or missing, the one before, saying so.

    Returns
    -------
    dict, Path
        The state, and the file it comes from.
    """
    try:
        return load_checkpoint(path), path
    except CheckpointError as err:
        previous = path.with_name(PREVIOUS)
        if path.name != LAST or not previous.is_file():
            raise
        state = load_checkpoint(previous)
        print(f"{err} Taking the one before it, {previous}.", flush=True)
        return state, previous


def _check_sums(path: Path) -> None:
    """Hold every part of the file against its checksum, which `torch.load` does not."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")


def random_state() -> dict[str, Any]:
    """Return the state of torch's random generators, the only ones that training draws from."""
    state = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
