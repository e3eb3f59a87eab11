"""The table of a sweep in JupyterLab: live while runs run, sorted and filtered in the browser, opening notebooks."""

import json

from job_notebooks import ledger_row, write_notebook, write_sweep

from snn_helpers.batch.ledger import append_row

LIVE = """
from pathlib import Path
from snn_helpers.batch import SweepPlan, Workers, run_sweep
from snn_helpers.widgets import SweepTable
table = SweepTable("mine/sweep")
with table.live("Runs of a small sweep.", "A table of runs."):
    rows = run_sweep(SweepPlan(Path("job.ipynb"), {"seed": "0..4"}, metric="score"), Path("mine/sweep"), Workers(2))
"""
JOB = """
import json, os, pathlib, time
while seed == 4 and not pathlib.Path(gate).exists():
    time.sleep(0.05)
if seed == 3:
    raise ValueError("no such recording")
folder = pathlib.Path(os.environ["SNN_RESULTS_DIR"])
folder.mkdir(parents=True, exist_ok=True)
facts = {"score": [0.5, 0.25, 0.75, 0, 0.125][seed]}
(folder / "job.json").write_text(json.dumps({"findings": {}, "facts": facts}))
"""
COUNTS = "() => document.querySelector('section.snn .facts')?.textContent ?? ''"


def column(widget, number):
    return widget.locator("tbody tr").evaluate_all(f"rows => rows.map(row => row.children[{number}].textContent)")


def wait_for_counts(page, words):
    page.wait_for_function(f"words => ({COUNTS})().includes(words)", arg=words)


def test_table_is_live_sorts_filters_and_opens_the_executed_notebook(open_notebook, lab, pictures):
    gate = lab.folder / "counted"  # the last run waits until what comes before its end was looked at
    write_notebook(lab.folder / "job.ipynb", f"seed = 0  # help\ngate = {str(gate)!r}  # help", JOB)
    notebook = open_notebook("live.ipynb", [LIVE, "print(table.state)"])
    notebook.menu("Run", "Run All Cells")
    page, widget = notebook.page, notebook.widget()
    page.wait_for_function(f"() => /[1-4] of 5 runs have ended/.test(({COUNTS})())")
    assert not notebook.idle(), "it counts while the sweep runs"
    assert "· live" in widget.locator(".facts").first.text_content()
    widget.screenshot(path=pictures / "sweep_table_live.png")
    gate.touch()
    notebook.wait_done()
    wait_for_counts(page, "5 of 5 runs have ended: 1 failed, 4 done")
    assert "· live" not in widget.locator(".facts").first.text_content()
    assert column(widget, 3) == ["0", "1", "2", "3", "4"]

    widget.get_by_role("button", name="Sort by score").click()
    before = notebook.kernel_messages()
    assert column(widget, 4) == ["0.125", "0.25", "0.5", "0.75", ""]
    page.keyboard.press("Enter")  # the head has the focus
    assert column(widget, 4) == ["0.75", "0.5", "0.25", "0.125", ""]
    assert widget.locator("thead th").nth(4).get_attribute("aria-sort") == "descending"
    search = widget.get_by_role("searchbox")
    search.fill("seed=3 recording")
    assert column(widget, 2) == ["failed"]
    search.fill("")
    widget.get_by_role("combobox").select_option(label="not ended well")
    assert column(widget, 3) == ["3"]
    widget.locator("tbody button").first.press("Enter")
    told = widget.get_by_role("region", name="The chosen run").text_content()
    assert "ValueError: no such recording" in told
    assert "In cell 2: import json, os, pathlib" in told
    widget.get_by_role("combobox").select_option(label="all")
    first = widget.locator("tbody th button").first
    first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    told = widget.get_by_role("region", name="The chosen run").inner_text().split()
    assert told[2:6] == ["done,", "seed", "=", "0"]
    assert told[-2:] == ["score", "0.5"]
    assert notebook.kernel_messages() == before, "sorting, filtering and choosing ask nothing of the kernel"
    widget.screenshot(path=pictures / "sweep_table.png")
    page.set_viewport_size({"width": 800, "height": 1400})
    page.evaluate("() => { document.body.dataset.jpThemeLight = 'false' }")
    widget.screenshot(path=pictures / "sweep_table_dark_narrow.png")
    page.evaluate("() => { document.body.dataset.jpThemeLight = 'true' }")
    page.set_viewport_size({"width": 1280, "height": 1600})

    chosen = first.evaluate("node => node.getRootNode().querySelector('section.snn').snn.store.get('selected')")
    state = {"sort": "score", "descending": True, "filter": "", "status": "all", "selected": chosen}
    assert json.loads(notebook.run_cell(1).replace("'", '"').replace("True", "true")) == state

    widget.get_by_role("region", name="The chosen run").get_by_role("button").click()
    tab = page.locator(".lm-TabBar-tab[title*='mine/sweep/runs/']")
    tab.wait_for()
    opened = page.locator(".jp-Notebook:visible", has_text="# Parameters").first  # as papermill writes them
    opened.wait_for()
    assert "seed = 0" in opened.inner_text()


def test_ten_thousand_runs_are_drawn_a_page_at_a_time_and_a_sweep_elsewhere_is_followed(open_notebook, lab, pictures):
    folder = write_sweep(lab.folder / "large", 10_000, fates=("done",) * 19 + ("failed",), missing=2)
    cells = [
        "from snn_helpers.widgets import SweepTable\ntable = SweepTable('large')",
        "table.follow('Runs.', 'Runs.')",
    ]
    notebook = open_notebook("large.ipynb", cells).run_all()
    page, widget = notebook.page, notebook.widget()
    wait_for_counts(page, "9,998 of 10,000 runs have ended: 499 failed, 9,499 done; 2 missing · live")
    assert "The table holds 2,000 of 10,000 runs" in widget.locator(".keys").first.text_content()
    assert widget.locator("tbody tr").count() == 200
    widget.evaluate("""root => root.querySelector("thead button[data-column='seed']").click()""")
    assert widget.locator("tbody tr").count() == 200
    widget.get_by_role("button", name="Show more runs").click()
    assert widget.locator("tbody tr").count() == 400
    assert "400 of 2,000 shown" in widget.get_by_role("status").all_text_contents()
    widget.locator("tbody th button").nth(5).focus()
    for place in (9_998, 9_999):  # another process ends them
        append_row(folder, ledger_row(f"run{place:05d}", "done", {"valid_accuracy": 1.0}))
    wait_for_counts(page, "10,000 of 10,000 runs have ended: 499 failed, 9,501 done")
    page.wait_for_function(f"() => !({COUNTS})().includes('live')")
    assert page.evaluate("() => document.activeElement.closest('tr') !== null"), "the focus stays where it was"
    widget.screenshot(path=pictures / "sweep_table_large.png")
