"""How a layer of neurons runs on an engine, and who is told of its spikes."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from snn_helpers.engine import BatchNorm, Spikes
from snn_helpers.engine.reference import Neuron
from snn_helpers.over_time import layers


class Runner:
    """Runs layers of neurons on the engine that was asked for.

    Parameters
    ----------
    engine : {"auto", "snntorch", "reference", "cpu", "cuda"}
        "snntorch" loops over snnTorch's own neurons, layer by layer; "reference" over the equations.
    """

    def __init__(self, engine: str):
        self.engine = engine

    def event_driven(self, device: torch.device, dtype: torch.dtype):
        """Return the module with event-driven layers for tensors of this device and type, or None."""
        if self.engine in ("snntorch", "reference") or dtype != torch.float32 or device.type not in ("cpu", "cuda"):
            return None
        if self.engine in ("cpu", "cuda") and self.engine != device.type:
            return None
        return importlib.import_module(f"snn_helpers.engine.{device.type}")

    def equation(self, module: nn.Module) -> Neuron | str:
        """Return the equation of a layer of neurons and its numbers, or why it runs by its own code."""
        if self.engine == "snntorch":
            return "engine 'snntorch'"
        return layers.equation(module)

    def neurons(self, module: nn.Module, cur: Tensor, states: list[Any], places: list[int], plain: bool) -> Any:
        """Run a layer over currents [T, B, ...]; return what the module returns, over time.

        Parameters
        ----------
        states : list
            What the network hands to the neurons in the first step, beside the current.
        places : list of int
            Which result is handed on in the place of each state.
        plain : bool
            Whether spikes and membranes are all that is used of the results.
        """
        zero = all(state is None or not bool(state.any()) for state in states)
        neuron = self.equation(module)
        if isinstance(neuron, Neuron) and plain and zero:
            spk, mem = layers.run_equation(cur, neuron, self.engine)
            result = layers.as_returned(module, spk, mem)
        else:
            result = layers.run_own(module, cur, states, places, self.engine)
            spk, mem = layers.spikes_and_membranes(module, result)
        self.tell(module, spk, mem)
        return result

    def conv_layer(self, engine, spikes: Spikes, conv: nn.Module, norm: nn.Module | None, pool: int, module: nn.Module):
        """Run convolution, normalisation, pool and neurons in one pass; return what the neurons' module returns."""
        norm = None if norm is None else BatchNorm.of(norm)
        keep_mem = any(listener.mem for listener in listeners(module))
        neuron = self.equation(module)
        spk = engine.conv_layer(spikes, conv.weight, conv.bias, neuron, norm=norm, pool=pool, keep_mem=keep_mem)
        self.tell(module, spk, spk.mem)
        return layers.as_returned(module, spk, None)

    def tell(self, module: nn.Module, spk: Tensor | Spikes, mem: Tensor | None) -> None:
        """Tell those who listen to a layer of neurons what it did in all steps."""
        for listener in listeners(module):
            listener.on_spikes(spk, mem, True)


def listeners(module: nn.Module) -> list:
    """Return the hooks of a module that understand all time at once."""
    return [hook for hook in module._forward_hooks.values() if isinstance(hook, layers.Listener)]


def other_hooks(modules: Iterable[nn.Module]) -> str | None:
    """Name the first module with a hook that only a call of the module would run, or return None."""
    for module in modules:
        hooks = (module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        foreign = [hook for hook in module._forward_hooks.values() if not isinstance(hook, layers.Listener)]
        if foreign or any(hooks):
            return type(module).__name__
    return None
