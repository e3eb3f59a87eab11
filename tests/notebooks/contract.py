"""The contract that every notebook of the series keeps, as functions from a notebook to the list of its faults."""

from __future__ import annotations

import ast
import inspect
import json
import re

from snn_helpers.lessons.answers import exercises as registered_exercises

CARD = ("**Question**", "**You will be able to**", "**You need**", "**Time**", "**Leaves for the next**")
MAX_LINES, MAX_LESSON_LINES, MAX_COLUMNS, MAX_WORDS, MAX_BYTES = 12, 20, 89, 120, 2_000_000
MIN_CELLS, MAX_CELLS, FIRST_FIGURE = 25, 45, 8
MAX_UNPACKED = 5
# Words of the field that a beginner cannot guess: {as the glossary spells it: pattern}.
MUST_EXPLAIN = {
    "leaky integrate-and-fire": r"leaky integrate[- ]and[- ]fire",
    "membrane potential": r"membrane potentials?",
    "spike train": r"spike trains?",
    "refractory period": r"refractory periods?",
    "receptive field": r"receptive fields?",
    "rate coding": r"rate cod(?:e|es|ing)",
    "latency coding": r"latency cod(?:e|es|ing)",
    "delta coding": r"delta cod(?:e|es|ing)",
    "population coding": r"population cod(?:e|es|ing)",
    "backpropagation through time": r"backpropagation through time",
    "surrogate gradient": r"surrogate gradients?",
    "overfitting": r"overfitting",
    "regularisation": r"regulari[sz]ation",
    "confidence interval": r"confidence intervals?",
    "McNemar's test": r"McNemar['’]s test",
    "Pareto front": r"Pareto fronts?",
    "ablation": r"ablations?",
}
# Words that make a text hard to read in a second language, and what to write instead.
UNUSED = {
    r"\bshall\b": "'will' or an imperative",
    r"\bwho (?:counts|asks|starts|speaks|looks|wants|plays)\b": "'if you count'",
    r"\bthe asked\b|\bwhat (?:was|is|were) (?:asked|found|told|said|given)\b": "a noun: 'the result'",
    r"\bput(?:s|ting)? (?:a|an|the|this|that|its|one) claims?\b": "'test whether'",
    r"\b(?:hold|holds|holding|held) (?:[^.;:?!]{1,60} )?against\b": "'compare with'",
    r"\bspeaks? only (?:when|if)\b": "'emits an event when'",
    r"\bleaves? open\b": "'95 % confidence interval'",
    r"\bwhat leaks\b|\b(?:grows|rises|falls) with what\b": "'is proportional to'",
    r"\bwants to know\b": "a statement of the need",
    r"\bthat which\b": "a noun",
    r"\b(?:whereof|whence|thence|hitherto|thrice|lest|wherein|whereupon|thereof|therein|ere)\b": "plain words",
}
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_DETAILS = re.compile(
    r"<details(?P<attributes>[^>]*)>\s*<summary>(?P<summary>.*?)</summary>(?P<body>.*?)</details>", re.DOTALL
)
_FENCE = re.compile(r"^```.*?^```[ \t]*$", re.DOTALL | re.MULTILINE)
_REVEAL = re.compile(r"fault|wrong|diagnos|cause|answer|reveal|mistake|happened|explanation", re.IGNORECASE)
_PARAMETER = re.compile(r"^[a-z_]+ = [^=#]+  # [^=]+$")
_PREDICTION = re.compile(r"^([a-z]\w*) = None  # \S.*$")
_COUNTED = r"(?:\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|twenty|fifty|(?:a )?hundred|(?:a )?thousand)"
_COMPARED = r"(?:as|too|more|less|fewer|faster|slower|better|worse|higher|lower|larger|smaller|longer|shorter|cheaper)"
_MEASURED = {
    "a percentage": r"\d[\d,.]*\s?(?:%|per cent\b|percent\b)(?! (?:of such )?\**(?:Wilson |confidence )?interval)",
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
    cell = settings_cell(notebook)
    text = cell.source if cell else ""
    checks = re.search(r"\.resolve\(\)|raise ValueError", text)
    return [] if checks else ["the cell after the parameters checks nothing"]


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


def size(notebook):
    """25 to 45 cells, and a figure among the first eight."""
    count = len(notebook.cells)
    faults = [] if MIN_CELLS <= count <= MAX_CELLS else [f"{count} cells; a notebook has {MIN_CELLS} to {MAX_CELLS}"]
    if not any(_has_image(cell) for cell in notebook.cells[:FIRST_FIGURE]):
        faults.append(f"no figure among the first {FIRST_FIGURE} cells")
    return faults


def _has_image(cell):
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def settings_cell(notebook):
    """Return the code cell after the parameters, which checks them."""
    after = [cell for cell in code_cells(notebook) if "parameters" not in cell.metadata.get("tags", [])]
    return after[0] if after else None


def collapsed(notebook):
    """The settings cell and the closing claims are collapsed, under a text that says what they hold."""
    faults = []
    for name, cell in (("settings", settings_cell(notebook)), ("closing claims", code_cells(notebook)[-1])):
        if not cell.metadata.get("jupyter", {}).get("source_hidden"):
            faults.append(f"the cell of the {name} is not collapsed: it needs jupyter.source_hidden")
    return faults


def readable_cells(notebook):
    """Code cells of 12 short lines (20 if tagged `lesson-code` or collapsed), each with at most 120 words before it."""
    faults = []
    long = [settings_cell(notebook), code_cells(notebook)[-1], *tagged(notebook, "lesson-code")]
    for before, cell in zip([None, *notebook.cells], notebook.cells):
        lines = cell.source.splitlines()
        start = lines[0] if lines else "(empty)"
        if cell.cell_type == "code":
            most = MAX_LESSON_LINES if any(cell is other for other in long) else MAX_LINES
            # A list of parameters is as long as there are parameters.
            if len(lines) > most and "parameters" not in cell.metadata.get("tags", []):
                faults.append(f"{len(lines)} lines in the cell that starts: {start}")
            if "parameters" not in cell.metadata.get("tags", []):
                faults += [f"{len(line)} characters in the line: {line}" for line in lines if len(line) > MAX_COLUMNS]
            if before is None or before.cell_type != "markdown":
                faults.append(f"no words before the cell that starts: {start}")
        else:
            # Neither the bars of a table nor code are words.
            words = [word for word in _FENCE.sub("", cell.source).split() if re.search(r"\w", word)]
            free = cell is notebook.cells[0] or start.startswith("## References")
            if len(words) > MAX_WORDS and not free:
                faults.append(f"{len(words)} words in the text that starts: {start}")
    return faults


_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def plain_code(notebook):
    """No private modules, no nested comprehensions, no functions that return lambdas, no long unpacking."""
    faults = []
    for cell in code_cells(notebook):
        if re.search(r"\bsnn_helpers(?:\.\w+)*\._|from snn_helpers\S* import (?:.*\W)?_", cell.source):
            faults.append(f"a private module in the cell that starts: {cell.source.splitlines()[0]}")
        for node in ast.walk(_tree(cell)):
            for fault in _faults_of_form(node):
                faults.append(f"{fault}: {ast.unparse(node)}")
    return faults


def _faults_of_form(node):
    inside = [part for part in ast.walk(node) if part is not node]
    if isinstance(node, _COMPREHENSIONS):
        if len(node.generators) > 1 or any(isinstance(part, _COMPREHENSIONS) for part in inside):
            yield "a nested comprehension"
        if any(isinstance(part, ast.Lambda) for part in inside):
            yield "a lambda in a comprehension"
    if isinstance(node, ast.Lambda) and any(isinstance(part, ast.Lambda) for part in inside):
        yield "a lambda that returns a lambda"
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Lambda):
        yield "a function that returns a lambda"
    if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store) and len(node.elts) > MAX_UNPACKED:
        yield f"{len(node.elts)} names unpacked at once"


