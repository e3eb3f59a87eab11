"""How much a notebook does in a profile, so that no notebook has numbers of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snn_helpers._checks import check_choice
from snn_helpers.lessons.results import check_results_home


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


# Who learns for some dozens of steps does better with more spikes at the start (two seeds of `quick`: validation
# accuracy 85.8 and 88.8 %, begun at the profile's 3 % of steps 83.6 and 83.0 %).
_BRIEF = {"init_rate": 0.04}

_BUDGETS = {
    "smoke": Budget(
        40,
        1,
        {"num_samples": 128, "time_steps": 4, "epochs": 1, "batch_size": 32, **_BRIEF},
        6,
        (1, 2, 4),
        1,
        {"num_samples": 128, "time_steps": 4, "epochs": 1, "batch_size": 32, **_BRIEF},
        {"num_samples": 64, "time_steps": 4, "epochs": 1, "batch_size": 32, **_BRIEF},
    ),
    "teach": Budget(
        1000,
        5,
        {"num_samples": 1000, "time_steps": 6, "epochs": 2, "batch_size": 25, **_BRIEF},
        40,
        (1, 2, 4, 8, 12),
        3,
        {"num_samples": 2000, "time_steps": 8, "epochs": 3, "batch_size": 32, **_BRIEF},
        {"num_samples": 1000, "time_steps": 6, "epochs": 4, "batch_size": 32, **_BRIEF},
    ),
    "full": Budget(
        4000,
        9,
        {"num_samples": 4000, "time_steps": 10, "epochs": 4, "batch_size": 32, **_BRIEF},
        60,
        (1, 2, 4, 8, 12, 16),
        5,
        {"num_samples": None, "time_steps": 10, "epochs": 6, "batch_size": 32, **_BRIEF},
        {"num_samples": 4000, "time_steps": 10, "epochs": 6, "batch_size": 64, **_BRIEF},
    ),
}


def budget(profile: str) -> Budget:
    """Return what a notebook may spend in `profile`, "smoke", "teach" or "full", where its findings can be kept."""
    check_results_home()
    return _BUDGETS[check_choice("profile", profile, tuple(_BUDGETS))]


@dataclass(frozen=True)
class Look:
    """How much notebook 06 looks at in a profile.

    Attributes
    ----------
    recordings : int
        Recordings to record, embed and put to the controls.
    attributed : int
        Recordings whose decision is traced to its events.
    short : dict
        Settings of a network to train where none is left from notebook 05.
    image_epochs : int
        Passes of the network without time over the training recordings.
    """

    recordings: int
    attributed: int
    short: Mapping[str, Any]
    image_epochs: int


_LOOKS = {
    "smoke": Look(60, 2, _BUDGETS["smoke"].compare, 1),
    "teach": Look(500, 6, _BUDGETS["teach"].compare, 6),
    "full": Look(1000, 20, _BUDGETS["full"].compare, 6),
}


def look(profile: str) -> Look:
    """Return what notebook 06 may spend in `profile`, "smoke", "teach" or "full", where its findings can be kept."""
    check_results_home()
    return _LOOKS[check_choice("profile", profile, tuple(_LOOKS))]
