"""Wrong answers to the exercises of notebook 07, with words of the message that each must get."""

import hashlib
import json


def digest(text, length=12):
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def by_hash(parameters):
    return f"{hash(tuple(sorted(parameters.items()))) % 10**12}"


def unsorted_id(parameters):
    return digest(json.dumps(parameters))


def values_only(parameters):
    return digest(json.dumps([parameters[name] for name in sorted(parameters)]))


def short_id(parameters):
    return digest(json.dumps(parameters, sort_keys=True), 2)


def number_id(parameters):
    return int(digest(json.dumps(parameters, sort_keys=True)), 16)


def readable(parameters):
    return json.dumps(parameters, sort_keys=True)


def by_number(ids, rows, retry):
    return ids[len(rows) :]


def only_done(ids, rows, retry):
    return [one for one in ids if one not in {row["id"] for row in rows if row["status"] == "done"}]


def any_status(ids, rows, retry):
    ended = {row["id"] for row in rows if row["status"] == "done" or not retry}
    return [one for one in ids if one not in ended]


def first_row(ids, rows, retry):
    last = {}
    for row in rows:
        last.setdefault(row["id"], row["status"])
    return [one for one in ids if one not in last or last[one] in retry]


def unordered(ids, rows, retry):
    last = {row["id"]: row["status"] for row in rows}
    return [one for one in ids if one not in last] + [one for one in ids if last.get(one) in retry]


def best_only(points):
    return [min(points, key=lambda name: (-points[name][1], points[name][0]))]


def cheapest_only(points):
    return [min(points, key=lambda name: points[name][0])]


def rising_in_order(points):
    return [name for name, (cost, right) in points.items()]


def ties_count(points):
    return [
        name
        for name, (cost, right) in points.items()
        if not any(other[0] < cost and other[1] > right for other in points.values())
    ]


def beaten_by_equals(points):
    return [
        name
        for name, (cost, right) in points.items()
        if not any(
            other != name and points[other][0] <= cost and points[other][1] >= right for other in points
        )
    ]  # fmt: skip


WRONG = {
    "check_run_id": [
        (by_hash, "another number in every process"),
        (unsorted_id, "sort them first"),
        (values_only, "names and values both count"),
        (short_id, "keep more digits|share an id"),
        (number_id, "an id is a text"),
        (readable, "no good name for a folder"),
    ],
    "check_missing": [
        (by_number, "not how many rows"),
        (only_done, "without `retry` it is not run again"),
        (any_status, "c has failed, not been killed"),
        (first_row, "its last row counts"),
        (unordered, "keep the order of the plan"),
    ],
    "check_front": [
        (best_only, "most accurate alone"),
        (cheapest_only, "the cheapest alone"),
        (rising_in_order, "c is no use"),
        (ties_count, "e is no use"),
        (beaten_by_equals, "beat each other out"),
    ],
}
