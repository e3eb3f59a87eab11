"""Named data sets: where recordings come from, how they are split, and batches of frames as torch tensors."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from snn_helpers._checks import check_choice, check_int
from snn_helpers._paths import data_home, user_path
from snn_helpers.events.folder import folder_chunks, list_recordings
from snn_helpers.events.frames import Augment, FrameSpec, bin_frames
from snn_helpers.events.recording import SENSOR_SIZE
from snn_helpers.events.store import Chunk, EventStore, StoreError, ensure_store

DATASETS = ("simulated", "nmnist")
SPLITS = ("train", "valid", "test")
VALID_SHARE = 0.1
"""Share of an N-MNIST Train folder that is kept for validation."""
TEST_SHARE = 0.2
"""Share of a Train folder that stands in for a missing Test folder."""


SIMULATION_SEED = 0
_DIGITS_PER_CHUNK = 250


class DownloadError(RuntimeError):
    """The official N-MNIST could not be fetched; the message says how to put it in place by hand."""


@dataclass(frozen=True)
class Provenance:
    """Where data come from; stands in every result and on every figure.

    Attributes
    ----------
    dataset : str
        Name as given to `load_dataset`.
    split : str
        "train", "valid" or "test"; of data sets added up, as elsewhere here, both names.
    source : str
        In words, how the recordings were made.
    recordings : int
        How many of them; one that is there several times counts once.
    checksum : str
        First half of the sha256 over the store's arrays.
    """

    dataset: str
    split: str
    source: str
    recordings: int
    checksum: str

    def __str__(self) -> str:
        return f"{self.source}, {self.split}, n = {self.recordings:,}"

    def as_dict(self) -> dict[str, str | int]:
        """Return plain values for JSON."""
        return asdict(self)


def same_recordings(one: Mapping[str, str | int], other: Mapping[str, str | int]) -> bool:
    """Say whether two provenances, as `Provenance.as_dict` gives them, are of the same recordings, and as many."""
    return all(one[key] == other[key] for key in ("checksum", "recordings"))


class EventDataset:
    """Recordings of one split of a data set, with their labels.

    Attributes
    ----------
    labels : int64 [N]
        Class of each recording.
    provenance : Provenance
        Where they come from.
    sensor_size : (W, H, P)
        Width, height, polarities.
    num_classes : int
        Number of classes.
    """

    sensor_size = SENSOR_SIZE
    num_classes = 10

    def __init__(self, store: EventStore, indices: np.ndarray, provenance: Provenance):
        self._store = store
        self._indices = np.asarray(indices, dtype=np.int64)
        self.labels = np.asarray(store.labels)[self._indices]
        self.provenance = replace(provenance, recordings=len(np.unique(self._indices)))

    def __len__(self) -> int:
        return len(self._indices)

    def __repr__(self) -> str:
        return f"EventDataset({self.provenance})"

    def events(self, index: int) -> np.ndarray:
        """Return recording `index` as a structured array [N] with fields x, y, t (µs), p."""
        return self._store.events(int(self._positions([index])[0]))

    def frames(
        self,
        indices,
        num_steps: int = 25,
        window: str = "recording",
        window_us: int | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Bin recordings into frames.

        Parameters
        ----------
        indices : sequence of int [B]
            Which recordings.
        num_steps, window, window_us
            See `FrameSpec`.
        augment, seed
            See `Augment`; what happens to a recording depends on the seed and its place in this data set only, so that
            one that is there several times is changed in several ways.

        Returns
        -------
        uint8 ndarray [T, B, 2, 34, 34]
            Event counts.
        """
        spec = FrameSpec(num_steps, window, window_us)
        store = self._store
        events = (store.x, store.y, store.t, store.p)
        where = self._positions(indices)
        return bin_frames(events, store.offsets, where, self.sensor_size, spec, augment, seed, draws=indices)

    def loader(
        self,
        batch_size: int,
        num_steps: int = 25,
        shuffle: bool = True,
        seed: int = 0,
        augment: Augment | None = None,
        window: str = "recording",
        part: tuple[int, int] = (0, 1),
        least: int = 1,
    ) -> FrameLoader:
        """Return batches of (frames uint8 [T, B, 2, 34, 34], labels int64 [B]) as torch tensors; see `FrameLoader`."""
        return FrameLoader(self, batch_size, FrameSpec(num_steps, window), shuffle, seed, augment, part, least)

    def subset(self, indices) -> EventDataset:
        """Return some of the recordings, int [N], also several times, as a data set of the same provenance."""
        return EventDataset(self._store, self._positions(indices), self.provenance)

    def __add__(self, other: EventDataset) -> EventDataset:
        """Return the recordings of both, these first, as torch's data sets do; of two stores, joined in memory."""
        store, moved = self._store, 0
        if other._store.manifest["checksums"] != store.manifest["checksums"]:
            store, moved = store.joined(other._store), len(store)
        first, second = vars(self.provenance), vars(other.provenance)
        names = {
            field: " and ".join(dict.fromkeys((first[field], second[field])))
            for field in ("dataset", "split", "source")
        }
        provenance = replace(self.provenance, **names, checksum=_checksum(store))
        return EventDataset(store, np.concatenate([self._indices, moved + other._indices]), provenance)

    def take(self, count: int | None, seed: int = 0) -> EventDataset:
        """Return `count` recordings, the same share of every class as far as that goes; None or too many: all."""
        if count is None or check_int("count", count, low=1) >= len(self):
            return self
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self))
        rank = np.empty(len(self), np.int64)  # the how-manieth of its class, in random order
        for label in np.unique(self.labels):
            of_class = order[self.labels[order] == label]
            rank[of_class] = np.arange(len(of_class))
        chosen = np.sort(order[np.argsort(rank[order], kind="stable")][:count])
        return EventDataset(self._store, self._indices[chosen], self.provenance)

    def _positions(self, indices) -> np.ndarray:
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"`indices` must be in 0..{len(self) - 1}; got {indices.min()}..{indices.max()}.")
        return self._indices[indices]


