"""Any classification data set of the package tonic, by the name of its class: `tonic:DVSGesture`."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from snn_helpers._checks import check_choice
from snn_helpers._datasets import PREFIX
from snn_helpers._paths import data_home, user_path
from snn_helpers.data.dataset import EventDataset, Provenance, checksum_of
from snn_helpers.data.sources import split_indices
from snn_helpers.events.convert import find_sensor_size, to_events
from snn_helpers.events.dtype import RecordingError
from snn_helpers.events.store import MANIFEST, Chunk, Geometry, ensure_store, open_store

_LONGEST_US = int(np.iinfo(np.int32).max)


def load_tonic(name: str, data_dir: str | os.PathLike | None, split: str) -> EventDataset:
    """Open a split of a data set of tonic, through which it is read once, into stores.

    Where tonic knows a test part, "test" is that, and "valid" a stratified tenth of the training part; else all are
    shared out. Audio (SHD, SSC) is a sensor one pixel high. Events that are out of order are sorted by time.

    Parameters
    ----------
    name : str
        "tonic:" and the class's name.
    data_dir : path or None
        tonic's `save_to`; None keeps downloads under the data home.
    split : {"train", "valid", "test"}
        Which part.

    Raises
    ------
    ValueError
        If tonic has no such class, or its labels are no classes.
    RuntimeError
        If it can be neither found nor downloaded.
    """
    title = name.removeprefix(PREFIX)
    cls = _class_of(title)
    folder = str(user_path(data_dir) if data_dir else data_home() / "tonic")
    names = [item for item in inspect.signature(cls).parameters if item in ("train", "split")]
    has_test = bool(names)
    part = "test" if has_test and split == "test" else "train"
    path = data_home() / "stores" / f"tonic-{title}-{part}"
    params = {"source": "tonic", "class": title, "part": part, "folder": folder}
    if _is_built(path, params):
        store = open_store(path)
    else:
        recordings = _open(cls, folder, {"train": part == "train", "split": part}, names)
        labels, geometry = _look_through(title, cls, recordings)
        store = ensure_store(path, params, lambda: _chunks(recordings, labels), geometry)
    indices = np.arange(len(store)) if part == "test" else split_indices(store.labels, split, has_test)
    if not len(indices):
        raise ValueError(f"`dataset`: {name} has too few recordings ({len(store)}) for a {split!r} split.")
    provenance = Provenance(f"tonic-{title}", split, f"{title} (tonic)", len(store), checksum_of(store))
    return EventDataset(store, indices, provenance)


def _class_of(title: str) -> type:
    from tonic import datasets

    known = [item for item in dir(datasets) if inspect.isclass(getattr(datasets, item)) and item[0].isupper()]
    return getattr(datasets, check_choice("dataset", title, known))


def _is_built(path, params: dict[str, Any]) -> bool:
    try:
        return json.loads((path / MANIFEST).read_text(encoding="utf-8"))["params"] == params
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _open(cls: type, folder: str, values: dict[str, Any], names: list[str]):
    try:
        return cls(save_to=folder, **{name: values[name] for name in names})
    except Exception as err:  # tonic raises whatever urllib, zipfile, h5py or itself does
        where, reason = os.path.join(folder, cls.__name__), (str(err) or type(err).__name__).splitlines()[0]
        raise RuntimeError(
            f"tonic cannot open {cls.__name__} ({reason}). Put its files where tonic looks for them, {where}, or name "
            "the folder above that as `data_dir`."
        ) from err


def _look_through(title: str, cls: type, recordings) -> tuple[np.ndarray, Geometry]:
    """Return the labels and the geometry, reading all events only where tonic does not say the sensor."""
    targets = [_plain(recordings[index][1]) for index in range(len(recordings))] if len(recordings) else []
    if not all(isinstance(target, int | str) for target in targets):
        raise ValueError(f"`dataset`: the targets of tonic's {title} are no classes, but {type(targets[0]).__name__}.")
    words = [_plain(word) for word in getattr(recordings, "classes", None) or ()]
    if any(isinstance(target, str) for target in targets):
        words = words or sorted(set(map(str, targets)))
        labels = [words.index(target) for target in targets]
    else:
        labels = targets
    count = max(labels, default=0) + 1
    words = [str(word) for word in words] if len(words) >= count else [str(number) for number in range(count)]
    size = getattr(cls, "sensor_size", None)
    if size is None:
        largest = np.max([[events["x"].max(), _rows(events).max()] for events, _ in recordings], axis=0)
        size = find_sensor_size(*map(int, largest))
    return np.array(labels, np.int64), Geometry((int(size[0]), int(size[1]), 2), tuple(_without_words(words)))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0:
        value = value.item()
    return value.decode() if isinstance(value, bytes) else value


def _without_words(words: list[str]) -> list[str]:
    return [re.sub(r"^(\d+) - \w+$", r"\1", word) for word in words]  # N-MNIST's "3 - three"


def _rows(events: np.ndarray) -> np.ndarray:
    return events["y"] if "y" in (events.dtype.names or ()) else np.zeros(len(events), np.int64)


def _chunks(recordings, labels: np.ndarray) -> Iterator[Chunk]:
    from tqdm import tqdm

    for index in tqdm(range(len(recordings)), "reading tonic's recordings, once", disable=None, leave=False):
        given = recordings[index][0]
        name = f"recording {index} of tonic's {type(recordings).__name__}"
        columns = {"x": given["x"], "y": _rows(given), "t": given["t"], "p": given["p"]}
        events = to_events(columns, unit="us", sort=True, name=name)
        if not len(events):
            raise RecordingError(f"{name} holds no events.")
        shift = 0 if int(events["t"][-1]) <= _LONGEST_US else int(events["t"][0])
        t = events["t"] - shift
        if int(t[-1]) > _LONGEST_US:
            raise RecordingError(f"{name} is longer than {_LONGEST_US / 6e7:.0f} minutes, a store's clock.")
        yield Chunk(events["x"], events["y"], t, events["p"], np.array([len(events)]), labels[index : index + 1])
