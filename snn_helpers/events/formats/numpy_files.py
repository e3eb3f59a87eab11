"""NumPy's `.npy` and `.npz`: a structured array, a table [N, 4], or an array a column."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from snn_helpers._files import whole_file
from snn_helpers.events.dtype import RecordingError, join_events
from snn_helpers.events.formats.base import Format, Options, Reading, check_unpacked, library, library_blocks, stretches

_NPY = b"\x93NUMPY"


def _fits(head: bytes, size: int, path: Path) -> bool:
    if head.startswith(_NPY):
        return True
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _read(path: Path, options: Options) -> Reading:
    with library(path, "NumPy"):
        with open(path, "rb") as file:
            is_table = file.read(len(_NPY)) == _NPY
        if is_table:
            table = np.load(path, mmap_mode="r", allow_pickle=False)
            return Reading(_rows(path, table, options.block), unit=options.unit, columns=options.columns)
        lengths = _check_archive(path)
        names = [name for name in lengths if name != "sensor_size"]
        total = lengths[names[0]] if len({lengths[name] for name in names}) == 1 else 0
        streamed = options.block and total > options.block
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in lengths if name == "sensor_size" or not streamed}
    size = columns.pop("sensor_size", None)
    if size is not None and (size.shape not in ((2,), (3,)) or size.dtype.kind not in "iu"):
        raise RecordingError(f"{path}: its `sensor_size` must be two whole numbers, width and height.")
    size = (int(size[0]), int(size[1]), 2) if size is not None else None
    unit = options.unit or ("us" if "sensor_size" in columns or size is not None else None)
    if streamed:
        blocks = library_blocks(path, "NumPy", _members(path, names, total, options.block))
        return Reading(blocks, size, unit, options.columns)
    if "events" in columns:
        return Reading(_rows(path, columns["events"], options.block), size, unit, options.columns)
    if len(columns) == 1:
        return Reading(_rows(path, next(iter(columns.values())), options.block), size, unit, options.columns)
    return Reading(iter([columns]), size, unit, options.columns)


def _check_archive(path: Path) -> dict[str, int]:
    """Refuse an archive that is larger than it says, or arrays larger than their place in it.

    The lengths of its arrays of numbers come back by their names, 0 for one that cannot be read a part at a time.
    """
    lengths = {}
    with zipfile.ZipFile(path) as archive:
        check_unpacked(path, sum(entry.file_size for entry in archive.infolist()))
        for entry in archive.infolist():
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise RecordingError(f"{path}: {entry.filename} is packed in a way that NumPy does not write.")
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
                shape, by_columns, dtype = read_header(file)
                if dtype.hasobject:  # settings and notes beside the events, which are no numbers
                    continue
                if math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
                    raise RecordingError(f"{path}: {entry.filename} does not hold the {list(shape)} that it says.")
            lengths[entry.filename.removesuffix(".npy")] = shape[0] if shape and not by_columns else 0
    if not lengths:
        raise RecordingError(f"{path}: it holds Python objects and no numbers. Save x, y, t and p as numbers.")
    return lengths


def _members(path: Path, names: list[str], total: int, length: int) -> Iterator:
    """Yield the arrays of an archive a part at a time: the one of them, or {name: part}."""
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = {}
        for name in names:
            file = stack.enter_context(archive.open(f"{name}.npy"))
            version = np.lib.format.read_magic(file)
            shape, _, dtype = getattr(np.lib.format, f"read_array_header_{version[0]}_0")(file)
            members[name] = file, dtype, shape[1:]
        one = "events" if "events" in names else names[0] if len(names) == 1 else None
        for part in stretches(total, length):
            rows = part.stop - part.start
            block = {}
            for name, (file, dtype, shape) in members.items():
                content = bytearray(file.read(rows * math.prod(shape) * dtype.itemsize))
                block[name] = np.frombuffer(content, dtype).reshape(rows, *shape)
            yield block[one] if one else block


def _rows(path: Path, table: np.ndarray, length: int) -> Iterator[np.ndarray]:
    if table.ndim == 0 or (table.dtype.names is None and table.ndim != 2):
        raise RecordingError(f"{path}: an array of shape {list(table.shape)} and type {table.dtype} holds no events.")
    for part in stretches(len(table), length, table):
        # A copy, as events are shifted in place, and a mapped file may change.
        yield join_events([table[part]]) if table.dtype.names and table.ndim == 1 else np.array(table[part])


def _write(path: Path, events: np.ndarray, sensor_size: tuple[int, int, int]) -> None:
    with whole_file(path) as part, open(part, "wb") as file:
        if path.suffix.lower() == ".npy":
            np.save(file, events)
        else:
            np.savez(file, **{name: events[name] for name in "xytp"}, sensor_size=np.array(sensor_size[:2]))


FORMAT = Format("NumPy", "a NumPy file", (".npz", ".npy"), _fits, _read, _write)
