"""Find anyone's recordings, their classes, splits and groups, and look through them; nothing is written."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snn_helpers._paths import user_path
from snn_helpers.events.convert import find_sensor_size
from snn_helpers.events.dtype import RecordingError
from snn_helpers.events.read import RecordingBlocks

SPLIT_OF = {"train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid"}
SPLIT_OF |= {"test": "test", "testing": "test"}
_SHOWN = 10  # problems told one by one
_SAID_BY = {
    "stated": "as stated",
    "file": "as the files say",
    "events": "the smallest common one that holds all events",
}


class Item(NamedTuple):
    """One recording to be: a file, or a part of it, its class and, where they were said, its split and its group."""

    path: Path
    label: str
    split: str | None = None
    start_us: int | None = None
    stop_us: int | None = None
    group: str | None = None


@dataclass(frozen=True)
class Found:
    """What an import would bring in, before anything is written.

    Attributes
    ----------
    items : list of Item
        The recordings, those that cannot be read left out.
    classes : tuple of str
        Names of the classes, sorted: as numbers, where all are.
    sensor_size : (W, H, P)
        The largest of all files.
    sensor_from : str
        Who says so: "stated", "file", or "events", the smallest common sensor that holds them.
    formats : tuple of str
        The files' formats.
    seconds : float
        Length of all recordings together.
    events : int
        Events of all of them.
    problems : dict of Path to str
        Files that cannot be read, and why.
    """

    items: list[Item]
    classes: tuple[str, ...]
    sensor_size: tuple[int, int, int]
    sensor_from: str
    formats: tuple[str, ...]
    seconds: float
    events: int
    problems: dict[Path, str] = field(default_factory=dict)

    @property
    def groups(self) -> set[str]:
        """Names of the groups of recordings that stay in one split; empty where none were said."""
        return {item.group for item in self.items if item.group is not None}

    def __str__(self) -> str:
        width, height, _ = self.sensor_size
        rate = f", {self.events / self.seconds:,.0f} events a second" if self.seconds else ""
        counts = {name: sum(item.label == name for item in self.items) for name in self.classes}
        lines = [
            f"{len(self.items):,} recordings ({', '.join(self.formats)}), {self.seconds:,.1f} s, "
            f"{self.events:,} events{rate}",
            f"sensor {width} x {height}, {_SAID_BY[self.sensor_from]}",
            f"{len(self.classes)} classes: " + ", ".join(f"{name} ({count:,})" for name, count in counts.items()),
        ]
        if self.groups:
            lines.append(f"{len(self.groups):,} groups, each in one split")
        lines += [f"left out, {path}: {why}" for path, why in [*self.problems.items()][:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"and {len(self.problems) - _SHOWN:,} more files left out")
        return "\n".join(lines)


def find_recordings(
    sources: Sequence[str | Path],
    labels: str | Path | None = None,
    sensor_size: Sequence[int] | None = None,
    group: str | None = None,
    **reading,
) -> Found:
    """Look for recordings and through them, writing nothing.

    Parameters
    ----------
    sources : sequence of path
        Files, or folders laid out as `<split>/<class>/<file>` or `<class>/<file>`. With `labels`, files and folders
        in which the named files lie.
    labels : path or None
        A CSV file with the columns `file` and `label`, and where wanted `start_us`, `stop_us` (a part of the file),
        `split` and `group`: recordings of one group (a person, a session, a place) come into one split. A row without
        a group is of the group of its file.
    sensor_size : (W, H) or None
        Of the camera; None takes what the files say or, where they do not, the smallest common sensor.
    group : str or None
        Instead of the table's column: a regular expression, which is looked for in each file's path below its source;
        files in which it finds the same text, or the same in its first brackets, are of one group.
    **reading
        `columns`, `unit`, `sort` of `read_events`.

    Raises
    ------
    ValueError
        If there are no recordings, no classes, a table does not fit the files, a group lies in two splits, or parts of
        a file overlap and are in no group.
    """
    roots = [user_path(source) for source in sources]
    for root in roots:
        if not os.path.exists(root):  # False, too, where a folder on the way must not be read
            raise ValueError(f"{root}: no such file or folder.")
        if not (root.is_dir() or root.is_file()):
            raise ValueError(f"{root}: is neither a file nor a folder.")
    items = _items_of_table(user_path(labels), roots) if labels else [item for root in roots for item in _items(root)]
    if not items:
        raise ValueError(
            f"{', '.join(map(str, roots))}: no recordings found. Expected files in <split>/<class>/ or <class>/, or "
            "files and a table of labels (--labels)."
        )
    _refuse_twins(items)
    items = items if group is None else _grouped(items, roots, group)
    _refuse_torn(items)
    sizes, origins, formats, problems, seconds, events = [], set(), set(), {}, 0.0, 0
    for path in dict.fromkeys(item.path for item in items):
        try:
            blocks = RecordingBlocks(path, sensor_size=sensor_size, **reading)
            looks = [(len(one), int(one["t"][0]), int(one["t"][-1]), one["x"].max(), one["y"].max()) for one in blocks]
            if not looks:
                raise RecordingError(f"{path}: holds no events.")
        except (RecordingError, OSError, ImportError) as err:
            problems[path] = str(err).removeprefix(f"{path}: ")
            continue
        counts, firsts, lasts, *largest = zip(*looks)
        sizes.append(blocks.sensor_size or find_sensor_size(*(int(max(side)) for side in largest)))
        origins.add(blocks.sensor_from)
        formats.add(blocks.format)
        seconds, events = seconds + (lasts[-1] - firsts[0]) / 1e6, events + sum(counts)
    items = [item for item in items if item.path not in problems]
    if not items:
        told = "\n".join(f"{path}: {why}" for path, why in [*problems.items()][:_SHOWN])
        raise ValueError(f"none of the {len(problems)} files can be read:\n{told}")
    names = {item.label for item in items}
    classes = tuple(sorted(names, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name)))
    if len(classes) < 2:
        raise ValueError(f"all recordings are of one class, {classes[0]!r}. A network needs two classes or more.")
    size = tuple(max(side) for side in zip(*sizes))
    origin = next(name for name in ("events", "file", "stated") if name in origins)
    return Found(items, classes, size, origin, tuple(sorted(formats)), seconds, events, problems)


def _refuse_twins(items: Sequence[Item]) -> None:
    """Refuse a recording that comes twice: its twins would lie in two splits."""
    seen = set()
    for item in items:
        recording = item.path.resolve(), item.start_us, item.stop_us
        if recording in seen:
            raise ValueError(f"{item.path}: comes twice, and may stand once. Name each folder, link and row once.")
        seen.add(recording)


def _grouped(items: Sequence[Item], roots: Sequence[Path], pattern: str) -> list[Item]:
    """Give every recording the group that a pattern finds in its file's path below its source."""
    if any(item.group is not None for item in items):
        raise ValueError("`group`: the table of labels has a column group already. Leave one of them out.")
    try:
        expression = re.compile(pattern)
    except re.error as err:
        raise ValueError(f"`group`: {pattern!r} is no regular expression ({err}).") from err
    given = []
    for item in items:
        root = next((root for root in roots if root.is_dir() and item.path.is_relative_to(root)), item.path.parent)
        found = expression.search(item.path.relative_to(root).as_posix())
        name = (found[1] if expression.groups else found[0]) if found else None
        if not name:
            raise ValueError(f"{item.path}: `group` {pattern!r} finds nothing in its path below {root}.")
        given.append(item._replace(group=name))
    return given


