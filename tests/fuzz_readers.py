"""Damaged recordings for all readers, and what every outcome must be: `python tests/fuzz_readers.py --inputs 1000000`.

One process and one folder, in memory where there is such, for as many inputs as are wanted. Input number n of a seed
is always the same, so that a run goes on where it stopped (`--start`), and a failing one is made again from its number.
"""

import argparse
import collections
import faulthandler
import os
import resource
import struct
import sys
import tempfile
import time
import traceback
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError, make_events
from snn_helpers.events.read import RecordingBlocks, read_recording, write_events

_GROWTH, _SLOW, _HANGS = 32 << 10, 5.0, 900  # KiB, s, s; inputs have a few kB
_EXTREME = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_WORDS = (b"-1", b"0", b"1e999", b"nan", b"99999999999999999999", b"\xff", b"\n", b"\r", b",", b"#", b"%", b" ", b"x")
_SUFFIXES = (".bin", ".aedat4", ".aedat", ".raw", ".dat", ".es", ".h5", ".npz", ".npy", ".mat", ".csv", "")
# Real samples, and the bytes of each that are kept, whole records or packets.
_REAL = {
    "dvs_320x240.es": 6_000,
    "dvsgesture_1.bs2": 6_000,
    "dvxplorer_320x240.aedat4": 10_682,
    "dvxplorer_640x480.aedat4": 9_897,
    "gen3_640x480_evt2.raw": 5_966,
    "gen41_1280x720_evt3.raw": 5_960,
    "ncars.dat": 5_997,
    "nmnist.bin": 6_000,
}


def write(path, content):
    path.write_bytes(content)
    return path


def few_events():
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 300_000, 60))
    return make_events(rng.integers(0, 34, 60), rng.integers(0, 34, 60), t, rng.integers(0, 2, 60))


def aedat4(packet, compression=0, width=34, height=34):
    """Return an AEDAT 4 file of one packet, written out: a size, a FlatBuffers table and its XML, then the packet."""
    info = (
        '<dv version="2.0"><node name="outInfo" path="/m/outInfo/"><node name="0" path="/m/outInfo/0/">'
        '<attr key="compression" type="string">NONE</attr><attr key="typeIdentifier" type="string">EVTS</attr>'
        f'<node name="info" path="/m/outInfo/0/info/"><attr key="sizeX" type="int">{width}</attr>'
        f'<attr key="sizeY" type="int">{height}</attr></node></node></node></dv>'
    ).encode()
    table = struct.pack("<I4s6xHHHHHiiiqI", 0x18, b"IOHE", 10, 20, 4, 12, 8, 10, compression, 12, -1, len(info))
    header = table + info + bytes(1 + -len(info) % 4)
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header + struct.pack("<ii", 0, len(packet)) + packet


def aedat4_packet(events):
    records = np.zeros(len(events), np.dtype("<i8, <i2, <i2, i1, V3"))
    records["f0"], records["f1"], records["f2"], records["f3"] = (events[field] for field in "txyp")
    table = struct.pack("<I4s2xHHHiII", 16, b"EVTS", 6, 8, 4, 6, 4, len(events)) + records.tobytes()
    return struct.pack("<I", len(table)) + table


def lz4_frame(content):
    """Return a frame of one block that is not packed, written out."""
    return b"\x04\x22\x4d\x18\x40\x40\xc0" + struct.pack("<I", 1 << 31 | len(content)) + content + bytes(4)


def zstd_frame(content):
    """Return a frame of one block that is not packed, its size left out, written out."""
    return b"\x28\xb5\x2f\xfd\x00\x58" + (len(content) << 3 | 1).to_bytes(3, "little") + content


