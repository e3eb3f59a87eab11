"""Kernels that numba runs on several threads, kept from what else this process computes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def call_parallel(kernel: Callable, *args: Any) -> Any:
    """Call a kernel compiled with `parallel=True`, from a thread of its own.

    At its first such call in a process numba sets how many OpenMP threads its caller has. Those are torch's, too: a
    training on one thread would go on with all of them, add up in another order, and end with other last digits than
    one that finds its recordings made.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(kernel, *args).result()
