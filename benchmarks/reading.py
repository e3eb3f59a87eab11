"""Speed of reading and binning recordings beside other readers, and the memory that importing them takes.

`--events 60000000` imports as many, which takes some GB of files.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from _measure import interleaved
from tonic.datasets import NMNIST
from tonic.io import read_mnist_file
from tonic.transforms import ToFrame

from snn_helpers import load_dataset
from snn_helpers.events.dtype import make_events
from snn_helpers.events.folder import list_recordings
from snn_helpers.events.frames import FrameSpec, bin_frames
from snn_helpers.events.read import read_recording, write_events
from snn_helpers.events.recording import SENSOR_SIZE, read_bin, write_bin

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from fuzz_readers import aedat4, aedat4_packet  # noqa: E402  (writes what nothing else here writes)

REAL = Path(os.environ.get("SNN_REAL_DATA") or ROOT / "../shared/data/NMNIST")
NUM_FILES, BATCH, NUM_STEPS, REPEATS = 500, 32, 25, 9
RATE_HZ = 1_000_000
PACKET = 10_000  # events, as cameras send at such rates
_IMPORT = """
import sys
from snn_helpers.cli import main
code = main(["import", sys.argv[1], "--out", "big", "--replace"])
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0], file=sys.stderr)
sys.exit(code)
"""


def beside(ours, theirs, rounds: int = REPEATS) -> tuple[float, float, float]:
    """Return the median seconds of each and the median of the ratios theirs / ours."""
    times = interleaved({"ours": ours, "theirs": theirs}, rounds)
    own, peer = times["ours"], times["theirs"]
    return statistics.median(own), statistics.median(peer), statistics.median(peer / own)


def random_events(total: int, width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return events at random pixels, `RATE_HZ` of them a second on average."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, max(1, total * 1_000_000 // RATE_HZ), total))
    x, y, p = (rng.integers(0, high, total, np.int16) for high in (width, height, 2))
    return make_events(x, y, t, p)


def write_aedat4(path: Path, events: np.ndarray, sensor_size) -> None:
    """Write packets that are packed by LZ4, as iniVation's software does."""
    import lz4.frame

    with open(path, "wb") as file:
        file.write(aedat4(b"", 1, *sensor_size)[:-8])  # without its packet
        for start in range(0, len(events), PACKET):
            content = lz4.frame.compress(aedat4_packet(events[start : start + PACKET]))
            file.write(np.array([0, len(content)], "<i4").tobytes() + content)


def write_evt3(path: Path, events: np.ndarray, sensor_size) -> None:
    """Write four words an event: both parts of its time, its row, its column."""
    t, x, y, p = (events[field].astype(np.int64) for field in "txyp")
    words = np.stack([0x8000 | t >> 12 & 0xFFF, 0x6000 | t & 0xFFF, y, 0x2000 | p << 11 | x], axis=1).astype("<u2")
    width, height = sensor_size
    with open(path, "wb") as file:
        file.write(f"% evt 3.0\n% geometry {width}x{height}\n% end\n".encode())
        words.tofile(file)


def by_faery(path: Path):
    """Read by faery."""
    import faery

    return faery.events_stream_from_file(str(path)).to_array()


def by_aedat(path: Path):
    """Read by the package aedat, the events of all packets in one array."""
    import aedat

    return np.concatenate([packet["events"] for packet in aedat.Decoder(path) if "events" in packet])


def by_expelliarmus(encoding: str):
    """Return a reader of this encoding."""

    def read(path: Path):
        from expelliarmus import Wizard

        return Wizard(encoding=encoding).read(str(path))

    return read


def by_h5py(path: Path):
    """Read the four columns."""
    with h5py.File(path) as file:
        return [file[f"events/{field}"][:] for field in "xytp"]


def by_numpy_archive(path: Path):
    """Read the four columns."""
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[field] for field in "xytp"]


def by_pandas(path: Path):
    """Read the table."""
    import pandas

    return pandas.read_csv(path)


def by_fromfile(path: Path):
    """Read N-MNIST's records, overflows left as they are."""
    raw = np.fromfile(path, np.uint8).reshape(-1, 5).astype(np.int64)
    return make_events(raw[:, 0], raw[:, 1], (raw[:, 2] & 127) << 16 | raw[:, 3] << 8 | raw[:, 4], raw[:, 2] >> 7)


# suffix of a file: (how it is written, the package that reads it too, how)
FORMATS = {
    ".bin": (write_events, "numpy", by_fromfile),
    ".es": (write_events, "faery", by_faery),
    ".dat": (write_events, "expelliarmus", by_expelliarmus("dat")),
    ".raw": (write_events, "expelliarmus", by_expelliarmus("evt2")),
    ".evt3.raw": (write_evt3, "expelliarmus", by_expelliarmus("evt3")),
    ".aedat4": (write_aedat4, "aedat", by_aedat),
    ".aedat": (write_events, None, None),
    ".h5": (write_events, "h5py", by_h5py),
    ".npy": (write_events, "numpy", np.load),
    ".npz": (write_events, "numpy", by_numpy_archive),
    ".csv": (write_events, "pandas", by_pandas),
}


