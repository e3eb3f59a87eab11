"""The report: numbers worked by hand, what it says about failures and seeds, and its three forms."""

import csv
import json
import math

import nbformat
import numpy as np
import pytest
from job_notebooks import write_notebook, write_stand_in

from snn_helpers import sweep_report
from snn_helpers.batch import SweepPlan, Workers, run_sweep
from snn_helpers.batch.ledger import LEDGER
from snn_helpers.batch.report import Setting, make_report, pareto_front, summary_lines, write_csv
from snn_helpers.batch.sweep import PLAN
from snn_helpers.stats import mean_interval

# Settings (beta, lr) by seed 0, 1, 2: accuracy; spikes are 100 * accuracy + 10 where lr is 0.2.
SCORES = {(0.8, 0.1): (0.50, 0.60, 0.70), (0.8, 0.2): (0.52, 0.62, 0.72),
          (0.9, 0.1): (0.60, 0.72, 0.78), (0.9, 0.2): (0.58, 0.70, 0.76)}  # fmt: skip


@pytest.fixture
def sweep(tmp_path):
    """Write the files of a sweep of 12 runs, of which one has failed and one is missing in an extra setting."""
    runs, rows = {}, []
    for (beta, lr), values in SCORES.items():
        for seed, value in enumerate(values):
            run_id = f"{beta}-{lr}-{seed}"
            runs[run_id] = {"beta": beta, "lr": lr, "seed": seed}
            results = {"valid_accuracy": value, "test_accuracy": value - 0.01, "n_test": 500}
            results["output_spikes"] = 100 * value + 10 * (lr == 0.2)
            rows.append({"id": run_id, "attempt": 1, "status": "done", "seconds": 10 * beta, "results": results,
                         "error": None, "cell": None, "output": f"runs/{run_id}/1/job.ipynb"})  # fmt: skip
    runs["bad"] = {"beta": 0.95, "lr": 0.1, "seed": 0}
    runs["never"] = {"beta": 0.95, "lr": 0.1, "seed": 1}
    rows.append({"id": "bad", "attempt": 1, "status": "failed", "seconds": 3.0, "results": {},
                 "error": "ValueError: <b>no</b> such recording", "cell": "4: train(config)",
                 "output": None})  # fmt: skip
    rows.append({**rows[0], "id": "of earlier code"})
    plan = {"notebook": "notebooks/job.ipynb", "metric": "valid_accuracy", "direction": "maximize", "runs": runs}
    (tmp_path / PLAN).write_text(json.dumps({**plan, "swept": ["beta", "lr", "seed"]}))
    (tmp_path / LEDGER).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_effects_are_paired_by_seed_over_the_other_knobs(sweep):
    effects = {(one.knob, one.base, one.value): one for one in make_report(sweep).effects}
    assert set(effects) == {("beta", 0.8, 0.9), ("lr", 0.1, 0.2)}
    beta = effects["beta", 0.8, 0.9]
    # Within seed 0: +0.10 at lr 0.1 and +0.06 at lr 0.2, 0.08 together; seed 1: +0.12, +0.08; seed 2: +0.08, +0.04.
    assert (beta.seeds, beta.pairs) == (3, 6)
    assert (beta.mean, beta.low, beta.high) == pytest.approx(mean_interval([0.08, 0.10, 0.06]))
    # By hand: 0.08 ± 4.303 * 0.02 / sqrt(3).
    assert beta.low == pytest.approx(0.08 - 4.302653 * 0.02 / math.sqrt(3), abs=1e-6)
    assert effects["lr", 0.1, 0.2].mean == pytest.approx(0.0)


def test_best_setting_is_chosen_in_validation_and_says_how_sure(sweep):
    report = make_report(sweep)
    best = report.settings[0]
    assert best.knobs == {"beta": 0.9, "lr": 0.1}
    assert best.mean == pytest.approx(0.70)
    assert best.test_accuracy == pytest.approx(0.69)
    assert report.stays_best == 1.0, "it is the best with every seed"
    (line,) = [line for line in summary_lines(report) if line.startswith("best:")]
    low, high = mean_interval([0.59, 0.71, 0.77])[1:]
    assert f"test accuracy of that setting 0.6900, 95 % interval {low:.4f} to {high:.4f} (n = 500)" in line
    (line,) = [line for line in summary_lines(make_report(sweep, "test_accuracy")) if line.startswith("best:")]
    assert "chosen on the test split" in line


def test_counts_failures_and_rows_of_other_code(sweep):
    report = make_report(sweep)
    assert report.counts == {"done": 12, "failed": 1, "missing": 1}
    assert [row["run"] for row in report.failures] == ["bad"]
    assert report.left_out == 1
    text = "\n".join(summary_lines(report))
    assert "FAILED: beta=0.95 lr=0.1 seed=0: ValueError: <b>no</b> such recording (cell 4: train(config))" in text
    assert "1 rows of other plans or of earlier code are left out" in text


def setting(name, cost, value):
    return Setting({"x": name}, {0: value}, value, math.nan, math.nan, {"spikes": cost}, None)


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        ({"a": (1, 0.6), "b": (2, 0.8), "c": (3, 0.7), "d": (4, 0.9), "e": (5, 0.9)}, ["a", "b", "d"]),
        ({"a": (2, 0.6), "b": (1, 0.6)}, ["b"]),
        ({"a": (1, 0.6), "b": (1, 0.7)}, ["b"]),
        ({"a": (1, 0.9)}, ["a"]),
    ],
)
def test_front_is_what_nothing_beats(points, wanted):
    settings = [setting(name, *point) for name, point in points.items()]
    assert [one.knobs["x"] for one in pareto_front(settings, "spikes")] == wanted
    turned = [setting(name, cost, -value) for name, (cost, value) in points.items()]
    assert [one.knobs["x"] for one in pareto_front(turned, "spikes", "minimize")] == wanted


