"""The protocols by which networks are judged, each one command: seeds in, accuracy with interval out.

- simulated: train on simulated recordings, test on others; the network of the last epoch counts.
- transfer: the same networks, tested on all real recordings of a folder. None of them, and none of their digits, has
  been seen before: not to learn from, not to choose an epoch by.
- finetune: go on from the network of `transfer` on four fifths of the real recordings, among the simulated ones that it
  has learned from; test on the last fifth. Five times, so that each recording is tested on once.
- real: the same five folds, from untrained networks.
- full: the official N-MNIST, its Train and Test recordings, in the full profile.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from snn_helpers._checks import check_choice, check_int
from snn_helpers._files import writable_folder, write_json
from snn_helpers._paths import results_home, runs_home, user_path
from snn_helpers._settings import names_of
from snn_helpers.data import EventDataset, find_real_recordings, load_dataset, load_folds, same_recordings
from snn_helpers.stats import wilson_interval
from snn_helpers.training.checkpoint import LAST, RESULT
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.loop import Splits, train

PROTOCOLS = ("simulated", "transfer", "finetune", "real", "full")
_OF_REAL = ("transfer", "finetune", "real")  # those that take a folder of real recordings
FOLDS = 5

Folds = list[tuple[EventDataset, EventDataset]]
# Fine-tuning goes on from a network that can see, at a lower learning rate and with wider maps. In an epoch each real
# recording comes several times beside the simulated ones, once: on real ones alone, 600 of them, a network came to do
# worse on others than before (loss 0.095 after, 0.078 before). Four inner folds, 796 recordings, one seed: loss 0.070,
# 98.1 % at these; with a warp of 0.15 0.089, 97.9 % (8 epochs; of 0.25 then 0.069, 98.1 %); of 0.35 0.088, 98.1 %;
# 3 epochs at a learning rate of 0.002, a warp of 0.15 and each real recording five times 0.081, 97.9 %.
FINETUNE = {"lr": 4e-3, "epochs": 6, "warp": 0.25}
_TIMES = 3
_WATCHED = 50  # recordings to draw the curve of a run whose last epoch counts, whatever the curve says


def run_protocol(
    name: str, config: TrainConfig, seeds: Sequence[int] = range(5), real_dir: str | Path | None = None
) -> dict[str, Any]:
    """Train and test by a protocol, once a seed, and write `results/protocol-<name>-<model>-<profile>.json`.

    A seed that was done before, with the same settings and recordings, is not done again; one that was done with others
    is refused. But for "full", which chooses the epoch on validation data, the network of the last epoch counts.

    Parameters
    ----------
    name : str
        One of `PROTOCOLS`.
    config : TrainConfig
        Settings; what is left out comes from the profile. Its data set, seed and folders are the protocol's.
    seeds : sequence of int
        One network each, or one a fold; none twice.
    real_dir : path or None
        Folder of the real recordings, for "transfer", "finetune" and "real"; None looks for them
        (`find_real_recordings`).

    Returns
    -------
    dict
        "accuracy" (mean over the seeds), "by_seed", "n" (recordings tested on, a seed), "interval_low" and
        "interval_high" (Wilson's, of the mean with n recordings: what other recordings would change, not other seeds),
        "hidden_spike_fraction", "seconds" (of training, mean).

    Raises
    ------
    TypeError, ValueError
        If the name is unknown, a seed is no whole number >= 0 or given twice, or there are no real recordings that can
        be shared out: before anything trains. If a run done before is of other settings or recordings.
    """
    check_choice("protocol", name, PROTOCOLS)
    seeds = _checked_seeds(seeds)
    if name not in _OF_REAL and real_dir is not None:
        raise ValueError(f"`--real_dir`: protocol {name} does not read it. Leave it out.")
    folds = _real_folds(real_dir or find_real_recordings()) if name in _OF_REAL else []
    config = replace(config, profile="full" if name == "full" else config.profile)
    home = writable_folder("SNN_RESULTS_DIR", results_home())
    rows = [row for seed in seeds for row in _of_seed(name, replace(config, seed=seed), folds)]
    told = _summary(name, config, seeds, rows)
    path = home / f"protocol-{name}-{config.model}-{told['config']['profile']}.json"
    write_json(path, told)
    return told


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    checked = [check_int("seeds", seed, low=0) for seed in seeds]
    if not checked:
        raise ValueError("`seeds`: name one or more.")
    for seed in checked:
        if checked.count(seed) > 1:
            raise ValueError(f"`seeds`: {seed} is given twice. Name each seed once.")
    return checked


def _real_folds(real_dir: str | Path | None) -> Folds:
    """Return the folds of a folder; one that cannot be shared out is refused, in the words of the flag."""
    if real_dir is None:
        raise ValueError("`--real_dir`: name a folder of real recordings, Train/<digit>/*.bin.")
    folder = user_path(real_dir)
    if not any((root / "Train").is_dir() for root in (folder, folder / "NMNIST")):
        problem = "has no Train folder in it" if folder.is_dir() else "is not a folder"
        raise ValueError(f"`--real_dir`: {folder} {problem}. Name a folder of real recordings, Train/<digit>/*.bin.")
    try:
        return load_folds(folder, FOLDS)
    except ValueError as err:
        raise ValueError(f"`--real_dir`: {str(err).removeprefix('`data_dir`: ')}") from err


def _of_seed(name: str, config: TrainConfig, folds: Folds) -> list[dict[str, Any]]:
    """Return the results of a seed's runs: one, or one a fold."""
    if name == "full":
        return [_once(name, replace(config, dataset="nmnist").resolve())]
    settings: dict[str, Any] = {}
    if name != "real":
        base = _once("simulated", replace(config, dataset="simulated", select="last").resolve())
        if name == "simulated":
            return [base]
        settings = {**FINETUNE, "init_from": str(Path(base["save_dir"]) / LAST)}
        if config.warp is not None:  # asked for
            settings["warp"] = config.warp
    if name == "transfer":
        where = {"data_dir": base["config"]["data_dir"], "device": config.device, "engine": config.engine}
        tested = TrainConfig(resume=settings["init_from"], test_only=True, **where)
        found = train(tested, splits=Splits(*folds[0], folds[0][0] + folds[0][1])).metrics
        return [{**found, "seconds": base["seconds"], "config": base["config"]}]
    real = replace(config, dataset="nmnist", select="last", **settings).resolve()
    simulated = None
    if name == "finetune":  # those that the network has learned from
        simulated = load_dataset("simulated", base["config"]["data_dir"]).take(base["config"]["num_samples"])
    results = []
    for number, (train_set, test_set) in enumerate(folds, 1):
        learned = _among(simulated, train_set) if simulated else train_set
        splits = Splits(learned, train_set.take(_WATCHED), test_set)
        results.append(_once(f"{name}-fold{number}", real, splits))
    return results


def _among(simulated: EventDataset, real: EventDataset) -> EventDataset:
    """Return simulated recordings once, and real ones `_TIMES` times."""
    return simulated + real.subset(np.tile(np.arange(len(real)), _TIMES))


def _once(name: str, config: TrainConfig, splits: Splits | None = None) -> dict[str, Any]:
    """Train one network, or take its result from the time before."""
    folder = runs_home() / f"protocol-{name}-{config.model}-{config.profile}-seed{config.seed}"
    config = replace(config, save_dir=str(folder))
    if (folder / RESULT).exists():
        told = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        of_call = dict.fromkeys(names_of(type(config), "call"))
        if {**told["config"], **of_call} != {**config.as_dict(), **of_call}:
            raise ValueError(f"{folder} holds a run with other settings. Move it away.")
        _refuse_other_recordings(folder, told["provenance"], config, splits)
        return {**told, "save_dir": str(folder)}
    print(f"== {name}, seed {config.seed}", flush=True)
    if splits:
        print(
            f"The validation figures are of {len(splits.valid)} recordings that it learns from: nothing is chosen by "
            "them.",
            flush=True,
        )
    return {**train(replace(config, resume="auto"), splits=splits).metrics, "save_dir": str(folder)}


def _refuse_other_recordings(folder: Path, kept: dict[str, Any], config: TrainConfig, splits: Splits | None) -> None:
    """Refuse a result, its provenance given, that is of other recordings than a run would use now."""
    if not splits and config.dataset == "nmnist" and config.data_dir is None:
        return  # the official recordings are the same everywhere
    for part, verb in (("train", "learned from"), ("test", "was tested on")):
        before = kept[part]
        if splits:
            now = getattr(splits, part).provenance.as_dict()
        else:  # how many of them it took is among the settings
            now = load_dataset(config.dataset, config.data_dir, part).provenance.as_dict()
            now["recordings"] = before["recordings"]
        if not same_recordings(before, now):
            told = ", not ".join(f"{row['recordings']:,} (checksum {row['checksum'][:8]})" for row in (before, now))
            raise ValueError(f"{folder} holds a run that {verb} other recordings: {told}. Move it away.")


def _summary(name: str, config: TrainConfig, seeds: list[int], rows: list[dict[str, Any]]) -> dict[str, Any]:
    per_seed = len(rows) // len(seeds)
    parts = [rows[start : start + per_seed] for start in range(0, len(rows), per_seed)]
    hits = [sum(row["test_accuracy"] * row["n_test"] for row in part) for part in parts]
    total = sum(row["n_test"] for row in parts[0])
    by_seed = [hit / total for hit in hits]
    accuracy = statistics.fmean(by_seed)
    low, high = wilson_interval(round(accuracy * total), total)
    return {
        "protocol": name,
        "model": config.model,
        "accuracy": accuracy,
        "interval_low": low,
        "interval_high": high,
        "n": total,
        "seeds": seeds,
        "by_seed": by_seed,
        "hidden_spike_fraction": statistics.fmean(row["hidden_spike_fraction"] for row in rows),
        "spike_fractions": rows[0]["spike_fractions"],
        "seconds": statistics.fmean(sum(row["seconds"] for row in part) for part in parts),
        "config": rows[0]["config"],
        "provenance": rows[0]["provenance"],
    }


def summary_line(told: dict[str, Any]) -> str:
    """Return what a protocol found, in a line."""
    seeds = ", ".join(f"{seed}: {100 * share:.1f}" for seed, share in zip(told["seeds"], told["by_seed"]))
    low, high = (100 * told[name] for name in ("interval_low", "interval_high"))
    return (
        f"{told['protocol']}, {told['model']}: {100 * told['accuracy']:.2f} %, mean of seeds ({seeds}), "
        f"n = {told['n']:,}, 95 % interval {low:.1f} to {high:.1f} %; hidden layers fire at "
        f"{100 * told['hidden_spike_fraction']:.1f} % of steps; {told['seconds']:.0f} s of training a seed"
    )
