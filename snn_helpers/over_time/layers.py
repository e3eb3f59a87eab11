"""Spiking layers, ours and snnTorch's, seen alike: their state, what they return, and how one runs by its own code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import snntorch
import torch
from torch import Tensor, nn

from snn_helpers.neurons import SPIKING, HiddenState, Listener, SpikingNeuron, reset

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
DROPOUT_FUNCTIONS = ("dropout", "dropout1d", "dropout2d", "dropout3d")


def takes_all_time(module: nn.Module) -> bool:
    """Whether a module is a layer of spiking neurons of snnTorch's that takes all steps in one call."""
    one_step = isinstance(module, snntorch.SpikingNeuron | SpikingNeuron)
    return isinstance(module, SPIKING) and (not one_step or isinstance(module, snntorch.StateLeaky))


def is_spiking(module: nn.Module) -> bool:
    """Whether a module is a layer of spiking neurons that takes one step a call."""
    return isinstance(module, snntorch.SpikingNeuron | SpikingNeuron) and not takes_all_time(module)


def keeps_state(module: nn.Module) -> bool:
    """Whether a module keeps something from step to step: neurons that take one step a call, and delays."""
    return is_spiking(module) or isinstance(module, HiddenState)


def listeners(module: nn.Module) -> list[Listener]:
    """Return the hooks of a layer of neurons that understand all time at once."""
    return [hook for hook in module._forward_hooks.values() if isinstance(hook, Listener)]


@contextlib.contextmanager
def from_zero(neurons: Iterable[nn.Module]) -> Iterator[None]:
    """Let these neurons start from a state of zero, and give them back afterwards what they have now."""
    neurons = list(neurons)
    with kept_state(neurons):
        for neuron in neurons:
            reset(neuron)
        yield


@contextlib.contextmanager
def kept_state(neurons: Iterable[nn.Module]) -> Iterator[None]:
    """Give these neurons back the state that they have now, whatever happens inside."""
    kept = [(neuron, dict(neuron._buffers), dict(vars(neuron))) for neuron in neurons]
    try:
        yield
    finally:
        for neuron, buffers, attributes in kept:
            for name in vars(neuron).keys() - attributes.keys():
                del neuron.__dict__[name]
            neuron.__dict__.update(attributes)
            neuron._buffers.clear()
            neuron._buffers.update(buffers)


def state_of(modules: Iterable[nn.Module]) -> list[tuple[nn.Module, Any]]:
    """Return what these modules keep from step to step, cut off from the graph behind it; see `set_state`."""
    found: list[tuple[nn.Module, Any]] = []
    for module in modules:
        if isinstance(module, HiddenState):
            found.append((module, tuple(state.detach().clone() for state in module.hidden)))
        else:
            names = module._non_persistent_buffers_set
            found.append((module, {name: module._buffers[name].detach().clone() for name in names}))
    return found


def set_state(state: list[tuple[nn.Module, Any]]) -> None:
    """Give modules back what `state_of` has returned."""
    for module, kept in state:
        if isinstance(module, HiddenState):
            module.hidden = kept
        else:
            module._buffers.update(kept)


def call_once(neuron: nn.Module, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call a layer of neurons for one step, and tell those who listen."""
    output = neuron.forward(*args, **kwargs)
    for listener in listeners(neuron):
        listener(neuron, args, output)
    return output


def run_own_code(neuron: nn.Module, cur: Tensor, states: list[Any], places: list[int], goes_on: bool = False) -> Any:
    """Run a layer of neurons over time by its own code, step after step.

    Parameters
    ----------
    neuron : nn.Module
        Its hidden state is zero at the start, and given back afterwards, unless it goes on.
    cur : Tensor [T, B, ...]
        Input currents.
    states : list
        What is handed to it beside the current in the first step.
    places : list of int
        Which of its results is handed on in the place of each state.
    goes_on : bool
        Start from the hidden state that it has, and leave it the last.

    Returns
    -------
    Tensor or tuple of Tensor [T, B, ...]
        All that it returns, over time.
    """
    outputs = []
    with from_zero([] if goes_on else [neuron]):
        for cur_now in cur.unbind(0):
            outputs.append(call_once(neuron, (cur_now, *states), {}))
            states = [outputs[-1][place] for place in places]
    return stack(outputs)


def as_returned(module: nn.Module, spk: Any, mem: Any) -> Any:
    """Return spikes and membranes over time as a call of the module returns them for one step."""
    if module.init_hidden and not module.output:
        return spk
    between = {snntorch.Synaptic: 1, snntorch.RSynaptic: 1, snntorch.Alpha: 2}.get(
        type(module), 0
    )  # states that nobody asked for
    return spk, *[None] * between, mem


def stack(steps: list[Any]) -> Any:
    """Stack what each step returned, a tensor or a nest of them, along a new first axis."""
    first = steps[0]
    if isinstance(first, Tensor):
        return torch.stack(steps)
    if isinstance(first, dict):
        return {name: stack([step[name] for step in steps]) for name in first}
    if not isinstance(first, tuple | list):
        return first
    parts = [stack(list(part)) for part in zip(*steps)]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