def _tree(cell):
    """Return a code cell's syntax tree; lines of the shell or magics, which another rule refuses, are left out."""
    return ast.parse(re.sub(r"^\s*[!%].*$", "", cell.source, flags=re.MULTILINE))


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
    nodes = [node for node in ast.walk(_tree(cell)) if isinstance(node, ast.Call)]
    return [node for node in nodes if function in (getattr(node.func, "attr", None), getattr(node.func, "id", None))]


def exercise_name(cell):
    """Return the name of an exercise: a stub that does nothing yet, then `name = lessons.solved("name", name)`."""
    body = ast.parse(cell.source).body
    stub, last = body[0], body[-1]
    if len(body) != 2 or not isinstance(stub, ast.FunctionDef):
        return None
    work = [node for node in stub.body if not (isinstance(node, ast.Expr) and _is_text(node.value))]
    empty = len(work) == 1 and isinstance(work[0], ast.Expr) and getattr(work[0].value, "value", None) is ...
    name = stub.name
    return name if empty and ast.unparse(last) == f"{name} = lessons.solved('{name}', {name})" else None


def _is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def details(text):
    """Return the (summary, body) of each closed <details> of a text."""
    parts = [match for match in _DETAILS.finditer(text) if "open" not in match["attributes"]]
    return [(match["summary"].strip(), match["body"]) for match in parts]