class FrameLoader:
    """Batches of frames in an order that depends on (seed, epoch) only.

    Iterating gives epoch `self.epoch`, which then counts up, so that a plain `for` loop sees a new order each time;
    `batches(epoch)` gives a chosen one. There are no worker processes: a batch is binned in about a millisecond.

    With `part = (rank, size)` a batch is shared out over `size` processes, of which this one, `rank`, gets its part. A
    last batch of fewer than `least` recordings is left out, unless it is the only one.
    """

    def __init__(
        self,
        dataset: EventDataset,
        batch_size: int,
        spec: FrameSpec,
        shuffle: bool,
        seed: int,
        augment: Augment | None,
        part: tuple[int, int] = (0, 1),
        least: int = 1,
    ):
        self.dataset = dataset
        self.batch_size = check_int("batch_size", batch_size, low=1)
        self.spec = spec
        self.shuffle = shuffle
        self.seed = check_int("seed", seed, low=0)
        self.augment = augment
        self.part = part
        self.least = check_int("least", least, low=1)
        self.epoch = 0

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + bool(rest and (rest >= self.least or not whole))

    def whole(self) -> FrameLoader:
        """Return the loader of whole batches, not only of this process's part."""
        return FrameLoader(
            self.dataset, self.batch_size, self.spec, self.shuffle, self.seed, self.augment, least=self.least
        )

    def weight(self, size: int, step: int) -> float:
        """Return the factor by which a part of `size` recordings counts in the mean over the processes."""
        in_batch = min(self.batch_size, len(self.dataset) - step * self.batch_size)
        return size * self.part[1] / in_batch

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch = self.epoch
        self.epoch += 1
        return self.batches(epoch)

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the recordings in `epoch`, int64 [N]."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (frames uint8 [T, B, 2, 34, 34], labels int64 [B]) from batch `first` on; the last may be smaller."""
        order = self.order(epoch)
        augment_seed = int(np.random.SeedSequence([self.seed, epoch, 1]).generate_state(1, np.uint64)[0])
        spec, (rank, size) = self.spec, self.part
        for number in range(first, len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size][rank::size]
            if not len(chosen):  # the few recordings of a last batch to score went to other processes
                continue
            frames = self.dataset.frames(
                chosen, spec.num_steps, spec.window, spec.window_us, self.augment, augment_seed
            )
            yield torch.from_numpy(frames), torch.from_numpy(self.dataset.labels[chosen])