def test_costs_are_the_best_measure_that_all_report_and_the_time(sweep):
    report = make_report(sweep)
    assert list(report.front) == ["output_spikes", "run_seconds"]
    assert [one.name for one in report.front["output_spikes"]] == ["beta 0.8, lr 0.1", "beta 0.9, lr 0.1"]


def test_one_seed_gives_no_interval(sweep):
    plan = json.loads((sweep / PLAN).read_text())
    plan["runs"] = {run_id: values for run_id, values in plan["runs"].items() if values["seed"] == 0}
    (sweep / PLAN).write_text(json.dumps(plan))
    report = make_report(sweep)
    assert math.isnan(report.settings[0].low)
    assert report.stays_best is None
    assert any("one seed, no interval" in line for line in summary_lines(report))
    assert "<img" in sweep_report.as_html(report)


def test_unknown_metric_and_missing_sweep_are_named(sweep, tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'valid_accuracy'"):
        make_report(sweep, "valid_acuracy")
    with pytest.raises(ValueError, match="there is no sweep here"):
        make_report(tmp_path / "nowhere")


def test_csv_has_a_row_a_run_and_every_result(sweep):
    write_csv(make_report(sweep), sweep / "report.csv")
    with open(sweep / "report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert rows[3]["valid_accuracy"] == "0.52"
    assert rows[12]["error"] == "ValueError: <b>no</b> such recording"
    assert rows[13]["status"] == "missing"


def test_page_stands_alone_marks_failures_and_links_the_notebooks(sweep):
    paths = sweep_report.write_report(make_report(sweep), sweep)
    assert [path.name for path in paths] == ["report.html", "report.csv"]
    page = paths[0].read_text()
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 5
    assert "http" not in page
    assert "<script" not in page
    assert "<tr class='bad'><td>bad</td><td>failed</td>" in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert "href='runs/0.8-0.1-0/1/job.ipynb'" in page


def test_ledger_figure_numbers_the_runs_and_marks_the_failed_one_with_its_word(sweep):
    ax = sweep_report.draw_ledger(make_report(sweep))
    (word,) = ax.texts
    assert (word.get_text(), word.get_position(), word.get_color()) == ("failed", (13, 3.0), sweep_report.RED)
    good, bad = (np.array(lines.get_segments())[:, 1] for lines in ax.collections)  # the upper ends
    assert good[:, 0].tolist() == list(range(1, 13))
    assert bad.tolist() == [[13, 3.0]]


def test_report_of_a_sweep_without_any_success_is_still_a_report(sweep):
    ledger = sweep / LEDGER
    ledger.write_text("".join(line for line in ledger.read_text().splitlines(True) if '"failed"' in line))
    report = make_report(sweep)
    assert report.settings == []
    assert "FAILED" in "\n".join(summary_lines(report))
    assert "class='bad'" in sweep_report.as_html(report)


def test_report_as_a_notebook_tells_the_same(sweep):
    path = sweep_report.write_report(make_report(sweep), sweep, as_notebook=True)[-1]
    cells = nbformat.read(path, as_version=4).cells
    told = "".join(output["text"] for cell in cells for output in cell.get("outputs", []) if "text" in output)
    assert "\n".join(summary_lines(make_report(sweep))) in told
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", [])) == 5


def test_optuna_finds_the_best_of_a_range_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setenv("STAND_IN_RAN", str(tmp_path / "ran.jsonl"))
    job = write_notebook(tmp_path / "job.ipynb", "beta = 0.5  # help\nseed = 0  # help", "1")
    workers, folder = Workers(jobs=2, command=write_stand_in(tmp_path)), tmp_path / "sweep"

    def search(trials):
        plan = SweepPlan(job, {"beta": "0.1..0.9", "seed": "0..1"}, search="optuna", trials=trials, metric="score")
        return run_sweep(plan, folder, workers, say=lambda line: None)

    def count():
        return len((tmp_path / "ran.jsonl").read_text().splitlines())

    first = search(4)
    assert (len(first), count()) == (8, 8), "every configuration is run with both seeds"
    assert search(4) == first
    assert count() == 8, "a study that has its trials proposes no more"
    assert len(search(12)) == 24
    assert count() == 24
    import optuna

    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.log"))
    (study,) = optuna.get_all_study_summaries(optuna.storages.JournalStorage(backend))
    assert study.n_trials == 12
    # The stand-in's score is beta + 100 * seed: what is told is the mean over the seeds.
    assert study.best_trial.value == pytest.approx(study.best_trial.params["beta"] + 50)
    betas = [row["parameters"]["beta"] for row in map(json.loads, (folder / LEDGER).read_text().splitlines())]
    assert max(betas) == study.best_trial.params["beta"]


def test_comparison_has_the_settings_and_the_effects(sweep):
    left, right = sweep_report.draw_comparison(make_report(sweep), "accuracy in words").axes
    assert left.get_xlabel() == "accuracy in words"
    assert "accuracy in words" in right.get_xlabel()
    assert len(right.get_yticks()) == len(make_report(sweep).effects)
