"""Three ways to carry a batch through the same layers, each with the same few steps that a network is written in.

`StepByStep` and `LayerByLayer` loop over snnTorch's neurons, the reference that people can read; `OnEngine` calls an
engine. A network says its route once, in terms of `conv`, `full`, `add` and `drop`, and each way carries it out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers.engine import BatchNorm, Spikes
from snn_helpers.neurons import SpikingNeuron as SpikingNeurons


class SpikingLayer(NamedTuple):
    """Weights (a convolution or fully connected), normalisation (`nn.Identity` for none) and neurons."""

    weights: nn.Module
    norm: nn.Module
    neurons: SpikingNeurons

    @property
    def normalised(self) -> bool:
        """Whether there is a normalisation."""
        return not isinstance(self.norm, nn.Identity)

    def parameters(self) -> list[nn.Parameter]:
        """Return all that the layer learns."""
        return [parameter for module in self for parameter in module.parameters()]


class LayerByLayer:
    """Finish all time steps of a layer before the next, as normalisation over time asks for. Spikes: [T, B, ...].

    Attributes
    ----------
    recorded : dict
        Spikes and membranes by layer name, [T, B, ...] each.
    """

    def __init__(self, layers: dict[str, SpikingLayer]):
        self.layers = layers
        self.recorded: dict[str, tuple[Tensor, Tensor]] = {}

    def conv(self, name: str, spk: Tensor, pool: int = 1, skip: Tensor | None = None) -> Tensor:
        """Convolve, normalise, add what skips to the currents, max-pool, fire; a skipping spike weighs a threshold."""
        layer = self.layers[name]
        cur = layer.norm(layer.weights(spk.flatten(0, 1)))
        cur = cur if skip is None else cur + layer.neurons.threshold * skip.flatten(0, 1)
        cur = F.max_pool2d(cur, pool) if pool > 1 else cur
        return self._fire(name, cur.unflatten(0, spk.shape[:2]))

    def full(self, name: str, spk: Tensor) -> Tensor:
        """Connect fully, normalise, fire."""
        layer = self.layers[name]
        cur = layer.norm(layer.weights(spk.flatten(2).flatten(0, 1)))
        return self._fire(name, cur.unflatten(0, spk.shape[:2]))

    def add(self, first: Tensor, second: Tensor) -> Tensor:
        """Add spike by spike."""
        return first + second

    def drop(self, spk: Tensor, keep: Tensor) -> Tensor:
        """Weigh spikes by a dropout mask."""
        return spk * keep

    def _fire(self, name: str, cur: Tensor) -> Tensor:
        self.recorded[name] = self.layers[name].neurons.run_snntorch(cur)
        return self.recorded[name][0]


class StepByStep:
    """Carry one time step through the whole network before the next: the loop of every snnTorch tutorial.

    To be led along the route once a step, with spikes [B, ...]. There is no normalisation over time that way.
    """

    def __init__(self, layers: dict[str, SpikingLayer]):
        self.layers = layers
        self.fire = {name: layer.neurons.snntorch_neuron() for name, layer in layers.items()}
        self.states: dict[str, list[Tensor]] = {}
        self.steps: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def conv(self, name: str, spk: Tensor, pool: int = 1, skip: Tensor | None = None) -> Tensor:
        """Convolve, add what skips, max-pool, fire."""
        layer = self.layers[name]
        cur = layer.weights(spk)
        cur = cur if skip is None else cur + layer.neurons.threshold * skip
        return self._fire(name, F.max_pool2d(cur, pool) if pool > 1 else cur)

    def full(self, name: str, spk: Tensor) -> Tensor:
        """Connect fully, fire."""
        return self._fire(name, self.layers[name].weights(spk.flatten(1)))

    add, drop = LayerByLayer.add, LayerByLayer.drop

    @property
    def recorded(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Spikes and membranes by layer name, [T, B, ...] each."""
        return {name: tuple(torch.stack(rec) for rec in zip(*steps)) for name, steps in self.steps.items() if steps}

    def _fire(self, name: str, cur: Tensor) -> Tensor:
        neurons = self.layers[name].neurons
        state = self.states.get(name) or neurons.start()
        spk, *self.states[name] = self.fire[name].to(cur.device)(cur, *state)
        self.steps[name].append((spk, neurons.membrane(self.states[name])))
        return spk


class OnEngine:
    """All time steps of a layer at once on an engine: its module has `conv_layer`, `linear` and `neurons`.

    Between convolutions go `Spikes`, one byte each; from the first fully connected layer on, float tensors [T, B, ...].
    """

    def __init__(self, layers: dict[str, SpikingLayer], engine, keep_mem: bool):
        self.layers, self.engine, self.keep_mem = layers, engine, keep_mem
        self.recorded: dict[str, tuple[Spikes | Tensor, Tensor | None]] = {}

    def conv(self, name: str, spk: Spikes | Tensor, pool: int = 1, skip: Spikes | None = None) -> Spikes:
        """Convolve, normalise, add what skips to the currents, max-pool, fire; a skipping spike weighs a threshold."""
        layer = self.layers[name]
        weight, bias, neuron = layer.weights.weight, layer.weights.bias, layer.neurons.neuron()
        norm = BatchNorm.of(layer.norm) if layer.normalised else None
        if skip is None:
            out = self.engine.conv_layer(spk, weight, bias, neuron, norm=norm, pool=pool, keep_mem=self.keep_mem)
        else:
            cur = F.conv2d(spk.float().flatten(0, 1), weight, bias, padding=1)
            cur = cur if norm is None else norm.apply(cur)
            cur = cur + layer.neurons.threshold * skip.float().flatten(0, 1)
            cur = F.max_pool2d(cur, pool) if pool > 1 else cur
            spk_rec, mem_rec = self.engine.neurons(cur.unflatten(0, spk.shape[:2]), neuron)
            out = Spikes.of(spk_rec, mem_rec.detach() if self.keep_mem else None)
        self.recorded[name] = out, out.mem
        return out

    def full(self, name: str, spk: Spikes | Tensor) -> Tensor:
        """Connect fully, normalise, fire."""
        layer = self.layers[name]
        if isinstance(spk, Spikes):
            cur = self.engine.linear(spk, layer.weights.weight, layer.weights.bias)
        else:
            cur = layer.weights(spk)
        if layer.normalised:
            cur = layer.norm(cur.flatten(0, 1)).unflatten(0, cur.shape[:2])
        self.recorded[name] = self.engine.neurons(cur, layer.neurons.neuron())
        return self.recorded[name][0]

    add, drop = LayerByLayer.add, LayerByLayer.drop
