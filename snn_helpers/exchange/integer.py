"""A network in whole numbers alone, as neuromorphic chips compute: weights, thresholds, decays and membranes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from snn_helpers._checks import check_int
from snn_helpers.exchange.reading import NUM_STEPS, affine_of, by_output, read_step, role_of
from snn_helpers.neurons import as_neuron
from snn_helpers.over_time import evaluating, is_spiking
from snn_helpers.over_time.fold import name_of
from snn_helpers.over_time.program import Now, Op

if TYPE_CHECKING:
    from snn_helpers.exchange.quantise import Quantised

# With these, products of a membrane and a decay stay below 2^63 for membranes of up to 500 thresholds, and roundings
# are about float32's.
FRACTION_BITS = 16
DECAY_BITS = 24
_MOST_EVENTS = 65_535  # of a pixel in a step, so that sums stay within 64 bits
_THRESHOLD_BITS = 30  # of the largest threshold or bias


@dataclass(eq=False)
class _Currents:
    """What weights give, in whole numbers: currents are `unit` times them, by output channel."""

    weight: Tensor
    unit: Tensor  # float64 [outputs]
    offset: Tensor  # float64 [outputs], in the network's own unit
    pooled: bool = False  # whether a max-pool has taken the largest of them
    bias: Tensor | None = None  # the offset in whole numbers, once it is known
    shift: Tensor | None = None  # int64 [outputs]: bits of membranes below the unit

    def close(self, fraction_bits: int, threshold: Tensor) -> None:
        """Make units positive, which a normalisation may have turned, and the offset whole.

        A channel whose weights are next to nothing beside its threshold or its offset has fewer bits below the unit, or
        no weights, so that no number outgrows 64 bits.
        """
        least = self.offset.abs().clamp_min(float(threshold.max()))
        silent = self.unit.abs() * 2**_THRESHOLD_BITS < least
        self.weight = self.weight * by_output((self.unit.sign() * ~silent).long(), self.weight.dim())
        self.unit = torch.where(silent, least, self.unit.abs())
        self.shift = (_THRESHOLD_BITS - (least / self.unit).log2()).floor().clamp(0, fraction_bits).long()
        self.bias = (self.offset / self.unit * 2.0**self.shift).round().long()


@dataclass
class _Neurons:
    """Leaky, Synaptic or ALIF neurons in whole numbers: membranes, synapses and thresholds in one unit.

    What a kind does not have is zero: `alpha`, the decay of a synapse, `rho`, that of what raises the threshold, and
    `rise`, by how much a spike does so.
    """

    alpha: Tensor  # decays in units of 2^-decay_bits
    beta: Tensor
    rho: Tensor
    threshold: Tensor
    rise: Tensor
    unit: Tensor
    decay_bits: int
    state: tuple[Tensor, ...] = ()  # spikes, synapse, membrane, what the threshold is raised by

    @property
    def mem(self) -> Tensor:
        """Membranes after the last step."""
        return self.state[2]

    def step(self, cur: Tensor) -> Tensor:
        """Advance by one step: the equations of `neurons`, products with decays rounded."""
        if not self.state or self.state[0].shape != cur.shape:
            self.state = (torch.zeros_like(cur),) * 4
        spk, syn, mem, raised = self.state
        syn = self._left(self.alpha, syn) + cur
        mem = self._left(self.beta, mem) + syn - (self.threshold + raised) * spk
        raised = self._left(self.rho, raised) + self.rise * spk
        self.state = ((mem > self.threshold + raised).long(), syn, mem, raised)
        return self.state[0]

    def _left(self, decay: Tensor, value: Tensor) -> Tensor:
        return (decay * value + (1 << self.decay_bits >> 1)) >> self.decay_bits


class IntegerNetwork:
    """A network of convolutions, linear layers and neurons that computes in whole numbers alone.

    Currents are sums of whole weights; membranes, thresholds and biases have `fraction_bits` more bits, and decays are
    multiples of 2^-decay_bits: they and thresholds are rounded, as are products of membranes and decays. Normalisations
    are folded into the units. With few of these bits neurons near their threshold fire otherwise than the dequantised
    network's, and so do those behind them; with the default ones that is as rare as between two orders of float32 sums.

    Parameters
    ----------
    quantised : Quantised
        The weights, and the network that they are of.
    sample_shape : sequence of int
        Shape of one frame without the batch, [C, H, W].
    fraction_bits : int in 0..24
        Bits of membranes below the unit of the weights.
    decay_bits : int in 1..24
        Bits of decays.
    num_steps : int
        Steps of a recording, over which a loop of the network's own must do the same in each.

    Raises
    ------
    ValueError
        If a layer is none of these, which the message names.
    """

    def __init__(
        self,
        quantised: Quantised,
        sample_shape: Sequence[int],
        fraction_bits: int = FRACTION_BITS,
        decay_bits: int = DECAY_BITS,
        num_steps: int = NUM_STEPS,
    ):
        self.fraction_bits = check_int("fraction_bits", fraction_bits, 0, 24)
        self.decay_bits = check_int("decay_bits", decay_bits, 1, 24)
        self._net, program = read_step(quantised.network, sample_shape, num_steps=num_steps)
        self._shape = tuple(sample_shape)
        self._layers, self._steps = quantised.layers, program.steps
        answers = [leaf.index for leaf in tree_leaves(program.output) if isinstance(leaf, Now)]
        self._answer = answers[0]
        self._parts: dict[int, _Currents | _Neurons] = {}
        currents: list[_Currents | str | None] = []  # of each operation; None for spikes, "membranes" for these
        self._first = next(index for index, op in enumerate(self._steps) if op.kind == "series")
        with evaluating(self._net):
            for index, op in enumerate(self._steps):
                currents.append(self._build(index, op, [currents[i.index] for i in op.args if isinstance(i, Now)]))
        if currents[self._answer] is not None:
            raise ValueError(f"{type(self._net).__name__}: what it returns first are no spikes.")

    def _build(self, index: int, op: Op, taken: list[Any]) -> _Currents | str | None:
        """Prepare one operation; return the currents that it gives, None for spikes, or "membranes"."""
        if op.kind == "series":
            return None
        name = op.target if op.kind == "call_module" else f"`{name_of(op)}`{op.line}"
        module = self._net.get_submodule(op.target) if op.kind == "call_module" else None
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) and taken == [None]:
            if getattr(module, "padding_mode", "zeros") != "zeros":
                raise ValueError(f"{name}: pads with other numbers than zeros.")
            if isinstance(module, nn.Linear) and op.val.dim() > 2:
                raise ValueError(f"{name}: makes {list(op.val.shape[1:])}; a linear layer takes one axis. Flatten.")
            layer = self._layers[op.target]
            unit = layer.scale.double()
            offset = torch.zeros_like(unit) if module.bias is None else module.bias.detach().cpu().double()
            self._parts[index] = _Currents(layer.weight.long(), unit, offset)
            return self._parts[index]
        if isinstance(module, _BatchNorm) and module.running_mean is not None and isinstance(taken[0], _Currents):
            scale, shift = (tensor.cpu() for tensor in affine_of(module))
            if taken[0].pooled and (scale < 0).any():
                raise ValueError(f"{name}: a negative scale after a max-pool has no form in whole numbers here.")
            taken[0].unit, taken[0].offset = taken[0].unit * scale, taken[0].offset * scale + shift
            return taken[0]
        if module is not None and is_spiking(module) and isinstance(taken[0], _Currents):
            self._parts[index] = self._neurons(name, module, taken[0], op)
            return None
        role = role_of(op, self._steps, self._net)
        if isinstance(module, nn.MaxPool2d | nn.MaxPool1d) and isinstance(taken[0], _Currents):
            taken[0].pooled = True
        if role == "same" or isinstance(module, nn.MaxPool2d | nn.MaxPool1d):
            return taken[0]
        if (role in ("spikes", "sum", "flat") or isinstance(module, nn.Flatten)) and set(taken) == {None}:
            return None
        if name_of(op) == "getitem" and taken == [None]:
            return "membranes"  # fine where nothing takes them
        kind = name if module is None else f"{name} ({type(module).__name__})"
        raise ValueError(f"{kind}: has no form in whole numbers here, which knows weights, norms and max-pools.")

    def _neurons(self, name: str, module: nn.Module, currents: _Currents, op: Op) -> _Neurons:
        neuron = as_neuron(module)
        if isinstance(neuron, str) or neuron.kind not in ("leaky", "synaptic", "alif"):
            kind = neuron if isinstance(neuron, str) else f"the kind {neuron.kind!r}"
            raise ValueError(
                f"{name}: of neurons, Leaky, Synaptic and ALIF have a form in whole numbers here, which subtract one "
                f"step later; got {kind}."
            )
        if currents.bias is not None:
            raise ValueError(
                f"{name}: shares its currents with other neurons, which has no form in whole numbers here."
            )
        zero = dict.fromkeys(("alpha", "rho", "adaptation"), 0.0)
        number = {key: torch.as_tensor(value).detach().cpu().double() for key, value in (zero | neuron.numbers).items()}
        currents.close(self.fraction_bits, number["threshold"])
        axes = (op.val[0] if isinstance(op.val, tuple) else op.val).dim() - 1
        unit = by_output(currents.unit / 2.0**currents.shift, axes)
        rise = (1 - number["rho"]) * number["adaptation"]
        alpha, beta, rho = ((number[key] * 2**self.decay_bits).round().long() for key in ("alpha", "beta", "rho"))
        threshold, rise = ((value / unit).round().long() for value in (number["threshold"], rise))
        return _Neurons(alpha, beta, rho, threshold, rise, unit, self.decay_bits)

    def reset(self) -> None:
        """Set all membranes to zero."""
        for part in self._parts.values():
            if isinstance(part, _Neurons):
                part.state = ()

    def step(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one step on a frame [B, ...] of whole numbers.

        Returns
        -------
        spk, mem : Tensor [B, ...]
            Output spikes, int64; membranes in the network's own unit, float64, for ties.
        """
        if frame.is_floating_point() and bool((frame != frame.round()).any()):
            raise ValueError("`frame` must hold whole numbers, counts of events.")
        if frame.numel() and float(frame.abs().max()) > _MOST_EVENTS:
            raise ValueError(
                f"`frame` must hold counts of events up to {_MOST_EVENTS:,}; got {float(frame.abs().max()):g}."
            )
        if frame.shape[1:] != self._shape:
            raise ValueError(f"`frame` must be [B, {', '.join(map(str, self._shape))}]; got {list(frame.shape)}.")
        values: list[Any] = []
        for index, op in enumerate(self._steps):
            part = self._parts.get(index)
            taken = [values[item.index] for item in op.args if isinstance(item, Now)]
            module = self._net.get_submodule(op.target) if op.kind == "call_module" else None
            if index == self._first:
                values.append(frame.long())
            elif isinstance(part, _Currents):
                values.append(self._weigh(module, part, taken[0]))
            elif isinstance(part, _Neurons):
                values.append(part.step(taken[0]))
            elif isinstance(module, nn.MaxPool2d | nn.MaxPool1d):
                values.append(module(taken[0].double()).long())  # torch pools no whole numbers on every device
            elif isinstance(module, nn.Flatten):
                values.append(module(taken[0]))
            else:
                role = role_of(op, self._steps, self._net)
                values.append(sum(taken) if role == "sum" else taken[0].flatten(1) if role == "flat" else taken[0])
        part = self._parts.get(self._answer)
        if part is None:  # spikes of a tuple's first part
            part = [one for one in self._parts.values() if isinstance(one, _Neurons)][-1]
        return values[self._answer], part.mem * part.unit

    def _weigh(self, module: nn.Module, part: _Currents, spikes: Tensor) -> Tensor:
        """Return whole currents, with the membranes' fraction bits.

        torch has no convolution of integers on a CPU: sums are taken in float64, which holds whole numbers below 2^53.
        """
        spikes, weight = spikes.double(), part.weight.double()
        if isinstance(module, nn.Linear):
            total = F.linear(spikes, weight)
        else:
            function = F.conv1d if isinstance(module, nn.Conv1d) else F.conv2d
            total = function(spikes, weight, None, module.stride, module.padding, module.dilation, module.groups)
        axes = total.dim() - 1
        return (total.long() << by_output(part.shift, axes)) + by_output(part.bias, axes)

    def run(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Run all steps [T, B, ...] from membranes of zero; return spikes and membranes over time, as `step` does."""
        frames = torch.as_tensor(frames)
        if not frames.dim() or not len(frames):
            raise ValueError(f"`frames` must be [T, B, ...] of one step or more; got {list(frames.shape)}.")
        self.reset()
        spk_rec, mem_rec = zip(*[self.step(frame) for frame in frames])
        self.reset()
        return torch.stack(spk_rec), torch.stack(mem_rec)
