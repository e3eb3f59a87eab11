"""A recording as it happened: play, pause, scrub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from snn_helpers import plots
from snn_helpers._checks import check_choice
from snn_helpers.widgets.base import Explorer
from snn_helpers.widgets.state import Choice, Field, Flag, Number

BIN_WIDTHS_MS = (1, 2, 5, 10, 20, 50, 100)
SPEEDS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
MODES = ("bin", "decay", "accumulate")
MAX_SENT = 1_000_000
"""Events that the browser gets at most, for the pixels; counts stay those of all."""
MAX_DOTS = 20_000
"""Events that are drawn as dots over time at most."""
_MOST_PIXELS = 4096
_LONGEST_MS = 60_000


class EventPlayer(Explorer):
    """Play one recording: its pixels at a moment, all events in time, the event rate, and live counts.

    Parameters
    ----------
    events : structured array [N] with fields x, y, t (µs), p, or None
        The recording, sorted by t; None or no events show a sentence.
    sensor_size : (W, H, P)
        The camera's field.
    saccades_ms : sequence of (start, stop)
        Times in ms to shade, as a data set's `saccades_ms` gives them; none by default.
    state : dict or None
        What was chosen, as `.state` gives it: time_ms, bin_ms, mode, speed, loop.

    Raises
    ------
    ValueError
        If a field is missing, an event lies outside the sensor, time runs backwards, or the recording is longer than
        a minute.

    Notes
    -----
    The picture is no finer than the screen: of a large sensor, several pixels are one square. Beyond 20,000 events
    every k-th is a dot over time, and beyond a million every k-th is in the pixels. Counts and rates are those of all
    events, and the widget says what it leaves out.
    """

    script = "event_player.js"

    def __init__(
        self,
        events: np.ndarray | None,
        *,
        sensor_size: tuple[int, int, int] = (34, 34, 2),
        saccades_ms: Sequence[tuple[float, float]] = (),
        state: Mapping[str, Any] | None = None,
    ):
        self._events = events
        if events is None or len(events) == 0:
            sentence = "There is no recording to play." if events is None else "This recording has no events to play."
            facts: dict[str, Any] = {"sentence": sentence}
            buffers: dict[str, bytes] = {}
        else:
            facts, buffers = pack_recording(events, sensor_size, saccades_ms)
        end_ms = float(facts.get("end_ms", _LONGEST_MS))
        fields: dict[str, Field] = {
            "time_ms": Number(min(60.0, end_ms / 2), 0, end_ms),
            "bin_ms": Choice(20, BIN_WIDTHS_MS),
            "mode": Choice("bin", MODES),
            "speed": Choice(0.1, SPEEDS),
            "loop": Flag(False),
        }
        super().__init__(fields, facts, buffers, state)

    @property
    def lost(self) -> dict[int, int]:
        """Events that frames of 0 and 1 forget, by bin width in ms."""
        return {int(width_ms): count for width_ms, count in self._facts.get("lost", {}).items()}

    def draw(self):
        """Return the figure of the present moment: pixels, events in time, event rate."""
        state, events, facts = self.state, self._events, self._facts
        figure, axes = plots.new_figure(2, 2, width=9, height=3.8, width_ratios=[1, 2], height_ratios=[2, 1])
        for ax in axes[:, 0]:
            ax.remove()
        left = figure.add_subplot(axes[0, 0].get_gridspec()[:, 0])
        counts, title = field_at(events, state, (facts["width"], facts["height"]))
        plots.frame(counts, left, title)
        plots.event_cloud(events[:: facts["stride"] * facts["dot_stride"]], axes[0, 1])
        plots.event_rate(events, axes[1, 1], end_ms=facts["end_ms"])
        if facts["saccades_ms"]:
            plots.shade_saccades(axes[1, 1], facts["saccades_ms"])
        for ax in axes[:, 1]:
            ax.axvline(state["time_ms"], color="black", linewidth=1)
            ax.set_xlim(0, facts["end_ms"])
        axes[0, 1].set_xlabel("")
        if facts["note"]:
            axes[0, 1].set_title(facts["note"], fontsize=7)
        return figure


def pack_recording(
    events: np.ndarray, sensor_size: tuple[int, int, int], saccades_ms: Sequence[tuple[float, float]]
) -> tuple[dict, dict[str, bytes]]:
    """Return the facts and the bytes of a recording with events, for `recording.js`; arguments as `EventPlayer`'s."""
    width, height, _ = sensor_size
    _check_events(events, width, height)
    t_us = np.asarray(events["t"], np.int64)
    end_ms = int(t_us[-1] // 1000 + 1)
    if end_ms > _LONGEST_MS:
        raise ValueError(
            f"`events` must last at most {_LONGEST_MS // 1000} s; got {end_ms / 1000:.0f} s: cut it first."
        )
    per_ms = np.zeros((end_ms + 1, 2), np.int64)
    np.add.at(per_ms, (t_us // 1000 + 1, np.asarray(events["p"], int)), 1)
    stride = -(-len(events) // MAX_SENT)
    sent = events[::stride]
    dot_stride = -(-len(sent) // MAX_DOTS)
    facts = {
        "width": width,
        "height": height,
        "end_ms": end_ms,
        "total": len(events),
        "stride": stride,
        "dot_stride": dot_stride,
        "note": _drawn_note(len(events), stride, dot_stride),
        "saccades_ms": [list(pair) for pair in saccades_ms if pair[0] < end_ms],
        "bin_widths_ms": list(BIN_WIDTHS_MS),
        "speeds": list(SPEEDS),
        "lost": {str(width_ms): events_lost(events, width_ms, sensor_size) for width_ms in BIN_WIDTHS_MS},
    }
    kinds = {"x": np.uint16, "y": np.uint16, "p": np.uint8, "t": np.uint32}
    buffers = {name: np.ascontiguousarray(sent[name], kind).tobytes() for name, kind in kinds.items()}
    buffers["cumulative"] = per_ms.cumsum(0).astype(np.uint32).tobytes()
    return facts, buffers


def _drawn_note(total: int, stride: int, dot_stride: int) -> str:
    """Say what is drawn of `total` events: every `stride`th in the pixels, of these every `dot_stride`th as a dot."""
    if stride * dot_stride == 1:
        return ""
    pixels = "all are in the pixels" if stride == 1 else f"every {_ordinal(stride)} is in the pixels"
    return f"{total:,} events: {pixels}, every {_ordinal(stride * dot_stride)} is a dot; the counts are of all."


def _ordinal(number: int) -> str:
    """Return "2nd" of 2 and "11th" of 11."""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _check_events(events: np.ndarray, width: int, height: int) -> None:
    names = getattr(events.dtype, "names", None) or ()
    missing = [name for name in "xytp" if name not in names]
    if missing:
        raise ValueError(f"`events` must have the fields x, y, t (µs), p; {', '.join(missing)} missing in {names}.")
    if max(width, height) > _MOST_PIXELS:
        raise ValueError(f"`sensor_size` must be at most {_MOST_PIXELS} pixels wide and high; got {width} x {height}.")
    for name, limit in (("x", width), ("y", height), ("p", 2)):
        if events[name].min() < 0 or events[name].max() >= limit:
            raise ValueError(f"`events['{name}']` must be in 0..{limit - 1}; got {events[name].max()}.")
    if events["t"][0] < 0 or (np.diff(events["t"]) < 0).any():
        raise ValueError("`events['t']` must begin at 0 or later and never run backwards; sort the recording first.")


def events_lost(events: np.ndarray, bin_ms: int, sensor_size: tuple[int, int, int] = (34, 34, 2)) -> int:
    """Return how many events frames of 0 and 1 forget: those that are not the first of their bin, polarity, pixel.

    Bins of `bin_ms` are counted from time 0.
    """
    width, height, polarities = sensor_size
    pixel = (events["p"].astype(np.int64) * height + events["y"]) * width + events["x"]
    cells = events["t"].astype(np.int64) // (1000 * bin_ms) * (polarities * height * width) + pixel
    return len(events) - len(np.unique(cells))


def field_at(events: np.ndarray, state: Mapping[str, Any], size: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Return the pixels' strengths [2, H, W] (OFF, ON) at a state's moment, and what they are in words."""
    mode = check_choice("mode", state["mode"], MODES)
    time_ms, bin_ms, t_ms = state["time_ms"], state["bin_ms"], events["t"] / 1000
    start = time_ms // bin_ms * bin_ms
    weights = np.ones(len(events))
    if mode == "bin":
        chosen = (t_ms >= start) & (t_ms < start + bin_ms)
        title = f"{start:.0f} to {start + bin_ms:.0f} ms: {chosen.sum():,} events"
    else:
        chosen = t_ms < time_ms
        title = f"before {int(time_ms)} ms: {(t_ms < int(time_ms)).sum():,} events"
        if mode == "decay":
            weights = np.exp((t_ms - time_ms) / bin_ms)
    field = np.zeros((2, size[1], size[0]))
    some = events[chosen]
    np.add.at(field, (some["p"], some["y"], some["x"]), weights[chosen])
    return field, title
