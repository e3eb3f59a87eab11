"""The book: notebooks become pages that need nothing but a browser; built by Sphinx where the extra is installed."""

import base64
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from snn_helpers import read_events
from snn_helpers.widgets import EventPlayer, NeuronLab

ROOT = Path(__file__).resolve().parents[2]
WIDGET = '<div data-snn-widget="a.js"></div>\n<script type="module" data-snn-module="a.js">\nself.ran = 1;\n</script>'


@pytest.fixture(scope="module")
def book():
    """Return `.ci/book.py` as a module."""
    spec = importlib.util.spec_from_file_location("book_script", ROOT / ".ci" / "book.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chapter():
    """Return an executed notebook with a formula, a solution, a widget shown twice, hidden code and links."""
    text = (
        "# 00 · One\n\n**Question** Is $\\beta = e^{-\\Delta t/\\tau}$? `01_two` answers, "
        "[here](01_two.ipynb); `00_one` asks.\n\n$$\na = b\\\\\nc = d\n$$\n\n"
        "<details>\n<summary>Solution</summary>\n\n```python\nhidden_word = '</script>'\n```\n\n</details>"
    )
    shown = [nbformat.v4.new_output("display_data", {"text/html": WIDGET, "text/plain": "A"}) for _ in range(2)]
    code = nbformat.v4.new_code_cell("print(1)", outputs=shown, execution_count=1)
    folded = nbformat.v4.new_code_cell("import numpy", metadata={"jupyter": {"source_hidden": True}})
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(metadata=metadata, cells=[nbformat.v4.new_markdown_cell(text), folded, code])


@pytest.fixture(scope="module")
def events(make_recording):
    """Return a recording of 400 events."""
    return make_recording(np.random.default_rng(0), label=4, count=400)


@pytest.fixture(scope="module")
def played(events):
    """Return a cell with what a page shows of a player, of one without events, and of a neuron lab."""
    widgets = [EventPlayer(events), EventPlayer(None), NeuronLab()]
    texts = [widget._page(b"png", "A picture.") for widget in widgets]
    outputs = [nbformat.v4.new_output("display_data", {"text/html": text}) for text in texts]
    return nbformat.v4.new_code_cell("play()", outputs=outputs, execution_count=2)


@pytest.fixture(scope="module")
def executed(played, tmp_path_factory):
    """Return a folder with that notebook, the widgets at its end."""
    folder = tmp_path_factory.mktemp("executed")
    notebook = chapter()
    notebook.cells.append(played)
    nbformat.write(notebook, folder / "00_one.ipynb")
    return folder


def test_page_has_each_module_once_and_keeps_hidden_code_hidden(book):
    page = book.as_page(chapter(), "", ["00_one"])
    htmls = [output["data"]["text/html"] for output in page["cells"][2]["outputs"]]
    assert [text.count("ran = 1") for text in htmls] == [1, 0]
    assert [text.count("data-snn-widget") for text in htmls] == [1, 1]
    assert page["cells"][1]["metadata"]["tags"] == ["hide-input"]


def test_figure_keeps_its_words(book, tmp_path):
    page = chapter()
    bundle = {"image/png": base64.b64encode(b"png").decode(), "text/plain": "figure"}
    page.cells[2].outputs = [
        nbformat.v4.new_output("display_data", dict(bundle), metadata={"image/png": {"alt": 'A "curve".'}}),
        nbformat.v4.new_output("display_data", dict(bundle)),
    ]
    book.figures_with_words(page, tmp_path)
    named, other = (output["data"] for output in page.cells[2].outputs)
    place, words = re.search(r'<img src="../figures/(\w+\.png)" alt="(.*)">', named["text/html"]).groups()
    assert (tmp_path / place).read_bytes() == b"png"
    assert words == "A &quot;curve&quot;."
    assert other == bundle


def test_page_links_notebooks_that_are_there_and_no_others(book):
    text = book.as_page(chapter(), "<p>Download</p>", ["00_one"])["cells"][0]["source"]
    assert text.startswith("# 00 · One\n\n<p>Download</p>\n\n")
    assert "`01_two` answers, here; [`00_one`](00_one.ipynb) asks." in text
    both = book.as_page(chapter(), "", ["00_one", "01_two"])["cells"][0]["source"]
    assert "[`01_two`](01_two.ipynb) answers, [here](01_two.ipynb)" in both


def test_recording_of_a_player_is_a_file_that_the_package_reads(book, events, played, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.from_dict(played)])
    book.recordings(notebook, "00_one", tmp_path)
    texts = [output.data["text/html"] for output in notebook.cells[0].outputs]
    assert [re.findall(r"recordings/(\S+)\" download>.*: (\d+) events", text) for text in texts] == [
        [("00_one_1.csv", "400")], [], []
    ]  # fmt: skip
    assert np.array_equal(read_events(tmp_path / "00_one_1.csv"), events)


def test_dead_links_and_what_is_loaded_from_elsewhere_are_named(book, tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    (tmp_path / "b.html").write_text('<p id="part %">', encoding="utf-8")
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here"></a><a href="b.html#part%20%25"></a><a href="https://x.org/#y"></a>'
        '<img src="a.png"><img src="data:,"><a href="c.html"></a><a href="b.html#no"></a><script src="//x.org/a.js">'
        '</script><link rel="stylesheet" href="a.css">',
        encoding="utf-8",
    )
    pages = [book.Page(path) for path in sorted(tmp_path.glob("*.html"))]
    place = tmp_path / "a.html"
    assert sorted(book.dead_links(pages)) == [
        f"{place}: //x.org/a.js is loaded from elsewhere",
        f"{place}: a.css is not there",
        f"{place}: b.html#no names no part of b.html",
        f"{place}: c.html is not there",
    ]
    assert pages[0].size() == place.stat().st_size + 3


