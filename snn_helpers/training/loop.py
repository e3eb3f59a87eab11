"""Train, validate and test a spiking network as a config says, and write what came out."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from snn_helpers._files import writable_folder, write_json
from snn_helpers._paths import logs_home, runs_home
from snn_helpers._versions import release
from snn_helpers.data import EventDataset, load_dataset
from snn_helpers.stats import wilson_interval
from snn_helpers.training.build import (
    build_model,
    choose_device,
    load_weights,
    loss_function,
    network_of,
    threshold_of,
)
from snn_helpers.training.checkpoint import BEST, LAST, RESULT, load_checkpoint
from snn_helpers.training.config import OWN, TrainConfig
from snn_helpers.training.estimate import estimate
from snn_helpers.training.network import check_batch, check_network, has_neurons, operations_of
from snn_helpers.training.processes import Processes, joined_processes
from snn_helpers.training.resume import adopt, begin_from, find_resume
from snn_helpers.training.run import EVAL_BATCH, LEAST_BATCH, Monitor, Run
from snn_helpers.training.score import Score, evaluate
from snn_helpers.training.truncate import check_truncation

_SMOKE_RECORDINGS = 64
# Recordings to validate on after each epoch; the test split is scored whole, but in the smoke profile.
_VALID_LIMITS = {"smoke": _SMOKE_RECORDINGS, "teach": 1000, "full": None}


@dataclass(frozen=True)
class TrainResult:
    """What a run found and where it is kept.

    Attributes
    ----------
    history : list of dict
        One row an epoch, the columns of `HISTORY_COLUMNS`; equal settings give equal rows.
    metrics : dict
        What `result.json` holds.
    paths : dict of str to Path
        "save_dir", "log_dir", and what there is of "last", "best", "history", "result": a test has only the last.
    """

    history: list[dict[str, float]]
    metrics: dict[str, Any]
    paths: dict[str, Path]


class Splits(NamedTuple):
    """What a network learns from, is watched on after each epoch, and is tested on at the end."""

    train: EventDataset
    valid: EventDataset
    test: EventDataset


def train(
    config: TrainConfig,
    monitor: Monitor | None = None,
    splits: Splits | None = None,
    named: Collection[str] = (),
    model: nn.Module | None = None,
) -> TrainResult:
    """Train as `config` says, or only test with `test_only`, and write checkpoints, history, log and result.

    The test split is scored once, at the end, with the weights of the best validation accuracy, or those of the last
    epoch where `select` says so. Before a network is scored, batch normalisation's statistics are measured anew on a
    few training recordings without augmentation ("precise" statistics: Wu and Johnson, Rethinking "Batch" in BatchNorm,
    2021). Ctrl-C, a notebook's stop button and SIGTERM end it after the step under way, with a checkpoint.

    Parameters
    ----------
    config : TrainConfig
        What was left out is filled in by its profile.
    monitor : Monitor or None
        Has `update(row)`, called after every epoch, and `stop_requested`, asked after every step.
    splits : Splits or None
        Recordings to use instead of the config's data set.
    named : collection of str
        Settings that were given by name. When a run is resumed, one that is not the run's is refused even where it is
        the default, which otherwise counts as left out.
    model : nn.Module or None
        A network of your own instead of the one that the config names: it takes frames [T, B, ...] and answers
        (spk_rec, mem_rec), each [T, B, classes]; or it takes one step, and its neurons, ours or snnTorch's, keep their
        state (`init_hidden=True`), so that it is run through `accelerate`. It is trained in place. A checkpoint holds
        its weights: to go on, to test and to load it, build it again and hand it over again.

    Returns
    -------
    TrainResult
        History, metrics and the paths written; of several processes, each returns the same.

    Raises
    ------
    TypeError, ValueError
        If a setting cannot be met, the network does not answer what it should, or a label is none of its classes:
        before any work starts.
    CheckpointError
        If the checkpoint to go on from is damaged or of another network, or one cannot be written.
    MemoryError
        If a training step cannot fit into memory.
    FloatingPointError
        If the loss or a gradient is no number any more.
    TrainingStopped
        If it was asked to stop; a KeyboardInterrupt.
    """
    config = config if model is None else _of_own(config)
    config, state = find_resume(config)
    config = adopt(config, state, named) if state else config.resolve()
    begin = load_checkpoint(config.init_from) if config.init_from and not state else None
    if model is not None or config.model == OWN:  # refused, where it is, before anything is read
        model = network_of(config, model, config.resume)
    with joined_processes(choose_device(config)) as (processes, device), _own_folder(config, processes) as folder:
        if (config.visualize or config.log_dir) and processes.first:
            writable_folder("--log_dir", _log_dir(config, folder) / ("figures" if config.visualize else ""))
        criterion = loss_function(config.loss, threshold_of(config))
        if config.test_only:
            test_set = splits.test if splits else _test_set(config)
            model = (model or build_model(config, state["geometry"])).to(device)
            load_weights(model, state, config.resume)
            check_network(model, {"test": test_set}, config.time_steps, device)
            return _test_only(config, model, test_set, criterion, device, processes, folder, state)
        splits = splits or _load_splits(config)
        if processes.first and (pooling := splits.train.describe_pooling(config.time_steps)):
            print(pooling, flush=True)
        model = (model or build_model(config, splits.train.geometry)).to(device)
        if begin:
            begin_from(config, model, begin)
        check_network(model, splits._asdict(), config.time_steps, device)
        check_truncation(model, config, splits.train.frames([0], 1).shape[2:])
        check_batch(model, config.time_steps, _smallest_batch(config, len(splits.train), processes.size))
        if config.spike_penalty and not has_neurons(model):
            raise ValueError("`spike_penalty`: the network has no neurons of snn_helpers or snnTorch. Leave it out.")
        log_dir = _log_dir(config, folder)
        run = Run(config, model, *splits[:2], criterion, folder, log_dir, device, processes, monitor)
        if not (state and state["epoch"] == config.epochs):
            here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's, of the processes on this machine
            expected = estimate(config, model, run.loader, criterion, device, here)
            if processes.first:
                print(expected, flush=True)
        if state:
            run.restore(state)
        else:
            run.begin()
        begin = state = None  # checkpoints are large, and training is long
        run.fit()
        processes.wait()  # until the checkpoints are written
        chosen = folder / (BEST if config.select == "best" else LAST)
        load_weights(model, load_checkpoint(chosen), chosen)
        batches = _test_batches(splits.test, config, processes)
        score = evaluate(model, batches, criterion, device, processes)
        metrics = _metrics(config, model, score, run.seconds_in_all, splits.test, device) | run.findings()
        metrics["provenance"] = {name: getattr(splits, name).provenance.as_dict() for name in ("train", "test")}
        return _finish(run.history, metrics, splits.test, folder, log_dir, processes)


def _test_only(config, model, test_set, criterion, device, processes, folder, state) -> TrainResult:
    started = time.perf_counter()
    score = evaluate(model, _test_batches(test_set, config, processes), criterion, device, processes)
    metrics = _metrics(config, model, score, time.perf_counter() - started, test_set, device)
    metrics |= {"initial_firing": state["initial_firing"]}
    metrics["provenance"] = {"train": None, "test": test_set.provenance.as_dict()}
    return _finish(state["history"], metrics, test_set, folder, _log_dir(config, folder), processes)


def _finish(history, metrics, test_set, folder: Path, log_dir: Path, processes: Processes) -> TrainResult:
    if processes.first:
        write_json(folder / RESULT, metrics)
        print(
            f"test accuracy {100 * metrics['test_accuracy']:.2f} %, 95 % interval {100 * metrics['interval_low']:.1f} "
            f"to {100 * metrics['interval_high']:.1f} % ({test_set.provenance})",
            flush=True,
        )
    names = {"last": LAST, "best": BEST, "history": "history.csv", "result": RESULT}
    written = {key: folder / name for key, name in names.items() if (folder / name).exists()}
    return TrainResult(history, metrics, {"save_dir": folder, "log_dir": log_dir, **written})


def _smallest_batch(config: TrainConfig, recordings: int, processes: int) -> int:
    """Return how many recordings a process has in the smallest batch that is not left out."""
    whole, rest = divmod(recordings, config.batch_size)
    sizes = [config.batch_size] * bool(whole) + [rest] * (rest >= LEAST_BATCH or not whole)
    return max(1, min(sizes) // processes)


def _load_splits(config: TrainConfig) -> Splits:
    train_set = recordings_of(config, "train").take(config.num_samples)
    valid_set = recordings_of(config, "valid").take(_VALID_LIMITS[config.profile])
    return Splits(train_set, valid_set, _test_set(config))


def recordings_of(config: TrainConfig, split: str) -> EventDataset:
    """Return a split of the data set that a config names, its frames of the size that it asks for."""
    return load_dataset(config.dataset, config.data_dir, split).pooled(config.image_size)


def _test_set(config: TrainConfig) -> EventDataset:
    return recordings_of(config, "test").take(_SMOKE_RECORDINGS if config.profile == "smoke" else None)


def _test_batches(test_set: EventDataset, config: TrainConfig, processes: Processes):
    return test_set.loader(EVAL_BATCH, config.time_steps, shuffle=False, part=(processes.rank, processes.size))


def _of_own(config: TrainConfig) -> TrainConfig:
    """Return the config without a network's settings, for a network that was handed over."""
    if config.model not in (OWN, TrainConfig.model):
        raise ValueError(f"`model`: the config names {config.model!r}, and a network was handed over. Leave one out.")
    return replace(config, model=OWN)


