"""One neuron in one's hands: its inputs, its numbers, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from snn_helpers import plots
from snn_helpers._checks import check_float, check_int
from snn_helpers.engine import Neuron
from snn_helpers.neurons import ALIF, Leaky, Synaptic
from snn_helpers.widgets.base import Explorer
from snn_helpers.widgets.state import Choice, Field, Number, Numbers

# What the browser's module knows, too.
KINDS: dict[str, Any] = {"leaky": Leaky, "synaptic": Synaptic, "alif": ALIF}
RESETS = ("subtract", "zero", "none")
MOST_INPUTS = 40
_RANGES = {  # least, most, step of the slider
    "tau_ms": (5, 500, 1),
    "threshold": (0.2, 2.0, 0.05),
    "weight": (-1.0, 2.0, 0.05),
    "tau_syn_ms": (5, 300, 1),
    "tau_adapt_ms": (20, 1000, 5),
    "adaptation": (0.0, 8.0, 0.1),
}
_DEFAULTS = {"tau_ms": 100, "threshold": 1.0, "weight": 0.6, "tau_syn_ms": 50, "tau_adapt_ms": 300, "adaptation": 4.0}


class NeuronLab(Explorer):
    """A Leaky, Synaptic or ALIF neuron: drag its inputs, turn its numbers, and see membrane, threshold and output.

    Parameters
    ----------
    step_ms : float
        Length of a time step, in ms.
    num_steps : int
        Time steps that are drawn, T.
    state : dict or None
        What was chosen, as `.state` gives it: kind, reset, tau_ms, tau_syn_ms, tau_adapt_ms, threshold, adaptation,
        weight, inputs_ms.

    Notes
    -----
    The browser computes what `engine.reference` does, in float32. Leaky and Synaptic also offer a reset to zero and
    none, as `snntorch.Leaky` has them: one step after a spike, what was left of the membrane is 0, or nothing happens.
    """

    script = "neuron_lab.js"

    def __init__(self, *, step_ms: float = 12.0, num_steps: int = 75, state: Mapping[str, Any] | None = None):
        self._step_ms = check_float("step_ms", step_ms, low=0, above=True)
        self._num_steps = check_int("num_steps", num_steps, low=2, high=2000)
        end_ms = (num_steps - 1) * step_ms
        third = [round(share * num_steps) * step_ms for share in (0.15, 0.3, 0.45)]
        fields: dict[str, Field] = {
            name: Number(_DEFAULTS[name], low, high) for name, (low, high, _) in _RANGES.items()
        }
        fields |= {
            "kind": Choice("leaky", tuple(KINDS)),
            "reset": Choice("subtract", RESETS),
            "inputs_ms": Numbers(third, 0, end_ms, MOST_INPUTS),
        }
        ranges = {name: dict(zip(("min", "max", "step"), values)) for name, values in _RANGES.items()}
        facts = {"step_ms": step_ms, "num_steps": num_steps, "ranges": ranges, "most_inputs": MOST_INPUTS}
        super().__init__(fields, facts, {}, state)

    def response(self) -> dict[str, np.ndarray]:
        """Return what the neuron of the present state answers: `cur`, `mem`, `spk`, `theta`, each float32 [T]."""
        state = self.state
        counts = np.zeros(self._num_steps, np.float32)
        for ms in state["inputs_ms"]:
            counts[round(ms / self._step_ms)] += 1
        decays = (("beta", "tau_ms"), ("alpha", "tau_syn_ms"), ("rho", "tau_adapt_ms"))
        numbers = {name: math.exp(-self._step_ms / state[tau]) for name, tau in decays}
        numbers |= {name: state[name] for name in ("threshold", "adaptation")}
        kind = KINDS[state["kind"]]
        neuron = kind(**{name: value for name, value in numbers.items() if name in kind.ranges}).neuron()
        reset = "subtract" if state["kind"] == "alif" else state["reset"]
        return respond(np.float32(state["weight"]) * counts, neuron, reset)

    def draw(self):
        """Return the figure of the present state: inputs, membrane with threshold, output spikes."""
        state, response = self.state, self.response()
        time_ms = self._step_ms * np.arange(self._num_steps)
        figure, axes = plots.new_figure(3, 1, height=3.6, sharex=True, height_ratios=[0.4, 1.6, 0.3])
        axes[0].vlines(state["inputs_ms"], 0, 1, color=plots.ON, linewidth=2)
        axes[1].plot(time_ms, response["mem"], color=plots.HIGHLIGHT)
        axes[1].plot(time_ms, response["theta"], "--", color=plots.OFF)
        axes[2].vlines(time_ms[response["spk"] > 0], 0, 1, color="black", linewidth=2)
        for ax, name in zip(axes, ("inputs", "membrane u, threshold θ", "output")):
            ax.set_ylabel(name, rotation=90 if ax is axes[1] else 0, ha="center" if ax is axes[1] else "right")
        for ax in (axes[0], axes[2]):
            ax.set(yticks=[], ylim=(0, 1.05))
        axes[2].set(xlabel="time, ms", xlim=(0, self._step_ms * self._num_steps))
        spikes = int(response["spk"].sum())
        name, threshold = KINDS[state["kind"]].__name__, state["threshold"]
        axes[0].set_title(f"{name}, τ = {state['tau_ms']:g} ms, θ = {threshold:g}: {spikes} output spikes")
        return figure


def respond(cur: np.ndarray, neuron: Neuron, reset: str = "subtract") -> dict[str, np.ndarray]:
    """Run a neuron's equation over currents [T], with one of three resets.

    Parameters
    ----------
    cur : float32 [T]
        Input currents.
    neuron : Neuron
        Equation and numbers.
    reset : {'subtract', 'zero', 'none'}
        What happens one step after a spike. The last two are not for `alif`, whose adaptation needs its spikes.

    Returns
    -------
    dict of float32 [T]
        cur, mem, spk, and theta: the threshold in each step.
    """
    currents = torch.from_numpy(np.asarray(cur, np.float32))
    numbers, zero = neuron.tensors(currents), torch.zeros(())
    spk, state = zero, dict.fromkeys(neuron.states, zero)
    record: dict[str, list[float]] = {"mem": [], "spk": [], "theta": []}
    for current in currents:
        if reset == "zero":
            state["mem"] = state["mem"] * (1 - spk)
        spk, values = neuron.step(current, spk if reset == "subtract" else zero, list(state.values()), numbers)
        state = dict(zip(neuron.states, values))
        theta = numbers["threshold"] + (numbers["adaptation"] * state["adapted"] if neuron.kind == "alif" else 0)
        for name, value in (("mem", state["mem"]), ("spk", spk), ("theta", theta)):
            record[name].append(value.item())
    return {"cur": currents.numpy()} | {name: np.asarray(values, np.float32) for name, values in record.items()}