def test_glossary_becomes_entries_with_links(book):
    table = (
        "# Glossary\n\n| word | symbol | unit | meaning | notebook |\n|---|---|---|---|---|\n"
        "| event | (x, y) | µs | A message. | 00_one |\n| spike | - | - | An answer. | 01_two |\n"
    )
    assert book.as_glossary(table, ["00_one"]) == (
        "# Glossary\n\n```{glossary}\nevent\n  A message.\n  Symbol: (x, y).\n  Unit: µs.\n"
        "  Notebook [00_one](../notebooks/00_one.ipynb).\n\nspike\n  An answer.\n  Notebook 01_two.\n```\n"
    )


def test_pages_lie_where_their_links_expect_them(book, executed, tmp_path):
    source = book.lay_out(executed, tmp_path / "source")
    index = (source / "index.md").read_text(encoding="utf-8")
    assert "notebooks/00_one\n" in index
    assert "05_training_from_scratch.ipynb" not in index
    for place in re.findall(r"\]\((?!http)([\w/.]+)\)", index):
        assert (source / place).exists(), place
    assert json.loads((source / "notebooks" / "00_one.ipynb").read_text(encoding="utf-8"))
    assert (source / "CONTRIBUTING.md").read_text(encoding="utf-8").count("\n# ") == 0


def test_folder_without_notebooks_or_with_other_files_is_refused(book, executed, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match=r"no notebook in .*empty\. Run `make book` without BOOK_NOTEBOOKS"):
        book.lay_out(tmp_path / "empty", tmp_path / "source")
    with pytest.raises(SystemExit, match="executed0 holds something else than a book"):
        book.build(tmp_path, executed)
    assert (executed / "00_one.ipynb").is_file()


def test_missing_extra_is_installed_with_its_size_said(book, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(book.importlib.util, "find_spec", lambda name: None if name == "furo" else name)
    monkeypatch.setattr(
        book.subprocess, "run", lambda command: asked.append(command) or subprocess.CompletedProcess(command, 1)
    )
    with pytest.raises(SystemExit, match="could not be installed"):
        book.install_missing()
    assert "MB to download); missing here: furo" in capsys.readouterr().out
    assert asked[0][2:] == [Path(sys.executable).parent.parent, "lab,test,book"]


@pytest.fixture(scope="module")
def site(book, executed, tmp_path_factory):
    """Return the folder of a book of one notebook, built without a warning."""
    missing = [name for name in book.NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the extra `book` is not installed here ({', '.join(missing)}): make book installs it")
    out = tmp_path_factory.mktemp("book") / "site"
    command = [sys.executable, ROOT / ".ci" / "book.py", "--notebooks", executed, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "notebooks/00_one.html: 0." in done.stdout
    return out


def test_book_of_one_notebook_is_complete_and_local(site):
    page = (site / "notebooks" / "00_one.html").read_text(encoding="utf-8")
    assert "<title>00 · One" in page
    assert page.count("<math") == 2
    assert "<mtable" in page
    assert re.search(r"<details>\s*<summary>Solution</summary>.*hidden_word.*</details>", page, re.DOTALL)
    assert page.count("ran = 1") == 1
    assert "</math>\u2060?" in page
    for name in ("index.html", "search.html", "searchindex.js", "docs/glossary.html", "recordings/00_one_1.csv"):
        assert (site / name).is_file()


def test_book_opens_from_disk_and_is_searched(site, offline_page):
    page = offline_page(site / "index.html")
    page.fill("input[name=q]", "surrogate")
    page.press("input[name=q]", "Enter")
    page.click("#search-results li:has-text('Glossary (surrogate gradient)') a")
    assert page.title().startswith("Glossary")


def test_notebook_lives_on_a_dark_telephone_without_a_kernel(site, executed, events, offline_page):
    page = offline_page(
        site / "notebooks" / "00_one.html", viewport={"width": 390, "height": 800}, color_scheme="dark"
    )  # fmt: skip
    assert page.locator("details[open]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    grounds = [page.locator(one).evaluate("node => getComputedStyle(node).backgroundColor")
               for one in ("body", "section.snn >> nth=0")]  # fmt: skip
    assert all(max(map(int, re.findall(r"\d+", ground)[:3])) < 64 for ground in grounds), grounds
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('section.snn').snn.draws > 10")
    lab = page.locator("section.snn[aria-label='Neuron lab']")
    curve = "root => [...root.snn.record.mem]"
    before = lab.evaluate(curve)
    lab.get_by_label("weight of an input").fill("0.3")
    assert lab.evaluate(curve) != before
    saved = {}
    for link in page.locator("p.download a").all():
        with page.expect_download() as download:
            link.click()
        saved[download.value.suggested_filename] = Path(download.value.path()).read_bytes()
    assert len(saved["00_one_1.csv"].splitlines()) == 1 + len(events)
    notebook = nbformat.reads(saved["00_one.ipynb"].decode(), 4)
    cells = nbformat.read(executed / "00_one.ipynb", 4).cells
    assert [(cell.source, cell.get("outputs", [])) for cell in notebook.cells] == [(cell.source, []) for cell in cells]
