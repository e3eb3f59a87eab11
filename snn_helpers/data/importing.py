"""Write the recordings that were found as a data set: one store a split."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from snn_helpers._checks import check_int
from snn_helpers._datasets import DATASETS
from snn_helpers._paths import holds_imported, imports_home, user_path
from snn_helpers.data.finding import Found, Item
from snn_helpers.data.finding import find_recordings as find_recordings
from snn_helpers.data.sources import SPLITS, split_groups, split_indices
from snn_helpers.events.dtype import join_events
from snn_helpers.events.read import RecordingBlocks
from snn_helpers.events.store import Chunk, Geometry, ensure_store

_LONGEST_US = np.iinfo(np.int32).max


def import_recordings(
    found: Found,
    name: str | Path,
    slice_us: int | None = None,
    overlap: float = 0.0,
    replace_it: bool = False,
    **reading,
) -> Path:
    """Write what was found as a data set of that name, whole or not at all.

    Parameters
    ----------
    found : Found
        From `find_recordings`.
    name : str or Path
        Letters, digits, `-` and `_`: what `load_dataset` and `--dataset` take from now on. A Path is the folder to make
        for it, anywhere, which they take as well.
    slice_us : int or None
        Cut recordings into slices of this length in µs; a rest that is shorter is left out. All slices of a recording
        come into one split, as all recordings of a group do.
    overlap : float in [0, 0.9]
        Share of a slice that the next one repeats.
    replace_it : bool
        Take the place of a data set of that name.
    **reading
        `columns`, `unit`, `sort` of `read_events`.

    Returns
    -------
    Path
        The data set's folder. In it, beside the splits, `recordings.csv` says where each recording comes from: split,
        index in it, file, label, start_us, group.

    Raises
    ------
    ValueError
        If the name is taken or no name, or a recording is too long to be kept whole or too short for a slice.
    """
    folder = check_import(name, slice_us, overlap, replace_it)
    inside = [item.path for item in found.items if item.path.resolve().is_relative_to(folder.resolve())]
    if inside:
        raise ValueError(f"`name`: {folder} holds {inside[0]} itself, which would be lost. Choose another name.")
    items = _with_splits(found)
    geometry = Geometry(found.sensor_size, found.classes)
    source = f"imported {folder.name} ({', '.join(found.formats)})"
    building = folder.with_name(f".{folder.name}.importing")
    shutil.rmtree(building, ignore_errors=True)
    rows: list[tuple] = []  # of recordings.csv
    try:
        for split in SPLITS:
            part = [item for item in items if item.split == split]
            if not part:
                continue
            stamps = [
                (str(item.path), (stat := item.path.stat()).st_size, stat.st_mtime_ns, *item[1:]) for item in part
            ]
            digest = hashlib.sha256(repr(stamps).encode()).hexdigest()
            params = {"source": source, "listing": digest, "slice_us": slice_us, "overlap": overlap}
            starts: list[tuple] = []
            chunks = _chunks(part, found, slice_us, overlap, reading, starts)
            ensure_store(building / split, params, partial(iter, chunks), geometry)
            rows += [
                (split, index, item.path, item.label, start, item.group) for index, (item, start) in enumerate(starts)
            ]
        with open(building / "recordings.csv", "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("split", "index", "file", "label", "start_us", "group"), *rows])
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def check_import(name: str | Path, slice_us: int | None = None, overlap: float = 0.0, replace_it: bool = False) -> Path:
    """Return the folder of an import, or raise the ValueError of `import_recordings` before anything is read."""
    is_name = not isinstance(name, Path)
    if is_name and (not re.fullmatch(r"[A-Za-z][\w-]*", str(name)) or name in DATASETS):
        raise ValueError(f"`name`: {name!r} cannot be the name of a data set. Take letters, digits, - and _.")
    if slice_us is not None:
        check_int("slice_us", slice_us, low=1, high=int(_LONGEST_US))
    if not 0 <= overlap <= 0.9:
        raise ValueError(f"`overlap` must be in [0, 0.9]; got {overlap}.")
    folder = imports_home() / name if is_name else user_path(name)
    if holds_imported(folder) and not replace_it:
        raise ValueError(
            f"there is a data set {str(name)!r} already ({folder}). Choose another name, or add --replace."
        )
    if folder.exists() and not holds_imported(folder):
        raise ValueError(f"`name`: {folder} is there already and holds no imported recordings. Choose another name.")
    return folder


def _with_splits(found: Found) -> list[Item]:
    """Give every recording a split: its own, its group's, or one that is missing, which gets a share of every class."""
    split_of: dict[str | None, str | None] = {
        item.group: item.split for item in found.items if item.group is not None and item.split is not None
    }
    items = [item if item.split else item._replace(split=split_of.get(item.group)) for item in found.items]
    has = {split: any(item.split == split for item in items) for split in SPLITS}
    open_ones = [i for i, item in enumerate(items) if item.split in (None, "train")]
    labels = np.array([found.classes.index(items[i].label) for i in open_ones], dtype=np.int64)
    given = list(items)
    if found.groups and open_ones:
        # A recording beside the groups is one of its own.
        names = np.array([items[i].group or f"\0{i}" for i in open_ones])
        for index, split in zip(open_ones, split_groups(labels, names, has["test"], has["valid"])):
            given[index] = items[index]._replace(split=str(split))
        return given
    for split in SPLITS:
        for place in split_indices(labels, split, has["test"], has["valid"]):
            index = open_ones[int(place)]
            given[index] = items[index]._replace(split=split)
    return given