def _refuse_torn(items: Sequence[Item]) -> None:
    """Refuse groups that lie in two splits, and overlapping parts of a file that may come into two."""
    splits: dict[str, set[str]] = {}
    for item in items:
        if item.group is not None and item.split is not None:
            splits.setdefault(item.group, set()).add(item.split)
    for group, names in splits.items():
        if len(names) > 1:
            raise ValueError(f"group {group!r} lies in the splits {' and '.join(sorted(names))}, and may lie in one.")
    last: dict[Path, tuple[float, Item]] = {}  # of each file, the part that ends last
    for item in sorted(items, key=lambda item: item.start_us or 0):
        path = item.path.resolve()
        end, before = last.get(path, (-np.inf, item))
        pairs = (before.group, item.group), (before.split, item.split)
        if end > (item.start_us or 0) and all(one is None or one != two for one, two in pairs):
            raise ValueError(
                f"{item.path}: its parts from {before.start_us or 0} and from {item.start_us or 0} µs overlap, and "
                "may come into two splits. Give them one group, or one split."
            )
        own = np.inf if item.stop_us is None else item.stop_us
        last[path] = max((end, before), (own, item), key=lambda pair: pair[0])


def _items(root: Path) -> list[Item]:
    """Return the recordings of a folder <split>/<class>/<file> or <class>/<file>."""
    if root.is_file():
        raise ValueError(f"{root}: a single file needs a class. Put it into a folder named after it, or use --labels.")
    items = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        parts = path.relative_to(root).parts
        if any(part.startswith(".") for part in parts) or len(parts) not in (2, 3):
            continue
        split = SPLIT_OF.get(parts[0].lower()) if len(parts) == 3 else None
        if len(parts) == 3 and split is None:
            raise ValueError(
                f"{root}: {parts[0]!r} is no split. Name the folders above the classes train, valid and test, or give "
                f"the folder {root / parts[0]} itself."
            )
        if len(parts) == 2 and parts[0].lower() in SPLIT_OF:
            raise ValueError(f"{path}: lies in a split without a folder of its class. Expected <split>/<class>/<file>.")
        items.append(Item(path, parts[-2], split))
    if len({item.split is None for item in items}) > 1:
        raise ValueError(f"{root}: some recordings lie in splits and some do not. Arrange all of them the same way.")
    return items


