"""Why does it not learn? A model and one batch, looked at as a doctor would: what is stuck, what to try."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from snn_helpers._checks import check_labels
from snn_helpers.activity.measures import firing_rates
from snn_helpers.activity.recording import record
from snn_helpers.activity.taps import layer_threshold
from snn_helpers.models.readout import run_network
from snn_helpers.over_time import over_time

MOSTLY = 0.9  # of a layer's neurons, from which on the layer itself is called dead or saturated
LEAST_FIRING = 1e-3  # spikes a neuron and step, below which a layer counts as silent
VANISHING = 1e-6  # of a layer's pull over the strongest layer's
STUCK = 0.02  # from ln C
WAKE = (
    "Lower `threshold`, raise `beta` or the weights, or call `balance_firing(model, frames)` before training; if "
    "it died in training, lower the learning rate."
)


@dataclass(frozen=True)
class LayerHealth:
    """How one spiking layer does on a batch.

    Attributes
    ----------
    spike_fraction : float
        Spikes a neuron and step.
    dead, saturated : float in [0, 1]
        Shares of neurons that never fire, and that fire in more than 95 % of steps.
    mem_max : float
        The highest membrane, in units of the input current.
    threshold : float or None
        The threshold, where the layer has one number for it.
    """

    spike_fraction: float
    dead: float
    saturated: float
    mem_max: float
    threshold: float | None


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes
    ----------
    layers : dict of str to LayerHealth
        The spiking layers, in the order in which they compute.
    gradients : dict of str to float
        Norm of the loss's gradient times the norm of the weights, by module of weights: how far the loss moves as
        the weights change by a share of themselves, which no normalisation behind them hides.
    loss : float
        Cross-entropy on spike counts.
    problems : tuple of str
        Each names the layer and proposes a change; empty if nothing was found.
    """

    layers: dict[str, LayerHealth]
    gradients: dict[str, float]
    loss: float
    problems: tuple[str, ...] = field(default=())

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def __str__(self) -> str:
        rows = [f"{'layer':<16}{'fires, %':>9}{'dead, %':>9}{'saturated, %':>14}"]
        for name, layer in self.layers.items():
            shares = (100 * layer.spike_fraction, 100 * layer.dead, 100 * layer.saturated)
            rows.append(f"{name:<16}{shares[0]:>9.2f}{shares[1]:>9.1f}{shares[2]:>14.1f}")
        rows.append(f"loss {self.loss:.3f}")
        return "\n".join([*rows, *(f"- {problem}" for problem in self.problems or ("nothing found",))])


def diagnose(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Diagnosis:
    """Look for what keeps a network from learning: dead, saturated, silent layers, vanishing gradients, a stuck loss.

    Parameters
    ----------
    model : nn.Module
        One of our networks, or any module with our neurons or snnTorch's that answers output spikes [T, B, classes],
        alone or first in a tuple. It is left as it is: a copy is looked at, in the mode that the model is in.
    batch : (frames [T, B, ...], labels int64 [B])
        Recordings with their classes.

    Returns
    -------
    Diagnosis
        `print` shows it as a table with the problems below.

    Raises
    ------
    TypeError, ValueError
        If the model has no spiking layer or answers no output spikes, or a label is none of its classes.

    Examples
    --------
    >>> from snn_helpers import SpikingCNN
    >>> frames, labels = torch.ones(2, 3, 2, 34, 34), torch.tensor([0, 1, 2])
    >>> diagnose(SpikingCNN(threshold=1e6, norm="none", engine="snntorch"), (frames, labels)).healthy
    False
    """
    frames, labels = batch
    patient = over_time(copy.deepcopy(model))
    patient.zero_grad(set_to_none=True)
    with torch.enable_grad(), record(patient) as recording:
        counts = run_network(patient, frames).spk_rec.sum(0)
    check_labels(labels, counts.shape[1], count=counts.shape[0])
    loss = nn.functional.cross_entropy(counts, labels)
    if loss.requires_grad:
        loss.backward()
    layers = {}
    for name, rates in firing_rates(recording.spk).items():
        numbers = (rates.spike_fraction, rates.dead, rates.saturated, float(np.max(recording.mem[name])))
        layers[name] = LayerHealth(*numbers, layer_threshold(patient, name))
    gradients = _pulls(patient)
    problems = (*_firing_problems(layers), *_gradient_problems(gradients), *_loss_problems(loss.item(), counts))
    return Diagnosis(layers, gradients, loss.item(), problems)


def _pulls(model: nn.Module) -> dict[str, float]:
    gradients = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() > 1:
            norm = 0.0 if weight.grad is None else float(weight.grad.norm())
            gradients[name] = norm * float(weight.detach().norm())
    return gradients


def _firing_problems(layers: dict[str, LayerHealth]) -> Iterable[str]:
    silent_before = False
    for name, layer in layers.items():
        if not layer.spike_fraction:
            if silent_before:
                yield f"layer {name!r} is dead: nothing reaches it. Mend the layer before it first."
            else:
                yield f"layer {name!r} is dead: no neuron fires{_reach(layer)}. {WAKE}"
            silent_before = True
            continue
        if layer.spike_fraction < LEAST_FIRING:
            yield f"layer {name!r} is almost silent: {100 * layer.spike_fraction:.3f} % of steps. {WAKE}"
        elif layer.dead > MOSTLY:
            yield f"layer {name!r}: {100 * layer.dead:.0f} % of its neurons are dead. {WAKE}"
        elif layer.saturated > MOSTLY / 2:
            yield (
                f"layer {name!r} is saturated: {100 * layer.saturated:.0f} % of its neurons fire nearly always, where "
                "no gradient passes. Raise `threshold`, lower `beta`, the learning rate or the weights; or call "
                "`balance_firing(model, frames)` before training."
            )


def _reach(layer: LayerHealth) -> str:
    if layer.threshold is None or not math.isfinite(layer.mem_max):
        return ""
    return f", the highest membrane is {layer.mem_max:.3g} and the threshold {layer.threshold:.3g}"


def _gradient_problems(gradients: dict[str, float]) -> Iterable[str]:
    if not all(math.isfinite(value) for value in gradients.values()):
        broken = [name for name, value in gradients.items() if not math.isfinite(value)]
        yield f"the gradient of {', '.join(map(repr, broken))} is not a number: lower the learning rate."
        return
    strongest = max(gradients.values(), default=0.0)
    if gradients and not strongest:
        yield "no weight gets any gradient: what fires neither more nor less for a small change cannot learn."
        return
    weak = [name for name, value in gradients.items() if value < VANISHING * strongest]
    if weak:
        yield (
            f"the gradient vanishes at {', '.join(map(repr, weak))}: below {VANISHING:g} of the strongest. Bring the "
            "layers before and behind it to fire (`balance_firing`), take a lower `slope` or `threshold`, or add skips."
        )


def _loss_problems(loss: float, counts: Tensor) -> Iterable[str]:
    num_classes = counts.shape[1]
    if abs(loss - math.log(num_classes)) < STUCK and float(counts.detach().std(1).max()) < STUCK:
        yield (
            f"the loss is stuck at ln {num_classes} = {math.log(num_classes):.2f}: every class gets the same number of "
            "output spikes, whatever is shown. Make the output layer fire (see above), or train on its membranes."
        )
