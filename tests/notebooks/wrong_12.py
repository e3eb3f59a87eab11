"""Wrong answers to the exercises of notebook 12, with words of the message that each must get."""


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


def one_of_equals(points):
    kept, best = [], -1.0
    for name in sorted(points, key=lambda one: (points[one][0], -points[one][1])):
        if points[name][1] > best:
            kept, best = [*kept, name], points[name][1]
    return kept


def cheaper_alone_beats(points):
    return [
        name
        for name, (cost, right) in points.items()
        if not any(other[0] < cost and other[1] >= right for other in points.values())
    ]


def compared_with_itself(points):
    return [
        name
        for name, (cost, right) in points.items()
        if not any(other[0] <= cost and other[1] >= right for other in points.values())
    ]


WRONG = {
    "missing": [
        (by_number, "not how many rows"),
        (only_done, "without `retry` it is not run again"),
        (any_status, "c has failed, not been killed"),
        (first_row, "its last row counts"),
        (unordered, "keep the order of the plan"),
    ],
    "front": [
        (best_only, "most accurate alone"),
        (cheapest_only, "the cheapest alone"),
        (rising_in_order, "c is no use"),
        (ties_count, "e is no use"),
        (compared_with_itself, "compare it with the others only"),
        (beaten_by_equals, "beat each other out"),
        (one_of_equals, "neither beats the other"),
        (cheaper_alone_beats, "cost the same"),
    ],
}
