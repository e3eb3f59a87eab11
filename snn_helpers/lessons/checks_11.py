"""Exercises of notebook 11: events in one form, slices of a session, and a split that keeps groups together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


def tidy_events(x, y, t, p):
    """Return x, y, t (whole µs, sorted), p (1 is ON); t comes in s, p as -1 and +1."""
    t_us = np.round(np.asarray(t) * 1e6).astype(np.int64)
    order = np.argsort(t_us, kind="stable")  # equal times keep their order
    on = np.asarray(p) > 0
    return x[order], y[order], t_us[order], on[order].astype(int)


@exercise(tidy_events)
def check_tidy_events(answer: Callable) -> str:
    """Check `tidy_events(x, y, t, p)`: seconds to µs, -1 and +1 to 0 and 1, all four columns sorted by time."""
    # 1.001 s is 1000999.9999999999 µs in float64; events 1 and 4 have one time and must keep their order.
    x, y = np.array([5, 6, 7, 8, 9]), np.array([50, 60, 70, 80, 90])
    t, p = np.array([0.5, 0.29, 0.000003, 1.001, 0.29]), np.array([1, -1, 1, -1, 1])
    parts = as_parts(ask(answer, x, y, t, p), ("x", "y", "t", "p"))
    x_out, y_out, t_out, p_out = (as_numbers(name, part, (5,)) for name, part in zip("xytp", parts))
    wanted_t = [3, 290_000, 290_000, 500_000, 1_001_000]
    refuse_if(t_out.max() < 2, "the times are still in seconds: multiply by a million.")
    refuse_if(1_000 < t_out.max() < 1_002, "these are milliseconds: a second has a million µs.")
    refuse_if(
        sorted(p_out) != [0, 0, 1, 1, 1] and set(p_out) == {-1, 1}, "OFF must be 0, not -1: p takes the values 0 and 1."
    )
    refuse_if(sorted(p_out) == [0, 0, 0, 1, 1], "ON and OFF are swapped: +1, brighter, becomes 1.")
    refuse_if(np.any(np.diff(t_out) < 0), "the times run backwards: sort the events by time.")
    refuse_if(
        1_000_999 in t_out,
        "1.001 s became 1,000,999 µs: 1.001 * 1e6 is a little less than 1,001,000 in float64. Round, then cast.",
    )
    refuse_if(t_out.tolist() != wanted_t, f"the times must be {wanted_t}; got {t_out.tolist()}.")
    refuse_if(
        x_out.tolist() == x.tolist() or p_out.tolist() == [1, 0, 1, 0, 1],
        "only some columns were sorted: x, y and p must move with their time, by the same order.",
    )
    refuse_if(
        x_out.tolist() == [7, 9, 6, 5, 8], "events of equal time must keep their order: argsort with kind='stable'."
    )
    right = x_out.tolist() == [7, 6, 9, 5, 8] and y_out.tolist() == [70, 60, 90, 50, 80]
    refuse_if(not right or p_out.tolist() != [1, 0, 1, 1, 0], "x, y and p do not belong to their times any more.")
    dtype = np.asarray(parts[2]).dtype
    refuse_if(dtype.kind not in "iu", f"the times must be whole numbers, int64; got {dtype}.")
    return "1.001 s is 1,001,000 µs, and each event kept its pixel and its polarity"


def cut_slices(events, start_us, stop_us, slice_us):
    """Return the whole slices of [start_us, stop_us); each slice's t begins at 0."""
    slices = []
    for begin in range(start_us, stop_us - slice_us + 1, slice_us):
        inside = (events["t"] >= begin) & (events["t"] < begin + slice_us)
        piece = events[inside].copy()
        piece["t"] -= begin
        slices.append(piece)
    return slices


