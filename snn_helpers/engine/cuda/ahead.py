"""Compile kernels before they are needed, several at a time, also for a GPU that is not here.

Triton compiles a kernel when it is first launched: a network has some forty, of five seconds each. Here a network is
run on torch's "meta" device, where nothing is computed, its launches are taken down, and each is compiled in a process
of its own into Triton's cache, where the first real launch finds it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import multiprocessing
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from snn_helpers.engine import cuda
from snn_helpers.engine.cuda import launch

WARP = 32


class Launch(NamedTuple):
    """A kernel and all that its code depends on: types of tensors, numbers, sizes known when it is compiled."""

    module: str
    name: str
    args: tuple
    meta: tuple[tuple[str, object], ...]

    def kernel(self):
        """Return the kernel."""
        return getattr(importlib.import_module(self.module), self.name)


class Report(NamedTuple):
    """What a compiled kernel needs of a GPU; `error` is empty where it could be compiled."""

    launch: Launch
    capability: int
    registers: int = 0  # a thread
    spilled: int = 0  # bytes a thread
    shared: int = 0  # bytes a block
    tensor_cores: bool = False
    error: str = ""


@contextlib.contextmanager
def recording() -> Iterator[list[Launch]]:
    """Take down the launches of this block instead of doing them; its tensors should be on the device "meta"."""
    launches: dict[Launch, None] = {}

    def record(kernel, grid, *args, **meta):
        meta.setdefault("enable_fp_fusion", True)
        kinds = tuple(arg.dtype if isinstance(arg, Tensor) else arg for arg in args)
        launches[Launch(kernel.__module__, kernel.__name__, kinds, tuple(sorted(meta.items())))] = None

    taken: list[Launch] = []
    before = launch.launch, cuda.no_kernels
    launch.launch, cuda.no_kernels = record, lambda device: None
    try:
        yield taken
    finally:
        launch.launch, cuda.no_kernels = before
        taken.extend(launches)


def _compile(launch: Launch, capability: int) -> Report:
    """Compile a kernel; in a process of its own, whose driver is changed for good."""
    target = GPUTarget("cuda", capability, WARP)
    stand_in = SimpleNamespace(  # says for which GPU to compile, and touches none
        get_current_target=lambda: target,
        get_current_device=lambda: capability,
        get_current_stream=lambda device: 0,
    )
    driver.set_active(stand_in)
    try:
        compiled = launch.kernel().warmup(*launch.args, grid=(1,), **dict(launch.meta))
        registers, spilled = _resources(compiled.asm["cubin"])
    except Exception as err:  # Triton raises many kinds
        return Report(launch, capability, error=f"{type(err).__name__}: {err}")
    ptx = compiled.asm["ptx"]
    return Report(launch, capability, registers, spilled, compiled.metadata.shared, "mma" in ptx)


def compile_launches(launches: list[Launch], capability: int, workers: int | None = None) -> list[Report]:
    """Compile kernels for GPUs of a compute capability (90: an H100) in several processes (default: one a CPU)."""
    workers = max(1, min(workers or os.cpu_count() or 1, len(launches)))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(functools.partial(_compile, capability=capability), launches))


def _resources(cubin: bytes) -> tuple[int, int]:
    """Return registers and spilled bytes of the kernel in a cubin, as NVIDIA's tool reports them."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        printed = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", printed)
    return int(found[1]), int(found[2])
