"""Readers on hostile bytes: sound events or one clear message, for any content under any name."""

import os
import struct
import tracemalloc
import zipfile
import zlib
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError, make_events
from snn_helpers.events.read import RecordingBlocks, read_recording, write_events

INPUTS = int(os.environ.get("SNN_FUZZ") or 40)  # of each file, of which a format has several
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


def aedat4(packet, compression=0, width=34):
    """Return an AEDAT 4 file of one packet, written out: a size, a FlatBuffers table and its XML, then the packet."""
    info = (
        '<dv version="2.0"><node name="outInfo" path="/m/outInfo/"><node name="0" path="/m/outInfo/0/">'
        '<attr key="compression" type="string">NONE</attr><attr key="typeIdentifier" type="string">EVTS</attr>'
        f'<node name="info" path="/m/outInfo/0/info/"><attr key="sizeX" type="int">{width}</attr>'
        '<attr key="sizeY" type="int">34</attr></node></node></node></dv>'
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
    return b"\x04\x22\x4d\x18\x40\x40\xc0" + struct.pack("<I", 1 << 31 | len(content)) + content + bytes(4)


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
    if find_spec("aedat"):
        packet = aedat4_packet(events)
        files["made.aedat4"], files["lz4.aedat4"] = aedat4(packet), aedat4(lz4_frame(packet), 1)
    return files


def real_files(folder):
    """Return {name: content} of the beginnings of real samples, at a border of records."""
    files = {}
    for name, length in _REAL.items() if folder.is_dir() else ():
        if find_spec("aedat") or not name.endswith(".aedat4"):
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


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = Path(os.environ.get("SNN_FORMAT_DATA") or Path(__file__).parents[2] / "shared" / "data" / "formats")
    return made_files(tmp_path_factory.mktemp("made")) | real_files(folder)


def test_files_are_read_before_they_are_damaged(files, tmp_path):
    for name, content in files.items():
        options = {"columns": "txyp"} if name == "header.csv" else {}
        assert outcome(write(tmp_path / name, content), **options) is not None, name


def test_damaged_files_give_sound_events_or_a_clear_refusal(files, tmp_path):
    rng, others = np.random.default_rng(int(os.environ.get("SNN_FUZZ_SEED") or 0)), list(files.values())
    for name, content in files.items():
        for number in range(INPUTS if not name.endswith(".aedat4") else -(-INPUTS // 25)):  # each starts a process
            data, suffix = mutated(rng, content, others)
            path = write(tmp_path / f"damaged{suffix}", data)
            options = {"columns": "txyp"} if name.endswith(".csv") and number % 2 else {}
            try:
                outcome(path, in_blocks=number % 4 == 0 and not name.endswith(".aedat4"), **options)
            except Exception as err:
                kept = write(tmp_path / "failing", data)
                raise AssertionError(f"input {number} made of {name} fails; it is kept as {kept}") from err


def npy(table):
    stream = BytesIO()
    np.save(stream, table)
    return stream.getvalue()


def refused(path, content, message, **options):
    with pytest.raises(RecordingError, match=message) as caught:
        read_recording(write(path, content), **options)
    assert path.name in str(caught.value)


def test_numpy_table_of_times_from_1970_is_shifted(tmp_path):
    events = few_events()
    events["t"] += 10**15
    found = outcome(write(tmp_path / "a.npy", npy(events)))
    assert found["t"][0] == 0


def test_times_beyond_any_clock_are_refused_in_our_own_layout(tmp_path):
    for t in (2**62, 2**63 - 1):
        refused(tmp_path / "a.npy", npy(make_events([1, 1], [1, 1], [0, t], [1, 0])), "beyond any clock")
    refused(tmp_path / "a.npy", npy(make_events([1], [1], [-(2**63)], [1])), "first time is -9223372036854775808")


@pytest.mark.parametrize("name", ["made.raw", "made.evt21.raw", "made.evt3.raw", "made.dat", "DAVIS240C.aedat"])
def test_last_event_that_is_cut_short_is_refused(files, tmp_path, name):
    refused(tmp_path / "a", files[name][:-1], r"bytes of events are no multiple of \d; the file is cut short")


@pytest.mark.parametrize("name", ["made.raw", "made.evt21.raw", "made.evt3.raw", "made.dat"])
def test_header_longer_than_what_is_looked_at_is_refused(files, tmp_path, name):
    first, rest = files[name].split(b"\n", 1)
    long = first + b"\n% note " + b"a" * 4_000 + b"\n% other " + b"b" * 4_000 + b"\n" + rest
    refused(tmp_path / "a", long, "its header does not end")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1e999 34\nt,x,y,p\n1,2,3,1\n", "a size that cannot be"),
        ("0 34\nt,x,y,p\n1,2,3,1\n", "a size that cannot be"),
        ("t,x,x,y,p\n1,2,3,4,1\n", "two columns have one name"),
        ("a,b,c,d\n1,2,3,1\n", "no `x` among a, b, c, d"),
        ("t,x,y,p\n\u0661,2,3,1\n", "line 2 holds no numbers"),
        ("t,x,y,p\n1e308,2,3,1\n", "beyond any clock"),
        ("t,x,y,p\n-1e308,2,3,1\n1e308,2,3,1\n0.5,2,3,1\n", "whole µs"),
    ],
)
def test_numbers_that_cannot_be_are_refused_in_text(tmp_path, text, message):
    refused(tmp_path / "a.csv", text.encode(), message)
    with pytest.raises(RecordingError):
        read_recording(tmp_path / "a.csv", unit="s")


def test_text_that_goes_on_with_comments_is_read(tmp_path):
    path = write(tmp_path / "a.csv", b"t,x,y,p\n" + b"1,2,3,1\n" * 4 + b"# the end\n" * 8)
    assert len(np.concatenate(list(RecordingBlocks(path, 4)))) == 4


def test_pixels_far_apart_take_no_map_of_all_between_them(tmp_path):
    far = make_events([0, 32_767] * 600, [0, 32_767] * 600, np.arange(1_200), [1] * 1_200)
    tracemalloc.start()
    refused(tmp_path / "a.csv", b"t,x,y,p\n" + b"".join(b"%d,%d,%d,%d\n" % (e[2], e[0], e[1], e[3]) for e in
            far.tolist()), "more than a camera gives")  # fmt: skip
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def zipped(content, method=zipfile.ZIP_DEFLATED):
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("x.npy", content)
    return stream.getvalue()


def test_numpy_archive_is_refused_whose_content_is_larger_than_it_may_be(tmp_path):
    path, head = tmp_path / "a.npz", npy(np.zeros(2, np.int64))
    refused(path, zipped(head.replace(b"(2,), }   ", b"(2**9,), }")), "cannot be read")
    refused(
        path, zipped(head.replace(b"(2,), }          ", b"(999999999,), }  ")), "does not hold the .999999999. that"
    )
    refused(path, zipped(npy(np.zeros(9 << 20, np.int64))), r"would unpack to 75,\d+,\d+ bytes or more from")
    refused(path, zipped(head, zipfile.ZIP_LZMA), "packed in a way that NumPy does not write")
    np.savez(path, sensor_size=np.array([0, 2]), **{field: few_events()[field] for field in "xytp"})
    refused(path, path.read_bytes(), "a size that cannot be")


def hdf5(path, write_file):
    with h5py.File(path, "w") as file:
        write_file(file)
    return path.read_bytes()


def columns_of(file, place="events", leave_out=""):
    for field in "xytp".replace(leave_out, ""):
        file[f"{place}/{field}"] = few_events()[field]


def test_hdf5_is_refused_that_says_to_hold_more_than_it_stores(tmp_path):
    path = tmp_path / "a.h5"
    vast = {"shape": (1 << 40,), "chunks": (1 << 10,), "dtype": "i8"}
    refused(path, hdf5(path, lambda file: [file.create_dataset(f"events/{field}", **vast) for field in "xytp"]),
            "would unpack to 8,796,093,022,208 bytes")  # fmt: skip


def test_hdf5_that_leads_to_another_file_is_refused(tmp_path):
    path, other = tmp_path / "a.h5", tmp_path / "other.h5"
    hdf5(other, columns_of)

    def link(file):
        file["events"] = h5py.ExternalLink(str(other), "events")

    def store_elsewhere(file):
        columns_of(file, leave_out="x")
        file.create_dataset("events/x", (60,), "i1", external=[(str(other), 0, 60)])

    refused(path, hdf5(path, link), "lies in another file")
    refused(path, hdf5(path, store_elsewhere), "lies in another file")


@pytest.mark.parametrize(
    ("offset", "message"), [(np.inf, "cannot be read"), ([1, 2], "`t_offset` must be"), (-1, "`t_offset` must be")]
)
def test_hdf5_offset_that_cannot_be_is_refused(tmp_path, offset, message):
    def write_file(file):
        columns_of(file)
        file["t_offset"] = offset

    refused(tmp_path / "a.h5", hdf5(tmp_path / "a.h5", write_file), message)


def test_hdf5_unit_that_is_no_word_is_taken_for_none(tmp_path):
    def write_file(file):
        columns_of(file)
        file["events"].attrs["unit"] = [1, 2]

    assert len(outcome(write(tmp_path / "a.h5", hdf5(tmp_path / "a.h5", write_file)))) == 60


def test_hdf5_of_values_of_any_length_is_refused(tmp_path):
    def write_file(file):
        columns_of(file, leave_out="t")
        file.create_dataset("events/t", (60,), h5py.vlen_dtype(np.int32))

    refused(tmp_path / "a.h5", hdf5(tmp_path / "a.h5", write_file), "events/t holds no numbers")


def mat(*elements):
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(elements)


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def mat_array(name, kind, shape, *parts):
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack("<2i", *shape)) + element(1, name)
    return element(14, head + b"".join(parts))


