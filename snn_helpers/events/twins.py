"""Real recordings and the simulated ones of the same digits, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from snn_helpers._paths import user_path
from snn_helpers.events.digits import REAL_PER_CLASS, mnist_digits, twin_indices
from snn_helpers.events.folder import folder_chunks, list_recordings
from snn_helpers.events.simulate import Recordings, simulate

_LAST_TWIN_FILE = 1_000


class Twins(NamedTuple):
    """Recording i of both sides shows the same digit.

    Attributes
    ----------
    simulated, real : Recordings
        N recordings each.
    labels : int64 [N]
        The digits.
    """

    simulated: Recordings
    real: Recordings
    labels: np.ndarray


def load_twins(folder: Path, count: int = 1_000) -> Twins | None:
    """Read real recordings whose digits can be simulated, and simulate these.

    Parameters
    ----------
    folder : Path
        Holds `Train/<digit>/<index>.bin`; the indices 00001 to 01000 have twins.
    count : int
        How many of the 1,000, spread evenly over the classes.

    Returns
    -------
    Twins or None
        None if the folder lacks some of the 1,000, so that it cannot be told which recording is whose twin.
    """
    paths, labels = list_recordings(user_path(folder) / "Train")
    with_twin = [i for i, path in enumerate(paths) if path.stem.isdigit() and int(path.stem) <= _LAST_TWIN_FILE]
    labels = labels[with_twin]
    if not np.array_equal(np.bincount(labels, minlength=len(REAL_PER_CLASS)), REAL_PER_CLASS):
        return None
    chosen = np.unique(np.linspace(0, len(with_twin) - 1, count).round().astype(int))
    chunks = list(folder_chunks([paths[with_twin[i]] for i in chosen], labels[chosen]))
    x, y, t, p = (np.concatenate([chunk[field] for chunk in chunks]) for field in range(4))
    offsets = np.concatenate([[0], *(chunk.counts for chunk in chunks)]).cumsum()
    digits = twin_indices()[chosen]
    images, _ = mnist_digits()
    simulated = simulate(images[digits], digits)
    return Twins(simulated, Recordings(x=x, y=y, p=p, t=t, offsets=offsets), labels[chosen])
