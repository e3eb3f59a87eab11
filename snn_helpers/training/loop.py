"""Train, validate and test a spiking network, and write what came out."""

from __future__ import annotations

import csv
import json
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snn_helpers._checks import check_choice
from snn_helpers._paths import runs_home
from snn_helpers._stats import wilson_interval
from snn_helpers.datasets import Augment, EventDataset, load_dataset
from snn_helpers.models.cnn import SpikingCNN
from snn_helpers.models.firing import balance_firing
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.models.readout import decide
from snn_helpers.models.resnet import SpikingResNet
from snn_helpers.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from snn_helpers.training.config import TrainConfig

NETWORKS = {"cnn": SpikingCNN, "resnet": SpikingResNet}
# Settings that make another network: a checkpoint is only good for the same ones.
MODEL_FLAGS = ("model", "beta", "threshold", "norm", "alpha", "rho", "adaptation", "skip", "learn")
# Settings without which a run would not go on as it began.
RUN_FLAGS = (*MODEL_FLAGS, "profile", "dataset", "num_samples", "time_steps", "epochs", "batch_size", "lr")
RUN_FLAGS += ("weight_decay", "scheduler", "loss", "dropout", "max_shift", "event_drop", "seed", "surrogate")
RUN_FLAGS += ("spike_penalty", "init_rate")

HISTORY_COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "output_spikes")
_EVAL_BATCH = 64
_SMOKE_RECORDINGS = 64
# Recordings to validate on after each epoch; the test split is scored whole, but in the smoke profile.
_VALID_LIMITS = {"smoke": _SMOKE_RECORDINGS, "teach": 1000, "full": None}
_GRADIENT_LIMIT = 1.0


