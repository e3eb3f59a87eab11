"""The runs of a sweep as a table: filtered, sorted, opened, and live while the sweep runs."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir

from snn_helpers._paths import user_path
from snn_helpers.batch.ledger import LEDGER, LedgerError
from snn_helpers.batch.sweep import PLAN
from snn_helpers.widgets.base import Explorer, has_front_end, hear_while_busy
from snn_helpers.widgets.state import Choice, Field, Flag, Text
from snn_helpers.widgets.sweep_rows import PLACE, SHOWN_STATUSES, counts_line, draw_table, read_table, select

_POLL_S = 1.0
_PATIENCE_S = 30.0  # a search that proposes as it goes plans its next runs within that time
_RESTS = 5  # reading takes at most one part in so many of the time, however long the ledger
WAITING = "Waiting for the sweep to begin: its folder holds no plan yet."


class SweepTable(Explorer):
    """The runs of a sweep: filter them by words and status, sort them by any column, open one.

    Parameters
    ----------
    folder : path
        Of the sweep; it may not exist yet.
    state : dict or None
        What was chosen, as `.state` gives it: sort (a column's name), descending, filter (words that a run must have,
        such as "seed=1 cell"), status, selected (a run's id).

    Raises
    ------
    ValueError
        If the folder holds other files than those of a sweep.

    Notes
    -----
    Reads the folder's plan and ledger, as `snn-helpers report` does, and writes nothing. A run opens its executed
    notebook in JupyterLab where that lies below the server's root; elsewhere its path is shown.

    Examples
    --------
    Live while the sweep runs, in the same cell::

        with SweepTable("runs/mine").live("The sweep.", "A table of runs."):
            sweep("job.ipynb", {"beta": [0.8, 0.9], "seed": "0..4"}, "runs/mine")

    A sweep that was started elsewhere, for instance in a terminal::

        SweepTable("runs/mine").follow("The sweep.", "A table of runs.")
    """

    script = "sweep_table.js"

    def __init__(self, folder: str | os.PathLike, *, state: Mapping[str, Any] | None = None):
        self.folder = user_path(folder)
        fields: dict[str, Field] = {
            "sort": Text(PLACE),
            "descending": Flag(False),
            "filter": Text(""),
            "status": Choice("all", SHOWN_STATUSES),
            "selected": Text(""),
        }
        super().__init__(fields, {}, {}, state)
        self._seen: Any = None
        self._rows: list[dict[str, Any]] = []
        self._status: dict[str, Any] = {}
        self._reading, self._ending = threading.Lock(), threading.Event()
        self._follower: threading.Thread | None = None
        self._read()

    def _extra_traits(self) -> dict[str, Any]:
        self._status = {**self._status, "base": path_in_server(self.folder)}
        return {"rows": self._rows, "status": self._status}

    def _connect(self, front) -> None:
        hear_while_busy(front)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows that are handed to the browser, in the plan's order."""
        return self._rows

    @property
    def ended(self) -> bool:
        """Whether there is a plan, and all of its runs have ended."""
        return bool(self._status["total"]) and not self._status["counts"].get("missing")

    def refresh(self) -> bool:
        """Read the folder again if its files have changed; return whether they had.

        What cannot be read is said in the table, since a sweep's files may be touched by others while it is watched.
        """
        if _stamp(self.folder) == self._seen:
            return False
        with self._reading:
            try:
                self._read()
            except (OSError, ValueError, LedgerError) as err:
                self._tell(problem=f"The table cannot be read: {err}")
        return True

    def _read(self) -> None:
        self._seen = _stamp(self.folder)
        if not (self.folder / PLAN).is_file():
            _refuse_foreign(self.folder)
            told = {"columns": [], "results": [], "counts": {}, "total": 0, "note": "", "sentence": WAITING}
            told["grows"] = False
            self._rows = []
        else:
            self._rows, told = read_table(self.folder)
            told["sentence"] = ""
        self._tell(**told, problem="", folder=str(self.folder))

    def _tell(self, **status) -> None:
        self._status = {**self._status, **status}
        if self._front is not None:
            with self._front.hold_sync():  # one message: columns and cells belong together
                self._front.rows = self._rows
                self._front.status = self._status

    @contextlib.contextmanager
    def live(self, caption: str, alt: str, provenance: str = "") -> Iterator[SweepTable]:
        """Show the table and keep it up to date while the block runs; without a front end, its figure afterwards.

        Parameters
        ----------
        caption, alt, provenance : str
            As for `show`.
        """
        with self._shown(caption, alt, provenance):
            self._start(until_ended=False)
            try:
                yield self
            finally:
                self.stop()

    def follow(self, caption: str, alt: str, provenance: str = "") -> None:
        """Show the table of a sweep that runs elsewhere, and keep it up to date until all of its runs have ended.

        Returns at once. `stop()` ends it earlier; without a front end there is nobody to keep it up to date for.
        """
        self.refresh()
        self.show(caption, alt, provenance)
        if has_front_end() and not self.ended:
            self._start(until_ended=True)

    def stop(self) -> None:
        """Read the folder once more, and no more after that."""
        self._ending.set()
        if self._follower is not None:
            self._follower.join(30)
        self._follower = None
        self.refresh()
        self._tell(live=False)

    def _start(self, until_ended: bool) -> None:
        self.stop()
        self._ending = threading.Event()
        self._tell(live=True)
        arguments = (self._ending, until_ended)
        self._follower = threading.Thread(target=self._watch, args=arguments, name="sweep table", daemon=True)
        self._follower.start()

    def _watch(self, ending: threading.Event, until_ended: bool) -> None:
        rest, changed = 0.0, time.monotonic()
        while not ending.wait(max(_POLL_S, rest)):
            started = time.monotonic()
            changed = started if self.refresh() else changed
            rest = _RESTS * (time.monotonic() - started)
            patience = _PATIENCE_S if self._status["grows"] else 0
            if until_ended and self.ended and time.monotonic() - changed >= patience:
                self._tell(live=False)
                return

    def draw(self):
        """Return the figure of the table under the present filter and order; of many runs, the first."""
        state, status = self.state, self._status
        if not status["columns"]:
            return draw_table([], status, status["problem"] or status["sentence"], state)
        return draw_table(select(self._rows, status["columns"], state), status, counts_line(status), state)


def _stamp(folder: Path) -> list:
    """Return what changes when a sweep's files do."""
    found: list[tuple[int, int, int] | None] = []
    for name in (PLAN, LEDGER):
        try:
            told = (folder / name).stat()
            found.append((told.st_mtime_ns, told.st_size, told.st_ino))
        except OSError:
            found.append(None)
    return found


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder without a plan that holds something else: there will be no sweep in it."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: this is a file. A sweep is a folder with {PLAN} and {LEDGER}; name that.")
    others = sorted(path.name for path in folder.glob("*") if not path.name.startswith(".")) if folder.is_dir() else []
    if others and LEDGER not in others:
        raise ValueError(
            f"{folder}: there is no sweep here (no {PLAN}, but {others[0]}). Name the folder that `sweep` was given as"
            f" `out`, or one that does not exist yet to wait for it."
        )


def path_in_server(folder: Path) -> str | None:
    """Return a folder's path as JupyterLab names it, relative to the root of the server that started this kernel.

    None where there is no such server, or the folder is not below its root.
    """
    # The file in which a server describes itself: `list_running_servers` reads it, too, and takes seconds to import.
    described = Path(jupyter_runtime_dir()) / f"jpserver-{os.environ.get('JPY_PARENT_PID', '')}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        root = Path(json.loads(described.read_text(encoding="utf-8"))["root_dir"])
        return folder.resolve().relative_to(root.resolve()).as_posix()
    return None
