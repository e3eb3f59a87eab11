"""Every format: golden bytes, real samples with counts known from independent readers, and what is refused by name."""

import gzip
import os
import pickle
import struct
import sys
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from snn_helpers.events import formats
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError, make_events
from snn_helpers.events.formats import text as text_files
from snn_helpers.events.formats.base import Format, Reading
from snn_helpers.events.read import RecordingBlocks, read_events, read_recording, write_events

# name: format, sensor (None: found from the events), events, first and last time in µs
SAMPLES = {
    "dvsgesture_1.bs2": ("N-MNIST", (128, 128), 63_471, 28, 1_449_996),
    "dvxplorer_320x240.aedat4": ("AEDAT 4", (320, 240), 111_954, 0, 589_917),
    "dvxplorer_640x480.aedat4": ("AEDAT 4", (640, 480), 255_283, 0, 2_699_987),
    "gen3_640x480_evt2.raw": ("EVT 2.0", (640, 480), 521_252, 913_716_224, 913_812_095),
    "gen41_1280x720_evt3.raw": ("EVT 3.0", (1280, 720), 219_596, 11_718_656, 11_727_457),
    "gen41_1280x720_evt3.npy": ("NumPy", (1280, 720), 219_596, 11_718_656, 11_772_513),
    "dvs_320x240.es": ("Event Stream", (320, 240), 473_225, 0, 999_000),
    "ncars.dat": ("dat", (128, 128), 2_009, 0, 99_952),
    "nmnist.bin": ("N-MNIST", (34, 34), 4_325, 654, 311_175),
}
WRITABLE = (".bin", ".npz", ".npy", ".csv", ".h5", ".es", ".dat", ".raw", ".aedat")
EVENTS = make_events([3, 0, 33, 7, 7], [5, 33, 0, 7, 8], [0, 10, 10, 300, 250_000], [1, 0, 0, 1, 1])


def write(path, *parts):
    path.write_bytes(b"".join(parts))
    return path


def by_another_reader(path):
    """Return the events as faery reads them, or expelliarmus the .dat files of an older kind, which faery refuses."""
    if path.suffix == ".dat":
        return pytest.importorskip("expelliarmus").Wizard(encoding="dat").read(str(path))
    events = pytest.importorskip("faery").events_stream_from_file(str(path)).to_array()
    return {"x": events["x"], "y": events["y"], "t": events["t"], "p": events["on"]}


@st.composite
def recordings(draw, largest_t=2**24 + 100_000, largest_px=239):
    times = sorted(draw(st.lists(st.integers(0, largest_t), min_size=1, max_size=30)))
    pixel = st.integers(0, largest_px)
    draws = [(draw(pixel), draw(pixel), draw(st.integers(0, 1))) for _ in times]
    x, y, p = (np.array(values, dtype=int) for values in zip(*draws))
    return make_events(x, y, times, p)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("suffix", ["", ".bin"])
def test_sample_is_read_with_its_counts_under_any_name(format_data, tmp_path, name, suffix):
    """The format is found from the content: a file that was renamed to .bin is read all the same."""
    kind, size, count, first, last = SAMPLES[name]
    if kind == "AEDAT 4":
        pytest.importorskip("lz4")
    path = format_data / name
    if suffix:
        path = write(tmp_path / f"renamed{suffix}", path.read_bytes())
    recording = read_recording(path)
    assert recording.format == kind
    assert recording.sensor_size == (*size, 2)
    events = recording.events
    assert events.dtype == EVENT_DTYPE
    assert (len(events), events["t"][0], events["t"][-1]) == (count, first, last)
    assert (np.diff(events["t"]) >= 0).all()
    assert set(np.unique(events["p"])) == {0, 1}


def test_all_gesture_samples_are_read(format_data):
    counts = [len(read_events(format_data / f"dvsgesture_{number}.bs2")) for number in range(1, 7)]
    assert (min(counts), max(counts), len(set(counts))) == (63_471, 181_179, 6)


def test_file_without_events_of_a_camera_is_refused_by_name(format_data):
    with pytest.raises(RecordingError, match=r"not_events\.es: this is an Event Stream without DVS events"):
        read_events(format_data / "not_events.es")


