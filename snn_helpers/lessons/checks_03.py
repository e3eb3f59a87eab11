"""Checks of the exercises of notebook 03: parameters by hand, and two tests that a network over time must pass."""

from __future__ import annotations

from collections.abc import Callable

import torch

from snn_helpers.lessons.answers import as_numbers, ask, exercise, refuse_if

# One number a recording (columns) and step (rows). All differ, so that no two mistakes look alike.
_COUNTS = torch.tensor([[1.0, 20, 3, 15], [4, 50, 6, 25], [7, 80, 12, 35], [9, 95, 18, 60]])
_ORDER = torch.tensor([1, 2, 3, 0])  # not its own inverse


@exercise
def check_conv_parameters(conv_parameters: Callable) -> str:
    """Check `conv_parameters(n_in, n_out, kernel, bias, norm)` against layers counted by hand."""

    def count(*layer) -> float:
        return float(as_numbers("the count", ask(conv_parameters, *layer)))

    plain = count(2, 32, 3, False, False)
    refuse_if(plain == 32 * 2 * 3, "a 3 x 3 kernel has 9 weights, not 3")
    refuse_if(plain == 32 * 9, "each of the 32 output channels has one kernel for every input channel")
    refuse_if(plain != 576, f"32 channels of 2 x 3 x 3 weights are 576, not {plain:g}")
    biased = count(2, 32, 3, True, False) - plain
    refuse_if(biased == 0, "the bias is missing: with it, 576 weights become 608 parameters")
    refuse_if(biased == 2, "there is one bias for each output channel, not for each input channel")
    refuse_if(biased != 32, f"32 output channels have 32 biases, not {biased:g}")
    normed = count(2, 32, 3, False, True) - plain
    refuse_if(normed == 4 * 32, "running means and variances are measured, not learned: only scale and shift count")
    refuse_if(normed in (2, 4), "the normalisation stands behind the convolution: it has the output channels")
    refuse_if(normed != 64, f"a normalisation of 32 channels learns 32 scales and 32 shifts, 64 and not {normed:g}")
    full = count(2048, 256, 1, True, False)
    refuse_if(full != 524_544, f"a kernel of 1 makes it fully connected: 2048 x 256 + 256 = 524,544, not {full:,.0f}")
    odd = count(5, 7, 5, True, True)
    refuse_if(odd != 896, f"7 x 5 x 25 weights, 7 biases, 7 scales and 7 shifts are 896, not {odd:g}")
    return "five layers counted by hand agree, with and without bias and normalisation"


@exercise
def check_order_gap(order_gap: Callable) -> str:
    """Check `order_gap(answer, frames, order)` on networks of which it is known whether recordings are mixed."""
    frames = _COUNTS[..., None, None, None]

    def gap(answer) -> float:
        return float(as_numbers("the gap", ask(order_gap, answer, frames, _ORDER)))

    apart = gap(_sums)
    refuse_if(
        apart == _largest(_sums(frames[_ORDER]) - _sums(frames)[:, _ORDER]),
        "axis 0 is time: recordings are axis 1, `frames[:, order]`",
    )
    refuse_if(
        apart == _largest(_sums(frames[:, _ORDER]) - _sums(frames)),
        "answers to reordered recordings come reordered: reorder the first answers, too, before comparing",
    )
    refuse_if(apart != 0, f"recordings that do not touch each other have a gap of 0, not {apart:g}: same order twice?")
    for mixing in (_weighted_by_place, _time_for_batch):
        right = _largest(mixing(frames[:, _ORDER]) - mixing(frames)[:, _ORDER])
        found = gap(mixing)
        refuse_if(found == 0, "this finds nothing where the answer depends on the place in the batch")
        refuse_if(abs(found - right) > 1e-3, f"the largest absolute gap is {right:g} there, not {found:g}")
    return "nothing found where recordings keep apart; found where place in the batch counts, and where axes are mixed"


@exercise
def check_early_gap(early_gap: Callable) -> str:
    """Check `early_gap(answer, frames, k)` on networks of which it is known whether they look ahead."""
    frames, k = _COUNTS[..., None, None, None].clone(), 1
    untouched = frames.clone()

    def gap(answer, k) -> float:
        # Handed over as it is, not as a copy: it must come back unchanged.
        return float(as_numbers("the gap", ask(lambda: early_gap(answer, frames, k))))

    causal = gap(_summed_up, k)
    refuse_if(not torch.equal(frames, untouched), "this changes the caller's frames: blank a clone")
    refuse_if(causal != 0, "later answers may change: compare the steps before k only, `[:k]`")
    ahead = gap(_one_ahead, k)
    refuse_if(ahead == 0, "this misses a network that looks one frame ahead: frame k itself must be blanked, too")
    refuse_if(ahead == 1, "return how large the change is, not whether there is one")
    for signed in (_one_ahead, lambda frames: -_one_ahead(frames)):
        change = gap(signed, k)
        refuse_if(change != 50, f"an answer that goes from 50 to 0, or from -50, changes by 50, not {change:g}")
    refuse_if(gap(_less_the_mean, 2) == 0, "this misses a network that uses the mean over all steps")
    refuse_if(gap(_one_ahead, len(frames)) != 0, "with k = T nothing is blanked, and the gap must be 0")
    return "no gap where answers only look back, the right one where they look one frame ahead or at the mean over time"


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
