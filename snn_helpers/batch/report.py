"""What a sweep has found: a table of runs, the effect of each knob, the best setting, and what it costs."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from snn_helpers._checks import check_choice
from snn_helpers._files import whole_file
from snn_helpers._paths import user_path
from snn_helpers.batch.ledger import latest, read_rows
from snn_helpers.batch.plan import REPEAT
from snn_helpers.batch.sweep import PLAN
from snn_helpers.stats import mean_interval

COSTS = ("synaptic_operations", "hidden_spike_fraction", "output_spikes")
"""Results that say what an answer costs, the best one first."""
SECONDS = "run_seconds"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Setting:
    """A configuration and what its seeds gave.

    Attributes
    ----------
    knobs : dict
        Swept parameters, without the seed.
    by_seed : dict of seed to float
        The metric of each run that ended well.
    mean, low, high : float
        Over the seeds, with the 95 % interval (nan for one seed).
    costs : dict of str to float
        Mean of each cost over the seeds.
    test_accuracy : float or None
        Mean over the seeds.
    test_interval : (float, float) or None
        95 % interval of that mean; nan for one seed.
    n_test : int or None
        Test recordings of each run.
    """

    knobs: Mapping[str, Any]
    by_seed: Mapping[Any, float]
    mean: float
    low: float
    high: float
    costs: Mapping[str, float]
    test_accuracy: float | None
    test_interval: tuple[float, float] | None = None
    n_test: int | None = None

    @property
    def name(self) -> str:
        """The knobs in words."""
        return ", ".join(f"{name} {value}" for name, value in self.knobs.items()) or "as it is"


@dataclass(frozen=True)
class Effect:
    """What changing a knob from `base` to `value` does to the metric, everything else equal.

    The difference is taken within each seed and setting of the other knobs, averaged within each seed; `mean`, `low`
    and `high` are over the `seeds` that are left, one difference each.
    """

    knob: str
    base: Any
    value: Any
    mean: float
    low: float
    high: float
    seeds: int
    pairs: int


@dataclass(frozen=True)
class SweepReport:
    """What a sweep has found.

    Attributes
    ----------
    notebook, metric, direction : str
        What was run, and by what settings are compared.
    counts : dict of str to int
        Runs by status; "missing" are those that have not ended.
    table : list of dict
        One row a run in the order of the plan: run, status, swept parameters, results, seconds, error, cell, output.
    swept : tuple of str
        Names of the swept parameters.
    settings : list of Setting
        The best first.
    effects : list of Effect
        Of each knob's values against its first value.
    stays_best : float or None
        Share of resamples of the seeds in which the best setting stays the best; None with less than two seeds.
    front : dict of str to list of Setting
        By cost: the settings that no other one beats in both the metric and that cost.
    left_out : int
        Rows of the ledger that are not of this plan, such as those of earlier code.
    """

    notebook: str
    metric: str
    direction: str
    counts: Mapping[str, int]
    table: list[dict[str, Any]]
    swept: tuple[str, ...]
    settings: list[Setting]
    effects: list[Effect]
    stays_best: float | None
    front: Mapping[str, list[Setting]]
    left_out: int

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The rows of runs that did not end well."""
        return [row for row in self.table if row["status"] not in ("done", "missing")]


def make_report(folder: Path, metric: str | None = None) -> SweepReport:
    """Read a sweep's folder and say what it has found; it may still be running.

    Parameters
    ----------
    folder : Path
        Of the sweep.
    metric : str or None
        Result to compare by; None takes the plan's.

    Raises
    ------
    ValueError
        If there is no sweep, or no run reports the metric.
    """
    plan, rows, table = read_sweep(folder)
    metric = _metric(metric or plan["metric"], rows)
    settings = _settings(table, plan["swept"], metric, plan["direction"])
    return SweepReport(
        Path(plan["notebook"]).name, metric, plan["direction"], dict(Counter(row["status"] for row in table)), table,
        tuple(plan["swept"]), settings, _effects(settings, plan["swept"]), _stays_best(settings, plan["direction"]),
        {cost: pareto_front(settings, cost, plan["direction"]) for cost in _costs(settings)},
        len(set(rows) - set(plan["runs"])),
    )  # fmt: skip


