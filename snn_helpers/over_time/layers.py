"""Spiking layers, ours and snnTorch's, seen alike: which modules they are, their state, and how one runs over time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snn_helpers.engine.reference import Neuron


class Listener:
    """A forward hook that also understands all time at once."""

    def __init__(self, on_spikes, mem: bool = True):
        self.on_spikes, self.mem = on_spikes, mem

    def __call__(self, module, args, output):
        """Hear one step."""
        self.on_spikes(*spikes_and_membranes(module, output), False)


def is_spiking(module: nn.Module) -> bool:
    """Whether a module is a layer of spiking neurons that takes one step a call."""
    import snntorch

    return isinstance(module, snntorch.SpikingNeuron)


def is_neuron_op(op, net: nn.Module) -> bool:
    """Whether an operation of a step is a layer of neurons."""
    return op.kind == "call_module" and is_spiking(net.get_submodule(op.target))


def equation(module: nn.Module) -> Neuron | str:
    """Return the equation and numbers of a layer, or why it has none here."""
    import snntorch

    if type(module) is snntorch.Leaky and module.reset_mechanism == "subtract" and module.beta.numel() == 1:
        return Neuron("leaky", beta=module.beta, threshold=module.threshold)
    return f"snn_helpers has no equation for {type(module).__name__}"


def run_equation(cur, neuron, engine):
    """Run the equation."""
    from snn_helpers.engine import cpu

    return cpu.neurons(cur, neuron)


def as_returned(module, spk, mem):
    """Return spikes and membranes as the module returns them."""
    return spk if module.init_hidden and not module.output else (spk, mem)


def spikes_and_membranes(module, result):
    """Return spikes and membranes from what the module returned."""
    return (result[0], result[-1]) if isinstance(result, tuple) else (result, None)


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


def start(neurons: Iterable[nn.Module]) -> None:
    """Set these neurons' hidden states to zero."""
    for neuron in neurons:
        neuron.reset_mem()


def run_own(neuron: nn.Module, cur: Tensor, states: list[Any], places: list[int], engine="auto") -> Any:
    """Run one of snnTorch's neurons over time by its own code, step after step.

    Parameters
    ----------
    neuron : nn.Module
        Its hidden state is zero at the start, and given back afterwards.
    cur : Tensor [T, B, ...]
        Input currents.
    states : list
        What is handed to it beside the current in the first step.
    places : list of int
        Which of its outputs is handed on in the place of each state.

    Returns
    -------
    Tensor or tuple of Tensor [T, B, ...]
        All that it returns, over time.
    """
    outputs = []
    with kept_state([neuron]):
        if not places:
            start([neuron])
        for cur_now in cur.unbind(0):
            output = neuron.forward(cur_now, *states)
            states = [output[place] for place in places]
            outputs.append(output)
    return stack(outputs)


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
