"""The sweep's table without a browser: the same rows in the same order and words as its script, and honest counts."""

import contextlib
import json
import math
import threading

import pytest
from javascript import in_node
from job_notebooks import ledger_row, wait_for, write_sweep

from snn_helpers.batch.ledger import LEDGER, append_row
from snn_helpers.batch.sweep import PLAN
from snn_helpers.widgets import SweepTable, sweep_rows, sweep_table
from snn_helpers.widgets.base import MAX_BYTES
from snn_helpers.widgets.sweep_rows import MOST_ROWS, counts_line, select, shown

STATE = {"sort": "#", "descending": False, "filter": "", "status": "all", "selected": ""}


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_browser_and_figure_show_the_same_rows_in_the_same_order_and_words(tmp_path):
    table = SweepTable(write_sweep(tmp_path / "sweep", 40, missing=5))
    columns = table._status["columns"]
    states = [{**STATE, "sort": column, "descending": down} for column in [*columns, "gone"] for down in (False, True)]
    states += [
        {**STATE, "filter": words} for words in ("seed=1 cnn", "GRÖSSE", "train(config) killed", "no such", "  ")
    ]
    states += [{**STATE, "status": status, "sort": "valid_accuracy"} for status in sweep_rows.SHOWN_STATUSES]
    ours = [[row["cells"][1] for row in select(table.rows, columns, state)] for state in states]
    given = json.dumps([table.rows, columns, states])
    theirs = in_node(
        f"import {{ select }} from './sweep.js'; const [rows, columns, states] = {given};"
        "console.log(JSON.stringify(states.map(state => select(rows, columns, state).map(row => row.cells[1]))))"
    )
    assert theirs == ours
    assert len({tuple(found) for found in ours}) > 15, "the states differ in what they show"
    values = [cell for row in table.rows for cell in (*row["cells"], *row["results"])]
    values += [0, -3, 1234567, 1e3, 999.96, 1234.56, 12.3456, 0.1, 0.00012345, 1e-5, 2.5e-7, -0.000031, None, "cnn"]
    words = in_node(
        f"import {{ shown }} from './sweep.js'; console.log(JSON.stringify({json.dumps(values)}.map(shown)))"
    )
    assert words == [shown(value) for value in values]
    line = in_node(f"import {{ countsLine }} from './sweep.js'; const told = {json.dumps(table._status)};"
                   "console.log(JSON.stringify(countsLine(told)))")  # fmt: skip
    assert line == counts_line(table._status)


def test_order_by_hand():
    rows = [{"cells": [place, name, status, value], "find": ""} for place, name, status, value in
            [(1, "a", "done", 0.5), (2, "b", "missing", None), (3, "c", "killed", "x"), (4, "d", "done", 0.5),
             (5, "e", "failed", 0.1)]]  # fmt: skip

    def names(**state):
        return "".join(row["cells"][1] for row in select(rows, ["#", "run", "status", "lr"], {**STATE, **state}))

    assert names(sort="lr") == "eadcb"
    assert names(sort="lr", descending=True) == "cadeb", "equals as planned, those without a value last"
    assert names(sort="status") == "ecadb"
    assert names(status="not well") == "ce"


def test_figure_has_the_first_rows_the_rest_as_a_number_and_failures_in_red_with_their_word(tmp_path):
    table = SweepTable(write_sweep(tmp_path / "sweep", 40), state={"sort": "valid_accuracy", "descending": True})
    drawn = texts(table.figure("simulated"))
    assert drawn[0].startswith("40 of 40 runs have ended: 7 failed, 6 timeout, 6 killed, 21 done")
    assert "sorted by valid_accuracy, descending" in drawn
    assert "25 more" in drawn
    best = [row["cells"][1] for row in select(table.rows, table._status["columns"], table.state)][:15]
    assert [text for text in drawn if text in best] == best
    table.state = {"sort": "#", "descending": False, "status": "not well"}
    figure = table.figure()
    assert any(text.startswith("19 shown: status not well") for text in texts(figure))
    reds = {text.get_text() for text in figure.axes[0].texts if text.get_color() == "#b00020"}
    assert {"run00002", "failed", "killed", "timeout", "run00002 failed: ValueError: Größe 2"} <= reds


