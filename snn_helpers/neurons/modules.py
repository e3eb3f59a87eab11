"""The modules: one class a neuron, each over all time steps at once or one step at a time."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from snn_helpers._checks import check_choice, check_float
from snn_helpers.engine.reference import STEPS, Neuron, State, fire_function, run

ENGINES = ("auto", "reference", "cpu", "cuda")
LEAST_THRESHOLD = 1e-6  # where a learned threshold stops


class _Neurons(nn.Module):
    """Neurons of one kind; the subclasses name their equation and their own parameters, with their ranges."""

    kind: str
    ranges: ClassVar = {"beta": (0, 1), "threshold": (0, None)}
    _mem_place = 0  # of the membrane among the states that a step hands on
    _num_states = 1

    def __init__(self, engine: str, surrogate: str, slope: float, learn: tuple[str, ...], **numbers: float):
        super().__init__()
        self.engine = check_choice("engine", engine, ENGINES)
        self.surrogate, self.slope = surrogate, slope
        for name in learn:
            check_choice("learn", name, tuple(numbers))
        for name, value in numbers.items():
            low, high = self.ranges[name]
            value = check_float(name, value, low=low, high=high, above=name == "threshold")
            # Only what is learned stands in the state_dict: the rest is a setting of the model.
            setattr(self, name, nn.Parameter(torch.tensor(value)) if name in learn else value)
        self._names = tuple(numbers)
        self.neuron()  # checks surrogate and slope

    def __getattr__(self, name: str):
        """Return a parameter; a learned one that an optimiser has carried out of its range is set back to its edge."""
        value = super().__getattr__(name)
        if name in self.ranges:
            low, high = self.ranges[name]
            value.data.clamp_(LEAST_THRESHOLD if name == "threshold" else low, high)
        return value

    def neuron(self) -> Neuron:
        """Return the equation and its parameters, as the engines take them."""
        numbers = {name: getattr(self, name) for name in self._names}
        return Neuron(self.kind, **numbers, surrogate=self.surrogate, slope=self.slope)

    def number(self, name: str) -> float:
        """Return the present value of a parameter, for example "beta", whether it is learned or not."""
        return float(torch.as_tensor(getattr(self, name)).detach())

    def forward(self, cur: Tensor) -> tuple[Tensor, Tensor]:
        """Run the neurons over time from a state of zero, of which nothing stays behind.

        Parameters
        ----------
        cur : Tensor [T, B, ...]
            Input currents, in units of the membrane.

        Returns
        -------
        spk_rec, mem_rec : Tensor [T, B, ...]
            Spikes in {0, 1}; membranes before the reset, which is subtracted one step later.
        """
        engine = self.engine
        if engine == "auto":
            fast = cur.dtype == torch.float32 and cur.device.type == "cpu"
            engine = "cpu" if fast else "cuda" if cur.is_cuda else "reference"
        if engine == "cpu":
            from snn_helpers.engine import cpu

            return cpu.neurons(cur, self.neuron())
        if engine == "cuda":
            from snn_helpers.engine import cuda

            return cuda.neurons(cur, self.neuron())
        return run(cur, self.neuron())

    def _step(self, cur: Tensor, mem: Tensor | None, extra: Tensor | None) -> State:
        neuron = self.neuron()
        numbers, fire = neuron.numbers(cur), fire_function(neuron)
        if mem is None:
            zero = torch.zeros_like(cur)
            return STEPS[self.kind](cur, State(zero, zero, zero), numbers, fire)
        extra = torch.zeros_like(cur) if extra is None else extra
        # The spike of the step before is not handed on, as in snnTorch's loops: it follows from the state.
        threshold = numbers.threshold + numbers.adaptation * extra if self.kind == "alif" else numbers.threshold
        spk = fire(mem - threshold)
        return STEPS[self.kind](cur, State(spk, mem, extra), numbers, fire)

    def snntorch_neuron(self):
        """Return a new neuron of snnTorch's with these parameters, called one step at a time with its state."""
        import snntorch

        numbers = {name: getattr(self, name) for name in self._names}
        numbers = {k: value if isinstance(value, Tensor) else torch.tensor(value) for k, value in numbers.items()}
        neuron = self._new_snntorch(numbers, fire_function(self.neuron()))
        # snnTorch lists every neuron ever built in this class attribute, which would keep it alive for good.
        snntorch.SpikingNeuron.instances[:] = [n for n in snntorch.SpikingNeuron.instances if n is not neuron]
        return neuron

    def run_snntorch(self, cur: Tensor) -> tuple[Tensor, Tensor]:
        """Do what `forward` does by a loop over snnTorch's neuron: the independent reference."""
        neuron = self.snntorch_neuron().to(cur.device)
        state = self.start()
        spk_rec, mem_rec = [], []
        for cur_now in cur:
            spk, *state = neuron(cur_now, *state)
            spk_rec.append(spk)
            mem_rec.append(self.membrane(state))
        return torch.stack(spk_rec), torch.stack(mem_rec)

    def start(self) -> list[None]:
        """Return the states before the first step, for a new neuron of snnTorch's, which then starts at zero."""
        return [None] * self._num_states

    def membrane(self, state: list[Tensor]) -> Tensor:
        """Return the membrane among the states that a step hands on."""
        return state[self._mem_place]

    def extra_repr(self) -> str:
        """Return the parameters, as `print(model)` shows them."""
        shown = ", ".join(f"{name}={self.number(name):.4g}" for name in self._names)
        return f"{shown}, surrogate={self.surrogate!r}, slope={self.slope:g}, engine={self.engine!r}"


