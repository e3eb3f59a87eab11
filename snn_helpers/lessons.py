"""What the notebooks share: figures with captions, findings kept for the next notebook, and checks of parameters."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from snn_helpers._checks import check_choice
from snn_helpers._paths import results_home


def show(figure, caption: str, alt: str, provenance: str = "") -> None:
    """Display a figure with one caption sentence under it, alt text, and the data's provenance in the corner.

    Parameters
    ----------
    figure : matplotlib Figure
        Closed afterwards, so that it is shown once and its memory is freed.
    caption : str
        One sentence that says what to see.
    alt : str
        What the figure shows, for those who cannot see it.
    provenance : str
        Where the data come from; empty for figures of formulas.
    """
    from IPython.display import Image, Markdown, display
    from matplotlib import pyplot as plt

    from snn_helpers.plots import stamp

    if provenance:
        stamp(figure, provenance)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    plt.close(figure)
    display(Image(image.getvalue(), format="png", alt=alt), Markdown(f"*{caption}*"))


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
    """

    recordings: int
    repeats: int
    quick: Mapping[str, Any]
    overfit_steps: int


_BUDGETS = {
    "smoke": Budget(40, 1, {"num_samples": 128, "time_steps": 4, "epochs": 1, "batch_size": 32}, 6),
    "teach": Budget(1000, 5, {"num_samples": 1000, "time_steps": 6, "epochs": 2, "batch_size": 25}, 40),
    "full": Budget(4000, 9, {"num_samples": 4000, "time_steps": 10, "epochs": 4, "batch_size": 32}, 60),
}


def budget(profile: str) -> Budget:
    """Return what a notebook may spend in `profile`: "smoke", "teach" or "full"."""
    return _BUDGETS[check_choice("profile", profile, tuple(_BUDGETS))]


def machine() -> str:
    """Say in a few words what this machine is, for beside a measured time."""
    import torch

    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"


def write_results(notebook: str, question: str, findings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Keep what a notebook found, for the next ones and for the table at the end of the series.

    Parameters
    ----------
    notebook : str
        Its name without the suffix, for example "01_events".
    question : str
        The one question it answers.
    findings : dict
        A few answers in words and numbers, shown in the table: name to text.
    facts : dict of plain JSON values
        Numbers and paths that other notebooks read.
    """
    versions = {name: version(name) for name in ("snn_helpers", "torch", "snntorch", "numpy")}
    row = {"notebook": notebook, "question": question, "findings": dict(findings), "facts": dict(facts)}
    row |= {"profile_variable": os.environ.get("SNN_PROFILE"), "versions": versions, "machine": machine()}
    folder = results_home()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{notebook}.{os.getpid()}.part"
    part.write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, folder / f"{notebook}.json")


def read_results(notebook: str) -> dict[str, Any] | None:
    """Return what `write_results` kept of a notebook, or None if it has not been run here."""
    path = results_home() / f"{notebook}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
