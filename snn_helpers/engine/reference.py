"""The neuron equations over time, once, in plain torch: the readable truth that the fast engines must equal.

With input current x, membrane u, spike s, threshold theta and H(v) = 1 where v > 0 (strictly):

leaky
    u[t] = beta u[t-1] + x[t] - theta s[t-1],  s[t] = H(u[t] - theta)
synaptic
    i[t] = alpha i[t-1] + x[t],  u[t] = beta u[t-1] + i[t] - theta s[t-1],  s[t] = H(u[t] - theta)
alif
    a[t] = rho a[t-1] + (1 - rho) s[t-1],  theta[t] = theta + b a[t],
    u[t] = beta u[t-1] + x[t] - theta[t-1] s[t-1],  s[t] = H(u[t] - theta[t])

The reset is a subtraction one step later, and its spike is detached: no gradient flows through the s[t-1] of the
membrane equation (it does through the s[t-1] that feeds ALIF's adaptation, and to a learnable theta). Everything
starts at zero. The order of operations is snnTorch's, so that float32 spikes equal snnTorch's bit for bit.

Sources: Leaky and Synaptic: snnTorch's modules of those names. ALIF: Bellec et al. 2018 (LSNN), equations 1 to 3 in
discrete time. Fast sigmoid: Zenke and Ganguli 2018 (SuperSpike).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from snn_helpers._checks import check_choice, check_float

KINDS = ("leaky", "synaptic", "alif")
SURROGATES = ("fast_sigmoid", "compact")


@dataclass(frozen=True)
class Neuron:
    """The numbers of one layer of neurons; each may be a float or a tensor of one element that asks for a gradient.

    Parameters
    ----------
    kind : {'leaky', 'synaptic', 'alif'}
        Which equation.
    beta : float or Tensor []
        Decay of the membrane per step, exp(-dt / tau_mem); a tensor is clamped to [0, 1].
    threshold : float or Tensor []
        Membrane above which (strictly) a neuron fires.
    alpha : float or Tensor []
        `synaptic` only: decay of the synaptic current per step; a tensor is clamped to [0, 1].
    rho : float or Tensor []
        `alif` only: decay of the adaptation per step; a tensor is clamped to [0, 1].
    adaptation : float or Tensor []
        `alif` only: how much a fully adapted neuron raises its threshold (b).
    surrogate : {'fast_sigmoid', 'compact'}
        Gradient of a spike with respect to u - theta: 1 / (1 + slope |v|)^2, or the triangle of the same height and
        area, max(0, 1 - slope |v| / 2), which is zero beyond 2 / slope and makes the backward pass sparse.
    slope : float
        Steepness k of the surrogate.

    Raises
    ------
    ValueError
        If a choice is unknown or a number is out of range.
    """

    kind: str = "leaky"
    beta: float | Tensor = 0.9
    threshold: float | Tensor = 1.0
    alpha: float | Tensor = 0.0
    rho: float | Tensor = 0.0
    adaptation: float | Tensor = 0.0
    surrogate: str = "fast_sigmoid"
    slope: float = 25.0

    def __post_init__(self):
        check_choice("kind", self.kind, KINDS)
        check_choice("surrogate", self.surrogate, SURROGATES)
        check_float("slope", self.slope, low=0, above=True)
        for name in ("beta", "alpha", "rho", "threshold", "adaptation"):
            value = getattr(self, name)
            if not isinstance(value, Tensor):
                check_float(name, value, *((0, 1) if name in ("beta", "alpha", "rho") else (None, None)))
            elif value.numel() != 1:
                raise ValueError(f"`{name}` must be a number or a tensor of one element; got {tuple(value.shape)}.")

    @property
    def learnable(self) -> tuple[Tensor, ...]:
        """The parameters that ask for a gradient."""
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value for value in values if isinstance(value, Tensor) and value.requires_grad)

    def numbers(self, like: Tensor) -> Numbers:
        """Return the five parameters as tensors of no dimension, of the type and device of `like`; decays in [0, 1]."""

        def number(value, decay):
            value = torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(())
            return value.clamp(0, 1) if decay else value

        return Numbers(
            number(self.beta, True),
            number(self.threshold, False),
            number(self.alpha, True),
            number(self.rho, True),
            number(self.adaptation, False),
        )


@dataclass(frozen=True)
class BatchNorm:
    """The tensors and numbers of a batch normalisation over time and batch.

    Parameters
    ----------
    weight, bias : Tensor [C]
        Scale and shift.
    running_mean, running_var : Tensor [C]
        Used when not training; updated in place when training, as `torch.nn.BatchNorm2d` does.
    training : bool
        Normalise by this batch's statistics.
    momentum, eps : float
        As in torch.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    training: bool
    momentum: float = 0.1
    eps: float = 1e-5

    @classmethod
    def of(cls, module) -> BatchNorm:
        """Take the tensors of a `torch.nn.BatchNorm1d` or `2d`, and count the batch as it does."""
        if module.training and module.num_batches_tracked is not None:
            module.num_batches_tracked.add_(1)
        momentum = module.momentum
        if momentum is None:  # torch's cumulative average
            momentum = 1.0 / max(1, int(module.num_batches_tracked))
        names = ("weight", "bias", "running_mean", "running_var", "training")
        return cls(*(getattr(module, name) for name in names), momentum, module.eps)

    def apply(self, cur: Tensor) -> Tensor:
        """Normalise currents [N, C, ...]."""
        return torch.nn.functional.batch_norm(
            cur, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )


