"""The door for events: what people hold them in becomes the same recording, or is refused by name; never another."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_helpers.events.convert import EPOCH_US, find_sensor_size, to_events
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError, make_events

X, Y, T, P = [3, 0, 33, 7], [5, 33, 0, 7], [0, 10, 10, 250_000], [1, 0, 0, 1]
EXPECTED = make_events(X, Y, T, P)


def same(events):
    assert events.dtype == EVENT_DTYPE
    np.testing.assert_array_equal(events, EXPECTED)


def fields(dtype, **values):
    array = np.empty(len(next(iter(values.values()))), dtype)
    for name, column in values.items():
        array[name] = column
    return array


@pytest.mark.parametrize(
    "held",
    [
        EXPECTED,
        fields([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")], x=X, y=Y, t=T, p=P),
        fields({"names": list("txyp"), "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12],
                "itemsize": 16}, x=X, y=Y, t=T, p=P),
        fields([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")], x=X, y=Y, t=T, p=P),
        fields([("ts", "u4"), ("X", "u1"), ("Y", "u1"), ("polarity", "f4")], ts=T, X=X, Y=Y, polarity=P),
        {"x": X, "y": Y, "timestamp": T, "pol": P},
        {"p": [True, False, False, True], "t": np.array(T, np.uint64), "y": Y, "x": X},
        {"p": [1, -1, -1, 1], "t": np.array(T, float), "y": np.array(Y, float), "x": X},
        pd.DataFrame({"polarity": P, "x": X, "t": T, "y": Y}),
        {"x": X, "y": Y, "t": np.array(T, "timedelta64[us]"), "p": P},
    ],
)  # fmt: skip
def test_events_are_the_same_however_they_are_held(held):
    same(to_events(held))


def test_columns_say_the_order_of_a_plain_array():
    same(to_events(np.stack([T, X, Y, P], axis=1), columns="txyp"))
    same(to_events(np.stack([X, Y, P, T], axis=1).astype(float), columns="xypt"))
    same(to_events(x=X, y=Y, t=T, p=P))
    five = make_events([*X, 1], [*Y, 2], [*T, 300_000], [*P, 1])
    columns = tuple(five[field].astype(int) for field in "txyp")
    np.testing.assert_array_equal(to_events(columns, columns="txyp"), five)


def test_columns_name_fields_that_are_called_otherwise():
    same(to_events({"u": X, "v": Y, "when": T, "sign": P}, columns=("u", "v", "when", "sign")))


def test_events_that_are_right_are_not_copied():
    assert to_events(EXPECTED) is EXPECTED


@pytest.mark.parametrize(
    ("unit", "factor"), [("us", 1.0), ("ms", 1e-3), ("s", 1e-6), ("ns", 1_000)]
)  # fmt: skip
def test_unit_of_time_is_converted(unit, factor):
    same(to_events(x=X, y=Y, t=np.array(T) * factor, p=P, unit=unit))


@given(t=st.lists(st.integers(0, 2**40), min_size=1, max_size=30).map(sorted))
def test_seconds_give_back_every_microsecond(t):
    events = to_events(x=[0] * len(t), y=[0] * len(t), t=np.array(t) / 1e6, p=[1] * len(t), unit="s")
    assert events["t"].tolist() == t


def test_seconds_are_refused_unless_said():
    with pytest.raises(RecordingError, match=r"times must be whole µs; got 1e-05 .*Seconds\? Say unit='s'"):
        to_events(x=X, y=Y, t=np.array(T) / 1e6, p=P)
    with pytest.raises(RecordingError, match=r"Milliseconds\? Say unit='ms'"):
        to_events(x=X, y=Y, t=np.array([0, 1.5, 2, 2_000.25]), p=P)


def test_whole_milliseconds_are_refused_unless_said(real_data):
    from snn_helpers.events.recording import read_bin

    for path in sorted(real_data.glob("Train/*/*.bin"))[::50]:
        events = read_bin(path)
        in_ms = {"x": events["x"], "y": events["y"], "t": events["t"] // 1000, "p": events["p"]}
        with pytest.raises(RecordingError, match=r"more than a camera gives\. Milliseconds\? Say unit='ms'"):
            to_events(in_ms)
        assert to_events(in_ms, unit="ms")["t"].tolist() == (events["t"] // 1000 * 1000).tolist()
        assert to_events(in_ms, unit="us")["t"].tolist() == in_ms["t"].tolist()


def test_nanoseconds_since_1970_are_refused_unless_said():
    with pytest.raises(RecordingError, match=r"Nanoseconds\? Say unit='ns'"):
        to_events(x=X, y=Y, t=np.array(T) * 1000 + 1_605_537_493_718_345_000, p=P)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_epoch_times_are_shifted_to_zero(dtype):
    same(to_events(x=X, y=Y, t=(np.array(T) + 1_605_537_493_718_345).astype(dtype), p=P))
    late = to_events(x=X, y=Y, t=np.array(T) + EPOCH_US - 250_001, p=P)
    assert late["t"][0] == EPOCH_US - 250_001  # a clock that runs is no epoch


def test_shift_leaves_the_input_unchanged():
    events = make_events(X, Y, np.array(T) + 1_605_537_493_718_345, P)
    before = events.copy()
    same(to_events(events))
    np.testing.assert_array_equal(events, before)


def test_unsigned_times_running_backwards_are_seen():
    with pytest.raises(RecordingError, match=r"time runs backwards at event 2 \(10 to 9 µs\)\. Say sort=True"):
        to_events(x=X, y=Y, t=np.array([0, 10, 9, 20], np.uint32), p=P)


def test_sort_is_stable():
    events = to_events(x=[9, 1, 2, 3], y=Y, t=[5, 0, 5, 0], p=P, sort=True)
    assert events["x"].tolist() == [1, 3, 9, 2]
    assert events["t"].tolist() == [0, 0, 5, 5]


def test_events_of_one_instant_stay():
    assert to_events(x=[1, 2, 3], y=[1, 2, 3], t=[7, 7, 7], p=[1, 1, 1])["t"].tolist() == [7, 7, 7]


@pytest.mark.parametrize("held", [{"x": [], "y": [], "t": [], "p": []}, np.empty(0, EVENT_DTYPE)])
def test_no_events_are_a_recording(held):
    assert to_events(held).shape == (0,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": [-1, 0, 0, 0]}, r"event 0 has x = -1; pixels are counted from 0"),
        ({"y": [0, 0, 40_000, 0]}, r"event 2 has y = 40000; .*at most 32767"),
        ({"x": [0, 0.5, 0, 0]}, r"event 1 has x = 0\.5, between two pixels"),
        ({"y": [0, float("nan"), 0, 0]}, r"`y` of event 1 is nan"),
        ({"t": [0, 1, 2, float("inf")]}, r"`t` of event 3 is inf"),
        ({"t": [-5, 1, 2, 3]}, r"the first time is -5 µs; times must be 0 or later"),
        ({"t": np.array([0, 1, 2, 2**63], np.uint64)}, r"beyond any clock"),
        ({"p": [0, 1, 2, 1]}, r"polarities must be 0 and 1, -1 and 1, or False and True .*got 0, 1, 2"),
        ({"p": [-1, 0, 1, 1]}, r"polarities must be .*got -1, 0, 1"),
        ({"p": [0.5, 0, 1, 1]}, r"polarities must be"),
        ({"p": [1, 2, 2, 1]}, r"got 1, 2\. Say which of them means ON"),
        ({"x": [1, 2, 3]}, r"of one length, shape \[N\] each; got x \[3\], y \[4\]"),
    ],
)
def test_wrong_columns_are_refused_by_name(wrong, message):
    with pytest.raises(RecordingError, match=message):
        to_events(**{"x": X, "y": Y, "t": T, "p": P, **wrong})


@pytest.mark.parametrize(
    ("events", "options", "message"),
    [
        (np.zeros((3, 4)), {}, r"nothing says which column is x, y, t and p"),
        (np.zeros((3, 4)), {"columns": "xyzt"}, r"`columns` 'xyzt' does not say which"),
        (np.zeros((3, 5)), {"columns": "xytp"}, r"shape \[N, 4\].*got \[3, 5\]"),
        ({"x": X, "y": Y, "t": T}, {}, r"no `p` among x, y, t\. Name them"),
        ({"x": X, "y": Y, "t": T, "ts": T, "p": P}, {}, r"2 columns could be `t` \(t, ts\)"),
        ({"x": ["a"] * 4, "y": Y, "t": T, "p": P}, {}, r"`x` must hold numbers"),
        (None, {"x": X, "y": Y, "t": T}, r"no `p` among x, y, t"),
        (EXPECTED, {"x": X}, r"either `events` or x, y, t and p"),
    ],
)
def test_what_holds_no_events_is_refused(events, options, message):
    with pytest.raises(TypeError, match=message):
        to_events(events, **options)


def test_sensor_is_checked_and_named():
    to_events(EXPECTED, sensor_size=(34, 34))
    with pytest.raises(RecordingError, match=r"event 2 is at \(33, 0\), outside the 33 x 34 sensor"):
        to_events(EXPECTED, sensor_size=(33, 34, 2))
    with pytest.raises(ValueError, match=re.escape("`sensor_size` must be (width, height) in pixels; got (34,)")):
        to_events(EXPECTED, sensor_size=(34,))


def test_own_dtype_is_checked_too():
    same(to_events(make_events(X, Y, T, [1, -1, -1, 1])))
    with pytest.raises(RecordingError, match=r"polarities must be .*got 1, 2"):
        to_events(make_events([1, 1], [1, 1], [0, 1], [1, 2]))
    with pytest.raises(RecordingError, match=r"event 0 is at \(-1, 4\)"):
        to_events(make_events([-1], [4], [0], [1]))


@pytest.mark.parametrize(
    ("pixel", "size"),
    [((33, 33), (34, 34)), ((34, 0), (128, 128)), ((239, 179), (240, 180)), ((345, 259), (346, 260)),
     ((639, 400), (640, 480)), ((1279, 719), (1280, 720)), ((1919, 1079), (1920, 1080))],
)  # fmt: skip
def test_smallest_common_sensor_is_found(pixel, size):
    assert find_sensor_size(*pixel) == (*size, 2)
