"""N-MNIST's `.bin` records of 5 bytes, in which DVS Gesture (`.bs2`) and N-Caltech101 are passed on, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from snn_helpers.events.formats.base import Format, Options, Reading, mapped, stretches
from snn_helpers.events.recording import BYTES_PER_EVENT, decode_bin, read_bin, write_bin

_WHOLE_FIELD = (256, 240, 2)


def _fits(head: bytes, size: int, path: Path) -> bool:
    return size > 0 and size % BYTES_PER_EVENT == 0 and not head.startswith(b"%")


def _read(path: Path, options: Options) -> Reading:
    size = options.sensor_size or _WHOLE_FIELD
    return Reading(_blocks(path, size, options.block) if options.block else iter([read_bin(path, size)]))


def _blocks(path: Path, size: tuple[int, int, int], length: int) -> Iterator[np.ndarray]:
    raw, lost_us = mapped(path, "u1", 0), 0
    for part in stretches(len(raw), length * BYTES_PER_EVENT, raw):
        events, lost_us = decode_bin(path, raw[part], size, lost_us)
        yield events


def _write(path: Path, events: np.ndarray, sensor_size: tuple[int, int, int]) -> None:
    write_bin(path, events)


FORMAT = Format("N-MNIST", "N-MNIST's 5-byte records", (".bin", ".bs2"), _fits, _read, _write, has_mark=False)
