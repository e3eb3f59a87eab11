"""Every notebook with a widget, opened in JupyterLab and run: its widgets are there, and answer to the keyboard.

Cells on which no widget depends are left out: they run headlessly, in tests/notebooks and in nbval.
"""

import ast
import contextlib
import json

import nbformat
import papermill
import pytest
from lab import ROOT

NOTEBOOKS = [
    path
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    # Those of 06 and 12 are live while minutes of work are done: see below and test_sweep_table.py.
    if "snn_helpers.widgets" in json.dumps(nbformat.read(path, as_version=4))
    and path.stem not in ("06_training", "12_many_runs")
]


def test_there_are_notebooks_with_widgets():
    assert {"00_start_here", "01_events", "02_spiking_neurons"} <= {path.stem for path in NOTEBOOKS}


def _write_without_outputs(notebook, path):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)


def cells_for_widgets(notebook):
    """Return the settings, the cells that make widgets, and those that make or change what these need."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    nodes = [node for cell in code for node in ast.walk(ast.parse(cell.source))]
    modules = {
        (alias.asname or alias.name).split(".")[0]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    kept, needed = [], set()
    for cell in reversed(code):
        makes, changes, uses = _names(ast.parse(cell.source), modules)
        if cell in code[:2] or _shows_a_widget(cell, modules) or (makes | changes) & needed:
            kept.insert(0, cell)
            needed = needed - makes | uses
    return kept


def _shows_a_widget(cell, modules):
    """Return whether a cell says `widget.show(...)`; the monitor of a training, which has no `show`, is for others."""
    calls = [node.func for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    shows = [call.value for call in calls if isinstance(call, ast.Attribute) and call.attr == "show"]
    return any(not (isinstance(shown, ast.Name) and shown.id in modules) for shown in shows)


def _names(tree, modules):
    """Return what a cell makes, what it changes (`lessons.show()` changes no module), and what it uses of others."""
    makes, changes, uses = set(), set(), set()
    for statement in tree.body:
        stored, loaded = set(), set()
        for node in ast.walk(statement):
            if isinstance(node, ast.Name | ast.arg):
                name = node.id if isinstance(node, ast.Name) else node.arg
                (loaded if isinstance(getattr(node, "ctx", None), ast.Load) else stored).add(name)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                stored.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                stored |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            elif isinstance(node, ast.Expr) or (
                isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)
            ):
                root = node.value  # `network.eval()`, `rates[name] = ...`
                while isinstance(root, ast.Attribute | ast.Subscript | ast.Call):
                    root = root.func if isinstance(root, ast.Call) else root.value
                changes |= {root.id} - modules if isinstance(root, ast.Name) else set()
        own = stored if not isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr) else set()
        uses |= loaded - makes - own
        makes |= stored
    return makes, changes | (makes & uses), uses


def test_what_a_widget_needs_is_found_behind_names_and_changes():
    sources = ["seed = 0", "import numpy as np", "def f(x):\n    return x + seed", "a = f(np.ones(2))", "b = a * 2",
               "a[0] = 3", "from snn_helpers.widgets import X\nX(a).show()", "c = a"]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    assert [cell.source for cell in cells_for_widgets(notebook)] == [*sources[:4], *sources[5:7]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_its_widgets_draw_and_answer(path, open_notebook, lab, pictures):
    cut = nbformat.read(path, as_version=4)
    cut.cells = cells_for_widgets(cut)
    _write_without_outputs(cut, lab.folder / path.name)
    notebook = open_notebook(path.name).run_all()
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
    live = []
    while not live:
        with contextlib.suppress(nbformat.reader.NotJSONError):  # it is being written
            outputs = [o for cell in nbformat.read(saved, as_version=4).cells for o in cell.get("outputs", [])]
            live = [o.data for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
        notebook.page.wait_for_timeout(100)
    assert all("image/png" in data for data in live)


def test_monitor_of_notebook_06_stops_a_real_training_and_leaves_its_checkpoint(open_notebook, lab, pictures):
    cut = nbformat.read(ROOT / "notebooks" / "06_training.ipynb", as_version=4)
    code = [cell for cell in cut.cells if cell.cell_type == "code"]
    parameters, monitor = code[0], next(cell for cell in code if "TrainingMonitor(" in cell.source)
    assert "epochs = None" in parameters.source
    parameters.source = parameters.source.replace("epochs = None", "epochs = 10000")
    run = lab.folder.parent / "stopped-run"
    parameters.source = parameters.source.replace("save_dir = None", f"save_dir = {str(run)!r}")
    cut.cells = [parameters, *code[1:3], monitor]
    _write_without_outputs(cut, lab.folder / "05_stopped.ipynb")
    notebook = open_notebook("05_stopped.ipynb", console=False)
    notebook.menu("Run", "Run All Cells")
    notebook.page.wait_for_function(
        "() => (document.querySelector('section.snn')?.snn.panels[0]?.curves[0].points.length ?? 0) >= 2"
    )
    widget = notebook.widget()
    widget.get_by_role("button").click()
    notebook.page.wait_for_function(
        "() => document.querySelector('section.snn').textContent.includes('Training was stopped.')"
    )
    widget.screenshot(path=pictures / "06_training_stopped.png")
    points = widget.evaluate("root => root.snn.panels[0].curves[0].points")
    assert 2 <= len(points) < 10_000
    assert (run / "last.pt").is_file()


def test_papermill_draws_again_what_a_person_chose(open_notebook, lab, tmp_path, monkeypatch):
    cut = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4)
    last = next(place for place, cell in enumerate(cut.cells) if "EventPlayer(" in cell.source)
    cut.cells = cut.cells[: last + 1]
    _write_without_outputs(cut, lab.folder / "chosen.ipynb")
    notebook = open_notebook("chosen.ipynb").run_all()
    widget = notebook.widget()
    widget.get_by_label("Bin width").select_option(label="10 ms")
    widget.locator("canvas[tabindex='0']").press("ArrowRight")
    chosen = widget.evaluate("root => root.snn.store.values")
    assert (chosen["time_ms"], chosen["bin_ms"]) == (70, 10)
    cut.cells.append(
        nbformat.v4.new_code_cell("print(player.state == player_state, player.figure().axes[-1].get_title())")
    )
    nbformat.write(cut, tmp_path / "chosen.ipynb")
    monkeypatch.setenv("SNN_PROFILE", "smoke")
    monkeypatch.setenv("SNN_RESULTS_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = papermill.execute_notebook(
        tmp_path / "chosen.ipynb", tmp_path / "again.ipynb", {"player_state": chosen}, progress_bar=False,
        cwd=str(tmp_path),
    )  # fmt: skip
    assert done.cells[-1].outputs[0].text.startswith("True 70 to 80 ms: ")
    assert any("image/png" in output.get("data", {}) for output in done.cells[-2].outputs)
