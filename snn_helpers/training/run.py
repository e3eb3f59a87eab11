"""A training under way: steps, epochs, and all that a checkpoint has to carry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from snn_helpers._checks import NotANumberError
from snn_helpers.activity import firing_rates, record
from snn_helpers.data import Augment, EventDataset
from snn_helpers.models.firing import balance_firing
from snn_helpers.models.readout import read_output
from snn_helpers.neurons import clamp_parameters
from snn_helpers.over_time import frames_for
from snn_helpers.training import network
from snn_helpers.training.breakdown import (
    all_finite,
    broken_membranes,
    broken_weights_or_gradients,
    gradient_norms,
    way_back,
)
from snn_helpers.training.build import Criterion, load_weights, make_optimizer, make_scheduler
from snn_helpers.training.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.logs import HISTORY_COLUMNS, EventLog, firing_line, progress_line, write_history
from snn_helpers.training.on_gpu import DeviceStep, feed
from snn_helpers.training.processes import Processes
from snn_helpers.training.resume import carry_best, check_same_data
from snn_helpers.training.score import Score, Tally, evaluate
from snn_helpers.training.stopping import StopRequests, TrainingStopped
from snn_helpers.training.truncate import is_truncated, parts_of

EVAL_BATCH = 64
# A last batch of fewer recordings is left out: each of several processes needs a part, however many there are after a
# resume, and normalisation needs a few values.
LEAST_BATCH = 8
GRADIENT_LIMIT = 1.0
# Recordings on which normalisation's statistics are measured before a network is scored. Running means lag behind the
# weights, and are of augmented recordings: on validation data that cost four networks 0.4 to 3.8 points.
_MEASURED_ON = 320
_LOG_EVERY = 10  # steps; gradient norms by layer cost a little
_LEAST_SCALE = 2.0**-10  # of a float16 loss: it is halved at every step whose gradients overflow


class Monitor(Protocol):
    """Watches a training, for example a widget in a notebook."""

    stop_requested: bool

    def update(self, row: dict[str, float]) -> None:
        """Take the row of an epoch that was done: the columns of `HISTORY_COLUMNS`, and "firing/<layer>"."""


class Run:
    """Trains a network, and can be put down after any step and taken up again.

    Parameters
    ----------
    config : TrainConfig
        Resolved.
    model : nn.Module
        On its device.
    train_set, valid_set : EventDataset
        What to learn from; what to score after each epoch.
    criterion : callable
        See `loss_function`.
    folder, log_dir : Path; Path or None
        Of the checkpoints; of the TensorBoard log.
    device : torch.device
        Where the model is.
    processes : Processes
        Who else trains it.
    monitor : Monitor or None
        Told of every epoch, and asked at every step whether to stop.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: nn.Module,
        train_set: EventDataset,
        valid_set: EventDataset,
        criterion: Criterion,
        folder: Path,
        log_dir: Path | None,
        device: torch.device,
        processes: Processes,
        monitor: Monitor | None = None,
    ):
        self.config, self.model, self.criterion = config, model, criterion
        self.folder, self.log_dir, self.device = folder, log_dir, device
        self.processes, self.monitor = processes, monitor
        part = (processes.rank, processes.size)
        augment = Augment(config.max_shift, config.event_drop, config.warp)
        self.loader = train_set.loader(
            config.batch_size,
            config.time_steps,
            seed=config.seed,
            augment=augment,
            part=part,
            least=max(LEAST_BATCH, processes.size),
        )
        self.loader = feed(self.loader, device)
        self.geometry = train_set.geometry
        self.data: dict[str, Any] = {"train": train_set.provenance.as_dict(), "valid": valid_set.provenance.as_dict()}
        self.data["steps_an_epoch"] = len(self.loader)
        self.valid_loader = feed(valid_set.loader(EVAL_BATCH, config.time_steps, shuffle=False, part=part), device)
        self.plain_loader = train_set.take(_MEASURED_ON).loader(EVAL_BATCH, config.time_steps, seed=config.seed)
        self.optimizer = make_optimizer(model, config)
        self.scheduler = make_scheduler(self.optimizer, config, len(self.loader))
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        # A step that several processes share, that scales its loss or that runs in parts is looked at while it runs.
        looks = processes.size > 1 or self.scaler.is_enabled() or is_truncated(config)
        self.device_step = None
        if device.type == "cuda" and not looks:
            self.device_step = self._new_device_step()
        self.history: list[dict[str, float]] = []
        self.initial_firing: dict[str, float] = {}
        # Within the epoch: steps done, what they gave, and the learning rate of the first.
        self.step, self.tally = 0, Tally()
        self.lr = self.optimizer.param_groups[0]["lr"]
        # Of this epoch's steps, as far as this process did them: recordings, computing, waiting for batches.
        self.samples, self.seconds, self.data_seconds = 0, 0.0, 0.0
        self.seconds_in_all = 0.0
        self._speed: dict[str, float] = {}
        # Of a last.pt that was damaged, so that the run goes on from the one before, no second copy is made.
        self._keeps_last = Path(config.resume or LAST).name != PREVIOUS

    def _new_device_step(self) -> DeviceStep:
        options = self.criterion, self.optimizer, GRADIENT_LIMIT, self.config.spike_penalty, self._autocast()
        return DeviceStep(self.model, *options)

    def _autocast(self) -> torch.autocast:
        kind = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.config.precision)
        return torch.autocast(self.device.type, kind, enabled=kind is not None)

    def fit(self) -> None:
        """Train to the end, from where `begin` or `restore` has put it."""
        self.network = self.processes.wrap(self.model)
        done = len(self.history) * len(self.loader) + self.step
        self.log = EventLog(self.log_dir if self.processes.first else None, done)
        started, steps_before = time.perf_counter(), done
        self._began = started - self.seconds_in_all
        try:
            with StopRequests() as self.stop:
                for epoch in range(len(self.history), self.config.epochs):
                    row, valid_score = self._do_epoch(epoch)
                    steps = (epoch + 1) * len(self.loader)
                    to_go = (time.perf_counter() - started) / max(1, steps - steps_before)
                    to_go *= self.config.epochs * len(self.loader) - steps
                    self._say(progress_line(row, self.config.epochs, valid_score.total, to_go))
                    if self.monitor:
                        firing = {f"firing/{name}": share for name, share in valid_score.fractions.items()}
                        self.monitor.update({**row, **firing})
        finally:
            self.log.close()
            self.seconds_in_all = time.perf_counter() - self._began

    def findings(self) -> dict[str, Any]:
        """Return what belongs into the result beside the scores."""
        return {"initial_firing": self.initial_firing, **self._speed}

    def begin(self) -> None:
        """Begin at the beginning, with a network that fires where the config asks for it."""
        torch.manual_seed(self.config.seed)
        if self.config.init_rate and not self.config.init_from:
            frames = next(self.loader.whole().batches(0))[0].to(self.device)
            frames = frames_for(self.model, frames)
            self.initial_firing = balance_firing(self.model, frames, self.config.init_rate)
            self._say(firing_line(self.initial_firing))

    def _do_epoch(self, epoch: int) -> tuple[dict[str, float], Score]:
        if self.step == 0:
            self.lr = self.optimizer.param_groups[0]["lr"]
        train_score = self._train_epoch(epoch)
        self._refuse_broken_weights()
        plain = ((frames_for(self.model, frames),) for frames, _ in self.plain_loader.batches(0))
        update_bn(plain, self.model, self.device)
        valid_score = evaluate(self.model, self.valid_loader.batches(0), self.criterion, self.device, self.processes)
        if self.config.scheduler == "plateau":
            self.scheduler.step(valid_score.loss)
        row = (epoch, self.lr, train_score.loss, train_score.accuracy, valid_score.loss, valid_score.accuracy)
        row = dict(zip(HISTORY_COLUMNS, (*row, valid_score.output_spikes, valid_score.hidden_fraction)))
        self.history.append(row)
        self.step, self.tally = 0, Tally()
        self._note_speed()
        self._save()
        self._log_epoch(train_score, valid_score)
        return row, valid_score

    def _train_epoch(self, epoch: int) -> Score:
        from tqdm import tqdm

        self.model.train()
        batches = self.loader.batches(epoch, self.step)
        # disable=None: a bar on a terminal, nothing in logs and notebooks, which get a line an epoch.
        hidden = None if self.processes.first else True
        bar = tqdm(batches, f"epoch {epoch + 1}", len(self.loader), leave=False, disable=hidden, initial=self.step)
        for frames, labels in self._timed(bar):
            self._do_step(epoch, frames.to(self.device), labels.to(self.device))
            if self._asked_to_stop():
                self._save()
                raise self._stopped(epoch)
            if self.config.save_every and self.step % self.config.save_every == 0 and self.step < len(self.loader):
                self._save()
        self._read_device_step()
        return self.tally.over(self.processes).score()

    def _timed(self, batches) -> Iterator:
        """Pass batches on, and add up the time spent on waiting for them."""
        before = time.perf_counter()
        for batch in batches:
            now = time.perf_counter()
            self.data_seconds += now - before
            yield batch
            before = time.perf_counter()
            self.seconds += before - now

    def _do_step(self, epoch: int, frames: Tensor, labels: Tensor) -> None:
        # What chance decides in a step depends on its number only: not on who did the steps before, or when.
        where = [self.config.seed, epoch, self.step, self.processes.rank, 2]
        torch.manual_seed(int(np.random.SeedSequence(where).generate_state(1)[0]))
        if self.device_step is not None:
            self._do_device_step(epoch, frames, labels)
            return
        try:
            autocast = self._autocast()
            parts = parts_of(self.config, self.model, frames, self.network, autocast)
            if parts:
                output, fractions = parts.forward()
            else:
                with autocast, network.fractions_of(self.model) as fractions:
                    output = read_output(self.network(frames_for(self.model, frames)))
        except NotANumberError as err:  # the engine looks at what it gets
            raise self._broken("a current is nan", epoch, otherwise=self._first_broken(frames)) from err
        loss = self.criterion(output, labels)
        objective = network.penalised(loss, fractions, self.config.spike_penalty)
        self._refuse_if_not_finite("the loss", objective, epoch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(objective * self.loader.weight(len(labels), self.step)).backward()
        if parts:
            parts.backward()
        self.scaler.unscale_(self.optimizer)
        told = {"loss/step": loss.item()} if self.log.on and (self.step + 1) % _LOG_EVERY == 0 else {}
        if told:
            told |= gradient_norms(self.model)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_LIMIT)
        if not self.scaler.is_enabled():  # a scaler leaves out steps whose gradients overflow, and goes on
            # Membranes that are not a number do not fire: the loss alone looks healthy.
            self._refuse_if_not_finite("the gradient's norm", norm, epoch)
        if told:
            lr = self.optimizer.param_groups[0]["lr"]
            step = epoch * len(self.loader) + self.step + 1
            self.log.scalars(step, {**told, "lr": lr, "gradient_norm/all": float(norm)})
        self.scaler.step(self.optimizer)
        clamp_parameters(self.model)
        self.scaler.update()
        if told and self.scaler.is_enabled() and self.scaler.get_scale() < _LEAST_SCALE:
            raise self._broken("every step's gradients overflow", epoch)
        if self.scheduler and self.config.scheduler != "plateau":
            self.scheduler.step()
        self.tally.add(loss.item(), output, labels, fractions)
        self.samples += len(labels) * self.processes.size
        self.step += 1

    def _do_device_step(self, epoch: int, frames: Tensor, labels: Tensor) -> None:
        try:
            self.device_step(frames, labels)
        except NotANumberError as err:
            raise self._broken("a current is nan", epoch) from err
        if self.scheduler and self.config.scheduler != "plateau":
            self.scheduler.step()
        self.samples += len(labels)
        self.step += 1
        if self.step % _LOG_EVERY == 0:
            self._read_device_step()
            if self.log.on:
                norm, step = float(self.device_step.norm), epoch * len(self.loader) + self.step
                clipped = min(1.0, GRADIENT_LIMIT / (norm + 1e-6))  # as `clip_grad_norm_` scales all gradients
                norms = {name: value / clipped for name, value in gradient_norms(self.model).items()}
                told = {"loss/step": float(self.device_step.loss), "lr": self.optimizer.param_groups[0]["lr"]}
                self.log.scalars(step, {**told, **norms, "gradient_norm/all": norm})

    def _read_device_step(self) -> None:
        """Take in what the steps on a GPU since the last call gave; refuse what is no number, if a few steps late."""
        if self.device_step is not None and not self.device_step.read_into(self.tally):
            what = f"the loss or the gradient's norm, within the last {_LOG_EVERY} steps, is no number"
            raise self._broken(what, len(self.history), self.step)

    def _refuse_if_not_finite(self, what: str, value: Tensor, epoch: int) -> None:
        if self.processes.any(not torch.isfinite(value)):
            raise self._broken(f"{what} is {value.item()}", epoch)

    def _refuse_broken_weights(self) -> None:
        """Stop before weights that an update has ruined are scored, or kept in place of good ones."""
        if not all_finite(self.model.parameters()):
            raise self._broken("a weight is no finite number", len(self.history), self.step)

    def _broken(
        self, what: str, epoch: int, step: int | None = None, otherwise: str | None = None
    ) -> FloatingPointError:
        step = self.step + 1 if step is None else step
        culprit = broken_weights_or_gradients(self.model) or otherwise or "the output"
        advice = way_back(self.folder / LAST, self.config.lr)
        return FloatingPointError(f"{what} at epoch {epoch + 1}, step {step}; first in {culprit}. {advice}")

    def _first_broken(self, frames: Tensor) -> str | None:
        return broken_membranes(network.on_snntorch(self.model), frames)

    def _asked_to_stop(self) -> bool:
        wish = bool(self.monitor and self.monitor.stop_requested)
        return self.processes.any(wish or self.stop.signal is not None)

    def _stopped(self, epoch: int) -> TrainingStopped:
        last = self.folder / LAST
        code = 130 if self.stop.signal is None else 128 + self.stop.signal
        text = (
            f"stopped in epoch {epoch + 1} after step {self.step} of {len(self.loader)}; go on with `--resume {last}`"
        )
        return TrainingStopped(text, code)

    def _say(self, line: str) -> None:
        if self.processes.first:
            print(line, flush=True)

    def _save(self) -> None:
        self._read_device_step()
        tally = self.tally.over(self.processes)
        if not self.processes.first:
            return
        self._refuse_broken_weights()
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else {},
            "scaler": self.scaler.state_dict(),
            "epoch": len(self.history),
            "step": self.step,
            "partial": {**tally.plain(), "lr": self.lr},
            "config": self.config.as_dict(),
            "history": self.history,
            "rng": random_state(),
            "initial_firing": self.initial_firing,
            "seconds": time.perf_counter() - self._began,
            "speed": self._speed,
            "geometry": self.geometry,
            "data": self.data,
            "threads": torch.get_num_threads(),
        }
        if self.step == 0:
            accuracies = [row["valid_accuracy"] for row in self.history]
            # Before last.pt: a run killed in between does the end of the epoch again, and loses no best one.
            if accuracies[-1] > max(accuracies[:-1], default=-1.0):
                save_checkpoint(self.folder / BEST, state)
        save_checkpoint(self.folder / LAST, state, keep_before=self.folder / PREVIOUS if self._keeps_last else None)
        self._keeps_last = True
        if self.step == 0:
            write_history(self.folder / "history.csv", self.history)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint."""
        check_same_data(self.config.resume, state["data"], self.data, self.processes.size)
        if state["threads"] != torch.get_num_threads():
            self._say(
                f"the run had {state['threads']} threads, this process has {torch.get_num_threads()}: sums in another "
                "order, so that the rest is near, not equal, to what it would have been (OMP_NUM_THREADS)."
            )
        load_weights(self.model, state, self.config.resume)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.history = list(state["history"])
        self.step = state["step"]
        sums, fractions, self.lr = (state["partial"][name] for name in ("sums", "fractions", "lr"))
        if not self.processes.first:  # what was counted before is counted by one process alone
            sums, fractions = [0.0] * len(sums), dict.fromkeys(fractions, 0.0)
        self.tally = Tally(sums, fractions)
        self.initial_firing = dict(state["initial_firing"])
        self.seconds_in_all = state["seconds"]
        self._speed = dict(state["speed"])
        restore_random_state(state["rng"])
        if self.processes.first and self.history:
            carry_best(self.config.resume, self.history, self.folder)
            write_history(self.folder / "history.csv", self.history)  # a run may have been killed before it wrote it
        if self.processes.first and not (self.folder / LAST).exists():
            save_checkpoint(self.folder / LAST, state)

    def _note_speed(self) -> None:
        spent = self.seconds + self.data_seconds
        if spent:  # none where an epoch was resumed after its last step
            self._speed = {"samples_per_s": self.samples / spent, "data_share": self.data_seconds / spent}
        self.samples, self.seconds, self.data_seconds = 0, 0.0, 0.0

    def _log_epoch(self, train_score: Score, valid_score: Score) -> None:
        if not self.log.on:
            return
        values = {"loss/train": train_score.loss, "accuracy/train": train_score.accuracy}
        values |= {"loss/valid": valid_score.loss, "accuracy/valid": valid_score.accuracy}
        values |= {f"firing/{name}": share for name, share in valid_score.fractions.items()}
        frames = next(self.valid_loader.batches(0))[0].to(self.device)
        if network.has_neurons(self.model):
            values |= {f"dead/{name}": share for name, share in self._dead_shares(frames).items()}
            values["cost/synaptic_operations"] = network.operations_of(self.model, frames)
        values |= {f"speed/{name}": value for name, value in self._speed.items()}
        self.log.scalars(len(self.history) * len(self.loader), values)

    @torch.inference_mode()
    def _dead_shares(self, frames: Tensor) -> dict[str, float]:
        """Return the share of neurons that never fire on a batch, by layer."""
        recording = record(self.model, frames_for(self.model, frames), what=("spk",))
        return {name: rates.dead for name, rates in firing_rates(recording.spk).items()}