def texts_after(notebook, place):
    """Return the text of the markdown cells that follow the cell at a place directly."""
    words = []
    for cell in notebook.cells[place + 1 :]:
        if cell.cell_type != "markdown":
            break
        words.append(cell.source)
    return "\n".join(words)


def solution_text(notebook, place):
    """Return the solution that stands in <details> below the exercise at a place, or None."""
    bodies = [body for summary, body in details(texts_after(notebook, place)) if summary == "Solution"]
    block = re.fullmatch(r"\s*\n\n```python\n(.*?)\n```\n\n\s*", bodies[0], flags=re.DOTALL) if bodies else None
    return block[1] if block else None


def places_of(notebook, tag):
    """Return the positions of the cells with a tag."""
    return [place for place, cell in enumerate(notebook.cells) if tag in cell.metadata.get("tags", [])]


def exercises(notebook):
    """At least three exercises; a checked one is a stub handed to `lessons.solved`, with hint and solution hidden."""
    places = places_of(notebook, "exercise")
    count = len(places) + len(tagged(notebook, "open-ended"))
    faults = [] if places and count >= 3 else [f"{count} exercises, {len(places)} of them checked"]
    if tagged(notebook, "solution"):
        faults.append("a cell is tagged solution: solutions are text in <details>")
    known = registered_exercises()
    for place in places:
        name = exercise_name(notebook.cells[place])
        if name not in known:
            start = notebook.cells[place].source.splitlines()[0]
            faults.append(f"no stub of a registered exercise with lessons.solved last: {start}")
            continue
        if not any(summary.startswith("Hint") for summary, _ in details(texts_after(notebook, place))):
            faults.append(f"`{name}` has no hint in <details>")
        if solution_text(notebook, place) != inspect.getsource(known[name][0]).strip("\n"):
            faults.append(f"`{name}` is not followed by the source of the package's solution, in <details>")
    return faults


def readers_code_runs(notebook):
    """What a reader wrote runs later: each exercise's function is used below it, and no `_solution` is."""
    faults = [
        f"a solution is called in the cell that starts: {cell.source.splitlines()[0]}"
        for cell in code_cells(notebook)
        if re.search(r"\w_solution\b", cell.source)
    ]
    for place in places_of(notebook, "exercise"):
        name = exercise_name(notebook.cells[place])
        later = [cell for cell in notebook.cells[place + 1 :] if cell.cell_type == "code"]
        if name and not any(_uses(cell, name) for cell in later):
            faults.append(f"`{name}` is not used below its exercise")
    return faults


def _uses(cell, name):
    """Tell whether a code cell reads a name that it has not just defined."""
    nodes = [node for node in ast.walk(_tree(cell)) if isinstance(node, ast.Name) and node.id == name]
    defined = any(isinstance(node, ast.FunctionDef) and node.name == name for node in ast.walk(_tree(cell)))
    return any(isinstance(node.ctx, ast.Load) for node in nodes) and not defined


