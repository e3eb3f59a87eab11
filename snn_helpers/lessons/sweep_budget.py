"""What notebook 07 sweeps in a profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snn_helpers._checks import check_choice
from snn_helpers.lessons.results import check_results_home


@dataclass(frozen=True)
class SweepBudget:
    """A knob, its values, the seeds, and what all runs share.

    Attributes
    ----------
    knob, values : str, tuple
        The parameter that is swept, and to what.
    seeds : int
        Runs of each value.
    fixed : dict
        Settings of every run.
    """

    knob: str
    values: tuple[Any, ...]
    seeds: int
    fixed: dict[str, Any]


_SMALL = {"num_samples": 128, "time_steps": 4, "epochs": 1, "batch_size": 32}
_TAUGHT = {"num_samples": 500, "time_steps": 5, "epochs": 2, "batch_size": 20}
_BUDGETS = {
    "smoke": SweepBudget("init_rate", (0.02, 0.08), 2, _SMALL),
    "teach": SweepBudget("init_rate", (0.02, 0.08, 0.2), 3, _TAUGHT),
    "full": SweepBudget("init_rate", (0.02, 0.05, 0.08, 0.2), 5, {}),
}


def sweep_budget(profile: str) -> SweepBudget:
    """Return what notebook 07 sweeps in `profile`, "smoke", "teach" or "full", where its findings can be kept."""
    check_results_home()
    return _BUDGETS[check_choice("profile", profile, tuple(_BUDGETS))]
