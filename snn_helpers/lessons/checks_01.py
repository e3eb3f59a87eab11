"""Exercises of `01_events`: solutions and their checks."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


def _recording(rng: np.random.Generator, count: int, start_us: int = 0) -> np.ndarray:
    """Make events at random places, at random times within 300 ms of the start."""
    from snn_helpers.events.recording import make_events

    t_us = start_us + np.sort(rng.integers(0, 300_000, count))
    return make_events(rng.integers(0, 34, count), rng.integers(0, 34, count), t_us, rng.integers(0, 2, count))


def decode(raw):
    """Decode bytes, uint8 [5 N], into four arrays [N]: x, y, t (µs), p (1 is ON)."""
    x, y, high, middle, low = raw.reshape(-1, 5).astype(int).T
    t = (high & 127) << 16 | middle << 8 | low
    return x, y, t, high >> 7


@exercise(decode)
def check_decode(decode):
    """Check `decode(raw)`: bytes uint8 [5 N] to x, y, t (µs), p, equal to the package's reader on 100 recordings."""
    from snn_helpers.events.recording import read_bin, write_bin

    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "made_up.bin"
        for _ in range(100):
            write_bin(path, _recording(rng, int(rng.integers(50, 500))))
            raw, events = np.fromfile(path, np.uint8), read_bin(path)
            parts = as_parts(ask(decode, raw), ("x", "y", "t", "p"))
            x, y, t, p = (as_numbers(name, part, (len(events),)) for name, part in zip("xytp", parts))
            _refuse_decoded(raw.reshape(-1, 5).astype(int), x, y, t, p, events)
    return "100 recordings decoded as by the package's reader, event for event"


def _refuse_decoded(raw, x, y, t, p, events) -> None:
    refuse_if(np.array_equal(x, events["y"]) and np.array_equal(y, events["x"]), "x and y have changed places.")
    refuse_if(not np.array_equal(x, events["x"]), "x is the first byte of each five.")
    refuse_if(not np.array_equal(y, events["y"]), "y is the second byte of each five.")
    late = t - events["t"]
    refuse_if(
        late.any() and np.array_equal(late, events["p"].astype(float) * 2**23),
        "ON events come 2 ** 23 µs late: the polarity bit is still in their time. Keep 7 bits of the third byte.",
    )
    refuse_if(
        t.max() < 256 < events["t"].max(),
        "no time is above 255: a byte shifted left is still a byte. Turn the bytes into int before you shift.",
    )
    little = raw[:, 4] << 16 | raw[:, 3] << 8 | raw[:, 2] & 127
    refuse_if(np.array_equal(t, little), "the bytes of the time are taken in the wrong order: the highest comes first.")
    refuse_if(late.any(), f"t of the first event is {events['t'][0]} µs; got {t[0]:.0f}.")
    refuse_if(p.max() == 128, "polarity is 0 or 1, not 0 or 128: shift its bit down by 7.")
    refuse_if(np.array_equal(p, 1 - events["p"]), "OFF and ON have changed places: a set bit is ON, 1.")
    refuse_if(not np.array_equal(p, events["p"]), "polarity is the top bit of the third byte.")


def bin_events(events, num_steps, height, width):
    """Count the events of a recording in equal bins: [T, 2, height, width]."""
    t = events["t"] - events["t"][0]
    bins = t * num_steps // (t[-1] + 1)
    frames = np.zeros((num_steps, 2, height, width), dtype=int)
    np.add.at(frames, (bins, events["p"], events["y"], events["x"]), 1)
    return frames


@exercise(bin_events)
def check_bin_events(bin_events):
    """Check that `bin_events` counts in equal bins over the recording, and loses no event."""
    from snn_helpers.events.recording import make_events

    # Two events of one pixel in one bin, one in the next, and the last at the recording's very end; it starts late.
    few = make_events([5, 5, 5, 8, 8], [7, 7, 7, 7, 9], 1000 + np.array([0, 10, 30, 60, 99]), [1, 1, 1, 0, 1])
    frames = _frames(bin_events, few, 4)
    refuse_if(
        frames.sum() == 4 and frames[0, 1, 7, 5] == 1,
        "two events of one pixel in one bin count once: `frames[index] += 1` does that; use `np.add.at` or `bincount`.",
    )
    refuse_if(frames.sum() == 4 and frames[3].sum() == 0, "the last event is lost: the last bin must keep its end.")
    refuse_if(frames[3].sum() == 5, "all events are in the last bin: count the time from the first event.")
    refuse_if(frames.sum() != 5, f"there are 5 events, and the frames hold {frames.sum():.0f}.")
    turned = frames.sum(0).swapaxes(1, 2)
    refuse_if(turned[1, 7, 5] == 3, "x and y have changed places: rows come first, frames[step, p, y, x].")
    refuse_if(frames[:, 0].sum() == 4, "polarities have changed places: OFF is 0 and ON is 1.")
    steps = frames.sum((1, 2, 3)).tolist()
    refuse_if(steps != [2, 1, 1, 1], f"the four bins hold 2, 1, 1, 1 events; got {steps}.")

    rng = np.random.default_rng(1)
    for count, num_steps in ((1, 1), (1, 7), (400, 1), (400, 10), (3000, 25)):
        events = _recording(rng, count, start_us=5000)
        frames = _frames(bin_events, events, num_steps)
        refuse_if(frames.sum() != count, f"{count} events in {num_steps} bins: the frames hold {frames.sum():.0f}.")
        image = np.zeros((2, 34, 34))
        np.add.at(image, (events["p"], events["y"], events["x"]), 1)
        refuse_if(not np.array_equal(frames.sum(0), image), "events fall on wrong pixels: frames[step, p, y, x].")
    return "every event is in one bin, on its pixel and polarity, the last one too"