def test_state_is_saved_and_given_back(tmp_path):
    folder = write_sweep(tmp_path / "sweep", 6)
    table = SweepTable(folder)
    table.front.state = {
        **table.state,
        "sort": "seed",
        "filter": "cnn",
        "selected": "run00002",
    }  # what the browser sends
    again = SweepTable(folder, state=table.state)
    assert again.state == {**STATE, "sort": "seed", "filter": "cnn", "selected": "run00002"}
    assert texts(again.figure()) == texts(table.figure())
    for wrong, error in (({"status": "kiled"}, "Did you mean 'killed'"), ({"filter": "x" * 201}, "at most 200 signs")):
        with pytest.raises(ValueError, match=error):
            SweepTable(folder, state=wrong)
    with pytest.raises(TypeError, match=r"`state\['sort'\]` must be a text"):
        SweepTable(folder, state={"sort": 3})


def test_ten_thousand_runs_are_cut_to_what_the_browser_takes_and_the_counts_stay_true(tmp_path):
    folder = write_sweep(tmp_path / "sweep", 10_000, fates=("done",) * 19 + ("failed",), missing=400, most_results=30)
    table = SweepTable(folder)
    sent = {"rows": table.front.rows, "status": table.front.status}
    assert len(json.dumps(sent, ensure_ascii=False).encode()) < MAX_BYTES
    assert 1000 < len(table.rows) <= MOST_ROWS
    failed = [row for row in table.rows if row["cells"][2] == "failed"]
    assert len(failed) == table._status["counts"]["failed"] == 480
    worst = min(row["cells"][6] for row in table.rows if row["cells"][2] == "done")
    assert worst >= 0.8, "beside the failures, the best"
    assert [row["cells"][0] for row in table.rows] == sorted(row["cells"][0] for row in table.rows)
    assert texts(table.figure())[0].startswith("9,600 of 10,000 runs have ended: 480 failed, 9,120 done; 400 missing")
    assert f"holds {len(table.rows):,} of 10,000 runs: 480 of the 480 that did not" in table._status["note"]
    rows = [{"cells": [place]} for place in range(4000)]
    many = [{"status": "done" if place % 5 == 0 else "failed", "results": {"x": place}} for place in range(4000)]
    chosen = [many[row["cells"][0]] for row in sweep_rows.kept(rows, many, "x")]
    assert [sum(row["status"] == status for row in chosen) for status in ("failed", "done")] == [1500, 500]
    assert min(row["results"]["x"] for row in chosen if row["status"] == "done") == 1500, "the best 500 of 800"


def test_folder_without_a_plan_waits_and_one_of_something_else_is_refused(tmp_path):
    table = SweepTable(tmp_path / "sweep")
    assert texts(table.figure()) == [sweep_table.WAITING]
    assert not table.ended
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / ".sweep.lock").touch()
    assert texts(SweepTable(tmp_path / "sweep").figure()) == [sweep_table.WAITING]
    write_sweep(tmp_path / "sweep", 3)
    assert table.refresh()
    assert len(table.rows) == 3
    assert not table.refresh(), "files that have not changed are not read again"
    other = tmp_path / "other"
    other.mkdir()
    (other / "photo.png").touch()
    with pytest.raises(ValueError, match=r"no sweep here \(no sweep.json, but photo.png\)"):
        SweepTable(other)
    with pytest.raises(ValueError, match="this is a file"):
        SweepTable(other / "photo.png")
    (other / PLAN).write_text("{}")
    with pytest.raises(ValueError, match="this is no plan of a sweep"):
        SweepTable(other)


def test_files_that_break_while_they_are_watched_are_said_and_do_not_raise(tmp_path):
    table = SweepTable(write_sweep(tmp_path / "sweep", 3))
    ledger = tmp_path / "sweep" / LEDGER
    whole = ledger.read_bytes()
    ledger.write_text("no row\n")
    table.refresh()
    assert "line 1: this is no row of a ledger" in table._status["problem"]
    ledger.write_bytes(whole)
    table.refresh()
    assert table._status["problem"] == ""


def watchers():
    return [thread for thread in threading.enumerate() if thread.name == "sweep table"]