@pytest.mark.parametrize("name", ["gen3_640x480_evt2.raw", "ncars.dat", "dvs_320x240.es"])
def test_sample_equals_an_independent_reader(format_data, name):
    other, events = by_another_reader(format_data / name), read_events(format_data / name)
    for field in "xytp":
        np.testing.assert_array_equal(events[field], other[field])


def test_evt3_sample_holds_the_events_of_its_numpy_twin(format_data):
    """The twin was made by a reader that takes each step back of the 12-bit clock for 4,096 µs that have passed.

    In this file the clock is set back by 3 or 11 µs nine times, between events. The camera sends the upper time bits
    every 16 µs, here 551 times: 8.8 ms, as decoded here, not the twin's 53.9 ms.
    """
    path = format_data / "gen41_1280x720_evt3.raw"
    events, twin = read_events(path), read_events(format_data / "gen41_1280x720_evt3.npy")
    for field in "xyp":
        np.testing.assert_array_equal(events[field], twin[field])
    jumps = np.diff(twin["t"] - events["t"], prepend=0)
    assert set(jumps) == {0, 4_096}
    assert np.count_nonzero(jumps) == 11
    raw = path.read_bytes()
    words = np.frombuffer(raw, "<u2", offset=raw.index(b"\n", raw.index(b"system_ID")) + 1)
    time_highs = np.count_nonzero(words >> 12 == 8)
    assert abs(16 * time_highs - (events["t"][-1] - events["t"][0])) <= 16


def test_aedat4_sample_equals_an_independent_reader(format_data):
    aedat, _ = pytest.importorskip("aedat"), pytest.importorskip("lz4")
    path = format_data / "dvxplorer_320x240.aedat4"
    other = np.concatenate([packet["events"] for packet in aedat.Decoder(path) if "events" in packet])
    events = read_events(path)
    for field, theirs in (("x", other["x"]), ("y", other["y"]), ("p", other["on"])):
        np.testing.assert_array_equal(events[field], theirs)
    np.testing.assert_array_equal(events["t"], other["t"].astype(np.int64) - int(other["t"][0]))


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("block", [1_000, 70_001])
def test_blocks_join_to_the_whole(format_data, name, block):
    if name.endswith("aedat4"):
        pytest.importorskip("lz4")
    blocks = RecordingBlocks(format_data / name, block)
    joined = np.concatenate(list(blocks))
    np.testing.assert_array_equal(joined, read_events(format_data / name))


@pytest.mark.parametrize("suffix", WRITABLE)
@given(events=recordings())
def test_written_events_come_back(tmp_path_factory, suffix, events):
    path = tmp_path_factory.mktemp("trip") / f"events{suffix}"
    write_events(path, events, sensor_size=(320, 240))
    recording = read_recording(path)
    np.testing.assert_array_equal(recording.events, events)
    if suffix not in (".bin", ".npy", ".csv", ".aedat"):
        assert recording.sensor_size == (320, 240, 2)


def test_long_files_are_read_a_block_at_a_time(tmp_path):
    """A file of one packet, of one array or of records without end takes no memory for all of its events."""
    rng, count = np.random.default_rng(0), 5_000
    x, y, p = (rng.integers(0, high, count) for high in (240, 180, 2))
    events = make_events(x, y, np.sort(rng.integers(0, 2**25, count)), p)  # beyond the clock of N-MNIST's records
    paths = [tmp_path / f"a{suffix}" for suffix in WRITABLE]
    for path in paths:
        write_events(path, events, sensor_size=(240, 180))
    paths += [tmp_path / "table.npz", tmp_path / "packed.npz"]
    np.savez_compressed(paths[-2], events=events, sensor_size=(240, 180))
    np.savez_compressed(paths[-1], **{field: events[field].astype(float) for field in "xytp"})
    for path in paths:
        blocks = list(RecordingBlocks(path, 700, unit="us"))
        assert max(map(len, blocks)) <= 700, path.suffix
        np.testing.assert_array_equal(np.concatenate(blocks), events)


