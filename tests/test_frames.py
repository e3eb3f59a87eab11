"""Frames, held against tonic's ToFrame bit for bit and against a slow plain formula."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tonic.transforms import ToFrame

from snn_helpers.events.convert import to_events
from snn_helpers.events.frames import Augment, EventsLostWarning, FrameSpec, bin_frames
from snn_helpers.events.recording import SENSOR_SIZE, RecordingError, make_events, read_bin


def frames_of(recordings, spec, indices=None, augment=None, seed=0):
    """Bin a list of structured recordings; `indices` default to all of them."""
    events = np.concatenate(recordings)
    offsets = np.cumsum([0, *(len(recording) for recording in recordings)])
    indices = np.arange(len(recordings)) if indices is None else indices
    flat = tuple(np.ascontiguousarray(events[field]) for field in "xytp")
    return bin_frames(flat, offsets, indices, SENSOR_SIZE, spec, augment, seed)


def lossy_frames_of(*args, **options):
    """Bin without the warning that events are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EventsLostWarning)
        return frames_of(*args, **options)


def counted(events, bins, num_steps):
    """Count events in given bins, one by one; a bin outside 0..num_steps - 1 is left out."""
    frames = np.zeros((num_steps, 2, 34, 34), np.int64)
    for (x, y, _, p), step in zip(events.tolist(), bins.tolist()):
        if 0 <= step < num_steps:
            frames[step, p, y, x] += 1
    return frames


def bins_of_recording(events, num_steps):
    t = events["t"].astype(np.int64)
    return (t - t[0]) * num_steps // (t[-1] - t[0] + 1)


