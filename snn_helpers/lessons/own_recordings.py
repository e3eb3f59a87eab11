"""What notebook 11 does not show: tables of labels as rows, splits within classes, and the points of its project."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snn_helpers.data.sources import SPLITS
from snn_helpers.stats import wilson_interval

LABELS = "labels.csv"
_SPLIT_NAMES = {"train", "training", "valid", "val", "validation", "test", "testing"}


def labelled_rows(folder: Path) -> list[dict[str, str]]:
    """Return the labelled parts of a folder's files, one dict a row.

    Parameters
    ----------
    folder : Path
        Holds `labels.csv` (columns file, label, and where wanted start_us, stop_us, group), or files in folders named
        after their class, `<class>/<file>`.

    Returns
    -------
    list of dict
        With the keys file, label, start_us, stop_us (empty for a whole file) and group: the column of that name, else
        the file.

    Raises
    ------
    ValueError
        If there is neither.
    """
    if not folder.is_dir():
        raise ValueError(f"`recordings`: {folder} is no folder. Name one with {LABELS}, or with <class>/<file>.")
    if (folder / LABELS).is_file():
        with open(folder / LABELS, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, skipinitialspace=True))
    else:
        files = (path for path in sorted(folder.glob("*/*")) if path.is_file() and not path.name.startswith("."))
        rows = [{"file": path.relative_to(folder).as_posix(), "label": path.parent.name} for path in files]
    if not rows or not {"file", "label"} <= rows[0].keys() or {row["label"].lower() for row in rows} <= _SPLIT_NAMES:
        raise ValueError(
            f"`recordings`: {folder} has neither {LABELS} with the columns file and label nor folders <class>/<file>."
        )
    return [
        {
            "file": row["file"],
            "label": row["label"],
            "start_us": row.get("start_us") or "",
            "stop_us": row.get("stop_us") or "",
            "group": row.get("group") or row["file"],
        }
        for row in rows
    ]


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Write rows as a CSV table for `find_recordings`, and return its path."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def split_rows(rows: Sequence[Mapping[str, str]], grouped_split: Callable, seed: int) -> list[dict[str, str]]:
    """Return the rows with a column `split`: a fifth of the groups tests, about a seventh validates.

    Parameters
    ----------
    rows : sequence of mappings
        From `labelled_rows`.
    grouped_split : callable
        (groups, num_valid, num_test, seed) to the split of each row. Where every group is of one class, it is called
        class by class, so that each split has all classes.
    seed : int

    Raises
    ------
    ValueError
        If there are fewer than three groups, of each class where a group is of one class.
    """
    groups, labels = (np.array([row[name] for row in rows]) for name in ("group", "label"))
    one_class = all(len(set(labels[groups == group])) == 1 for group in np.unique(groups))
    parts = labels if one_class else np.full(len(rows), "all")
    split = np.empty(len(rows), dtype="<U5")
    for part in np.unique(parts):
        here = parts == part
        count = len(np.unique(groups[here]))
        if count < 3:
            what = f"class '{part}' has" if one_class else "there are"
            raise ValueError(
                f"{what} {count} files or groups; to learn, validate and test, three are needed. Bring more recordings."
            )
        num_test, num_valid = max(1, round(0.2 * count)), max(1, round(0.15 * count))
        split[here] = grouped_split(groups[here], num_valid, num_test, seed)
    return [{**row, "split": str(name)} for row, name in zip(rows, split, strict=True)]


def slice_groups(folder: Path, rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    """Return the group of each recording of an imported data set, str [N], all its splits one after the other.

    `folder` holds `recordings.csv`, as `import_recordings` writes it; `rows` say each file's group.
    """
    group_of = {Path(row["file"]).parts: row["group"] for row in rows}
    with open(folder / "recordings.csv", newline="", encoding="utf-8") as stream:
        paths = [Path(row["file"]).parts for row in csv.DictReader(stream)]
    return np.array([next(group for file, group in group_of.items() if path[-len(file) :] == file) for path in paths])


class Point(NamedTuple):
    """One line of the project's rubric: the points given, the most there are, and why."""

    criterion: str
    given: int
    most: int
    why: str


RUBRIC = {"data checked": 2, "no leakage": 3, "baseline": 2, "interval": 2, "control": 2, "cost": 1}
"""The criteria of the project that a computer can check, with their points."""


