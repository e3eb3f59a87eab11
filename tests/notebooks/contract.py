"""The contract that every notebook of the series keeps, as functions from a notebook to the list of its faults."""

from __future__ import annotations

import ast
import json
import re

CARD = ("**Question**", "**You will be able to**", "**You need**", "**Time**", "**Leaves for the next**")
MAX_LINES, MAX_WORDS, MAX_BYTES = 20, 120, 2_000_000
_PARAMETER = re.compile(r"^[a-z_]+ = [^=#]+  # [^=]+$")
_NETWORK = re.compile(r"\b(urllib|requests|urlopen|socket|wget|curl)\b|https?://")
_PREDICTION = re.compile(r"^([a-z]\w*) = None  # \S.*$")
_COUNTED = r"(?:\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|twenty|fifty|(?:a )?hundred|(?:a )?thousand)"
_COMPARED = r"(?:as|too|more|less|fewer|faster|slower|better|worse|higher|lower|larger|smaller|longer|shorter|cheaper)"
_MEASURED = {
    "a percentage": r"\d[\d,.]*\s?(?:%|per cent\b|percent\b)(?! (?:Wilson |confidence )?interval)",
    "a factor": rf"\b{_COUNTED}[ -](?:times|fold) {_COMPARED}\b|\bfactor of (?:about )?\d|\d ?×(?! ?\d)",
    "a rounded number": r"\b(?:about|roughly|around|nearly|almost|approximately|some|~) ?\d",
    "a score": r"\b(?:accura\w+|loss|correlat\w+|error|score)\b[^.;:|]{0,30}? \d+(?:\.\d+)?\b",
    "a time taken": r"\b(?:takes?|took|within|costs?|after|needs?) \d[\d,.]* ?(?:s|seconds?|min|minutes?|hours?)\b",
}


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
    if text.count("?") != 1:
        faults.append("the card must ask one question")
    if not re.search(r"\*\*You need\*\*[^*]*(`\d\d_\w+`|no other notebook)", text):
        faults.append("the card must name the notebooks that one needs")
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


def refuses_early(notebook):
    """The first code cell after the parameters checks them, before anything long."""
    cells = code_cells(notebook)
    after = [cell for cell in cells if "parameters" not in cell.metadata.get("tags", [])]
    text = after[0].source if after else ""
    return [] if re.search(r"\.resolve\(\)|check_\w+\(", text) else ["the cell after the parameters checks nothing"]


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
    """No shell magics, no network, no absolute paths, neither in cells nor in text outputs."""
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
        if cell.cell_type == "code" and re.search(
            r"\b(urllib|requests|urlopen|socket|wget|curl)\b|https?://", cell.source
        ):
            faults.append("the network")
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
        else:
            words = [word for word in cell.source.split() if re.search(r"\w", word)]  # the bars of a table are none
            if len(words) > MAX_WORDS and cell is not notebook.cells[0]:
                faults.append(f"{len(words)} words in the text that starts: {start}")
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


def guesses(notebook):
    """Return {name: position of its cell} of the variables that readers fill in before they see the truth."""
    places = {}
    for place, cell in enumerate(notebook.cells):
        if "predict" in cell.metadata.get("tags", []):
            for line in cell.source.splitlines():
                places[line.split(" = ")[0]] = place
    return places


def predictions(notebook):
    """At least three cells tagged `predict`, of lines `name = None  # words`, each revealed in a later cell."""
    cells = tagged(notebook, "predict")
    faults = [] if len(cells) >= 3 else [f"{len(cells)} cells are tagged predict"]
    faults += [
        f"no prediction: {line}" for cell in cells for line in cell.source.splitlines() if not _PREDICTION.match(line)
    ]
    faults += ["a prediction has an output" for cell in cells if cell.outputs]
    places, revealed = guesses(notebook), {}
    for place, cell in enumerate(notebook.cells):
        for call in calls(cell, "reveal"):
            name = call.args[1].id if len(call.args) > 2 and isinstance(call.args[1], ast.Name) else None
            if name not in places:
                faults.append(f"no prediction is revealed by: {ast.unparse(call)}")
            revealed.setdefault(name, place)
    for name, place in places.items():
        if revealed.get(name, -1) <= place:
            faults.append(f"`{name}` is not revealed in a later cell")
    return faults


def calls(cell, function):
    """Return the calls of `function` or of a method of that name in a code cell."""
    if cell.cell_type != "code" or function not in cell.source:
        return []
    nodes = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    return [node for node in nodes if function in (getattr(node.func, "attr", None), getattr(node.func, "id", None))]