@st.composite
def recordings(draw, largest_t=400_000):
    times = np.array(sorted(draw(st.lists(st.integers(0, largest_t), min_size=1, max_size=60))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pixels = rng.integers(0, 34, (2, times.size))
    return make_events(*pixels, times + draw(st.integers(0, 10_000)), rng.integers(0, 2, times.size))


@pytest.fixture
def several(make_recording):
    rng = np.random.default_rng(3)
    return [make_recording(rng, label, count=200 + 50 * label) for label in range(6)]


@given(events=recordings(), num_steps=st.integers(1, 40))
def test_recording_window_equals_the_plain_formula(events, num_steps):
    frames = frames_of([events], FrameSpec(num_steps))[:, 0]
    np.testing.assert_array_equal(frames, counted(events, bins_of_recording(events, num_steps), num_steps))
    assert frames.sum() == len(events)


@given(events=recordings(largest_t=40), num_steps=st.integers(1, 40))
def test_recording_window_equals_the_plain_formula_when_bins_are_shorter_than_a_microsecond(events, num_steps):
    frames = frames_of([events], FrameSpec(num_steps))[:, 0]
    np.testing.assert_array_equal(frames, counted(events, bins_of_recording(events, num_steps), num_steps))


@given(events=recordings(), num_steps=st.integers(1, 40))
def test_tonic_window_equals_tonic(events, num_steps):
    expected = ToFrame(sensor_size=SENSOR_SIZE, n_time_bins=num_steps)(events.copy())
    np.testing.assert_array_equal(lossy_frames_of([events], FrameSpec(num_steps, "tonic"))[:, 0], expected)


@pytest.mark.parametrize("num_steps", [1, 10, 25, 100])
def test_tonic_window_equals_tonic_on_real_recordings(real_data, num_steps):
    events = [read_bin(path) for path in sorted(real_data.glob("Train/*/*.bin"))[::100]]
    frames = frames_of(events, FrameSpec(num_steps, "tonic"))
    to_frame = ToFrame(sensor_size=SENSOR_SIZE, n_time_bins=num_steps)
    for number, recording in enumerate(events):
        np.testing.assert_array_equal(frames[:, number], to_frame(recording.copy()))


def test_recording_window_keeps_every_event_of_real_recordings(real_data):
    events = [read_bin(path) for path in sorted(real_data.glob("Train/*/*.bin"))[::100]]
    frames = frames_of(events, FrameSpec(25))
    assert frames.sum((0, 2, 3, 4), dtype=np.int64).tolist() == [len(recording) for recording in events]
    for number, recording in enumerate(events[:3]):
        np.testing.assert_array_equal(frames[:, number], counted(recording, bins_of_recording(recording, 25), 25))


def test_last_event_is_in_the_last_bin_and_tonic_drops_it():
    # 0..1000 us in 10 bins: tonic's are 100 us wide, [900, 1000) the last; ours end after 1000.
    events = make_events([1, 2, 3], [0, 0, 0], [0, 999, 1000], [0, 0, 0])
    assert frames_of([events], FrameSpec(10))[9].sum() == 2
    tonic_like = frames_of([events], FrameSpec(10, "tonic"))
    assert tonic_like[9].sum() == 1
    assert tonic_like[9, 0, 0, 0, 2] == 1
    assert tonic_like.sum() == 2


def test_fixed_window_golden_bins():
    # Bins of 100 us from the first event, at 50: [50, 150), [150, 250), [250, 350).
    events = make_events([0, 1, 2, 3, 4], [5] * 5, [50, 149, 150, 349, 350], [1] * 5)
    with pytest.warns(EventsLostWarning, match=r"3 bins of 100 µs keep 4 of 5 events \(80\.00%\)"):
        frames = frames_of([events], FrameSpec(3, window_us=100))[:, 0]
    assert np.argwhere(frames).tolist() == [[0, 1, 5, 0], [0, 1, 5, 1], [1, 1, 5, 2], [2, 1, 5, 3]]


@given(events=recordings(), num_steps=st.integers(1, 20), window_us=st.integers(1, 100_000))
def test_fixed_window_equals_the_plain_formula(events, num_steps, window_us):
    bins = (events["t"] - events["t"][0]) // window_us
    frames = lossy_frames_of([events], FrameSpec(num_steps, window_us=window_us))[:, 0]
    np.testing.assert_array_equal(frames, counted(events, bins, num_steps))


def test_axes_are_time_recording_polarity_row_column():
    events = make_events([3, 30], [20, 5], [0, 9], [1, 0])
    frames = frames_of([events[:0], events], FrameSpec(2))
    assert frames.shape == (2, 2, 2, 34, 34)
    assert frames.dtype == np.uint8
    assert np.argwhere(frames).tolist() == [[0, 1, 1, 20, 3], [1, 1, 0, 5, 30]]


@pytest.mark.parametrize("spec", [FrameSpec(7), FrameSpec(7, "tonic"), FrameSpec(7, window_us=10)])
def test_recording_without_events_gives_zeros(spec):
    frames = frames_of([make_events([], [], [], [])], spec)
    assert frames.shape == (7, 1, 2, 34, 34)
    assert not frames.any()


@pytest.mark.parametrize(
    ("spec", "kept"), [(FrameSpec(7), 1), (FrameSpec(7, "tonic"), 0), (FrameSpec(7, window_us=9), 1)]
)
def test_recording_of_one_event_gives_t_frames(spec, kept):
    # tonic's bins are 0 us wide here and hold nothing.
    frames = lossy_frames_of([make_events([4], [6], [123_456], [1])], spec)
    assert frames.shape == (7, 1, 2, 34, 34)
    assert frames[0, 0, 1, 6, 4] == frames.sum() == kept


def test_batch_of_no_recordings_is_empty(several):
    assert frames_of(several, FrameSpec(4), indices=[]).shape == (4, 0, 2, 34, 34)


@pytest.mark.parametrize("count", [254, 255, 256, 700])
def test_count_stays_at_255_when_a_pixel_fires_more_often(count):
    # One event a microsecond at one pixel, and one elsewhere to see that only that pixel is held back.
    events = make_events([1] * count + [2], [1] * count + [2], range(count + 1), [0] * count + [1])
    frames = frames_of([events], FrameSpec(1))[0, 0]
    assert frames[0, 1, 1] == min(count, 255)
    assert frames[1, 2, 2] == 1
    assert (frames > 0).sum() == 2


def test_batch_is_its_recordings_in_the_order_asked(several):
    spec = FrameSpec(5)
    batch = frames_of(several, spec, indices=[4, 0, 4, 2])
    for place, index in enumerate([4, 0, 4, 2]):
        np.testing.assert_array_equal(batch[:, place], frames_of([several[index]], spec)[:, 0])


def shifted(frames, dx, dy):
    """Move frames [..., H, W] by whole pixels; what leaves the field is lost."""
    moved = np.zeros_like(frames)
    to_y, from_y = slice(max(dy, 0), 34 + min(dy, 0)), slice(max(-dy, 0), 34 + min(-dy, 0))
    to_x, from_x = slice(max(dx, 0), 34 + min(dx, 0)), slice(max(-dx, 0), 34 + min(-dx, 0))
    moved[..., to_y, to_x] = frames[..., from_y, from_x]
    return moved


def find_shift(plain, moved, reach):
    """Return the one shift (dx, dy) within reach that turns `plain` into `moved`."""
    shifts = [(dx, dy) for dx in range(-reach, reach + 1) for dy in range(-reach, reach + 1)]
    fitting = [shift for shift in shifts if np.array_equal(shifted(plain, *shift), moved)]
    assert len(fitting) == 1
    return fitting[0]


def test_shift_moves_every_recording_as_a_whole_and_takes_all_values(make_recording):
    rng = np.random.default_rng(5)
    recordings = [make_recording(rng, 5, count=150) for _ in range(200)]
    plain = frames_of(recordings, FrameSpec(2))
    moved = frames_of(recordings, FrameSpec(2), augment=Augment(max_shift=2), seed=9)
    shifts = np.array([find_shift(plain[:, b], moved[:, b], 2) for b in range(200)])
    for axis in range(2):
        times_drawn = np.bincount(shifts[:, axis] + 2, minlength=5)
        # 200 draws of five values: 40 each, standard deviation 5.7.
        assert times_drawn.min() > 20
        assert times_drawn.max() < 60
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.25


def test_shift_loses_what_leaves_the_field_without_wrapping():
    corners = make_events([0, 33, 0, 33], [0, 0, 33, 33], [0, 1, 2, 3], [0, 0, 1, 1])
    plain = frames_of([corners], FrameSpec(1))
    for seed in range(20):
        moved = frames_of([corners], FrameSpec(1), augment=Augment(max_shift=3), seed=seed)
        dx, dy = find_shift(plain, moved, 3)
        assert moved.sum() == (2 if dx == 0 else 1) * (2 if dy == 0 else 1)


@pytest.mark.parametrize("drop", [0.1, 0.5, 0.9])
def test_drop_leaves_out_about_the_asked_share(drop):
    rng = np.random.default_rng(1)
    count = 20_000
    events = make_events(*rng.integers(0, 34, (2, count)), np.sort(rng.integers(0, 300_000, count)), [0, 1] * 10_000)
    plain = frames_of([events], FrameSpec(5))
    dropped = frames_of([events], FrameSpec(5), augment=Augment(drop=drop), seed=4)
    assert (dropped <= plain).all()
    # Five standard deviations of the binomial.
    assert abs(dropped.sum() / count - (1 - drop)) < 5 * (drop * (1 - drop) / count) ** 0.5
    # Every part of the recording loses the same share.
    per_step = dropped.sum((1, 2, 3, 4)) / plain.sum((1, 2, 3, 4))
    assert np.abs(per_step - (1 - drop)).max() < 5 * (drop * (1 - drop) / 4_000) ** 0.5


def test_augmentation_depends_on_seed_and_recording_only(several):
    spec, augment = FrameSpec(4), Augment(max_shift=4, drop=0.3, warp=0.2)
    batch = frames_of(several, spec, augment=augment, seed=11)
    np.testing.assert_array_equal(batch, frames_of(several, spec, augment=augment, seed=11))
    regrouped = frames_of(several, spec, indices=[5, 2, 0], augment=augment, seed=11)
    np.testing.assert_array_equal(regrouped, batch[:, [5, 2, 0]])
    np.testing.assert_array_equal(frames_of(several, spec, [3], augment, seed=11)[:, 0], batch[:, 3])
    assert not np.array_equal(batch, frames_of(several, spec, augment=augment, seed=12))


def test_augmentation_differs_between_equal_recordings(make_recording):
    twice = [make_recording(np.random.default_rng(0), 5, count=300)] * 2
    frames = frames_of(twice, FrameSpec(2), augment=Augment(drop=0.5))
    assert not np.array_equal(frames[:, 0], frames[:, 1])


def test_augmentation_of_nothing_changes_nothing(several):
    np.testing.assert_array_equal(
        frames_of(several, FrameSpec(4), augment=Augment(), seed=5), frames_of(several, FrameSpec(4))
    )


@pytest.mark.parametrize("seed", [np.int64(3), np.uint32(3), 2**64 + 3])
def test_seed_may_be_any_whole_number(several, seed):
    augment = Augment(max_shift=3)
    expected = frames_of(several, FrameSpec(2), augment=augment, seed=3)
    np.testing.assert_array_equal(frames_of(several, FrameSpec(2), augment=augment, seed=seed), expected)


def test_inputs_are_left_unchanged(several):
    events = np.concatenate(several)
    flat = tuple(np.ascontiguousarray(events[field]) for field in "xytp")
    offsets, indices = np.cumsum([0, *map(len, several)]), np.array([1, 0])
    before = [array.copy() for array in (*flat, offsets, indices)]
    bin_frames(flat, offsets, indices, SENSOR_SIZE, FrameSpec(3), Augment(2, 0.5), 1)
    for array, copy in zip((*flat, offsets, indices), before):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("indices", [[6], [-1], [0, 99]])
def test_frames_refuse_indices_outside_the_recordings(several, indices):
    with pytest.raises(IndexError, match=r"`indices` must be in 0\.\.5; got"):
        frames_of(several, FrameSpec(2), indices=indices)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_steps": 0}, ValueError, "`num_steps` must be a whole number >= 1; got 0"),
        ({"num_steps": 2.0}, TypeError, "`num_steps` must be a whole number"),
        ({"window": "tonc"}, ValueError, "`window` must be one of .* Did you mean 'tonic'"),
        ({"window_us": 0}, ValueError, "`window_us` must be a whole number >= 1"),
        ({"window_us": 1.5}, TypeError, "`window_us` must be a whole number"),
        ({"window_us": 9, "window": "tonic"}, ValueError, "`window_us` sets the bins itself"),
    ],
)
def test_spec_refuses_bad_values(arguments, error, message):
    with pytest.raises(error, match=message):
        FrameSpec(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_shift": -1}, ValueError, "`max_shift` must be a whole number >= 0"),
        ({"max_shift": 1.0}, TypeError, "`max_shift` must be a whole number"),
        ({"drop": -0.1}, ValueError, r"`drop` must be a number in \[0, "),
        ({"drop": 1.1}, ValueError, r"`drop` must be a number in \[0, "),
        ({"drop": "0.1"}, TypeError, "`drop` must be a number"),
    ],
)
def test_augment_refuses_bad_values(arguments, error, message):
    with pytest.raises(error, match=message):
        Augment(**arguments)


