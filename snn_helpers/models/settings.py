"""What can be set of the networks of this package: no torch here, so that flags and checks do not load it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from snn_helpers._checks import check_float, check_int
from snn_helpers._settings import setting

NORMS = ("batch", "none")
SKIPS = ("sew", "add_then_fire", "membrane", "none")
_SURROGATES = ("fast_sigmoid", "compact", "atan")


_MOST_DELAYS, _LONGEST_DELAY = 64, 10_000  # far above what a recording has steps for
DELAYS = "0,2,4,8"
TAU_MIN, TAU_MAX = 1.0, 20.0


def surrogate_names() -> tuple[str, ...]:
    """Return the surrogates there are: the engine's own and, where a plugin has registered more, those, too."""
    engine = sys.modules.get("snn_helpers.engine.reference")  # not loaded, nobody has registered any
    return tuple(getattr(engine, "SURROGATES", _SURROGATES))


@dataclass(frozen=True)
class CNNSettings:
    """Settings of `SpikingCNN`, and what other networks have in common with it."""

    beta: float = setting(0.9, "decay of the membranes per step, exp(-dt / tau)", scope="model", low=0, high=1)
    # The surrogate gradient has a fixed width, 1 / 25: against a low threshold, and currents that scale with it, it is
    # wide, and more neurons learn. On validation data 0.1 learned several times faster than 1.0.
    threshold: float = setting(
        0.1, "firing threshold of all neurons; weights scale with it", scope="model", low=0, high=1_000_000, above=True
    )
    norm: str = setting("batch", "normalisation over time and batch", scope="model", choices=NORMS)
    dropout: float = setting(
        0.2, "share of the hidden layer's spikes dropped in training", scope="run", low=0, high=0.999
    )
    surrogate: str = setting(
        "fast_sigmoid",
        "gradient of a spike; compact is zero far from the threshold, which is faster and learns differently",
        scope="run",
        choices=surrogate_names,
    )
    # Of the run: what is learned or not, its value stands in the checkpoint.
    learn: str = setting(
        "none", "numbers of the neurons to learn, joined by commas", scope="run", names=("beta", "threshold")
    )


@dataclass(frozen=True)
class ResNetSettings(CNNSettings):
    """Settings of `SpikingResNet`."""

    learn: str = setting(
        "none",
        "numbers of the neurons to learn, joined by commas",
        scope="run",
        names=("alpha", "beta", "threshold", "rho", "adaptation"),
    )
    # At six frames a recording, 50 ms a step, a synapse of 31 ms. On validation data 0.8, 224 ms, learned less.
    alpha: float = setting(0.2, "decay of the synaptic currents per step, exp(-dt / tau)", scope="model", low=0, high=1)
    rho: float = setting(0.9, "decay of the adaptation per step, exp(-dt / tau)", scope="model", low=0, high=1)
    adaptation: float = setting(
        1.0, "rise of the threshold of a neuron that always fires, in units of the threshold", scope="model", low=0
    )
    skip: str = setting(
        "sew",
        "skip of the residual blocks: adds spikes (sew), spikes to currents before the neurons (add_then_fire), or "
        "currents past all neurons (membrane)",
        scope="model",
        choices=SKIPS,
    )


@dataclass(frozen=True)
class DelayedSettings(CNNSettings):
    """Settings of `DelayedSNN`."""

    delays: str = setting(
        DELAYS, "delays of the spikes before the hidden layer, in steps, joined by commas; 0: none", scope="model"
    )

    def __post_init__(self):
        parse_delays(self.delays)


def parse_delays(delays: str | Sequence[int]) -> tuple[int, ...]:
    """Return delays in steps, given as numbers or as text that joins them by commas.

    Raises
    ------
    TypeError, ValueError
        If they are no whole numbers of zero or more, all different.
    """
    try:
        values = [int(part) for part in delays.split(",")] if isinstance(delays, str) else [*delays]
    except ValueError:
        text = f"`delays` must be whole numbers of steps joined by commas, as in {DELAYS!r}; got {delays!r}."
        raise ValueError(text) from None
    values = tuple(check_int("delays", value, low=0, high=_LONGEST_DELAY) for value in values)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"`delays` must be numbers of steps, all different, as in {DELAYS!r}; got {delays!r}.")
    if len(values) > _MOST_DELAYS:
        raise ValueError(f"`delays` must be {_MOST_DELAYS} at most, each a copy of all spikes; got {len(values)}.")
    return values


@dataclass(frozen=True)
class MixedSettings(CNNSettings):
    """Settings of `MixedSNN`."""

    tau_min: float = setting(
        TAU_MIN, "shortest time constant of the hidden neurons, in steps", scope="model", low=0, above=True
    )
    tau_max: float = setting(
        TAU_MAX, "longest time constant of the hidden neurons, in steps", scope="model", low=0, above=True
    )

    def __post_init__(self):
        check_taus(self.tau_min, self.tau_max)


def check_taus(tau_min: float, tau_max: float) -> None:
    """Refuse time constants that are not above zero, or in the wrong order."""
    for name, tau in (("tau_min", tau_min), ("tau_max", tau_max)):
        check_float(name, tau, low=0, above=True)
    if tau_min > tau_max:
        raise ValueError(f"`tau_min` must be at most `tau_max`; got {tau_min:g} and {tau_max:g}.")
