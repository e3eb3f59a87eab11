"""Checkpoints: tensors and plain Python only, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

KEYS = ("model", "optimizer", "scheduler", "epoch", "config", "history", "rng", "initial_firing")
FORMAT_VERSION = 1


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file and what is wrong with it."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state`, which must have the keys `KEYS`, under a temporary name and rename it.

    The file loads with `torch.load(path, weights_only=True)`. A run that dies while it writes leaves the file that
    was there before.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        torch.save({"format": FORMAT_VERSION, **state}, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of a newer format, or lacks a part.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no checkpoint here. `snn-helpers train` writes last.pt and best.pt.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # torch raises pickle, zip and runtime errors alike
        reason = (str(err) or type(err).__name__).splitlines()[0]  # an empty file's error has no words
        raise CheckpointError(f"{path}: this is no checkpoint, or it is damaged ({reason}).") from err
    missing = [key for key in ("format", *KEYS) if key not in state] if isinstance(state, dict) else list(KEYS)
    if missing:
        raise CheckpointError(f"{path}: not a checkpoint of this package; it lacks {', '.join(missing)}.")
    if state["format"] > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: written by a newer version (format {state['format']}, this one reads {FORMAT_VERSION}). Upgrade."
        )
    return state


def random_state() -> dict[str, Any]:
    """Return the state of torch's random generators, the only ones that training draws from."""
    state = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
