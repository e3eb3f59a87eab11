"""Cells of one notebook that shows every widget, with numbers like those of a small network."""

CELLS = [
    """
import numpy as np
from snn_helpers.events.recording import make_events
from snn_helpers.widgets import ActivityExplorer, EmbeddingExplorer, EventPlayer, NeuronLab, TrainingMonitor

rng = np.random.default_rng(0)

def made_up(count):
    times = np.sort(rng.integers(0, 305_000, count))
    x = np.clip(np.rint(17 + 10 * np.sin(times / 40_000) + rng.normal(0, 3, count)), 0, 33)
    return make_events(x, rng.integers(0, 34, count), times, rng.integers(0, 2, count))
""",
    "EventPlayer(made_up(6000)).show('Events.', 'A recording.', 'made up')",
    "NeuronLab(state={'kind': 'alif', 'weight': 1.5}).show('A neuron.', 'A neuron.', 'made up')",
    """
shapes = {"conv1": (8, 17, 17), "conv2": (16, 8, 8), "hidden": (64,), "output": (10,)}

def recorded(seed):
    rng = np.random.default_rng(seed)
    spk = {k: (rng.random((12, 6, *s)) < 0.1).astype(np.uint8) for k, s in shapes.items()}
    return spk, {k: rng.normal(0, 0.4, (12, 6, *s)).astype(np.float32) for k, s in shapes.items()}

frames = (rng.random((12, 6, 2, 34, 34)) < 0.08).astype(np.uint8)
ActivityExplorer(frames, *recorded(0), [3, 1, 4, 1, 5, 9], other=recorded(1), names=("early", "late"), step_ms=25.0,
                 state={"neurons": [3, 40]}).show('Activity.', 'Layers.', 'made up')
""",
    """
labels = np.repeat(np.arange(10), 12)
centres = 4 * np.stack([np.cos(labels), np.sin(labels)], 1)
points = np.stack([rng.normal(0, 1, (120, 2)), centres + rng.normal(0, 0.6, (120, 2))])
said = np.where(rng.random(120) < 0.9, labels, 9 - labels)
EmbeddingExplorer(points, labels, said, rng.random(120), lambda i: made_up(2000), frame_word="epoch",
                  state={"opened": 7}).show('Points.', 'Points.', 'made up')
""",
    """
monitor = TrainingMonitor(epochs=8, rows=[{
    "epoch": k, "train_loss": 2.3 / (k + 1), "valid_loss": 2.4 / (k + 1), "train_accuracy": 1 - 0.8 / (k + 1),
    "valid_accuracy": 1 - 0.9 / (k + 1), "firing/conv1": 0.08, "firing/conv2": 0.1 - 0.01 * k,
    "firing/hidden": 0.02 * k,
} for k in range(6)])
monitor.show('Curves.', 'Curves.', 'made up')
""",
]
NAMES = ("Event player", "Neuron lab", "Activity explorer", "Embedding explorer", "Training monitor")
