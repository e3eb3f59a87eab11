"""What training asks of a network, and how a network as it was written is made to answer it.

A network is any `nn.Module` that takes frames [T, B, ...] and answers (spk_rec, mem_rec), each [T, B, classes], from
a state of zero in every call; or that takes one step [B, ...], whose neurons, ours or snnTorch's, keep their state.
Spikes are counted, and layers named and balanced, where its neurons are ours or snnTorch's. Nothing else is asked.
"""

from __future__ import annotations

import contextlib
import copy
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import BatchNorm1d, _BatchNorm

from snn_helpers._checks import check_labels
from snn_helpers.activity import firing_fractions, synaptic_operations
from snn_helpers.data import EventDataset
from snn_helpers.over_time import NormOverTime, OverTime, evaluating, frames_for, is_spiking
from snn_helpers.over_time.runner import Runner


def has_neurons(network: nn.Module) -> bool:
    """Say whether there are neurons in a network that can be listened to."""
    return any(is_spiking(module) for module in network.modules())


def on_snntorch(network: nn.Module) -> nn.Module:
    """Return a copy that snnTorch's own neurons compute, where an engine computes the network."""
    network = copy.deepcopy(network)
    if isinstance(getattr(network, "over_time", None), OverTime):
        network.over_time.runner = Runner("snntorch")
    return network


def fractions_of(network: nn.Module) -> AbstractContextManager[dict[str, Tensor]]:
    """Measure the spike fractions of its layers while a network runs; none where its neurons are not known."""
    return firing_fractions(network) if has_neurons(network) else contextlib.nullcontext({})


def penalised(loss: Tensor, fractions: dict[str, Tensor], weight: float) -> Tensor:
    """Return a loss plus `weight` times the mean spike fraction of the hidden layers; the output's is the last."""
    return loss + weight * torch.stack([*fractions.values()][:-1]).mean() if weight else loss


def operations_of(network: nn.Module, frames: Tensor) -> float:
    """Return the synaptic operations of all layers together, a recording; nan for a network without neurons."""
    if not has_neurons(network):
        return float("nan")
    return sum(cost.operations for cost in synaptic_operations(network, frames_for(network, frames)).values())


@torch.inference_mode()
def check_network(network: nn.Module, splits: dict[str, EventDataset], time_steps: int, device: torch.device) -> None:
    """Try a network on one recording, before any work, and hold the labels of all splits against its classes.

    Raises
    ------
    TypeError, ValueError
        If it does not answer spikes and membranes over time, or a label is none of its classes.
    """
    dataset = next(iter(splits.values()))
    frames = torch.from_numpy(dataset.frames([0], time_steps)).to(device)
    with evaluating(network):
        answer = network(frames_for(network, frames))
    parts = answer if isinstance(answer, tuple | list) else (answer,)
    shapes = [list(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in parts]
    if len(shapes) != 2 or shapes[0] != shapes[1] or len(shapes[0]) != 3 or shapes[0][:2] != [time_steps, 1]:
        raise TypeError(
            f"{type(network).__name__} must answer (spk_rec, mem_rec), each [T, B, classes], here [{time_steps}, 1, "
            f"classes]; it answered {', '.join(map(str, shapes[:4]))}."
        )
    for name, split in splits.items():
        check_labels(split.labels, shapes[0][2], f"labels of the {name} split")


def check_batch(network: nn.Module, time_steps: int, recordings: int) -> None:
    """Refuse a batch of which a normalisation would see a single value; `recordings` in the smallest."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    one_step = any(isinstance(norm, BatchNorm1d) for norm in norms)
    if recordings == 1 and (one_step or (time_steps == 1 and any(isinstance(norm, NormOverTime) for norm in norms))):
        raise ValueError(
            f"`batch_size`, `time_steps`: normalisation needs more than one value, and a batch has {recordings} "
            f"recording of {time_steps} steps. Raise one of them."
        )
