"""How far is a network that runs over time from its own plain loop: spikes, membranes, gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from zoo_networks import plain_loop

from snn_helpers.engine import Spikes
from snn_helpers.neurons import SPIKING, Listener, reset
from snn_helpers.over_time import accelerate

NEAR = 1e-5  # what rounding may decide: a membrane so near its threshold
# Gradients are compared in units of the largest of their tensor, or of this share of the network's largest.
FLOOR = 1e-2


@dataclass
class Difference:
    """What differs between a network over time and its plain loop.

    Attributes
    ----------
    layers, fired : int, float
        Layers of neurons; the share of their neurons and steps that fired.
    spikes : int
        Spikes of all layers that differ.
    near : int
        Membranes of the loop within `NEAR` of their threshold, which rounding may decide.
    unexplained : int
        Spikes that differ although their membrane is not near and no spike differed before: steps before, or layers
        before in the same step, of the same recording (of the batch, where a normalisation shares its statistics).
    membranes : float
        Largest difference of what the network returns, spikes that differ aside.
    gradients : float
        Largest difference of a gradient, relative.
    """

    layers: int
    fired: float
    spikes: int
    near: int
    unexplained: int
    membranes: float
    gradients: float


def compare(net: nn.Module, inputs: Tensor, seed: int = 0, engine: str = "auto") -> Difference:
    """Run copies of a network over time and by its plain loop, forward and backward, and compare them."""
    reset(net)  # states that hang on autograd's graph cannot be copied
    loop, ours = copy.deepcopy(net), copy.deepcopy(net)
    theirs_rec, ours_rec = _Recorder(loop), _Recorder(ours)
    expected = _run(lambda: plain_loop(loop, inputs), loop, seed)
    got = _run(lambda: accelerate(ours, engine)(inputs), ours, seed)
    near, fired, count, layers = 0, 0, 0, []
    others = ours_rec.whole()
    for name, (spk, mem) in theirs_rec.whole().items():
        rounds = torch.zeros_like(spk, dtype=torch.bool)
        if mem is not None:
            rounds = (mem - loop.get_submodule(name).threshold).abs() < NEAR
        layers.append((spk != others[name][0], rounds))
        near += int(rounds.sum())
        fired, count = fired + int((spk != 0).sum()), count + spk.numel()
    spikes = sum(int(differs.sum()) for differs, _ in layers)
    membranes = max(float((a - b).abs().max()) for a, b in zip(expected, got)) if spikes == 0 else float("nan")
    shared = net.training and any(isinstance(module, nn.modules.batchnorm._NormBase) for module in net.modules())
    unexplained = _unexplained(layers, shared)
    return Difference(
        len(theirs_rec.steps), fired / count, spikes, near, unexplained, membranes, _gradients(loop, ours)
    )


def _unexplained(layers: list[tuple[Tensor, Tensor]], shared: bool) -> int:
    """Return how many spikes differ first, and not by rounding; layers: (differs, near), [calls, B, ...], in order."""
    steps = min(len(differs) for differs, _ in layers)
    batch = layers[0][0].shape[1]
    before, count = torch.zeros(batch, dtype=torch.bool), 0
    for step in range(steps):
        for differs, near in layers:
            calls = len(differs) // steps  # of a module that is used more than once
            part = slice(step * calls, (step + 1) * calls)
            here, rounds = (x[part].transpose(0, 1).reshape(batch, -1) for x in (differs, near))
            count += int((here & ~rounds)[~before].sum())
            before |= here.any(1)
            if shared and before.any():
                return count
    return count


def _run(forward: Callable, net: nn.Module, seed: int) -> list[Tensor]:
    """Return what a network returns; its gradients are those of a sum with random weights."""
    torch.manual_seed(seed)
    outputs = tree_leaves(forward())
    weights = torch.Generator().manual_seed(seed)
    loss = sum((part * torch.randn(part.shape, generator=weights)).sum() for part in outputs)
    if loss.requires_grad:
        loss.backward()
    return [part.detach() for part in outputs]


def _gradients(loop: nn.Module, ours: nn.Module) -> float:
    pairs = [(p.grad, q.grad) for p, q in zip(loop.parameters(), ours.parameters())]
    if any((a is None) != (b is None) and (b if a is None else a).any() for a, b in pairs):
        return float("inf")
    pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
    largest = max((float(a.abs().max()) for a, _ in pairs), default=0.0)
    scale = [max(float(a.abs().max()), FLOOR * largest, 1e-30) for a, _ in pairs]
    return max((float((a - b).abs().max()) / s for (a, b), s in zip(pairs, scale)), default=0.0)


class _Recorder:
    """Keeps spikes and membranes of all layers of neurons of a network."""

    def __init__(self, net: nn.Module):
        self.steps: dict[str, list[tuple[Tensor, Tensor | None]]] = {}
        for name, module in net.named_modules():
            if isinstance(module, SPIKING):
                self.steps[name] = []
                module.register_forward_hook(
                    Listener(lambda spk, mem, whole, name=name: self._add(name, spk, mem, whole))
                )

    def _add(self, name: str, spk, mem, whole: bool) -> None:
        spk = (spk.float() if isinstance(spk, Spikes) else spk).detach()
        mem = None if mem is None else mem.detach()
        rows = zip(spk, [None] * len(spk) if mem is None else mem) if whole else [(spk, mem)]
        self.steps[name] += [(s.clone(), None if m is None else m.clone()) for s, m in rows]

    def whole(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Return spikes and membranes over all calls, [T, B, ...], by layer."""
        return {
            name: (torch.stack([s for s, _ in rows]), None if rows[0][1] is None else torch.stack([m for _, m in rows]))
            for name, rows in self.steps.items()
            if rows
        }
