"""Stop a training between two steps, whoever asks: Ctrl-C, a notebook's stop button, SIGTERM, or a monitor."""

from __future__ import annotations

import signal
import threading


class TrainingStopped(KeyboardInterrupt):
    """A training that was asked to stop, and did so between two steps, with a checkpoint.

    Attributes
    ----------
    exit_code : int
        What shells expect of a program that this signal ended.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class StopRequests:
    """While it is entered, SIGINT and SIGTERM are kept as a wish; a second SIGINT interrupts at once.

    Signals reach the main thread only; elsewhere they are left alone.

    Attributes
    ----------
    signal : int or None
        What asked to stop.
    """

    def __init__(self):
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _note(self, number: int, _frame) -> None:
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
