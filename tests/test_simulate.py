"""The simulated camera: the same bits everywhere, and the physics that it claims."""

import hashlib
import math
import os
import subprocess
import sys
from dataclasses import replace

import numba
import numpy as np
import pytest

from snn_helpers.events import simulate as module
from snn_helpers.events.camera import Camera
from snn_helpers.events.pixel import log2_table
from snn_helpers.events.simulate import Recordings, simulate

GOLDEN = "ff2548802f6f74c109e617cd657da09c249cccc2a31ac11d94e29c6a368c19cd"
QUIET = {"leak_milli_octave_per_s": 0, "noise_milli_hz": 0, "hot_pixel_milli_hz": 0}
STILL = {"path_x_milli_px": (3000,) * 63, "path_y_milli_px": (3000,) * 63}


@pytest.fixture(scope="module")
def images():
    """20 patterns, made here: strokes of varying ink, so that the checksum does not depend on another package."""
    rows, cols = np.mgrid[:28, :28]
    made = np.zeros((20, 28, 28), dtype=np.uint8)
    for i in range(20):
        ring = (rows - 14) ** 2 + (cols - 10 - i % 7) ** 2
        made[i][(ring > 25 + i) & (ring < 60 + 3 * i)] = 255 - 5 * i
        made[i, 5:23, 12 + i % 5] = 200
    return made


@pytest.fixture(scope="module")
def recordings(images):
    return simulate(images, np.arange(20))


def one(recordings, i):
    """Recording i as Recordings of length 1."""
    start, stop = recordings.offsets[i : i + 2]
    return Recordings(*(field[start:stop] for field in recordings[:4]), np.array([0, stop - start]))


