"""HDF5 in the layouts that people use: columns in a group, a compound data set, or a table [N, 4].

Found by name, in this order: `events/{x,y,t,p}` (DSEC, v2e's and others' names for the columns), `CD/events`
(Prophesee), `events` as a compound or a table, columns at the root, `davis/left/events` (MVSEC), and columns in any one
other group, such as a struct of MATLAB 7.3.
"""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from snn_helpers._files import whole_file
from snn_helpers.events.convert import ALIASES, UNITS_US, convert_times
from snn_helpers.events.dtype import RecordingError
from snn_helpers.events.formats.base import Format, Options, Reading, check_unpacked, library, library_blocks, stretches

_MARK = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\1\0\0\0"  # where strings of any length lie
_ATTRIBUTE_BYTES = 128
_MATLAB, _MATLAB_BYTES = b"MATLAB 7.3 MAT-file", 512  # stand before the mark
_MVSEC = "davis/left/events"
_CODECS = {32001: "Blosc", 32004: "LZ4", 32008: "Bitshuffle", 32015: "Zstandard", 32026: "Blosc2"}
_ECF = 0x8ECF
_PLACES = ("events", "CD/events", "/", _MVSEC, "dvs/events", "event")
_SIZE_NAMES = ("sensor_size", "sensor_resolution", "resolution", "geometry")


def _fits(head: bytes, size: int, path: Path) -> bool:
    return head.startswith(_MARK) or (head.startswith(_MATLAB) and head[_MATLAB_BYTES:].startswith(_MARK))


def _read(path: Path, options: Options) -> Reading:
    import h5py

    with library(path, "HDF5"), h5py.File(path, "r") as file:
        place = _find(path, file, options)
        shift = _shift(path, file)
        size = _sensor_size(path, file, place)
        attributes = file[place].attrs
        if not options.unit and "unit" in attributes and attributes.get_id("unit").dtype.hasobject:
            _check_heaps(path)
        unit = options.unit or attributes.get("unit")
        unit = unit.decode() if isinstance(unit, bytes) else unit
    unit = unit if isinstance(unit, str) and unit in UNITS_US else None
    columns = options.columns
    if place == _MVSEC:  # a table whose columns have no names
        columns, unit = columns or "xytp", unit or "s"
    blocks = library_blocks(path, "HDF5", _blocks(path, place, shift, options.block))
    return Reading(blocks, size, unit, columns)


def _check_heaps(path: Path) -> None:
    """Refuse a `unit` that leads to no heap of strings, or to one that is larger than its file.

    HDF5 takes the memory that stands where the heap should be, some GB, before it looks whether it is one.
    """
    heaps, found = set(), False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = -1
        while (at := data.find(_HEAP, at + 1)) >= 0:
            size = int.from_bytes(data[at + 8 : at + 16], "little")
            if at + size > len(data):
                raise RecordingError(
                    f"{path}: its strings would take {size:,} bytes of a file of {len(data):,}; it is damaged. Copy it "
                    "again."
                )
            _check_heap(path, data[at : at + size])
            heaps.add(at)
        while not found and (at := data.find(b"unit\0", at + 1)) >= 0:
            after = data[at : at + _ATTRIBUTE_BYTES]  # type, shape, and the heap's place among it
            found = any(int.from_bytes(after[i : i + 8], "little") in heaps for i in range(len(after) - 7))
    if not found:
        raise RecordingError(f"{path}: its `unit` leads to no string; the file is damaged. Copy it again.")