def read_sweep(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Return a sweep's plan, {id: row} of the last attempts in its ledger, and the table of its runs.

    Raises
    ------
    ValueError
        If there is no sweep.
    """
    folder = user_path(folder)
    if not (folder / PLAN).is_file():
        raise ValueError(f"{folder}: there is no sweep here (no {PLAN}).")
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        runs, swept, _ = plan["runs"].items(), plan["swept"], plan["metric"]
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise ValueError(f"{folder / PLAN}: this is no plan of a sweep. Choose the folder that `sweep` made.") from err
    rows = latest(read_rows(folder))
    return plan, rows, [_table_row(run_id, values, swept, rows.get(run_id)) for run_id, values in runs]


def _metric(metric: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    reported = sorted({name for row in rows.values() for name in row["results"]})
    return check_choice("metric", metric, reported) if reported else metric


def _table_row(run_id: str, values: Mapping[str, Any], swept: Sequence[str], row) -> dict[str, Any]:
    told = {"run": run_id, "status": row["status"] if row else "missing", **{name: values[name] for name in swept}}
    if row is None:
        return {**told, "results": {}, SECONDS: None, "error": None, "cell": None, "output": None}
    told |= {"results": row["results"], SECONDS: row["seconds"]}
    return {**told, "error": row["error"], "cell": row["cell"], "output": row["output"]}


def _settings(table: Sequence[Mapping[str, Any]], swept: Sequence[str], metric: str, direction: str) -> list[Setting]:
    knobs = [name for name in swept if name != REPEAT]
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in table:
        if row["status"] == "done" and metric in row["results"]:
            groups[json.dumps([row[name] for name in knobs])].append(row)
    settings = []
    for rows in groups.values():
        by_seed = {row.get(REPEAT, 0): row["results"][metric] for row in rows}
        costs = {name: _mean(rows, name) for name in COSTS}
        costs = {name: value for name, value in costs.items() if value is not None}
        costs[SECONDS] = fmean(row[SECONDS] for row in rows)
        knob_values = {name: rows[0][name] for name in knobs}
        interval = mean_interval(list(by_seed.values()))
        settings.append(Setting(knob_values, by_seed, *interval, costs, *_tested(rows)))
    # Of equals, the one seen with more seeds, then the one that comes first in the plan.
    return sorted(settings, key=lambda one: (-one.mean if direction == "maximize" else one.mean, -len(one.by_seed)))


def _tested(rows: Sequence[Mapping[str, Any]]) -> tuple[float | None, tuple[float, float] | None, int | None]:
    """Return the mean test accuracy of a setting's runs, its interval over them, and the recordings of each run."""
    if _mean(rows, "test_accuracy") is None:
        return None, None, None
    mean, *bounds = mean_interval([row["results"]["test_accuracy"] for row in rows])
    sizes = {row["results"].get("n_test") for row in rows}
    return mean, tuple(bounds), sizes.pop() if len(sizes) == 1 else None


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row["results"][name] for row in rows if name in row["results"]]
    return fmean(values) if len(values) == len(rows) else None


def _effects(settings: Sequence[Setting], swept: Sequence[str]) -> list[Effect]:
    effects = []
    for knob in (name for name in swept if name != REPEAT):
        by_others: dict[str, dict[str, Setting]] = defaultdict(dict)
        for setting in settings:
            others = json.dumps({name: value for name, value in setting.knobs.items() if name != knob})
            by_others[others][json.dumps(setting.knobs[knob])] = setting
        values = sorted({key for group in by_others.values() for key in group}, key=_order)
        for value in values[1:]:
            effect = _effect(knob, values[0], value, by_others.values())
            if effect:
                effects.append(effect)
    return effects


def _order(text: str) -> tuple[bool, Any]:
    value = json.loads(text)
    number = isinstance(value, int | float)
    return (not number, value if number else str(value))


def _effect(knob: str, base: str, value: str, groups) -> Effect | None:
    within: dict[Any, list[float]] = defaultdict(list)
    for group in groups:
        if base in group and value in group:
            before, after = group[base].by_seed, group[value].by_seed
            for seed in before.keys() & after.keys():
                within[seed].append(after[seed] - before[seed])
    if not within:
        return None
    interval = mean_interval([fmean(differences) for differences in within.values()])
    pairs = sum(len(differences) for differences in within.values())
    return Effect(knob, json.loads(base), json.loads(value), *interval, len(within), pairs)


