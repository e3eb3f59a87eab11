"""Folders of recordings: what is listed, in which order, and what is refused by name."""

import numpy as np
import pytest

from snn_helpers.events import folder
from snn_helpers.events.folder import folder_chunks, list_recordings
from snn_helpers.events.recording import RecordingError, read_bin


def test_list_goes_digit_by_digit_in_the_order_of_names(make_folder):
    root = make_folder(per_class={"Train": 3}, digits=(7, 0, 3))
    paths, labels = list_recordings(root / "Train")
    names = [f"{path.parent.name}/{path.name}" for path in paths]
    assert names == [f"{digit}/{index:05d}.bin" for digit in (0, 3, 7) for index in (1, 2, 3)]
    assert labels.tolist() == [0, 0, 0, 3, 3, 3, 7, 7, 7]
    assert labels.dtype == np.int64


def test_list_passes_over_other_files_and_hidden_folders(make_folder):
    train = make_folder(per_class={"Train": 1}, digits=(4,)) / "Train"
    (train / ".cache").mkdir()
    (train / "README.txt").write_text("words")
    (train / "4" / "notes.txt").write_text("words")
    paths, _ = list_recordings(train)
    assert [path.name for path in paths] == ["00001.bin"]


@pytest.mark.parametrize("name", ["10", "a", "00", "seven", "-1"])
def test_list_refuses_a_folder_not_named_by_a_digit(make_folder, name):
    train = make_folder(per_class={"Train": 1}, digits=(4,)) / "Train"
    (train / name).mkdir()
    with pytest.raises(RecordingError, match=f"Train: '{name}' is not a digit. Folders must be named 0 to 9"):
        list_recordings(train)


def test_list_refuses_a_folder_without_digit_folders(tmp_path):
    (tmp_path / "loose.bin").write_bytes(b"")
    with pytest.raises(RecordingError, match=r"no digit folders\. Expected .*/<digit>/\*\.bin"):
        list_recordings(tmp_path)


def test_list_refuses_digit_folders_without_recordings(tmp_path):
    (tmp_path / "3").mkdir()
    with pytest.raises(RecordingError, match=r"the digit folders hold no \.bin files"):
        list_recordings(tmp_path)


def test_chunks_hold_every_event_of_every_file(make_folder, monkeypatch):
    monkeypatch.setattr(folder, "_RECORDINGS_PER_CHUNK", 4)
    paths, labels = list_recordings(make_folder(per_class={"Train": 3}, digits=(1, 2, 9)) / "Train")
    chunks = list(folder_chunks(paths, labels))
    assert [len(chunk.labels) for chunk in chunks] == [4, 4, 1]
    assert np.concatenate([chunk.labels for chunk in chunks]).tolist() == [1] * 3 + [2] * 3 + [9] * 3
    recordings = [read_bin(path) for path in paths]
    assert np.concatenate([chunk.counts for chunk in chunks]).tolist() == [len(events) for events in recordings]
    for field in "xytp":
        read = np.concatenate([getattr(chunk, field) for chunk in chunks])
        np.testing.assert_array_equal(read, np.concatenate(recordings)[field])


def test_chunks_name_the_faulty_file(make_folder):
    root = make_folder(per_class={"Train": 2}, digits=(1, 2))
    (root / "Train" / "2" / "00001.bin").write_bytes(bytes(4))
    with pytest.raises(RecordingError, match=r"2/00001\.bin: 4 bytes"):
        list(folder_chunks(*list_recordings(root / "Train")))


def test_chunks_name_a_file_that_cannot_be_opened(make_folder):
    root = make_folder(per_class={"Train": 2}, digits=(1, 2))
    paths, labels = list_recordings(root / "Train")
    paths[3].unlink()
    with pytest.raises(RecordingError, match=r"2/00002\.bin: cannot be read \(No such file"):
        list(folder_chunks(paths, labels))
