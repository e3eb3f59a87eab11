"""Widgets: a recording and a network in one's hands. Python hands over arrays once; all time runs in the browser.

Each has a `.state` that can be given back, and a `.figure()` of the same content that needs no front end; `.show()`
displays whichever the place can show.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snn_helpers.widgets.activity_explorer import ActivityExplorer as ActivityExplorer
    from snn_helpers.widgets.embedding_explorer import EmbeddingExplorer as EmbeddingExplorer
    from snn_helpers.widgets.event_player import EventPlayer as EventPlayer
    from snn_helpers.widgets.neuron_lab import NeuronLab as NeuronLab
    from snn_helpers.widgets.sweep_table import SweepTable as SweepTable
    from snn_helpers.widgets.training_monitor import TrainingMonitor as TrainingMonitor

_HOMES = {
    "EventPlayer": "event_player",
    "NeuronLab": "neuron_lab",
    "ActivityExplorer": "activity_explorer",
    "EmbeddingExplorer": "embedding_explorer",
    "TrainingMonitor": "training_monitor",
    "SweepTable": "sweep_table",
}

__all__ = [*_HOMES]


if not TYPE_CHECKING:  # a type checker knows the names from above, and may call others unknown

    def __getattr__(name: str):
        if name not in _HOMES:
            raise AttributeError(f"module 'snn_helpers.widgets' has no attribute {name!r}; it has {', '.join(_HOMES)}")
        return getattr(importlib.import_module(f"snn_helpers.widgets.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
