"""N-MNIST's file format, held against bytes worked out by hand and against tonic's reader."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tonic.datasets import NMNIST
from tonic.io import read_mnist_file

from snn_helpers.events.recording import EVENT_DTYPE, RecordingError, make_events, read_bin, write_bin

# x, y, polarity (highest bit) and time 23 bits: (1, 2, ON, 5 us), (33, 0, OFF, 0x123456 us), (10, 33, ON, 0x7FFFFF us).
GOLDEN = bytes.fromhex("01 02 80 00 05  21 00 12 34 56  0A 21 FF FF FF")
GOLDEN_EVENTS = [(1, 2, 5, 1), (33, 0, 1_193_046, 0), (10, 33, 8_388_607, 1)]
# The first time that does not fit, 2**23: one overflow record, and the clock is back by 8,192 us = 0x2000.
GOLDEN_OVERFLOW = bytes.fromhex("00 F0 00 00 00  07 08 7F E0 00")


def as_tonic_reads(path):
    return read_mnist_file(str(path), dtype=NMNIST.dtype)


def assert_same_events(events, others):
    assert len(events) == len(others)
    for field in "xytp":
        np.testing.assert_array_equal(events[field], others[field], err_msg=field)


@st.composite
def recordings(draw, largest_t=2**24 + 100_000):
    times = sorted(draw(st.lists(st.integers(0, largest_t), min_size=1, max_size=30)))
    pixel = st.integers(0, 33)
    draws = [(draw(pixel), draw(pixel), draw(st.integers(0, 1))) for _ in times]
    x, y, p = (np.array(values, dtype=int) for values in zip(*draws))
    return make_events(x, y, times, p)


def test_read_decodes_golden_bytes(tmp_path):
    path = tmp_path / "golden.bin"
    path.write_bytes(GOLDEN)
    events = read_bin(path)
    assert events.dtype == EVENT_DTYPE
    assert events.tolist() == GOLDEN_EVENTS


def test_write_encodes_golden_bytes(tmp_path):
    path = tmp_path / "golden.bin"
    write_bin(path, np.array(GOLDEN_EVENTS, dtype=EVENT_DTYPE))
    assert path.read_bytes() == GOLDEN


def test_overflow_golden_bytes_both_ways(tmp_path):
    path = tmp_path / "overflow.bin"
    path.write_bytes(GOLDEN_OVERFLOW)
    assert read_bin(path).tolist() == [(7, 8, 2**23, 0)]
    write_bin(path, np.array([(7, 8, 2**23, 0)], dtype=EVENT_DTYPE))
    assert path.read_bytes() == GOLDEN_OVERFLOW


def test_read_equals_tonic_on_overflow_records(tmp_path):
    # Overflows in the middle of a recording, two in a row, and at its end: each adds to all times after it.
    records = [(1, 2, 0, 10), (0, 240, 0, 0), (3, 4, 128, 20), (0, 240, 0, 0), (0, 240, 0, 0), (5, 6, 0, 30)]
    records += [(0, 240, 0, 0)]
    path = tmp_path / "overflows.bin"
    path.write_bytes(b"".join(bytes([x, y, high, 0, low]) for x, y, high, low in records))
    events = read_bin(path)
    assert events["t"].tolist() == [10, 20 + 8_192, 30 + 3 * 8_192]
    assert_same_events(events, as_tonic_reads(path))


@given(events=recordings())
def test_write_then_read_gives_the_events_back(tmp_path_factory, events):
    path = tmp_path_factory.mktemp("round") / "trip.bin"
    write_bin(path, events)
    np.testing.assert_array_equal(read_bin(path), events)
    assert_same_events(events, as_tonic_reads(path))


def test_read_equals_tonic_on_real_recordings(real_data):
    paths = sorted(real_data.glob("Train/*/*.bin"))[::40]
    assert len(paths) >= 10
    for path in paths:
        assert_same_events(read_bin(path), as_tonic_reads(path))


def test_write_gives_a_real_recording_its_own_bytes_back(real_data, tmp_path):
    source = min(real_data.glob("Train/7/*.bin"))
    write_bin(tmp_path / "copy.bin", read_bin(source))
    assert (tmp_path / "copy.bin").read_bytes() == source.read_bytes()


def test_empty_file_is_no_recording(tmp_path):
    path = tmp_path / "empty.bin"
    path.write_bytes(b"")
    with pytest.raises(RecordingError, match=r"empty\.bin: the file is empty, so it is no recording"):
        read_bin(path)
    with pytest.raises(RecordingError, match=r"no\.bin: there are no events, and an empty file is no recording"):
        write_bin(tmp_path / "no.bin", make_events([], [], [], []))
    assert not (tmp_path / "no.bin").exists()


def test_read_names_the_format_of_another_file(tmp_path):
    for content, title in ((b"% evt 2.0\n% end\n" + bytes(8), "Prophesee EVT 2.0"), (b"GIF89a\x01", "a GIF")):
        path = tmp_path / "other.bin"
        path.write_bytes(content)
        with pytest.raises(RecordingError, match=rf"other\.bin: this is {title}, not N-MNIST's"):
            read_bin(path)


def test_read_accepts_events_at_the_same_time(tmp_path):
    path = tmp_path / "twice.bin"
    path.write_bytes(GOLDEN[:5] * 2)
    assert read_bin(path)["t"].tolist() == [5, 5]


@pytest.mark.parametrize("size", [1, 4, 14])
def test_read_refuses_a_truncated_file(tmp_path, size):
    path = tmp_path / "cut.bin"
    path.write_bytes(GOLDEN[:size])
    with pytest.raises(RecordingError, match=rf"cut\.bin: {size} bytes is not a multiple of 5"):
        read_bin(path)


@pytest.mark.parametrize(("x", "y"), [(34, 0), (0, 34), (255, 0), (0, 239), (0, 241)])
def test_read_refuses_events_outside_the_sensor(tmp_path, x, y):
    path = tmp_path / "wide.bin"
    path.write_bytes(GOLDEN[:5] + bytes([x, y, 0, 0, 9]))
    with pytest.raises(RecordingError, match=rf"wide\.bin: event 1 is at \({x}, {y}\), outside the 34 x 34 sensor"):
        read_bin(path)


def test_read_names_the_outside_event_when_there_are_overflow_records(tmp_path):
    path = tmp_path / "both.bin"
    path.write_bytes(bytes([0, 240, 0, 0, 0]) + GOLDEN[:5] + bytes([3, 250, 0, 0, 9]))
    with pytest.raises(RecordingError, match=r"both\.bin: event 1 is at \(3, 250\)"):
        read_bin(path)


def test_read_takes_another_sensor_size(tmp_path):
    path = tmp_path / "wide.bin"
    path.write_bytes(bytes([100, 50, 0, 0, 9]))
    assert read_bin(path, sensor_size=(128, 64, 2)).tolist() == [(100, 50, 9, 0)]


def test_read_refuses_time_running_backwards(tmp_path):
    path = tmp_path / "back.bin"
    path.write_bytes(bytes([1, 1, 0, 0, 9]) + bytes([1, 1, 0, 0, 10]) + bytes([1, 1, 0, 0, 9]))
    with pytest.raises(RecordingError, match=r"back\.bin: time runs backwards at event 2"):
        read_bin(path)


def test_read_refuses_time_running_backwards_across_an_overflow(tmp_path):
    # The overflow adds 8,192 us, but the clock goes back by 65,536.
    path = tmp_path / "back.bin"
    path.write_bytes(bytes([1, 1, 1, 0, 0]) + bytes([0, 240, 0, 0, 0]) + bytes([1, 1, 0, 0, 0]))
    with pytest.raises(RecordingError, match="time runs backwards at event 1"):
        read_bin(path)


def test_read_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.bin"):
        read_bin(tmp_path / "nowhere.bin")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ((256, 0, 0, 0), r"`x` must be in 0\.\.255; got 256"),
        ((0, 240, 0, 0), r"`y` must be in 0\.\.239; got 240"),
        ((0, -1, 0, 0), r"event 0 is at \(0, -1\); pixels are counted from 0"),
        ((0, 0, 0, 2), r"polarities must be 0 and 1, .*got 2"),
        ((0, 0, -1, 0), "the first time is -1 µs; times must be 0 or later"),
    ],
)
def test_write_refuses_what_does_not_fit_and_leaves_nothing(tmp_path, event, message):
    with pytest.raises(RecordingError, match=rf"bad\.bin`?: {message}"):
        write_bin(tmp_path / "bad.bin", np.array([event], dtype=EVENT_DTYPE))
    assert list(tmp_path.iterdir()) == []


def test_write_refuses_unsorted_events(tmp_path):
    with pytest.raises(RecordingError, match="time runs backwards at event 1"):
        write_bin(tmp_path / "bad.bin", make_events([0, 0], [0, 0], [2, 1], [0, 0]))
    assert list(tmp_path.iterdir()) == []


def test_write_that_fails_keeps_the_file_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "kept.bin"
    path.write_bytes(GOLDEN)

    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(OSError, match="No space left"):
        write_bin(path, np.array(GOLDEN_EVENTS[:1], dtype=EVENT_DTYPE))
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.bin"]
    assert path.read_bytes() == GOLDEN


def test_write_leaves_its_input_unchanged(tmp_path):
    events = np.array([(1, 2, 3, 1), (4, 5, 2**23 + 9, 0)], dtype=EVENT_DTYPE)
    before = events.copy()
    write_bin(tmp_path / "same.bin", events)
    np.testing.assert_array_equal(events, before)
