"""The report of a sweep as figures, as one self-contained page, and as a notebook."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from snn_helpers import plots
from snn_helpers._files import write_whole
from snn_helpers._paths import user_path
from snn_helpers.batch.report import (
    SECONDS,
    Effect,
    Setting,
    SweepReport,
    summary_lines,
    write_csv,
)
from snn_helpers.batch.runner import Job, execute

RED = "#b00020"
_NAMES = {SECONDS: "seconds of a run", "synaptic_operations": "synaptic operations a recording"}
_NAMES |= {"output_spikes": "output spikes a recording", "hidden_spike_fraction": "hidden neurons' spike fraction"}
_MOST_NAMES = 12  # beyond that, names would cover each other
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .7rem; text-align: left }
tr:nth-child(even) { background: #f5f5f5 } .bad, .bad a { color: #b00020 } img { max-width: 100% }
"""


def draw_effects(effects: Sequence[Effect], metric: str, ax: Axes | None = None) -> Axes:
    """Draw each effect as a dot with its 95 % interval, and no change as a line."""
    ax = plots.new_figure(height=0.7 + 0.32 * max(2, len(effects)))[1] if ax is None else ax
    for place, effect in enumerate(effects):
        low, high = (effect.mean, effect.mean) if math.isnan(effect.low) else (effect.low, effect.high)
        clear = not math.isnan(effect.low) and (low > 0 or high < 0)
        colour = plots.ON if clear else plots.GREY
        ax.plot([low, high], [place, place], color=colour, linewidth=2)
        ax.plot(effect.mean, place, "o" if clear else "s", color=colour, markersize=5)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(effects)), [f"{one.knob} {one.base} → {one.value}" for one in effects])
    ax.set(ylim=(len(effects) - 0.5, -0.5), xlabel=f"change of {metric}, same seeds")
    return ax


def draw_settings(settings: Sequence[Setting], metric: str, ax: Axes | None = None) -> Axes:
    """Draw each setting's seeds as dots and their mean as a line, the best on top; at most the best twelve."""
    settings = settings[:_MOST_NAMES]
    ax = plots.new_figure(height=0.7 + 0.32 * max(2, len(settings)))[1] if ax is None else ax
    for place, setting in enumerate(settings):
        values = list(setting.by_seed.values())
        ax.plot(values, [place] * len(values), "o", color=plots.ON, markersize=5, alpha=0.6)
        ax.plot([setting.mean] * 2, [place - 0.3, place + 0.3], color="black", linewidth=1.6)
    ax.set_yticks(range(len(settings)), [setting.name for setting in settings])
    ax.set(ylim=(len(settings) - 0.5, -0.5), xlabel=metric)
    return ax


def draw_comparison(report: SweepReport, metric: str | None = None) -> Figure:
    """Draw the seeds of each setting, and beside them what each change did within seeds; `metric` in words."""
    metric = metric or report.metric
    height = 0.9 + 0.32 * max(2, min(_MOST_NAMES, len(report.settings)))
    figure, (left, right) = plots.new_figure(1, 2, width=9, height=height)
    draw_settings(report.settings, metric, left)
    draw_effects(report.effects[:_MOST_NAMES], metric, right)
    return figure


def draw_front(report: SweepReport, cost: str, ax: Axes | None = None) -> Axes:
    """Draw every setting by what it costs and how good it is, and join those that no other one beats."""
    ax = plots.new_figure(height=3.0)[1] if ax is None else ax
    front = report.front[cost]
    x, y = np.array([(one.costs[cost], one.mean) for one in report.settings]).T
    ax.plot(x, y, "o", color=plots.GREY, markersize=5, alpha=0.6)
    ax.step([one.costs[cost] for one in front], [one.mean for one in front], where="post", color=plots.ON)
    for setting in front:
        ax.plot(setting.costs[cost], setting.mean, "o", color=plots.ON, markersize=7)
        if len(front) <= _MOST_NAMES:
            ax.annotate(setting.name, (setting.costs[cost], setting.mean), (6, -11), textcoords="offset points",
                        fontsize=8)  # fmt: skip
    ax.margins(x=0.2, y=0.2)
    ax.set(xlabel=_NAMES.get(cost, cost), ylabel=report.metric.replace("_", " "))
    return ax


