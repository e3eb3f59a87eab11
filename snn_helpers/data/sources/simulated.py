"""Simulated N-MNIST: MNIST's digits before a simulated event camera, embedded, without a network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from snn_helpers.data.dataset import EventDataset, Provenance, checksum_of
from snn_helpers.data.sources import dataset_home, register_source
from snn_helpers.events.recording import SENSOR_SIZE
from snn_helpers.events.store import Chunk, Geometry, ensure_store

GEOMETRY = Geometry(SENSOR_SIZE, tuple("0123456789"))

SIMULATION_SEED = 0
_DIGITS_PER_CHUNK = 250


@register_source("simulated")
def load_simulated(data_dir: str | os.PathLike | None, split: str) -> EventDataset:
    """Open a split of the simulated recordings, making them on first use."""
    from snn_helpers.events.camera import Camera

    camera = Camera()
    params = {"source": "simulated", "split": split, "seed": SIMULATION_SEED, "camera": asdict(camera)}
    store = ensure_store(
        dataset_home(data_dir) / f"simulated-{split}", params, lambda: _simulated_chunks(split, camera), GEOMETRY
    )
    provenance = Provenance("simulated", split, "simulated N-MNIST", len(store), checksum_of(store))
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
