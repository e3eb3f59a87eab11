"""What the notebooks ask of a data set, whatever its sensor, its classes and the length of its recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snn_helpers._checks import check_int
from snn_helpers.data import EventDataset
from snn_helpers.events.recording import OVERFLOW_Y

if TYPE_CHECKING:
    import torch

_NMNIST_MS = 300
_BETWEEN_SACCADES_US = (100_000, 210_000)  # in the rests between them (Orchard et al. 2015)
_BYTE_PIXELS, _BYTE_T_US = OVERFLOW_Y, 2**23


def class_to_show(label: int | None, dataset: EventDataset) -> int:
    """Return the class that a notebook shows a recording of.

    Parameters
    ----------
    label : int or None
        Number of the class; None takes 3, or the last class that has recordings if it is lower.
    dataset : EventDataset
        The recordings to choose from.

    Raises
    ------
    ValueError
        If there is no such class, or none of its recordings.
    """
    there = np.unique(dataset.labels)
    if label is None:
        return int(there[there <= 3][-1]) if (there <= 3).any() else int(there[0])
    check_int("digit", label, low=0, high=dataset.num_classes - 1)
    if label not in there:
        raise ValueError(f"`digit`: there is no recording of class {label} ({dataset.name_of(label)}) in {dataset}.")
    return label


def event_image(dataset: EventDataset) -> torch.Tensor:
    """Return an image of one recording of `class_to_show`: the events of each pixel, summed over time and polarity.

    Returns
    -------
    image : Tensor [H, W]
        From 0 to 1; the brightest pixels, two in a hundred, are all 1.
    """
    import torch

    index = int((dataset.labels == class_to_show(None, dataset)).argmax())
    counts = torch.from_numpy(dataset.frames([index], 1)).sum((0, 1, 2)).float()
    return (counts / counts.quantile(0.98).clamp(min=1)).clamp(max=1)


def within_five_bytes(events: np.ndarray) -> np.ndarray:
    """Return a recording as N-MNIST's five bytes an event can hold it.

    Parameters
    ----------
    events : structured array [N] with fields x, y, t (µs), p
        A recording of any sensor.

    Returns
    -------
    structured array
        x and y below 240 (a y of 240 is no event there), divided by a whole number where the recording reaches further;
        events from 2**23 µs on left out. A recording that fits is returned as it is.
    """
    events = events[events["t"] < _BYTE_T_US]
    largest = max(int(events[axis].max(initial=0)) for axis in "xy")
    if largest < _BYTE_PIXELS:
        return events
    divided = events.copy()
    for axis in "xy":
        divided[axis] = events[axis] // (largest // _BYTE_PIXELS + 1)
    return divided


def three_parts(dataset: EventDataset, events: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Count a recording's events in three parts, per polarity and pixel.

    Parameters
    ----------
    dataset : EventDataset
        That the recording is of.
    events : structured array [N] with fields x, y, t (µs), p
        The recording.

    Returns
    -------
    list of (str, int64 array [2, H, W])
        Name and event counts (OFF, ON) of N-MNIST's three saccades, or of the thirds of another recording's time.
    """
    first, last = int(events["t"][0]), int(events["t"][-1])
    part = (events["t"] - first) * 3 // (last - first + 1)
    if dataset.is_nmnist:
        part = np.searchsorted(_BETWEEN_SACCADES_US, events["t"], side="right")
    width, height, polarities = dataset.sensor_size
    images = np.zeros((3, polarities, height, width), np.int64)
    np.add.at(images, (part, events["p"], events["y"], events["x"]), 1)
    word = "saccade" if dataset.is_nmnist else "third"
    return [(f"{word} {number}", image) for number, image in enumerate(images, 1)]


def nominal_step_ms(dataset: EventDataset, num_steps: int) -> float:
    """Return the length of a time step in ms: N-MNIST's nominal 300 ms a recording, elsewhere the median length."""
    return _NMNIST_MS / num_steps if dataset.is_nmnist else dataset.step_ms(num_steps)
