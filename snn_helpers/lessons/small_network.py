"""A spiking network of two layers that is trained in a second, for lessons that need many runs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers.data import EventDataset, load_dataset

TIME_STEPS = 5
_SIDE = 17  # pixels along the longer side of its frames
_BATCH = 25
_SCORED = 500  # recordings of a split to score, at most
_JOB_PARAMETERS = """\
beta = 0.9  # decay of the membranes per time step
hidden = 50  # hidden neurons
seed = 0  # seed of the first weights and of the order of recordings
num_samples = 500  # recordings to learn from
epochs = 5  # passes over them
dataset = "simulated"  # name of the data set
data_dir = None  # folder of recordings"""
_JOB_BODY = """\
from snn_helpers import lessons
facts = lessons.train_small(dataset, data_dir, beta=beta, hidden=hidden, seed=seed,
                            num_samples=num_samples, epochs=epochs)
lessons.write_results("job", "How good, for how many operations?", {}, facts)"""


class SmallNetwork(nn.Module):
    """Linear -> `snn.Leaky` -> Linear -> membranes that never fire: frames [T, B, inputs] to scores [B, classes].

    Parameters
    ----------
    inputs, hidden, classes : int
        Inputs, hidden neurons, output neurons.
    beta : float in [0, 1]
        Decay of the membranes per step.
    """

    def __init__(self, inputs: int, hidden: int, classes: int, beta: float):
        super().__init__()
        import snntorch as snn

        self.first, self.second = nn.Linear(inputs, hidden), nn.Linear(hidden, classes)
        self.hidden = snn.Leaky(beta=beta)
        self.output = snn.Leaky(beta=beta, reset_mechanism="none")

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [B, classes], the mean output membranes, and the hidden spikes [T, B, hidden]."""
        hidden_mem, output_mem = self.hidden.init_leaky(), self.output.init_leaky()
        spk_rec, mem_rec = [], []
        for frame in frames:
            spk, hidden_mem = self.hidden(self.first(frame), hidden_mem)
            _, output_mem = self.output(self.second(spk), output_mem)
            spk_rec.append(spk)
            mem_rec.append(output_mem)
        return torch.stack(mem_rec).mean(0), torch.stack(spk_rec)


def train_small(
    dataset: str,
    data_dir: str | None = None,
    *,
    beta: float = 0.9,
    hidden: int = 50,
    seed: int = 0,
    num_samples: int = 500,
    epochs: int = 5,
) -> dict[str, float]:
    """Train a `SmallNetwork` on frames of 17 pixels a side, and say how well it does and what an answer costs.

    Parameters
    ----------
    dataset, data_dir
        As for `load_dataset`.
    beta, hidden
        Of the network.
    seed : int
        Of the weights and of the order of recordings.
    num_samples, epochs : int
        Recordings to learn from, and passes over them.

    Returns
    -------
    dict
        "valid_accuracy" and "test_accuracy", shares of at most 500 recordings; "n_valid" and "n_test", how many;
        "synaptic_operations", the additions that events and spikes cause for one validation recording;
        "hidden_spike_fraction", spikes of a hidden neuron and step.
    """
    frames, labels, classes = _frames(load_dataset(dataset, data_dir, "train"), num_samples)
    torch.manual_seed(seed)
    network = SmallNetwork(frames.shape[2], hidden, classes, beta)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels)).split(_BATCH):
            scores, _ = network(frames[:, chosen])
            optimizer.zero_grad()
            F.cross_entropy(scores, labels[chosen]).backward()
            optimizer.step()
    facts = {}
    for split in ("test", "valid"):
        frames, labels, classes = _frames(load_dataset(dataset, data_dir, split), _SCORED)
        with torch.no_grad():
            scores, spikes = network(frames)
        facts[f"{split}_accuracy"] = (scores.argmax(-1) == labels).float().mean().item()
        facts[f"n_{split}"] = len(labels)
    events, spiked = (frames > 0).sum().item() / len(labels), spikes.sum().item() / len(labels)
    facts["synaptic_operations"] = events * hidden + spiked * classes
    facts["hidden_spike_fraction"] = spikes.mean().item()
    return facts


def write_small_job(folder: Path, before: str = "") -> Path:
    """Write the notebook `job.ipynb`, a job for a sweep: parameters, one call of `train_small`, its results.

    Parameters
    ----------
    folder : Path
        Where to write it.
    before : str
        Code of a cell between the parameters and the training.

    Returns
    -------
    Path
        Of the notebook.
    """
    import nbformat

    cells = [nbformat.v4.new_code_cell(text) for text in (_JOB_PARAMETERS, before, _JOB_BODY)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = Path(folder) / "job.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def _frames(dataset: EventDataset, most: int) -> tuple[Tensor, Tensor, int]:
    """Return event counts [T, N, inputs], labels [N] and the number of classes."""
    dataset = dataset.pooled(_SIDE).take(most)
    frames = torch.from_numpy(dataset.frames(range(len(dataset)), TIME_STEPS))
    return frames.flatten(2).float(), torch.from_numpy(dataset.labels), dataset.num_classes
