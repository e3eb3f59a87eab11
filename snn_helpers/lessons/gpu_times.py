"""Times on a GPU for machines without one: figures of `docs/gpu.json`, which `benchmarks/gpu.py` measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class GpuTimes:
    """Milliseconds of a training step (forward and backward) of SpikingCNN with batch normalisation, 34 x 34 pixels.

    Attributes
    ----------
    card, software : str
        Where they were measured.
    small_step : mapping of str to float
        8 time steps, a batch of 64; by the way it runs.
    by_batch : mapping of str to mapping of int to float
        25 time steps; by the way it runs, then by the batch size.
    """

    card: str
    software: str
    small_step: Mapping[str, float]
    by_batch: Mapping[str, Mapping[int, float]]


_KERNELS, _GRAPH = "as train runs it", "in a CUDA graph"


def stored_gpu_times() -> GpuTimes:
    """Return the times that were measured on a named GPU."""
    return GpuTimes(
        card="NVIDIA H100 80GB HBM3",
        software="PyTorch 2.11.0+cu130, Triton 3.6.0",
        small_step={_KERNELS: 14.188, _GRAPH: 1.287},
        by_batch={_KERNELS: {32: 14.417, 128: 14.222, 512: 20.097}, _GRAPH: {32: 1.641, 128: 3.588, 512: 11.715}},
    )