def _chunks(items, found: Found, slice_us: int | None, overlap: float, reading: dict, starts: list) -> Iterator[Chunk]:
    """Yield the recordings, or their slices, never more than a block of a file and a slice in memory.

    (item, start in µs) of each recording is appended to `starts`.
    """
    for item in items:
        label, count = found.classes.index(item.label), 0
        if slice_us is None:
            first = None
            for block in _part(item, found, reading):
                first = int(block["t"][0]) if first is None else first
                last = int(block["t"][-1]) - first
                if last > _LONGEST_US:
                    raise ValueError(
                        f"{item.path}: is longer than {_LONGEST_US / 6e7:.0f} minutes. Cut it: --slice_us."
                    )
                yield Chunk(block["x"], block["y"], block["t"] - first, block["p"], np.empty(0, int), np.empty(0, int))
                count += len(block)
            if not count:
                raise ValueError(f"{item.path}: has no events between {item.start_us} and {item.stop_us} µs.")
            starts.append((item, first))
            yield _ending(count, label)
            continue
        for events, start in _slices(_part(item, found, reading), slice_us, max(1, round(slice_us * (1 - overlap)))):
            t = events["t"] - start
            yield Chunk(events["x"], events["y"], t, events["p"], np.array([len(t)]), np.array([label]))
            starts.append((item, start))
            count += 1
        if not count:
            raise ValueError(f"{item.path}: is shorter than a slice of {slice_us} µs. Choose shorter slices.")


def _ending(count: int, label: int) -> Chunk:
    nothing = np.empty(0, np.int64)
    return Chunk(nothing, nothing, nothing, nothing, np.array([count]), np.array([label]))


def _part(item: Item, found: Found, reading: dict) -> Iterator[np.ndarray]:
    """Yield the events of a recording, block by block; times of a part are those of its file's first event on."""
    origin = None
    for block in RecordingBlocks(item.path, sensor_size=found.sensor_size[:2], **reading):
        origin = int(block["t"][0]) if origin is None else origin
        start = origin if item.start_us is None else item.start_us
        stop = np.inf if item.stop_us is None else item.stop_us
        inside = block[slice(*np.searchsorted(block["t"], (start, stop)))]
        if len(inside):
            yield inside
        if block["t"][-1] >= stop:
            return


def _slices(blocks: Iterator[np.ndarray], length: int, stride: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (events, start) of each whole slice that has events; the first starts at the first event."""
    kept, start = None, 0
    for block in blocks:
        start = start if kept is not None else int(block["t"][0])
        kept = block if kept is None or not len(kept) else join_events([kept, block])
        while len(kept) and kept["t"][-1] >= start + length:
            inside = kept[: np.searchsorted(kept["t"], start + length)]
            if len(inside):
                yield inside, start
            start += stride
            kept = kept[np.searchsorted(kept["t"], start) :]
            if len(kept):  # on to the first slice that has events, at once
                start += max(0, -(-(int(kept["t"][0]) - start - length + 1) // stride)) * stride
    if kept is not None and len(kept) and kept["t"][-1] >= start + length - 1:
        yield kept, start