def _stays_best(settings: Sequence[Setting], direction: str) -> float | None:
    """Draw seeds with replacement, and count how often the best setting is still the best: of equals, all count."""
    if len(settings) < 2:
        return None
    seeds = sorted(set.intersection(*(set(setting.by_seed) for setting in settings)), key=str)
    if len(seeds) < 2:
        return None
    scores = np.array([[setting.by_seed[seed] for seed in seeds] for setting in settings])  # [settings, seeds]
    scores = scores if direction == "maximize" else -scores
    counts = np.random.default_rng(0).multinomial(len(seeds), [1 / len(seeds)] * len(seeds), _RESAMPLES)
    means = scores @ counts.T  # [settings, resamples]
    return float((means[0] >= means.max(axis=0) - 1e-12).mean())


def _costs(settings: Sequence[Setting]) -> list[str]:
    """Return the best measure of what an answer costs that all runs report, and the time."""
    shared = [name for name in COSTS if settings and all(name in setting.costs for setting in settings)]
    return [*shared[:1], *([SECONDS] if settings else [])]


def pareto_front(settings: Sequence[Setting], cost: str, direction: str = "maximize") -> list[Setting]:
    """Return the settings that no other one beats: none is as good for less, or better for as much; the cheapest first.

    Parameters
    ----------
    settings : sequence of Setting
        All with that cost.
    cost : str
        Less is better.
    direction : {"maximize", "minimize"}
        Of the metric.
    """
    sign = 1 if direction == "maximize" else -1
    front: list[Setting] = []
    for setting in sorted(settings, key=lambda one: (one.costs[cost], -sign * one.mean)):
        if not front or sign * setting.mean > sign * front[-1].mean:
            front.append(setting)
    return front


def write_csv(report: SweepReport, path: Path) -> None:
    """Write the table of runs as CSV, one row a run, every result a column."""
    results = sorted({name for row in report.table for name in row["results"]})
    fixed = ("run", "status", *report.swept)
    columns = [*fixed, *(name for name in results if name not in fixed), SECONDS, "error", "cell", "output"]
    with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for row in report.table:
            writer.writerow({**row["results"], **{name: row[name] for name in row if name != "results"}})


def summary_lines(report: SweepReport) -> list[str]:
    """Return the report as lines of text."""
    counts = ", ".join(f"{number} {status}" for status, number in sorted(report.counts.items()))
    lines = [f"{report.notebook}: {len(report.table)} runs, {counts}"]
    if report.left_out:
        lines.append(f"{report.left_out} rows of other plans or of earlier code are left out")
    for row in report.failures:
        swept = " ".join(f"{name}={row[name]}" for name in report.swept)
        lines.append(
            f"{row['status'].upper()}: {swept}: {row['error']}" + (f" (cell {row['cell']})" if row["cell"] else "")
        )
    for effect in report.effects:
        lines.append(effect_line(effect, report.metric))
    if report.settings:
        lines.append(best_line(report))
    for cost, front in report.front.items():
        steps = "; ".join(f"{one.name}: {one.mean:.4g} for {one.costs[cost]:.4g}" for one in front)
        lines.append(f"{report.metric} against {cost}, the front: {steps}")
    return lines


def effect_line(effect: Effect, metric: str) -> str:
    """Return an effect in words."""
    head = f"{effect.knob} {effect.base} to {effect.value}: {metric} {effect.mean:+.4f}"
    if math.isnan(effect.low):
        return f"{head} (one seed, no interval)"
    return f"{head}, 95 % interval {effect.low:+.4f} to {effect.high:+.4f} ({effect.seeds} seeds, {effect.pairs} pairs)"


def best_line(report: SweepReport) -> str:
    """Return in words which setting is best, and how sure that is."""
    best = report.settings[0]
    line = f"best: {best.name}, {report.metric} {best.mean:.4f}"
    if not math.isnan(best.low):
        line += f", 95 % interval {best.low:.4f} to {best.high:.4f} ({len(best.by_seed)} seeds)"
    if report.stays_best is not None:
        line += f"; it stays the best in {100 * report.stays_best:.0f} % of resamples of the seeds"
    if best.test_accuracy is not None and not report.metric.startswith("test"):
        line += f"; test accuracy of that setting {best.test_accuracy:.4f}"
        if best.test_interval is not None and not math.isnan(best.test_interval[0]):
            line += f", 95 % interval {best.test_interval[0]:.4f} to {best.test_interval[1]:.4f}"
        if best.n_test is not None:
            line += f" (n = {best.n_test})"
    if report.metric.startswith("test"):
        line += "; chosen on the test split, so that this number flatters"
    return line