def _log_dir(config: TrainConfig, folder: Path) -> Path:
    if config.log_dir:
        return Path(config.log_dir)
    return folder / "logs" if config.save_dir else logs_home() / folder.name


@contextlib.contextmanager
def _own_folder(config: TrainConfig, processes: Processes) -> Iterator[Path]:
    """Give the run its folder, which it keeps to itself."""
    from filelock import FileLock, Timeout

    folder = Path(processes.from_first(str(_run_folder(config))))
    if not processes.first:
        yield folder
        return
    goes_on = config.resume and folder.resolve() == Path(config.resume).resolve().parent and not config.test_only
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"another process is training in {folder}. Choose another folder (`--save_dir`), or wait for it."
        ) from None
    except OSError as err:
        raise ValueError(f"`--save_dir`: cannot write to {folder} ({err.strerror}). Choose another folder.") from err
    try:
        if not goes_on and ((folder / LAST).exists() or (folder / RESULT).exists()):  # asked when nobody else writes
            raise ValueError(
                f"`--save_dir`: {folder} holds another run. Choose a new folder, or go on with `--resume`."
            )
        for part in folder.glob(".*.part"):  # of a process that was killed while it wrote
            part.unlink(missing_ok=True)
        yield folder
    finally:
        lock.release()
        if is_new and [path.name for path in folder.iterdir()] == [".lock"]:  # refused before anything was written
            (folder / ".lock").unlink()
            folder.rmdir()