@pytest.mark.parametrize(
    "last", ["0.29,1,2,1", "0.290 , 1,2,1\n", "+.29,1e0,2,1", "\r\n0.29,1,2,1\r\n", "# end\n29e-2,1,2,1"]
)
@pytest.mark.parametrize("head", ["t,x,y,p\n", "\ufefft,x,y,p\r\n", "# made\rt,x,y,p\n"])
def test_text_is_read_to_the_same_numbers_however_it_is_written(tmp_path, monkeypatch, head, last):
    """Plain lines have a parser of their own, and chunks may end anywhere in them."""
    monkeypatch.setattr(text_files, "_BYTES_A_BLOCK", 7)
    path = write(tmp_path / "a.csv", f"{head}0.1,3,4,0\n.25,3,4,1\r\n{last}".encode())
    for events in (read_events(path, unit="s"), np.concatenate(list(RecordingBlocks(path, 2, unit="s")))):
        assert events.tolist() == [(3, 4, 100_000, 0), (3, 4, 250_000, 1), (1, 2, 290_000, 1)]


@given(st.lists(st.decimals(-(10**9), 10**9, places=9), min_size=1, max_size=20))
def test_plain_numbers_are_parsed_as_python_parses_them(numbers):
    text = "".join(f"{number:f}\n" for number in numbers).encode()
    table = np.empty((len(numbers), 1))
    rows, used = text_files._parse(np.frombuffer(text, np.uint8), ord(","), table)
    assert table[:rows, 0].tolist() == [float(number) for number in numbers[:rows]]
    assert rows == len(numbers) or not abs(numbers[rows]) < 9_000_000
    assert used == sum(len(f"{number:f}\n") for number in numbers[:rows])


@pytest.mark.parametrize("suffix", [".es", ".dat", ".raw"])
def test_written_events_are_read_by_an_independent_reader(tmp_path, suffix):
    path = tmp_path / f"events{suffix}"
    write_events(path, EVENTS, sensor_size=(320, 240))
    other = by_another_reader(path)
    for field in "xytp":
        np.testing.assert_array_equal(other[field], EVENTS[field])


def test_evt2_golden_words(tmp_path):
    # Nothing before the first time base counts; then (7, 9) ON at 64 * 2 + 3, a trigger, and (5, 6) OFF after a wrap.
    words = [1 << 28 | 1 << 11 | 1, 8 << 28 | 2, 1 << 28 | 3 << 22 | 7 << 11 | 9, 10 << 28, 8 << 28 | 0xFFFFFFF]
    words += [8 << 28 | 1, 5 << 11 | 6]
    path = write(tmp_path / "a", b"% evt 2.0\n% geometry 64x32\n% end\n", struct.pack("<7I", *words))
    recording = read_recording(path)
    assert recording.events.tolist() == [(7, 9, 131, 1), (5, 6, 2**34 + 64, 0)]
    assert recording.sensor_size == (64, 32, 2)


@pytest.mark.parametrize("order", ["", ";endianness=legacy"])
def test_evt21_golden_words(tmp_path, order):
    # A time base of 3 * 64 µs; then at 192 + 5 the pixels (40, 8), (42, 8) and (71, 8), ON.
    words = [8 << 60 | 3 << 32, 1 << 60 | 5 << 54 | 40 << 43 | 8 << 32 | 0x80000005]
    if order:
        words = [(word & 0xFFFFFFFF) << 32 | word >> 32 for word in words]
    header = f"% format EVT21{order};height=720;width=1280\n% end\n".encode()
    recording = read_recording(write(tmp_path / "a", header, struct.pack("<2Q", *words)))
    assert recording.events.tolist() == [(40, 8, 197, 1), (42, 8, 197, 1), (71, 8, 197, 1)]
    assert recording.format == "EVT 2.1"


def test_evt3_golden_words(tmp_path):
    # Time high 1, low 2; row 9; ON at x = 5; a vector from x = 20, OFF: bits 0, 11 of 12, then bit 7 of 8; wrap.
    words = [0x8001, 0x6002, 0x0009, 0x2805, 0x3014, 0x4801, 0x5080, 0xA000, 0x8FFF, 0x8000, 0x6001, 0x2003]
    path = write(tmp_path / "a", b"% evt 3.0\n% geometry 1280x720\n% end\n", struct.pack("<12H", *words))
    t = 4_096 + 2
    assert read_events(path).tolist() == [
        (5, 9, t, 1),
        (20, 9, t, 0),
        (31, 9, t, 0),
        (39, 9, t, 0),
        (3, 9, 2**24 + 1, 0),
    ]


