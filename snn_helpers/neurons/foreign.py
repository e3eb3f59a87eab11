"""snnTorch's own neurons as the engines take them: by an equation of ours, or by their own code."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import snntorch
from snntorch import surrogate
from torch import Tensor, nn

from snn_helpers.engine.reference import Neuron, Recurrence, identity
from snn_helpers.neurons.base import SpikingNeuron
from snn_helpers.neurons.leaky import Leaky
from snn_helpers.neurons.synaptic import Synaptic

_STATES = {
    snntorch.Leaky: ("mem",),
    snntorch.Lapicque: ("mem",),
    snntorch.Synaptic: ("syn", "mem"),
    snntorch.Alpha: ("syn_exc", "syn_inh", "mem"),
    snntorch.RLeaky: ("mem",),
    snntorch.RSynaptic: ("syn", "mem"),
}
_OURS = {snntorch.Leaky: Leaky, snntorch.Synaptic: Synaptic}  # with these equations, unless an option changes them


@dataclass(frozen=True)
class OwnCode(Neuron):
    """A module of snnTorch's whose step is its own code, called with the state and the numbers that it is handed."""

    module: nn.Module | None = None
    reset: int = 0  # its `reset_mechanism_val`, a tensor, of which no trace can ask `if`

    @property
    def key(self) -> tuple:
        """What the arithmetic depends on beside the numbers' values."""
        plain = {
            name: value for name, value in vars(self.module).items() if isinstance(value, bool | int | float | str)
        }
        options = (self.module.state_function.__name__, self.reset, tuple(sorted(plain.items())))
        return type(self.module), *options, identity(self.surrogate), self.recurrence is None

    def step(self, cur: Tensor, spk: Tensor, state: Sequence[Tensor], numbers: dict[str, Tensor]) -> tuple:
        """Advance by one step: return the new spikes and state."""
        module = self.module
        kept = dict(vars(module))
        try:
            module._parameters = {}
            plain = {"reset_mechanism_val": self.reset, "spk": spk}
            module._buffers = {**kept["_buffers"], **plain, **numbers, **dict(zip(self.states, state))}
            if "drive" in numbers:
                module._modules = {"recurrent": lambda _: numbers["drive"]}
            spk = module.forward(cur)
            after = tuple(getattr(module, name) for name in self.states)
        finally:
            vars(module).clear()
            vars(module).update(kept)
        return (spk[0] if isinstance(spk, tuple) else spk), after


def as_neuron(module: nn.Module) -> Neuron | str:
    """Return a module of neurons as the engines take it, or the reason why none of their equations is its own.

    Parameters
    ----------
    module : nn.Module
        A neuron of ours or of snnTorch's. Its numbers are read now, its tensors are the module's own: what is learned
        gets its gradient, and a module whose parameters have changed since must be asked again.

    Returns
    -------
    Neuron or str
        With a surrogate by name where snnTorch's is one that kernels know, else with its own function.
    """
    if isinstance(module, SpikingNeuron):
        return module.neuron()
    name = type(module).__name__
    if type(module) not in _STATES:  # also a class derived from one of these, which may compute anything
        return f"{name} has no equation over time here"
    for option in ("inhibition", "state_quant"):
        if getattr(module, option):
            return f"{name} with `{option}` has no equation over time here"
    fire, slope = _known_surrogate(module.spike_grad)
    if type(module) in _OURS and module.state_function.__name__ == "_base_sub" and _is_plain(module):
        ours = _OURS[type(module)]
        decays = {name: getattr(module, name).clamp(0, 1) for name in ("alpha", "beta") if hasattr(module, name)}
        numbers = {**decays, "threshold": module.threshold}
        return Neuron(ours.kind, ours.equation, numbers, ours.states, surrogate=fire, slope=slope)
    recurrent = getattr(module, "recurrent", None)
    if recurrent is not None and not (type(recurrent) is nn.Linear and module.reset_delay):
        return f"{name} has an equation over time here with `linear_features` and `reset_delay` only"
    states = _STATES[type(module)]
    tensors = {**module._parameters, **module._buffers}
    numbers = {name: value for name, value in tensors.items() if name not in (*states, "spk", "reset_mechanism_val")}
    recurrence = None if recurrent is None else Recurrence(recurrent.weight, recurrent.bias)
    return OwnCode(
        f"snntorch.{name}",
        None,
        numbers,
        states,
        surrogate=module.spike_grad,
        recurrence=recurrence,
        module=module,
        reset=int(module.reset_mechanism_val),
    )


def _is_plain(module: nn.Module) -> bool:
    """Whether spikes are reset a step later, weigh one, and need a current."""
    graded = module.graded_spikes_factor.requires_grad or (module.graded_spikes_factor != 1).any()
    return module.reset_delay and not graded and bool((module.threshold > 0).all())


def _known_surrogate(function):
    """Return name and slope of a function of `snntorch.surrogate` that the engines know, else itself and None."""
    for name, parameter in (("fast_sigmoid", "slope"), ("atan", "alpha")):
        if getattr(function, "__code__", None) is _INNER[name]:
            return name, float(inspect.getclosurevars(function).nonlocals[parameter])
    return function, None


# What `surrogate.atan(...)` returns is told by its code, which all of its kind share.
_INNER = {name: getattr(surrogate, name)().__code__ for name in ("fast_sigmoid", "atan")}
