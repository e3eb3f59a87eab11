"""Set how often the layers of an untrained network fire: neither silent, which learns nothing, nor always."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from snn_helpers._checks import check_float
from snn_helpers.engine import Spikes
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.models.passes import LayerByLayer, SpikingLayer

BISECTIONS = 12
TOLERANCE = 0.02  # relative to the share asked for
SHIFTS = (-6.0, 6.0)  # of a normalisation, in units of the threshold
FACTORS = (-8.0, 8.0)  # of weights, as powers of two


# A wide scale with a negative shift learns faster than a narrow scale without one, at equal firing: more membranes come
# near the threshold, where the surrogate gradient is.
NORM_SCALE = 0.5  # of a normalisation, in units of the threshold


@torch.no_grad()
def set_gains(layer: SpikingLayer, shift: float, gain: float) -> None:
    """Draw a layer's weights anew, its currents in units of the threshold.

    Parameters
    ----------
    layer : SpikingLayer
        Changed in place.
    shift : float
        Of its normalisation, if it has one, whose scale becomes `NORM_SCALE`; in units of the threshold.
    gain : float
        Without normalisation: standard deviation of the weights, times the square root of a neuron's inputs and divided
        by the threshold.
    """
    threshold, weight = layer.neurons.number("threshold"), layer.weights.weight
    fan_in = weight[0].numel()
    if layer.normalised:
        weight.normal_(0, fan_in**-0.5)  # its size has no effect
        layer.norm.weight.fill_(NORM_SCALE * threshold)
        layer.norm.bias.fill_(shift * threshold)
    else:
        weight.normal_(0, gain * threshold * fan_in**-0.5)
        layer.weights.bias.zero_()


@torch.no_grad()
def balance_firing(
    model: SpikingNetwork, frames: Tensor, share: float | Mapping[str, float] = 0.08
) -> dict[str, float]:
    """Scale each layer, first to last, so that it fires at a share of steps on one batch.

    Where a layer has a normalisation, its shift is moved; elsewhere weights and bias are multiplied. One walk along the
    network suffices: each layer is tried on the spikes that the layers before it, already set, give it. Nothing is
    random: the same weights and frames give the same result. Statistics of normalisations are afterwards those of
    this batch, so that the network fires alike in eval mode.

    Parameters
    ----------
    model : SpikingNetwork
        Changed in place; its mode is left as it was.
    frames : Tensor [T, B, C, H, W]
        Event counts of one batch.
    share : float in (0, 0.5], or dict of them by layer name
        Spikes a neuron and step.

    Returns
    -------
    dict of str to float
        The share that each layer reached; one that cannot reach it, for example without any input, comes as close as
        it can.

    Raises
    ------
    TypeError, ValueError
        If the share is out of range, or the frames do not fit the model.
    """
    layers = model.spiking_layers()
    shares = dict(share) if isinstance(share, Mapping) else dict.fromkeys(layers, share)
    if shares.keys() != layers.keys():
        raise ValueError(f"`share` must name the layers {', '.join(layers)}; got {', '.join(shares)}.")
    for value in shares.values():
        check_float("share", value, low=0, high=0.5, above=True)
    model._check_frames(frames)
    modes = [(module, module.training) for module in model.modules()]
    momenta = [(norm, norm.momentum) for _, norm, _ in layers.values() if hasattr(norm, "momentum")]
    model.train()
    for norm, _ in momenta:
        norm.momentum = 1.0
    try:
        run, frames = model._pass(frames, keep_mem=False, over_time=True)
        balancing = _Balancing(run, shares)
        model.route(balancing, frames, model.output.weight.new_ones(()))
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum
            norm.num_batches_tracked.zero_()
        for module, training in modes:
            module.training = training
    return balancing.reached


class _Balancing:
    """Walks a route like the `run` it wraps, and sets every layer on its way."""

    def __init__(self, run, shares: dict[str, float]):
        self.run, self.shares = run, shares
        self.reached: dict[str, float] = {}

    def conv(self, name: str, spk, **options):
        return self._set(name, lambda: self.run.conv(name, spk, **options))

    def full(self, name: str, spk):
        return self._set(name, lambda: self.run.full(name, spk))

    def _set(self, name: str, fire):
        knob, share = _Knob(self.run.layers[name]), self.shares[name]
        low, high = knob.range
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            knob.turn(middle)
            spikes = fire()
            self.reached[name] = _share(spikes)
            if abs(self.reached[name] - share) <= TOLERANCE * share:
                break
            low, high = (middle, high) if self.reached[name] < share else (low, middle)
        return spikes

    add, drop = LayerByLayer.add, LayerByLayer.drop


class _Knob:
    """What makes a layer fire more: the shift of its normalisation, or a factor on its weights."""

    def __init__(self, layer: SpikingLayer):
        self.layer = layer
        self.threshold = layer.neurons.number("threshold")
        self.range = SHIFTS if layer.normalised else FACTORS
        self.start = [parameter.clone() for parameter in layer.weights.parameters()]

    def turn(self, to: float) -> None:
        if self.layer.normalised:
            self.layer.norm.bias.fill_(to * self.threshold)
            return
        for parameter, start in zip(self.layer.weights.parameters(), self.start):
            parameter.copy_(start * 2.0**to)


def _share(spikes: Spikes | Tensor) -> float:
    return float(spikes.fraction() if isinstance(spikes, Spikes) else spikes.mean())
