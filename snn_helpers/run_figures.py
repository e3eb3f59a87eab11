"""The figures of a training run: its checkpoint and history in, PNG files out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt

from snn_helpers import plots
from snn_helpers.activity import confusion_matrix, layer_threshold
from snn_helpers.models.readout import decide, run_network
from snn_helpers.training import network
from snn_helpers.training.build import load_model
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.loop import TrainResult, recordings_of

RECORDINGS = 500  # of the test split, at most
_BATCH = 50


def write_run_figures(result: TrainResult) -> list[Path]:
    """Draw how a run went and what the network that was tested does, into the folder `figures` beside its log.

    Parameters
    ----------
    result : TrainResult
        What `train` returned.

    Returns
    -------
    list of Path
        curves.png (loss and accuracy an epoch), firing.png (share of steps with a spike, a layer), confusion.png, and
        output.png (output spikes and membranes of one test recording).
    """
    folder = result.paths["log_dir"] / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    config = TrainConfig.from_params(result.metrics["config"])
    checkpoint = Path(config.resume) if config.test_only else result.paths[config.select]
    model, trained = load_model(checkpoint)
    test_set = recordings_of(config, "test").take(RECORDINGS)
    matrix, firing, first = _what_it_does(model, test_set, config.time_steps)
    provenance = f"{test_set.provenance}, seed {trained.seed}"

    drawn = {"firing": plots.layer_bars({name: 100 * share for name, share in firing.items()}).figure}
    confusion, ax = plots.new_figure(width=4.8, height=4.6)
    plots.confusion(matrix, ax, test_set.classes)
    drawn["confusion"] = confusion
    output, (above, below) = plots.new_figure(2, 1, height=4.2)
    plots.raster(first[0], above).set(
        title=f"output neurons on one test recording, {test_set.name_of(test_set.labels[0])}"
    )
    plots.membrane_traces(first[1], layer_threshold(model, [*firing][-1]) if firing else None, below)
    drawn["output"] = output
    if result.history:
        curves, axes = plots.new_figure(1, 2, height=3.0)
        plots.training_curves(result.history, "loss", axes[0])
        plots.training_curves(result.history, "accuracy", axes[1], scale=100).set(ylabel="accuracy, %")
        drawn = {"curves": curves, **drawn}

    paths = []
    for name, figure in drawn.items():
        paths.append(folder / f"{name}.png")
        plots.stamp(figure, provenance).savefig(paths[-1])
        plt.close(figure)
    return paths


def _what_it_does(model, test_set, time_steps: int) -> tuple[np.ndarray, dict[str, float], tuple]:
    """Return the confusion matrix, each layer's spikes a neuron and step, and output spikes and membranes of one."""
    answers, spikes, first = [], {}, None
    with torch.inference_mode():
        for frames, labels in test_set.loader(_BATCH, time_steps, shuffle=False):
            with network.fractions_of(model) as fractions:
                out = run_network(model, frames)
            answers.append(decide(out).numpy())
            for name, fraction in fractions.items():
                spikes[name] = spikes.get(name, 0.0) + float(fraction) * len(labels) / len(test_set)
            first = first or tuple(part[:, 0].numpy() for part in out)
    num_classes = first[0].shape[-1]
    return confusion_matrix(test_set.labels, np.concatenate(answers), num_classes), spikes, first
