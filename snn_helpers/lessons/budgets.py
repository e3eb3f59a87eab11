"""How much a notebook does in a profile, so that no notebook has numbers of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snn_helpers._checks import check_choice


@dataclass(frozen=True)
class Budget:
    """How much a notebook does in a profile, beside what `TrainConfig` says.

    Attributes
    ----------
    recordings : int
        Recordings to count, compare or fit a baseline on.
    repeats : int
        Repeats of a timing, of which the median is told.
    quick : dict
        Settings of a network that is trained in seconds, to show what a trained one does.
    overfit_steps : int
        Steps in which 32 recordings are learned by heart.
    depths : tuple of int
        Residual blocks stacked, to see what depth does.
    depth_seeds : int
        Stacks of random weights that each depth is tried with.
    compare : dict
        Settings of two networks that are trained to be compared.
    prices : dict
        Settings of the networks that are trained at several prices of spikes.
    """

    recordings: int
    repeats: int
    quick: Mapping[str, Any]
    overfit_steps: int
    depths: tuple[int, ...]
    depth_seeds: int
    compare: Mapping[str, Any]
    prices: Mapping[str, Any]


_BUDGETS = {
    "smoke": Budget(
        40,
        1,
        {"num_samples": 128, "time_steps": 4, "epochs": 1, "batch_size": 32},
        6,
        (1, 2, 4),
        1,
        {"num_samples": 128, "time_steps": 4, "epochs": 1, "batch_size": 32},
        {"num_samples": 64, "time_steps": 4, "epochs": 1, "batch_size": 32},
    ),
    "teach": Budget(
        1000,
        5,
        {"num_samples": 1000, "time_steps": 6, "epochs": 2, "batch_size": 25},
        40,
        (1, 2, 4, 8, 12),
        3,
        {"num_samples": 2000, "time_steps": 8, "epochs": 3, "batch_size": 32},
        {"num_samples": 1000, "time_steps": 6, "epochs": 4, "batch_size": 32},
    ),
    "full": Budget(
        4000,
        9,
        {"num_samples": 4000, "time_steps": 10, "epochs": 4, "batch_size": 32},
        60,
        (1, 2, 4, 8, 12, 16),
        5,
        {"num_samples": None, "time_steps": 10, "epochs": 6, "batch_size": 32},
        {"num_samples": 4000, "time_steps": 10, "epochs": 6, "batch_size": 64},
    ),
}


def budget(profile: str) -> Budget:
    """Return what a notebook may spend in `profile`: "smoke", "teach" or "full"."""
    return _BUDGETS[check_choice("profile", profile, tuple(_BUDGETS))]
