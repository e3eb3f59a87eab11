"""Data sets of tonic by the name of their class, on small files in the original layouts."""

import numpy as np
import pytest
from tonic import datasets
from tonic.datasets import POKERDVS

from snn_helpers.data import load_dataset


@pytest.fixture
def poker(tmp_path, data_home):
    """Return a folder in which tonic finds 24 recordings to learn from and 20 to test on."""
    rng = np.random.default_rng(0)
    root = tmp_path / "tonic" / "POKERDVS"
    parts = (("pips_train", POKERDVS.train_filename, 6), ("pips_test", POKERDVS.test_filename, 5))
    for folder, archive, per_class in parts:
        for name in POKERDVS.classes:
            (root / folder / name).mkdir(parents=True)
            for number in range(per_class):
                times = np.sort(rng.integers(0, 5_000, 60))
                x, y = rng.integers(0, 35, (2, 60))
                np.save(root / folder / name / f"{number}.npy", np.stack([times, x, y, rng.integers(0, 2, 60)], axis=1))
        (root / archive).write_bytes(b"")
    return tmp_path / "tonic"


def test_parts_and_classes_are_tonics(poker):
    sets = {split: load_dataset("tonic:POKERDVS", poker, split) for split in ("train", "valid", "test")}
    assert [len(dataset) for dataset in sets.values()] == [20, 4, 20]
    assert sets["train"].classes == ("cl", "he", "di", "sp")
    assert sets["train"].sensor_size == (35, 35, 2)
    assert str(sets["test"].provenance) == "POKERDVS (tonic), test, n = 20"
    theirs = POKERDVS(save_to=str(poker), train=False)
    for index in (0, 7, 19):
        events, label = theirs[index]
        assert label == sets["test"].labels[index]
        for field in "xytp":
            np.testing.assert_array_equal(sets["test"].events(index)[field], events[field])


def test_stores_are_read_once(poker, monkeypatch):
    load_dataset("tonic:POKERDVS", poker)
    monkeypatch.setattr(POKERDVS, "__init__", lambda self, save_to, train=True: pytest.fail("read again"))
    assert len(load_dataset("tonic:POKERDVS", poker, "valid")) == 4


class Sounds:
    """Audio as tonic has it: no y, bytes for the names of classes, a channel for both polarities."""

    sensor_size = (700, 1, 1)
    classes = (b"null", b"eins")

    def __init__(self, save_to, train=True, transform=None):
        self.count = 20 if train else 6

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError
        events = np.zeros(30, [("t", int), ("x", int), ("p", int)])
        events["t"], events["x"], events["p"] = np.arange(30) * 1_000, 350 * (index % 2) + np.arange(30), 1
        return events, np.int64(index % 2)


class Boxes(Sounds):
    """Targets that are no classes."""

    def __getitem__(self, index):
        return super().__getitem__(index)[0], np.zeros((3, 4))


def test_audio_is_a_sensor_one_pixel_high(data_home, monkeypatch):
    monkeypatch.setattr(datasets, "Sounds", Sounds, raising=False)
    dataset = load_dataset("tonic:Sounds", split="test")
    assert dataset.classes == ("null", "eins")
    assert dataset.sensor_size == (700, 1, 2)
    assert dataset.frames([0], 3).shape == (3, 1, 2, 1, 700)
    pooled = dataset.pooled()
    assert pooled.frame_size == (64, 8)
    assert pooled.frames(range(6), 3).sum() == 180


def test_targets_that_are_no_classes_and_unknown_names_are_refused(data_home, monkeypatch):
    monkeypatch.setattr(datasets, "Boxes", Boxes, raising=False)
    with pytest.raises(ValueError, match="the targets of tonic's Boxes are no classes, but ndarray"):
        load_dataset("tonic:Boxes")
    with pytest.raises(ValueError, match="Did you mean 'DVSGesture'"):
        load_dataset("tonic:DVSGestures")


def test_data_set_that_tonic_cannot_open_is_named_with_its_place(data_home, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.DVSGesture, "__init__", unreachable)
    with pytest.raises(RuntimeError, match=r"cannot open DVSGesture \(no route to host\)\. Put its files .*DVSGesture"):
        load_dataset("tonic:DVSGesture")
