"""Set how often the layers of an untrained network fire: neither silent, which learns nothing, nor always."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snn_helpers._checks import check_float
from snn_helpers.engine import Spikes
from snn_helpers.neurons import Listener
from snn_helpers.over_time import Drive, frames_for, kept_modes, over_time, runner_of

BISECTIONS = 12
TOLERANCE = 0.02  # relative to the share asked for
SHIFTS = (-6.0, 6.0)  # of a normalisation, in units of the threshold
FACTORS = (-8.0, 8.0)  # of weights, as powers of two


@torch.no_grad()
def balance_firing(model: nn.Module, frames: Tensor, share: float | Mapping[str, float] = 0.08) -> dict[str, float]:
    """Scale each layer, first to last, so that it fires at a share of steps on one batch.

    Where a layer has a normalisation, its shift is moved; elsewhere weights and bias are multiplied. One walk along the
    network suffices: each layer is tried on the spikes that the layers before it, already set, give it. Nothing is
    random: the same weights and frames give the same result. Statistics of normalisations are afterwards those of
    this batch, so that the network fires alike in eval mode.

    Parameters
    ----------
    model : nn.Module
        One of our networks, or any network of our neurons or snnTorch's that `accelerate` takes. Changed in place; its
        mode is left as it was.
    frames : Tensor [T, B, ...]
        Event counts of one batch.
    share : float in (0, 0.5], or dict of them by layer name
        Spikes a neuron and step.

    Returns
    -------
    dict of str to float
        The share that each layer reached; one that cannot reach it, for example without any input, comes as close as
        it can.

    Raises
    ------
    TypeError, ValueError
        If the share is out of range, the frames do not fit the model, or nothing in it could be scaled.
    """
    frames = frames_for(over_time(model), frames)
    drives = runner_of(model).drives(frames)
    shares = dict(share) if isinstance(share, Mapping) else dict.fromkeys(drives, share)
    if shares.keys() != drives.keys():
        raise ValueError(f"`share` must name the layers {', '.join(drives)}; got {', '.join(shares)}.")
    for value in shares.values():
        check_float("share", value, low=0, high=0.5, above=True)
    reached = dict.fromkeys(drives, 0.0)
    with kept_modes(model), torch.random.fork_rng(devices=[]):
        for module in model.modules():  # normalisations use this batch's statistics, dropout lets everything through
            module.training = not isinstance(module, nn.modules.dropout._DropoutNd)
        for name, drive in drives.items():
            knob = _Knob(model, drive)
            low, high = knob.range
            for _ in range(BISECTIONS):
                middle = (low + high) / 2
                knob.turn(middle)
                reached[name] = _share(model, frames, drive.neurons)
                if abs(reached[name] - shares[name]) <= TOLERANCE * shares[name] or not knob.works:
                    break
                low, high = (middle, high) if reached[name] < shares[name] else (low, middle)
        _measure_statistics(model, frames)
    return reached


class _Enough(Exception):
    pass


def _share(model: nn.Module, frames: Tensor, path: str) -> float:
    """Return the share of steps at which a layer fires, running the network no further than to it where it can."""
    seen: list[tuple[float, int]] = []

    def on_spikes(spk, mem, whole):
        count = spk.count if isinstance(spk, Spikes) else spk
        seen.append((float(count.sum()), count.numel()))
        if whole:
            raise _Enough

    hook = model.get_submodule(path).register_forward_hook(Listener(on_spikes, mem=False))
    try:
        over_time(model)(frames)
    except _Enough:
        pass
    finally:
        hook.remove()
    return sum(spikes for spikes, _ in seen) / max(1, sum(size for _, size in seen))


def _measure_statistics(model: nn.Module, frames: Tensor) -> None:
    """Give all normalisations the statistics of this batch, over all steps."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all calls
    try:
        if norms:
            over_time(model)(frames)
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
            norm.num_batches_tracked.zero_()


class _Knob:
    """What makes a layer fire more: the shift of its normalisation, or a factor on its weights."""

    def __init__(self, model: nn.Module, drive: Drive):
        self.norm = None if drive.norm is None else model.get_submodule(drive.norm)
        self.weights = None if drive.weights is None else model.get_submodule(drive.weights)
        threshold = torch.as_tensor(getattr(model.get_submodule(drive.neurons), "threshold", 1.0))
        self.threshold = float(threshold.detach().double().mean())
        self.range = SHIFTS if self.norm is not None else FACTORS
        self.start = [] if self.weights is None else [p.clone() for p in self.weights.parameters()]

    @property
    def works(self) -> bool:
        """Whether there is anything to turn."""
        return self.norm is not None or self.weights is not None

    def turn(self, to: float) -> None:
        if self.norm is not None:
            self.norm.bias.fill_(to * self.threshold)
        elif self.weights is not None:
            for parameter, start in zip(self.weights.parameters(), self.start):
                parameter.copy_(start * 2.0**to)
