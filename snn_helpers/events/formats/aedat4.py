"""AEDAT 4 of iniVation's cameras: packets of several streams, compressed by LZ4 or Zstandard.

A packet and the header are FlatBuffers tables, of each of which one or two fields are read here: the package aedat ends
its process on damaged files, and a process for each file takes a hundred times longer than decoding it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from snn_helpers.events.convert import fill_events
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError
from snn_helpers.events.formats.base import (
    Format,
    Options,
    Reading,
    check_unpacked,
    let_go,
    library,
    library_blocks,
    mapped,
    most_unpacked,
)

_HEADER_AT = 14  # after the mark
_RECORD = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "u1"), ("", "V3")])
_PACKED, _LZ4, _ZSTD = (0, 1, 2, 3, 4), (1, 2), (3, 4)  # 0 is not packed; the second of each packs harder
_LZ4_RATIO = 255  # the most that LZ4 can give
_LARGEST_WINDOW = 8 << 20  # of Zstandard, without its long mode


def _read(path: Path, options: Options) -> Reading:
    with library(path, "AEDAT 4"):
        data = mapped(path, "u1", 0)
        if len(data) < _HEADER_AT + 8:
            raise RecordingError(f"{path}: the AEDAT 4 file is cut short. Copy it again.")
        table = _HEADER_AT + 4 + _number(data, _HEADER_AT + 4, "I")
        place = _field(data, table, 0)
        packed = _number(data, place, "i") if place else 0
        if packed not in _PACKED:
            raise RecordingError(f"{path}: packed in way {packed}; LZ4 (1, 2) and Zstandard (3, 4) are read.")
        place = _field(data, table, 1)  # where the packets end; -1 in an unfinished recording
        end = _number(data, place, "q") if place else -1
        end = len(data) if end < 0 else end
        streams = _event_streams(data, _field(data, table, 2))
        if len(streams) != 1:
            raise RecordingError(
                f"{path}: holds {len(streams)} streams of events; one is read. Export the one you mean."
            )
        stream, width, height = streams[0]
    unpack = _unpacker(path, packed)
    blocks = _blocks(path, data, end, stream, unpack, options.block)
    return Reading(library_blocks(path, "AEDAT 4", blocks), (width, height, 2))


def _number(data, at: int, kind: str) -> int:
    return struct.unpack_from(f"<{kind}", data, at)[0]


def _field(data, table: int, number: int) -> int:
    """Return where a field of a FlatBuffers table lies; 0 if it is left out and has its default."""
    fields = table - _number(data, table, "i")
    if fields < 0 or 4 + 2 * number >= _number(data, fields, "H"):
        return 0
    place = _number(data, fields + 4 + 2 * number, "H")
    return table + place if place else 0


def _event_streams(data, place: int) -> list[tuple[int, int, int]]:
    """Return the number, width and height of each stream of events, from the header's XML."""
    at = place + _number(data, place, "I")
    root = ElementTree.fromstring(bytes(data[at + 4 : at + 4 + _number(data, at, "I")]))
    streams = []
    for node in root.iterfind("node[@name='outInfo']/node"):
        if node.findtext("attr[@key='typeIdentifier']") == "EVTS":
            size = [int(node.findtext(f"node[@name='info']/attr[@key='size{axis}']")) for axis in "XY"]
            streams.append((int(node.get("name")), *size))
    return streams


def _unpacker(path: Path, packed: int) -> Callable[[bytes, int], bytes]:
    """Return what unpacks a packet, to at most so many bytes and one more."""
    try:
        if packed in _LZ4:
            import lz4.frame

            def unpack(packet: bytes, most: int) -> bytes:
                # More than LZ4 can give is not asked for: its buffer would be as large.
                decoder = lz4.frame.LZ4FrameDecompressor()
                content = decoder.decompress(packet, max_length=min(most, _LZ4_RATIO * len(packet)) + 1)
                if not decoder.eof and len(content) <= most:
                    raise ValueError("an LZ4 packet does not end")
                return content

            return unpack
        if packed in _ZSTD:
            import zstandard

            decoder = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)

            def unpack(packet: bytes, most: int) -> bytes:
                size = zstandard.frame_content_size(packet)  # -1 where it is left out
                return decoder.stream_reader(packet).read((size if 0 <= size <= most else most) + 1)

            return unpack
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            f"{path}: packets of this AEDAT 4 file are unpacked by the package {err.name.partition('.')[0]}, which is "
            "not installed. Run `pip install 'snn_helpers[formats]'`."
        ) from err
    return lambda packet, most: packet


def _packets(path: Path, data: np.ndarray, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield each packet's stream and content; a size beyond the file is refused before it is read."""
    at = _HEADER_AT + 4 + _number(data, _HEADER_AT, "I")
    while at < min(end, len(data) - 7):
        stream, size = struct.unpack_from("<iI", data, at)
        start, at = at + 8, at + 8 + size
        if at <= len(data):
            yield stream, data[start:at].tobytes()
    if at != end:
        raise RecordingError(f"{path}: the AEDAT 4 file is damaged or cut short: its packets end at {at}, not {end}.")


def _blocks(path: Path, data: np.ndarray, end: int, stream: int, unpack, length: int) -> Iterator[np.ndarray]:
    waiting, some, unpacked, most = [], 0, 0, most_unpacked(path)
    for number, packet in _packets(path, data, end):
        if number != stream:
            continue
        content = unpack(packet, most - unpacked)
        unpacked += len(content)
        check_unpacked(path, unpacked)
        records = _records(content)
        waiting.append(records)
        some += len(records)
        if length and some >= length:
            yield _joined(waiting, some)
            waiting, some = [], 0
            let_go(data)
    if waiting:
        yield _joined(waiting, some)


def _records(content: bytes) -> np.ndarray:
    """Return the events of a packet: a size, then a table whose first field leads to a vector of them."""
    if content[8:12] != b"EVTS":
        raise ValueError("a packet holds no events")
    place = _field(content, 4 + _number(content, 4, "I"), 0)
    if not place:
        return np.empty(0, _RECORD)
    vector = place + _number(content, place, "I")
    return np.frombuffer(content, _RECORD, _number(content, vector, "I"), vector + 4)


def _joined(packets: list[np.ndarray], total: int) -> np.ndarray:
    events, at = np.empty(total, EVENT_DTYPE), 0
    for packet in packets:
        if not fill_events(packet["x"], packet["y"], packet["t"], packet["on"], events[at : at + len(packet)]):
            raise ValueError("an event's pixel, time or polarity cannot be")
        at += len(packet)
    return events


FORMAT = Format("AEDAT 4", "AEDAT 4", (".aedat4",), lambda head, *_: head.startswith(b"#!AER-DAT4"), _read)
