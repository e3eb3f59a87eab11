"""Where data sets come from: one file each, found by name."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable

import numpy as np

from snn_helpers._checks import check_choice, register
from snn_helpers._datasets import DATASETS, PREFIX, REGISTERED, check_dataset
from snn_helpers._paths import data_home, imported_folder, user_path
from snn_helpers.data.dataset import EventDataset

SPLITS = ("train", "valid", "test")
VALID_SHARE = 0.1
"""Share of the recordings to learn from that is kept for validation, where nobody has set some apart."""
TEST_SHARE = 0.2
"""Share of all recordings that is kept to test on, where nobody has set some apart."""

Source = Callable[[str | os.PathLike | None, str], EventDataset]


def register_source(name: str) -> Callable[[Source], Source]:
    """Add a data set by name: a decorator of a function (data_dir or None, split) -> `EventDataset`.

    From then on `load_dataset(name)`, `--dataset name` and all that takes one know it. The function gets the folder
    that the caller has named, None where none was, and one of `SPLITS`.

    Raises
    ------
    ValueError
        If the name belongs to another data set, or is no identifier.
    """

    def enter(source: Source) -> Source:
        register(REGISTERED, name, source)
        return source

    return enter


def load_dataset(
    name: str | os.PathLike = "simulated", data_dir: str | os.PathLike | None = None, split: str = "train"
) -> EventDataset:
    """Open a split of a data set, building its event store on first use.

    Parameters
    ----------
    name : str or path
        "simulated": MNIST digits before a simulated event camera, embedded, no network. "motion": the same digits,
        moving; the class is the order of three movements. "nmnist": real N-MNIST. "tonic:" and a class of the package
        tonic, as in "tonic:DVSGesture". Else the name that recordings were imported under (`snn-helpers import`), their
        folder, or what a plugin has registered.
    data_dir : path or None
        "simulated", "motion": where to keep the store. "nmnist": a folder with `Train/<digit>/*.bin`,
        `Test/<digit>/*.bin` or both, also partial ones; None downloads the official data set through tonic.
    split : {"train", "valid", "test"}
        Of "nmnist", "valid" is a stratified tenth of Train; where there is no Test folder, "test" is a stratified fifth
        of it.

    Returns
    -------
    EventDataset
        The recordings with labels, geometry and provenance.

    Raises
    ------
    ValueError
        If the name or split is unknown, or the folder has no such split.
    DownloadError
        If the official data set cannot be fetched.
    StoreError
        If the event store is damaged or cannot be written.
    """
    check_choice("split", split, SPLITS)
    for own in DATASETS:
        importlib.import_module(f"{__name__}.{own}")
    if str(name).startswith(PREFIX):
        from snn_helpers.data.sources.tonic import load_tonic

        return load_tonic(str(name), data_dir, split)
    if isinstance(name, str) and name in REGISTERED:
        return REGISTERED[name](data_dir, split)
    from snn_helpers.data.sources.imported import load_imported

    folder = imported_folder(name)
    if folder is None:
        if user_path(name).is_dir():
            raise ValueError(
                f"`dataset`: {name} is a folder, but holds no imported recordings. Import it once: `snn-helpers import "
                f"{name} --out NAME`, then use NAME."
            )
        check_dataset(str(name))
    return load_imported(folder, str(name), split)  # type: ignore[arg-type]  # without a folder it was refused


def dataset_home(data_dir: str | os.PathLike | None):
    """Return the folder where a data set that is made here keeps its stores."""
    return (user_path(data_dir) if data_dir else data_home()) / "stores"


def split_indices(labels: np.ndarray, split: str, has_test: bool = False, has_valid: bool = False) -> np.ndarray:
    """Return which recordings belong to a split: stratified, the same on every machine and for every seed.

    Parameters
    ----------
    labels : int [N]
        Classes of the recordings that nobody has set apart.
    split : {"train", "valid", "test"}
    has_test, has_valid : bool
        Whether there are others to test on, and to validate on.

    Returns
    -------
    int64 [M]
        Ascending.
    """
    rng = np.random.default_rng(20150722)
    parts: dict[str, list[np.ndarray]] = {name: [np.empty(0, np.int64)] for name in SPLITS}
    for label in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        least = int(len(of_class) > 2)  # of a small folder, too, something is kept to validate and test on
        num_test = 0 if has_test else max(least, round(TEST_SHARE * len(of_class)))
        num_valid = 0 if has_valid else max(least, round(VALID_SHARE * (len(of_class) - num_test)))
        for name, part in zip(("test", "valid", "train"), np.split(of_class, [num_test, num_test + num_valid])):
            parts[name].append(part)
    return np.sort(np.concatenate(parts[split]))


def split_groups(labels: np.ndarray, groups: np.ndarray, has_test: bool = False, has_valid: bool = False) -> np.ndarray:
    """Return the split of each recording: groups stay whole, and training keeps every class.

    Parameters
    ----------
    labels : int [N]
        Classes of the recordings that nobody has set apart.
    groups : str [N]
        Recordings of one group come into one split.
    has_test, has_valid : bool
        Whether there are others to test on, and to validate on.

    Returns
    -------
    str [N]
        Of `SPLITS`, the same on every machine; a split for which no group can be spared is missing.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    splits = np.full(len(labels), "train", dtype="<U5")
    for name, share, has in (("test", TEST_SHARE, has_test), ("valid", VALID_SHARE, has_valid)):
        left = np.flatnonzero(splits == "train")
        here, whose = labels[left], groups[left]
        folds = min(round(1 / share), len(np.unique(whose)), np.bincount(here).max())
        if has or folds < 2 or len(np.unique(groups)) < 3:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # classes that are in fewer groups than there are parts
            parts = [*StratifiedGroupKFold(folds, shuffle=True, random_state=20150722).split(left, here, whose)]
        spared = [(len(np.unique(here[part])), part) for rest, part in parts if set(here[rest]) == set(here)]
        if spared:
            splits[left[max(spared, key=lambda pair: pair[0])[1]]] = name
    return splits