def assert_same(left, right):
    for ours, theirs in zip(left, right, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def pixel_gaps_us(recordings):
    """Times between successive events of a pixel, all recordings and polarities."""
    recording = np.repeat(np.arange(len(recordings.offsets) - 1), np.diff(recordings.offsets))
    pixel = (recording * 34 + recordings.y) * 34 + recordings.x
    order = np.argsort(pixel, kind="stable")
    return np.diff(recordings.t[order])[np.diff(pixel[order]) == 0]


# The same bits -----------------------------------------------------------------------------------------------------


def test_simulate_makes_the_golden_bits(recordings):
    digest = hashlib.sha256()
    for field, dtype in zip(recordings, ("u1", "u1", "u1", "<i8", "<i8"), strict=True):
        digest.update(field.astype(dtype).tobytes())
    assert digest.hexdigest() == GOLDEN


def test_simulate_recording_depends_on_its_own_id_only(images, recordings):
    chosen = np.array([13, 2, 7])
    apart = simulate(images[chosen], chosen)
    for position, i in enumerate(chosen):
        assert_same(one(apart, position), one(recordings, i))


def test_simulate_is_the_same_for_any_number_of_threads(images, recordings, monkeypatch):
    def call_on_one(kernel, *args):
        numba.set_num_threads(1)  # of the thread that calls
        kernel(*args)

    call_parallel = module.call_parallel
    monkeypatch.setattr(module, "call_parallel", lambda *args: call_parallel(call_on_one, *args))
    assert_same(simulate(images, np.arange(20)), recordings)


def test_simulate_leaves_torch_the_threads_that_it_has():
    code = (
        "import torch, numpy as np; from snn_helpers.events.simulate import simulate; before = torch.get_num_threads();"
        "simulate(np.zeros((1, 28, 28), np.uint8), np.arange(1)); print(before, torch.get_num_threads())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.split() == ["1", "1"]


def test_simulate_is_the_same_across_blocks(images):
    many = np.concatenate([images[:3]] * 90)  # more than one block of recordings
    made = simulate(many, np.tile([0, 1, 2], 90))
    for i in (255, 256, 269):
        assert_same(one(made, i), one(made, i % 3))


def test_simulate_is_the_same_when_the_buffer_grows(images):
    busy = Camera(threshold_on_milli_octave=20, threshold_off_milli_octave=20, refractory_us=512, reset_us=0)
    together = simulate(images, np.arange(20), busy)
    assert np.diff(together.offsets).max() > 1 << 13
    assert_same(one(simulate(images[4:5], [4], busy), 0), one(together, 4))


def test_simulate_differs_with_seed_and_id(images, recordings):
    assert len(simulate(images, np.arange(20), seed=1).t) != len(recordings.t)
    assert not np.array_equal(one(simulate(images[:1], [99]), 0).t, one(recordings, 0).t)


def test_simulate_leaves_its_inputs_alone(images):
    before, ids = images.copy(), np.arange(20)
    simulate(images, ids)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(ids, np.arange(20))


def test_simulate_accepts_images_that_are_not_contiguous(images, recordings):
    assert_same(simulate(np.asfortranarray(images), np.arange(20)), recordings)


# What a recording is -----------------------------------------------------------------------------------------------


def test_recordings_have_the_stated_types(recordings):
    assert [field.dtype.name for field in recordings] == ["uint8", "uint8", "uint8", "int64", "int64"]
    assert recordings.offsets[0] == 0
    assert recordings.offsets[-1] == len(recordings.t)
    assert len(recordings.offsets) == 21


def test_events_lie_in_the_field_and_in_the_time_of_the_path(recordings):
    assert recordings.x.max() <= 33
    assert recordings.y.max() <= 33
    assert set(np.unique(recordings.p)) == {0, 1}
    assert recordings.t.min() >= 0
    assert recordings.t.max() < 310_000


def test_events_are_sorted_by_time(recordings):
    steps_back = np.flatnonzero(np.diff(recordings.t) < 0) + 1
    assert set(steps_back) <= set(recordings.offsets)


def test_times_use_the_whole_microsecond_scale(recordings):
    assert len(np.unique(recordings.t % 512)) == 512


def test_no_images_make_no_recordings():
    made = simulate(np.zeros((0, 28, 28), dtype=np.uint8), [])
    assert made.offsets.tolist() == [0]
    assert len(made.t) == 0


# Physics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refractory_us", [512, 1600, 20_000])
def test_refractory_period_holds_for_every_pixel(images, refractory_us):
    camera = Camera(refractory_us=refractory_us, reset_us=min(500, refractory_us), noise_milli_hz=5_000)
    assert pixel_gaps_us(simulate(images, np.arange(20), camera)).min() >= refractory_us


def test_blank_image_without_noise_makes_no_event(images):
    blank = np.stack([np.zeros_like(images[0]), images[0]])
    made = simulate(blank, [0, 1], Camera(**QUIET))
    assert made.offsets[1] == 0
    assert made.offsets[2] > 0


def test_still_camera_without_noise_makes_no_event(images):
    assert len(simulate(images, np.arange(20), Camera(**STILL, **QUIET)).t) == 0


def test_leak_alone_makes_on_events_at_its_rate():
    camera = Camera(**{**QUIET, "leak_milli_octave_per_s": 1_000}, threshold_on_milli_octave=200, mismatch_permille=0)
    made = simulate(np.zeros((5, 28, 28), dtype=np.uint8), np.arange(5), camera)
    assert made.p.all()
    per_pixel = len(made.t) / (5 * 34 * 34)
    assert per_pixel == pytest.approx(0.310 * 1.0 / 0.2, rel=0.03)


def test_noise_alone_has_its_rate_and_both_polarities():
    camera = Camera(**{**QUIET, "noise_milli_hz": 10_000})
    made = simulate(np.zeros((5, 28, 28), dtype=np.uint8), np.arange(5), camera)
    assert len(made.t) / (5 * (34 * 34 - 1)) == pytest.approx(0.310 * 10, rel=0.05)
    assert made.p.mean() == pytest.approx(0.5, abs=0.02)


def test_hot_pixel_fires_alone():
    camera = Camera(**{**QUIET, "hot_pixel_milli_hz": 100_000}, hot_pixel_x=3, hot_pixel_y=21)
    made = simulate(np.zeros((5, 28, 28), dtype=np.uint8), np.arange(5), camera)
    assert len(made.t) > 50
    assert set(made.x) == {3}
    assert set(made.y) == {21}


def test_polarity_is_on_where_the_digit_leaves_and_off_where_it_arrives():
    bar = np.zeros((1, 28, 28), dtype=np.uint8)
    bar[0, :, 12:16] = 255
    camera = Camera(path_x_milli_px=(0, 0, 3000, 3000), path_y_milli_px=(3000,) * 4, saccade_jitter_us=0, **QUIET)
    made = simulate(bar, [0], camera)
    assert made.x[made.p == 1].max() <= 15  # it was at 12 to 15
    assert made.x[made.p == 0].min() >= 14  # and is at 15 to 18 in the end, with a blurred edge
    assert np.median(made.x[made.p == 1]) < 14 < 16 < np.median(made.x[made.p == 0])


def test_ink_far_from_a_pixel_changes_nothing_there(images):
    """Pixels out of the ink's reach take a shortcut; a single faint dot moves the reach but not the far events."""
    dotted = images[:1].copy()
    dotted[0, 27, 27] = 1  # far below a threshold, but it widens the reach
    plain, wider = simulate(images[:1], [0]), simulate(dotted, [0])
    far = (plain.x < 18) & (plain.y < 18), (wider.x < 18) & (wider.y < 18)
    for name in ("x", "y", "p", "t"):
        np.testing.assert_array_equal(getattr(plain, name)[far[0]], getattr(wider, name)[far[1]])


def test_higher_threshold_makes_fewer_events(images, recordings):
    duller = Camera(threshold_on_milli_octave=600, threshold_off_milli_octave=600)
    assert len(simulate(images, np.arange(20), duller).t) < len(recordings.t)


def test_log2_table_is_within_its_stated_error():
    table = log2_table(5_000)
    exact = np.array([math.log2(n) for n in range(1, 5_000)]) * 65536
    below = exact - table[1:]
    assert below.min() >= -1e-6
    assert below.max() < 2
    assert (table[[1, 2, 4, 4096]] == np.array([0, 1, 2, 12]) * 65536).all()


def test_log2_table_never_falls():
    assert (np.diff(log2_table(20_000)) >= 0).all()


# Paths of one's own ------------------------------------------------------------------------------------------------


def test_the_cameras_own_path_given_by_hand_makes_the_same_bits(images):
    camera = Camera(saccade_jitter_us=0)
    path = np.array([camera.path_x_milli_px, camera.path_y_milli_px])
    expected = simulate(images[:4], np.arange(4), camera)
    assert_same(simulate(images[:4], np.arange(4), paths=path), expected)
    assert_same(simulate(images[:4], np.arange(4), paths=[path] * 4), expected)


def test_each_recording_moves_on_its_own_path_and_lasts_as_long(images):
    still, right = np.full((2, 11), 3_000), np.array([np.linspace(1_000, 7_000, 31).astype(int), np.full(31, 3_000)])
    both = simulate(images[:2], [0, 1], Camera(**QUIET), paths=[still, right])
    assert both.offsets[1] == 0
    assert both.t.max() > 140_000
    assert_same(one(both, 1), one(simulate(images[1:2], [1], Camera(**QUIET), paths=right), 0))


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        ([np.zeros((2, 5), int)] * 3, ValueError, "one path, or one an image, 4; got 3"),
        (np.zeros((3, 5), int), ValueError, r"`paths` must have the shape \[2, K\].*got \[3, 5\]"),
        ([np.zeros((2, 1), int)] * 4, ValueError, r"`paths\[0\]` must have the shape.*at least 2 knots; got \[2, 1\]"),
        (np.zeros((2, 5)), TypeError, "whole numbers of 1/1000 px; got dtype float64"),
        (np.full((2, 5), 9_001), ValueError, r"must lie in \[-3000, 9000\].*got 9001"),
    ],
)
def test_simulate_refuses_other_paths(images, paths, error, message):
    with pytest.raises(error, match=message):
        simulate(images[:4], np.arange(4), paths=paths)


