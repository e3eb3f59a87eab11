"""Event stores: recordings in one folder of flat, memory-mapped arrays, with a manifest that says what they are."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from snn_helpers._files import write_json
from snn_helpers._paths import user_path
from snn_helpers.events.dtype import make_events

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
_EVENT_ARRAYS = ("x", "y", "t", "p")


class Geometry(NamedTuple):
    """What all recordings of a store have in common.

    Attributes
    ----------
    sensor_size : (W, H, P)
        Width, height, polarities.
    classes : tuple of str
        Names of the classes, by label.
    """

    sensor_size: tuple[int, int, int]
    classes: tuple[str, ...]

    def dtypes(self) -> dict[str, str]:
        """Return the types of a store's arrays: places on a small sensor take a byte."""
        place = "uint8" if max(self.sensor_size[:2]) <= 256 else "uint16"
        return {"x": place, "y": place, "t": "int32", "p": "uint8", "offsets": "int64", "labels": "int64"}


class StoreError(RuntimeError):
    """A store that cannot be read or built; the message names the folder and what to do."""


class Chunk(NamedTuple):
    """Some recordings on their way into a store.

    Attributes
    ----------
    x, y, t, p : flat arrays [M]
        Events, recording after recording; t in µs, sorted within each.
    counts : int array [N]
        Events of each recording. A long one may come in several chunks: the last has its count, the others none.
    labels : int array [N]
        Class of each recording.
    """

    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    p: np.ndarray
    counts: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class EventStore:
    """Recordings of one data set and split, read by memory map.

    Attributes
    ----------
    path : Path
        The folder.
    x, y, t, p : memory-mapped flat arrays [M]
        All events; t in µs.
    offsets : int64 [N + 1]
        Recording i is events[offsets[i]:offsets[i + 1]].
    labels : int64 [N]
        Class of each recording.
    manifest : dict
        What the store was built from, its counts and checksums.
    """

    path: Path
    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    p: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    manifest: dict[str, Any]

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self):
        """Pickle, as a data loader's workers do, by the place: the arrays are mapped again, not copied."""
        if "format" in self.manifest:
            return _map_store, (self.path, self.manifest)
        return EventStore, tuple(getattr(self, field.name) for field in fields(self))

    @property
    def geometry(self) -> Geometry:
        """Sensor and classes, which the manifest says."""
        return Geometry(tuple(self.manifest["sensor_size"]), tuple(self.manifest["classes"]))

    def events(self, index: int) -> np.ndarray:
        """Return recording `index` as a structured array with fields x, y, t (µs), p."""
        if not 0 <= index < len(self):
            raise IndexError(f"`index` must be in 0..{len(self) - 1}; got {index}.")
        part = slice(self.offsets[index], self.offsets[index + 1])
        return make_events(self.x[part], self.y[part], self.t[part], self.p[part])

    def joined(self, other: EventStore) -> EventStore:
        """Return the recordings of both, those of `other` after these, in memory; the checksums are of both."""
        arrays = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _EVENT_ARRAYS}
        offsets = np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]])
        manifests = [self.manifest, other.manifest]
        checksums = {
            f"{number}/{name}": sha for number, told in enumerate(manifests) for name, sha in told["checksums"].items()
        }
        labels = np.concatenate([self.labels, other.labels])
        manifest = {"checksums": checksums, **self.geometry._asdict()}
        return EventStore(self.path, **arrays, offsets=offsets, labels=labels, manifest=manifest)


def ensure_store(
    path: Path, params: dict[str, Any], chunks: Callable[[], Iterable[Chunk]], geometry: Geometry
) -> EventStore:
    """Open the store at `path`, building it first if there is none or it was made from other parameters.

    Two processes that ask at once do not build twice: the second waits for the first one's lock. The arrays are
    written beside the final folder and renamed when complete, so that an interrupted build leaves no half store.

    Parameters
    ----------
    path : Path
        The store's folder.
    params : dict of plain JSON values
        Everything the content depends on; a store with other parameters is rebuilt.
    chunks : callable
        Gives the recordings, called only if the store must be built.
    geometry : Geometry
        Sensor and classes, kept in the manifest.

    Raises
    ------
    StoreError
        If the store is damaged or cannot be written.
    """
    path = user_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if _matches(path, params, geometry):
                return open_store(path)
            _build(path, params, chunks(), geometry)
            return open_store(path)
    except OSError as err:
        raise StoreError(
            f"{path}: cannot keep the event store here ({err.strerror or err}). Make room or make the folder writable, "
            "or choose another with the environment variable SNN_DATA_DIR."
        ) from err