def made_files(folder):
    """Return {name: content} of small files of every format."""
    events, files = few_events(), {}
    for suffix in (".bin", ".npz", ".npy", ".csv", ".h5", ".es", ".dat", ".raw", ".aedat"):
        write_events(folder / f"a{suffix}", events, sensor_size=(34, 34))
        files[f"made{suffix}"] = (folder / f"a{suffix}").read_bytes()
    columns = {name: events[field] for name, field in zip(("x", "y", "ts", "pol"), "xytp")}
    for name, content, packed in (("a", columns, False), ("b", {"TD": columns, "c": [{}, "d"]}, True)):
        savemat(folder / name, content, appendmat=False, do_compression=packed)
        files[f"made-{name}.mat"] = (folder / name).read_bytes()
    for name, write in {
        "table": lambda file: file.create_dataset("events", data=events),
        "chunks": lambda file: [file.create_dataset(field, data=events[field], chunks=(16,), compression="gzip",
                                                    shuffle=True) for field in "xytp"],
        "offset": lambda file: [file.create_dataset("t_offset", data=7),
                                *(file.create_dataset(f"events/{field}", data=events[field]) for field in "xytp")],
    }.items():  # fmt: skip
        with h5py.File(folder / name, "w") as file:
            write(file)
            file.attrs["sensor_size"] = (34, 34)
        files[f"made-{name}.h5"] = (folder / name).read_bytes()
    for name, save in (("packed", np.savez_compressed), ("table", np.savez)):
        stream = BytesIO()
        save(stream, **({"events": events} if name == "table" else {field: events[field] for field in "xytp"}))
        files[f"made-{name}.npz"] = stream.getvalue()
    words = [8 << 60 | 3 << 32, *(1 << 60 | i << 54 | i << 43 | 8 << 32 | 0x80000005 for i in range(30))]
    files["made.evt21.raw"] = b"% format EVT21;height=720;width=1280\n% end\n" + struct.pack("<31Q", *words)
    words = [word << 32 & 2**64 - 1 | word >> 32 for word in words]
    files["swapped.evt21.raw"] = b"% format EVT21;endianness=legacy\n% end\n" + struct.pack("<31Q", *words)
    words = [0x8001, 0x6002, 0x0009, 0x2805, 0x3014, 0x4801, 0x5080, 0xA000, 0x8FFF, 0x8000, 0x6001, 0x2003] * 9
    files["made.evt3.raw"] = b"% evt 3.0\n% geometry 1280x720\n% end\n" + struct.pack("<108H", *words)
    davis = [(number % 34 << 22 | number % 34 << 12 | 1 << 11, number) for number in range(40)]
    for chip in (b"DAVIS240C", b"DVS128"):
        files[f"{chip.decode()}.aedat"] = b"#!AER-DAT2.0\r\n# AEChip: " + chip + b"\r\n" + struct.pack(
            ">80I", *(number >> (0 if chip[1] == 65 else 20) for pair in davis for number in pair)
        )  # fmt: skip
    files["header.csv"] = b"34 34\n" + files["made.csv"].split(b"\n", 1)[1]
    packet = aedat4_packet(events)
    files["made.aedat4"] = aedat4(packet)
    if find_spec("lz4"):
        files["lz4.aedat4"] = aedat4(lz4_frame(packet), 1)
    if find_spec("zstandard"):
        files["zstd.aedat4"] = aedat4(zstd_frame(packet), 3)
    return files


def real_files(folder):
    """Return {name: content} of the beginnings of real samples, at a border of records."""
    files = {}
    for name, length in _REAL.items() if folder.is_dir() else ():
        if find_spec("lz4") or not name.endswith(".aedat4"):
            with open(folder / name, "rb") as file:
                files[name] = file.read(length)
    for name in {"dvxplorer_320x240.aedat4", "dvxplorer_640x480.aedat4"} & files.keys():
        files[name] = files[name][:54] + b"\xff" * 8 + files[name][62:]  # where the packets end: not known
    return files


def mutated(rng, content, others):
    """Return other bytes than `content`, which are damaged or made up in one of many ways, and their suffix."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        size = max(len(data), 1)
        # Headers are short and matter more.
        at = int(rng.integers(0, size) if rng.random() < 0.5 else rng.integers(0, min(size, 400)))
        way = rng.integers(0, 12)
        if way == 0:
            data = data[:at]
        elif way <= 2 and data:
            data[at] ^= 1 << rng.integers(0, 8)
        elif way == 3:
            data[at:at] = rng.bytes(rng.integers(1, 40))
        elif way == 4:
            del data[at : at + rng.integers(1, 40)]
        elif way == 5:
            data[at:at] = data[at : at + rng.integers(1, 200)] * rng.integers(1, 20)
        elif way <= 8:
            width = (1, 2, 4, 8)[rng.integers(0, 4)]
            number = _EXTREME[rng.integers(0, len(_EXTREME))] % (1 << 8 * width)
            data[at : at + width] = number.to_bytes(width, "big" if rng.random() < 0.3 else "little")
        elif way == 9:
            word = _WORDS[rng.integers(0, len(_WORDS))]
            data[at : at + len(word) * rng.integers(0, 2)] = word
        elif way == 10:
            other = others[rng.integers(0, len(others))]
            data = data[:at] + other[int(rng.integers(0, len(other))) :]
        else:
            data[at : at + 8] = rng.bytes(8)
    if rng.random() < 0.02:
        data = bytearray(rng.bytes(rng.integers(0, 500)))
    return bytes(data), _SUFFIXES[rng.integers(0, len(_SUFFIXES))]


def check_sound(events, sensor_size=None):
    assert isinstance(events, np.ndarray)
    assert events.dtype == EVENT_DTYPE
    assert events.flags.writeable
    assert len(events)
    assert (np.diff(events["t"]) >= 0).all()
    assert events["t"][0] >= 0
    assert events["t"][-1] < 2**62
    assert set(np.unique(events["p"])) <= {0, 1}
    width, height, _ = sensor_size or (2**15, 2**15, 2)
    assert events["x"].min() >= 0
    assert events["y"].min() >= 0
    assert events["x"].max() < width
    assert events["y"].max() < height


def refusal(path, read):
    """Return what `read` gives for a file, or None where it is refused as it must be; all else is a failure."""
    try:
        return read()
    except RecordingError as err:
        error = err
    assert path.name in str(error)
    assert len(str(error)) < 1_000
    assert not isinstance(error.__context__, MemoryError), "sizes must be checked before memory is asked for"
    return None


def outcome(path, in_blocks=False, **options):
    """Return a file's events, or None where it is refused; whole, and a few at a time."""
    recording = refusal(path, lambda: read_recording(path, **options))
    if recording is not None:
        check_sound(recording.events, recording.sensor_size)
    if in_blocks:
        blocks = refusal(path, lambda: list(RecordingBlocks(path, 16, **options)))
        if recording is not None and blocks is not None:
            np.testing.assert_array_equal(np.concatenate(blocks), recording.events)
    return None if recording is None else recording.events


