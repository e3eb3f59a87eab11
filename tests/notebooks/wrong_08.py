"""Wrong answers to the exercises of notebook 08, with words of the message that each must get."""

import numpy as np


def rates(spk):
    return (spk > 0).mean((0, 1)).ravel()


def by_recording(spk):
    fired = (spk > 0).mean(0)
    return (fired == 0).mean(), (fired > 0.95).mean()


def by_step(spk):
    return (spk == 0).mean(), (spk > 0).mean()


def as_percent(spk):
    return 100 * (rates(spk) == 0).mean(), 100 * (rates(spk) > 0.95).mean()


def inclusive(spk):
    return (rates(spk) == 0).mean(), (rates(spk) >= 0.95).mean()


def only_always(spk):
    return (rates(spk) == 0).mean(), (rates(spk) == 1).mean()


def by_rank(score, counts_of=lambda counts: counts, after=0):
    """Return an answer that deletes by its own `score(values, counts)`, and counts in its own way."""

    def delete(frames, values, share):
        cells = np.flatnonzero(frames)
        counts = frames.flat[cells].astype(int)
        order = np.argsort(-score(values.flat[cells], counts), kind="stable")
        weight = counts_of(counts[order])
        before = np.cumsum(weight) - weight
        left = frames.copy()
        left.flat[cells[order[before < share * weight.sum() + after]]] = 0
        return left

    return delete


def in_place(frames, values, share):
    frames[...] = by_rank(lambda value, count: value / count)(frames, values, share)
    return frames


def backwards_slice(frames, values, share):
    cells = np.flatnonzero(frames)
    counts = frames.flat[cells]
    events = np.repeat(cells, counts)
    rank = np.argsort(np.repeat(values.flat[cells] / counts, counts), kind="stable")
    left = frames.copy()
    left.flat[events[rank[-round(share * len(events)) :]]] = 0
    return left


def nothing(frames, values, share):
    return frames.copy()


def flat(frames, values, share):
    return by_rank(lambda value, count: value / count)(frames, values, share).ravel()


def small_numbers(frames, values, share):
    cells = np.flatnonzero(frames)
    counts = frames.flat[cells]
    order = np.argsort(-values.flat[cells] / counts, kind="stable")
    before = np.cumsum(counts[order], dtype=np.uint8) - counts[order]
    left = frames.copy()
    left.flat[cells[order[before < share * counts.sum()]]] = 0
    return left


WRONG = {
    "dead_and_saturated": [
        (by_recording, "fires in one recording is not dead"),
        (by_step, "count neurons, not steps"),
        (as_percent, "not counts or percent"),
        (inclusive, "use >, not >="),
        (only_always, "not the same as always"),
    ],
    "delete_events": [
        (by_rank(lambda value, count: -value / count), "highest values first"),
        (by_rank(lambda value, count: np.abs(value / count)), "must keep the sign"),
        (by_rank(lambda value, count: value), "divide it by their number"),
        (by_rank(lambda value, count: value / count, np.ones_like), "one of events, not of cells"),
        (by_rank(lambda value, count: value / count, after=0.5), "at a share of 0 all events"),
        (in_place, "work on a copy"),
        (backwards_slice, "at a share of 0 all events"),
        (nothing, "nothing was deleted"),
        (flat, "of the shape"),
        (small_numbers, "count in `int`"),
    ],
}
