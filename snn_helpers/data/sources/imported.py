"""Recordings that were imported: one folder a data set, in it one store a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snn_helpers.data.dataset import EventDataset, Provenance, checksum_of
from snn_helpers.data.sources import SPLITS
from snn_helpers.events.store import MANIFEST, open_store


def load_imported(folder: Path, name: str, split: str) -> EventDataset:
    """Open a split of an imported data set.

    Raises
    ------
    ValueError
        If it has no recordings in this split.
    """
    if not (folder / split / MANIFEST).is_file():
        have = ", ".join(part for part in SPLITS if (folder / part / MANIFEST).is_file())
        raise ValueError(
            f"`dataset`: {name} has no {split} recordings, only {have}: too few were imported to set some apart. "
            "Import three recordings, or groups of them, of a class or more."
        )
    store = open_store(folder / split)
    provenance = Provenance(Path(name).name, split, store.manifest["params"]["source"], len(store), checksum_of(store))
    return EventDataset(store, np.arange(len(store)), provenance)
