"""The process in which one notebook runs: `python -m snn_helpers.batch.child job.json`.

It writes `outcome.json` beside the job. It ends itself, and the kernel with it, when its standard input closes: that
is how it learns that whoever started it was killed. On SIGTERM it saves what the notebook has printed so far, first.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

PRINT_LIMIT = 2_000_000
"""Characters of a notebook's printed text that are kept; a cell that prints for ever must not fill disk and memory."""


def main(path: str) -> int:
    """Run the job described in a file; return 0 if the notebook ran to its end."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    _end_with_parent()
    _limit_memory(job["memory_mb"])
    keeper = _Keeper()
    signal.signal(signal.SIGTERM, lambda *_: keeper.save_and_leave())
    outcome = _run(job, keeper)
    Path(path).with_name("outcome.json").write_text(json.dumps(outcome, allow_nan=False), encoding="utf-8")
    return int(outcome["status"] != "done")


class _Keeper:
    """Holds papermill's record of the notebook that runs, to save it when time is up."""

    manager: Any = None
    cell: tuple[int | None, str] = (None, "")  # index and source of the cell that was started last

    def save_and_leave(self) -> None:
        if self.manager is not None:
            with contextlib.suppress(OSError):
                self.manager.save()
        _kill_descendants()
        os._exit(143)


def _end_with_parent() -> None:
    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock a thread must not hold when Python ends
            pass
        _kill_descendants()
        os._exit(137)

    threading.Thread(target=wait, daemon=True).start()


def _kill_descendants() -> None:
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _limit_memory(megabytes: int | None) -> None:
    """Limit the address space of this process and of the kernel that it starts."""
    if megabytes is not None:
        import resource

        size = megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _run(job: dict[str, Any], keeper: _Keeper) -> dict[str, Any]:
    import papermill
    from nbclient.exceptions import DeadKernelError

    _register_engine(keeper)
    try:
        papermill.execute_notebook(
            job["notebook"], job["target"], job["parameters"], engine_name="snn_helpers", kernel_name="python3",
            progress_bar=False, autosave_cell_every=5,
        )  # fmt: skip
    except papermill.PapermillExecutionError as err:
        message = (err.evalue.strip().splitlines() or [""])[-1]
        return _outcome("failed", f"{err.ename}: {message}".rstrip(": "), err.cell_index, err.source)
    except DeadKernelError:
        return _outcome("killed", "the kernel died: it ended itself, or ran out of memory", *keeper.cell)
    except Exception as err:  # a job that cannot run is an outcome as well: the others go on
        return _outcome("failed", f"{type(err).__name__}: {err}".strip().splitlines()[0])
    return _outcome("done")


def _outcome(status: str, error: str | None = None, cell: int | None = None, source: str = "") -> dict[str, Any]:
    first = source.strip().splitlines()[0] if source.strip() else ""
    return {"status": status, "error": error, "cell": None if cell is None else f"{cell}: {first}"}


def _register_engine(keeper: _Keeper) -> None:
    """Give papermill an engine that keeps its manager, limits what is printed, and leaves the shell history alone."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine, papermill_engines

    class Client(PapermillNotebookClient):
        printed = 0

        def execute_cell(self, cell, cell_index, **options):
            keeper.cell = (cell_index, cell.source)
            return super().execute_cell(cell, cell_index, **options)

        def process_message(self, msg, cell, cell_index):
            if msg["msg_type"] == "stream":
                text, room = msg["content"]["text"], PRINT_LIMIT - self.printed
                self.printed += len(text)
                if room < 0:
                    return None
                if len(text) > room:
                    note = f"\n[{PRINT_LIMIT:,} characters were printed; no more are kept]\n"
                    msg["content"]["text"] = text[:room] + note
            return super().process_message(msg, cell, cell_index)

    class KeepingEngine(Engine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, start_timeout=60, **_):
            keeper.manager = nb_man
            # Kernels that start at the same time would lock each other out of IPython's history file.
            quiet = ["--HistoryManager.enabled=False"]
            Client(nb_man, timeout=None, startup_timeout=start_timeout, kernel_name=kernel_name,
                   extra_arguments=quiet).execute()  # fmt: skip

    papermill_engines.register("snn_helpers", KeepingEngine)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
