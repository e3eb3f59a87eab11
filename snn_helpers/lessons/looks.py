"""How much notebook 08 does in a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snn_helpers._checks import check_choice
from snn_helpers.lessons.results import check_results_home

# Who learns for some dozens of steps does better with more spikes at the start (two seeds of a brief run: validation
# accuracy 85.8 and 88.8 %, begun at the profile's 3 % of steps 83.6 and 83.0 %).
_BRIEF = {"init_rate": 0.04}


@dataclass(frozen=True)
class Look:
    """How much notebook 08 looks at in a profile.

    Attributes
    ----------
    recordings : int
        Recordings of a split to record, score and embed.
    attributed : int
        Recordings whose decision is traced to its events.
    tune : dict
        Settings of the epoch in which the pretrained network learns to answer after so many steps.
    short : dict
        Settings of a network to train where there is none for the data.
    """

    recordings: int
    attributed: int
    tune: Mapping[str, Any]
    short: Mapping[str, Any]


# A raster wants many time steps, and the pretrained network learned from few.
_STEPS = {"time_steps": 25, "batch_size": 25}

_LOOKS = {
    "smoke": Look(
        40,
        3,
        {**_STEPS, "batch_size": 32, "num_samples": 32, "epochs": 1, "lr": 1e-3},
        {**_STEPS, "batch_size": 32, "num_samples": 32, "epochs": 1, **_BRIEF},
    ),
    "teach": Look(
        500,
        24,
        {**_STEPS, "num_samples": 600, "epochs": 1, "lr": 1e-3},
        {**_STEPS, "num_samples": 1000, "epochs": 2, **_BRIEF},
    ),
    "full": Look(
        1000,
        100,
        {**_STEPS, "num_samples": 4000, "epochs": 1, "lr": 1e-3},
        {**_STEPS, "num_samples": 4000, "epochs": 4, **_BRIEF},
    ),
}


def look(profile: str) -> Look:
    """Return what notebook 08 may spend in `profile`, "smoke", "teach" or "full", where its findings can be kept."""
    check_results_home()
    return _LOOKS[check_choice("profile", profile, tuple(_LOOKS))]