def open_store(path: Path) -> EventStore:
    """Open a store and check it against its manifest, sizes and checksums.

    Raises
    ------
    StoreError
        If there is no store, or anything in it is not as its manifest says.
    """
    path = user_path(path)
    manifest = _read_manifest(path)
    if manifest is None:
        raise StoreError(f"{path}: there is no event store here.")
    if manifest["format"] != FORMAT_VERSION:
        raise StoreError(f"{path}: this event store was made by another release. Delete the folder and make it again.")
    for name in Geometry(tuple(manifest["sensor_size"]), ()).dtypes():
        file = path / f"{name}.raw"
        if not file.is_file() or _checksum(file) != manifest["checksums"].get(name):
            raise _damaged(path, f"{file.name} is missing or not as it was written")
    return _map_store(path, manifest)


def _map_store(path: Path, manifest: dict[str, Any]) -> EventStore:
    arrays = {}
    for name, dtype in Geometry(tuple(manifest["sensor_size"]), ()).dtypes().items():
        file = path / f"{name}.raw"
        # An empty file cannot be memory-mapped.
        arrays[name] = np.memmap(file, dtype=dtype, mode="r") if file.stat().st_size else np.empty(0, dtype)
    return EventStore(path, **arrays, manifest=manifest)


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"{path}: this event store is damaged ({what}). Delete the folder; the next run builds it again.")


def _read_manifest(path: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if {"format", "params", "checksums"} <= manifest.keys():
            if manifest["format"] == FORMAT_VERSION:
                width, height, polarities = manifest["sensor_size"]
                if not all(isinstance(name, str) for name in manifest["classes"]) or min(width, height, polarities) < 1:
                    raise ValueError
            return manifest
        raise ValueError
    except FileNotFoundError as err:
        if path.exists():
            raise _damaged(path, f"{MANIFEST} is missing") from err
        return None
    except (ValueError, AttributeError, KeyError, TypeError) as err:
        raise _damaged(path, f"{MANIFEST} cannot be read") from err


def _matches(path: Path, params: dict[str, Any], geometry: Geometry) -> bool:
    manifest = _read_manifest(path)
    if manifest is None or manifest["format"] != FORMAT_VERSION:
        return False
    plain = json.loads(json.dumps({"params": params, **geometry._asdict()}))
    return all(manifest[key] == value for key, value in plain.items())


def _checksum(file: Path) -> str:
    """Return a file's SHA-256; of one that has not changed it is computed once in a process."""
    found = file.stat()
    return _checksum_of(file, found.st_ino, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _checksum_of(file: Path, *_version: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _build(path: Path, params: dict[str, Any], chunks: Iterable[Chunk], geometry: Geometry) -> None:
    for left_over in path.parent.glob(f".{path.name}.building-*"):  # of a builder that was killed; we hold the lock
        shutil.rmtree(left_over)
    building = path.with_name(f".{path.name}.building-{os.getpid()}")
    building.mkdir()
    try:
        counts, labels = _write_events(building, chunks, geometry)
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64).tofile(building / "offsets.raw")
        labels.astype(np.int64).tofile(building / "labels.raw")
        manifest = {
            "format": FORMAT_VERSION,
            "params": params,
            "recordings": len(labels),
            "events": int(counts.sum()),
            **geometry._asdict(),
            "dtypes": geometry.dtypes(),
            "checksums": {name: _checksum(building / f"{name}.raw") for name in geometry.dtypes()},
        }
        write_json(building / MANIFEST, manifest)
        outdated = building.with_name(f"{building.name}-outdated")
        if path.exists():
            os.rename(path, outdated)  # not removed in place: a kill would leave half of it under the store's name
        os.rename(building, path)
        shutil.rmtree(outdated, ignore_errors=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write_events(folder: Path, chunks: Iterable[Chunk], geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    counts, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    width, height, polarities = geometry.sensor_size
    limits = {"x": width - 1, "y": height - 1, "t": np.iinfo(np.int32).max, "p": polarities - 1}
    dtypes = geometry.dtypes()
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / f"{name}.raw", "wb")) for name in _EVENT_ARRAYS}
        for chunk in chunks:
            for name, largest in limits.items():
                values = np.asarray(getattr(chunk, name))
                if values.size and (values.max() > largest or values.min() < 0):
                    raise StoreError(
                        f"`{name}` must be in 0..{largest}; got {values.min()}..{values.max()}. Pass the events "
                        "through to_events first."
                    )
                files[name].write(values.astype(dtypes[name]).data)
            counts.append(np.asarray(chunk.counts))
            labels.append(np.asarray(chunk.labels))
    return np.concatenate(counts), np.concatenate(labels)