def test_dat_golden_bytes(tmp_path):
    header = b"% Data file containing CD events.\n% Version 2\n% Width 304\n% Height 240\n\x0c\x08"
    path = write(tmp_path / "a", header, struct.pack("<4I", 10, 303 | 239 << 14 | 1 << 28, 12, 5 | 6 << 14))
    recording = read_recording(path)
    assert recording.events.tolist() == [(303, 239, 10, 1), (5, 6, 12, 0)]
    assert recording.sensor_size == (304, 240, 2)


def test_event_stream_golden_bytes(tmp_path):
    # 127 µs pass, a reset, then 5 more: ON at (258, 1), from below; 0 µs later OFF at (0, 9).
    body = bytes([0xFF, 0xFE, 5 << 1 | 1, 2, 1, 1, 0, 0, 0, 0, 9, 0])
    path = write(tmp_path / "a", b"Event Stream\x02\x00\x00\x01", struct.pack("<2H", 320, 10), body)
    assert read_events(path).tolist() == [(258, 8, 132, 1), (0, 0, 132, 0)]


def test_aedat2_golden_bytes(tmp_path):
    header = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"
    dvs, frame, imu = 30 << 22 | 40 << 12 | 1 << 11, 1 << 31, 1 << 10
    path = write(tmp_path / "a", header, struct.pack(">6I", dvs, 9, frame, 10, imu, 11))
    recording = read_recording(path)
    assert recording.events.tolist() == [(239 - 40, 179 - 30, 9, 1)]
    assert recording.sensor_size == (240, 180, 2)
    old = write(tmp_path / "b", b"#!AER-DAT2.0\r\n", struct.pack(">4I", 5 << 8 | 4 << 1 | 1, 7, 5 << 8 | 4 << 1, 8))
    assert read_events(old).tolist() == [(123, 122, 7, 0), (123, 122, 8, 1)]
    unknown = write(tmp_path / "c", b"#!AER-DAT2.0\r\n", struct.pack(">2I", dvs, 9))
    with pytest.raises(RecordingError, match=r"which camera made it\. Give its sensor_size"):
        read_events(unknown)
    assert read_events(unknown, sensor_size=(346, 260)).tolist() == [(305, 229, 9, 1)]


def test_aedat3_golden_bytes(tmp_path):
    header = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    valid, wrong = 300 << 17 | 200 << 2 | 1 << 1 | 1, 1 << 17
    packet = struct.pack("<hhiiiiii", 1, 1, 8, 4, 1, 2, 2, 1) + struct.pack("<4I", valid, 7, wrong, 8)
    other = struct.pack("<hhiiiiii", 0, 1, 8, 4, 0, 1, 1, 1) + bytes(8)
    path = write(tmp_path / "a", header, other, packet)
    assert read_events(path).tolist() == [(300, 200, 2**31 + 7, 1)]
    with pytest.raises(RecordingError, match="cut short"):
        read_events(write(tmp_path / "b", header, other, packet[:-3]))


@pytest.mark.parametrize("layout", ["group", "root", "compound", "table", "prophesee", "e2vid", "mvsec", "other group"])
def test_hdf5_layouts(tmp_path, layout):
    path, x, y, t, p = tmp_path / "a", *(EVENTS[field] for field in "xytp")
    with h5py.File(path, "w") as file:
        if layout == "group":
            for field in "xytp":
                file[f"events/{field}"] = EVENTS[field]
            file["t_offset"] = 1_000
        elif layout == "root":
            for name, values in (("xs", x), ("ys", y), ("ts", t), ("ps", p.astype(bool))):
                file[name] = values
        elif layout == "compound":
            file["events"] = EVENTS
        elif layout == "prophesee":
            file["CD/events"] = EVENTS
        elif layout == "table":
            file["events"] = np.stack([t, x, y, p], axis=1)
        elif layout == "mvsec":
            file["davis/left/events"] = np.stack([x, y, t / 1e6, 2.0 * p - 1], axis=1)
            file["davis/right/events"] = np.zeros((3, 4))
        elif layout == "other group":
            for field in "xytp":
                file[f"prophesee/left/{field}"] = EVENTS[field]
        else:
            for name, values in (("xs", x), ("ys", y), ("ts", t / 1e6), ("ps", p)):
                file[f"events/{name}"] = values
            file.attrs["sensor_resolution"] = (180, 240)
    options = {"table": {"columns": "txyp"}, "e2vid": {"unit": "s"}}.get(layout, {})
    recording = read_recording(path, **options)
    expected = EVENTS.copy()
    expected["t"] += 1_000 if layout == "group" else 0
    np.testing.assert_array_equal(recording.events, expected)
    assert recording.sensor_size == ((240, 180, 2) if layout == "e2vid" else (34, 34, 2))


