"""snnTorch's own neurons as the engines take them, where equations and parameters are the same to the last bit."""

from __future__ import annotations

import inspect

import snntorch
from snntorch import surrogate
from torch import nn

from snn_helpers.engine.reference import Neuron
from snn_helpers.neurons.base import SpikingNeuron
from snn_helpers.neurons.leaky import Leaky
from snn_helpers.neurons.synaptic import Synaptic


def leaky_to_zero(cur, spk, mem, *, beta, threshold):
    """Advance `snntorch.Leaky(reset_mechanism="zero")` by one step: what has fired starts from the current alone."""
    return (beta * ((1 - spk.detach()) * mem) + cur,)


def leaky_without_reset(cur, spk, mem, *, beta, threshold):
    """Advance `snntorch.Leaky(reset_mechanism="none")` by one step."""
    return (beta * mem + cur,)


def synaptic_to_zero(cur, spk, syn, mem, *, alpha, beta, threshold):
    """Advance `snntorch.Synaptic(reset_mechanism="zero")` by one step: what has fired is zero, whatever comes in."""
    syn = alpha * syn + cur
    mem = beta * mem + syn
    return syn, mem - mem * spk.detach()


def synaptic_without_reset(cur, spk, syn, mem, *, alpha, beta, threshold):
    """Advance `snntorch.Synaptic(reset_mechanism="none")` by one step."""
    syn = alpha * syn + cur
    return syn, beta * mem + syn


# By the name of the method that a neuron has chosen when it was built: what it really does, also where its
# `reset_mechanism` was changed afterwards, which it does not follow.
_EQUATIONS = {
    snntorch.Leaky: (
        Leaky.states,
        {
            "_base_sub": ("leaky", Leaky.equation),
            "_base_zero": ("leaky_to_zero", leaky_to_zero),
            "_base_int": ("leaky_without_reset", leaky_without_reset),
        },
    ),
    snntorch.Synaptic: (
        Synaptic.states,
        {
            "_base_sub": ("synaptic", Synaptic.equation),
            "_base_zero": ("synaptic_to_zero", synaptic_to_zero),
            "_base_int": ("synaptic_without_reset", synaptic_without_reset),
        },
    ),
}


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
    if type(module) not in _EQUATIONS:  # also a class derived from one of these, which may compute anything
        return f"{name} has no equation over time here"
    for option in ("inhibition", "state_quant"):
        if getattr(module, option):
            return f"{name} with `{option}` has no equation over time here"
    if not module.reset_delay:
        return f"{name} with `reset_delay=False` has no equation over time here"
    if module.graded_spikes_factor.requires_grad or (module.graded_spikes_factor != 1).any():
        return f"{name} with a `graded_spikes_factor` has no equation over time here"
    if not (module.threshold > 0).all():
        return f"{name} with a threshold of 0 or less fires before its first step, which no equation here does"
    states, equations = _EQUATIONS[type(module)]
    kind, equation = equations[module.state_function.__name__]
    decays = {name: getattr(module, name).clamp(0, 1) for name in ("alpha", "beta") if hasattr(module, name)}
    fire, slope = _known_surrogate(module.spike_grad)
    return Neuron(kind, equation, {**decays, "threshold": module.threshold}, states, surrogate=fire, slope=slope)


def _known_surrogate(function):
    """Return name and slope of a function of `snntorch.surrogate` that the engines know, else itself and None."""
    for name, parameter in (("fast_sigmoid", "slope"), ("atan", "alpha")):
        if getattr(function, "__code__", None) is _INNER[name]:
            return name, float(inspect.getclosurevars(function).nonlocals[parameter])
    return function, None


# What `surrogate.atan(...)` returns is told by its code, which all of its kind share.
_INNER = {name: getattr(surrogate, name)().__code__ for name in ("fast_sigmoid", "atan")}
