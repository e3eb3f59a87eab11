"""One process or several that train the same network, each on its part of every batch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is.

    Attributes
    ----------
    rank : int
        This one, from 0; the first writes all files.
    size : int
        How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Have gradients averaged over the processes in every backward pass."""
        if self.size == 1:
            return model
        # No `device_ids`: it would copy the dict that the networks fill, and the model is on its device already.
        return nn.parallel.DistributedDataParallel(model)

    def add_up(self, values: Tensor) -> Tensor:
        """Return the sum over the processes, float64, on the CPU."""
        if self.size == 1:
            return values
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        values = values.to(device, torch.float64)
        torch.distributed.all_reduce(values)
        return values.cpu()

    def from_first(self, value: str) -> str:
        """Return what the first process says."""
        said = [value]
        if self.size > 1:
            torch.distributed.broadcast_object_list(said)
        return said[0]

    def any(self, here: bool) -> bool:
        """Say whether it is so in any process."""
        return here if self.size == 1 else bool(self.add_up(torch.tensor([float(here)]))[0])

    def wait(self) -> None:
        """Wait for the others."""
        self.add_up(torch.zeros(1))


ALONE = Processes()


@contextlib.contextmanager
def joined_processes(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes that `torchrun` started; without it there is one. Gives them and this one's device.

    Yields
    ------
    Processes, torch.device
        gloo joins CPUs, nccl GPUs, one GPU a process.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE, device
        return
    if device.type == "mps":
        raise ValueError("several processes: there is one mps GPU. Take --device cpu, or a single process.")
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"process {local} has no GPU of its own: torch sees {torch.cuda.device_count()}. "
                "Start fewer (--nproc_per_node)."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(torch.distributed.get_rank(), size), device
    finally:
        torch.distributed.destroy_process_group()