def test_hdf5_with_several_sets_of_events_names_them(tmp_path):
    with h5py.File(tmp_path / "a", "w") as file:
        for place in ("left", "right"):
            for field in "xytp":
                file[f"{place}/{field}"] = EVENTS[field]
    with pytest.raises(RecordingError, match=r"2 sets of events in this HDF5 file \(left, right\); expected one"):
        read_events(tmp_path / "a")


@pytest.mark.parametrize("place", ["", "TD/"])
def test_matlab_of_version_7_3_has_its_mark_behind_a_header_and_columns_of_one_row(tmp_path, place):
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for field, name in zip("xytp", ("x", "y", "ts", "p")):
            file[place + name] = EVENTS[field].astype(float)[None]
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    np.testing.assert_array_equal(read_events(path), EVENTS)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (32001, r"/events/x is packed with Blosc, which h5py cannot .* Run `pip install hdf5plugin`"),
        (300, "is packed with filter 300,"),
        (0x8ECF, r"Prophesee's ECF codec, which is not read\. Convert .* `metavision_file_to_dat`"),
    ],
)
def test_hdf5_packed_by_a_codec_that_is_missing_names_it(tmp_path, monkeypatch, code, message):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)  # as if it were not installed
    with h5py.File(tmp_path / "a", "w") as file:
        for field in "xytp":
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_chunk((len(EVENTS),))
            plan.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
            shape, kind = h5py.h5s.create_simple((len(EVENTS),)), h5py.h5t.py_create(EVENTS.dtype[field])
            h5py.h5d.create(file.require_group("events").id, field.encode(), kind, shape, plan)
    with pytest.raises(RecordingError, match=message):
        read_events(tmp_path / "a")


def test_hdf5_without_events_says_what_it_found(tmp_path):
    with h5py.File(tmp_path / "a", "w") as file:
        file["spikes/times"] = [1, 2]
    with pytest.raises(RecordingError, match=r"no events in this HDF5 file\. .*found spikes, spikes/times"):
        read_events(tmp_path / "a")


@pytest.mark.parametrize(
    "text",
    [
        "t,x,y,p\n0,3,5,1\n10,0,33,0\n10,33,0,0\n300,7,7,1\n250000,7,8,1\n",
        "# events made by hand\npolarity;x;y;time\n1;3;5;0\n0;0;33;10\n0;33;0;10\n1;7;7;300\n1;7;8;250000\n",
        "34 34\n0 3 5 1\n10 0 33 0\n10 33 0 0\n300 7 7 1\n250000 7 8 1",
        "\ufeff0\t3\t5\t1\r\n10\t0\t33\t0\r\n10\t33\t0\t0\r\n300\t7\t7\t1\r\n250000\t7\t8\t1\r\n",
    ],
)
def test_text_is_read_with_a_header_or_stated_columns(tmp_path, text):
    path = write(tmp_path / "a.bin", text.encode())
    options = {} if "x" in text else {"columns": "txyp"}
    np.testing.assert_array_equal(read_events(path, **options), EVENTS)
    if options:
        with pytest.raises(RecordingError, match=r"nothing says which of its 4 columns.*--columns txyp"):
            read_events(path)


def test_npz_with_python_objects_beside_the_events(tmp_path):
    path, notes = tmp_path / "a.npz", np.array({"who": "me"}, dtype=object)
    np.savez(path, events=np.stack([EVENTS[field] for field in "txyp"], axis=1), index=np.arange(3), meta=notes)
    np.testing.assert_array_equal(read_events(path, columns="txyp"), EVENTS)
    np.savez(path, meta=notes)
    with pytest.raises(RecordingError, match="Python objects and no numbers"):
        read_events(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,x,y,p\n", "no line of numbers"),
        ("t,x,y,p\n1,2,3\n", "line 2 has 3 numbers"),
        ("t,x,y,p\n1,2,3,1\n1,2,c,1\n", "not a number"),
        ("t,x,y,p\n1,2,3,1,5\n", "header names 4 columns, but line 2 has 5"),
        ("hello world\nsecond line\n", "line 2 holds no numbers"),
    ],
)
def test_text_that_holds_no_events_is_refused(tmp_path, text, message):
    with pytest.raises(RecordingError, match=message):
        read_events(write(tmp_path / "a.csv", text.encode()))