def grade(report: Mapping[str, Any]) -> list[Point]:
    """Check what a computer can check of a project, print the points with the reasons, and return them.

    Parameters
    ----------
    report : mapping
        "files" (number of files looked through), "left_out" ({file: reason}); "groups" (group of each recording) and
        "splits" (its split); "classes" (int); "hits", "total" (of the test split), "interval" (low, high, shares);
        "baseline" and "baseline_total"; "controls" ({name: accuracy}); "operations" (a recording, or any other cost
        that was measured). What is missing gets no points.

    Examples
    --------
    >>> [point.given for point in grade({"hits": 8, "total": 10, "interval": (0.49, 0.943)})][3]
    data checked 0/2: `files` is missing: how many files were looked through?
    no leakage   0/3: `groups` and `splits` are missing.
    baseline     0/2: `baseline` is missing.
    interval     2/2: 8 of 10 gives 49.0 to 94.3 %, as reported.
    control      0/2: `controls` is missing.
    cost         0/1: `operations` is missing.
    together     2/12, and up to 8 from a human reader
    2
    """
    checks = (_data_checked, _no_leakage, _baseline, _interval, _control, _cost)
    points = [
        Point(name, given, most, why)
        for (name, most), check in zip(RUBRIC.items(), checks, strict=True)
        for given, why in [check(report)]
    ]
    for point in points:
        print(f"{point.criterion:<13}{point.given}/{point.most}: {point.why}")
    print(f"{'together':<13}{sum(point.given for point in points)}/12, and up to 8 from a human reader")
    return points


def _data_checked(report: Mapping) -> tuple[int, str]:
    if not report.get("files"):
        return 0, "`files` is missing: how many files were looked through?"
    if "left_out" not in report:
        return 1, f"{report['files']} files looked through; `left_out` is missing: {{}} if none was."
    unnamed = [str(name) for name, why in report["left_out"].items() if not why]
    if unnamed:
        return 1, f"no reason why {unnamed[0]} was left out."
    return 2, f"{report['files']} files looked through, {len(report['left_out'])} left out with a reason."


def _no_leakage(report: Mapping) -> tuple[int, str]:
    if "groups" not in report or "splits" not in report:
        return 0, "`groups` and `splits` are missing."
    groups, splits = np.asarray(report["groups"]), np.asarray(report["splits"])
    if groups.shape != splits.shape or groups.ndim != 1 or not groups.size:
        return 0, f"`groups` and `splits` must be one name a recording; got {groups.shape} and {splits.shape}."
    missing = [name for name in SPLITS if name not in splits]
    if missing:
        return 0, f"no recording is in the split {missing[0]!r}."
    mixed = [group for group in np.unique(groups) if len(set(splits[groups == group])) > 1]
    if mixed:
        return 0, f"{len(mixed)} groups are in several splits, among them {mixed[0]}."
    count = len(np.unique(groups[splits == "test"]))
    if count < 2:
        return 2, "no group is in two splits, but a single group is tested on: another may differ."
    return 3, f"no group is in two splits; {count} groups are tested on."


def _baseline(report: Mapping) -> tuple[int, str]:
    if report.get("baseline") is None:
        return 0, "`baseline` is missing."
    if report.get("baseline_total") != report.get("total"):
        return 1, f"the baseline is scored on {report.get('baseline_total')} recordings, not {report.get('total')}."
    chance = 1 / report["classes"] if report.get("classes") else 0
    beaten = "beaten" if report["hits"] / report["total"] > max(report["baseline"], chance) else "not beaten: say so"
    return 2, f"{100 * report['baseline']:.1f} % on the same recordings, {beaten}."


def _interval(report: Mapping) -> tuple[int, str]:
    if not {"hits", "total", "interval"} <= report.keys():
        return 0, "`hits`, `total` or `interval` is missing."
    low, high = wilson_interval(report["hits"], report["total"])
    what = f"{report['hits']} of {report['total']} gives {100 * low:.1f} to {100 * high:.1f} %"
    if not np.allclose((low, high), report["interval"], atol=0.006):
        return 0, f"{what}, reported are {100 * report['interval'][0]:.1f} to {100 * report['interval'][1]:.1f} %."
    return 2, f"{what}, as reported."


def _control(report: Mapping) -> tuple[int, str]:
    controls = report.get("controls")
    if not controls:
        return 0, "`controls` is missing."
    outside = [name for name, accuracy in controls.items() if not 0 <= accuracy <= 1]
    if outside:
        return 0, f"{outside[0]!r} must be an accuracy in 0 to 1; got {controls[outside[0]]}."
    return 2, ", ".join(f"{name} {100 * accuracy:.1f} %" for name, accuracy in controls.items()) + "."


def _cost(report: Mapping) -> tuple[int, str]:
    operations = report.get("operations")
    if not operations or operations < 0:
        return 0, "`operations` is missing."
    return 1, f"{operations:,.0f} operations a recording."
