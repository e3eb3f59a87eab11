"""Motion: a digit makes three excursions, and the class is their order: six classes that only time tells apart."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from snn_helpers.data.dataset import EventDataset, Provenance, checksum_of
from snn_helpers.data.sources import dataset_home, register_source
from snn_helpers.events.motion import CLASSES, REST_MS, simulate_motion
from snn_helpers.events.recording import SENSOR_SIZE
from snn_helpers.events.store import Chunk, Geometry, ensure_store

GEOMETRY = Geometry(SENSOR_SIZE, CLASSES)
SIZES = {"train": 2_000, "valid": 500, "test": 1_000}
_FIRST_ID = {"train": 0, "valid": 100_000, "test": 200_000}
_SEED = 0
_RECORDINGS_PER_CHUNK = 250


@register_source("motion")
def load_motion(data_dir: str | os.PathLike | None, split: str) -> EventDataset:
    """Open a split of the recordings in motion, making them on first use."""
    from snn_helpers.events.camera import Camera

    camera = Camera()
    params = {"source": "motion", "split": split, "seed": _SEED, "size": SIZES[split], "camera": asdict(camera)}
    home = dataset_home(data_dir) / f"motion-{split}"
    store = ensure_store(home, params, lambda: simulated_chunks(split, camera), GEOMETRY)
    return EventDataset(
        store, np.arange(len(store)), Provenance("motion", split, "simulated motion", len(store), checksum_of(store))
    )


def simulated_chunks(split: str, camera, rest_ms: tuple[int, int] = REST_MS) -> Iterator[Chunk]:
    """Yield the recordings of a split, or the same with other rests between the excursions."""
    from tqdm import tqdm

    from snn_helpers.events.digits import digit_indices, mnist_digits

    images, _ = mnist_digits()
    rng = np.random.default_rng([20260, _FIRST_ID[split]])
    numbers = np.arange(SIZES[split])
    # Whole rounds of the split's digits, each in an order of its own: which digit it is says nothing of the class.
    digits = digit_indices(split)
    rounds = -(-len(numbers) // len(digits))
    shown = np.concatenate([rng.permutation(digits) for _ in range(rounds)])[: len(numbers)]
    text = f"simulating {len(numbers):,} {split} recordings of motion, once"
    print(text, file=sys.stderr, flush=True)
    for start in tqdm(range(0, len(numbers), _RECORDINGS_PER_CHUNK), desc=text, disable=None, leave=False):
        part = numbers[start : start + _RECORDINGS_PER_CHUNK]
        labels = part % len(CLASSES)
        made = simulate_motion(images[shown[part]], _FIRST_ID[split] + part, labels, camera, _SEED, rest_ms)
        yield Chunk(made.x, made.y, made.t, made.p, np.diff(made.offsets), labels)
