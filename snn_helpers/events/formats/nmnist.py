"""N-MNIST's `.bin` records of 5 bytes, in which DVS Gesture (`.bs2`) and N-Caltech101 are passed on, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snn_helpers.events.formats.base import Format, Options, Reading
from snn_helpers.events.recording import BYTES_PER_EVENT, read_bin, write_bin

_WHOLE_FIELD = (256, 240, 2)


def _fits(head: bytes, size: int, path: Path) -> bool:
    return size > 0 and size % BYTES_PER_EVENT == 0 and not head.startswith(b"%")


def _read(path: Path, options: Options) -> Reading:
    return Reading(iter([read_bin(path, options.sensor_size or _WHOLE_FIELD)]))


def _write(path: Path, events: np.ndarray, sensor_size: tuple[int, int, int]) -> None:
    write_bin(path, events)


FORMAT = Format("N-MNIST", "N-MNIST's 5-byte records", (".bin", ".bs2"), _fits, _read, _write, has_mark=False)
