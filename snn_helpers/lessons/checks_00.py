"""Checks of the exercises in `00_start_here`."""

from __future__ import annotations

import numpy as np

from snn_helpers.lessons.answers import as_numbers, ask, exercise, refuse_if


def mean_rate_hz(events):
    """Return the events per second of a recording: array with x, y, t (µs), p."""
    seconds = (events["t"][-1] - events["t"][0]) / 1e6
    return len(events) / seconds


@exercise(mean_rate_hz)
def check_mean_rate(mean_rate_hz):
    """Check `mean_rate_hz(events)`: events per second, between a recording's first event and its last."""
    from snn_helpers.events.recording import make_events

    count, first_us, length_us = 2001, 50_000, 250_000
    t_us = np.linspace(first_us, first_us + length_us, count).astype(np.int64)
    events = make_events(np.full(count, 3), np.full(count, 4), t_us, np.arange(count) % 2)
    rate = as_numbers("the rate", ask(mean_rate_hz, events)).item()
    truth = count / (length_us / 1e6)
    for factor, unit in ((1e-6, "per µs: t is in µs"), (1e-3, "per ms"), (1e6, "with µs and s mixed up twice")):
        refuse_if(np.isclose(rate, factor * truth, rtol=0.01), f"this is events {unit}. A second has 1,000,000 µs.")
    refuse_if(
        np.isclose(rate, count / (t_us[-1] / 1e6), rtol=0.01),
        "the time runs from the first event, which need not come at 0.",
    )
    refuse_if(
        not np.isclose(rate, truth, rtol=0.01),
        f"{count:,} events in a quarter of a second are {truth:,.0f} a second; got {rate:,.4g}.",
    )
    return f"{count:,} events in a quarter of a second are {truth:,.0f} events a second"


def decide(spk_rec):
    """Return the class of each recording: spikes [T, B, classes] in, classes [B] out."""
    counts = spk_rec.sum(0)
    return counts.argmax(-1)


@exercise(decide)
def check_decide(decide):
    """Check `decide(spk_rec)`: spikes [T, B, classes] to the class [B] that has most of them."""
    import torch

    spk_rec = torch.zeros(4, 3, 10)
    spk_rec[:3, 0, 4] = 1  # most spikes for 4, but the last step belongs to 2
    spk_rec[3, 0, 2] = 1
    spk_rec[1:, 1, 9] = 1
    spk_rec[:2, 1, 0] = 1
    spk_rec[0, 2, 7] = 1
    answer = ask(decide, spk_rec)
    refuse_if(np.shape(answer) == (3, 10), "these are ten numbers for each recording: which of the ten is the largest?")
    refuse_if(np.shape(answer) == (4, 3), "this is an answer for every step: first sum over time, axis 0.")
    refuse_if(np.shape(answer) == (), "this is one answer for the whole batch: name the axis of the ten neurons.")
    answer = as_numbers("the classes", answer, (3,)).tolist()
    refuse_if(answer[0] == 2, "this looks at the last step only; all steps count alike.")
    refuse_if(answer == [3, 3, 1], "these are spike counts; the exercise asks which neuron has that many.")
    refuse_if(answer != [4, 9, 7], f"the neurons with most spikes are 4, 9 and 7; got {answer}.")

    spk_rec = (torch.rand(12, 20, 10, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    spk_rec[:, range(20), [number % 10 for number in range(20)]] = 1
    classes = as_numbers("the classes", ask(decide, spk_rec), (20,))
    backwards = as_numbers("the classes", ask(decide, spk_rec.flip(0)), (20,))
    permuted = as_numbers("the classes", ask(decide, spk_rec.flip(1)), (20,))
    refuse_if(not np.array_equal(classes, backwards), "the order of the steps must not matter to a sum.")
    refuse_if(not np.array_equal(classes[::-1], permuted), "recordings must not disturb each other.")
    return "the neuron with most spikes decides, whatever the order of steps, for each recording by itself"
