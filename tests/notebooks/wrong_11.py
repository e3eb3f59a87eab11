"""Wrong answers to the exercises of notebook 11, with words of the message that each must get."""

import numpy as np


def tidy(factor=1e6, off=0, sort=True, whole=np.round, kind="stable", dtype=np.int64):
    """Return an answer with one step of its own."""

    def answer(x, y, t, p):
        t_us = whole(t * factor).astype(dtype)
        order = np.argsort(t_us, kind=kind) if sort else np.arange(len(t))
        return x[order], y[order], t_us[order], np.where(p > 0, 1, off)[order]

    return answer


def still_seconds(x, y, t, p):
    return tidy(factor=1, whole=np.asarray, dtype=float)(x, y, t, p)


def swapped(x, y, t, p):
    return tidy()(x, y, t, -p)


def only_times(x, y, t, p):
    return x, y, np.sort(np.round(t * 1e6).astype(np.int64)), (p > 0).astype(int)


def backwards(x, y, t, p):
    order = np.argsort(-t)
    return x[order], y[order], np.round(t * 1e6).astype(np.int64)[order], (p > 0).astype(int)[order]


def unstable(x, y, t, p):
    order = np.lexsort((-np.arange(len(t)), np.round(t * 1e6)))
    return x[order], y[order], np.round(t * 1e6).astype(np.int64)[order], (p > 0).astype(int)[order]


def cut(rest=0, closed=False, origin="slice", inside_part=True):
    """Return an answer that keeps a rest, takes the end in, or counts times from elsewhere."""

    def answer(events, start_us, stop_us, slice_us):
        slices = []
        first = start_us if inside_part else int(events["t"][0])
        for begin in range(first, stop_us - slice_us + 1 + rest * (slice_us - 1), slice_us):
            end = begin + slice_us
            inside = (events["t"] >= begin) & ((events["t"] <= end) if closed else (events["t"] < end))
            piece = events[inside].copy()
            piece["t"] -= {"slice": begin, "part": start_us, "file": 0, "event": int(piece["t"][0])}[origin]
            slices.append(piece)
        return slices

    return answer


def without_last(events, start_us, stop_us, slice_us):
    return [
        piece
        for begin in range(start_us, stop_us - slice_us, slice_us)
        for piece in cut()(events, begin, begin + slice_us, slice_us)
    ]


def times_only(events, start_us, stop_us, slice_us):
    return [piece["t"] for piece in cut()(events, start_us, stop_us, slice_us)]


def by_recording(groups, num_valid, num_test, seed):
    words = ["valid"] * num_valid + ["test"] * num_test + ["train"] * (len(groups) - num_valid - num_test)
    return np.random.default_rng(seed).permutation(words)


def in_order(groups, num_valid, num_test, seed):
    names = np.unique(groups)
    words = dict(zip(names, ["valid"] * num_valid + ["test"] * num_test + ["train"] * len(names)))
    return np.array([words[name] for name in groups])


def other_way_round(groups, num_valid, num_test, seed):
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    words = dict(zip(names, ["valid"] * num_test + ["test"] * num_valid + ["train"] * len(names)))
    return np.array([words[name] for name in groups])


def without_seed(groups, num_valid, num_test, seed):
    names = np.random.default_rng().permutation(np.unique(groups))
    words = dict(zip(names, ["valid"] * num_valid + ["test"] * num_test + ["train"] * len(names)))
    return np.array([words[name] for name in groups])


def by_group(groups, num_valid, num_test, seed):
    return by_recording(np.unique(groups), num_valid, num_test, seed)


def no_valid(groups, num_valid, num_test, seed):
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    return np.where(np.isin(groups, names[:num_test]), "test", "train")


WRONG = {
    "tidy_events": [
        (still_seconds, "still in seconds"),
        (tidy(factor=1e3), "these are milliseconds"),
        (tidy(off=-1), "OFF must be 0"),
        (swapped, "ON and OFF are swapped"),
        (tidy(sort=False), "sort the events by time"),
        (backwards, "the times run backwards"),
        (tidy(whole=np.floor), "Round, then cast"),
        (only_times, "only some columns were sorted"),
        (unstable, "kind='stable'"),
        (tidy(dtype=float), "must be whole numbers"),
    ],
    "cut_slices": [
        (cut(rest=1), "leave out the rest"),
        (cut(closed=True), "belongs to the next one"),
        (cut(origin="file"), "must begin at 0"),
        (cut(origin="part"), "must begin at 0"),
        (cut(origin="event"), "not the time of its first event"),
        (cut(inside_part=False), "got 3|leave out the rest"),
        (without_last, "exactly two slices"),
        (times_only, "with all its fields"),
    ],
    "grouped_split": [
        (by_recording, "draw groups, not recordings"),
        (in_order, "shuffle the groups"),
        (other_way_round, "valid and test are swapped"),
        (without_seed, "the same seed must give the same split"),
        (by_group, "one word for each recording"),
        (no_valid, "got 0 and 2"),
    ],
}