def open_ended(notebook):
    """At least one experiment: a question above, a cell that runs and prints, and below what to look for, hidden."""
    places = places_of(notebook, "open-ended")
    faults = [] if places else ["no cell is tagged open-ended"]
    for place in places:
        cell, above = notebook.cells[place], notebook.cells[place - 1]
        start = cell.source.splitlines()[0]
        if cell.cell_type != "code" or not cell.outputs:
            faults.append(f"nothing is printed by the experiment that starts: {start}")
        if above.cell_type != "markdown" or "?" not in above.source:
            faults.append(f"no question above the experiment that starts: {start}")
        if not any(summary == "What to look for" for summary, _ in details(texts_after(notebook, place))):
            faults.append(f"no 'What to look for' in <details> below the experiment that starts: {start}")
    return faults


def planted_fault(notebook):
    """One fault to diagnose: it is explained in <details> (a summary such as 'What is wrong'), after a prediction."""
    reveals = [
        place
        for place, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown" and any(_REVEAL.search(summary) for summary, _ in details(cell.source))
    ]
    if not reveals:
        return ["no planted fault is explained in <details>, with a summary such as 'What is wrong'"]
    before = [place for place in places_of(notebook, "predict") if place < reveals[-1]]
    return [] if before else ["no prediction stands before the explanation of the planted fault"]


def hidden_text(notebook):
    """Every <details> is closed and complete, with blank lines inside so that code hosts render it."""
    faults = []
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        opened, ended = cell.source.count("<details"), cell.source.count("</details>")
        whole = details(cell.source)
        if opened != ended or len(whole) != opened:
            faults.append(f"a <details> that is open or incomplete in the text that starts: {cell.source[:40]!r}")
        faults += [f"no blank line below the summary: {summary}" for summary, body in whole if body[:2] != "\n\n"]
    return faults


def references(notebook):
    """`## References`, before the closing claims: three to five works with their year and a line on what each shows."""
    places = [
        place
        for place, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown" and re.search(r"^## References\s*$", cell.source, flags=re.MULTILINE)
    ]
    if len(places) != 1:
        return [f"{len(places)} texts are headed ## References"]
    faults = [] if places[0] < len(notebook.cells) - 1 else ["the references stand after the closing claims"]
    below = notebook.cells[places[0]].source.split("## References")[1].split("\n#")[0]
    items = re.split(r"^(?:[-*]|\d+\.) ", below, flags=re.MULTILINE)[1:]
    if not 3 <= len(items) <= 5:
        faults.append(f"{len(items)} references; there are three to five")
    for item in items:
        if not re.search(r"\b(?:1[89]|20)\d\d\b", item) or len(item.split()) < 12:
            faults.append(f"no year, or no line on what it shows: {' '.join(item.split())[:60]}")
    return faults


def _prose(text):
    """Return a text without what is no prose: code, formulas and the targets of links."""
    pattern = r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)"
    return " ".join(re.sub(pattern, " ", _FENCE.sub(" ", text), flags=re.DOTALL).split())


def _captions(notebook):
    """Return the captions and alt texts of figures, without what the run puts into them."""
    for cell in notebook.cells:
        for call in calls(cell, "show"):
            inside = {
                id(part) for node in ast.walk(call) if isinstance(node, ast.FormattedValue) for part in ast.walk(node)
            }
            for node in ast.walk(call):
                if _is_text(node) and id(node) not in inside:
                    yield " ".join(node.value.split())


def numbers_from_the_run(notebook):
    """No result is typed into the prose: percentages, factors, scores, rounded numbers and times come from the run."""
    texts = [
        (cell.source.splitlines()[0], _prose(cell.source))
        for cell in notebook.cells[1:]
        # What others have measured stands in the references.
        if cell.cell_type == "markdown" and not cell.source.startswith("## References")
    ]
    faults = []
    for where, text in [*texts, *(("a caption", caption) for caption in _captions(notebook))]:
        for kind, pattern in _MEASURED.items():
            faults += [f"{kind} in '{where}': {found[0]}" for found in re.finditer(pattern, text)]
    return faults


