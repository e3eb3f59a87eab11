"""Readers on hostile bytes: sound events or one clear message, for any content under any name."""

import os
import struct
import sys
import tracemalloc
import zipfile
import zlib
from io import BytesIO

import h5py
import numpy as np
import pytest
from fuzz_readers import (
    aedat4,
    aedat4_packet,
    few_events,
    formats_folder,
    fuzz,
    made_files,
    outcome,
    real_files,
    write,
)

from snn_helpers.events.dtype import RecordingError, make_events
from snn_helpers.events.read import RecordingBlocks, read_recording

INPUTS = int(os.environ.get("SNN_FUZZ") or 40)  # of each file, of which a format has several


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return made_files(tmp_path_factory.mktemp("made")) | real_files(formats_folder())


def test_files_are_read_before_they_are_damaged(files, tmp_path):
    for name, content in files.items():
        options = {"columns": "txyp"} if name == "header.csv" else {}
        assert outcome(write(tmp_path / name, content), **options) is not None, name


def test_damaged_files_give_sound_events_or_a_clear_refusal(files, tmp_path):
    seed = int(os.environ.get("SNN_FUZZ_SEED") or 0)
    counts = fuzz(seed, 0, INPUTS * len(files), tmp_path / "failing")
    assert {what for _, what in counts} == {"read", "refused"}, f"failing inputs are kept in {tmp_path / 'failing'}"


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


def test_hdf5_heap_larger_than_its_file_is_refused(tmp_path):
    content = hdf5(tmp_path / "a.h5", lambda file: [columns_of(file), file["events"].attrs.create("unit", "us")])
    place = content.index(b"GCOL") + 8
    assert len(outcome(write(tmp_path / "a.h5", content))) == 60
    vast = content[:place] + struct.pack("<Q", 100_000_000) + content[place + 8 :]
    refused(tmp_path / "a.h5", vast, r"its strings would take 100,000,000 bytes of a file of \d+,\d{3}")
    reference = content.index(struct.pack("<Q", place - 8), content.index(b"unit\0"))
    astray = content[:reference] + struct.pack("<Q", place - 24) + content[reference + 8 :]
    refused(tmp_path / "a.h5", astray, "its `unit` leads to no string")


def test_hdf5_heap_in_which_an_object_has_no_size_is_refused(tmp_path):
    # HDF5 2.0 never came back from it: free space of no bytes, behind a string of none.
    content = hdf5(tmp_path / "a.h5", lambda file: [columns_of(file), file["events"].attrs.create("unit", "us")])
    size = content.index(b"GCOL") + 24
    assert content[size : size + 10] == struct.pack("<Q", 2) + b"us"
    for wrong in (0, 2**64 - 1):
        endless = content[:size] + struct.pack("<Q", wrong) + content[size + 8 :]
        refused(tmp_path / "a.h5", endless, "its strings do not follow each other")


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
    path, packet = tmp_path / "a.aedat4", aedat4_packet(few_events())
    assert len(outcome(write(path, aedat4(packet)))) == 60
    refused(path, aedat4(packet)[:-1], "damaged or cut short: its packets end at")
    refused(path, aedat4(packet) + struct.pack("<ii", 0, 2**31 - 1), "damaged or cut short: its packets end at")
    many = packet[:28] + struct.pack("<I", 2**28) + packet[32:]  # events, more than there are bytes
    refused(path, aedat4(many), "cannot be read")
    refused(path, aedat4(packet).replace(b"sizeX", b"\xf0izeX"), "cannot be read")
    refused(path, aedat4(packet, width=0), "size that cannot be")
    refused(path, aedat4(packet, 9), r"packed in way 9; LZ4 \(1, 2\) and Zstandard \(3, 4\) are read")
    refused(path, aedat4(packet).replace(b"EVTS", b"IMUS"), "holds 0 streams of events")
    refused(path, aedat4(packet[:8] + b"IMUS" + packet[12:]), "a packet holds no events")


@pytest.mark.parametrize(("library", "compression"), [("lz4.frame", 1), ("lz4.frame", 2), ("zstandard", 3)])
def test_aedat4_packets_are_unpacked_but_not_beyond_what_they_may_hold(tmp_path, library, compression):
    codec, path, packet = pytest.importorskip(library), tmp_path / "a.aedat4", aedat4_packet(few_events())
    unpacked = outcome(write(path, aedat4(packet)))
    np.testing.assert_array_equal(outcome(write(path, aedat4(codec.compress(packet), compression))), unpacked)
    refused(path, aedat4(codec.compress(packet)[:-9], compression), "cannot be read")
    refused(path, aedat4(b"x" + codec.compress(packet), compression), "cannot be read")
    bomb = aedat4(codec.compress(bytes(80 << 20)), compression)
    tracemalloc.start()
    refused(path, bomb, "would unpack to")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 160 << 20  # what may be unpacked from any file, and a copy


def test_aedat4_names_the_package_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lz4", None)
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(ModuleNotFoundError, match=r"a\.aedat4: .* package lz4, .*pip install 'snn_helpers\[formats\]'"):
        read_recording(write(tmp_path / "a.aedat4", aedat4(b"", 1)))
