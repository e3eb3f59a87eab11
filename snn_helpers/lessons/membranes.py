"""A membrane to compare the leaky neuron with: a published conductance-based model of a cortical neuron.

M. Pospischil et al., "Minimal Hodgkin-Huxley type models for different classes of cortical and thalamic neurons",
Biological Cybernetics 99 (2008): the regular-spiking cell, whose numbers were fitted to recordings.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np


class Cell(NamedTuple):
    """What a membrane is as a circuit.

    Attributes
    ----------
    capacitance : float
        In µF/cm².
    resistance : float
        Of the leak, in kΩ·cm²; times the capacitance it is the time constant in ms.
    rest_mv : float
        Potential at which no leak current flows.
    """

    capacitance: float
    resistance: float
    rest_mv: float


CORTICAL_CELL = Cell(1.0, 1 / 0.0205, -70.3)
"""The passive part of the model: a leak of 0.0205 mS/cm²."""

_SODIUM, _POTASSIUM, _SLOW = 56.0, 6.0, 0.075  # largest conductances, mS/cm²
_SODIUM_MV, _POTASSIUM_MV = 50.0, -90.0
_SHIFT_MV = -56.2  # moves the firing threshold
_SLOW_MS = 608.0  # largest time constant of the slow potassium current


def cortical_membrane(current: np.ndarray, times_ms: np.ndarray, adapting: bool = True) -> np.ndarray:
    """Integrate the model's four or five differential equations under an injected current.

    Parameters
    ----------
    current : float64 [T]
        Injected at each time, in µA/cm²; between two times it is linear.
    times_ms : float64 [T]
        Increasing.
    adapting : bool
        With the slow potassium current, which makes the model fire ever more slowly under a constant current.

    Returns
    -------
    float64 [T]
        Membrane potential in mV, from rest.

    Examples
    --------
    >>> times_ms = np.linspace(0, 20, 41)
    >>> float(cortical_membrane(np.zeros(41), times_ms, adapting=False)[-1].round(1))
    -70.3
    """
    slow = _SLOW if adapting else 0.0
    rest = _solve(np.array([0.0, 3000.0]), np.zeros(2), _resting_state(CORTICAL_CELL.rest_mv), slow)[:, -1]
    return _solve(np.asarray(times_ms, float), np.asarray(current, float), rest, slow)[0]


def spike_times_ms(membrane: np.ndarray, times_ms: np.ndarray) -> np.ndarray:
    """Return the times at which a membrane potential [T] in mV crosses 0 from below.

    Examples
    --------
    >>> spike_times_ms(np.array([-70.0, 20, -60, -50, 10]), np.arange(5.0))
    array([1., 4.])
    """
    return times_ms[1:][(membrane[:-1] <= 0) & (membrane[1:] > 0)]


def circuit_response(current: np.ndarray, times_ms: np.ndarray, until_ms: float) -> np.ndarray:
    """Return what the model's resistor and capacitor alone do under an injected current.

    Parameters
    ----------
    current : float64 [T]
        In µA/cm², constant from each time to the next.
    times_ms : float64 [T]
        Evenly spaced.
    until_ms : float
        Later times are NaN.

    Returns
    -------
    float64 [T]
        Membrane potential in mV, from rest.
    """
    from scipy.signal import lfilter

    decay = math.exp(-(times_ms[1] - times_ms[0]) / (CORTICAL_CELL.resistance * CORTICAL_CELL.capacitance))
    above_rest = lfilter([0, 1 - decay], [1, -decay], CORTICAL_CELL.resistance * current)
    return np.where(times_ms < until_ms, CORTICAL_CELL.rest_mv + above_rest, np.nan)


def run_neuron(neuron: Any, currents: Any) -> dict[str, np.ndarray]:
    """Step a neuron that keeps its state, of snnTorch or of this package, through currents.

    Parameters
    ----------
    neuron : module made with `init_hidden=True, output=True`
        Called with one step's current, it returns its spikes first and its membranes last.
    currents : Tensor [T, 1]
        Of one neuron.

    Returns
    -------
    dict of float64 [T]
        "spk", "mem", and "theta", the threshold of one, as `plots.draw_responses` takes them.
    """
    steps = [neuron(current) for current in currents]
    spk, mem = ([step[place].item() for step in steps] for place in (0, -1))
    return {"spk": np.array(spk), "mem": np.array(mem), "theta": np.ones(len(steps))}


def cortical_rates(currents: np.ndarray, duration_ms: float = 500.0) -> np.ndarray:
    """Return the model's firing rates under constant currents, without its slow potassium current.

    Parameters
    ----------
    currents : float64 [N]
        In µA/cm², strong enough for three spikes.
    duration_ms : float
        Length of each simulation.

    Returns
    -------
    float64 [N]
        Spikes per second, from the mean interval after the first one; 0 with fewer than three spikes.
    """
    times_ms = np.arange(0, duration_ms, 0.05)
    rates = []
    for current in currents:
        membrane = cortical_membrane(np.full(len(times_ms), current), times_ms, adapting=False)
        intervals = np.diff(spike_times_ms(membrane, times_ms))[1:]
        rates.append(1000 / intervals.mean() if len(intervals) else 0.0)
    return np.array(rates)


def _solve(times_ms: np.ndarray, current: np.ndarray, state: np.ndarray, slow: float) -> np.ndarray:
    from scipy.integrate import solve_ivp

    def change(time_ms, state):
        return _change(state, np.interp(time_ms, times_ms, current), slow)

    # Half a millisecond at most a step, else a solver that is at rest steps over a short pulse of current.
    longest = 0.5 if current.any() else np.inf
    span = times_ms[0], times_ms[-1]
    done = solve_ivp(change, span, state, "LSODA", times_ms, rtol=1e-6, atol=1e-8, max_step=longest)
    return done.y


def _change(state: np.ndarray, current: float, slow: float) -> list[float]:
    """Return the rates of change, per ms, of the membrane (mV) and of the four gates m, h, n and p."""
    mv, m, h, n, p = state
    sodium = _SODIUM * m**3 * h * (mv - _SODIUM_MV)
    potassium = (_POTASSIUM * n**4 + slow * p) * (mv - _POTASSIUM_MV)
    leak = (mv - CORTICAL_CELL.rest_mv) / CORTICAL_CELL.resistance
    gates = [opening * (1 - gate) - closing * gate for gate, (opening, closing) in zip((m, h, n), _rates(mv))]
    open_share, slow_ms = _slow_gate(mv)
    return [(current - sodium - potassium - leak) / CORTICAL_CELL.capacitance, *gates, (open_share - p) / slow_ms]


def _rates(mv: float) -> list[tuple[float, float]]:
    """Return how fast gates m, h and n open and close, per ms, at a membrane potential."""
    v = mv - _SHIFT_MV
    return [
        (0.32 * _ramp(13 - v, 4), 0.28 * _ramp(v - 40, 5)),
        (0.128 * math.exp((17 - v) / 18), 4 / (1 + math.exp((40 - v) / 5))),
        (0.032 * _ramp(15 - v, 5), 0.5 * math.exp((10 - v) / 40)),
    ]


def _slow_gate(mv: float) -> tuple[float, float]:
    """Return where the slow potassium gate comes to rest, and its time constant in ms."""
    v = mv + 35
    return 1 / (1 + math.exp(-v / 10)), _SLOW_MS / (3.3 * math.exp(v / 20) + math.exp(-v / 20))


def _ramp(x: float, width: float) -> float:
    """Return x / (exp(x / width) - 1), also at x = 0."""
    return width if abs(x) < 1e-9 else x / math.expm1(x / width)


def _resting_state(mv: float) -> np.ndarray:
    gates = [opening / (opening + closing) for opening, closing in _rates(mv)]
    return np.array([mv, *gates, _slow_gate(mv)[0]])
