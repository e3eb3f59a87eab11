"""Every notebook with a widget, opened in JupyterLab and run as far as that: it is there, and answers to the keyboard.

What stands behind the last widget runs headlessly, in tests/notebooks and in nbval.
"""

import json

import nbformat
import pytest
from lab import ROOT

NOTEBOOKS = [
    path
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    # Those of 05 and 07 are live while minutes of work are done: see test_training_monitor.py and test_sweep_table.py.
    if "snn_helpers.widgets" in json.dumps(nbformat.read(path, as_version=4))
    and path.stem not in ("05_training", "07_batch_runs")
]


def test_there_are_notebooks_with_widgets():
    assert {"00_start_here", "01_events", "02_spiking_neurons"} <= {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_its_widgets_draw_and_answer(path, open_notebook, lab, pictures):
    cut = nbformat.read(path, as_version=4)
    last = max(place for place, cell in enumerate(cut.cells) if "snn_helpers.widgets" in cell.source)
    cut.cells = cut.cells[: last + 1]
    for cell in cut.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(cut, lab.folder / path.name)
    notebook = open_notebook(path.name).run_all(120)
    widgets = notebook.page.locator("section.snn")
    assert widgets.count() >= 1
    for number in range(widgets.count()):
        widget = notebook.widget(number)
        widget.scroll_into_view_if_needed()
        before = widget.evaluate("root => root.snn.draws")
        canvas = widget.locator("canvas[tabindex='0']")
        keyed = canvas if canvas.count() else widget.locator("tbody button[tabindex='0']")  # a table's first row
        keyed.first.press("ArrowRight" if canvas.count() else "Enter")
        assert widget.evaluate("root => root.snn.draws") > before
        widget.screenshot(path=pictures / f"{path.stem}_{number}.png")
    # The still figure travels with the widget, for places that show no widgets.
    notebook.menu("File", "Save Notebook")
    saved = lab.folder / path.name
    for _ in range(100):
        outputs = [o for cell in nbformat.read(saved, as_version=4).cells for o in cell.get("outputs", [])]
        live = [o.data for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
        if live:
            break
        notebook.page.wait_for_timeout(100)
    assert live
    assert all("image/png" in data for data in live)
