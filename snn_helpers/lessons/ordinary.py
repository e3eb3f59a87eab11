"""Networks without spikes, which see a recording as one image: what notebook 10 compares its spiking network with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers.activity import synaptic_operations
from snn_helpers.data import EventDataset
from snn_helpers.events.frames import Augment

_CHUNK = 500  # recordings that are binned at once
_BATCH, _RATE = 64, 0.01
_AUGMENT = Augment(max_shift=2, warp=0.15)  # as the pretrained networks learned


def stacked_frames(dataset: EventDataset, parts: int, epoch: int | None = None) -> Tensor:
    """Return each recording as one image whose channels are its frames: uint8 [N, parts * P, H, W].

    Parameters
    ----------
    dataset : EventDataset
        Recordings.
    parts : int
        Frames of a recording; 1 for all its events summed.
    epoch : int or None
        Seed of random shifts and distortions; None for the recordings as they are.
    """
    options = {} if epoch is None else {"augment": _AUGMENT, "seed": epoch}
    chunks = [
        torch.from_numpy(dataset.frames(range(start, min(start + _CHUNK, len(dataset))), parts, **options))
        for start in range(0, len(dataset), _CHUNK)
    ]
    return torch.cat(chunks, 1).transpose(0, 1).flatten(1, 2).contiguous()


def train_ordinary(network: nn.Module, images: Sequence[Tensor], labels: np.ndarray, seed: int) -> nn.Module:
    """Train an ordinary network on square roots of event counts, by AdamW; return it in eval mode.

    Parameters
    ----------
    network : nn.Module
        From images [B, C, H, W] to scores [B, classes].
    images : sequence of Tensor uint8 [N, C, H, W]
        One an epoch.
    labels : ndarray [N]
        Classes.
    seed : int
        Of the order of recordings.
    """
    labels, order = torch.from_numpy(labels), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE)
    steps = len(images) * -(-len(labels) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps)
    network.train()
    for epoch in images:
        for chosen in torch.randperm(len(labels), generator=order).split(_BATCH):
            loss = F.cross_entropy(network(epoch[chosen].float().sqrt()), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def ordinary_answers(network: nn.Module, images: Tensor) -> np.ndarray:
    """Return the class that an ordinary network gives each image, int64 [N]."""
    return network(images.float().sqrt()).argmax(1).numpy()


class _OnePass(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        return self.network(frames[0])


def multiplications(network: nn.Module, images: Tensor) -> float:
    """Return the multiplications of one pass of an ordinary network over an image; its padding is not counted."""
    costs = synaptic_operations(_OnePass(network), images[None, :1].float())
    return sum(cost.dense for cost in costs.values())
