"""Made-up recordings of gestures, in the layout and geometry of DVS Gesture, for notebook 11."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snn_helpers.events.camera import Camera
from snn_helpers.events.dtype import join_events
from snn_helpers.events.read import write_events
from snn_helpers.events.video import simulate_events

SENSOR = (128, 128)  # that of DVS Gesture's camera
_PICTURE_US = 5_000  # no hand moves by much more than a pixel between two pictures
_PAUSE_US = 40_000  # between two gestures of a session
_SUFFIXES = (".raw", ".raw", ".aedat", ".raw", ".aedat", ".csv")
_GROUND, _SHIRT, _SKIN = 70, 45, 215  # grey values
_PEOPLE_A_LINE = 6  # progress is printed after as many
_DAMAGED_TO = 0.6  # share of the damaged file that is there
_CAMERA = Camera(hot_pixel_milli_hz=0, leak_milli_octave_per_s=30, noise_milli_hz=10)  # with little noise

# Where each hand is, in units of the reach, at phase phi: (left x, left y, right x, right y); y points down, so that a
# growing angle turns clockwise.
_still = np.zeros_like
GESTURES: dict[str, Callable[[np.ndarray], tuple[np.ndarray, ...]]] = {
    "arm roll": lambda phi: (1.7 + np.cos(phi), 0.6 + np.sin(phi), -1.7 - np.cos(phi), 0.6 - np.sin(phi)),
    "clap": lambda phi: (0.6 + np.sin(phi), _still(phi), -0.6 - np.sin(phi), _still(phi)),
    "drums": lambda phi: (_still(phi), np.sin(phi), _still(phi), -np.sin(phi)),
    "guitar": lambda phi: (_still(phi), _still(phi), -1 - 0.7 * np.sin(phi), 1 + 0.7 * np.sin(phi)),
    "left clockwise": lambda phi: (np.cos(phi), np.sin(phi), _still(phi), _still(phi)),
    "left counter": lambda phi: (np.cos(phi), -np.sin(phi), _still(phi), _still(phi)),
    "left wave": lambda phi: (np.sin(phi), _still(phi), _still(phi), _still(phi)),
    "lift": lambda phi: (_still(phi), np.sin(phi), _still(phi), np.sin(phi)),
    "right clockwise": lambda phi: (_still(phi), _still(phi), np.cos(phi), np.sin(phi)),
    "right counter": lambda phi: (_still(phi), _still(phi), np.cos(phi), -np.sin(phi)),
    "right wave": lambda phi: (_still(phi), _still(phi), np.sin(phi), _still(phi)),
}


class Subject(NamedTuple):
    """A person before the camera: place of the chest and size in pixels, reach of a movement, speed and contrast."""

    x: float
    y: float
    shoulders: float
    hand: float
    reach: float
    rate_hz: float
    skin: float


@dataclass(frozen=True)
class Sessions:
    """What `record_gestures` has written.

    Attributes
    ----------
    folder : Path
        Holds one file a subject.
    table : Path
        CSV with the columns file, label, start_us, stop_us.
    damaged : Path
        The one file that cannot be read.
    """

    folder: Path
    table: Path
    damaged: Path


def record_gestures(folder: Path, subjects: int, seconds: float) -> Sessions:
    """Have made-up people make gestures before the simulated camera, and write a file for each of them.

    It prints how far it is, since it takes many seconds.

    Parameters
    ----------
    folder : Path
        Where to write, in several formats; made if it is not there.
    subjects : int
        Persons, of which each has a size, a place, a reach and a speed of their own. One more has a damaged file.
    seconds : float
        Length of each gesture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table, rows, path = folder / "labels.csv", [], folder
    for number in range(subjects + 1):
        path = folder / f"user{number + 1:02d}{_SUFFIXES[number % len(_SUFFIXES)]}"
        if number == subjects:
            path = path.with_suffix(".aedat")
        parts, labels = [], list(_session(number, seconds))
        if number == subjects:
            labels = labels[:2]  # nobody will see more of it
        for label, start_us, stop_us, events in labels:
            parts.append(events)
            rows.append((path.name, label, start_us, stop_us))
        write_events(path, join_events(parts), SENSOR)
        recorded = number + 1
        if recorded == subjects or (recorded < subjects and recorded % _PEOPLE_A_LINE == 0):
            print(f"people recorded: {recorded} of {subjects}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(_DAMAGED_TO * len(whole))])  # as if a copy had been interrupted
    with open(table, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "label", "start_us", "stop_us"))
        writer.writerows(rows)
    return Sessions(folder, table, path)


