"""Exercises of notebook 04: two tests that a network over time must pass."""

from __future__ import annotations

from collections.abc import Callable

import torch

from snn_helpers.lessons.answers import as_numbers, ask, exercise, refuse_if

# One number a recording (columns) and step (rows). All differ, so that no two mistakes look alike.
_COUNTS = torch.tensor([[1.0, 20, 3, 15], [4, 50, 6, 25], [7, 80, 12, 35], [9, 95, 18, 60]])
_ORDER = torch.tensor([1, 2, 3, 0])  # not its own inverse


def order_gap(answer, frames, order):
    """Return the largest gap: order recordings first, or the answers afterwards."""
    reordered = answer(frames)[:, order]
    return (answer(frames[:, order]) - reordered).abs().max().item()


@exercise(order_gap)
def check_order_gap(order_gap: Callable) -> str:
    """Check `order_gap(answer, frames, order)` on networks of which it is known whether recordings are mixed."""
    frames = _COUNTS[..., None, None, None]

    def gap(answer) -> float:
        return float(as_numbers("the gap", ask(order_gap, answer, frames, _ORDER)))

    apart = gap(_sums)
    refuse_if(
        apart == _largest(_sums(frames[_ORDER]) - _sums(frames)[:, _ORDER]),
        "axis 0 is time: recordings are axis 1, `frames[:, order]`.",
    )
    refuse_if(
        apart == _largest(_sums(frames[:, _ORDER]) - _sums(frames)),
        "answers to reordered recordings come reordered: reorder the first answers, too, before comparing.",
    )
    refuse_if(apart != 0, f"recordings that do not touch each other have a gap of 0, not {apart:g}: same order twice?")
    for mixing in (_weighted_by_place, _time_for_batch):
        right = _largest(mixing(frames[:, _ORDER]) - mixing(frames)[:, _ORDER])
        found = gap(mixing)
        refuse_if(found == 0, "this finds nothing where the answer depends on the place in the batch.")
        refuse_if(abs(found - right) > 1e-3, f"the largest absolute gap is {right:g} there, not {found:g}.")
    return "nothing found where recordings keep apart; found where place in the batch counts, and where axes are mixed"


def early_gap(answer, frames, k):
    """Return the largest change before step k if the frames from k on are blank."""
    blanked = frames.clone()
    blanked[k:] = 0
    changes = answer(blanked) - answer(frames)
    return changes[:k].abs().max().item()


@exercise(early_gap)
def check_early_gap(early_gap: Callable) -> str:
    """Check `early_gap(answer, frames, k)` on networks of which it is known whether they look ahead."""
    frames, k = _COUNTS[..., None, None, None].clone(), 1
    untouched = frames.clone()

    def gap(answer, k) -> float:
        # Handed over as it is, not as a copy: it must come back unchanged.
        return float(as_numbers("the gap", ask(lambda: early_gap(answer, frames, k))))

    causal = gap(_summed_up, k)
    refuse_if(not torch.equal(frames, untouched), "this changes the caller's frames: blank a clone.")
    blanked_early = [_blanked(frames, 0, slice(k)), _blanked(frames, 1, slice(k, None))]
    refuse_if(
        causal in [_largest((_summed_up(blanked) - _summed_up(frames))[:k]) for blanked in blanked_early],
        "this blanks frames before step k: blank `[k:]` alone, on axis 0, which is time.",
    )
    refuse_if(causal != 0, "later answers may change: compare the steps before k only, `[:k]`.")
    ahead = gap(_one_ahead, k)
    refuse_if(ahead == 0, "this misses a network that looks one frame ahead: frame k itself must be blanked, too.")
    refuse_if(ahead == 1, "return how large the change is, not whether there is one.")
    for signed in (_one_ahead, lambda frames: -_one_ahead(frames)):
        change = gap(signed, k)
        refuse_if(change != 50, f"an answer that goes from 50 to 0, or from -50, changes by 50, not {change:g}.")
    refuse_if(gap(_less_the_mean, 2) == 0, "this misses a network that uses the mean over all steps.")
    refuse_if(gap(_one_ahead, len(frames)) != 0, "with k = T nothing is blanked, and the gap must be 0.")
    return "no gap where answers only look back, the right one where they look one frame ahead or at the mean over time"


def _blanked(frames: torch.Tensor, axis: int, part: slice) -> torch.Tensor:
    """Return the frames with a part of one axis set to zero."""
    blanked = frames.clone()
    blanked.movedim(axis, 0)[part] = 0
    return blanked


def _largest(gaps: torch.Tensor) -> float:
    return float(gaps.abs().max())


def _sums(frames):
    """Answer with each frame's events: recordings and steps keep apart."""
    return frames.float().flatten(2).sum(2)


def _weighted_by_place(frames):
    return _sums(frames) * torch.arange(frames.shape[1])


def _time_for_batch(frames):
    """Mix up time and batch, as a wrong reshape does."""
    return _sums(frames).t()


def _summed_up(frames):
    """Answer with all events so far."""
    return _sums(frames).cumsum(0)


def _one_ahead(frames):
    """Answer with the next frame, its sign turned for the second recording."""
    events = _sums(frames) * torch.tensor([1.0, -1.0, 1.0, 1.0])
    return torch.cat([events[1:], torch.zeros(1, events.shape[1])])


def _less_the_mean(frames):
    """Answer with what is above the mean over time, as batch normalisation in training does."""
    return _sums(frames) - _sums(frames).mean(0)
