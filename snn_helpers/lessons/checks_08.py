"""Exercises of notebook 08: dead and saturated neurons, and events taken away by rank."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


def dead_and_saturated(spk):
    """Return (dead, saturated), shares of the layer's neurons; spk is [T, B, ...]."""
    fires = (spk > 0).mean(axis=(0, 1))  # each neuron's share of steps with a spike
    dead = (fires == 0).mean()
    saturated = (fires > 0.95).mean()
    return float(dead), float(saturated)


@exercise(dead_and_saturated)
def check_dead_and_saturated(answer: Callable) -> str:
    """Check `dead_and_saturated(spk)`, shares of neurons that never fire, and that fire in more than 95 % of steps."""
    # [T = 20, B = 2, 5 neurons]: never, in one recording only, always, in 95 % of steps, in all but one.
    spk = np.zeros((20, 2, 5), np.uint8)
    spk[3, 1, 1] = 1
    spk[:, :, 2] = 1
    spk[:19, :, 3] = 1
    spk[:, :, 4] = 1
    spk[0, 0, 4] = 0

    def shares(of: np.ndarray) -> np.ndarray:
        dead, saturated = as_parts(ask(answer, of), ("dead", "saturated"))
        return np.array([float(as_numbers("dead", dead)), float(as_numbers("saturated", saturated))])

    dead, saturated = shares(spk)
    refuse_if(max(dead, saturated) > 1, f"return shares in 0 to 1, not counts or percent; got {dead:g}, {saturated:g}.")
    refuse_if(
        np.isclose(dead, 0.3),
        "a neuron that fires in one recording is not dead: look over all recordings before you count, axes 0 and 1.",
    )
    refuse_if(
        np.isclose(dead, np.mean(spk == 0)), "this is the share of steps without a spike: count neurons, not steps."
    )
    refuse_if(not np.isclose(dead, 0.2), f"one neuron of five never fires, 0.2; got {dead:g} as dead.")
    refuse_if(np.isclose(saturated, 0.6), "firing in exactly 95 % of steps is not more than 95 %: use >, not >=.")
    refuse_if(
        np.isclose(saturated, 0.2),
        "a neuron that fires in 39 of 40 steps is saturated, too: more than 95 % is not the same as always.",
    )
    refuse_if(not np.isclose(saturated, 0.4), f"two neurons of five are saturated, 0.4; got {saturated:g}.")
    image = spk.reshape(20, 2, 1, 5, 1)
    refuse_if(not np.allclose(shares(image), (dead, saturated)), "a layer [T, B, C, H, W] must give the same shares.")
    return "one neuron of five never fires, two do in more than 95 % of steps, whatever the layer's shape"


def delete_events(frames, values, share):
    """Return one recording's frames without the `share` of events that rank highest."""
    cells = np.flatnonzero(frames)  # positions with events
    counts = frames.flat[cells].astype(int)
    per_event = values.flat[cells] / counts
    order = np.argsort(-per_event)  # highest first
    before = np.cumsum(counts[order]) - counts[order]  # events that rank higher than this cell's
    left = frames.copy()
    left.flat[cells[order[before < share * counts.sum()]]] = 0
    return left


@exercise(delete_events)
def check_delete_events(answer: Callable) -> str:
    """Check `delete_events(frames, values, share)`, which empties cells by rank until a share of the events is gone."""
    # [T = 2, P = 1, H = 2, W = 3], 10 events in 5 cells; per event the cells say 3, 2, 1, -1, -4; one cell is empty.
    frames = np.array([[[[1, 2, 0], [4, 0, 0]]], [[[0, 1, 0], [0, 0, 2]]]], np.uint8)
    values = np.array([[[[3.0, 4.0, 9.0], [4.0, 0.0, 0.0]]], [[[0.0, -1.0, 0.0], [0.0, 0.0, -8.0]]]])
    given = frames.copy()
    left = np.asarray(answer(frames, values, 0.3))
    refuse_if(
        left.dtype != object and left.shape == frames.shape and not np.array_equal(frames, given),
        "the recording that you were given has changed: work on a copy, `frames.copy()`.",
    )

    def after(share: float) -> np.ndarray:
        found = np.asarray(ask(answer, given, values, share))
        refuse_if(found.shape != given.shape, f"return frames of the shape {given.shape}; got {found.shape}.")
        return found.astype(int)

    left = after(0.3)
    lost = (given - left).sum()
    refuse_if(np.array_equal(left, given), "at a share of 0.3 nothing was deleted.")
    refuse_if(
        left[1, 0, 1, 2] == 0 and left[0, 0, 0, 0] == 1 and left[0, 0, 0, 1] == 2,
        "the events that spoke against the answer went first: highest values first, with their sign.",
    )
    refuse_if(
        left[1, 0, 1, 2] == 0,
        "the ranking must keep the sign: an event at -4 speaks against the answer and goes last.",
    )
    refuse_if(
        left[0, 0, 0, 0] == 1,
        "a cell's value belongs to all of its events: divide it by their number, so that 3 for one event goes before "
        "4 for two.",
    )
    refuse_if(
        not np.array_equal(after(0), given), "at a share of 0 all events must stay: did a slice `[-0:]` take all?"
    )
    refuse_if(after(1).any(), "at a share of 1 no event may be left.")
    refuse_if(lost != 3, f"at a share of 0.3, 3 of 10 events are to go, the cells with 1 and with 2; {lost} went.")
    gone = [int((given - after(share)).sum()) for share in (0.1, 0.3, 0.7, 0.8)]
    refuse_if(
        gone != [1, 3, 7, 8],
        f"1, 3, 7 and 8 events are to go at 0.1, 0.3, 0.7 and 0.8; {gone} went. The share is one of events, not of "
        "cells, of which some hold several.",
    )
    many = np.full((1, 1, 2, 3), 200, np.uint8)
    lost = (many.astype(int) - np.asarray(ask(answer, many, np.arange(6.0).reshape(many.shape), 0.5))).sum()
    refuse_if(lost != 600, f"600 of 1,200 events are to go; {lost} went: a uint8 holds at most 255, so count in `int`.")
    return "cells go by their value per event, highest first, until the share of events is gone"
