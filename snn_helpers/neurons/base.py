"""What all kinds of neurons have in common: parameters with ranges, and three ways to run an equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

import snntorch
import torch
from torch import Tensor, nn

from snn_helpers._checks import check_choice, check_float, register
from snn_helpers.engine import kernels
from snn_helpers.engine.reference import Neuron, above_threshold, run
from snn_helpers.neurons.hidden import HiddenState

LEAST_THRESHOLD = 1e-6  # where a learned threshold stops

Kind = TypeVar("Kind", bound="SpikingNeuron")
NEURONS: dict[str, type[SpikingNeuron]] = {}  # the kinds that are registered


def register_neuron(cls: type[Kind]) -> type[Kind]:
    """Add a kind of neurons under its `kind`: a decorator of a class derived from `SpikingNeuron`.

    Raises
    ------
    TypeError, ValueError
        If it has no equation, its name is taken, or no state is called "mem".
    """
    if "mem" not in cls.states:
        raise ValueError(f"`states` of {cls.__name__} must name the membrane 'mem'; got {cls.states}.")
    if not callable(getattr(cls, "equation", None)):
        raise TypeError(
            f"{cls.__name__} has no `equation`: write one time step in plain torch, as neurons/alif.py does."
        )
    register(NEURONS, cls.kind, cls)
    return cls


class SpikingNeuron(HiddenState):
    """Base of all neurons: a kind adds its equation, and the ranges of its parameters.

    Called over time, a module takes currents [T, B, ...] and returns spikes and membranes of the same shape, from a
    state of zero of which nothing stays behind. With `init_hidden=True` it is one step of a network, as snnTorch's
    neurons are: it takes currents [B, ...], and keeps its state from call to call until `reset_hidden`.

    Parameters
    ----------
    numbers : dict of str to float or Tensor
        The kind's parameters: one number a layer, or tensors of one a neuron that broadcast to [B, ...].
    engine : {"auto", "reference", "cpu", "cuda"}
        What computes all steps at once; "auto" takes the fastest for the device and type of the currents.
    surrogate : str or callable
        Gradient of a spike: one of `snn_helpers.engine.SURROGATES`, or a function of one's own, v to spikes, where v is
        membrane less threshold.
    slope : float > 0 or None
        Steepness of a surrogate given by name; None: its own.
    learn : tuple of str
        Parameters to learn. An optimiser's step may carry them out of their ranges: `clamp_parameters` sets them back;
        until then they count as the edge of their range.
    init_hidden : bool
        Be one step of a network.
    output : bool
        With `init_hidden`, return (spk, mem) instead of spk.

    Attributes
    ----------
    kind : str
        Name of the kind.
    ranges : dict of str to (low, high)
        Where each parameter may be, None for an open side.
    states : tuple of str
        What is carried from step to step, in the order in which `equation` takes it.
    hidden : tuple of Tensor
        With `init_hidden`, spikes and state after the last call; empty before the first.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.

    Notes
    -----
    `equation(cur, spk, *state, **numbers)` and, where neurons do not fire above `threshold`, `excess` are static
    methods in plain torch; see `snn_helpers.engine.reference`. `new_snntorch(numbers, spike_grad)` may build the neuron
    of snnTorch's that computes the same. On a CPU, the kernel of a kind with an equation alone is generated from it.
    """

    kind: ClassVar[str]
    ranges: ClassVar[dict[str, tuple[float | None, float | None]]] = {"beta": (0, 1), "threshold": (0, None)}
    states: ClassVar[tuple[str, ...]] = ("mem",)
    equation: ClassVar[Callable]
    excess: ClassVar[Callable] = staticmethod(above_threshold)

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        # Kernels are found by kind: another equation under a kind that has one would be computed as that one.
        if {"equation", "excess"} & vars(cls).keys() and "kind" not in vars(cls):
            raise TypeError(f"{cls.__name__} has an equation of its own: give it a `kind` of its own, too.")

    def __init__(
        self,
        numbers: dict[str, float | Tensor],
        engine: str = "auto",
        surrogate: str | Callable[[Tensor], Tensor] = "fast_sigmoid",
        slope: float | None = None,
        learn: tuple[str, ...] = (),
        init_hidden: bool = False,
        output: bool = False,
    ):
        super().__init__()
        self.engine = check_choice("engine", engine, kernels.ENGINES)
        self.init_hidden, self.output, self.hidden = init_hidden, output, ()
        for name in learn:
            check_choice("learn", name, tuple(numbers))
        for name, value in numbers.items():
            self._check(name, value)
            # Only what is learned stands in the state_dict: the rest is a setting of the model.
            if name in learn:
                setattr(self, name, nn.Parameter(torch.as_tensor(value, dtype=torch.get_default_dtype()).clone()))
            elif isinstance(value, Tensor):
                self.register_buffer(name, value.detach().clone(), persistent=False)
            else:
                setattr(self, name, float(value))
        self._names = tuple(numbers)
        self.surrogate, self.slope = surrogate, slope
        self.slope = self.neuron().slope  # checks surrogate and slope

    def _check(self, name: str, value: float | Tensor) -> None:
        low, high = self.ranges[name]
        for edge in (value.min().item(), value.max().item()) if isinstance(value, Tensor) else (value,):
            check_float(name, edge, low, high, above=name == "threshold")

    def _edges(self, name: str) -> tuple[float | None, float | None]:
        return (LEAST_THRESHOLD, None) if name == "threshold" else self.ranges[name]

    def _value(self, name: str) -> float | Tensor:
        value = getattr(self, name)
        return value.clamp(*self._edges(name)) if isinstance(value, nn.Parameter) else value

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        """Set learned parameters that an optimiser has carried out of their ranges back to the edge."""
        for name, parameter in self.named_parameters(recurse=False):
            if name in self.ranges:
                parameter.clamp_(*self._edges(name))

    def neuron(self) -> Neuron:
        """Return equation and parameters, as the engines take them."""
        numbers = {name: self._value(name) for name in self._names}
        return Neuron(self.kind, self.equation, numbers, self.states, self.excess, self.surrogate, self.slope)

    def number(self, name: str) -> float:
        """Return the present value of a parameter of one number, for example "beta", whether it is learned or not."""
        return float(torch.as_tensor(getattr(self, name)).detach())

    def forward(self, cur: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        """Run the neurons over time or, with `init_hidden`, for one step.

        Parameters
        ----------
        cur : Tensor [T, B, ...], with `init_hidden` [B, ...]
            Input currents, in units of the membrane.

        Returns
        -------
        spk_rec, mem_rec : Tensor [T, B, ...]
            Spikes in {0, 1}; membranes before the reset, which is subtracted one step later. With `init_hidden`, spk
            [B, ...], or with `output`, too, (spk, mem).
        """
        if not self.init_hidden:
            return kernels.neurons(cur, self.neuron(), self.engine)
        refuse_export()
        neuron = self.neuron()
        hidden = self.hidden_for(cur) or (torch.zeros_like(cur),) * (1 + len(self.states))
        spk, state = neuron.step(cur, hidden[0], hidden[1:], self._step_numbers(neuron, cur, hidden[0]))
        self.hidden = (spk, *state)
        return (spk, self.membrane(state)) if self.output else spk

    def step(self, cur: Tensor, *state: Tensor | None) -> tuple[Tensor, ...]:
        """Advance by one step in a loop of one's own, as snnTorch's neurons without hidden state do.

        Parameters
        ----------
        cur : Tensor [B, ...]
            Input currents.
        *state : Tensor [B, ...] or None
            After the step before, in the order of `states`; what is None or left out starts at zero.

        Returns
        -------
        spk, *state : Tensor [B, ...]
            Spikes in {0, 1} and the new state.
        """
        neuron = self.neuron()
        numbers, state = neuron.tensors(cur), state + (None,) * (len(self.states) - len(state))
        starts = all(one is None for one in state)
        state = [torch.zeros_like(cur) if one is None else one for one in state]
        # The spikes of the step before are not handed on, as in snnTorch's loops: they follow from the state.
        spk = state[0] if starts else neuron.spikes(state, numbers)
        spk, state = neuron.step(cur, spk, state, self._step_numbers(neuron, cur, spk))
        return spk, *state

    def _step_numbers(self, neuron: Neuron, cur: Tensor, spk: Tensor) -> dict[str, Tensor]:
        """Return what the equation takes beside currents, spikes and state, for one step after these spikes."""
        return neuron.tensors(cur)

    @classmethod
    def new_snntorch(cls, numbers: dict[str, Tensor], spike_grad: Callable[[Tensor], Tensor]) -> nn.Module | None:
        """Return snnTorch's own neuron with these very tensors, so that what is learned gets its gradient, or None."""
        return None

    def snntorch_neuron(self) -> nn.Module | None:
        """Return a new neuron of snnTorch's with these parameters, or None where it has none that computes the same."""
        neuron = self.neuron()
        theirs = self.new_snntorch({k: torch.as_tensor(value) for k, value in neuron.numbers.items()}, neuron.fire)
        # snnTorch lists every neuron ever built in this class attribute, which would keep it alive for good.
        snntorch.SpikingNeuron.instances[:] = [n for n in snntorch.SpikingNeuron.instances if n is not theirs]
        return theirs

    def run_snntorch(self, cur: Tensor) -> tuple[Tensor, Tensor]:
        """Do what `forward` does over time by a loop over snnTorch's neuron: the independent reference.

        Where snnTorch has no such neuron, the equation is looped over.
        """
        neuron = self.snntorch_neuron()
        if neuron is None:
            return run(cur, self.neuron())
        state, spk_rec, mem_rec = [None] * len(self.states), [], []
        spk, takes_spk = None, hasattr(neuron.to(cur.device), "recurrent")  # snnTorch's recurrent kinds ask for them
        for cur_now in cur:
            spk, *state = neuron(cur_now, spk, *state) if takes_spk else neuron(cur_now, *state)
            spk_rec.append(spk)
            mem_rec.append(self.membrane(state))
        return torch.stack(spk_rec), torch.stack(mem_rec)

    def membrane(self, state: list[Tensor]) -> Tensor:
        """Return the membrane among the states that a step hands on."""
        return state[self.states.index("mem")]

    def extra_repr(self) -> str:
        """Return the parameters, as `print(model)` shows them."""
        values = {name: torch.as_tensor(getattr(self, name)).detach() for name in self._names}
        shown = [f"{k}={v.item():.4g}" if v.numel() == 1 else f"{k}=[{tuple(v.shape)}]" for k, v in values.items()]
        options = ", init_hidden=True" * self.init_hidden + ", output=True" * self.output
        slope = "" if self.slope is None else f", slope={self.slope:g}"
        return f"{', '.join(shown)}, surrogate={self.surrogate!r}{slope}, engine={self.engine!r}{options}"


def refuse_export() -> None:
    """Raise a RuntimeError inside `torch.export`, whose graph would begin each step without the neurons' states."""
    if torch.compiler.is_exporting():
        raise RuntimeError(
            "torch.export leaves out the states that neurons keep: `snn_helpers.export_step(net, sample_shape)` exports"
            " one time step, states in and out; a network that holds its own loop is exported itself, not accelerated."
        )


def reset(net: nn.Module) -> None:
    """Set the hidden states of a network's neurons to zero, ours and snnTorch's, however deep, and of no other's.

    Delays (`neurons.Delay`) forget what they keep, too.
    """
    for module in net.modules():
        if isinstance(module, HiddenState):
            module.reset_hidden()
        elif isinstance(module, snntorch.SpikingNeuron) and hasattr(module, "reset_mem"):
            module.reset_mem()


def clamp_parameters(net: nn.Module) -> None:
    """Set what a network's neurons learn back into its range; to be called after each step of an optimiser."""
    for module in net.modules():
        if isinstance(module, SpikingNeuron):
            module.clamp_parameters()
