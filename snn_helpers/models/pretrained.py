"""Networks that are trained already: weights in whole numbers of 8 bits, each file with a card that says how it does.

`snn-helpers export CHECKPOINT --to weights` writes both; the files of this package stand in `weights/`.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_helpers._files import whole_file, write_json

FOLDER = Path(__file__).parent / "weights"
_LARGEST = 127  # of a weight in 8 bits, either sign
_SCALE = "/scale"  # after the name of a weight: what one of its whole numbers is worth, by output channel


class WeightsError(RuntimeError):
    """Weights that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Card:
    """What is known of a trained network: how it was made, and how often it is right.

    Attributes
    ----------
    network : str
        Its name in the registry.
    arguments : dict
        What its constructor is called with.
    classes : list of str
        Names of the classes.
    time_steps : int
        Frames a recording that it was trained with.
    commands : list of str
        What makes these weights anew: a training, and the export of its best network.
    settings : dict
        Every setting of the training, `TrainConfig.as_dict`.
    data : dict
        Provenance of the recordings, by split.
    scores : dict of str to dict
        By split, of the weights as they are stored: "accuracy", "hits", "n", and the bounds "low" and "high" of
        Wilson's 95 % interval.
    seed : int
        Of the one training that these weights come from.
    versions : dict
        Releases that it was trained with.
    sha256 : str
        Of the file of weights.
    """

    network: str
    arguments: dict[str, Any]
    classes: list[str]
    time_steps: int
    commands: list[str]
    settings: dict[str, Any]
    data: dict[str, Any]
    scores: dict[str, dict[str, float]]
    seed: int
    versions: dict[str, str]
    sha256: str = ""

    def __str__(self) -> str:
        lines = [f"{self.network}, {self.time_steps} frames a recording, seed {self.seed}"]
        for split, score in self.scores.items():
            low, high = 100 * score["low"], 100 * score["high"]
            lines.append(
                f"{split}: accuracy {100 * score['accuracy']:.1f} %, 95 % confidence interval {low:.1f} to {high:.1f} "
                f"% (n = {score['n']:,}; {self.data[split]['source']}; chance {100 / len(self.classes):.0f} %)"
            )
        return "\n".join([*lines, *(f"made by: {command}" for command in self.commands)])


def eight_bits(state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return weights as they are stored: of two axes or more in 8 bits, with a scale for each output channel.

    With s = max |w| / 127 of each output channel, w becomes round(w / s); all else stays as it is.
    """
    stored = {}
    for name, value in state.items():
        value = value.detach().cpu()
        if value.dim() < 2:
            stored[name] = value.numpy()
            continue
        weight = value.numpy()
        largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
        scale = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
        stored[name], stored[name + _SCALE] = np.rint(weight / scale).astype(np.int8), scale
    return stored


def restored(stored: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the state_dict that `eight_bits` has stored."""
    return {
        name: torch.from_numpy(value * stored[name + _SCALE] if name + _SCALE in stored else value)
        for name, value in stored.items()
        if not name.endswith(_SCALE)
    }


def write_weights(path: Path, state: Mapping[str, Tensor], card: Card) -> Card:
    """Write weights as `path`, an .npz file, and their card beside it as .json; return the card with the checksum."""
    with whole_file(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **eight_bits(state))
    card = Card(**{**asdict(card), "sha256": _checksum(path)})
    write_json(path.with_suffix(".json"), asdict(card))
    return card


def read_weights(path: str | os.PathLike) -> tuple[Card, dict[str, Tensor]]:
    """Return the card and the state_dict of a file of weights; nothing in it is run.

    Raises
    ------
    WeightsError
        If one of the two files is missing, damaged (a flipped bit is noticed), or not of this kind.
    """
    path = Path(path)
    try:
        known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        card = Card(**{name: known[name] for name in (item.name for item in fields(Card))})
        if _checksum(path) != card.sha256:
            raise ValueError("its checksum is not that of its card")
        with np.load(path, allow_pickle=False) as file:
            return card, restored({name: file[name] for name in file.files})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as err:
        reason = f"{err.strerror}: {err.filename}" if isinstance(err, OSError) and err.strerror else f"{err}"
        raise WeightsError(
            f"{path}: these weights are damaged, or no weights ({reason}). If they came with this package, install it "
            "again; else write them anew with `snn-helpers export CHECKPOINT --to weights`."
        ) from err


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