def _run_folder(config: TrainConfig) -> Path:
    if config.save_dir:
        return Path(config.save_dir)
    if config.resume and not config.test_only:
        return Path(config.resume).parent
    purpose = "test" if config.test_only else "train"
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{purpose}-{config.model}-{Path(config.dataset).name}-{stamp}-{os.getpid()}"
    again = itertools.count(2)  # a process may begin several runs in a second
    folder = runs_home() / name
    while folder.exists():
        folder = runs_home() / f"{name}-{next(again)}"
    return folder


def _metrics(
    config: TrainConfig, model: nn.Module, score: Score, seconds: float, test_set: EventDataset, device: torch.device
) -> dict[str, Any]:
    low, high = wilson_interval(score.hits, score.total)
    frames, _ = next(test_set.loader(EVAL_BATCH, config.time_steps, shuffle=False).batches(0))
    return {
        "test_accuracy": score.accuracy,
        "n_test": score.total,
        "interval_low": low,
        "interval_high": high,
        "seed": config.seed,
        "seconds": seconds,
        "spike_fractions": score.fractions,
        "hidden_spike_fraction": score.hidden_fraction,
        "synaptic_operations": operations_of(model, frames.to(device)),
        "config": config.as_dict(),
        "versions": {
            "python": platform.python_version(),
            **{name: release(name) for name in ("snn_helpers", "torch", "snntorch", "numpy")},
        },
    }
