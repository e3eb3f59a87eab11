"""What the notebooks ask of a data set holds for other sensors, classes and lengths than N-MNIST's."""

import numpy as np
import pytest

from snn_helpers import lessons, load_dataset
from snn_helpers.data.importing import find_recordings, import_recordings
from snn_helpers.events.recording import SACCADES_MS, make_events, read_bin, write_bin
from snn_helpers.training.baselines import baselines


@pytest.fixture
def gestures(tmp_path, data_home):
    """Return the training split of an imported data set: 100 x 300 pixels, 90 ms, two classes, one pixel each."""
    for name, x in (("clap", 99), ("wave", 20)):
        folder = tmp_path / "mine" / name
        folder.mkdir(parents=True)
        for number in range(5):
            t_us = np.arange(91) * 1000
            np.save(folder / f"{number}.npy", make_events([x] * 91, [299 - number] * 91, t_us, t_us % 2))
    import_recordings(find_recordings([tmp_path / "mine"], sensor_size=(100, 300)), "gestures")
    return load_dataset("gestures", split="train")


@pytest.fixture
def digits(make_folder, data_home):
    return load_dataset("nmnist", make_folder(), "train")


def test_class_to_show_is_one_that_is_there(gestures, digits):
    assert lessons.class_to_show(None, digits) == 3
    assert lessons.class_to_show(None, gestures) == 1
    assert lessons.class_to_show(0, gestures) == 0
    assert lessons.class_to_show(None, digits.subset(digits.labels > 4)) == 5
    with pytest.raises(ValueError, match=r"`digit` must be .*1.*; got 2"):
        lessons.class_to_show(2, gestures)
    with pytest.raises(ValueError, match=r"no recording of class 0 \(clap\)"):
        lessons.class_to_show(0, gestures.subset(gestures.labels == 1))


def test_event_image_shows_every_pixel_of_the_recording(gestures):
    image = lessons.event_image(gestures)
    lit = gestures.events(int((gestures.labels == 1).argmax()))[0]
    assert image.shape == (300, 100)
    assert image.count_nonzero() == 1
    assert image[int(lit["y"]), int(lit["x"])] == 1


def test_recording_of_any_sensor_passes_through_five_bytes(gestures, tmp_path):
    events = make_events([0, 1279, 640], [719, 0, 300], [5, 6, 2**23], [0, 1, 1])
    held = lessons.within_five_bytes(events)
    assert held["x"].tolist() == [0, 213]  # 1279 // 6; the third event comes too late for 23 bits
    assert held["y"].tolist() == [119, 0]
    write_bin(tmp_path / "one.bin", held)
    assert np.array_equal(read_bin(tmp_path / "one.bin", (256, 256, 2)), held)
    assert events["x"].tolist() == [0, 1279, 640]


def test_recording_that_five_bytes_can_hold_is_left_alone():
    events = make_events([239, 0], [0, 239], [1, 2], [0, 1])
    assert np.array_equal(lessons.within_five_bytes(events), events)
    assert len(lessons.within_five_bytes(events[:0])) == 0


def test_parts_are_saccades_of_nmnist_and_thirds_of_other_recordings(gestures, digits):
    names, images = zip(*lessons.three_parts(gestures, gestures.events(0)))
    assert names == ("third 1", "third 2", "third 3")
    assert images[0].shape == (2, 300, 100)
    assert [int(image.sum()) for image in images] == [31, 30, 30]  # of 90,001 us, with an event each ms
    names, images = zip(*lessons.three_parts(digits, digits.events(0)))
    assert names == ("saccade 1", "saccade 2", "saccade 3")
    assert sum(int(image.sum()) for image in images) == len(digits.events(0))


def test_step_and_saccades_follow_the_data(gestures, digits):
    assert lessons.nominal_step_ms(digits, 8) == 37.5
    assert lessons.nominal_step_ms(gestures, 9) == pytest.approx(10)
    assert digits.saccades_ms == SACCADES_MS
    assert gestures.saccades_ms == ()


def test_baselines_answer_only_classes_that_they_have_seen(digits):
    seen = digits.subset((digits.labels == 3) | (digits.labels == 4))
    scores = {score.name: score for score in baselines(seen, seen)}
    assert scores["summed frames"].accuracy == 1
    unseen = digits.subset(digits.labels < 3)
    assert [score.accuracy for score in baselines(seen, unseen)] == [0, 0, 0]