class Score(NamedTuple):
    """How a network did on a split: mean loss, right answers, recordings, output spikes a recording."""

    loss: float
    hits: int
    total: int
    output_spikes: float

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.hits / self.total


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
        "save_dir", "last", "best", "history", "result".
    """

    history: list[dict[str, float]]
    metrics: dict[str, Any]
    paths: dict[str, Path]


def build_model(config: TrainConfig) -> SpikingNetwork:
    """Build the untrained network that `config` asks for, its weights drawn from `config.seed`."""
    names = ["beta", "threshold", "dropout", "engine", "norm", "surrogate"]
    if config.model == "resnet":
        names += ["alpha", "rho", "adaptation", "skip"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return NETWORKS[config.model](**{name: getattr(config, name) for name in names}, learn=config.learned)


def load_model(path: str | os.PathLike) -> tuple[SpikingNetwork, TrainConfig]:
    """Return the trained network of a checkpoint, in eval mode, and the config it was trained with."""
    state = load_checkpoint(path)
    config = TrainConfig.from_params(state["config"])
    model = build_model(config)
    model.load_state_dict(state["model"])
    return model.eval(), config


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], criterion, device="cpu") -> Score:
    """Score a network in eval mode on (frames, labels) batches; its mode is put back afterwards."""
    was_training = model.training
    model.eval()
    loss_sum = hits = total = spikes = 0.0
    with torch.inference_mode():
        for frames, labels in batches:
            labels = labels.to(device)
            output = model(frames.to(device))
            loss_sum += criterion(output.spk_rec, labels).item() * len(labels)
            hits += (decide(output) == labels).sum().item()
            spikes += output.spk_rec.sum().item()
            total += len(labels)
    model.train(was_training)
    return Score(loss_sum / total, int(hits), int(total), spikes / total)


def train(config: TrainConfig) -> TrainResult:
    """Train as `config` says, or only test with `test_only`, and write checkpoints, history and result.

    The test split is scored once, at the end, with the weights of the best validation accuracy.

    Parameters
    ----------
    config : TrainConfig
        What was left out is filled in by its profile.

    Returns
    -------
    TrainResult
        History, metrics and the paths written.

    Raises
    ------
    ValueError
        If a setting cannot be met, before any work starts.
    CheckpointError
        If the checkpoint to go on from is damaged or of another network.
    """
    started = time.perf_counter()
    if config.test_only and not config.resume:
        raise ValueError("`--test_only` needs `--resume CHECKPOINT`, the network to test.")
    state = load_checkpoint(config.resume) if config.resume else None
    config = _adopt(config, state) if state else config.resolve()
    device = _device(config.device)
    folder = _prepare_folder(config)
    criterion = loss_function(config.loss)
    test_set = load_dataset(config.dataset, config.data_dir, "test")
    test_set = test_set.take(_SMOKE_RECORDINGS if config.profile == "smoke" else None)
    model = build_model(config).to(device)

    if config.test_only:
        model.load_state_dict(state["model"])
        history, train_provenance, firing = state["history"], None, state["initial_firing"]
    else:
        train_set = load_dataset(config.dataset, config.data_dir, "train").take(config.num_samples)
        valid_set = load_dataset(config.dataset, config.data_dir, "valid").take(_VALID_LIMITS[config.profile])
        train_provenance = train_set.provenance.as_dict()
        run = _Run(config, model, train_set, valid_set, criterion, device, folder)
        history, firing = run.fit(state), run.initial_firing
        model.load_state_dict(load_checkpoint(folder / "best.pt")["model"])

    batches = test_set.loader(_EVAL_BATCH, config.time_steps, shuffle=False)
    score = evaluate(model, batches, criterion, device)
    metrics = _metrics(config, score, time.perf_counter() - started)
    metrics["initial_firing"] = firing
    metrics["provenance"] = {"train": train_provenance, "test": test_set.provenance.as_dict()}
    _write_whole(folder / "result.json", json.dumps(metrics, indent=1))
    print(
        f"test accuracy {100 * score.accuracy:.2f} %, 95 % interval {100 * metrics['interval_low']:.1f} to "
        f"{100 * metrics['interval_high']:.1f} % ({test_set.provenance})",
        flush=True,
    )
    names = {"last": "last.pt", "best": "best.pt", "history": "history.csv", "result": "result.json"}
    paths = {"save_dir": folder, **{key: folder / name for key, name in names.items()}}
    return TrainResult(history, metrics, paths)


class _Run:
    """The state of one training: everything that a checkpoint has to carry."""

    def __init__(self, config, model, train_set: EventDataset, valid_set: EventDataset, criterion, device, folder):
        self.config, self.model, self.device, self.folder = config, model, device, folder
        self.criterion = criterion
        augment = Augment(config.max_shift, config.event_drop)
        self.loader = train_set.loader(config.batch_size, config.time_steps, seed=config.seed, augment=augment)
        self.valid_loader = valid_set.loader(_EVAL_BATCH, config.time_steps, shuffle=False)
        self.optimizer = torch.optim.AdamW(_parameter_groups(model), lr=config.lr, weight_decay=config.weight_decay)
        self.scheduler = _scheduler(self.optimizer, config, len(self.loader))
        self.history: list[dict[str, float]] = []
        self.initial_firing: dict[str, float] = {}

    def fit(self, state: dict[str, Any] | None) -> list[dict[str, float]]:
        config = self.config
        torch.manual_seed(config.seed)
        if state:
            self._restore(state)
            self._carry_best(state)
        elif config.init_rate:
            frames, _ = next(iter(self.loader.batches(0)))
            self.initial_firing = balance_firing(self.model, frames.to(self.device), config.init_rate)
            print(_firing_line(self.initial_firing), flush=True)
        started, done_before = time.perf_counter(), len(self.history)
        for epoch in range(len(self.history), config.epochs):
            lr = self.optimizer.param_groups[0]["lr"]
            train_score = self._train_epoch(epoch)
            valid_score = evaluate(self.model, self.valid_loader.batches(0), self.criterion, self.device)
            row = (epoch, lr, train_score.loss, train_score.accuracy, valid_score.loss, valid_score.accuracy)
            self.history.append(dict(zip(HISTORY_COLUMNS, (*row, valid_score.output_spikes))))
            self._save()
            elapsed = time.perf_counter() - started
            to_go = elapsed / (epoch + 1 - done_before) * (config.epochs - epoch - 1)
            print(_progress_line(self.history[-1], config.epochs, valid_score.total, to_go), flush=True)
        return self.history

    def _train_epoch(self, epoch: int) -> Score:
        from tqdm import tqdm

        self.model.train()
        loss_sum = hits = total = spikes = 0.0
        # disable=None: a bar on a terminal, nothing in logs and notebooks, which get a line an epoch.
        bar = tqdm(self.loader.batches(epoch), f"epoch {epoch + 1}", len(self.loader), leave=False, disable=None)
        for step, (frames, labels) in enumerate(bar):
            labels = labels.to(self.device)
            fractions: dict[str, Tensor] = {}
            output = self.model(frames.to(self.device), fractions=fractions)
            loss = self.criterion(output.spk_rec, labels)
            if self.config.spike_penalty:
                hidden = [fraction for name, fraction in fractions.items() if name != "output"]
                loss = loss + self.config.spike_penalty * torch.stack(hidden).mean()
            if not torch.isfinite(loss):
                raise self._diverged("the loss", loss, epoch, step)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), _GRADIENT_LIMIT)
            if not torch.isfinite(norm):  # membranes that are not a number do not fire: the loss alone looks healthy
                raise self._diverged("the gradient's norm", norm, epoch, step)
            self.optimizer.step()
            if self.scheduler:
                self.scheduler.step()
            loss_sum += loss.item() * len(labels)
            hits += (decide(output) == labels).sum().item()
            spikes += output.spk_rec.sum().item()
            total += len(labels)
        return Score(loss_sum / total, int(hits), int(total), spikes / total)

    def _diverged(self, what: str, value: Tensor, epoch: int, step: int) -> FloatingPointError:
        return FloatingPointError(
            f"{what} is {value.item()} at epoch {epoch + 1}, step {step + 1}. Lower `lr` ({self.config.lr}); "
            f"{self.folder / 'last.pt'} holds the last good epoch, if one was finished."
        )

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else {},
            "epoch": len(self.history),
            "config": self.config.as_dict(),
            "history": self.history,
            "rng": random_state(),
            "initial_firing": self.initial_firing,
        }
        save_checkpoint(self.folder / "last.pt", state)
        accuracies = [row["valid_accuracy"] for row in self.history]
        if accuracies[-1] > max(accuracies[:-1], default=-1.0):
            save_checkpoint(self.folder / "best.pt", state)
        write_history(self.folder / "history.csv", self.history)

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])
        self.history = list(state["history"])
        self.initial_firing = dict(state["initial_firing"])
        restore_random_state(state["rng"])

    def _carry_best(self, state: dict[str, Any]) -> None:
        """Have a best.pt in a new folder too: no later epoch need beat the best of those that were done before."""
        if (self.folder / "best.pt").exists():
            return
        beside = Path(self.config.resume).with_name("best.pt")
        best = load_checkpoint(beside) if beside.exists() else state
        save_checkpoint(self.folder / "best.pt", best if best["epoch"] <= state["epoch"] else state)


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write one row an epoch, the columns of `HISTORY_COLUMNS`, as CSV."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HISTORY_COLUMNS)
        writer.writeheader()
        writer.writerows(history)
    os.replace(part, path)


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, path)


def _adopt(config: TrainConfig, state: dict[str, Any]) -> TrainConfig:
    """Take from the checkpoint what must be as it was; refuse what was asked for and differs."""
    saved = TrainConfig.from_params(state["config"])
    keys = (*MODEL_FLAGS, "time_steps") if config.test_only else RUN_FLAGS
    default = TrainConfig()
    asked = {key: getattr(config, key) for key in keys if getattr(config, key) != getattr(default, key)}
    differing = [key for key, value in asked.items() if value != getattr(saved, key)]
    clashes = [f"{key} {getattr(saved, key)!r}, not {asked[key]!r}" for key in differing]
    if clashes:
        raise CheckpointError(f"{config.resume}: was made with {'; '.join(clashes)}. Leave these flags out.")
    adopted = {key: getattr(saved, key) for key in keys}
    if config.dataset is None:
        adopted["dataset"] = saved.dataset
    if config.data_dir is None and adopted.get("dataset", config.dataset) == saved.dataset:
        adopted["data_dir"] = saved.data_dir  # else real recordings would be downloaded instead
    return replace(config, **adopted).resolve()


def _prepare_folder(config: TrainConfig) -> Path:
    if config.save_dir:
        folder = Path(config.save_dir)
    elif config.resume and not config.test_only:
        folder = Path(config.resume).parent
    else:
        purpose = "test" if config.test_only else "train"
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = runs_home() / f"{purpose}-{config.model}-{config.dataset}-{stamp}-{os.getpid()}"
    holds_run = (folder / "last.pt").exists() or (folder / "result.json").exists()
    goes_on = config.resume and folder.resolve() == Path(config.resume).resolve().parent and not config.test_only
    if holds_run and not goes_on:
        raise ValueError(f"`--save_dir`: {folder} holds another run. Choose a new folder, or go on with `--resume`.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".write-test").touch()
        (folder / ".write-test").unlink()
    except OSError as err:
        raise ValueError(f"`--save_dir`: cannot write to {folder} ({err.strerror}). Choose another folder.") from err
    return folder


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("`--device cuda`: torch sees no GPU here. Leave the flag out to compute on the CPU.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def loss_function(name: str):
    """Return the loss of `snntorch.functional` called `name`: loss(spk_rec [T, B, classes], labels [B])."""
    from snntorch import functional

    check_choice("loss", name, ("ce_count_loss", "ce_rate_loss", "mse_count_loss"))
    return getattr(functional, name)()


def _parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Spare the neurons' own numbers from weight decay, which would pull every decay and threshold to zero."""
    numbers = [parameter for parameter in model.parameters() if parameter.dim() == 0]
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 0]
    return [{"params": weights}, *([{"params": numbers, "weight_decay": 0.0}] if numbers else [])]


