"""Decode an AEDAT 4 file in a process of its own: on damaged files the package aedat ends its process.

Run as a script with a path, a limit of memory in bytes and, to decode, the number of a stream. Without one it prints
the streams of events as JSON; with one it writes packets: their number of events (int64), then as many `RECORD`s.
"""

from __future__ import annotations

import json
import sys

import numpy as np

RECORD = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])


def _decode(path: str, limit: int, number: int | None) -> None:
    import aedat

    try:
        import resource
    except ModuleNotFoundError:  # Windows, which has no such limit
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    decoder = aedat.Decoder(path)
    out = sys.stdout.buffer
    if number is None:
        streams = {id: told for id, told in decoder.id_to_stream().items() if told["type"] == "events"}
        out.write(json.dumps([(id, told["width"], told["height"]) for id, told in streams.items()]).encode())
        return
    for packet in decoder:
        if packet["stream_id"] == number and "events" in packet:
            events = packet["events"]
            records = np.empty(len(events), RECORD)
            for field in RECORD.names:
                records[field] = events[field]
            out.write(len(records).to_bytes(8, "little"))
            out.write(records.tobytes())


if __name__ == "__main__":
    try:
        _decode(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
        sys.stdout.buffer.flush()
    except BaseException as err:  # a panic in Rust is no Exception
        sys.exit(f"{str(err)[:300]}")