@exercise(cut_slices)
def check_cut_slices(answer: Callable) -> str:
    """Check `cut_slices(events, start_us, stop_us, slice_us)`: whole slices of a labelled part, times from 0."""
    events = np.zeros(10, np.dtype([("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")]))
    events["t"] = [50, 100, 149, 150, 199, 200, 250, 299, 300, 340]
    events["x"] = range(10)

    def cut(start_us: int, stop_us: int) -> list[list[tuple[int, int]]]:
        found = ask(answer, events, start_us, stop_us, 100)
        refuse_if(
            isinstance(found, np.ndarray) or not hasattr(found, "__len__"), "return a list of arrays, one for a slice."
        )
        for piece in found:
            fine = isinstance(piece, np.ndarray) and {"x", "t"} <= set(piece.dtype.names or ())
            refuse_if(not fine, "each slice must be a structured array of events, with all its fields.")
        return [[(int(event["x"]), int(event["t"])) for event in piece] for piece in found]

    found = cut(100, 350)  # two whole slices, and 50 µs too many
    refuse_if(len(found) == 3, "the part of 250 µs holds two whole slices of 100 µs; leave out the rest.")
    refuse_if(len(found) != 2, f"from 100 to 350 µs there are two whole slices of 100 µs; got {len(found)}.")
    places = [[x for x, _ in piece] for piece in found]
    refuse_if(
        any(5 in place for place in places[:1]),
        "an event at the end of a slice belongs to the next one: begin <= t < begin + slice_us.",
    )
    refuse_if(0 in places[0], "the first slice begins at start_us, not with the file's first event.")
    refuse_if(places != [[1, 2, 3, 4], [5, 6, 7]], f"the slices must hold events 1 to 4 and 5 to 7; got {places}.")
    times = [[t for _, t in piece] for piece in found]
    refuse_if(
        times[1] == [100, 150, 199] or times[0][0] == 100,
        "each slice's times must begin at 0: subtract its own beginning, not that of the file or the part.",
    )
    refuse_if(
        times != [[0, 49, 50, 99], [0, 50, 99]],
        f"the times within the slices must be [0, 49, 50, 99] and [0, 50, 99]; got {times}.",
    )
    refuse_if(
        len(cut(100, 300)) != 2, "a part of exactly two slices holds two: the last one may end where the part ends."
    )
    shifted = [t for _, t in cut(140, 240)[0]]
    refuse_if(
        shifted != [9, 10, 59, 60],
        "a slice that starts at 140 µs has its first event at 9 µs: subtract the beginning of the slice, not the time "
        "of its first event.",
    )
    return "whole slices only, no event twice, and each slice has a clock of its own"


def grouped_split(groups, num_valid, num_test, seed):
    """Return "train", "valid" or "test" for each recording; a group stays whole."""
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    split = np.full(len(groups), "train")
    split[np.isin(groups, names[:num_test])] = "test"
    split[np.isin(groups, names[num_test : num_test + num_valid])] = "valid"
    return split


@exercise(grouped_split)
def check_grouped_split(answer: Callable) -> str:
    """Check `grouped_split(groups, num_valid, num_test, seed)`: so many whole groups each, drawn by the seed."""
    names = np.array([f"user{number:02d}" for number in range(1, 9)])
    groups = np.repeat(names, [3, 1, 4, 1, 5, 2, 6, 2])
    groups = groups[np.random.default_rng(1).permutation(len(groups))]

    def split_by(seed: int) -> np.ndarray:
        found = np.asarray(ask(answer, groups, 1, 2, seed))
        refuse_if(
            found.shape != groups.shape, f"return one word for each recording, {len(groups)}; got {list(found.shape)}."
        )
        odd = set(found.tolist()) - {"train", "valid", "test"}
        refuse_if(bool(odd), f"the words must be train, valid and test; got {sorted(map(str, odd))[:3]}.")
        return found

    found = split_by(0)
    splits = {name: set(found[groups == name]) for name in names}
    broken = [name for name in names if len(splits[name]) > 1]
    refuse_if(
        bool(broken),
        f"{next(iter(broken), '')} has recordings in {' and '.join(sorted(splits[broken[0]])) if broken else ''}: draw "
        "groups, not recordings.",
    )
    counts = {part: sum(splits[name] == {part} for name in names) for part in ("valid", "test")}
    refuse_if(
        counts == {"valid": 2, "test": 1}, "valid and test are swapped: one group validates and two groups test here."
    )
    refuse_if(
        counts != {"valid": 1, "test": 2},
        f"one group must validate and two must test; got {counts['valid']} and {counts['test']}.",
    )
    refuse_if(not np.array_equal(found, split_by(0)), "the same seed must give the same split: use default_rng(seed).")
    others = [split_by(seed) for seed in range(1, 6)]
    refuse_if(
        all(np.array_equal(found, other) for other in others),
        "another seed must give another split: shuffle the groups, since their order may mean something.",
    )
    return "each group stays whole, and the seed decides where it goes"