class Numbers(NamedTuple):
    """A neuron's parameters as tensors of no dimension."""

    beta: Tensor
    threshold: Tensor
    alpha: Tensor
    rho: Tensor
    adaptation: Tensor


class State(NamedTuple):
    """What a neuron carries from step to step, each Tensor [B, ...]."""

    spk: Tensor
    mem: Tensor
    extra: Tensor  # synaptic current of `synaptic`, adaptation of `alif`, unused by `leaky`


class FastSigmoid(torch.autograd.Function):
    """Step function whose gradient is that of a fast sigmoid, 1 / (1 + slope |v|)^2."""

    @staticmethod
    def forward(ctx, excess: Tensor, slope: float) -> Tensor:
        """Compute the outputs, and keep what the way back needs."""
        ctx.save_for_backward(excess)
        ctx.slope = slope
        return (excess > 0).to(excess.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        """Compute a gradient for each argument of `forward`."""
        (excess,) = ctx.saved_tensors
        return grad / (ctx.slope * excess.abs() + 1.0) ** 2, None


class Compact(torch.autograd.Function):
    """Step function whose gradient is a triangle, max(0, 1 - slope |v| / 2)."""

    @staticmethod
    def forward(ctx, excess: Tensor, slope: float) -> Tensor:
        """Compute the outputs, and keep what the way back needs."""
        ctx.save_for_backward(excess)
        ctx.slope = slope
        return (excess > 0).to(excess.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        """Compute a gradient for each argument of `forward`."""
        (excess,) = ctx.saved_tensors
        return grad * (1.0 - 0.5 * ctx.slope * excess.abs()).clamp(min=0), None


def fire_function(neuron: Neuron) -> Callable[[Tensor], Tensor]:
    """Return the step function v -> spikes with the neuron's surrogate gradient."""
    function = FastSigmoid if neuron.surrogate == "fast_sigmoid" else Compact
    return lambda excess: function.apply(excess, neuron.slope)


def leaky_step(cur: Tensor, state: State, numbers: Numbers, fire: Callable[[Tensor], Tensor]) -> State:
    """Advance leaky integrate-and-fire neurons by one step.

    Parameters
    ----------
    cur : Tensor [B, ...]
        Input current, in units of the membrane.
    state : State
        After the previous step.
    numbers : Numbers
        The neuron's parameters.
    fire : callable
        u - theta to spikes.

    Returns
    -------
    State
        Spikes in {0, 1}, membrane before the reset, which is subtracted one step later.
    """
    mem = numbers.beta * state.mem + cur - state.spk.detach() * numbers.threshold
    return State(fire(mem - numbers.threshold), mem, state.extra)


def synaptic_step(cur: Tensor, state: State, numbers: Numbers, fire: Callable[[Tensor], Tensor]) -> State:
    """Advance leaky neurons with a synaptic current (`State.extra`) by one step; see `leaky_step`."""
    syn = numbers.alpha * state.extra + cur
    mem = numbers.beta * state.mem + syn - state.spk.detach() * numbers.threshold
    return State(fire(mem - numbers.threshold), mem, syn)


def alif_step(cur: Tensor, state: State, numbers: Numbers, fire: Callable[[Tensor], Tensor]) -> State:
    """Advance leaky neurons with an adaptive threshold (adaptation in `State.extra`) by one step; see `leaky_step`."""
    threshold_before = numbers.threshold + numbers.adaptation * state.extra
    adapted = numbers.rho * state.extra + (1.0 - numbers.rho) * state.spk
    threshold = numbers.threshold + numbers.adaptation * adapted
    mem = numbers.beta * state.mem + cur - state.spk.detach() * threshold_before
    return State(fire(mem - threshold), mem, adapted)


STEPS = {"leaky": leaky_step, "synaptic": synaptic_step, "alif": alif_step}


def run(cur: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Run one layer of neurons over time.

    Parameters
    ----------
    cur : Tensor [T, B, ...]
        Input currents; any device and floating type.
    neuron : Neuron
        Equation and parameters.

    Returns
    -------
    spk_rec, mem_rec : Tensor [T, B, ...]
        Spikes in {0, 1} and membranes, of the type of `cur`.

    Examples
    --------
    >>> import torch
    >>> spk_rec, mem_rec = run(torch.tensor([[0.75], [0.75], [0.0]]), Neuron(beta=0.5))
    >>> spk_rec.flatten().tolist(), mem_rec.flatten().tolist()
    ([0.0, 1.0, 0.0], [0.75, 1.125, -0.4375])
    """
    numbers, fire, step = neuron.numbers(cur), fire_function(neuron), STEPS[neuron.kind]
    zero = torch.zeros_like(cur[0])
    state = State(zero, zero, zero)
    spk_rec, mem_rec = [], []
    for cur_t in cur.unbind(0):
        state = step(cur_t, state, numbers, fire)
        spk_rec.append(state.spk)
        mem_rec.append(state.mem)
    return torch.stack(spk_rec), torch.stack(mem_rec)
