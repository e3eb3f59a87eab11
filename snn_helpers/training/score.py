"""How a network does on labelled recordings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn_helpers._checks import check_labels
from snn_helpers.models.network import SpikeOutput
from snn_helpers.models.readout import decide, run_network
from snn_helpers.over_time import evaluating
from snn_helpers.training import network
from snn_helpers.training.processes import ALONE, Processes


class Score(NamedTuple):
    """How a network did on a split.

    Attributes
    ----------
    loss : float
        Mean over the recordings.
    hits, total : int
        Right answers, recordings.
    output_spikes : float
        Spikes of the output layer, a recording.
    fractions : dict of str to float
        Spikes a neuron and step, by layer, the output's last; empty where a network's neurons are not known.
    """

    loss: float
    hits: int
    total: int
    output_spikes: float
    fractions: dict[str, float]

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.hits / self.total

    @property
    def hidden_fraction(self) -> float:
        """Spikes a neuron and step, the mean of the hidden layers; nan where there are none."""
        hidden = [*self.fractions.values()][:-1]
        return sum(hidden) / len(hidden) if hidden else float("nan")


class Tally:
    """Sums up batches into a `Score`."""

    def __init__(self, sums: Iterable[float] = (0.0,) * 4, fractions: dict[str, float] | None = None):
        self.sums = torch.tensor(list(sums), dtype=torch.float64)  # loss, hits, total, output spikes
        self.fractions = dict(fractions or {})

    def add(self, loss: float, output: SpikeOutput, labels: Tensor, fractions: dict[str, Tensor]) -> None:
        """Count a batch."""
        size = len(labels)
        hits = (decide(output) == labels).sum().item()
        shares = {name: size * float(fraction.detach()) for name, fraction in fractions.items()}
        self.add_sums([loss * size, hits, size, output.spk_rec.sum().item()], shares)

    def add_sums(self, sums: Sequence[float], fractions: dict[str, float]) -> None:
        """Add sums over recordings: of the loss, hits, recordings and output spikes; of spike fractions by layer."""
        self.sums += torch.tensor(sums, dtype=torch.float64)
        for name, fraction in fractions.items():
            self.fractions[name] = self.fractions.get(name, 0.0) + fraction

    def plain(self) -> dict:
        """Return what a checkpoint keeps."""
        return {"sums": self.sums.tolist(), "fractions": self.fractions}

    def over(self, processes: Processes) -> Tally:
        """Return the tally of all processes together."""
        joined = processes.add_up(torch.cat([self.sums, torch.tensor(list(self.fractions.values())).double()]))
        return Tally(joined[:4].tolist(), dict(zip(self.fractions, joined[4:].tolist())))

    def score(self) -> Score:
        """Return the means."""
        loss, hits, total, spikes = self.sums.tolist()
        fractions = {name: value / total for name, value in self.fractions.items()}
        return Score(loss / total, int(hits), int(total), spikes / total, fractions)


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    criterion,
    device="cpu",
    processes: Processes = ALONE,
) -> Score:
    """Score a network in eval mode; its mode is put back afterwards.

    Parameters
    ----------
    model : Module
        From frames [T, B, ...] to spikes and membranes; see `training.network`.
    batches : iterable of (frames, labels)
        What `EventDataset.loader` gives; with several processes, each its part.
    criterion : callable
        See `loss_function`.
    device, processes
        Where the model is, and who else counts.

    Returns
    -------
    Score
        Over the batches of all processes.
    """
    tally = Tally()
    with evaluating(model), torch.inference_mode():
        for frames, labels in batches:
            with network.fractions_of(model) as fractions:
                output = run_network(model, frames.to(device))
            labels = check_labels(labels, output.spk_rec.shape[-1]).to(device)
            tally.add(criterion(output, labels).item(), output, labels, fractions)
    return tally.over(processes).score()
