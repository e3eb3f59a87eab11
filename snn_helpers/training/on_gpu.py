"""Training on a GPU that never waits: events live in its memory, steps are captured, results are read now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from snn_helpers.data import FrameLoader
from snn_helpers.engine.cuda.graphs import GraphedStep
from snn_helpers.models.readout import decide, read_output
from snn_helpers.neurons import clamp_parameters
from snn_helpers.over_time import frames_for
from snn_helpers.training import network as networks
from snn_helpers.training.score import Tally

SHARE_OF_MEMORY = 0.3  # of what is free on the device, that events may take


def feed(loader: FrameLoader, device: torch.device) -> FrameLoader:
    """Return the same batches, made on a GPU where that can be; with any other device, the loader itself.

    Where the events fit into the device's memory they are kept and binned there, equal bit for bit; else a thread bins
    the next batch into pinned memory.
    """
    if device.type != "cuda":
        return loader
    free, _ = torch.cuda.mem_get_info(device)
    needs = loader.dataset.device_bytes(loader.spec)
    return _Ahead(loader) if needs is None or needs > SHARE_OF_MEMORY * free else loader.on_device(device)


class _Ahead(FrameLoader):
    """The batches of a loader, each made and pinned by a thread while the one before it is computed."""

    def __init__(self, loader: FrameLoader):
        vars(self).update(vars(loader))

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what the loader would."""
        pinned = (tuple(part.pin_memory() for part in batch) for batch in super().batches(epoch, first))
        return ahead(pinned)


def ahead(batches: Iterable) -> Iterator:
    """Yield what an iterator gives, the next one already in the making."""
    batches, end = iter(batches), object()
    with ThreadPoolExecutor(1, thread_name_prefix="snn-batches") as thread:
        coming = thread.submit(next, batches, end)
        while (batch := coming.result()) is not end:
            coming = thread.submit(next, batches, end)
            yield batch


class DeviceStep:
    """A train step whose results stay on the device until they are asked for.

    Forward, loss, backward and clipping are captured in a CUDA graph (see `GraphedStep`); the optimiser's fused step
    follows outside of it, since schedules change its numbers. On a CPU all of it runs eagerly.

    Parameters
    ----------
    model : nn.Module
        In training mode, on its device.
    criterion : callable
        See `loss_function`.
    optimizer : torch.optim.Optimizer
        Of the model's parameters.
    clip : float
        Largest norm of all gradients together.
    spike_penalty : float
        Weight of the hidden layers' mean spike fraction.
    autocast : torch.autocast
        What the network runs in.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Callable,
        optimizer: torch.optim.Optimizer,
        clip: float,
        spike_penalty: float,
        autocast: torch.autocast,
    ):
        self.model, self.criterion, self.spike_penalty, self.autocast = model, criterion, spike_penalty, autocast
        self.names: list[str] = []
        for group in optimizer.param_groups:
            if "fused" in group and group["params"][0].is_cuda:
                group["fused"] = True
        self._step = GraphedStep(
            self._compute, optimizer, clip, after=lambda: clamp_parameters(model), capture_optimizer=False
        )
        self._sums: Tensor | None = None
        self.loss = self.norm = None  # of the last step, tensors on the device

    def _compute(self, frames: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        with self.autocast, networks.fractions_of(self.model) as fractions:
            output = read_output(self.model(frames_for(self.model, frames)))
        loss = self.criterion(output, labels)
        objective = networks.penalised(loss, fractions, self.spike_penalty)
        self.names = [*fractions]
        hits = (decide(output) == labels).sum()
        return objective, loss, hits, output.spk_rec.detach().sum(), *fractions.values()

    def __call__(self, frames: Tensor, labels: Tensor) -> None:
        """Train on one batch; nothing is read back."""
        objective, loss, hits, spikes, *rest, norm = self._step(frames, labels)
        size = len(labels)
        broken = ~(torch.isfinite(objective) & torch.isfinite(norm))
        values = [loss * size, hits, torch.full_like(loss, size), spikes, broken, *(size * one for one in rest)]
        values = torch.stack([value.detach().double() for value in values])
        self._sums = values if self._sums is None else self._sums + values
        self.loss, self.norm = loss, norm

    def read_into(self, tally: Tally) -> bool:
        """Add what the steps since the last call gave to a tally; say whether all losses and gradients were finite."""
        if self._sums is None:
            return True
        sums, self._sums = self._sums.tolist(), None
        tally.add_sums(sums[:4], dict(zip(self.names, sums[5:])))
        return sums[4] == 0