# Guards ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype", "error", "message"),
    [
        ((2, 28, 28), np.float32, TypeError, "`images` must be a NumPy array of uint8.*got dtype float32"),
        ((28, 28), np.uint8, ValueError, r"`images` must have the shape \[N, 28, 28\]; got \[28, 28\]"),
        ((2, 34, 34), np.uint8, ValueError, r"got \[2, 34, 34\]"),
    ],
)
def test_simulate_refuses_other_images(shape, dtype, error, message):
    with pytest.raises(error, match=message):
        simulate(np.zeros(shape, dtype=dtype), np.arange(2))


def test_simulate_refuses_a_list_of_images():
    with pytest.raises(TypeError, match=r"`images` must be a NumPy array of uint8.*got list"):
        simulate([[0]], [0])


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0, 1], ValueError, r"`ids` must hold one id an image, shape \[3\]; got shape \[2\]"),
        ([0.0, 1.0, 2.0], TypeError, "`ids` must be whole numbers; got dtype float64"),
        ([0, 1, -5], ValueError, "`ids` must be >= 0; got -5"),
    ],
)
def test_simulate_refuses_other_ids(images, ids, error, message):
    with pytest.raises(error, match=message):
        simulate(images[:3], np.array(ids))


def test_simulate_refuses_another_seed_or_camera(images):
    with pytest.raises(ValueError, match=r"`seed` must be a whole number.*got -1"):
        simulate(images, np.arange(20), seed=-1)
    with pytest.raises(TypeError, match="`camera` must be a Camera or None; got dict"):
        simulate(images, np.arange(20), camera={})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"blur_passes": 33}, ValueError, r"`blur_passes` must be a whole number in \[0, 32\]; got 33"),
        ({"stray_light_permille": 0}, ValueError, "`stray_light_permille` must be"),
        ({"threshold_on_milli_octave": 0.3}, TypeError, "`threshold_on_milli_octave` must be a whole number"),
        ({"refractory_us": 100}, ValueError, r"`refractory_us` must be a whole number in \[512"),
        ({"reset_us": 5_000}, ValueError, r"`reset_us` must be a whole number in \[0, 1600\]; got 5000"),
        ({"hot_pixel_x": 34}, ValueError, r"`hot_pixel_x` must be a whole number in \[0, 33\]"),
        ({"path_x_milli_px": [0, 0]}, TypeError, "`path_x_milli_px` must be a tuple of whole numbers; got list"),
        ({"path_x_milli_px": (0, 10_000)}, ValueError, r"`path_x_milli_px\[1\]` must be .* got 10000"),
        ({"path_x_milli_px": (0, 0)}, ValueError, "must hold the same number of knots, at least 2; got 2 and 63"),
        ({"path_x_milli_px": (0,), "path_y_milli_px": (0,)}, ValueError, "at least 2; got 1 and 1"),
    ],
)
def test_camera_refuses_parameters_out_of_range(change, error, message):
    with pytest.raises(error, match=message):
        replace(Camera(), **change)
