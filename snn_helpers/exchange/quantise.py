"""Weights of few bits: rounded after training, or trained with, and what that costs."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from snn_helpers._files import whole_file
from snn_helpers._paths import user_path
from snn_helpers.exchange.integer import DECAY_BITS, FRACTION_BITS, IntegerNetwork
from snn_helpers.exchange.reading import NUM_STEPS, by_output, existing_file
from snn_helpers.over_time import WEIGHTS

BITS = (4, 8)


@dataclass(frozen=True)
class IntegerWeights:
    """Weights of one layer: `weight * scale`, by output channel.

    Attributes
    ----------
    weight : Tensor int8 [outputs, ...]
        Whole numbers in -127..127 or, of 4 bits, -7..7.
    scale : Tensor float32 [outputs]
        What one of them weighs.
    """

    weight: Tensor
    scale: Tensor

    def dequantised(self) -> Tensor:
        """Return the weights that these are, float32."""
        return self.weight * by_output(self.scale, self.weight.dim())


@dataclass(frozen=True)
class Quantised:
    """What `quantise` returns.

    Attributes
    ----------
    network : nn.Module
        A copy whose weights are the dequantised values; all else is the original's.
    layers : dict of str to IntegerWeights
        The weights, by the path of their module.
    bits : int
        Of a weight.
    bytes_before, bytes_after : int
        Parameters and buffers as float32; with these weights packed and their scales.
    largest_error : float
        Of a weight, in units of the largest weight of its output channel; 1 / 254 or 1 / 14 at most.
    """

    network: nn.Module
    layers: dict[str, IntegerWeights] = field(repr=False)
    bits: int
    bytes_before: int
    bytes_after: int
    largest_error: float

    def __str__(self) -> str:
        return (
            f"{len(self.layers)} layers of weights at {self.bits} bits: {self.bytes_before:,} bytes became "
            f"{self.bytes_after:,}; largest error {self.largest_error:.2%} of a channel's largest weight"
        )

    def integer(
        self,
        sample_shape: Sequence[int],
        fraction_bits: int = FRACTION_BITS,
        decay_bits: int = DECAY_BITS,
        num_steps: int = NUM_STEPS,
    ) -> IntegerNetwork:
        """Return the network in whole numbers alone; see `IntegerNetwork`, which takes the same."""
        return IntegerNetwork(self, sample_shape, fraction_bits, decay_bits, num_steps)

    def save(self, path: str | os.PathLike) -> None:
        """Write whole numbers, scales and the rest of the state to a file that `torch.load` reads."""
        state = self.network.state_dict()
        rest = {name: value for name, value in state.items() if name.removesuffix(".weight") not in self.layers}
        layers = {
            name: {"weight": _packed(one.weight, self.bits), "scale": one.scale, "shape": list(one.weight.shape)}
            for name, one in self.layers.items()
        }
        with whole_file(user_path(path)) as part:
            torch.save({"bits": self.bits, "error": self.largest_error, "layers": layers, "rest": rest}, part)


def quantise(net: nn.Module, bits: int = 8) -> Quantised:
    """Round the weights of a trained network to few bits, symmetrically, with a scale for each output channel.

    Parameters
    ----------
    net : nn.Module
        Left as it is; convolutions and linear layers of a copy are rounded, wherever they are.
    bits : {8, 4}
        Of a weight.

    Raises
    ------
    ValueError
        If there are no weights, one is not finite, or `bits` is another number.

    Notes
    -----
    With s = max |w| / (2^(bits - 1) - 1) of each output channel, w becomes s round(w / s). Biases, normalisations and
    the neurons' numbers stay as they are; `integer` rounds them, too.

    Examples
    --------
    >>> net = nn.Linear(3, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = net.weight.copy_(torch.tensor([[1.27, -0.5, 0.004]]))
    >>> quantised = quantise(net)
    >>> quantised.layers[""].weight.tolist()
    [[127, -50, 0]]
    """
    network = _copy_with_weights(net, bits)
    layers = {}
    error, before, after = 0.0, 0, 0
    with torch.no_grad():
        for name, module in _weights_of(network).items():
            weight = _trained(module, bits, name).detach().cpu().float()
            if not weight.isfinite().all():
                raise ValueError(f"{name or type(module).__name__}: weights must be finite to be rounded.")
            layers[name] = _rounded(weight, bits)
            largest = weight.flatten(1).abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny)
            wrong = (weight - layers[name].dequantised()).flatten(1).abs().amax(1)
            error = max(error, float((wrong / largest).max()))
            _unparametrise(module)
            module.weight.copy_(layers[name].dequantised())
            before += 4 * weight.numel()
            after += (weight.numel() * bits + 7) // 8 + 4 * len(weight)
    rest = sum(value.numel() for value in network.state_dict().values()) - before // 4
    return Quantised(network, layers, bits, before + 4 * rest, after + 4 * rest, error)


def quantisation_aware(net: nn.Module, bits: int = 4) -> nn.Module:
    """Return a copy of a network that computes with weights of few bits while it learns.

    Train it as any network, some epochs from trained weights: gradients reach the weights before rounding as they are
    (straight-through). `quantise` with as many bits then gives exactly the weights that it was trained with.

    Parameters
    ----------
    net : nn.Module
        Left as it is; weights of convolutions and linear layers of the copy are rounded in every forward pass.
    bits : {8, 4}
        Of a weight.

    Returns
    -------
    nn.Module
        With torch's parametrisation `RoundedWeights` of each `weight`. For `accelerate` and `train(config, model=...)`;
        to load or resume a checkpoint of it, hand over a network that was made in the same way.

    Raises
    ------
    ValueError
        If there are no weights, they are parametrised already, or `bits` is another number.

    Notes
    -----
    The rounding is that of `quantise`. Straight-through gradients: Y. Bengio et al., Estimating or propagating
    gradients through stochastic neurons, arXiv:1308.3432 (2013); with rounded weights, B. Jacob et al., Quantization
    and training of neural networks for efficient integer-arithmetic-only inference, CVPR (2018).

    Examples
    --------
    >>> from snn_helpers import Leaky, accelerate
    >>> net = nn.Sequential(nn.Linear(4, 3), Leaky(init_hidden=True, output=True))
    >>> aware = quantisation_aware(net, bits=4)
    >>> optimiser = torch.optim.SGD(aware.parameters(), lr=0.1)
    >>> spk_rec, mem_rec = accelerate(aware)(torch.ones(5, 2, 4))
    >>> mem_rec.sum().backward()
    >>> optimiser.step()
    >>> torch.equal(quantise(aware, bits=4).network[0].weight, aware[0].weight)
    True
    """
    aware = _copy_with_weights(net, bits)
    for name, module in _weights_of(aware).items():
        if parametrize.is_parametrized(module, "weight"):
            raise ValueError(f"{name or type(module).__name__}: its weights are parametrised already.")
        parametrize.register_parametrization(module, "weight", RoundedWeights(bits))
    return aware


class RoundedWeights(nn.Module):
    """A parametrisation: weights as `quantise` rounds them, with the gradient of weights that are not rounded."""

    of_weights_alone = True  # equal in every step, so that a layer may compute all steps at once

    def __init__(self, bits: int):
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        """Round weights [outputs, ...]."""
        kept = weight.detach()
        rounded = _rounded(kept.float(), self.bits).dequantised().to(kept.dtype)  # in float32, as `quantise` rounds
        return rounded + (weight - kept)  # zeros, which carry the gradient


def _copy_with_weights(net: nn.Module, bits: int) -> nn.Module:
    if bits not in BITS:
        raise ValueError(f"`bits` must be 8 or 4; got {bits!r}.")
    if not isinstance(net, nn.Module):
        raise TypeError(f"`net` must be an nn.Module; got {type(net).__name__}.")
    if not _weights_of(net):
        raise ValueError(f"{type(net).__name__} has no convolution and no linear layer: there is nothing to round.")
    return copy.deepcopy(net)


def _weights_of(net: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in net.named_modules() if isinstance(module, WEIGHTS)}


def _unparametrise(module: nn.Module) -> None:
    """Give a module its present weights as plain parameters.

    torch's `remove_parametrizations` would take them from all copies of the module, too: they share its class.
    """
    if parametrize.is_parametrized(module):
        values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
        module.__class__ = parametrize.type_before_parametrizations(module)
        del module.parametrizations
        for name, value in values.items():
            module.register_parameter(name, nn.Parameter(value))


def _trained(module: nn.Module, bits: int, name: str) -> Tensor:
    """Return weights as they learn, before they are rounded to as many bits; what is rounded twice may differ."""
    if not parametrize.is_parametrized(module, "weight"):
        return module.weight
    maps = module.parametrizations["weight"]
    if not isinstance(maps[0], RoundedWeights):
        return module.weight
    if maps[0].bits != bits:
        raise ValueError(f"{name}: was trained for weights of {maps[0].bits} bits; got `bits` {bits}.")
    return maps.original


def load_quantised(path: str | os.PathLike, net: nn.Module) -> Quantised:
    """Return the network of a file that `Quantised.save` wrote; `net` is one of its kind, and is left as it is.

    Raises
    ------
    ValueError
        If the file is another, or of another network.
    """
    path = existing_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        bits = state["bits"]
        layers = {
            name: IntegerWeights(_unpacked(one["weight"], one["shape"], bits), one["scale"])
            for name, one in state["layers"].items()
        }
        weights = {f"{name}.weight" if name else "weight": one.dequantised() for name, one in layers.items()}
        quantised = quantise(net, bits)
        quantised.network.load_state_dict({**state["rest"], **weights})
        return dataclasses.replace(quantised, layers=layers, largest_error=state["error"])
    except Exception as err:  # torch raises pickle, zip, key and runtime errors alike
        told = " ".join(str(err).split("\n")[:2]).replace("\t", "")
        reason = told if isinstance(err, RuntimeError) else "it is no file of `Quantised.save`, or damaged"
        raise ValueError(f"{path}: holds no such weights of {type(net).__name__} ({reason}).") from err


def _rounded(weight: Tensor, bits: int) -> IntegerWeights:
    most = 2 ** (bits - 1) - 1
    largest = weight.flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest / most, 1.0)
    return IntegerWeights((weight / by_output(scale, weight.dim())).round().clamp(-most, most).to(torch.int8), scale)


def _packed(weight: Tensor, bits: int) -> Tensor:
    """Return int8 as it is, or two numbers of 4 bits in each byte."""
    if bits == 8:
        return weight
    flat = F.pad(weight.flatten(), (0, weight.numel() % 2)).view(-1, 2).to(torch.int16) & 15
    return (flat[:, 0] | flat[:, 1] << 4).to(torch.uint8)


def _unpacked(packed: Tensor, shape: Sequence[int], bits: int) -> Tensor:
    if bits == 8:
        return packed
    pairs = torch.stack([packed & 15, packed >> 4], 1).to(torch.int8)
    whole = torch.where(pairs > 7, pairs - 16, pairs).flatten()
    return whole[: torch.Size(shape).numel()].view(*shape)