def plain_words(notebook):
    """The prose does without words and turns that a reader in a second language stumbles over."""
    texts = [_prose(cell.source) for cell in notebook.cells if cell.cell_type == "markdown"]
    faults = []
    for text in [*texts, *_captions(notebook)]:
        for pattern, better in UNUSED.items():
            faults += [f"'{found[0]}': write {better}" for found in re.finditer(pattern, text, flags=re.IGNORECASE)]
    return faults


def running_text(notebook):
    """Return the explaining prose in order: no card, headings, rows of tables, or references."""
    kept = []
    for cell in notebook.cells[1:]:
        if cell.cell_type == "markdown" and not cell.source.startswith("## References"):
            lines = _FENCE.sub("", cell.source).splitlines()
            kept.append(_prose("\n".join(line for line in lines if not re.match(r"\s*(?:#|\|)", line))))
    return "\n".join(kept)


def has_bold(text, pattern):
    """Tell whether a term stands in bold in a text."""
    return any(re.search(rf"\b(?:{pattern})(?!\w)", bold, flags=re.IGNORECASE) for bold in _BOLD.findall(text))


def is_explained(text, pattern):
    """Tell whether a term is in bold where a text uses it first; None if the text does without it."""
    first = re.search(rf"\b(?:{pattern})(?!\w)", text, flags=re.IGNORECASE)
    if first is None:
        return None
    return any(bold.start() < first.start() and first.end() <= bold.end() for bold in _BOLD.finditer(text))


def terms(notebook):
    """Words of the field are in bold, with their explanation, where the notebook uses them first."""
    text = running_text(notebook)
    faults = [] if len(set(_BOLD.findall(text)) - {"Predict.", "Diagnose."}) >= 3 else ["fewer than three bold terms"]
    return faults + [
        f"'{term}' is used before it stands in bold with its explanation"
        for term, pattern in MUST_EXPLAIN.items()
        if is_explained(text, pattern) is False
    ]


def widgets(notebook):
    """At least one widget: its state is a parameter, and a still figure of it is stored.

    A training monitor has nothing to choose: it draws a run, by `live` instead of `show`, as a table of runs may.
    """
    names = {alias for cell in code_cells(notebook) for alias in _imported_widgets(cell)}
    shown = [cell for cell in code_cells(notebook) if any(calls(cell, name) for name in names)]
    faults = [] if shown else ["no cell makes a widget"]
    known = {line.split(" = ")[0] for cell in tagged(notebook, "parameters") for line in cell.source.splitlines()}
    for cell in shown:
        start = cell.source.splitlines()[0]
        states = [ast.unparse(word.value) for name in names for call in calls(cell, name)
                  for word in call.keywords if word.arg == "state"]  # fmt: skip
        runs = bool(calls(cell, "TrainingMonitor"))
        if not runs and (not states or not set(states) <= known):
            faults.append(f"the state of the widget is no parameter in the cell that starts: {start}")
        live = calls(cell, "live") if runs or calls(cell, "SweepTable") else []
        if not (live or (not runs and calls(cell, "show"))) or not _has_image(cell):
            faults.append(f"no still figure is stored beside the widget in the cell that starts: {start}")
    return faults


def _imported_widgets(cell):
    nodes = [node for node in ast.walk(_tree(cell)) if isinstance(node, ast.ImportFrom)]
    return [
        alias.name for node in nodes if (node.module or "").startswith("snn_helpers.widgets") for alias in node.names
    ]


RULES = (
    card,
    parameters,
    refuses_early,
    stored_form,
    portable,
    size,
    collapsed,
    readable_cells,
    plain_code,
    figures,
    widgets,
    predictions,
    exercises,
    readers_code_runs,
    open_ended,
    planted_fault,
    hidden_text,
    references,
    numbers_from_the_run,
    plain_words,
    terms,
    checked_facts,
)