def _items_of_table(table: Path, roots: Sequence[Path]) -> list[Item]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, skipinitialspace=True))
    except OSError as err:
        raise ValueError(f"--labels: {table} cannot be read ({err.strerror or err}).") from err
    except (UnicodeDecodeError, csv.Error) as err:
        raise ValueError(f"--labels: {table} is no CSV text ({err}).") from None
    if not rows or not {"file", "label"} <= rows[0].keys():
        have = ", ".join(rows[0]) if rows else "nothing"
        raise ValueError(f"--labels: {table} must have the columns file and label; it has {have}.")
    items = []
    for number, row in enumerate(rows, 2):
        where = f"--labels: {table}, line {number}"
        places = [root if root.is_file() and root.name == row["file"] else root / row["file"] for root in roots]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise ValueError(f"{where}: there is no file {row['file']!r} in {', '.join(map(str, roots))}.")
        split = (row.get("split") or "").strip().lower() or None
        if split is not None and split not in SPLIT_OF:
            raise ValueError(f"{where}: {split!r} is no split; there are train, valid and test.")
        try:
            times = [int(row[name]) if (row.get(name) or "").strip() else None for name in ("start_us", "stop_us")]
        except ValueError:
            raise ValueError(f"{where}: start_us and stop_us must be whole numbers of µs.") from None
        start, stop = times
        if start is not None and stop is not None and start >= stop:
            raise ValueError(f"{where}: ends at {stop} µs, before it starts at {start}.")
        if not (row["label"] or "").strip():
            raise ValueError(f"{where}: has no label.")
        group = ((row["group"] or "").strip() or row["file"]) if "group" in row else None
        items.append(Item(path, row["label"].strip(), SPLIT_OF[split] if split else None, start, stop, group))
    return items