def test_matlab_is_refused_whose_elements_cannot_be(tmp_path):
    path, numbers = tmp_path / "a.mat", element(5, bytes(4))
    columns = [mat_array(name, 6, (1, 1), numbers) for name in (b"x", b"y", b"t", b"p")]
    assert outcome(write(path, mat(*columns))).tolist() == [(0, 0, 0, 0)]
    for kind in (8, 200):  # types of which loadmat ends the process
        refused(path, mat(*columns[1:], mat_array(b"x", 6, (1, 1), element(kind, bytes(4)))), "cannot be read")
    refused(path, mat(*columns[1:], mat_array(b"x", 6, (1, 1 << 30), numbers)), "cannot be read")
    refused(path, mat(*columns[1:], struct.pack("<II", 14, 1 << 31)), "longer than what holds it")
    nested = mat_array(b"", 1, (1, 1))
    for _ in range(2_000):
        nested = mat_array(b"c", 1, (1, 1), nested)
    refused(path, mat(nested), "no sets of events in this MATLAB file.*It holds c")
    refused(path, mat(mat_array(b"c", 1, (1 << 16, 1 << 14))), "no sets of events")
    bomb = zlib.compress(bytes(80 << 20), 9)
    refused(path, mat(struct.pack("<II", 15, len(bomb)), bomb), "would unpack to")


def test_aedat4_is_refused_whose_sizes_cannot_be(tmp_path):
    pytest.importorskip("aedat")
    path, packet = tmp_path / "a.aedat4", aedat4_packet(few_events())
    assert len(outcome(write(path, aedat4(packet)))) == 60
    refused(path, aedat4(packet)[:-1], "damaged or cut short: its packets end at")
    refused(path, aedat4(packet) + struct.pack("<ii", 0, 2**31 - 1), "damaged or cut short: its packets end at")
    many = packet[:28] + struct.pack("<I", 2**28) + packet[32:]  # events, more than there are bytes
    refused(path, aedat4(many), "damaged or cut short")
    refused(path, aedat4(packet).replace(b"sizeX", b"\xf0izeX"), "damaged or cut short")
    refused(path, aedat4(packet, width=0), "size that cannot be")
