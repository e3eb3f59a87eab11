"""Notebook 11's made-up sessions, its tables, and the points of its project."""

import numpy as np
import pytest

from snn_helpers import lessons
from snn_helpers.data import load_dataset
from snn_helpers.data.importing import find_recordings, import_recordings
from snn_helpers.events.dtype import make_events
from snn_helpers.events.read import write_events
from snn_helpers.lessons.checks_11 import grouped_split
from snn_helpers.lessons.gestures import GESTURES


def test_sessions_hold_every_gesture_once_and_name_the_damaged_file(tmp_path):
    sessions = lessons.record_gestures(tmp_path / "made", subjects=1, seconds=0.1)
    rows = lessons.labelled_rows(sessions.folder)
    whole = [row for row in rows if row["file"] != sessions.damaged.name]
    assert sorted(row["label"] for row in whole) == sorted(GESTURES)
    assert {row["group"] for row in whole} == {"user01.raw"}
    found = find_recordings([sessions.folder], sessions.table)
    assert found.sensor_size == (128, 128, 2)
    assert [*found.problems] == [sessions.damaged]
    assert len(found.items) == len(GESTURES) == len(found.classes)


@pytest.fixture
def by_class(tmp_path):
    """Return a folder <class>/<file> of two classes with three files each, 40 ms long."""
    rng = np.random.default_rng(0)
    for label in ("left", "right"):
        (tmp_path / "rec" / label).mkdir(parents=True)
        for number in range(3):
            t = np.sort(rng.integers(0, 40_000, 200))
            t[0], t[-1] = 0, 39_999
            events = make_events(rng.integers(0, 20, 200), rng.integers(0, 20, 200), t, rng.integers(0, 2, 200))
            write_events(tmp_path / "rec" / label / f"{number}.npz", events, (20, 20))
    return tmp_path / "rec"


def test_folders_of_classes_become_rows_split_within_each_class(by_class, tmp_path):
    rows = lessons.labelled_rows(by_class)
    assert rows[0] == {"file": "left/0.npz", "label": "left", "start_us": "", "stop_us": "", "group": "left/0.npz"}
    split = lessons.split_rows(rows, grouped_split, 0)
    for name in ("train", "valid", "test"):
        assert sorted(row["label"] for row in split if row["split"] == name) == ["left", "right"]
    table = lessons.write_rows(tmp_path / "table.csv", split)
    home = import_recordings(find_recordings([by_class], table), tmp_path / "out", slice_us=20_000)
    groups = lessons.slice_groups(home, rows)
    sets = [load_dataset(str(home), split=name) for name in ("train", "valid", "test")]
    assert [len(part) for part in sets] == [4, 4, 4]
    label_of = {row["group"]: row["label"] for row in rows}
    labels = [part.classes[label] for part in sets for label in part.labels]
    assert [label_of[group] for group in groups] == labels
    split_of = {row["group"]: row["split"] for row in split}
    assert [split_of[group] for group in groups] == ["train"] * 4 + ["valid"] * 4 + ["test"] * 4


def test_groups_of_a_table_stay_whole(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "file,label,start_us,stop_us,group\n"
        + "".join(
            f"f{number}.raw,{'ab'[part]},{part},{part + 1},p{number // 2}\n" for number in range(8) for part in (0, 1)
        )
    )
    rows = lessons.labelled_rows(tmp_path)
    split = lessons.split_rows(rows, grouped_split, 3)
    assert {len({row["split"] for row in split if row["group"] == f"p{person}"}) for person in range(4)} == {1}


def test_folder_without_labels_and_too_few_groups_are_refused(by_class, tmp_path):
    with pytest.raises(ValueError, match=r"has neither labels.csv"):
        lessons.labelled_rows(tmp_path / "rec" / "left")
    with pytest.raises(ValueError, match="is no folder"):
        lessons.labelled_rows(tmp_path / "none")
    with pytest.raises(ValueError, match="class 'left' has 2 files or groups"):
        lessons.split_rows(lessons.labelled_rows(by_class)[1:], grouped_split, 0)


REPORT = {
    "files": 6,
    "left_out": {"a.raw": "cut short"},
    "groups": ["a", "a", "b", "c", "d"],
    "splits": ["train", "train", "valid", "test", "test"],
    "classes": 2,
    "hits": 8,
    "total": 10,
    "interval": (0.4902, 0.9433),
    "baseline": 0.6,
    "baseline_total": 10,
    "controls": {"shuffled": 0.5},
    "operations": 1e6,
}


def test_whole_report_gets_all_points_of_the_computer(capsys):
    assert sum(point.given for point in lessons.grade(REPORT)) == 12
    assert "together     12/12" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "criterion", "given", "why"),
    [
        ({"left_out": {"a.raw": ""}}, "data checked", 1, "no reason why a.raw"),
        ({"splits": ["train", "test", "valid", "test", "test"]}, "no leakage", 0, "1 groups are in several splits"),
        ({"splits": ["train", "train", "valid", "valid", "test"]}, "no leakage", 2, "a single group is tested on"),
        ({"splits": ["train"] * 5}, "no leakage", 0, "no recording is in the split 'valid'"),
        ({"splits": ["train"]}, "no leakage", 0, "one name a recording"),
        ({"baseline_total": 12}, "baseline", 1, "scored on 12 recordings, not 10"),
        ({"baseline": 0.9}, "baseline", 2, "not beaten: say so"),
        ({"interval": (0.55, 1.0)}, "interval", 0, "reported are 55.0 to 100.0 %"),
        ({"controls": {"shuffled": 50}}, "control", 0, "must be an accuracy in 0 to 1"),
        ({"operations": None}, "cost", 0, "`operations` is missing"),
    ],
)
def test_fault_of_a_report_costs_points_with_the_reason(change, criterion, given, why):
    point = next(point for point in lessons.grade(REPORT | change) if point.criterion == criterion)
    assert point.given == given
    assert why in point.why