class Leaky(_Neurons):
    """Leaky integrate-and-fire neurons.

    Parameters
    ----------
    beta : float in [0, 1]
        Decay of the membrane per step, exp(-dt / tau).
    threshold : float > 0
        A membrane strictly above it fires.
    engine : {"auto", "reference", "cpu", "cuda"}
        What computes all steps at once; "auto" takes the fastest for the device and type of the currents.
    surrogate : {"fast_sigmoid", "compact"}
        Gradient of a spike, see `snn_helpers.engine.Neuron`.
    slope : float > 0
        Steepness k of the surrogate.
    learn : tuple of str
        Parameters to learn, of "beta" and "threshold".

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.

    Notes
    -----
    Equation `leaky` of `engine/reference.py`: mem[t] = beta mem[t-1] + cur[t] - threshold spk[t-1]; spk[t] = 1 where
    mem[t] > threshold. J. K. Eshraghian et al., Proceedings of the IEEE 111 (2023), eq. 4 and 8.
    """

    kind = "leaky"

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        engine: str = "auto",
        surrogate: str = "fast_sigmoid",
        slope: float = 25.0,
        learn: tuple[str, ...] = (),
    ):
        super().__init__(engine, surrogate, slope, learn, beta=beta, threshold=threshold)

    def step(self, cur: Tensor, mem: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Advance by one step, as `snntorch.Leaky` does: (cur, mem) [B, ...] to (spk, mem); None starts at zero."""
        state = self._step(cur, mem, None)
        return state.spk, state.mem

    def _new_snntorch(self, numbers, spike_grad):
        import snntorch

        return _with(snntorch.Leaky(0.0, 1.0, spike_grad=spike_grad), numbers)


class Synaptic(_Neurons):
    """Leaky neurons behind a synapse whose current decays, too.

    Parameters
    ----------
    alpha : float in [0, 1]
        Decay of the synaptic current per step, exp(-dt / tau_syn).
    beta, threshold, engine, surrogate, slope
        As for `Leaky`.
    learn : tuple of str
        Parameters to learn, of "alpha", "beta" and "threshold".

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.

    Notes
    -----
    Equation `synaptic` of `engine/reference.py`; equal to `snntorch.Synaptic`.
    """

    kind = "synaptic"
    ranges: ClassVar = {**_Neurons.ranges, "alpha": (0, 1)}
    _mem_place, _num_states = 1, 2

    def __init__(
        self,
        alpha: float = 0.9,
        beta: float = 0.9,
        threshold: float = 1.0,
        engine: str = "auto",
        surrogate: str = "fast_sigmoid",
        slope: float = 25.0,
        learn: tuple[str, ...] = (),
    ):
        super().__init__(engine, surrogate, slope, learn, alpha=alpha, beta=beta, threshold=threshold)

    def step(self, cur: Tensor, syn: Tensor | None = None, mem: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Advance by one step, as `snntorch.Synaptic` does: (cur, syn, mem) [B, ...] to (spk, syn, mem)."""
        state = self._step(cur, mem, syn)
        return state.spk, state.extra, state.mem

    def _new_snntorch(self, numbers, spike_grad):
        import snntorch

        return _with(snntorch.Synaptic(0.0, 0.0, 1.0, spike_grad=spike_grad), numbers)


class ALIF(_Neurons):
    """Leaky neurons whose threshold rises with their own firing.

    Parameters
    ----------
    beta, threshold, engine, surrogate, slope
        As for `Leaky`.
    rho : float in [0, 1]
        Decay of the adaptation per step, exp(-dt / tau_adaptation).
    adaptation : float >= 0
        How far a neuron that always fires raises its threshold; b in the source.
    learn : tuple of str
        Parameters to learn, of "beta", "threshold", "rho" and "adaptation".

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.

    Notes
    -----
    Equation `alif` of `engine/reference.py`: G. Bellec et al., Long short-term memory and learning-to-learn in networks
    of spiking neurons, NeurIPS 2018. snnTorch has no such neuron.
    """

    kind = "alif"
    ranges: ClassVar = {**_Neurons.ranges, "rho": (0, 1), "adaptation": (0, None)}
    _num_states = 2

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        rho: float = 0.97,
        adaptation: float = 1.0,
        engine: str = "auto",
        surrogate: str = "fast_sigmoid",
        slope: float = 25.0,
        learn: tuple[str, ...] = (),
    ):
        numbers = {"beta": beta, "threshold": threshold, "rho": rho, "adaptation": adaptation}
        super().__init__(engine, surrogate, slope, learn, **numbers)

    def step(
        self, cur: Tensor, mem: Tensor | None = None, adapted: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Advance by one step inside a loop: (cur, mem, adapted) [B, ...] to (spk, mem, adapted)."""
        state = self._step(cur, mem, adapted)
        return state.spk, state.mem, state.extra

    def _new_snntorch(self, numbers, spike_grad):
        from snn_helpers.neurons.snntorch_alif import SNNTorchALIF

        return SNNTorchALIF(**numbers, spike_grad=spike_grad)


def _with(neuron, numbers: dict[str, Tensor]):
    """Give one of snnTorch's neurons these very tensors, so that what is learned gets its gradient."""
    for name, value in numbers.items():
        setattr(neuron, name, value)
    return neuron