def warped_to(events, warp, seed):
    """Return how far events of one pixel move on average along x and y."""
    x, y = int(events["x"][0]), int(events["y"][0])
    image = frames_of([events], FrameSpec(20), augment=Augment(warp=warp), seed=seed).sum((0, 1, 2), dtype=int)
    assert image.sum() == len(events)
    rows, columns = np.indices(image.shape)
    return (columns * image).sum() / image.sum() - x, (rows * image).sum() / image.sum() - y


def at_pixel(x, y, count=4_000):
    return make_events(np.full(count, x), np.full(count, y), np.arange(count), np.zeros(count, int))


def test_warp_is_one_matrix_about_the_middle_that_no_event_escapes():
    # Of (x, y) in pixels from the middle of the field, at 16.5.
    seen = []
    for seed in range(20):
        right, left, below = (
            np.array(warped_to(at_pixel(*pixel), 0.2, seed)) for pixel in ((26, 16), (7, 17), (16, 26))
        )
        assert right == pytest.approx(-left, abs=0.1)  # (9.5, -0.5) and (-9.5, 0.5): mirrored about the middle
        matrix = np.linalg.solve(np.array([[9.5, -0.5], [-0.5, 9.5]]), np.array([right, below])).T
        assert np.abs(matrix).max() <= 0.2 + 0.01
        seen.append(matrix)
    seen = np.array(seen)
    assert np.abs(seen.mean(0)).max() < 0.1  # as often one way as the other
    assert np.abs(seen).max((0,)).min() > 0.1  # all four entries are drawn
    assert len({tuple(matrix.round(3).ravel()) for matrix in seen}) == 20


