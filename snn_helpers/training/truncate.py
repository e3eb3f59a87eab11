"""Truncated backpropagation through time: gradients stay within parts of a recording, and memory is that of one part.

P. J. Werbos, Backpropagation through time: what it does and how to do it, Proceedings of the IEEE 78 (1990);
R. J. Williams and J. Peng, An efficient gradient-based algorithm for on-line training of recurrent network
trajectories, Neural Computation 2 (1990).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from snn_helpers.models.network import SpikeOutput
from snn_helpers.models.readout import read_output
from snn_helpers.over_time import NormOverTime, frames_for, runner_of
from snn_helpers.over_time.layers import set_state, state_of
from snn_helpers.training import network
from snn_helpers.training.config import TrainConfig


def is_truncated(config: TrainConfig) -> bool:
    """Whether gradients of this run end within its recordings."""
    return 0 < config.truncate < config.time_steps


def parts_of(
    config: TrainConfig,
    model: nn.Module,
    frames: Tensor,
    wrapped: nn.Module | None = None,
    autocast: AbstractContextManager | None = None,
) -> Parts | None:
    """Return the parts in which a training step is to be computed; None where nothing is cut off.

    Parameters
    ----------
    config : TrainConfig
        Its `truncate`.
    model : nn.Module
        The network.
    frames : Tensor [T, B, ...]
        One batch.
    wrapped : nn.Module or None
        The network as several processes call it.
    autocast : context manager or None
        What the network runs in.
    """
    if not 0 < config.truncate < len(frames):
        return None
    return Parts(model, frames, config.truncate, wrapped or model, autocast or contextlib.nullcontext())


def check_truncation(model: nn.Module, config: TrainConfig, frame: tuple[int, ...]) -> None:
    """Refuse a network of which no part of a recording can be computed from the state that the one before has left.

    Parameters
    ----------
    model, config : nn.Module, TrainConfig
        What is trained, and how.
    frame : tuple of int
        Shape of one recording's frame, (C, H, W).

    Raises
    ------
    ValueError
        If it is no step that keeps its own state, or normalises without running statistics.
    """
    if not is_truncated(config):
        return
    if any(isinstance(module, NormOverTime) and module.running_mean is None for module in model.modules()):
        raise ValueError(
            "`truncate`: the network has a NormOverTime without running statistics, which it needs for those of whole "
            "recordings. Build it with track_running_stats=True."
        )
    if not network.has_neurons(model):
        raise ValueError(
            f"`truncate`: {type(model).__name__} has no neurons of snn_helpers or snnTorch that take one step a call: "
            "the state between two parts is not known. Leave it out."
        )
    device = next(model.parameters()).device
    try:
        program = runner_of(model).continued_program(frames_for(model, torch.zeros(2, 1, *frame, device=device)))
    except ValueError as err:
        raise ValueError(f"`truncate`: the state between two parts is not known: {err} Or leave it out.") from err
    calls = [op.target for op in program.steps if op.kind == "call_module"]
    for name, module in runner_of(model).net.named_modules():
        if isinstance(module, NormOverTime) and calls.count(name) > 1:
            raise ValueError(f"`truncate`: {name} normalises twice in one step; its two statistics are not told apart.")


class Parts:
    """One training step over parts of the recordings, one after the other.

    Forward, all parts run without gradients, each from the state that the one before has left; those states are kept.
    The loss is computed from all steps' outputs, as ever. Back, each part runs again from its state, now with
    gradients, and passes on what the loss has given its outputs. Spikes are those of whole recordings; gradients end at
    the beginning of each part, as in a loop that detaches the state there.

    `NormOverTime` normalises by the statistics of whole recordings, too: they are measured first, in one run over all
    steps without gradients, as a test's, and are constants for the gradient.

    Parameters
    ----------
    model : nn.Module
        The network, in training mode.
    frames : Tensor [T, B, ...]
        One batch.
    num_steps : int
        Steps of a part; the last may have fewer.
    wrapped, autocast
        As for `parts_of`.

    Examples
    --------
    >>> from snn_helpers import SpikingCNN
    >>> model, frames = SpikingCNN(), torch.ones(6, 1, 2, 34, 34)
    >>> parts = Parts(model, frames, 2, model, contextlib.nullcontext())
    >>> output, _ = parts.forward()
    >>> output.mem_rec.mean().backward()
    >>> parts.backward()
    >>> bool(model.output.weights.weight.grad.any())
    True
    """

    def __init__(
        self, model: nn.Module, frames: Tensor, num_steps: int, wrapped: nn.Module, autocast: AbstractContextManager
    ):
        self._model, self._wrapped, self._autocast = model, wrapped, autocast
        self._whole, self._frames = frames, frames.split(num_steps)
        self._shares = [len(part) / len(frames) for part in self._frames]
        self._runner = runner_of(model)
        self._cuda = [frames.device] if frames.is_cuda else []

    def _run(self, part: Tensor) -> tuple[SpikeOutput, dict[str, Tensor]]:
        with self._autocast, network.fractions_of(self._model) as fractions:
            output = read_output(self._wrapped(frames_for(self._model, part)))
        return output, fractions

    @torch.no_grad()
    def forward(self) -> tuple[SpikeOutput, dict[str, Tensor]]:
        """Return what the network answers, and the spike fractions of its layers; both wait for their gradients."""
        self._states, outputs = [], []
        self._random = [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in self._cuda)]
        self._fractions = {}
        self._statistics = self._measure()
        with self._runner.continued() as modules, self._normalised():
            for part, share in zip(self._frames, self._shares):
                self._states.append(state_of(modules))
                output, fractions = self._run(part)
                outputs.append(output)
                for name, fraction in fractions.items():
                    self._fractions[name] = self._fractions.get(name, 0.0) + share * fraction
        self._output = SpikeOutput(*(torch.cat(each).requires_grad_() for each in zip(*outputs)))
        self._fractions = {name: fraction.requires_grad_() for name, fraction in self._fractions.items()}
        return self._output, self._fractions

    def _measure(self) -> dict[NormOverTime, tuple[Tensor, Tensor]]:
        """Return mean and variance of each normalisation over whole recordings, and let its running ones follow."""
        norms = [module for module in self._model.modules() if isinstance(module, NormOverTime) and module.training]
        if not norms:
            return {}
        momenta = [norm.momentum for norm in norms]
        with torch.random.fork_rng(self._cuda), _kept_statistics(self._model.modules()):
            try:
                for norm in norms:
                    norm.momentum = 1.0  # running statistics become those of this batch
                self._run(self._whole)
            finally:
                for norm, momentum in zip(norms, momenta):
                    norm.momentum = momentum
            found = {norm: (norm.running_mean.clone(), norm.running_var.clone()) for norm in norms}
        for norm, values in found.items():
            norm.num_batches_tracked.add_(1)
            weight = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            for running, value in zip((norm.running_mean, norm.running_var), values):
                running.lerp_(value, weight)
        # Running variances are divided by one value less than those that normalise.
        sizes = self._values_a_channel()
        return {norm: (mean, var * (1 - 1 / sizes[norm])) for norm, (mean, var) in found.items()}

    def _values_a_channel(self) -> dict[nn.Module, int]:
        program = self._runner.continued_program(frames_for(self._model, self._whole[:2]))
        values = [(op.target, op.val) for op in program.steps if op.kind == "call_module"]
        found = {self._runner.net.get_submodule(target): value for target, value in values}
        norms = {norm: value for norm, value in found.items() if isinstance(norm, NormOverTime)}
        return {norm: len(self._whole) * value.numel() // value.shape[1] for norm, value in norms.items()}

    @contextlib.contextmanager
    def _normalised(self):
        """Let normalisations over time use the statistics that were measured, as in eval mode."""
        with _kept_statistics([*self._statistics]):
            for norm, (mean, var) in self._statistics.items():
                norm.eval()
                norm.running_mean.copy_(mean)
                norm.running_var.copy_(var)
            try:
                yield
            finally:
                for norm in self._statistics:
                    norm.train()

    def backward(self) -> None:
        """Add up the gradients of the weights, part by part, from those that the loss has given to the outputs."""
        sizes = [len(part) for part in self._frames]
        given = [[None] * len(sizes) if each.grad is None else each.grad.split(sizes) for each in self._output]
        with (
            self._runner.continued(),
            torch.random.fork_rng(self._cuda),
            _kept_statistics(self._model.modules()),
            self._normalised(),
        ):
            torch.set_rng_state(self._random[0])  # the same dropout
            for device, state in zip(self._cuda, self._random[1:]):
                torch.cuda.set_rng_state(state, device)
            for place, part in enumerate(self._frames):
                set_state(self._states[place])
                # Of several processes, gradients are averaged with the last part's.
                alone = self._wrapped is self._model or place == len(self._frames) - 1
                with contextlib.nullcontext() if alone else self._wrapped.no_sync():
                    output, fractions = self._run(part)
                    pairs = list(zip(output, (each[place] for each in given)))
                    for name, fraction in fractions.items():
                        grad = self._fractions[name].grad
                        pairs.append((fraction, None if grad is None else grad * self._shares[place]))
                    pairs = [(value, grad) for value, grad in pairs if grad is not None and value.requires_grad]
                    torch.autograd.backward(*zip(*pairs))


@contextlib.contextmanager
def _kept_statistics(modules: Iterable[nn.Module]):
    """Give the normalisations among these back the running statistics that they have now."""
    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._NormBase)]
    kept = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept):
            for name, value in buffers.items():
                norm.get_buffer(name).copy_(value)