@pytest.mark.parametrize(("front_end", "shown_at"), [("on", "the start"), ("off", "the end")])
def test_table_is_live_in_its_block_and_ends_with_it(tmp_path, monkeypatch, front_end, shown_at):
    monkeypatch.setattr(sweep_table, "_POLL_S", 0.02)
    monkeypatch.setenv("SNN_WIDGETS", front_end)
    displayed = []
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: displayed.extend(things))
    folder = tmp_path / "sweep"
    with contextlib.suppress(KeyboardInterrupt), SweepTable(folder).live("Runs.", "Runs.") as table:
        assert bool(displayed) == (shown_at == "the start")
        write_sweep(folder, 4, missing=2)
        wait_for(lambda: table._status["counts"] == {"done": 2, "missing": 2})
        if front_end == "on":
            assert table.front.status["live"]
            assert len(table.front.rows) == 4
        append_row(folder, ledger_row("run00002", "killed", {}, "ended"))
        raise KeyboardInterrupt
    assert table._status["counts"] == {"done": 2, "killed": 1, "missing": 1}, "the last rows are there, too"
    assert not table._status["live"]
    assert not watchers()
    assert len(displayed) == 2  # once: picture and caption


def test_table_of_a_sweep_elsewhere_ends_by_itself_with_the_last_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_table, "_POLL_S", 0.02)
    monkeypatch.setenv("SNN_WIDGETS", "on")
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: None)
    table = SweepTable(write_sweep(tmp_path / "sweep", 3, missing=1))
    table.follow("Runs.", "Runs.")
    assert watchers()
    assert table.front.status["live"]
    append_row(tmp_path / "sweep", ledger_row("run00002", "done", {"valid_accuracy": 0.5}))
    wait_for(lambda: not watchers())
    assert table.ended
    assert table.front.status["counts"] == {"done": 3}
    assert not table.front.status["live"]
    table.follow("Runs.", "Runs.")
    assert not watchers(), "of a sweep that has ended nothing more can come"


def test_table_of_a_search_waits_for_the_runs_that_it_proposes_next(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_table, "_POLL_S", 0.02)
    monkeypatch.setattr(sweep_table, "_PATIENCE_S", math.inf)
    monkeypatch.setenv("SNN_WIDGETS", "on")
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: None)
    folder = write_sweep(tmp_path / "sweep", 3, missing=1)
    plan = json.loads((folder / PLAN).read_text())
    (folder / PLAN).write_text(json.dumps({**plan, "search": "optuna"}))
    table = SweepTable(folder)
    table.follow("Runs.", "Runs.")
    append_row(folder, ledger_row("run00002", "done", {}))
    wait_for(lambda: table.ended)
    plan["runs"]["next"] = plan["runs"]["run00002"]
    (folder / PLAN).write_text(json.dumps({**plan, "search": "optuna"}))
    wait_for(lambda: table._status["total"] == 4)
    assert watchers()
    append_row(folder, ledger_row("next", "done", {}))
    monkeypatch.setattr(sweep_table, "_PATIENCE_S", 0)
    wait_for(lambda: not watchers())
    assert table._status["counts"] == {"done": 4}


def test_path_is_that_below_the_root_of_the_kernels_own_server(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    for pid, root in ((7, tmp_path / "other"), (8, tmp_path)):
        (tmp_path / f"jpserver-{pid}.json").write_text(json.dumps({"pid": pid, "root_dir": str(root)}))
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert sweep_table.path_in_server(tmp_path / "runs" / "mine") is None
    monkeypatch.setenv("JPY_PARENT_PID", "8")
    assert sweep_table.path_in_server(tmp_path / "runs" / "mine") == "runs/mine"
    assert sweep_table.path_in_server(tmp_path.parent) is None
    assert SweepTable(tmp_path / "mine").front.status["base"] == "mine"
    paths = in_node(
        "import { pathOf } from './sweep.js'; const row = { output: 'runs/a/1/job.ipynb' };"
        "console.log(JSON.stringify([pathOf(row, { base: 'my/sweep' }), pathOf(row, { base: '.' }), "
        "pathOf(row, { base: null }), pathOf({ output: null }, { base: 'my' })]))"
    )
    assert paths == ["my/sweep/runs/a/1/job.ipynb", "runs/a/1/job.ipynb", None, None]
