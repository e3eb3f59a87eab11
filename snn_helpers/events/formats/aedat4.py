"""AEDAT 4 of iniVation's cameras: compressed packets of several streams, read through the package aedat."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from snn_helpers.events.convert import fill_events
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError
from snn_helpers.events.formats import aedat4_process
from snn_helpers.events.formats.base import Format, Options, Reading, check_unpacked, library, library_blocks, mapped

_HEADER_AT = 14  # after the mark
_MEMORY_BYTES = 512 << 20  # for decoding, and 100 times the file's size


def _read(path: Path, options: Options) -> Reading:
    try:
        import aedat  # noqa: F401  (used by another process)
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            f"{path}: AEDAT 4 is read through the package aedat, which is not installed. Run "
            "`pip install 'snn_helpers[formats]'`."
        ) from err
    with library(path, "AEDAT 4"):
        _check_packets(path)
        with _decoder(path) as decoder:
            told, problem = decoder.communicate()
        _check_end(path, decoder.returncode, problem)
        streams = json.loads(told)
    if len(streams) != 1:
        raise RecordingError(f"{path}: holds {len(streams)} streams of events; one is read. Export the one you mean.")
    number, width, height = streams[0]
    return Reading(library_blocks(path, "AEDAT 4", _blocks(path, number, options.block)), (width, height, 2))


def _decoder(path: Path, *stream: str) -> subprocess.Popen:
    """Start `aedat4_process`; -P keeps the modules beside it from being taken for others."""
    limit = _MEMORY_BYTES + 100 * path.stat().st_size
    return subprocess.Popen(
        [sys.executable, "-P", aedat4_process.__file__, str(path.absolute()), str(limit), *stream],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "RUST_BACKTRACE": "0"},
    )


def _check_end(path: Path, code: int, problem: bytes) -> None:
    if code:
        why = problem.decode(errors="replace").strip().rpartition("\n")[2][:300]
        raise RecordingError(f"{path}: the AEDAT 4 file is damaged or cut short ({why or code}). Copy it again.")


def _check_packets(path: Path) -> None:
    """Refuse sizes beyond the file, for which the package would ask for memory."""
    data = mapped(path, "u1", 0)
    if len(data) < _HEADER_AT + 8:
        raise RecordingError(f"{path}: the AEDAT 4 file is cut short. Copy it again.")
    at = _HEADER_AT + 4 + _number(data, _HEADER_AT, "I")
    # The header is a FlatBuffers table, whose second field is where the packets end, -1 in an unfinished recording.
    table = _HEADER_AT + 4 + _number(data, _HEADER_AT + 4, "I")
    fields = table - _number(data, table, "i")
    place = _number(data, fields + 6, "H") if _number(data, fields, "H") > 6 else 0
    end = _number(data, table + place, "q") if place else -1
    end = len(data) if end < 0 else end
    while at < min(end, len(data) - 7):
        at += 8 + _number(data, at + 4, "I")
    if at != end:
        raise RecordingError(f"{path}: the AEDAT 4 file is damaged or cut short: its packets end at {at}, not {end}.")


def _number(data: np.ndarray, at: int, kind: str) -> int:
    return struct.unpack_from(f"<{kind}", data, at)[0]


def _blocks(path: Path, number: int, length: int) -> Iterator[np.ndarray]:
    packets, waiting, unpacked = [], 0, 0
    with _decoder(path, str(number)) as decoder:
        try:
            while size := decoder.stdout.read(8):
                size = int.from_bytes(size, "little") * aedat4_process.RECORD.itemsize
                unpacked += size
                check_unpacked(path, unpacked)
                packets.append(np.frombuffer(decoder.stdout.read(size), aedat4_process.RECORD))
                waiting += len(packets[-1])
                if length and waiting >= length:
                    yield _joined(packets)
                    packets, waiting = [], 0
            problem = decoder.stderr.read()
        except BaseException:  # that nobody reads on is one
            decoder.kill()
            raise
    _check_end(path, decoder.returncode, problem)
    if packets:
        yield _joined(packets)


def _joined(packets: list[np.ndarray]) -> np.ndarray:
    events = np.empty(sum(map(len, packets)), EVENT_DTYPE)
    at = 0
    for packet in packets:
        if not fill_events(packet["x"], packet["y"], packet["t"], packet["on"], events[at : at + len(packet)]):
            raise ValueError("an event's pixel or time cannot be")
        at += len(packet)
    return events


FORMAT = Format("AEDAT 4", "AEDAT 4", (".aedat4",), lambda head, *_: head.startswith(b"#!AER-DAT4"), _read)
