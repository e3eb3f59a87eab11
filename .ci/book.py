"""Build the series as a static site: `python .ci/book.py`, called by `make book`.

The notebooks run headlessly with widgets that need no kernel (SNN_WIDGETS=page), are laid out beside the README and the
glossary as they lie in the repository, and Sphinx makes pages of them that need nothing but a browser.
"""

import argparse
import base64
import gzip
import hashlib
import html
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
EXECUTED = ROOT / "runs" / "book"
NEEDED = ("sphinx", "myst_nb", "furo", "math_core")
EXTRA_SIZE = "about 35 MB (10 MB to download)"
LARGE_MB = 3

_PLAYER = re.compile(r'data-snn-widget="event_player\.js"><script type="application/json">(.*?)</script>', re.DOTALL)
_DATA = re.compile(r'(data-snn-widget="[\w.]+"><script type="application/json")>(.*?)</script>', re.DOTALL)
_MODULE = re.compile(r'<script type="module" data-snn-module="([\w.]+)">.*?</script>', re.DOTALL)


def main(arguments: list[str] | None = None) -> None:
    """Install what is missing, run the notebooks, lay out, build and check the pages, and say how large they are."""
    parser = argparse.ArgumentParser(prog="book", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--notebooks", type=Path, help="a folder of executed notebooks; default: run the series now")
    parser.add_argument("--profile", default="teach", help="profile of the run: smoke, teach or full (default teach)")
    parser.add_argument("--out", type=Path, default=ROOT / "book", help="folder of the site (default book)")
    options = parser.parse_args(arguments)
    install_missing()
    executed = options.notebooks or run_series(options.profile)
    with tempfile.TemporaryDirectory(prefix="book-") as folder:
        source = lay_out(executed, Path(folder) / "source")
        build(source, options.out)
    report(options.out)


def install_missing() -> None:
    """Install the extra `book` into this environment, if it is not there."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        return
    print(f"book: installing Sphinx and its theme, {EXTRA_SIZE}; missing here: {', '.join(missing)}", flush=True)
    # Not resolved: the folder's `python` is a link out of the environment.
    folder = Path(sys.executable).parent.parent
    if subprocess.run([sys.executable, ROOT / ".ci" / "setup.py", folder, "lab,test,book"]).returncode:
        sys.exit("book: the extra `book` could not be installed; the message is above.")


def run_series(profile: str) -> Path:
    """Run all notebooks in order, and return the folder of the executed ones."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in EXECUTED.glob("*.ipynb"):  # of an earlier run, perhaps under another name
        path.unlink()
    print(f"book: running {len(notebooks)} notebooks in the profile {profile}", flush=True)
    command = [sys.executable, "-m", "snn_helpers", "run", *notebooks, "--out", EXECUTED, "--profile", profile]
    if subprocess.run(command, cwd=ROOT, env=os.environ | {"SNN_WIDGETS": "page"}).returncode:
        sys.exit(f"book: a notebook failed, see above. Those that ran are in {EXECUTED}.")
    return EXECUTED


def lay_out(executed: Path, source: Path) -> Path:
    """Write the pages' sources, in the places that they have in the repository, so that their links hold."""
    notebooks = sorted(executed.glob("*.ipynb"))
    if not notebooks:
        sys.exit(f"book: there is no notebook in {executed}. Run `make book` without BOOK_NOTEBOOKS to make them.")
    for folder in ("notebooks", "docs", "downloads/figures", "downloads/recordings"):
        (source / folder).mkdir(parents=True)
    names = [path.stem for path in notebooks]
    for path in notebooks:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        stored = ROOT / "notebooks" / path.name
        link = download_link(stored if stored.is_file() else path)
        figures_with_words(notebook, source / "downloads" / "figures")
        recordings(notebook, path.stem, source / "downloads" / "recordings")
        (source / "notebooks" / path.name).write_text(json.dumps(as_page(notebook, link, names)), encoding="utf-8")
    for path in [*(ROOT / "docs").glob("*.webp"), *(ROOT / "docs").glob("*.md")]:
        shutil.copy(path, source / "docs")
    for name in ("LICENSE", "CITATION.cff", "CHANGELOG.md"):
        shutil.copy(ROOT / name, source)
    rules = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rules = "# Contributing\n\n" + re.sub("^#", "##", rules, flags=re.MULTILINE)  # one page, one title
    (source / "CONTRIBUTING.md").write_text(rules, encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (source / "index.md").write_text(only_present(readme, names) + contents(names), encoding="utf-8")
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    (source / "docs" / "glossary.md").write_text(as_glossary(glossary, names), encoding="utf-8")
    return source


def download_link(path: Path) -> str:
    """Return a link that saves a notebook, without its outputs.

    The notebook is in the link: browsers would show a notebook's file on a disk, whatever the link says.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    data = base64.b64encode(json.dumps(notebook, indent=1, ensure_ascii=False).encode()).decode("ascii")
    place = f"data:application/x-ipynb+json;base64,{data}"
    return f'<p class="download"><a href="{place}" download="{path.name}">Download this notebook</a></p>'


def as_page(notebook: dict, link: str, names: list[str]) -> dict:
    """Return an executed notebook as a page.

    Each widget's module stands there once, its data are packed, hidden code stays hidden, names of notebooks are links,
    and the link that downloads the notebook stands below the title.
    """
    seen = set()

    def once(match: re.Match) -> str:
        new = match[1] not in seen
        seen.add(match[1])
        return match[0] if new else ""

    def packed(match: re.Match) -> str:
        data = base64.b64encode(gzip.compress(match[2].encode(), mtime=0)).decode("ascii")
        return f"{match[1]} data-packed>{data}</script>"

    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                text = _MODULE.sub(once, "".join(output["data"]["text/html"]))
                output["data"]["text/html"] = _DATA.sub(packed, text)
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(
                r"(?<![`\[])`(\w+)`(?![`\]])",
                lambda match: f"[`{match[1]}`]({match[1]}.ipynb)" if match[1] in names else match[0],
                only_present("".join(cell["source"]), names),
            )
        elif cell["metadata"].get("jupyter", {}).get("source_hidden"):
            cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), "hide-input"]
    # Beside the title, or Sphinx would take the link's cell for the beginning of a page without one.
    title, *rest = "".join(notebook["cells"][0]["source"]).split("\n", 1)
    notebook["cells"][0]["source"] = "\n\n".join([title, link, *rest])
    return notebook


def figures_with_words(notebook: dict, folder: Path) -> None:
    """Turn figures with a text for those who cannot see them into HTML that has it; MyST-NB would drop it."""
    for output in (output for cell in notebook["cells"] for output in cell.get("outputs", [])):
        words = output.get("metadata", {}).get("image/png", {}).get("alt")
        if words and "text/html" not in output["data"]:
            image = base64.b64decode("".join(output["data"].pop("image/png")))
            name = f"{hashlib.sha256(image).hexdigest()[:16]}.png"
            (folder / name).write_bytes(image)
            picture = f'<img src="../figures/{name}" alt="{html.escape(words)}">'
            output["data"]["text/html"] = f'<a href="../figures/{name}">{picture}</a>'  # to enlarge it on a telephone


def recordings(notebook: dict, name: str, folder: Path) -> None:
    """Write the recording that each event player of a page holds as a CSV file, with a link below the player."""
    kinds = {"x": "<u2", "y": "<u2", "t": "<u4", "p": "u1"}
    for output in (output for cell in notebook["cells"] for output in cell.get("outputs", [])):
        text = "".join(output.get("data", {}).get("text/html", ""))
        player = _PLAYER.search(text)
        traits = json.loads(player[1])["traits"] if player else {}
        # No events, or too many for a page, which then holds every k-th only.
        if traits.get("facts", {}).get("stride") != 1:
            continue
        columns = [np.frombuffer(base64.b64decode(traits["buffers"][key]["base64"]), kinds[key]) for key in kinds]
        place = folder / f"{name}_{len(list(folder.glob(f'{name}_*'))) + 1}.csv"
        np.savetxt(place, np.stack(columns, axis=1), fmt="%d", delimiter=",", header="x,y,t_us,p", comments="")
        words = f"Download this recording: {len(columns[0]):,} events as CSV, for <code>read_events</code>"
        link = f'<p class="download"><a href="../recordings/{place.name}" download>{words}</a></p>'
        output["data"]["text/html"] = text + link


def only_present(text: str, names: list[str]) -> str:
    """Leave the words alone of each link to a notebook that is not in the book."""
    return re.sub(
        r"\[([^]\n]+)\]\((?:notebooks/)?(\w+)\.ipynb\)", lambda match: match[0] if match[2] in names else match[1], text
    )


def contents(names: list[str]) -> str:
    """Return the tables of contents, for the margin of each page."""
    series = "\n".join(f"notebooks/{name}" for name in names)
    package = "docs/commands\ndocs/python\ndocs/speed"
    parts = {"The series": series, "The package": package, "Look up": "docs/glossary\nCONTRIBUTING\nCHANGELOG"}
    return "".join(
        f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n" for caption, pages in parts.items()
    )


def as_glossary(table: str, names: list[str]) -> str:
    """Return the glossary's table as entries, which can be linked to and are readable on a narrow screen."""
    words, *rows = re.findall(r"^\|(.+)\|$", table, re.MULTILINE)
    entries = []
    for row in rows[1:]:  # after the rule below the column names
        word, symbol, unit, meaning, notebook = (cell.strip() for cell in row.split("|"))
        place = f"[{notebook}](../notebooks/{notebook}.ipynb)" if notebook in names else notebook
        facts = [f"{label} {cell}" for label, cell in (("Symbol:", symbol), ("Unit:", unit)) if cell != "-"]
        entries.append("\n  ".join([word, meaning, *(f"{fact}." for fact in facts), f"Notebook {place}."]))
    before = table[: table.index(f"|{words}|")]
    return before + "```{glossary}\n" + "\n\n".join(entries) + "\n```\n"


def build(source: Path, out: Path) -> None:
    """Have Sphinx make the pages; its warnings are printed."""
    if out.exists() and not (out / "objects.inv").is_file() and any(out.iterdir()):
        sys.exit(f"book: {out} holds something else than a book; name another folder: make book BOOK=...")
    began = time.monotonic()
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--jobs", "auto", "--quiet", "--fresh-env"]
    command += ["--conf-dir", ROOT / "docs" / "book", "--doctree-dir", source.parent / "doctrees"]
    command += ["--define", f"html_extra_path={source / 'downloads'}", source, out]
    shutil.rmtree(out, ignore_errors=True)
    if subprocess.run(command).returncode:
        sys.exit("book: Sphinx ended with an error, see above.")
    print(f"book: built in {time.monotonic() - began:.0f} s", flush=True)


class Page(HTMLParser):
    """What a page says of itself: the names that links may end on, where it leads, and what it loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.names, self.links, self.loads = path, {"", "top"}, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element's name and where it points."""
        places = dict(attrs)
        self.names |= {places.get("id")}
        if tag == "a" and places.get("href"):
            self.links.append(places["href"])
        if tag in ("script", "img", "iframe") and places.get("src"):
            self.loads.append(places["src"])
        if tag == "link" and places.get("href"):  # the others name pages: the next one, the search
            loaded = places.get("rel") in ("stylesheet", "icon")
            (self.loads if loaded else self.links).append(places["href"])

    def file(self, place: str) -> Path:
        """Return the file that a place stands for, seen from this page."""
        return (
            Path(os.path.normpath(self.path.parent / unquote(urlsplit(place).path))) if place[:1] != "#" else self.path
        )

    def size(self) -> int:
        """Return the bytes of the page and of all that it loads."""
        files = {self.path, *(self.file(place) for place in self.loads if not urlsplit(place).scheme)}
        return sum(path.stat().st_size for path in files if path.is_file())


def dead_links(pages: list[Page]) -> list[str]:
    """Return a line for each link or file of the pages that leads nowhere within the site, or loads from elsewhere."""
    names = {page.path: page.names for page in pages}
    dead = []
    for page in pages:
        dead += [f"{page.path}: {place} is loaded from elsewhere" for place in page.loads if _is_far(place)]
        for place in [*page.links, *page.loads]:
            if urlsplit(place).scheme or _is_far(place):
                continue
            file, part = page.file(place), unquote(urlsplit(place).fragment)
            if not file.exists():
                dead.append(f"{page.path}: {place} is not there")
            elif part not in names.get(file, {part}):
                dead.append(f"{page.path}: {place} names no part of {file.name}")
    return dead


def _is_far(place: str) -> bool:
    return place.startswith("//") or urlsplit(place).scheme in ("http", "https")


def report(out: Path) -> None:
    """Print the size of each notebook's page with all it loads, and where to begin; end where a link is dead."""
    pages = [Page(path) for path in sorted(out.rglob("*.html"))]
    for page in pages:
        size = page.size() / 1e6
        if page.path.parent.name == "notebooks":
            print(f"book: {page.path.relative_to(out)}: {size:.1f} MB{', a large page' if size > LARGE_MB else ''}")
    dead = dead_links(pages)
    if dead:
        sys.exit("book: dead links:\n" + "\n".join(dead))
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    print(f"book: {len(pages)} pages, {total:.0f} MB in all; open {out / 'index.html'}")


if __name__ == "__main__":
    main()
