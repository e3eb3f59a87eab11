"""Motion: what tells the class is the order in time, and nothing else."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snn_helpers.events.camera import KNOT_US, PATH_RANGE_MILLI_PX
from snn_helpers.events.digits import digit_indices, mnist_digits
from snn_helpers.events.frames import FrameSpec, bin_frames
from snn_helpers.events.motion import CLASSES, ORDERS, excursion, simulate_motion
from snn_helpers.stats import wilson_interval

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from motion import Counts, Ordered, Summed, Unordered, accuracy


@pytest.fixture(scope="module")
def images():
    rows, cols = np.mgrid[:28, :28]
    ring = (rows - 14) ** 2 + (cols - 13) ** 2
    return np.stack([((ring > 30 + 5 * i) & (ring < 70 + 9 * i)) * np.uint8(230) for i in range(8)])


@pytest.fixture(scope="module")
def by_class(images):
    """The same eight recordings in each of the six classes."""
    return [simulate_motion(images, np.arange(8), np.full(8, label)) for label in range(6)]


def one(recordings, i):
    part = slice(recordings.offsets[i], recordings.offsets[i + 1])
    return recordings.x[part], recordings.y[part], recordings.p[part], recordings.t[part]


def picture(x, y, p):
    return np.bincount((p.astype(int) * 34 + y) * 34 + x, minlength=2 * 34 * 34)


def test_sums_over_time_are_the_same_in_all_classes_bit_for_bit(by_class):
    for i in range(8):
        sums = [picture(*one(recordings, i)[:3]) for recordings in by_class]
        assert sums[0].sum() > 1_000
        for other in sums[1:]:
            np.testing.assert_array_equal(other, sums[0])


def test_classes_differ_in_time(by_class):
    times = [one(recordings, 0)[3] for recordings in by_class]
    assert len({time.tobytes() for time in times}) == 6
    assert all((np.diff(time) >= 0).all() for time in times)


def test_parts_come_in_the_order_of_the_class(by_class):
    """With the excursion's own events and length as the yardstick."""
    lengths = [(excursion(2, part, 0).shape[1] - 1) * KNOT_US for part in range(3)]
    alone = {}
    for label, order in enumerate(ORDERS):
        x, y, p, t = one(by_class[label], 2)
        start = 0
        for part in order:
            inside = (t >= start) & (t < start + lengths[part])
            events = np.stack([x[inside], y[inside], p[inside], t[inside] - start])
            np.testing.assert_array_equal(events, alone.setdefault(part, events))
            start += lengths[part]
        assert t.max() < start
    assert len(alone) == 3


def test_a_recording_depends_on_its_own_id_and_the_seed(images, by_class):
    chosen = simulate_motion(images[5:6], [5], [3])
    for ours, theirs in zip(one(chosen, 0), one(by_class[3], 5)):
        np.testing.assert_array_equal(ours, theirs)
    assert len(simulate_motion(images[5:6], [5], [3], seed=1).t) != len(chosen.t)


def test_excursions_go_out_and_back_within_the_field():
    for recording in range(300):
        corners = []
        for part, (right, down) in enumerate([(1, 0), (0, -1), (-0.707, 0.707)]):
            path = excursion(recording, part, 0)
            low, high = PATH_RANGE_MILLI_PX
            assert low <= path.min() <= path.max() <= high
            start, end = path[:, 0], path[:, -1]
            np.testing.assert_array_equal(start, end)
            corners.append(tuple(start))
            far = np.abs(path - start[:, None]).sum(0).argmax()
            along = (path[0, far] - start[0]) * right + (path[1, far] - start[1]) * down
            assert 2_900 <= along <= 5_001  # a knot may lie on either side of the turning point
        assert len(set(corners)) == 1


def test_longer_rests_change_nothing_but_the_end_of_an_excursion():
    for part in range(3):
        short, long = excursion(2, part, 0), excursion(2, part, 0, (240, 280))
        np.testing.assert_array_equal(long[:, : short.shape[1]], short)
        assert 200 <= (long.shape[1] - short.shape[1]) * KNOT_US / 1_000 <= 250


def test_longer_rests_keep_the_classes_apart_in_time_alone(images):
    made = [simulate_motion(images[:1], [2], [label], rest_ms=(100, 120)) for label in (0, 5)]
    np.testing.assert_array_equal(*(picture(one.x, one.y, one.p) for one in made))
    assert all(500_000 < one.t.max() < 650_000 for one in made)


def test_rests_that_end_before_they_begin_are_refused(images):
    with pytest.raises(ValueError, match=r"`rest_ms` must be \(least, greatest\), in this order; got \(5, 4\)"):
        simulate_motion(images[:1], [2], [0], rest_ms=(5, 4))


def test_names_of_the_classes():
    assert len(set(CLASSES)) == 6
    assert CLASSES[0] == "right, up, down-left"


@pytest.mark.parametrize("classes", [[0], [0, 6], [-1, 0]])
def test_other_classes_are_refused(images, classes):
    with pytest.raises(ValueError, match=r"`classes` must hold one of 0 \.\. 5 a recording, shape \[2\]"):
        simulate_motion(images[:2], [0, 1], classes)


@pytest.fixture(scope="module")
def learned_and_tested():
    """600 recordings to learn from and 1,000 others, of other digits, as 24 small frames, with their classes."""
    spec = FrameSpec(24, size=17)
    images, _ = mnist_digits()
    data = []
    for split, count, first in (("train", 600, 0), ("test", 1_000, 10_000)):
        labels = np.arange(count) % len(CLASSES)
        shown = images[np.resize(digit_indices(split), count)]
        made = simulate_motion(shown, first + np.arange(count), labels)
        events = made.x, made.y, made.t, made.p
        frames = bin_frames(events, made.offsets, np.arange(count), (34, 34, 2), spec, checked=True)
        data.append((torch.from_numpy(frames), torch.from_numpy(labels)))
    return data


@pytest.mark.parametrize("network", [Summed, Unordered, Counts])
def test_networks_without_order_in_time_are_at_chance(network, learned_and_tested):
    hits = round(1_000 * accuracy(network, 0, learned_and_tested, epochs=3))
    low, high = wilson_interval(hits, 1_000)
    assert low <= 1 / len(CLASSES) <= high


def test_the_same_network_on_frames_in_their_order_learns_the_classes(learned_and_tested):
    assert accuracy(Ordered, 0, learned_and_tested, epochs=3) > 0.5