def test_warp_loses_what_leaves_the_field_without_wrapping():
    for seed in range(10):
        frames = frames_of([at_pixel(33, 33, 100)], FrameSpec(1), augment=Augment(warp=0.5), seed=seed)
        assert not frames[..., :17, :17].any()
        assert frames.sum() <= 100


def test_window_unit_mistaken_warns_with_the_share_kept(several):
    with pytest.warns(EventsLostWarning, match=r"25 bins of 10 µs keep \d+ of 1,950 events \(0\.\d+%\)"):
        frames_of(several, FrameSpec(25, window_us=10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frames_of(several, FrameSpec(30, window_us=10_000)).any()


def test_tonic_window_warns_where_its_bins_hold_nothing():
    instant = make_events([1, 2, 3], [1, 2, 3], [7, 7, 7], [1, 0, 1])
    with pytest.warns(
        EventsLostWarning, match=r"tonic's bins of whole µs keep 0 of 3 .*window=\"recording\" keeps all"
    ):
        assert not frames_of([instant], FrameSpec(4, "tonic")).any()
    assert frames_of([instant], FrameSpec(4)).sum() == 3


def test_polarity_of_minus_one_is_off():
    flat = (np.array([1, 2, 3]), np.array([1, 1, 1]), np.array([0, 1, 2]), np.array([-1, 1, -1]))
    frames = bin_frames(flat, np.array([0, 3]), [0], SENSOR_SIZE, FrameSpec(1))
    assert np.argwhere(frames[0, 0]).tolist() == [[0, 1, 1], [0, 1, 3], [1, 1, 2]]


@pytest.mark.parametrize(
    ("field", "values", "error", "message"),
    [
        ("p", [1, 2, 0], RecordingError, r"event 1 \(x=0, y=0, t=1 µs, p=2\) .*no polarity of 0 or 1"),
        ("p", [1, 0, -3], RecordingError, r"event 2 .*p=-3"),
        ("x", [0, 34, 0], RecordingError, r"event 1 \(x=34, .* outside the 34 x 34 sensor"),
        ("y", [0, -1, 0], RecordingError, r"event 1 \(x=0, y=-1"),
        ("t", [5, 4, 6], RecordingError, r"event 1 .*comes before its predecessor"),
        ("t", [0.0, 0.1, 0.2], TypeError, r"`t` must hold whole numbers, times in µs; got float64.*to_events"),
        ("x", [0.5, 1, 2], TypeError, r"`x` must hold whole numbers"),
    ],
)
def test_columns_that_cannot_be_are_refused(field, values, error, message):
    flat = {"x": [0, 0, 0], "y": [0, 0, 0], "t": [0, 1, 2], "p": [0, 0, 0], field: values}
    columns = tuple(np.array(flat[name]) for name in "xytp")
    with pytest.raises(error, match=message):
        bin_frames(columns, np.array([0, 3]), [0], SENSOR_SIZE, FrameSpec(2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_unsigned_columns_are_binned_alike(several, dtype):
    events = several[0]
    events["t"] %= 200
    events = to_events(events, sort=True, unit="us")
    flat = tuple(events[field].astype(dtype) for field in "xytp")
    frames = bin_frames(flat, np.array([0, len(events)]), [0], SENSOR_SIZE, FrameSpec(7))
    np.testing.assert_array_equal(frames, frames_of([events], FrameSpec(7)))


def test_origin_zero_keeps_two_streams_in_step():
    streams = [make_events([1, 1], [1, 1], [50, 350], [1, 1]), make_events([2, 2], [2, 2], [250, 399], [1, 1])]
    by_clock = frames_of(streams, FrameSpec(4, window_us=100, origin="zero")).sum((2, 3, 4))
    assert by_clock.tolist() == [[1, 0], [0, 0], [0, 1], [1, 1]]
    assert frames_of(streams, FrameSpec(4, window_us=100)).sum((2, 3, 4)).tolist() == [[1, 1], [0, 1], [0, 0], [1, 0]]
    assert frames_of(streams, FrameSpec(4, origin="zero")).sum((2, 3, 4)).tolist() == [[1, 0], [0, 0], [0, 1], [1, 1]]


@pytest.mark.parametrize("size", [17, (17, 17), (34, 10), (5, 34)])
def test_pooled_frames_add_up_the_pixels(several, size):
    wide, high = (size, size) if isinstance(size, int) else size
    pooled = frames_of(several, FrameSpec(3, size=size))
    assert pooled.shape == (3, 6, 2, high, wide)
    whole = frames_of(several, FrameSpec(3)).astype(int)
    rows, columns = np.arange(34) * high // 34, np.arange(34) * wide // 34
    expected = np.zeros(pooled.shape, int)
    for row in range(34):
        for column in range(34):
            expected[..., rows[row], columns[column]] += whole[..., row, column]
    np.testing.assert_array_equal(pooled, expected)
