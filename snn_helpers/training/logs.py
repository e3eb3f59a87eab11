"""What a run tells while it goes: lines, a table, and TensorBoard."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from snn_helpers._files import write_whole

HISTORY_COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "output_spikes")
HISTORY_COLUMNS += ("hidden_spike_fraction",)


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write one row an epoch, the columns of `HISTORY_COLUMNS`, as CSV."""
    import io

    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, HISTORY_COLUMNS)
    writer.writeheader()
    writer.writerows(history)
    write_whole(path, table.getvalue())


def progress_line(row: Mapping[str, float], epochs: int, valid_total: int, to_go: float) -> str:
    """Return the line of an epoch, with the seconds to go as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(to_go), 60)
    clock = f"{minutes}:{seconds:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
    return (
        f"epoch {row['epoch'] + 1}/{epochs}  train loss {row['train_loss']:.3f}  valid loss {row['valid_loss']:.3f}  "
        f"valid accuracy {100 * row['valid_accuracy']:.1f} % (n = {valid_total})  {clock} to go"
    )


def firing_line(firing: Mapping[str, float]) -> str:
    """Return the line that says how the untrained network fires."""
    shares = ", ".join(f"{name} {100 * share:.1f}" for name, share in firing.items())
    return f"before training, % of steps with a spike: {shares}"


class EventLog:
    """A run's scalars in TensorBoard's format.

    It is off, which it says once, without the package tensorboard, and as soon as it cannot be written: a full disk
    under the log must not end a run whose checkpoints lie elsewhere.

    Parameters
    ----------
    folder : Path or None
        Where to; None is off.
    done : int
        Steps already done: what an earlier process logged beyond them is hidden by TensorBoard.
    """

    def __init__(self, folder: Path | None, done: int = 0):
        self._writer = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print("no TensorBoard log: the package tensorboard is not installed (pip install tensorboard).", flush=True)
            return
        with self._off_if_it_fails():
            self._writer = SummaryWriter(folder, purge_step=done or None)

    @property
    def on(self) -> bool:
        """Whether anything is written; what is costly to compute need not be, otherwise."""
        return self._writer is not None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Note values by name, such as "loss/train"."""
        with self._off_if_it_fails():
            for name, value in values.items():
                if self._writer is not None:
                    self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still in memory."""
        with self._off_if_it_fails():
            if self._writer is not None:
                self._writer.close()

    @contextlib.contextmanager
    def _off_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            self._writer = None
            print(f"no TensorBoard log from here on: it cannot be written ({err.strerror or err}).", flush=True)