def _frames(bin_events, events, num_steps) -> np.ndarray:
    try:
        frames = ask(bin_events, events, num_steps, 34, 34)
    except IndexError as err:
        refuse_if(True, f"an event falls outside the frames ({err}): the last one must stay in bin T - 1.")
    except ZeroDivisionError:
        refuse_if(True, "a recording of one event has length 0: add 1 to the length before dividing by it.")
    return as_numbers("the frames", frames, (num_steps, 2, 34, 34))


def events_lost(events, width_us):
    """Return how many events clipped frames lose, in bins of `width_us` from time 0."""
    bins = events["t"] // width_us
    cells = np.stack([bins, events["p"], events["y"], events["x"]])
    return len(events) - np.unique(cells, axis=1).shape[1]


@exercise(events_lost)
def check_events_lost(events_lost):
    """Check that `events_lost` counts the events that frames clipped to 0 and 1 do not show."""
    from snn_helpers.events.recording import make_events

    # Pixel (5, 7), ON: three events in the first ms, two in the second, two in the third: 2 + 1 + 1 are lost.
    # Beside it, alone in their bins: an OFF event of the same pixel, its mirror image (7, 5), and two others.
    t_us = np.array([0, 400, 500, 650, 800, 1200, 1400, 2000, 2100, 2500, 2600])
    x = np.array([5, 5, 5, 7, 5, 5, 5, 9, 8, 5, 5])
    y = np.array([7, 7, 7, 5, 7, 7, 7, 9, 8, 7, 7])
    events = make_events(x, y, t_us, (t_us != 500).astype(int))
    lost = as_numbers("the loss", ask(events_lost, events, 1000)).item()
    refuse_if(lost in (4 / 11, 400 / 11), "this is a share; wanted is the number of events.")
    refuse_if(lost == 7, "these are events that stay, or that collide: of several in one bin, the first is kept.")
    refuse_if(lost == 3, "these are the bins with a collision; three events in one bin lose two.")
    refuse_if(lost == 5, "ON and OFF of one pixel do not collide, and neither do (x, y) and (y, x).")
    refuse_if(lost == 6, "events in different bins do not collide: the bin is t // width_us.")
    refuse_if(lost == 8, "events of different pixels do not collide: compare polarity, row and column, too.")
    refuse_if(lost != 4, f"of these 11 events 4 are lost in bins of 1 ms; got {lost:g}.")
    # 600 µs later, the seven of pixel (5, 7), ON, fall into the bins as 1 + 3 + 1 + 2: 2 + 1 are lost.
    late = make_events(x, y, t_us + 600, (t_us != 500).astype(int))
    lost = as_numbers("the loss", ask(events_lost, late, 1000)).item()
    refuse_if(lost == 4, "bins begin at time 0, not at the first event: the bin is t // width_us.")
    refuse_if(lost != 3, f"of the same events 600 µs later 3 are lost in bins of 1 ms; got {lost:g}.")

    rng = np.random.default_rng(2)
    events = _recording(rng, 3000)
    widths_us = (1000, 2000, 4000, 8000, 300_000)
    losses = [as_numbers("the loss", ask(events_lost, events, width)).item() for width in widths_us]
    # Each width is a multiple of the one before: what collided goes on colliding.
    refuse_if(np.any(np.diff(losses) < 0), "wider bins cannot lose fewer events.")
    pixels = len(set(zip(events["p"].tolist(), events["y"].tolist(), events["x"].tolist())))
    refuse_if(losses[-1] != 3000 - pixels, "in one bin over everything, one event a pixel and polarity is kept.")
    return "4 of the 11 are lost, wider bins lose more, and one bin over everything keeps one event a pixel"
