"""What the table of a sweep holds: rows for the browser, and the same order, filter and words for the still figure.

`sweep.js` does the same in the browser; a test holds the two together.
"""

from __future__ import annotations

import json
import math
import numbers
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.colors import to_rgb

from snn_helpers import plots
from snn_helpers.batch.report import COSTS, SECONDS, read_sweep
from snn_helpers.plots.style import ink, paper

STATUSES = ("failed", "timeout", "killed", "done", "missing")
"""In the order in which they are sorted: what did not end well comes first."""
SHOWN_STATUSES = ("all", "not well", *STATUSES)
MOST_ROWS = 2000
MOST_BYTES = 1_800_000
DRAWN_ROWS = 15
PLACE = "#"
_MOST_FAILURES = 1500
_MOST_SIGNS = 300
_INKS = {"light": ("#b00020", plots.GREY), "dark": ("#ff8a80", "#a8a8a8")}  # red and grey on either paper


def read_table(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows of a sweep for the browser, and what is to be known of all of its runs.

    Parameters
    ----------
    folder : Path
        Of the sweep.

    Returns
    -------
    rows : list of dict
        `cells` by `columns`, `results` by the names of all results, `error`, `cell`, `output`, and `find`: the text
        that a filter looks into. At most `MOST_ROWS` and `MOST_BYTES` of them, see `kept`.
    told : dict
        `columns`, `results` (names), `counts` by status and `total` of all runs, `metric`, whether the plan `grows`
        while the sweep runs, and a `note` if rows were left out.
    """
    plan, _, table = read_sweep(folder)
    names = sorted({name for row in table for name in row["results"]})
    columns = _columns(plan, names)
    rows = [_row(place, row, columns, names, plan["swept"]) for place, row in enumerate(table, 1)]
    chosen = kept(rows, table, plan["metric"], plan["direction"] == "maximize")
    bad = [sum(matches(row["cells"][2], "not well") for row in some) for some in (chosen, rows)]
    told: dict[str, Any] = {"columns": columns, "results": names}
    told["counts"] = dict(Counter(row["status"] for row in table))
    told |= {"total": len(table), "metric": plan["metric"], "note": "", "grows": plan.get("search") == "optuna"}
    if len(chosen) < len(rows):
        told["note"] = (
            f"The table holds {len(chosen):,} of {len(rows):,} runs: {bad[0]:,} of the {bad[1]:,} that did not end "
            f"well, and the best by {plan['metric']}. The counts are of all runs; the report's CSV has a row for each."
        )
    return chosen, told


def _columns(plan: Mapping[str, Any], reported: Sequence[str]) -> list[str]:
    # The test split is for the one that was chosen: its accuracy stands among a run's results, not where one sorts.
    shown = [plan["metric"], *[name for name in COSTS if name in reported][:1]]
    shown = [name for name in shown if name in reported and name not in plan["swept"]]
    return [PLACE, "run", "status", *plan["swept"], *shown, "seconds"]


def _row(place: int, row: Mapping[str, Any], columns: Sequence[str], names: Sequence[str], swept: Sequence[str]):
    known = {**row["results"], **{name: row[name] for name in swept}}
    seconds = None if row[SECONDS] is None else round(row[SECONDS], 1)
    known |= {PLACE: place, "run": row["run"], "status": row["status"], "seconds": seconds}
    cells = [_plain(known.get(name)) for name in columns]
    error, cell = (_short(row[name]) for name in ("error", "cell"))
    words = [row["run"], row["status"], *(f"{name}={shown(_plain(row[name]))}" for name in swept), error, cell]
    return {
        "cells": cells,
        "results": [_plain(row["results"].get(name)) for name in names],
        "error": error,
        "cell": cell,
        "output": row["output"],
        "find": " ".join(filter(None, words)).lower(),
    }


def _plain(value: Any) -> float | str | None:
    """Return what JSON carries and both sides sort alike: a number of six digits, a text, or None."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return int(value) if isinstance(value, numbers.Integral) else float(f"{value:.6g}")
    return str(value)[:_MOST_SIGNS]


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _MOST_SIGNS else text[: _MOST_SIGNS - 2] + " …"


def kept(rows: Sequence[dict], table: Sequence[Mapping], metric: str, maximize: bool = True) -> list[dict]:
    """Return the rows that are handed over, in their order: all if they are few, else the failures and the best.

    Parameters
    ----------
    rows, table : sequence of dict, of the same length
        What the browser would get, and what it is made from.
    metric : str
        Result that says what is best.
    maximize : bool
        Whether more of it is better.
    """

    def rank(place: int):
        value = table[place]["results"].get(metric)
        order = {"done": 1, "missing": 2}.get(table[place]["status"], 0)
        return order, math.inf if value is None else -value if maximize else value

    ranked = sorted(range(len(rows)), key=rank)
    failures = sum(rank(place)[0] == 0 for place in ranked)
    if failures > _MOST_FAILURES:  # leave room for the best
        ranked = ranked[:_MOST_FAILURES] + ranked[failures:] + ranked[_MOST_FAILURES:failures]
    chosen, room = [], MOST_BYTES
    for place in ranked[:MOST_ROWS]:
        room -= len(json.dumps(rows[place], ensure_ascii=False).encode()) + 2
        if room < 0:
            break
        chosen.append(place)
    return [rows[place] for place in sorted(chosen)]


def select(rows: Sequence[dict[str, Any]], columns: Sequence[str], state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that a state's filter and status let through, in its order.

    A filter's words must all be in a row, in any order. Rows without a value come last in either direction; numbers
    come before texts; rows that are equal keep the plan's order.
    """
    words, wanted = state["filter"].lower().split(), state["status"]
    found = [row for row in rows if all(word in row["find"] for word in words)]
    if wanted != "all":
        found = [row for row in found if matches(row["cells"][2], wanted)]
    index = columns.index(state["sort"]) if state["sort"] in columns else 0
    with_value = [row for row in found if row["cells"][index] is not None]
    without = [row for row in found if row["cells"][index] is None]
    by_status = columns[index] == "status"
    # `reverse` keeps the order of equals, as the browser's sort with the comparison turned round does.
    key = (lambda row: STATUSES.index(row["cells"][index])) if by_status else (lambda row: _key(row["cells"][index]))
    return sorted(with_value, key=key, reverse=state["descending"]) + without


def _key(value: float | str) -> tuple[bool, float | str]:
    return isinstance(value, str), value


def matches(status: str, wanted: str) -> bool:
    """Return whether a status is of the wanted kind."""
    return status not in ("done", "missing") if wanted == "not well" else status == wanted


def shown(value: float | str | None) -> str:
    """Return a cell in words: four digits, no needless zeros; whole numbers in full.

    Examples
    --------
    >>> [shown(value) for value in (None, 3, 1234567, 0.95, 0.123456, 1234.56, 0.00005, "cnn")]
    ['', '3', '1234567', '0.95', '0.1235', '1235', '5e-5', 'cnn']
    """
    if value is None or isinstance(value, str):
        return value or ""
    if value == int(value) or abs(value) >= 1000:
        return str(int(value)) if value == int(value) else f"{value:.0f}"
    text = f"{value:.4g}"
    if "e" in text:
        digits, power = text.split("e")
        text = f"{digits}e{int(power)}"
    return text


def counts_line(status: Mapping[str, Any]) -> str:
    """Return how many runs have ended, and how."""
    counts = status["counts"]
    ended = ", ".join(f"{counts[name]:,} {name}" for name in STATUSES if name != "missing" and counts.get(name))
    left = counts.get("missing", 0)
    line = f"{status['total'] - left:,} of {status['total']:,} runs have ended" + (f": {ended}" if ended else "")
    return line + (f"; {left:,} missing" if left else "")


def draw_table(rows: Sequence[Mapping], status: Mapping[str, Any], title: str, state: Mapping[str, Any]):
    """Return a figure of the first rows: what did not end well in red and with its error, `title` above.

    Parameters
    ----------
    rows : sequence of dict
        Filtered and sorted; empty for a sentence alone.
    status : dict
        `columns`, `note` and `total`, as `read_table` gives them.
    title : str
        Above the table.
    state : dict
        Said above where it is not the plan's order of all runs.
    """
    first = rows[:DRAWN_ROWS]
    heads = ["\n".join(textwrap.wrap(name.replace("_", " "), 12)) for name in status["columns"]] if rows else []
    body = [[textwrap.shorten(shown(cell), 24, placeholder="…") for cell in row["cells"]] for row in first]
    failed = [row for row in first if matches(row["cells"][2], "not well")][:3]
    below = [f"{row['cells'][1]} {row['cells'][2]}: {row['error']}" for row in failed]
    below = [textwrap.shorten(line, 105, placeholder=" …") for line in below]
    rest = [f"{len(rows) - len(first):,} more"] if len(rows) > len(first) else []
    rest += textwrap.wrap(status.get("note", ""), 110)
    above = [*textwrap.wrap(title, 100), *_said(state, len(rows), status["total"])]
    tall = max((head.count("\n") + 1 for head in heads), default=0) + len(body) + len(above) + len(below) + len(rest)
    figure, ax = plots.new_figure(height=0.2 * (tall + 1.5))
    ax.axis("off")
    ax.set(xlim=(0, 1), ylim=(tall + 0.5, -0.5))
    red, grey = _INKS["dark" if sum(to_rgb(paper(ax))) < 1.5 else "light"]
    line = _write(ax, 0, above, ink(ax), 9)
    if rows:
        bad = [matches(row["cells"][2], "not well") for row in first]
        line = _grid(ax, line, heads, body, [red if one else ink(ax) for one in bad])
    line = _write(ax, line, rest, grey, 8)
    _write(ax, line, below, red, 8)
    return figure


def _said(state: Mapping[str, Any], found: int, total: int) -> list[str]:
    """Return in words what is filtered and how it is sorted, if it is."""
    parts = [f"{found:,} shown: status {state['status']}"] if state["status"] != "all" else []
    parts += [f"{found:,} with “{state['filter']}”"] if state["filter"].strip() else []
    if total and (state["sort"] != PLACE or state["descending"]):
        parts.append(f"sorted by {state['sort']}" + (", descending" if state["descending"] else ""))
    return textwrap.wrap("; ".join(parts), 110)


def _write(ax, line: float, texts: Sequence[str], colour: str, size: int) -> float:
    for text in texts:
        ax.text(0, line, text, color=colour, fontsize=size, va="center")
        line += 1
    return line


def _grid(ax, line: float, heads: Sequence[str], body: Sequence[Sequence[str]], colours: Sequence[str]) -> float:
    """Write a table in columns as wide as their longest text; return the line below it."""
    lines = list(zip(*body))
    widths = [2 + max(map(len, (*head.split("\n"), *column))) for head, column in zip(heads, lines)]
    edges = [sum(widths[:place]) / max(70, sum(widths)) for place in range(len(widths))]
    size = min(8.0, 8.0 * 112 / sum(widths))
    deep = max(head.count("\n") + 1 for head in heads)
    for edge, head in zip(edges, heads):
        ax.text(edge, line + deep - 0.8, head, fontsize=size, fontweight="bold", va="baseline", linespacing=1)
    line += deep
    ax.axhline(line - 0.5, color=plots.GREY, linewidth=0.8)
    for texts, colour in zip(body, colours):
        for edge, text in zip(edges, texts):
            ax.text(edge, line, text, color=colour, fontsize=size, va="center")
        line += 1
    return line
