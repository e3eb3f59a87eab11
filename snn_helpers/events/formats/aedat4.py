"""AEDAT 4 of iniVation's cameras: compressed packets of several streams, read through the package aedat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from snn_helpers.events.convert import fill_events
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError
from snn_helpers.events.formats.base import Format, Options, Reading


def _read(path: Path, options: Options) -> Reading:
    try:
        import aedat
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            f"{path}: AEDAT 4 is read through the package aedat, which is not installed. Run "
            "`pip install 'snn_helpers[formats]'`."
        ) from err
    try:
        decoder = aedat.Decoder(path)
        streams = {number: told for number, told in decoder.id_to_stream().items() if told["type"] == "events"}
    except Exception as err:  # the package raises plain exceptions
        raise RecordingError(f"{path}: the AEDAT 4 file cannot be read ({err}). Is it cut short?") from err
    if len(streams) != 1:
        raise RecordingError(f"{path}: holds {len(streams)} streams of events; one is read. Export the one you mean.")
    number, told = next(iter(streams.items()))
    return Reading(_blocks(path, decoder, number, options.block), (told["width"], told["height"], 2))


def _blocks(path: Path, decoder, number: int, length: int) -> Iterator[np.ndarray]:
    packets, waiting = [], 0
    try:
        for packet in decoder:
            if packet["stream_id"] == number and "events" in packet:
                packets.append(packet["events"])
                waiting += len(packets[-1])
            if length and waiting >= length:
                yield _joined(packets)
                packets, waiting = [], 0
    except Exception as err:
        raise RecordingError(f"{path}: the AEDAT 4 file is damaged or cut short ({err}). Copy it again.") from err
    if packets:
        yield _joined(packets)


def _joined(packets: list[np.ndarray]) -> np.ndarray:
    events = np.empty(sum(map(len, packets)), EVENT_DTYPE)
    at = 0
    for packet in packets:
        if not fill_events(packet["x"], packet["y"], packet["t"], packet["on"], events[at : at + len(packet)]):
            raise RecordingError("an event's pixel or time cannot be")
        at += len(packet)
    return events


FORMAT = Format("AEDAT 4", "AEDAT 4", (".aedat4",), lambda head, *_: head.startswith(b"#!AER-DAT4"), _read)
