"""Folders of recordings laid out as N-MNIST's are: `<digit>/<index>.bin`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from snn_helpers._paths import user_path
from snn_helpers.events.dtype import RecordingError
from snn_helpers.events.recording import read_bin
from snn_helpers.events.store import Chunk

_RECORDINGS_PER_CHUNK = 1_000


def list_recordings(folder: Path) -> tuple[list[Path], np.ndarray]:
    """List the recordings under `folder`, digit by digit, in the order of their names.

    Parameters
    ----------
    folder : Path
        Has folders named 0 to 9, of which some may be missing.

    Returns
    -------
    paths : list of Path [N]
    labels : int64 [N]

    Raises
    ------
    RecordingError
        If there are no digit folders, a folder is not named by a digit, or there are no recordings in them.
    """
    folder = user_path(folder)
    folders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    wrong = [entry.name for entry in folders if entry.name not in set("0123456789")]
    if wrong:
        raise RecordingError(f"{folder}: {wrong[0]!r} is not a digit. Folders must be named 0 to 9, after their class.")
    if not folders:
        raise RecordingError(f"{folder}: no digit folders. Expected {folder.name}/<digit>/*.bin, digits 0 to 9.")
    paths, labels = [], []
    for digit in folders:
        found = sorted(digit.glob("*.bin"))
        paths += found
        labels += [int(digit.name)] * len(found)
    if not paths:
        raise RecordingError(f"{folder}: the digit folders hold no .bin files.")
    return paths, np.array(labels, dtype=np.int64)


def folder_chunks(paths: Sequence[Path], labels: np.ndarray) -> Iterator[Chunk]:
    """Read recordings and hand them to a store, some hundred at a time; a faulty file is named and refused."""
    for start in range(0, len(paths), _RECORDINGS_PER_CHUNK):
        part = slice(start, start + _RECORDINGS_PER_CHUNK)
        recordings = [_read(path) for path in paths[part]]
        events = np.concatenate(recordings)
        counts = np.array([len(recording) for recording in recordings])
        yield Chunk(events["x"], events["y"], events["t"], events["p"], counts, labels[part])


def _read(path: Path) -> np.ndarray:
    try:
        return read_bin(path)
    except OSError as err:  # else the store would take it for a fault of its own folder
        raise RecordingError(f"{path}: cannot be read ({err.strerror or err}).") from err
