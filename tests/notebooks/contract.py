"""The contract that every notebook of the series keeps, as functions from a notebook to the list of its faults."""

from __future__ import annotations

import json
import re

CARD = ("**Question**", "**You will be able to**", "**You need**", "**Time**", "**Leaves for the next**")
MAX_LINES, MAX_WORDS, MAX_BYTES = 20, 120, 2_000_000
_PARAMETER = re.compile(r"^[a-z_]+ = [^=#]+  # [^=]+$")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def card(notebook):
    """The first cell: the one question, three abilities, needs, minutes measured where, what comes next."""
    text = notebook.cells[0].source if notebook.cells[0].cell_type == "markdown" else ""
    faults = [f"the card lacks {part}" for part in CARD if part not in text]
    if len(re.findall(r"^- ", text, flags=re.MULTILINE)) != 3:
        faults.append("the card must list three things that one will be able to do")
    if not re.search(r"\*\*Time\*\*.*(second|minute).*measured on", text, flags=re.DOTALL):
        faults.append("the card must say the time and on what machine it was measured")
    return faults


def parameters(notebook):
    """One cell tagged `parameters`, near the top, of lines `name = literal  # help`."""
    cells = tagged(notebook, "parameters")
    if len(cells) != 1:
        return [f"{len(cells)} cells are tagged parameters"]
    faults = [f"no parameter line: {line}" for line in cells[0].source.splitlines() if not _PARAMETER.match(line)]
    if notebook.cells.index(cells[0]) > 3:
        faults.append("the parameters stand too far down")
    return faults


def stored_form(notebook):
    """Outputs of one run in order, small, without widget state, for the kernel `python3`."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    faults = [] if counts == list(range(1, len(counts) + 1)) else ["the outputs are not those of one run in order"]
    if (notebook.nbformat, notebook.nbformat_minor) != (4, 5) or any("id" not in cell for cell in notebook.cells):
        faults.append("the format must be 4.5, with cell ids")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        faults.append("the kernel must be python3")
    text = json.dumps(notebook)
    if "widgets" in notebook.metadata or "widget-view" in text:
        faults.append("widget state is stored")
    if len(text) > MAX_BYTES:
        faults.append(f"{len(text):,} bytes are stored")
    if any(output.output_type == "error" for cell in code_cells(notebook) for output in cell.outputs):
        faults.append("an error is stored")
    return faults


def portable(notebook):
    """No shell magics, no absolute paths, neither in cells nor in text outputs."""
    faults = []
    for cell in notebook.cells:
        shown = [cell.source]
        for output in cell.get("outputs", []):
            shown += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
        for text in shown:
            for path in re.findall(r"(?:^|[\s\"'(])(/(?:home|root|tmp|work|usr|Users|mnt|opt)/\S*)", text):
                faults.append(f"absolute path {path}")
        if cell.cell_type == "code" and re.search(r"^\s*[!%]", cell.source, flags=re.MULTILINE):
            faults.append("a shell line or magic")
    return faults


def readable_cells(notebook):
    """Code cells of at most 20 lines, each with at most 120 words before it."""
    faults = []
    for before, cell in zip([None, *notebook.cells], notebook.cells):
        start = cell.source.splitlines()[0] if cell.source else "(empty)"
        if cell.cell_type == "code":
            # A list of parameters is as long as there are parameters.
            if len(cell.source.splitlines()) > MAX_LINES and "parameters" not in cell.metadata.get("tags", []):
                faults.append(f"{len(cell.source.splitlines())} lines in the cell that starts: {start}")
            if before is None or before.cell_type != "markdown":
                faults.append(f"no words before the cell that starts: {start}")
        elif len(cell.source.split()) > MAX_WORDS and cell is not notebook.cells[0]:
            faults.append(f"{len(cell.source.split())} words in the text that starts: {start}")
    return faults


def figures(notebook):
    """Every figure has alt text and a caption."""
    faults = []
    for cell in code_cells(notebook):
        images = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        captions = [output for output in cell.outputs if "text/markdown" in output.get("data", {})]
        for image in images:
            if not image.get("metadata", {}).get("image/png", {}).get("alt") and not image.metadata.get("alt"):
                faults.append("a figure without alt text")
        if len(captions) < len(images):
            faults.append("a figure without a caption")
    return faults


def checked_facts(notebook):
    """At least one cell whose output nbval compares, and a last cell that asserts and writes the findings."""
    faults = [] if tagged(notebook, "nbval-check-output") else ["no cell is tagged nbval-check-output"]
    last = code_cells(notebook)[-1].source
    if "assert " not in last:
        faults.append("the last cell asserts nothing")
    if "write_results(" not in last:
        faults.append("the last cell does not write its findings")
    return faults


RULES = (card, parameters, stored_form, portable, readable_cells, figures, checked_facts)
