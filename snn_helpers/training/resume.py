"""Going on from a checkpoint: which one, what must be as it was, and what may differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from snn_helpers._paths import runs_home
from snn_helpers._settings import names_of
from snn_helpers.data import same_recordings
from snn_helpers.training.build import load_weights, saved_config
from snn_helpers.training.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    RESULT,
    CheckpointError,
    load_checkpoint,
    load_or_previous,
    save_checkpoint,
)
from snn_helpers.training.config import AUTO, TrainConfig


def find_resume(config: TrainConfig) -> tuple[TrainConfig, dict[str, Any] | None]:
    """Return the config with the checkpoint's path for `resume`, and its state, or None for a new run."""
    if config.resume is None:
        if config.test_only:
            raise ValueError("`--test_only` needs `--resume CHECKPOINT`, the network to test.")
        return config, None
    path = _unfinished(config) if config.resume == AUTO else Path(config.resume)
    if path is None:
        if config.test_only:
            raise ValueError("`--resume auto` found no checkpoint to test. Name one.")
        print("--resume auto: there is nothing to go on from; a new run begins.", flush=True)
        return replace(config, resume=None), None
    folder = path if path.is_dir() else None
    state, found = load_or_previous(path / LAST if folder else path)
    if folder and config.test_only and (folder / BEST).exists() and _selected(config, state) == "best":
        found = folder / BEST
        state = load_checkpoint(found)
    return replace(config, resume=str(found)), state


def _selected(config: TrainConfig, state: dict[str, Any]) -> str:
    """Return which network of a folder to test: that which was asked for, else that which the run tested itself."""
    return config.select if config.select != TrainConfig.select else state["config"]["select"]


def _unfinished(config: TrainConfig) -> Path | None:
    """Return the last checkpoint of the folder asked for, else of the newest run that has no result."""
    if config.save_dir:
        folders = [Path(config.save_dir)]
    else:
        folders = [folder for folder in runs_home().glob("train-*") if not (folder / RESULT).exists()]
    found = [folder / LAST for folder in folders if (folder / LAST).exists()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def adopt(config: TrainConfig, state: dict[str, Any], named: Collection[str]) -> TrainConfig:
    """Take from the checkpoint what must be as it was; refuse what was asked for and differs."""
    saved, default = saved_config(state, config.plugins), TrainConfig(model=config.model)
    asked = {key for key in vars(config) if key in named or getattr(config, key) != getattr(default, key)}
    if config.model == TrainConfig.model and "model" not in named:  # left out: it is the checkpoint's
        config = TrainConfig(**{key: getattr(config, key) for key in asked}, model=saved.model)
    fixed = names_of(type(saved), *(("model", "run") if config.test_only else ("model", "run", "data", "test")))
    clashes = _clashes(config, saved, [key for key in fixed if key in asked])
    if clashes:
        more = " To train it further, begin another run from its weights: --init_from." if "epochs" in clashes else ""
        raise CheckpointError(f"{config.resume}: was made with {clashes}. Leave these flags out.{more}")
    adopted = {key: getattr(saved, key) for key in fixed} | {"plugins": saved.plugins}
    if not config.test_only:
        adopted |= {key: getattr(saved, key) for key in names_of(type(saved), "kept") if key not in asked}
        if config.save_dir is None and saved.save_dir is not None:
            adopted["save_dir"] = str(Path(config.resume).parent)  # where it is now
        if "log_dir" not in asked:
            adopted["log_dir"] = saved.log_dir
    if config.dataset is None:
        adopted["dataset"] = saved.dataset
    if config.data_dir is None and adopted.get("dataset", config.dataset) == saved.dataset:
        adopted["data_dir"] = saved.data_dir  # else real recordings would be downloaded instead
    return replace(config, **adopted).resolve()


def begin_from(config: TrainConfig, model: nn.Module, state: dict[str, Any]) -> None:
    """Give a new run the weights of another one's network, if its neurons are the same."""
    saved = saved_config(state, config.plugins)
    clashes = _clashes(config, saved, names_of(type(saved), "model"))
    if clashes:
        raise CheckpointError(f"{config.init_from}: its network has {clashes}. Give this run the same.")
    load_weights(model, state, config.init_from)


def _clashes(config: TrainConfig, saved: TrainConfig, keys: Iterable[str]) -> str:
    """Say in which of the settings a config differs from a checkpoint's; empty if in none."""
    if config.model != saved.model:
        return f"model {saved.model!r}, not {config.model!r}"
    differing = [key for key in keys if getattr(config, key) != getattr(saved, key)]
    return "; ".join(f"{key} {getattr(saved, key)!r}, not {getattr(config, key)!r}" for key in differing)


def check_same_data(path: str | None, saved: Mapping[str, Any], now: Mapping[str, Any], processes: int) -> None:
    """Refuse to go on from the checkpoint at `path` with other recordings, or with other batches."""
    for split in ("train", "valid"):
        there, here = saved[split], now[split]
        if not same_recordings(there, here):
            raise CheckpointError(
                f"{path}: its {split} recordings were others ({there['source']}, n = {there['recordings']:,}) than "
                f"these ({here['source']}, n = {here['recordings']:,}). Go on with those (`--data_dir`), or begin a "
                "new run from its weights: `--init_from`."
            )
    if saved["steps_an_epoch"] != now["steps_an_epoch"]:
        raise CheckpointError(
            f"{path}: an epoch had {saved['steps_an_epoch']} steps; with {processes} processes it has "
            f"{now['steps_an_epoch']}, since the last batch has no part for each. Take fewer."
        )


def carry_best(path: str, history: list[dict[str, float]], folder: Path) -> None:
    """Have a good best.pt in `folder`: no later epoch need beat the best of those done before, `history`."""
    accuracies = [row["valid_accuracy"] for row in history]
    best_epoch = accuracies.index(max(accuracies)) + 1
    here = folder / BEST
    for candidate in (here, *(Path(path).with_name(name) for name in (BEST, LAST, PREVIOUS))):
        try:
            found = load_checkpoint(candidate)
        except CheckpointError:  # missing or damaged
            continue
        if candidate == here and found["epoch"] >= best_epoch:  # a later one is written anew
            return
        if found["epoch"] == best_epoch and found["step"] == 0:
            save_checkpoint(here, found)
            return
    raise CheckpointError(
        f"{path}: the weights of the best epoch so far, {best_epoch}, are in no sound file beside it ({BEST}). Put "
        f"them there, or begin a new run from these weights: `--init_from {path}`."
    )
