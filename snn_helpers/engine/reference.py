"""Neurons over time in plain torch: the readable truth that the fast engines must equal.

A kind of neurons is one equation, a pure function of one time step, and a rule of firing (one file a kind in
`snn_helpers.neurons`):

    equation(cur, spk, *state, **numbers) -> state          excess(*, <states by name>, **numbers) -> v

with the input current, and spikes and state after the step before, each [B, ...]. Neurons fire where v > 0 (strictly),
with the surrogate's gradient. State and spikes start at zero. The order of operations is snnTorch's, so that float32
spikes equal snnTorch's bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from snn_helpers._checks import check_choice, check_float, register


class Surrogate(NamedTuple):
    """The derivative that a spike is given, as `derivative(v, slope)`, and its slope unless another is asked for."""

    derivative: Callable[[Tensor, float], Tensor]
    slope: float


# Fast sigmoid: Zenke and Ganguli 2018 (SuperSpike). Compact: the triangle of the same height and area, zero beyond
# 2 / slope, which makes the backward pass sparse. Arc tangent: Fang et al. 2021, snnTorch's default (its alpha).
SURROGATES = {
    "fast_sigmoid": Surrogate(lambda v, slope: 1.0 / (slope * v.abs() + 1.0) ** 2, 25.0),
    "compact": Surrogate(lambda v, slope: (1.0 - 0.5 * slope * v.abs()).clamp(min=0), 25.0),
    "atan": Surrogate(lambda v, slope: slope / 2 / (1 + (math.pi / 2 * slope * v) ** 2), 2.0),
}


def register_surrogate(name: str, derivative: Callable[[Tensor, float], Tensor], slope: float = 1.0) -> None:
    """Add a surrogate gradient, from then on a choice wherever there is one.

    Parameters
    ----------
    name : str
        How it is asked for.
    derivative : callable
        `derivative(v, slope)`: the gradient of spikes with respect to v, membrane less threshold, in plain torch.
    slope : float
        Its slope unless another is asked for.

    Raises
    ------
    ValueError
        If there is another one of this name.
    """
    entry = Surrogate(derivative, check_float("slope", slope, low=0, above=True))
    register(SURROGATES, name, entry, lambda entry: entry.derivative)


def above_threshold(mem: Tensor, threshold: Tensor, **_: Tensor) -> Tensor:
    """Return how far membranes are above the threshold: the rule of firing unless a kind has its own."""
    return mem - threshold


class Recurrence(NamedTuple):
    """What fully connects a layer of neurons to itself: `weight @ spikes + bias`, of the step before, is a current."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Neuron:
    """One layer of neurons, as the engines take it.

    Parameters
    ----------
    kind : str
        Names the equation; what a kernel is registered for.
    equation, excess : callable
        One time step and the rule of firing, see this module.
    numbers : dict of str to float or Tensor
        What the equation takes beside currents, spikes and state: one number each, or tensors that broadcast to
        [B, ...]; those that require a gradient get it.
    states : tuple of str
        What is carried from step to step, in the equation's order; one of them is "mem".
    surrogate : str or callable
        Gradient of a spike: one of `SURROGATES`, or a function of one's own, v to spikes, as snnTorch's neurons take
        it.
    slope : float or None
        Steepness of a surrogate that is asked for by name; None: its own.
    recurrence : Recurrence or None
        Connections among the neurons; the equation then takes their current as a number called "drive", which `step`
        computes where it is not given.

    Raises
    ------
    TypeError, ValueError
        If the surrogate is unknown or a number is not finite.
    """

    kind: str
    equation: Callable
    numbers: Mapping[str, float | Tensor]
    states: tuple[str, ...] = ("mem",)
    excess: Callable = above_threshold
    surrogate: str | Callable[[Tensor], Tensor] = "fast_sigmoid"
    slope: float | None = None
    recurrence: Recurrence | None = None

    def __post_init__(self):
        if not callable(self.surrogate):
            check_choice("surrogate", self.surrogate, SURROGATES)
            slope = SURROGATES[self.surrogate].slope if self.slope is None else self.slope
            object.__setattr__(self, "slope", check_float("slope", slope, low=0, above=True))
        for name, value in self.numbers.items():
            if not isinstance(value, Tensor):
                check_float(name, value)

    @property
    def key(self) -> tuple:
        """What the arithmetic depends on beside the numbers' values; hashable."""
        return self.kind, self.equation, self.excess, self.states, identity(self.surrogate), self.slope

    @property
    def is_pure(self) -> bool:
        """Whether the functions are known to compute the same whenever they are called, since they are no one's own."""
        return all(f is None or _is_known(f) for f in (self.equation, self.excess, self.surrogate))

    @property
    def learns(self) -> bool:
        """Whether any of the numbers gets a gradient now."""
        tensors = (value for value in self.numbers.values() if isinstance(value, Tensor))
        return torch.is_grad_enabled() and any(value.requires_grad for value in tensors)

    def tensors(self, like: Tensor) -> dict[str, Tensor]:
        """Return the numbers as tensors of the type and device of `like`."""
        return {k: torch.as_tensor(value, dtype=like.dtype, device=like.device) for k, value in self.numbers.items()}

    def step(self, cur: Tensor, spk: Tensor, state: Sequence[Tensor], numbers: dict[str, Tensor]) -> tuple:
        """Advance by one step: return the new spikes and state."""
        if self.recurrence is not None and "drive" not in numbers:
            numbers = {**numbers, "drive": F.linear(spk, *self.recurrence)}
        state = self.equation(cur, spk, *state, **numbers)
        return self.spikes(state, numbers), state

    def spikes(self, state: Sequence[Tensor], numbers: dict[str, Tensor]) -> Tensor:
        """Return the spikes that follow from a state."""
        return self.fire(self.excess(**dict(zip(self.states, state)), **numbers))

    def fire(self, excess: Tensor) -> Tensor:
        """Turn membrane less threshold into spikes with the surrogate's gradient."""
        if callable(self.surrogate):
            return self.surrogate(excess)
        return _Spike.apply(excess, SURROGATES[self.surrogate].derivative, self.slope)