def test_text_in_seconds_is_refused_unless_said(tmp_path):
    path = write(tmp_path / "a.csv", b"t,x,y,p\n0.001,1,1,1\n0.002,1,1,0\n")
    with pytest.raises(RecordingError, match=r"a\.csv.*Say unit='s'"):
        read_events(path)
    assert read_events(path, unit="s")["t"].tolist() == [1_000, 2_000]


def test_matlab_columns_and_struct(tmp_path):
    columns = {name: EVENTS[field] for name, field in (("x", "x"), ("y", "y"), ("ts", "t"), ("pol", "p"))}
    savemat(tmp_path / "a", columns, appendmat=False)
    savemat(tmp_path / "b", {"TD": columns, "other": 3}, appendmat=False)
    for name in "ab":
        np.testing.assert_array_equal(read_events(tmp_path / name), EVENTS)
    savemat(tmp_path / "c", {"other": 3}, appendmat=False)
    with pytest.raises(RecordingError, match=r"no sets of events in this MATLAB file.*It holds other"):
        read_events(tmp_path / "c")


def test_numpy_layouts(tmp_path):
    for number, table in enumerate((EVENTS, np.stack([EVENTS[field] for field in "xytp"], axis=1))):
        np.save(tmp_path / f"{number}.npy", table)
        np.savez(tmp_path / f"{number}.npz", events=table)
        for suffix in (".npy", ".npz"):
            path = tmp_path / f"{number}{suffix}"
            np.testing.assert_array_equal(read_events(path, columns="xytp" if number else None), EVENTS)
    np.save(tmp_path / "objects.npy", np.array([{"x": 1}]), allow_pickle=True)
    with pytest.raises(RecordingError, match=r"objects\.npy: the NumPy file cannot be read"):
        read_events(tmp_path / "objects.npy")


def other_files(folder):
    """Return {what messages call it: a file that holds no recording}."""
    with zipfile.ZipFile(folder / "zip", "w") as archive:
        archive.writestr("a.txt", "words")
    starts = {
        "a ROS bag": b"#ROSBAG V2.0\n",
        "a gzip archive": gzip.compress(b"words"),
        "an MP4 or MOV video": b"\x00\x00\x00\x20ftypisom",
        "a GIF": b"GIF89a",
        "a Python pickle": pickle.dumps({"x": [1]}, protocol=4),
        "a Prophesee raw file of EVT 4": b"% evt 4\n% format EVT4;height=720;width=1280\n% end\n1234",
        "AEDAT of a version": b"#!AER-DAT5.0\r\n",
        "a PNG picture": b"\x89PNG\r\n\x1a\n",
        "a ZIP archive": (folder / "zip").read_bytes(),
    }
    return {title: write(folder / str(number), content) for number, (title, content) in enumerate(starts.items())}


def test_other_kinds_of_files_are_refused_by_name_and_with_advice(tmp_path):
    for title, path in other_files(tmp_path).items():
        with pytest.raises(RecordingError, match=rf"{path.name}: this is {title}"):
            read_events(path)
    with pytest.raises(RecordingError, match="this is a Python pickle"):
        read_events(write(tmp_path / "newer", pickle.dumps({"x": [1]}, protocol=5)))
    with pytest.raises(RecordingError, match=r"Unpack it first; a saved PyTorch file"):
        read_events(tmp_path / "zip")


