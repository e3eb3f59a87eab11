"""The simulated camera before anyone's pictures: its physics, its bits, and what is refused."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from snn_helpers.events.camera import STEP_US, Camera
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError
from snn_helpers.events.pixel import FINER, GROUND, as_physics, hash_bits, log2_table, recording_keys, run_pixel, unpack
from snn_helpers.events.video import read_video, simulate_events

QUIET = Camera(
    leak_milli_octave_per_s=0, noise_milli_hz=0, hot_pixel_milli_hz=0, mismatch_permille=0, threshold_noise_permille=0,
    photoreceptor_us=0,
)  # fmt: skip


def bar(pictures=40, height=20, width=30):
    """Return a bright bar that walks to the right over mid-grey ground, a pixel a picture."""
    frames = np.full((pictures, height, width), 90, dtype=np.uint8)
    for i, frame in enumerate(frames):
        frame[4:16, i // 2 : i // 2 + 4] = 220
    return frames, np.arange(pictures) * 4_000


def test_events_of_one_pixel_are_those_worked_by_hand():
    """From black to white: log2((stray + white) / stray) octaves, one ON event for each 0.3 of them."""
    frames = np.zeros((2, 3, 5), dtype=np.uint8)
    frames[1, 1, 2] = 255
    events = simulate_events(frames, [1_000, 401_000], QUIET)
    octaves = np.log2((0.215 * GROUND // 1 + GROUND) / (0.215 * GROUND // 1))
    assert set(zip(events["x"], events["y"], events["p"])) == {(2, 1, 1)}
    # After each event the pixel forgets 650 us of a rise of 2.5 octaves in 400 ms.
    each = 0.3 + octaves * 650 / 400_000
    assert abs(len(events) - octaves / each) <= 1
    gaps = np.diff(events["t"])
    np.testing.assert_allclose(
        gaps, 400_000 * each / octaves, atol=10
    )  # the table of logarithms is within 2/65536 octave


def test_a_darker_pixel_is_off_and_still_ones_are_silent():
    frames, times = bar()
    events = simulate_events(frames, times, QUIET)
    assert events.dtype == EVENT_DTYPE
    assert (np.diff(events["t"]) >= 0).all()
    assert events["t"].max() < times[-1]
    assert set(np.unique(events["y"])) <= set(range(4, 16))
    front, back = events[events["p"] == 1], events[events["p"] == 0]
    assert len(front)
    assert len(back)
    assert (np.abs(front["x"] - (front["t"] / 8_000 + 4)) <= 2).all()
    assert (np.abs(back["x"] - back["t"] / 8_000) <= 2).all()


def test_every_pixel_is_the_embedded_cameras():
    """What `simulate` lets a pixel do with its log intensity over time is what a video's pixel does."""
    frames, times = bar()
    camera, seed = Camera(noise_milli_hz=5_000), 3
    physics = as_physics(camera)
    table = log2_table(physics.stray + GROUND + 1).astype(np.int64)
    levels = table[physics.stray + 16 * frames.astype(np.int64)] << FINER
    now = np.arange(times[-1] // STEP_US + 1) * STEP_US
    key = recording_keys(np.zeros(1, np.uint64), seed)[0]
    found = np.empty(100_000, dtype=np.int64)
    count = 0
    for y in range(20):
        for x in range(30):
            left = np.minimum(now // 4_000, len(times) - 2)
            begin, end = levels[left, y, x], levels[left + 1, y, x]
            seen = begin + ((end - begin) * (((now - 4_000 * left) << 16) // 4_000) >> 16)
            sees = bool((frames[:, y, x] != frames[0, y, x]).any())
            count = run_pixel(x, y, np.uint64(hash_bits(key, y * 30 + x)), seen, sees, physics, found, count)
    events = simulate_events(frames, times, camera, seed)
    for ours, theirs in zip((events["x"], events["y"], events["p"], events["t"]), unpack(np.sort(found[:count]))):
        np.testing.assert_array_equal(ours, theirs)


def test_same_seed_same_bits_other_seed_others_and_a_full_buffer_loses_nothing():
    frames, times = bar()
    camera = Camera(threshold_on_milli_octave=10, threshold_off_milli_octave=10, refractory_us=512, reset_us=0)
    events = simulate_events(np.tile(frames, (1, 1, 60)), times, camera, seed=1)
    rows = np.bincount(events["y"])
    assert rows.max() > 1 << 12
    np.testing.assert_array_equal(simulate_events(np.tile(frames, (1, 1, 60)), times, camera, seed=1), events)
    assert not np.array_equal(simulate_events(frames, times, seed=1), simulate_events(frames, times, seed=2))


def test_a_large_sensor_keeps_its_coordinates():
    frames = np.zeros((2, 720, 1280), dtype=np.uint8)
    frames[1, 719, 1279] = 255
    events = simulate_events(frames, [0, 40_000], QUIET)
    assert set(zip(events["x"], events["y"])) == {(1279, 719)}


@pytest.mark.parametrize(
    ("frames", "times", "error", "message"),
    [
        (np.zeros((2, 4, 4)), [0, 9_000], TypeError, "`frames` must be grey values, uint8.*got dtype float64"),
        (np.zeros((2, 4, 4, 3), np.uint8), [0, 9_000], ValueError, r"shape \[N, H, W\].*got \[2, 4, 4, 3\].*colour"),
        (np.zeros((1, 4, 4), np.uint8), [0], ValueError, "N at least 2"),
        (np.zeros((2, 4, 3_000), np.uint8), [0, 9_000], ValueError, "at most 2048"),
        (np.zeros((2, 4, 4), np.uint8), [0], ValueError, r"one time a picture, shape \[2\]; got \[1\]"),
        (np.zeros((2, 4, 4), np.uint8), [0, 0.04], TypeError, "whole numbers of µs; got dtype float64"),
        (np.zeros((3, 4, 4), np.uint8), [0, 9_000, 9_000], ValueError, "must rise; got 9000 and then 9000 at 2"),
        (np.zeros((2, 4, 4), np.uint8), [0, 40], ValueError, "must span at least 512 µs; got 40. Are they in ms"),
    ],
)
def test_other_videos_are_refused(frames, times, error, message):
    with pytest.raises(error, match=message):
        simulate_events(frames, times)


def test_a_camera_is_a_camera():
    with pytest.raises(TypeError, match="`camera` must be a Camera or None; got int"):
        simulate_events(*bar(), camera=3)


def test_gif_is_read_with_its_times(tmp_path):
    frames = bar(12)[0][::2]
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(tmp_path / "bar.gif", save_all=True, append_images=pictures[1:], duration=40)
    read, times = read_video(tmp_path / "bar.gif")
    np.testing.assert_array_equal(times, np.arange(6) * 40_000)
    assert np.abs(read.astype(int) - frames).max() <= 1


def test_film_is_read_with_its_times(tmp_path):
    av = pytest.importorskip("av")
    frames, _ = bar(6, 32, 48)
    with av.open(str(tmp_path / "bar.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for frame in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        film.mux(stream.encode())
    read, times = read_video(tmp_path / "bar.mp4")
    np.testing.assert_array_equal(times, np.arange(6) * 40_000)
    assert np.abs(read.astype(int) - frames).mean() < 10


@pytest.mark.parametrize(
    ("content", "message"), [(b"GIF89a-", "not a whole GIF"), (b"nothing", "no video that FFmpeg")]
)
def test_what_is_no_video_is_refused(tmp_path, content, message):
    if not content.startswith(b"GIF"):
        pytest.importorskip("av")
    (tmp_path / "it").write_bytes(content)
    with pytest.raises(RecordingError, match=f"it: {message}"):
        read_video(tmp_path / "it")
    with pytest.raises(RecordingError, match="no such file"):
        read_video(tmp_path / "other")