def _check_heap(path: Path, heap: bytes) -> None:
    """Refuse a heap whose objects do not follow each other: at one without a size HDF5 looks for the next for ever."""
    at, header = 16, 16  # of the heap, and of each object: its number, 0 for what is free, and its size at 8
    while at + header <= len(heap):
        size = int.from_bytes(heap[at + 8 : at + 16], "little")
        length = header + -(-size // 8) * 8 if heap[at : at + 2] != b"\0\0" else size
        if length < header or at + length > len(heap):
            raise RecordingError(f"{path}: its strings do not follow each other; the file is damaged. Copy it again.")
        at += length


def _shift(path: Path, file) -> int:
    """Return what DSEC's files have to be added to all times."""
    import h5py

    offset = file.get("t_offset")
    if not isinstance(offset, h5py.Dataset):
        return 0
    if (
        offset.shape not in ((), (1,))
        or offset.dtype.hasobject
        or not 0 <= (shift := int(np.ravel(offset[()])[0])) < 2**62
    ):
        raise RecordingError(f"{path}: its `t_offset` must be a number of µs, 0 or more.")
    return shift


def _check_stored(path: Path, dataset) -> None:
    """Refuse a data set that is kept in another file, or says to be larger than what is stored of it can be."""
    if dataset.is_virtual or dataset.external or dataset.file.filename != str(path):
        raise RecordingError(f"{path}: {dataset.name} lies in another file. Copy it into this one with h5repack.")
    if dataset.dtype.hasobject:  # each value of which may be of any length
        raise RecordingError(f"{path}: {dataset.name} holds no numbers.")
    check_unpacked(path, max(dataset.size, math.prod(dataset.chunks or ())) * dataset.dtype.itemsize)
    _check_codecs(path, dataset)


def _check_codecs(path: Path, dataset) -> None:
    """Refuse a data set packed by what HDF5 cannot unpack here; hdf5plugin, if it is installed, adds to what it can."""
    import h5py

    plan = dataset.id.get_create_plist()
    codes = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
    if not all(map(h5py.h5z.filter_avail, codes)):
        with contextlib.suppress(ImportError):
            import hdf5plugin  # noqa: F401
    for code in codes:
        if h5py.h5z.filter_avail(code):
            continue
        if code == _ECF:
            raise RecordingError(
                f"{path}: {dataset.name} is packed with Prophesee's ECF codec, which is not read. Convert it with "
                "`metavision_file_to_dat`."
            )
        raise RecordingError(
            f"{path}: {dataset.name} is packed with {_CODECS.get(code, f'filter {code}')}, which h5py cannot unpack by "
            "itself. Run `pip install hdf5plugin`, or unpack the file with `h5repack -f NONE`."
        )


def _find(path: Path, file, options: Options) -> str:
    import h5py

    for place in _PLACES:
        if place not in file:
            continue
        item = file[place]
        if isinstance(item, h5py.Group) and _columns(item):
            return place
        if isinstance(item, h5py.Dataset) and (item.dtype.names or (item.ndim == 2 and item.shape[1] == 4)):
            return place
    groups: list[str] = []
    file.visititems(lambda name, item: groups.append(name) if isinstance(item, h5py.Group) and _columns(item) else None)
    if len(groups) == 1:
        return groups[0]
    if groups:
        raise RecordingError(
            f"{path}: {len(groups)} sets of events in this HDF5 file ({', '.join(groups)[:300]}); expected one. Copy "
            "one of them into a file of its own."
        )
    names: list[str] = []
    file.visit(lambda name: names.append(name) if len(names) < 12 else None)
    raise RecordingError(
        f"{path}: no events in this HDF5 file. Expected x, y, t, p in events/, CD/events or at the root; found "
        f"{', '.join(names) or 'nothing'}."
    )


def _columns(group) -> dict[str, str]:
    """Return {x: its name, ...} of a group's columns; nothing unless all four are there once."""
    import h5py

    found = {}
    for field, names in ALIASES.items():
        fits = [name for name in group if name.lower() in names and isinstance(group[name], h5py.Dataset)]
        if len(fits) != 1:
            return {}
        found[field] = fits[0]
    shapes = {group[name].shape for name in found.values()}
    return found if len(shapes) == 1 and _is_row(*shapes) else {}


def _is_row(shape: tuple[int, ...] | None) -> bool:
    """Whether this is the shape of one column: [N], or [1, N] as MATLAB 7.3 writes it."""
    return shape is not None and (len(shape) == 1 or (len(shape) == 2 and shape[0] == 1))


def _sensor_size(path: Path, file, place: str) -> tuple[int, int, int] | None:
    """Return the size as an attribute of the file or the events gives it; e2vid's `sensor_resolution` is (H, W)."""
    for attributes in (file[place].attrs, file.attrs):
        for name in _SIZE_NAMES:
            if name not in attributes or attributes.get_id(name).dtype.kind not in "iuf":
                continue
            value = np.ravel(attributes[name])
            if value.size < 2:
                continue
            first, second = int(value[0]), int(value[1])
            if not 0 < first <= 2**15 or not 0 < second <= 2**15:
                raise RecordingError(
                    f"{path}: its `{name}` is {value.tolist()}; expected a width and a height in pixels."
                )
            return (second, first, 2) if name == "sensor_resolution" and second >= first else (first, second, 2)
    return None


def _blocks(path: Path, place: str, shift: int, length: int) -> Iterator:
    import h5py

    with h5py.File(path, "r") as file:
        item = file[place]
        if isinstance(item, h5py.Dataset):
            _check_stored(path, item)
            for part in stretches(len(item), length):
                yield item[part]
            return
        columns = _columns(item)
        for name in columns.values():
            _check_stored(path, item[name])
        for part in stretches(item[columns["t"]].shape[-1], length):
            block = {field: np.atleast_1d(item[name][..., part].squeeze()) for field, name in columns.items()}
            if shift:
                block["t"] = convert_times(block["t"], "us", str(path)) + shift
            yield block


def _write(path: Path, events: np.ndarray, sensor_size: tuple[int, int, int]) -> None:
    import h5py

    with whole_file(path) as part, h5py.File(part, "w") as file:
        group = file.create_group("events")
        group.attrs["unit"] = "us"
        group.attrs["sensor_size"] = np.array(sensor_size[:2])
        for field in "xytp":
            group.create_dataset(
                field, data=events[field], compression="gzip" if len(events) else None, shuffle=bool(len(events))
            )


FORMAT = Format("HDF5", "an HDF5 file", (".h5", ".hdf5"), _fits, _read, _write)
