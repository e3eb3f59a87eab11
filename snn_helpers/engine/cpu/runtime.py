"""How the CPU engine's kernels are compiled and run: one compiler setting, one thread pool, one message, one error."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import cfunc, njit, types
from numba.core import errors, event

# No fastmath: the membrane update must round as snnTorch's does. `error_model` spares a branch on each division,
# which would keep loops from being vectorised. `nogil` lets the threads below run side by side. Wrappers for callers
# that there are not would take a quarter of the time to compile.
part = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)  # what kernels call
ZERO, ONE = np.int64(0), np.int64(1)  # typed: a bare literal makes numba compile a part once more
kernel = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, cache=True)  # what Python calls; kept on disk
_rows, _flags = (types.CPointer(types.CPointer(kind)) for kind in (types.float32, types.uint8))  # the same addresses
step = cfunc(  # what kernels call by its address: (numbers, rows, flags, n); kept on disk, too
    types.void(types.CPointer(types.float32), _rows, _flags, types.int64), error_model="numpy", cache=True
)


class EngineCompileError(RuntimeError):
    """The event-driven kernels could not be compiled here; the reference engine still works."""


class _CompileMessage(event.Listener):
    """Say once in a process that kernels are being compiled; a kernel found in the disk cache stays silent."""

    def __init__(self):
        self.said = False

    def on_start(self, event):
        if not self.said:
            self.said = True
            print(
                "Compiling the event-driven kernels, once on this machine (about half a minute) ...",
                file=sys.stderr,
                flush=True,
            )

    def on_end(self, event):
        pass


_message = _CompileMessage()


@functools.lru_cache(maxsize=2)
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    # Keyed by process: threads do not survive a fork.
    return ThreadPoolExecutor(workers, thread_name_prefix="snn-engine")


def run_chunks(function: Callable, num_chunks: int, *args) -> None:
    """Call `function(chunk, *args)` for every chunk, on as many threads as torch uses.

    Threads take the next chunk when they are done with one. What a chunk computes does not depend on who computes it,
    so results are the same for any number of threads. Own threads, not numba's: its OpenMP layer would keep a second
    pool spinning beside torch's, and its workqueue layer ends the process when two Python threads meet in it.

    Raises
    ------
    EngineCompileError
        If the kernel cannot be compiled.
    """
    counter = itertools.count()

    def work():
        while (chunk := next(counter)) < num_chunks:
            function(chunk, *args)

    workers = min(torch.get_num_threads(), num_chunks)
    _compile_first(function, args)
    helpers = [_pool(os.getpid(), torch.get_num_threads()).submit(work) for _ in range(workers - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.result()


def saved_as_they_are() -> torch.autograd.graph.saved_tensors_hooks:
    """Return a context in which what autograd keeps is nobody else's business: of trials, which the caller never sees.

    Activation checkpointing counts what is kept, and computes it anew, when no trial is made any more.
    """
    return torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, lambda kept: kept)


def check_first_order() -> None:
    """Refuse a gradient of a gradient, which would be silently zero: kernels go back once.

    Raises
    ------
    RuntimeError
        Within a backward pass of which a graph is made.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "The CPU engine's kernels have no gradients of gradients (`create_graph=True`). Run the network's own "
            "loop, or accelerate(net, engine='reference')."
        )


def _compile_first(function, args) -> None:
    """Compile `function` for these arguments if that was not done, with the message and the error of this module."""
    if function.overloads:
        return
    call_kernel(function, -1, *args)


def call_kernel(function: Callable, *args):
    """Call a compiled function; a compiler's error becomes an `EngineCompileError`."""
    if function.overloads:
        return function(*args)
    with compiling(f"the kernel `{function.__name__}`"):
        return function(*args)


@contextlib.contextmanager
def compiling(what: str):
    """Say that kernels are compiled, where they are; turn a compiler's error into an `EngineCompileError`."""
    try:
        with event.install_listener("numba:compile", _message):
            yield
    except (errors.NumbaError, OSError, NotImplementedError) as err:
        raise EngineCompileError(
            f"{what} could not be compiled ({type(err).__name__}). "
            "Use the reference engine, and report the versions of numba, llvmlite and numpy and the processor."
        ) from err
