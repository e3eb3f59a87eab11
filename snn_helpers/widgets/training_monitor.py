"""The curves of a run while it trains, and a stop button."""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from snn_helpers import plots
from snn_helpers.widgets.base import Explorer, hear_while_busy
from snn_helpers.widgets.state import Flag

MOST_ROWS = 2000
"""Rows that are drawn at most; of more, every k-th and the last."""


class TrainingMonitor(Explorer):
    """Live curves of a run, its layers' firing beside them, and a button that asks it to stop.

    Hand it to a training loop, which calls `update(row)` after every epoch and asks `stop_requested` after every step.

    Parameters
    ----------
    epochs : int or None
        How many are planned.
    rows : sequence of dict
        What was told before: a history that is continued.

    Notes
    -----
    A row's columns `train_<quantity>` and `valid_<quantity>` share a panel; `firing/<layer>`, or else
    `hidden_spike_fraction`, make the panel of firing. `epoch` counts from 0.

    While a cell trains, the kernel answers no widget, except in a *subshell*: JupyterLab 4.4 and newer with ipykernel 7
    and newer send what widgets say through one, so that the button is heard at once. Elsewhere the button says after a
    few seconds that it was not heard, and names the notebook's own stop button, which leaves a checkpoint, too.
    """

    script = "training_monitor.js"
    asks: ClassVar = {"stop": "Nothing trains in this page; in JupyterLab the button stops the kernel's training."}

    def __init__(self, epochs: int | None = None, rows: Sequence[Mapping[str, Any]] = ()):
        self._rows = [_plain(row) for row in rows]
        self._status: dict[str, Any] = {}
        super().__init__({"stop": Flag(False)}, {"epochs": epochs}, {}, None)

    def _extra_traits(self) -> dict[str, Any]:
        return {"status": {**self._curves(), **self._status}}

    def _curves(self) -> dict[str, Any]:
        rows = thinned(self._rows)
        return {"panels": panels_of(rows), "last": last_line(rows, self._facts["epochs"])}

    def _connect(self, front) -> None:
        super()._connect(front)
        hear_while_busy(front)

    def _answer(self, front, stop: bool) -> None:
        if stop:
            self._tell(stopping=True)

    def _tell(self, **status) -> None:
        self._status = {**self._status, **status}
        if self._front is not None:
            self._front.status = {**self._curves(), **self._status}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What was told so far; what was not finite is None."""
        return [dict(row) for row in self._rows]

    def update(self, row: Mapping[str, Any]) -> None:
        """Take the next row of the history: numbers by column name."""
        self._rows.append(_plain(row))
        self._tell()

    @property
    def stop_requested(self) -> bool:
        """Whether somebody has pressed the button; costs next to nothing, so ask it after every step."""
        return self._state["stop"] if self._front is None else bool(self._front.state.get("stop"))

    @contextlib.contextmanager
    def live(self, caption: str, alt: str, provenance: str = "") -> Iterator[TrainingMonitor]:
        """Show the curves while the block trains; without a front end, their figure afterwards. See `show`."""
        with self._shown(caption, alt, provenance):
            words = "Training was stopped."
            try:
                yield self
                words = "Training has ended."
            finally:
                self.finish(words)

    def finish(self, words: str = "Training has ended.") -> None:
        """Say that the run is over, and take the button away."""
        self._tell(ended=words)

    def draw(self):
        """Return the figure of what was told so far: the same panels as in the browser."""
        panels = panels_of(self._rows)
        if not panels:
            figure, ax = plots.new_figure(height=1.2)
            ax.text(0.5, 0.5, last_line([], None), ha="center", va="center")
            ax.axis("off")
            return figure
        figure, axes = plots.new_figure(1, len(panels), width=3 * len(panels) + 1.2, height=2.6, squeeze=False)
        for ax, panel in zip(axes[0], panels):
            for curve in panel["curves"]:
                style = {"color": plots.GREY, "linestyle": "--"} if curve["name"] == "train" else {}
                ax.plot(*zip(*curve["points"]), marker="o", markersize=3, label=curve["name"], **style)
            ax.set(title=panel["title"], xlabel="epoch")
            ax.xaxis.get_major_locator().set_params(integer=True)
            many = len(panel["curves"]) > 2  # the legend hides no curve
            beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if many else {}
            ax.legend(fontsize=8, **beside)
        return figure


def panels_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return panels {title, curves: [{name, points: [(epoch, value), ...]}]} of rows.

    Epochs count from 1, gaps are left out.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))

    def curve(name: str, column: str) -> dict[str, Any]:
        known = [(row.get("epoch", place) + 1, row.get(column)) for place, row in enumerate(rows)]
        return {"name": name, "points": [(epoch, value) for epoch, value in known if _is_number(value)]}

    quantities = dict.fromkeys(name.split("_", 1)[1] for name in names if name.startswith(("train_", "valid_")))
    panels = {quantity: [curve(part, f"{part}_{quantity}") for part in ("train", "valid")] for quantity in quantities}
    firing = [curve(name.removeprefix("firing/"), name) for name in names if name.startswith("firing/")]
    panels["share of neurons that fire in a step"] = firing or [curve("hidden layers", "hidden_spike_fraction")]
    drawn = {title: [one for one in curves if one["points"]] for title, curves in panels.items()}
    return [{"title": title, "curves": curves} for title, curves in drawn.items() if curves]


def last_line(rows: Sequence[Mapping[str, Any]], epochs: int | None) -> str:
    """Return the last of the rows in one line."""
    if not rows:
        return "No epoch has ended yet."
    row, names = rows[-1], ("train_loss", "valid_loss", "train_accuracy", "valid_accuracy")
    epoch = f"epoch {row.get('epoch', len(rows) - 1) + 1}" + (f" of {epochs}" if epochs else "")
    values = [f"{name.replace('_', ' ')} {row[name]:.3f}" for name in names if _is_number(row.get(name))]
    return " · ".join([epoch, *values])


def thinned(rows: list, most: int = MOST_ROWS) -> list:
    """Return at most about `most` rows: every k-th, and the last."""
    stride = -(-len(rows) // most) or 1
    return rows[::stride] + (rows[-1:] if len(rows) and (len(rows) - 1) % stride else [])


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row that JSON can carry: plain numbers and words; what is not finite is None."""
    plain: dict[str, Any] = {}
    for name, value in row.items():
        if _is_number(value):
            whole = isinstance(value, numbers.Integral)
            value = int(value) if whole else float(value)
            plain[str(name)] = value if math.isfinite(value) else None
        elif isinstance(value, str) or value is None:
            plain[str(name)] = value
    return plain