def _firing_line(firing: dict[str, float]) -> str:
    shares = ", ".join(f"{name} {100 * share:.1f}" for name, share in firing.items())
    return f"before training, % of steps with a spike: {shares}"


def _scheduler(optimizer, config: TrainConfig, steps_per_epoch: int):
    total = config.epochs * steps_per_epoch
    if config.scheduler == "onecycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=total + 1)
    if config.scheduler == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    return None


def _progress_line(row: dict[str, float], epochs: int, valid_total: int, to_go: float) -> str:
    minutes, seconds = divmod(round(to_go), 60)
    return (
        f"epoch {row['epoch'] + 1}/{epochs}  train loss {row['train_loss']:.3f}  valid loss {row['valid_loss']:.3f}  "
        f"valid accuracy {100 * row['valid_accuracy']:.1f} % (n = {valid_total})  {minutes}:{seconds:02d} to go"
    )


def _metrics(config: TrainConfig, score: Score, seconds: float) -> dict[str, Any]:
    low, high = wilson_interval(score.hits, score.total)
    return {
        "test_accuracy": score.accuracy,
        "n_test": score.total,
        "interval_low": low,
        "interval_high": high,
        "seed": config.seed,
        "seconds": seconds,
        "config": config.as_dict(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("snn_helpers", "torch", "snntorch", "numpy")},
        },
    }


__all__ = ["TrainResult", "build_model", "decide", "evaluate", "load_model", "train", "write_history"]
