"""Names of data sets, without torch, so that flags and checks do not load it."""

from __future__ import annotations

from typing import Any

from snn_helpers._checks import check_choice
from snn_helpers._paths import imported_folder, imported_names

DATASETS = ("simulated", "motion", "nmnist")
"""Those of this package: each is a file of `data/sources/`, which registers it when one is asked for."""

PREFIX = "tonic:"
"""Before the name of a class of the package tonic, which is a data set, too."""

REGISTERED: dict[str, Any] = {}
"""What `register_source` has entered: name to source."""


def dataset_names() -> tuple[str, ...]:
    """Return the names of all data sets: of this package, of plugins, and those that were imported here."""
    return (*dict.fromkeys((*DATASETS, *REGISTERED, *imported_names())),)


def check_dataset(name: str) -> str:
    """Return a data set's name, or the folder of an imported one, or raise a ValueError that says which there are."""
    if str(name).startswith(PREFIX) or imported_folder(name):
        return name
    return check_choice("dataset", name, dataset_names())