def draw_ledger(report: SweepReport, ax: Axes | None = None) -> Axes:
    """Draw the seconds of every run, numbered in the plan's order; those that did not end well in red, with a word."""
    ax = plots.new_figure(height=2.2)[1] if ax is None else ax
    for good in (True, False):
        told = [(number, row[SECONDS], row["status"]) for number, row in enumerate(report.table, 1)
                if row[SECONDS] is not None and (row["status"] == "done") == good]  # fmt: skip
        numbers, seconds = [number for number, _, _ in told], [value for _, value, _ in told]
        colour = plots.ON if good else RED
        ax.vlines(numbers, 0, seconds, color=colour, linewidth=max(1, min(8, 300 / len(report.table))))
        for number, value, status in told if not good and len(told) <= _MOST_NAMES else ():
            ax.text(number, value, status, color=colour, ha="center", va="bottom", fontsize=8)
    ax.set(xlabel="run, in the order of the plan", ylabel="seconds")
    ax.set(xlim=(0.4, len(report.table) + 0.6), ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(y=0.15)
    return ax


def figures(report: SweepReport) -> dict[str, Axes]:
    """Return the figures of a report by their caption."""
    drawn = {"How long every run took; red ones did not end well.": draw_ledger(report)}
    if report.settings:
        drawn["Dots are seeds, lines their means: do the clouds overlap?"] = draw_settings(
            report.settings, report.metric
        )
    if report.effects:
        caption = "What each change did at equal seeds; grey squares may be nothing, as their interval holds zero."
        drawn[caption] = draw_effects(report.effects[:_MOST_NAMES], report.metric)
    for cost in report.front:
        caption = f"By {_NAMES.get(cost, cost)}: no setting lies above and to the left of the joined ones."
        drawn[caption] = draw_front(report, cost)
    return drawn


def write_report(report: SweepReport, folder: Path, *, as_notebook: bool = False) -> list[Path]:
    """Write `report.html` and `report.csv` into a sweep's folder, and `report.ipynb` if asked.

    Parameters
    ----------
    report : SweepReport
        What `batch.report.make_report` has read from the folder.
    folder : Path
        Of the sweep: links to the executed notebooks are relative to it.
    as_notebook : bool
        Also as a notebook that reads the ledger itself, executed.

    Returns
    -------
    list of Path
        What was written.
    """
    folder = user_path(folder)
    write_whole(folder / "report.html", as_html(report))
    write_csv(report, folder / "report.csv")
    paths = [folder / "report.html", folder / "report.csv"]
    if as_notebook:
        paths.append(_write_notebook(folder, report.metric))
    return paths


def as_html(report: SweepReport) -> str:
    """Return the report as one page that needs nothing beside it, but links to the executed notebooks."""
    parts = [f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Sweep of {_safe(report.notebook)}</title>"]
    parts += [f"<style>{_STYLE}</style><h1>Sweep of {_safe(report.notebook)}</h1>"]
    parts += [f"<p{_class(line)}>{_safe(line)}</p>" for line in summary_lines(report)]
    for caption, ax in figures(report).items():
        picture = plots.as_img(plots.as_png(ax.figure), caption)
        parts.append(f"<figure>{picture}<figcaption>{_safe(caption)}</figcaption></figure>")
    return "".join([*parts, "<h2>Runs</h2>", runs_table(report), "</html>\n"])


def _class(line: str) -> str:
    return " class='bad'" if line.startswith(("FAILED", "KILLED", "TIMEOUT")) else ""


def runs_table(report: SweepReport, *, links: bool = True) -> str:
    """Return the runs as an HTML table, each linked to its executed notebook; those that did not end well in red.

    The links are relative to the sweep's folder; where the table is shown elsewhere, leave them out.
    """
    columns = [report.metric, *(name for name in ("test_accuracy", *report.front) if name != report.metric)]
    columns = [name for name in columns if name != SECONDS]
    head = "".join(f"<th>{_safe(name)}</th>" for name in ("run", "status", *report.swept, *columns, "seconds", "error"))
    return f"<table><tr>{head}</tr>{''.join(_runs_row(row, report, columns, links) for row in report.table)}</table>"


def _runs_row(row: Mapping[str, Any], report: SweepReport, columns: Sequence[str], links: bool) -> str:
    name = f"<a href='{_safe(row['output'])}'>{row['run']}</a>" if links and row["output"] else row["run"]
    cells = [row["status"], *(row[knob] for knob in report.swept)]
    cells += [f"{row['results'][key]:.4g}" if key in row["results"] else "" for key in columns]
    cells += ["" if row[SECONDS] is None else f"{row[SECONDS]:.1f}", row["error"] or ""]
    bad = " class='bad'" if row["status"] not in ("done", "missing") else ""
    return f"<tr{bad}><td>{name}</td>{''.join(f'<td>{_safe(cell)}</td>' for cell in cells)}</tr>"


def _safe(text: Any) -> str:
    return html.escape(str(text), quote=True)


def _write_notebook(folder: Path, metric: str) -> Path:
    """Write the report as a notebook that reads the ledger itself, and execute it."""
    import nbformat

    sources = [
        'folder = "."  # of the sweep\nmetric = None  # result to compare by; None takes the plan\'s',
        "from snn_helpers import sweep_report\nfrom snn_helpers.batch.report import make_report, summary_lines\n\n"
        'report = make_report(folder, metric)\nprint("\\n".join(summary_lines(report)))',
        "from IPython.display import HTML, display\nfrom matplotlib import pyplot as plt\n\n"
        "for caption, ax in sweep_report.figures(report).items():\n"
        "    display(ax.figure, caption)\n    plt.close(ax.figure)",
        "HTML(sweep_report.runs_table(report))",
    ]
    cells = [nbformat.v4.new_markdown_cell("# What the sweep found")]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    cells[1].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    target = folder / "report.ipynb"
    with TemporaryDirectory() as scratch:
        source = Path(scratch) / "report.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), source)
        values = {"folder": str(folder.resolve()), "metric": metric}
        outcome = execute(Job(source, target, Path(scratch), values))
    if outcome.status != "done":
        raise RuntimeError(f"{target}: {outcome.error}")
    return target
