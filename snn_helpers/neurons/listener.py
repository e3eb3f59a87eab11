"""Listen to the spikes of any layer of neurons."""

from __future__ import annotations

from collections.abc import Callable

import snntorch
from torch import Tensor, nn

from snn_helpers.engine import Spikes
from snn_helpers.neurons.base import SpikingNeuron

_WITHOUT_MEMBRANE = (snntorch.LeakyParallel, snntorch.AssociativeLeaky)
SPIKING = (SpikingNeuron, snntorch.SpikingNeuron, *_WITHOUT_MEMBRANE)  # what a listener understands


class Listener:
    """A forward hook on one layer of neurons, ours or snnTorch's, that also understands all time at once.

    To be given to `register_forward_hook`. What runs a layer without calling its module looks for listeners among the
    module's hooks, and calls their `on_spikes` itself.

    Parameters
    ----------
    on_spikes : callable
        Called as on_spikes(spk, mem, whole): spikes and membranes of all steps, [T, B, ...], where `whole` is true,
        else of one step, [B, ...]. Spikes over time may be `engine.Spikes`, one byte each. The membranes are None where
        snnTorch keeps them to itself.
    mem : bool
        Whether the membranes are wanted; where they are not they may be None.

    Examples
    --------
    >>> import torch
    >>> from snn_helpers.neurons import Leaky
    >>> neurons, shapes = Leaky(), []
    >>> hook = neurons.register_forward_hook(Listener(lambda spk, mem, whole: shapes.append((tuple(spk.shape), whole))))
    >>> _ = neurons(torch.zeros(5, 2, 3))
    >>> shapes
    [((5, 2, 3), True)]
    """

    def __init__(self, on_spikes: Callable[[Tensor | Spikes, Tensor | None, bool], None], mem: bool = True):
        self.on_spikes, self.mem = on_spikes, mem

    def __call__(self, module: nn.Module, args: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
        """Take spikes and membranes of one call apart."""
        self.on_spikes(*_take_apart(module, output))


def _take_apart(module: nn.Module, output: Tensor | tuple) -> tuple[Tensor, Tensor | None, bool]:
    if isinstance(module, SpikingNeuron):
        if not module.init_hidden:
            return *output, True
        return output[0] if module.output else output, module.membrane(module.hidden[1:]), False
    if isinstance(module, snntorch.StateLeaky):  # without `output` it hands on membranes
        return (*output, True) if module.output else (module.fire(output), output, True)
    if isinstance(module, _WITHOUT_MEMBRANE):
        return output, None, True
    if not isinstance(output, tuple):
        return output, module.mem, False
    if isinstance(module, snntorch.DeltaLeaky):
        return output[0], output[1][0], False
    states = getattr(module, "states", None)  # snnTorch's own neurons hand out the membrane last
    return output[0], output[-1 if states is None else 1 + states.index("mem")], False