def print_formats(folder: Path, total: int) -> None:
    """Print how long each format takes to be read, beside the reader underneath or another one."""
    events = random_events(total, 240, 180)
    files = {}
    for suffix, (write, package, reader) in FORMATS.items():
        if suffix == ".aedat4" and not find_spec("lz4"):
            print("  .aedat4: lz4 is not installed")
            continue
        files[suffix] = folder / f"made{suffix}", package, reader
        write(files[suffix][0], events[: total // 10] if suffix == ".csv" else events, (240, 180))
    samples = Path(os.environ.get("SNN_FORMAT_DATA") or ROOT / "../shared/data/formats")
    peers = {".aedat4": ".aedat4", ".es": ".es", ".dat": ".dat", "evt2.raw": ".raw", "evt3.raw": ".evt3.raw"}
    for path in sorted(samples.iterdir()) if samples.is_dir() else ():
        suffix = next((suffix for ending, suffix in peers.items() if path.name.endswith(ending)), None)
        if suffix in files and not path.name.startswith("not_"):
            files[path.name] = path, *FORMATS[suffix][1:]
    print(f"\n{'file':28}{'events':>11}{'ms':>8}{'M a s':>7}{'peer ms':>9}  ours / peer (target 1.3)")
    for name, (path, package, reader) in files.items():
        count = len(read_recording(path).events)
        installed = package is not None and find_spec(package)
        own, peer, ratio = beside(
            lambda path=path: read_recording(path),
            (lambda path=path, reader=reader: reader(path)) if installed else lambda: None,
            rounds=5,
        )
        told = f"{1e3 * peer:9.1f}  {1 / ratio:.2f} ({package})" if installed else f"{'':9}  {package}: not installed"
        print(f"{name:28}{count:11,}{1e3 * own:8.1f}{count / own / 1e6:7.1f}{told if package else ''}")


def print_binning(total: int) -> None:
    """Print how many events a second become frames."""
    for width, height in ((34, 34), (640, 480), (1280, 720)):
        events = random_events(total, width, height)
        columns = tuple(np.ascontiguousarray(events[field]) for field in "xytp")
        offsets, spec = np.array([0, total]), FrameSpec(num_steps=NUM_STEPS)

        def work(columns=columns, offsets=offsets, spec=spec, size=(width, height, 2)):
            return bin_frames(columns, offsets, np.array([0]), size, spec)

        seconds = statistics.median(interleaved({"ours": work}, 5)["ours"])
        print(f"binning at {width} x {height}: {total / seconds / 1e6:.0f} million events a second (target 10)")


def print_imports(folder: Path, total: int, suffixes: list[str]) -> None:
    """Print the most memory that importing one long recording takes, and how long."""
    for suffix in suffixes:
        if suffix == ".aedat4" and not find_spec("lz4"):
            continue
        root = folder / "set"
        for label, number in (("none", 1_000), ("long", total)):
            (root / "train" / label).mkdir(parents=True)
            size = (240, 180) if suffix == ".bin" else (640, 480)
            FORMATS[suffix][0](root / "train" / label / f"a{suffix}", random_events(number, *size), size)
            (root / "test" / label).mkdir(parents=True)
            FORMATS[suffix][0](root / "test" / label / f"a{suffix}", random_events(1_000, *size), size)
        command = [sys.executable, "-c", _IMPORT, str(root)]
        environment = {**os.environ, "SNN_DATA_DIR": str(folder / "home")}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(done.stdout, done.stderr)
        print(f"importing {total:,} events of {suffix}: {int(done.stderr.split()[-1]) / 1e3:,.0f} MB (target 1,000)")
        shutil.rmtree(root)


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
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000, help="of the long recording that is imported")
    parser.add_argument(
        "--only",
        nargs="*",
        default=[".evt3.raw", ".aedat4", ".h5"],
        help=f"files that are imported: {', '.join(FORMATS)}",
    )
    parser.add_argument("--no_speed", action="store_true", help="import only")
    wanted = parser.parse_args()
    if not wanted.no_speed:
        with TemporaryDirectory() as folder:
            print_formats(Path(folder), 1_000_000)
        print_binning(10_000_000)
    with TemporaryDirectory() as folder:
        print_imports(Path(folder), wanted.events, wanted.only)
    return 0 if wanted.no_speed else print_nmnist()


def print_nmnist() -> int:
    """Print how fast N-MNIST is read and binned, beside tonic; return 1 if frames differ."""
    dataset = load_dataset("simulated", split="test")
    with TemporaryDirectory() as folder:
        paths, source = recordings(Path(folder))
        read = beside(
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
            binned = beside(lambda window=window: dataset.frames(range(BATCH), NUM_STEPS, window), peer)
            print(f"{BATCH} recordings to frames, T = {NUM_STEPS}, window={window!r}, from the store:")
            print(f"  tonic's read + ToFrame / ours = {binned[2]:.1f} times (ours {1e3 * binned[0]:.2f} ms; target 10)")
        equal = np.array_equal(dataset.frames(range(BATCH), NUM_STEPS, "tonic"), peer())
        print(f"  frames equal bit for bit: {equal}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