def _session(number: int, seconds: float) -> Iterator[tuple[str, int, int, np.ndarray]]:
    """Yield (label, start, stop, events) of each gesture of a subject, one after the other in time."""
    rng = np.random.default_rng([0, number])
    subject = _draw_subject(rng)
    start_us = int(rng.integers(2_000_000, 9_000_000))  # a camera's clock does not begin with the first gesture
    for place, label in enumerate(rng.permutation(list(GESTURES))):
        frames, times = film(subject, label, seconds, rng)
        events = simulate_events(frames, times, _CAMERA, seed=1_000 * number + place)
        events["t"] += start_us
        yield str(label), start_us, start_us + int(times[-1]), events
        start_us += int(times[-1]) + _PAUSE_US


def _draw_subject(rng: np.random.Generator) -> Subject:
    return Subject(
        x=64 + rng.uniform(-9, 9),
        y=62 + rng.uniform(-12, 8),
        shoulders=rng.uniform(22, 30),
        hand=rng.uniform(4, 7.5),
        reach=rng.uniform(9, 15),
        rate_hz=rng.uniform(1.4, 2.6),
        skin=rng.uniform(150, _SKIN),
    )


def film(subject: Subject, label: str, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a gesture as a film: grey values uint8 [N, H, W] and times in µs int64 [N]."""
    times = np.arange(0, int(seconds * 1e6) + 1, _PICTURE_US, dtype=np.int64)
    rate_hz = subject.rate_hz * rng.uniform(0.9, 1.1)
    places = GESTURES[label](rng.uniform(0, 2 * np.pi) + 2 * np.pi * rate_hz * times / 1e6)
    sides = np.array([-subject.shoulders, 0, subject.shoulders, 0])
    centre = np.array([subject.x, subject.y] * 2) + sides + rng.normal(0, 1, 4)
    paths = centre[:, None] + subject.reach * np.stack(places)  # [4, N]
    width, height = SENSOR
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    body = _disc(rows, columns, subject.x, subject.y + 1.6 * subject.shoulders, 1.3 * subject.shoulders)
    scene = _GROUND + (_SHIRT - _GROUND) * body
    scene += (subject.skin - scene) * _disc(rows, columns, subject.x, subject.y - 22, 0.4 * subject.shoulders)
    frames = np.repeat(scene[None].astype(np.uint8), len(times), axis=0)
    for x, y in (paths[:2], paths[2:]):
        for frame, hand_x, hand_y in zip(frames, x, y, strict=True):
            top, left = (max(0, int(place - subject.hand) - 1) for place in (hand_y, hand_x))
            part = slice(top, int(hand_y + subject.hand) + 2), slice(left, int(hand_x + subject.hand) + 2)
            cover = _disc(rows[part], columns[part], hand_x, hand_y, subject.hand)
            frame[part] = (frame[part] + (subject.skin - frame[part]) * cover).astype(np.uint8)
    return frames, times


def _disc(rows: np.ndarray, columns: np.ndarray, x: float, y: float, radius: float) -> np.ndarray:
    """Return how much of each pixel a disc covers, its edge as soft as a lens makes it."""
    return np.clip((radius + 0.5 - np.hypot(columns - x, rows - y)), 0, 1)
