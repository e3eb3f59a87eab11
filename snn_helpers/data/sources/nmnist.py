"""Real N-MNIST: a folder of recordings, also a part of them, or the official archives."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from snn_helpers._checks import check_int
from snn_helpers._paths import data_home, user_path
from snn_helpers.data.dataset import EventDataset, Provenance, checksum_of
from snn_helpers.data.sources import register_source, split_indices
from snn_helpers.events.folder import folder_chunks, list_recordings
from snn_helpers.events.recording import SENSOR_SIZE
from snn_helpers.events.store import EventStore, Geometry, ensure_store

GEOMETRY = Geometry(SENSOR_SIZE, tuple("0123456789"))


class DownloadError(RuntimeError):
    """The official N-MNIST could not be fetched; the message says how to put it in place by hand."""


@register_source("nmnist")
def load_nmnist(data_dir: str | os.PathLike | None, split: str) -> EventDataset:
    """Open a split of a folder of recordings, or of the official data set, which is fetched on first use."""
    root = _official_folder() if data_dir is None else _given_folder(user_path(data_dir))
    has_test = (root / "Test").is_dir()
    part = "Test" if split == "test" and has_test else "Train"
    folder = root / part
    if not folder.is_dir():
        raise ValueError(f"{root} has no Train folder, so that there is no {split!r} split; only 'test' can be read.")
    store, checksum = _folder_store(folder)
    source = "real N-MNIST" if part == "Test" or split != "test" else "real N-MNIST, held out of Train"
    provenance = Provenance("nmnist", split, source, len(store), checksum)
    indices = np.arange(len(store)) if part == "Test" else split_indices(store.labels, split, has_test)
    if not len(indices):
        raise ValueError(f"{folder} has too few recordings ({len(store)}) for a {split!r} split.")
    return EventDataset(store, indices, provenance)


def _folder_store(folder: Path) -> tuple[EventStore, str]:
    """Return the store of a folder `<digit>/*.bin`, built where it is missing, and its checksum."""
    paths, labels = list_recordings(folder)
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    listing = [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in paths]
    digest = hashlib.sha256(repr((listing, labels.tolist())).encode()).hexdigest()
    params = {"source": "folder", "part": folder.name, "files": len(paths), "listing": digest}
    store = ensure_store(
        data_home() / "stores" / f"nmnist-{key}", params, lambda: folder_chunks(paths, labels), GEOMETRY
    )
    return store, checksum_of(store)


def _given_folder(folder: Path) -> Path:
    for root in (folder, folder / "NMNIST"):
        if (root / "Train").is_dir() or (root / "Test").is_dir():
            return root
    problem = "has neither Train/ nor Test/ in it" if folder.is_dir() else "is not a folder"
    raise ValueError(
        f"`data_dir`: {folder} {problem}. Expected Train/<digit>/*.bin or Test/<digit>/*.bin; leave `data_dir` out to "
        "download the official data set."
    )


def _official_folder() -> Path:
    """Return the official data set's folder, downloading what is missing of it through tonic."""
    from tonic.datasets import NMNIST
    from tonic.download_utils import check_integrity, download_and_extract_archive

    root = data_home() / "NMNIST"
    # Both parts, or the split rules would change with what happens to be there.
    official = (
        ("Train", NMNIST.train_url, NMNIST.train_filename, NMNIST.train_md5, 60_000),
        ("Test", NMNIST.test_url, NMNIST.test_filename, NMNIST.test_md5, 10_000),
    )
    for part, url, filename, md5, count in official:
        if sum(1 for _ in (root / part).glob("*/*.bin")) == count:
            continue
        archive = root / filename
        by_hand = (
            f"Fetch {url} by hand and put it at {archive}, or pass a folder of recordings as `data_dir`; "
            "`--dataset simulated` needs no download."
        )
        if archive.exists() and not check_integrity(str(archive), md5):
            raise DownloadError(f"{archive} is not the official archive (its MD5 is not {md5}). Delete it. {by_hand}")
        try:
            download_and_extract_archive(url, str(root), filename=filename, md5=md5)
        except BaseException as err:  # tonic raises whatever urllib, zipfile or itself does; the user may stop it
            if not check_integrity(str(archive), md5):
                archive.unlink(missing_ok=True)  # half a download must not be taken for a whole one
            if not isinstance(err, Exception):
                raise
            raise DownloadError(f"N-MNIST's {part} archive could not be fetched ({err}). {by_hand}") from err
    return root


def load_folds(data_dir: str | os.PathLike, count: int = 5) -> list[tuple[EventDataset, EventDataset]]:
    """Share out all recordings of a folder for cross-validation: each is tested on once.

    Parameters
    ----------
    data_dir : path
        A folder with `Train/<digit>/*.bin`, which alone is read.
    count : int
        Number of folds.

    Returns
    -------
    list of (train, test) EventDataset
        Stratified, and the same on every machine.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two folds, or a class has fewer recordings than folds.
    """
    check_int("count", count, low=2)
    folder = _given_folder(user_path(data_dir)) / "Train"
    if not folder.is_dir():
        raise ValueError(f"`data_dir`: {folder.parent} has no Train folder to share out.")
    store, checksum = _folder_store(folder)
    least = int(np.bincount(store.labels, minlength=10).min())
    if least < count:
        raise ValueError(f"`data_dir`: a class of {folder} has {least} recordings, too few for {count} folds.")
    rng = np.random.default_rng(20150722)
    fold_of = np.empty(len(store), np.int64)
    for label in np.unique(store.labels):
        of_class = rng.permutation(np.flatnonzero(store.labels == label))
        fold_of[of_class] = np.arange(len(of_class)) % count

    def part(chosen: np.ndarray, name: str, number: int) -> EventDataset:
        source = f"real N-MNIST, fold {number + 1} of {count}"
        return EventDataset(store, np.flatnonzero(chosen), Provenance("nmnist", name, source, len(store), checksum))

    return [(part(fold_of != k, "train", k), part(fold_of == k, "test", k)) for k in range(count)]


def find_real_recordings() -> Path | None:
    """Return a folder of real N-MNIST recordings on this machine, if there is one.

    Looked for in the environment variable SNN_REAL_DATA, then `NMNIST` in the data home.
    """
    for folder in (os.environ.get("SNN_REAL_DATA"), data_home() / "NMNIST"):
        if folder and (user_path(folder) / "Train").is_dir():
            return user_path(folder)
    return None
