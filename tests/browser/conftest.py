"""One JupyterLab and one Chromium for all browser tests; skipped, with the reason, where Chromium is missing."""

import os
from pathlib import Path

import pytest
from lab import CHROMIUM, FLAGS, ROOT, Lab, Notebook, write_notebook


@pytest.fixture(scope="session")
def chromium():
    """Return a context of a running Chromium, or skip."""
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine: apt-get install chromium, or any of chromium-browser, google-chrome")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        context = browser.new_context()  # one for all tests, so that JupyterLab's own files are fetched once
        context.set_default_timeout(600_000)  # for what never happens; a busy machine may take its time
        yield context
        browser.close()


@pytest.fixture
def offline_page(chromium):
    """Return open(path, **options): a file's page without network; it must say nothing, and ask for files alone."""
    contexts, said, asked = [], [], []

    def open_one(path, **options):
        contexts.append(chromium.browser.new_context(offline=True, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert said == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    """Return a running JupyterLab over an empty folder, its kernels in the smoke profile."""
    folder = tmp_path_factory.mktemp("lab") / "root"
    folder.mkdir()
    kept = {name: str(folder.parent / name.lower()) for name in ("SNN_RESULTS_DIR", "SNN_RUNS_DIR")}
    server = Lab(folder, {"SNN_PROFILE": "smoke", **kept})
    yield server
    server.stop()


@pytest.fixture(scope="session")
def lab_page(chromium):
    """Return get(): the page in which JupyterLab is open, a new one where a test has left it unusable."""
    pages = []

    def get():
        if not pages or pages[-1].is_closed():
            pages.append(chromium.new_page())
        return pages[-1]

    return get


@pytest.fixture
def open_notebook(lab, lab_page):
    """Return open(name, cells, width=, height=): a page with a notebook; its console must stay without errors."""
    opened = []

    def open_one(name, cells=None, console=True, width=1280, height=1600):
        if cells is not None:
            write_notebook(lab.folder / name, cells)
        page = lab_page()
        page.set_viewport_size({"width": width, "height": height})
        opened.append((Notebook(page, lab, name), console))
        return opened[-1][0].open()

    yield open_one
    for notebook, _ in opened:
        notebook.close()
    assert [error for notebook, console in opened if console for error in notebook.errors] == []


@pytest.fixture(scope="session")
def pictures():
    """Return the folder where screenshots are kept, to be looked at."""
    folder = Path(os.environ.get("SNN_SCREENSHOTS") or ROOT / "runs" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