def test_empty_missing_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(RecordingError, match=r"a: the file is empty, so it is no recording"):
        read_events(write(tmp_path / "a"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_events(tmp_path / "nowhere")
    with pytest.raises(RecordingError, match=r"b: none of the formats that are read \(AEDAT 4, .*\), nor another"):
        read_events(write(tmp_path / "b", b"\xfe\x01\x02\x03"))
    with pytest.raises(RecordingError, match=r"c: holds no events"):
        read_events(write(tmp_path / "c", b"% evt 2.0\n% end\n"))


def test_wrong_sensor_is_refused_with_the_file_and_the_event(format_data):
    with pytest.raises(RecordingError, match=r"dvs_320x240\.es.*outside the 128 x 128 sensor"):
        read_events(format_data / "dvs_320x240.es", sensor_size=(128, 128))


def test_write_refuses_what_a_format_cannot_hold(tmp_path):
    wide = make_events([3_000], [1], [1], [1])
    for suffix, message in ((".bin", "0..255"), (".raw", "holds pixels to 2047")):
        with pytest.raises(RecordingError, match=message):
            write_events(tmp_path / f"a{suffix}", wide)
    with pytest.raises(RecordingError, match="holds pixels to 16383 and times below"):
        write_events(tmp_path / "a.dat", make_events([1], [1], [2**33], [1]))
    with pytest.raises(ValueError, match=r"names no format that can be written\. Endings that do: \.aedat"):
        write_events(tmp_path / "a.mp4", EVENTS)
    with pytest.raises(RecordingError, match="no events to write"):
        write_events(tmp_path / "a.npz", EVENTS[:0])
    assert list(tmp_path.iterdir()) == []


def test_writers_convert_as_the_door_does(tmp_path):
    held = {"p": [-1, 1], "x": [1, 2], "y": [3, 4], "t": np.array([5, 6], np.uint64)}
    write_events(tmp_path / "a.npz", held)
    assert read_events(tmp_path / "a.npz").tolist() == [(1, 3, 5, 0), (2, 4, 6, 1)]
    with pytest.raises(RecordingError, match="time runs backwards"):
        write_events(tmp_path / "b.npz", make_events([1, 1], [1, 1], [2, 1], [1, 1]))


def test_times_running_backwards_are_refused_or_sorted(tmp_path):
    path = write(tmp_path / "a.csv", b"t,x,y,p\n5,1,1,1\n3,2,2,0\n")
    with pytest.raises(RecordingError, match=r"time runs backwards at event 1 \(5 to 3 µs\)"):
        read_events(path)
    assert read_events(path, sort=True).tolist() == [(2, 2, 3, 0), (1, 1, 5, 1)]


def test_format_is_added_by_one_file(tmp_path, monkeypatch):
    """A format needs a `FORMAT` and its name in the list; reading and writing follow."""
    added = Format(
        "mine", "a file of mine", (".mine",), lambda head, *_: head.startswith(b"MINE"),
        lambda path, options: Reading(iter([np.load(path.with_suffix(".npy"))]), (64, 48, 2)),
    )  # fmt: skip
    known = formats.all_formats()
    monkeypatch.setattr(formats, "all_formats", lambda: (added, *known))
    np.save(tmp_path / "a.npy", EVENTS)
    recording = read_recording(write(tmp_path / "a.mine", b"MINE"))
    np.testing.assert_array_equal(recording.events, EVENTS)
    assert (recording.format, recording.sensor_size) == ("mine", (64, 48, 2))


def test_whole_numbers_beyond_floating_point_stay_exact(tmp_path):
    times = 1_600_000_000_000_000 + np.arange(0, 3_000, 7)
    rows = "".join(f"{time * 1000 + 1},{k % 30},1,1\n" for k, time in enumerate(times))
    (tmp_path / "ns.csv").write_text("t,x,y,p\n" + rows)
    assert np.array_equal(read_events(tmp_path / "ns.csv", unit="ns")["t"], times - times[0])


def test_device_is_never_replaced_by_a_file(tmp_path):
    from snn_helpers._files import whole_file

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is no ordinary file"), whole_file(tmp_path / "pipe"):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with whole_file(tmp_path / "link") as part:
        part.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("folder", RecordingError, "folder: is a folder, not a recording"),
        ("broken", FileNotFoundError, r"broken: there is no such file \(a link to nowhere\)"),
        ("loop", RecordingError, r"loop: cannot be read \(Too many levels of symbolic links\)"),
        ("file/x", RecordingError, r"file/x: cannot be read \(Not a directory\)"),
        ("pipe", RecordingError, "pipe: is no ordinary file"),
        ("x" * 300, ValueError, "is a name of 300 bytes, and 255 are the most"),
        ("d/" * 3000, ValueError, "is a path of .* bytes, and 4,095 are the most"),
        ("a\0b", ValueError, "holds a null character"),
        ("", ValueError, "a path is empty"),
    ],
)
def test_path_of_no_file_is_refused_in_one_sentence(tmp_path, monkeypatch, name, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(error, match=message) as info:
        read_events(name)
    assert "Errno" not in str(info.value)
