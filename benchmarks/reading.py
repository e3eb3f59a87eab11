"""How fast are recordings read and binned, beside tonic? Interleaved runs in one process, medians and ratios."""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tonic.datasets import NMNIST
from tonic.io import read_mnist_file
from tonic.transforms import ToFrame

from snn_helpers import load_dataset
from snn_helpers.events.folder import list_recordings
from snn_helpers.events.recording import SENSOR_SIZE, read_bin, write_bin

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get("SNN_REAL_DATA") or ROOT / "../shared/data/NMNIST")
NUM_FILES, BATCH, NUM_STEPS, REPEATS = 500, 32, 25, 9


def interleaved(ours, theirs) -> tuple[float, float, float]:
    """Return the median seconds of each and the median of the ratios theirs / ours, run in turn after a warm-up."""
    times = []
    for _ in range(REPEATS + 1):
        pair = []
        for work in (ours, theirs):
            started = time.perf_counter()
            work()
            pair.append(time.perf_counter() - started)
        times.append(pair)
    kept = times[1:]
    ratio = statistics.median(peer / own for own, peer in kept)
    return statistics.median(own for own, _ in kept), statistics.median(peer for _, peer in kept), ratio


def recordings(folder: Path) -> tuple[list[Path], str]:
    """Return real recordings, or simulated ones written as files where there are none."""
    if (REAL / "Train").is_dir():
        paths, _ = list_recordings(REAL / "Train")
        return paths[:: max(1, len(paths) // NUM_FILES)][:NUM_FILES], "real N-MNIST"
    dataset = load_dataset("simulated", split="test")
    paths = [folder / f"{index:05d}.bin" for index in range(len(dataset))]
    for index, path in enumerate(paths):
        write_bin(path, dataset.events(index))
    return paths, str(dataset.provenance)


def main() -> int:
    dataset = load_dataset("simulated", split="test")
    with TemporaryDirectory() as folder:
        paths, source = recordings(Path(folder))
        read = interleaved(
            lambda: [read_bin(path) for path in paths], lambda: [read_mnist_file(path, NMNIST.dtype) for path in paths]
        )
        print(f"\nreading {len(paths)} .bin files ({source}):")
        print(f"  tonic / ours = {read[2]:.1f} times (ours {1e6 * read[0] / len(paths):.0f} us a file; target 5)")

        files = []
        for index in range(BATCH):
            files.append(Path(folder) / f"batch{index:03d}.bin")
            write_bin(files[-1], dataset.events(index))
        to_frame = ToFrame(sensor_size=SENSOR_SIZE, n_time_bins=NUM_STEPS)

        def peer():
            return np.stack([to_frame(read_mnist_file(path, NMNIST.dtype)) for path in files], axis=1)

        for window in ("tonic", "recording"):
            binned = interleaved(lambda window=window: dataset.frames(range(BATCH), NUM_STEPS, window), peer)
            print(f"{BATCH} recordings to frames, T = {NUM_STEPS}, window={window!r}, from the store:")
            print(f"  tonic's read + ToFrame / ours = {binned[2]:.1f} times (ours {1e3 * binned[0]:.2f} ms; target 10)")
        equal = np.array_equal(dataset.frames(range(BATCH), NUM_STEPS, "tonic"), peer())
        print(f"  frames equal bit for bit: {equal}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
