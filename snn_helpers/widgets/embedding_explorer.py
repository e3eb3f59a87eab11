"""Recordings as points in a plane, each of which opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np

from snn_helpers import plots
from snn_helpers.widgets.base import MAX_BYTES, Explorer, class_names
from snn_helpers.widgets.event_player import pack_recording
from snn_helpers.widgets.page import within_budget
from snn_helpers.widgets.state import Choice, Field, Number, Numbers

COLOURS = ("label", "prediction", "error", "confidence")


class EmbeddingExplorer(Explorer):
    """A scatter of recordings: coloured by what is known of them, a lasso, and a player for the point that is clicked.

    Parameters
    ----------
    points : array [N, 2] or [F, N, 2]
        Where the recordings lie; with F frames, over epochs or time steps, they move from one to the next.
    labels, predictions : array [N] or None
        True and decided classes.
    classes : sequence of str or None
        What the classes are called; None: by their numbers.
    confidence : array [N] or None
        In [0, 1].
    events : callable or sequence or None
        Recording i as `events(i)` or `events[i]`, fetched when point i is clicked; None opens none.
    frame_word, frame_names
        What a frame is ("epoch"), and what each is called; by default 0, 1, 2.
    sensor_size : (W, H, P)
        Of the recordings.
    state : dict or None
        What was chosen, as `.state` gives it: colour, frame, opened (-1 for none), chosen.

    Raises
    ------
    ValueError
        If shapes disagree or a coordinate is not finite.
    """

    script = "embedding_explorer.js"
    asks: ClassVar = {"opened": "This page holds only a few recordings; in JupyterLab the kernel sends any."}

    def __init__(
        self,
        points,
        labels: Sequence[int] | None = None,
        predictions: Sequence[int] | None = None,
        confidence: Sequence[float] | None = None,
        events: Callable[[int], np.ndarray] | Sequence[np.ndarray] | None = None,
        *,
        classes: Sequence[str] | None = None,
        frame_word: str = "frame",
        frame_names: Sequence[Any] | None = None,
        sensor_size: tuple[int, int, int] = (34, 34, 2),
        state: Mapping[str, Any] | None = None,
    ):
        self._points = np.asarray(points, np.float32)
        self._points = self._points[None] if self._points.ndim == 2 else self._points
        if self._points.size == 0:
            super().__init__({}, {"sentence": "There are no recordings to show."}, {}, state)
            return
        if self._points.ndim != 3 or self._points.shape[2] != 2 or not np.isfinite(self._points).all():
            raise ValueError(f"`points` must be finite, [N, 2] or [F, N, 2]; got {np.shape(points)}.")
        if self._points.nbytes > MAX_BYTES:
            raise ValueError(f"`points` take {self._points.nbytes:,} bytes; at most {MAX_BYTES:,}: leave frames out.")
        frames, samples, _ = self._points.shape
        self._get = events if callable(events) or events is None else events.__getitem__
        self._sensor_size = sensor_size
        known = {"labels": labels, "predictions": predictions, "confidence": confidence}
        facts: dict[str, Any] = {name: _plain(name, values, samples) for name, values in known.items()}
        names = [str(name) for name in (frame_names if frame_names is not None else range(frames))]
        if len(names) != frames:
            raise ValueError(f"`frame_names` must be as many as frames, {frames}; got {len(names)}.")
        largest = max([*(facts["labels"] or []), *(facts["predictions"] or [])], default=-1)
        facts["classes"] = class_names(classes, largest)
        can = {
            "label": labels is not None,
            "prediction": predictions is not None,
            "error": labels is not None and predictions is not None,
            "confidence": confidence is not None,
        }
        colour_by = [name for name in COLOURS if can[name]] or ["label"]
        facts |= {"samples": samples, "frames": frames, "frame_word": frame_word, "frame_names": names}
        facts |= {"colour_by": colour_by, "note": "" if events is not None else "No recordings were given to open."}
        fields: dict[str, Field] = {
            "colour": Choice(colour_by[0], colour_by),
            "frame": Number(float(frames - 1), 0, frames - 1),
            "opened": Number(-1, -1, samples - 1, whole=True),
            "chosen": Numbers([], 0, samples - 1, samples, whole=True),
        }
        super().__init__(fields, facts, {}, state)

    def _extra_traits(self) -> dict[str, Any]:
        opened, self._buffers = self._open(self._state["opened"]) if self._fields else ({}, {})
        return {"points": self._points.tobytes(), "opened": opened}

    def _open(self, index: int) -> tuple[dict, dict[str, bytes]]:
        """Return facts and bytes of a recording for the small player."""
        if index < 0:
            return {}, {}
        if self._get is None:
            return {"index": index, "sentence": "No recordings were given to open."}, {}
        events = self._get(index)
        if len(events) == 0:
            return {"index": index, "sentence": f"Recording {index} has no events."}, {}
        facts, buffers = pack_recording(events, self._sensor_size, ())
        return {"index": index, **facts}, buffers

    def _page_answers(self) -> dict[str, dict[Any, Mapping[str, Any]]]:
        samples, opened = self._facts["samples"], max(self._state["opened"], 0)
        spread = [(opened + 17 * place) % samples for place in range(samples)]  # of all classes, where these are sorted

        def answers():
            for index in dict.fromkeys([-1, *spread]):
                facts, buffers = self._open(index)
                yield index, {"buffers": buffers, "opened": facts}  # in this order: `opened` says that they are there

        return {"opened": within_budget(answers())}

    def _answer(self, front, index: int) -> None:
        opened, buffers = self._open(index)
        front.buffers = buffers  # before `opened`, which says that they are there
        front.opened = opened

    def draw(self):
        """Return the figure of the present choice: points as digits, and the recording that is open."""
        state, facts = self.state, self._facts
        events = self._get(state["opened"]) if self._get is not None and state["opened"] >= 0 else None
        figure, axes = plots.new_figure(1, 2 if events is not None else 1, width=7.2, height=4.2, squeeze=False)
        ax = axes[0, 0]
        before = int(state["frame"])
        after, share = min(before + 1, facts["frames"] - 1), state["frame"] - before
        at = self._points[before] * (1 - share) + self._points[after] * share
        signs, colours = self._signs(state["colour"])
        chosen = set(state["chosen"])
        for index, (x, y) in enumerate(at):
            alpha = 0.25 if chosen and index not in chosen else 1
            ax.text(x, y, signs[index], color=colours[index], alpha=alpha, ha="center", va="center", fontsize=8)
        if state["opened"] >= 0:
            ax.plot(*at[state["opened"]], "o", markersize=13, markerfacecolor="none", color="black")
        # The same plane whatever the frame, with room for the digits at its edges.
        low, high = self._points.min((0, 1)), self._points.max((0, 1))
        room = 0.04 * (high - low)
        ax.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + room[1]))
        ax.set(xticks=[], yticks=[], title=f"by {state['colour']}" + self._frame_title(state["frame"]))
        if events is not None:
            counts = np.zeros((2, self._sensor_size[1], self._sensor_size[0]))
            np.add.at(counts, (events["p"], events["y"], events["x"]), 1)
            plots.frame(counts, axes[0, 1], f"recording {state['opened']}: {len(events):,} events")
        return figure

    def _frame_title(self, frame: float) -> str:
        facts = self._facts
        return f", {facts['frame_word']} {facts['frame_names'][round(frame)]}" if facts["frames"] > 1 else ""

    def _signs(self, by: str) -> tuple[list[str], list]:
        facts, samples = self._facts, self._facts["samples"]
        labels, said = facts["labels"], facts["predictions"]
        if by == "error":
            wrong = [a != b for a, b in zip(labels, said)]
            return [str(b) if w else "•" for w, b in zip(wrong, said)], [plots.OFF if w else plots.ON for w in wrong]
        shown = said if by == "prediction" or labels is None else labels
        signs = [str(one) for one in shown] if shown else ["•"] * samples
        if by == "confidence":
            return signs, list(mpl.colormaps["Blues"](0.25 + 0.75 * np.asarray(facts["confidence"])))
        return signs, [plots.class_colour(one) for one in shown] if shown else [plots.ON] * samples


def _plain(name: str, values, samples: int) -> list | None:
    """Return values as plain numbers, checked to be one for each recording."""
    if values is None:
        return None
    values = np.asarray(values)
    if values.shape != (samples,):
        raise ValueError(f"`{name}` must be one for each of {samples} recordings; got shape {values.shape}.")
    if name == "confidence" and not ((values >= 0) & (values <= 1)).all():
        raise ValueError("`confidence` must be in [0, 1].")
    return values.astype(float if name == "confidence" else int).tolist()
