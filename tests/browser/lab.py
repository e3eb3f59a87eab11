"""JupyterLab in a real browser, for tests: start it, open a notebook made of cells, run it, count what it says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
# What JupyterLab itself says to the console without harm.
HARMLESS = re.compile(
    r"favicon|language pack|api/(me|contents|lsp|settings|workspaces)|ResizeObserver loop", re.IGNORECASE
)


class Lab:
    """A JupyterLab server over a folder of its own, whose kernels import this checkout."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder, self.token = folder, secrets.token_hex(16)
        settings = folder.parent / "settings"
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JUPYTER_CONFIG_DIR": str(settings / "config"),
            "JUPYTERLAB_SETTINGS_DIR": str(settings / "lab"),
            "JUPYTERLAB_WORKSPACES_DIR": str(settings / "workspaces"),
            **environment,
        }
        env.pop("SNN_WIDGETS", None)
        # No question about news over the page.
        notices = settings / "lab" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        notices.parent.mkdir(parents=True)
        notices.write_text('{"fetchNews": "false"}', encoding="utf-8")
        self.log = (folder.parent / "jupyterlab.log").open("w")
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
        command += [f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={folder}"]
        command += ["--KernelManager.shutdown_wait_time=0"]  # kernels have nothing to tidy up: they are killed
        command += [
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]
        self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=self.log, stderr=subprocess.STDOUT)
        self.address = self._wait(Path(self.log.name))

    def _wait(self, log: Path) -> str:
        while self.process.poll() is None:
            found = re.search(r"http://127\.0\.0\.1:\d+/", log.read_text(encoding="utf-8"))
            if found:
                try:
                    with urllib.request.urlopen(f"{found[0]}api/status?token={self.token}"):
                        return found[0]
                except (urllib.error.URLError, ConnectionError):
                    pass
            time.sleep(0.1)
        raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")

    def end_kernels(self) -> None:
        """End all sessions, so that a test's kernels do not slow the next."""
        with urllib.request.urlopen(f"{self.address}api/sessions?token={self.token}") as answer:
            sessions = json.load(answer)
        for session in sessions:
            address = f"{self.address}api/sessions/{session['id']}?token={self.token}"
            # A kernel that is just starting again cannot be ended; the server ends it with itself.
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(urllib.request.Request(address, method="DELETE")).close()

    def stop(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Notebook:
    """JupyterLab's page with one notebook: run it, find its widgets, count messages to the kernel, collect errors."""

    def __init__(self, page, lab: Lab, name: str):
        self.page, self.lab, self.name = page, lab, name
        self.errors, self.sent = [], []
        self._listeners = {
            "pageerror": lambda error: self.errors.append(str(error)),
            "console": self._console,
            "websocket": lambda socket: socket.on("framesent", lambda frame: self.sent.append(frame)),
        }
        for event, listener in self._listeners.items():
            page.on(event, listener)

    def _console(self, message) -> None:
        where = message.location.get("url", "")
        if message.type == "error" and not HARMLESS.search(message.text + where):
            self.errors.append(f"{message.text} ({where})")

    def open(self) -> Notebook:
        """Open the notebook and take the kernel that is offered."""
        if self.page.url == "about:blank":
            self.page.goto(f"{self.lab.address}lab/tree/{self.name}?token={self.lab.token}&reset")
        else:  # loading JupyterLab takes longer than most notebooks
            self.page.evaluate("path => { jupyterapp.commands.execute('docmanager:open', { path }) }", self.name)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        # A first visit asks for the kernel; afterwards it is taken without a question. Cells that are run before the
        # kernel rests may keep JupyterLab from asking it for its widgets until they have ended.
        while True:
            asked = self.page.wait_for_function(
                """() => document.querySelector('.jp-Dialog') ? 'dialog' : (
                     document.querySelector('.jp-Toolbar-kernelName')?.textContent.includes('Python 3')
                     && document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle')"""
            ).json_value()
            if asked != "dialog":
                return self
            self.page.click(".jp-Dialog button.jp-mod-accept")
            self.page.wait_for_selector(".jp-Dialog", state="detached")

    def close(self) -> None:
        """Close all that is open in the page, unsaved, and end the kernels; what a dialog covers is not used again."""
        for event, listener in self._listeners.items():  # a widget that has the focus finds no kernel to hand it to
            self.page.remove_listener(event, listener)
        if self.page.locator(".jp-Dialog").count():
            self.page.close()
        else:
            self.page.evaluate("() => [...jupyterapp.shell.widgets('main')].forEach(widget => widget.dispose())")
            self.page.evaluate("() => { document.body.dataset.jpThemeLight = 'true' }")
        self.lab.end_kernels()

    def menu(self, menu: str, item: str) -> None:
        """Choose an item of JupyterLab's main menu."""
        self.page.click(f".lm-MenuBar-itemLabel:text-is('{menu}')")
        self.page.click(f".lm-Menu-itemLabel:text-is('{item}')")

    def run_all(self) -> Notebook:
        """Run all cells and wait until the last has its number."""
        self.menu("Run", "Run All Cells")
        self.wait_done()
        return self

    def wait_done(self) -> None:
        """Wait until every code cell has a number and none is running; fail on a cell that raised."""
        while True:
            counts = self.cells()
            if any(cell["error"] for cell in counts):
                raise AssertionError([cell["error"] for cell in counts if cell["error"]])
            if counts and all(cell["count"] for cell in counts) and self.idle():
                return
            self.page.wait_for_timeout(100)

    def cells(self) -> list[dict]:
        """Return {count, error} of each code cell whose input is not folded away, from the page's own prompts."""
        return self.page.evaluate(
            """() => [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')]
                 .filter(cell => !cell.querySelector('.jp-Placeholder'))
                 .filter(cell => cell.querySelector('.jp-InputPrompt')?.offsetParent).map(cell => ({
                 count: Number((cell.querySelector('.jp-InputPrompt')?.textContent.match(/\\d+/) || [0])[0]),
                 error: [...cell.querySelectorAll('[data-mime-type="application/vnd.jupyter.error"]')]
                   .map(node => node.textContent).join('\\n')
               }))"""
        )

    def idle(self) -> bool:
        """Return whether the kernel rests, by the page's own prompts."""
        return not self.page.evaluate(
            "() => [...document.querySelectorAll('.jp-InputPrompt')].some(node => node.textContent.includes('*'))"
        )

    def widget(self, number: int = 0):
        """Return a locator of a widget, once it has drawn itself."""
        found = self.page.locator("section.snn").nth(number)
        found.wait_for(state="visible")
        return found

    def kernel_messages(self) -> int:
        """Return how many messages went to kernels so far."""
        kinds = (b"comm_msg", b"execute_request", b"comm_open")
        return sum(any(kind in _bytes(frame) for kind in kinds) for frame in self.sent)

    def output(self, cell: int) -> str:
        """Return the text that a code cell printed."""
        texts = self.page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".jp-OutputArea-output pre")
        return "\n".join(texts.all_text_contents())

    def run_cell(self, cell: int) -> str:
        """Run one code cell as a person would, and return what it printed."""
        before = self.start_cell(cell)
        self.page.wait_for_function(
            "([cell, before]) => { const node = document.querySelectorAll('.jp-Notebook .jp-CodeCell')[cell];"
            "const text = node.querySelector('.jp-InputPrompt').textContent;"
            "const output = node.querySelector('.jp-OutputArea-child:not([data-old])');"
            "return text !== before && /\\d/.test(text) && output }",
            arg=[cell, before],
        )
        return self.output(cell)

    def start_cell(self, cell: int) -> str:
        """Start one code cell as a person would, and return its prompt from before."""
        place = self.page.locator(".jp-Notebook .jp-CodeCell").nth(cell)
        before = place.locator(".jp-InputPrompt").text_content()
        # A slow page shows the new number beside what was printed before.
        place.locator(".jp-OutputArea-child").evaluate_all("all => all.forEach(node => { node.dataset.old = '' })")
        place.locator(".jp-InputArea-editor").click()
        # Leaving a widget sends its state, which another thread of the kernel may take in; people are slower.
        self.page.wait_for_timeout(200)
        self.page.keyboard.press("Control+Enter")
        return before


def _bytes(frame) -> bytes:
    payload = getattr(frame, "payload", frame)
    return payload.encode() if isinstance(payload, str) else bytes(payload)


def write_notebook(path: Path, cells: list[str]) -> None:
    """Write code cells as a notebook for the kernel python3."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(json.dumps(notebook), encoding="utf-8")