def load_dataset(name: str = "simulated", data_dir: str | os.PathLike | None = None, split: str = "train"):
    """Open a split of a data set, building its event store on first use.

    Parameters
    ----------
    name : {"simulated", "nmnist"}
        "simulated": MNIST digits before a simulated event camera, embedded, no network. "nmnist": real recordings.
    data_dir : path or None
        "simulated": where to keep the store. "nmnist": a folder with `Train/<digit>/*.bin`, `Test/<digit>/*.bin` or
        both, also partial ones; None downloads the official data set through tonic.
    split : {"train", "valid", "test"}
        "valid" is a stratified tenth of Train. Where there is no Test folder, "test" is a stratified fifth of Train.

    Returns
    -------
    EventDataset
        The recordings with labels and provenance.

    Raises
    ------
    ValueError
        If the name or split is unknown, or the folder has no such split.
    DownloadError
        If the official data set cannot be fetched.
    StoreError
        If the event store is damaged or cannot be written.
    """
    check_choice("dataset", name, DATASETS)
    check_choice("split", split, SPLITS)
    if name == "simulated":
        return _load_simulated(user_path(data_dir) if data_dir else data_home(), split)
    return _load_nmnist(data_dir, split)


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


def _checksum(store: EventStore) -> str:
    joined = "".join(store.manifest["checksums"][name] for name in sorted(store.manifest["checksums"]))
    return hashlib.sha256(joined.encode()).hexdigest()[:32]


def _load_simulated(home: Path, split: str) -> EventDataset:
    from snn_helpers.events.camera import Camera

    camera = Camera()
    params = {"source": "simulated", "split": split, "seed": SIMULATION_SEED, "camera": asdict(camera)}
    store = ensure_store(home / "stores" / f"simulated-{split}", params, lambda: _simulated_chunks(split, camera))
    provenance = Provenance("simulated", split, "simulated N-MNIST", len(store), _checksum(store))
    return EventDataset(store, np.arange(len(store)), provenance)


def _simulated_chunks(split: str, camera) -> Iterator[Chunk]:
    from tqdm import tqdm

    from snn_helpers.events.digits import digit_indices, mnist_digits
    from snn_helpers.events.simulate import simulate

    images, labels = mnist_digits()
    indices = digit_indices(split)
    text = f"simulating {len(indices):,} {split} recordings, once"
    print(text, file=sys.stderr, flush=True)
    for start in tqdm(range(0, len(indices), _DIGITS_PER_CHUNK), desc=text, disable=None, leave=False):
        part = indices[start : start + _DIGITS_PER_CHUNK]
        made = simulate(images[part], part, camera, SIMULATION_SEED)
        yield Chunk(made.x, made.y, made.t, made.p, np.diff(made.offsets), labels[part])


def _load_nmnist(data_dir: str | os.PathLike | None, split: str) -> EventDataset:
    root = _official_folder() if data_dir is None else _given_folder(user_path(data_dir))
    has_test = (root / "Test").is_dir()
    part = "Test" if split == "test" and has_test else "Train"
    folder = root / part
    if not folder.is_dir():
        raise ValueError(f"{root} has no Train folder, so that there is no {split!r} split; only 'test' can be read.")
    store, checksum = _folder_store(folder)
    source = "real N-MNIST" if part == "Test" or split != "test" else "real N-MNIST, held out of Train"
    provenance = Provenance("nmnist", split, source, len(store), checksum)
    indices = np.arange(len(store)) if part == "Test" else _part_of_train(store.labels, split, has_test)
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
    store = ensure_store(data_home() / "stores" / f"nmnist-{key}", params, lambda: folder_chunks(paths, labels))
    return store, _checksum(store)


def _part_of_train(labels: np.ndarray, split: str, has_test: bool) -> np.ndarray:
    """Return the indices of a split within Train: stratified, and the same on every machine and for every seed."""
    rng = np.random.default_rng(20150722)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for label in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        least = int(len(of_class) > 2)  # of a small folder, too, something is kept to validate and test on
        num_test = 0 if has_test else max(least, round(TEST_SHARE * len(of_class)))
        num_valid = max(least, round(VALID_SHARE * (len(of_class) - num_test)))
        for name, part in zip(("test", "valid", "train"), np.split(of_class, [num_test, num_test + num_valid])):
            parts[name].append(part)
    return np.sort(np.concatenate(parts[split]))


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


__all__ = [
    "DATASETS",
    "SPLITS",
    "Augment",
    "DownloadError",
    "EventDataset",
    "FrameLoader",
    "Provenance",
    "StoreError",
    "find_real_recordings",
    "load_dataset",
    "load_folds",
]
