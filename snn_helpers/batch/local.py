"""Runs side by side on this machine, each in a process of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from snn_helpers.batch.attempts import Attempt, make_attempt


class LocalPool:
    """A number of places, each for one run at a time; with `gpus`, each place has a GPU of its own."""

    def __init__(self, jobs: int, gpus: int = 0):
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(jobs)
        self._places: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.width = jobs
        self._gpus = gpus
        for place in range(jobs):
            self._places.put(place)

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, *_) -> None:
        # The threads only wait for processes; told to stop, they end them.
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def rows(self, attempts: Iterable[Attempt]) -> Iterator[dict[str, Any]]:
        """Make attempts, `width` at a time, and yield their rows as they come."""
        futures = [self._pool.submit(self._make, attempt) for attempt in attempts]
        for future in as_completed(futures):
            yield future.result()

    def _make(self, attempt: Attempt) -> dict[str, Any]:
        place = self._places.get()
        try:
            return make_attempt(attempt, self._stop, place if self._gpus else None)
        finally:
            self._places.put(place)