def exercise_parts(cell):
    """Return (function name, check name) of an exercise: one function that does nothing yet, and its check last."""
    body = ast.parse(cell.source).body
    stub, last = body[0], body[-1]
    if not (len(body) == 2 and isinstance(stub, ast.FunctionDef) and isinstance(last, ast.Expr)):
        return None
    work = [node for node in stub.body if not (isinstance(node, ast.Expr) and _is_text(node.value))]
    empty = len(work) == 1 and isinstance(work[0], ast.Expr) and getattr(work[0].value, "value", None) is ...
    match = re.fullmatch(r"lessons\.(check_\w+)\((\w+)\)", ast.unparse(last))
    return (stub.name, match[1]) if empty and match and match[2] == stub.name else None


def _is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def exercises(notebook):
    """At least two exercises: a stub with its check, a hint in <details>, and a collapsed solution with that check."""
    places = [place for place, cell in enumerate(notebook.cells) if "exercise" in cell.metadata.get("tags", [])]
    faults = [] if len(places) >= 2 else [f"{len(places)} cells are tagged exercise"]
    if len(tagged(notebook, "solution")) != len(places):
        faults.append(f"{len(places)} exercises, {len(tagged(notebook, 'solution'))} solutions")
    for place in places:
        parts = exercise_parts(notebook.cells[place])
        if not parts:
            faults.append(f"no stub with its check last: {notebook.cells[place].source.splitlines()[0]}")
            continue
        faults += [f"`{parts[0]}` {fault}" for fault in _faults_behind(notebook.cells[place + 1 :], *parts)]
    return faults


def _faults_behind(cells, stub, check):
    """Return what is wrong with the cells that follow an exercise: hints, then the solution."""
    words = []
    while cells and cells[0].cell_type == "markdown":
        words.append(cells[0].source)
        cells = cells[1:]
    if not re.search(r"<details>\s*<summary>Hint", "\n".join(words)) or "</details>" not in "\n".join(words):
        yield "has no hint in <details>"
    if not cells or "solution" not in cells[0].metadata.get("tags", []):
        yield "is not followed by its solution"
        return
    if not cells[0].metadata.get("jupyter", {}).get("source_hidden"):
        yield "shows its solution: the cell needs jupyter.source_hidden"
    if f"def {stub}_solution(" not in cells[0].source or f"lessons.{check}({stub}_solution)" not in cells[0].source:
        yield f"has no `{stub}_solution` that is handed to lessons.{check}"


def _words(notebook):
    """Return the prose: texts but for the card, and the captions and alt texts of figures, as (where, text)."""
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and place:
            # Code, formulas and links are no prose.
            yield (
                cell.source.splitlines()[0],
                re.sub(r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)", " ", cell.source, flags=re.DOTALL),
            )
        for call in calls(cell, "show"):
            inside = {
                id(part) for node in ast.walk(call) if isinstance(node, ast.FormattedValue) for part in ast.walk(node)
            }
            for node in ast.walk(call):
                if _is_text(node) and id(node) not in inside:
                    yield "a caption", node.value


def numbers_from_the_run(notebook):
    """No result is typed into the prose: percentages, factors, scores, rounded numbers and times come from the run."""
    faults = []
    for where, text in _words(notebook):
        for kind, pattern in _MEASURED.items():
            faults += [f"{kind} in '{where}': {found[0]}" for found in re.finditer(pattern, " ".join(text.split()))]
    return faults


def widgets(notebook):
    """The lessons that have widgets use one: its state is a parameter, and a still figure of it is stored."""
    if not re.match(r"# (00|01|02|03|06) ", notebook.cells[0].source):
        return []
    shown = [cell for cell in code_cells(notebook) if "from snn_helpers.widgets import" in cell.source]
    faults = [] if shown else ["no cell makes a widget"]
    names = {line.split(" = ")[0] for cell in tagged(notebook, "parameters") for line in cell.source.splitlines()}
    for cell in shown:
        start = cell.source.splitlines()[0]
        states = [ast.unparse(word.value) for name in _widget_names(cell) for call in calls(cell, name)
                  for word in call.keywords if word.arg == "state"]  # fmt: skip
        if not states or not set(states) <= names:
            faults.append(f"the state of the widget is no parameter in the cell that starts: {start}")
        if not calls(cell, "show") or not any("image/png" in output.get("data", {}) for output in cell.outputs):
            faults.append(f"no still figure is stored beside the widget in the cell that starts: {start}")
    return faults


def _widget_names(cell):
    nodes = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in nodes if node.module == "snn_helpers.widgets" for alias in node.names]


RULES = (
    card,
    parameters,
    refuses_early,
    stored_form,
    portable,
    readable_cells,
    figures,
    widgets,
    predictions,
    exercises,
    numbers_from_the_run,
    checked_facts,
)