def _is_known(function: str | Callable) -> bool:
    """Whether a function is this package's or snnTorch's, and holds nothing but numbers."""
    if isinstance(function, str):
        function = SURROGATES[function].derivative
    known = getattr(function, "__module__", "").split(".")[0] in ("snn_helpers", "snntorch")
    cells = getattr(function, "__closure__", None) or ()
    return known and hasattr(function, "__code__") and all(isinstance(c.cell_contents, int | float) for c in cells)


def identity(surrogate: str | Callable) -> object:
    """Return what a surrogate is told by, hashable: functions made alike by one maker are the same."""
    if isinstance(surrogate, str):
        return surrogate, SURROGATES[surrogate].derivative
    if not _is_known(surrogate):
        return surrogate
    return surrogate.__code__, tuple(cell.cell_contents for cell in surrogate.__closure__ or ())


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, excess, derivative, slope):
        ctx.save_for_backward(excess)
        ctx.derivative, ctx.slope = derivative, slope
        return (excess > 0).to(excess.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.derivative(ctx.saved_tensors[0], ctx.slope), None, None


@dataclass(frozen=True)
class BatchNorm:
    """The tensors and numbers of a batch normalisation over time and batch.

    Parameters
    ----------
    weight, bias : Tensor [C] or None
        Scale and shift; None: 1 and 0.
    running_mean, running_var : Tensor [C] or None
        Used when not training; updated in place when training, as `torch.nn.BatchNorm2d` does. None: none are kept.
    training : bool
        Normalise by this batch's statistics.
    momentum, eps : float
        As in torch.
    each_step : bool
        Each step has statistics of its own, over the batch alone.
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    training: bool
    momentum: float = 0.1
    eps: float = 1e-5
    each_step: bool = False

    @classmethod
    def of(cls, module, num_steps: int | None = None) -> BatchNorm:
        """Take the tensors of a `torch.nn.BatchNorm1d` or `2d`, and count the batch as it does, or one a step."""
        counted = module.num_batches_tracked
        if module.training and counted is not None:
            counted.add_(num_steps or 1)
        momentum = module.momentum
        if momentum is None:  # torch's cumulative average
            momentum = 1.0 / max(1, int(counted)) if counted is not None else 0.0
        tensors = (getattr(module, name) for name in ("weight", "bias", "running_mean", "running_var"))
        training = module.training or module.running_mean is None
        return cls(*tensors, training, momentum, module.eps, each_step=num_steps is not None)

    def apply(self, cur: Tensor, num_steps: int = 1) -> Tensor:
        """Normalise currents of all steps, [T * B, C, ...]."""
        numbers = self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        parts = [
            torch.nn.functional.batch_norm(part, *numbers) for part in cur.chunk(num_steps if self.each_step else 1)
        ]
        return torch.cat(parts) if self.each_step else parts[0]


def run(cur: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Run one layer of neurons over time.

    Parameters
    ----------
    cur : Tensor [T, B, ...]
        Input currents; any device and floating type.
    neuron : Neuron
        Equation and numbers.

    Returns
    -------
    spk_rec, mem_rec : Tensor [T, B, ...]
        Spikes in {0, 1} and membranes.

    Examples
    --------
    >>> import torch
    >>> def integrate(cur, spk, mem, *, threshold):
    ...     return (mem + cur - spk.detach() * threshold,)
    >>> neuron = Neuron("integrate", integrate, {"threshold": 1.0})
    >>> spk_rec, mem_rec = run(torch.tensor([[0.75], [0.75], [0.0]]), neuron)
    >>> spk_rec.flatten().tolist(), mem_rec.flatten().tolist()
    ([0.0, 1.0, 0.0], [0.75, 1.5, 0.5])
    """
    numbers, place = neuron.tensors(cur), neuron.states.index("mem")
    spk = torch.zeros_like(cur[0])
    state = [spk] * len(neuron.states)
    spk_rec, mem_rec = [], []
    for cur_t in cur.unbind(0):
        spk, state = neuron.step(cur_t, spk, state, numbers)
        spk_rec.append(spk)
        mem_rec.append(state[place])
    return torch.stack(spk_rec), torch.stack(mem_rec)