def formats_folder():
    """Return the folder of real samples, which need not be there."""
    return Path(os.environ.get("SNN_FORMAT_DATA") or Path(__file__).parents[2] / "shared" / "data" / "formats")


def fuzz(seed, start, inputs, kept, seconds=float("inf"), slow=float("inf")):
    """Read damaged files, in turn from each small file; return counts {(file, outcome): number}.

    It fails where the process grows by more than `_GROWTH` over one input, where that takes more than `slow` seconds,
    and on any error that is no clear refusal; such inputs are kept in a folder. One that hangs ends the process.
    """
    counts, failures, began = collections.Counter(), 0, time.monotonic()
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        folder = Path(folder)
        files = made_files(folder) | real_files(formats_folder())
        names, others = list(files), list(files.values())
        for name, content in files.items():  # what is loaded once is no growth
            outcome(write(folder / name, content), **({"columns": "txyp"} if name == "header.csv" else {}))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(start, start + inputs):
            if time.monotonic() - began > seconds:
                break
            name = names[number % len(names)]
            rng = np.random.Generator(np.random.SFC64([seed, number]))
            data, suffix = mutated(rng, files[name], others)
            path = write(folder / f"damaged{suffix}", data)
            options = {"columns": "txyp"} if name.endswith(".csv") and number % 2 else {}
            if number % 100 == 0:  # arming it takes as long as an input
                faulthandler.dump_traceback_later(_HANGS, exit=True, file=sys.__stderr__)
            started, before = time.monotonic(), most
            try:
                what = "refused" if outcome(path, number // len(names) % 4 == 0, **options) is None else "read"
                most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                assert most - before < _GROWTH, f"memory grew by {most - before:,} KiB"
                assert (spent := time.monotonic() - started) < slow, f"took {spent:.1f} s"
            except BaseException as err:
                if isinstance(err, KeyboardInterrupt):
                    raise
                what, failures = "FAILED", failures + 1
                kept.mkdir(parents=True, exist_ok=True)
                write(kept / f"{seed}-{number}{suffix}", data)
                print(f"input {number} of seed {seed}, made of {name}, {options}:", flush=True)
                traceback.print_exc(limit=-3, file=sys.stdout)
            path.unlink()
            counts[name, what] += 1
            if (number + 1 - start) % 100_000 == 0:
                print(f"{number + 1:,} of seed {seed}, {failures} failed, {time.monotonic() - began:.0f} s", flush=True)
    faulthandler.cancel_dump_traceback_later()
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first input, to go on with a run")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--kept", type=Path, default=Path("failing"), help="folder for inputs that fail")
    wanted = parser.parse_args()
    counts = fuzz(wanted.seed, wanted.start, wanted.inputs, wanted.kept, wanted.seconds, _SLOW)
    for (known, what), number in sorted(counts.items()):
        print(f"{known:26} {what:8} {number:12,}")
    print(f"{sum(counts.values()):,} inputs from {wanted.start:,} of seed {wanted.seed}")
    return any(what == "FAILED" for _, what in counts)


if __name__ == "__main__":
    sys.exit(main())
