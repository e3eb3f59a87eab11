"""Make docs/recording.webp, the README's moving picture: a recording in slow motion, and a network that answers it."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.animation import PillowWriter

from snn_helpers import SpikingCNN, load_dataset, plots
from snn_helpers.plots.style import OFF, ON

RECORDING = 3  # of the test split
SLOWER = 15  # times slower than the camera
FRAMES_A_SECOND = 20
TRAIL_US = 12_000  # how long an event stays visible


def main(path: Path) -> None:
    """Write the picture to a file that Pillow knows by its suffix."""
    mpl.use("Agg")
    test = load_dataset("simulated", split="test")
    events, label = test.events(RECORDING), int(test.labels[RECORDING])
    model = SpikingCNN.pretrained()
    steps = model.card.time_steps
    last_us = int(events["t"][-1]) + 1
    live = model.stream(step_us=-(-last_us // steps))
    every_us = 1_000_000 // (SLOWER * FRAMES_A_SECOND)
    counts, fed = np.zeros(test.num_classes), 0

    figure, (camera, answer) = plots.new_figure(1, 2, width=6.4, height=2.9, width_ratios=[1, 1.35])
    writer = PillowWriter(fps=FRAMES_A_SECOND)
    with writer.saving(figure, str(path), dpi=90):
        for now in range(every_us, last_us + every_us, every_us):
            until = int(np.searchsorted(events["t"], now))
            outputs = live.feed(events[fed:until], until_us=min(now, last_us))
            counts += sum((spk[0].numpy() for spk, _ in outputs), np.zeros_like(counts))
            fed = until
            draw_camera(camera, events[:until], now, test.sensor_size)
            draw_answer(answer, counts, now)
            writer.grab_frame()
    print(f"{path}: recording {RECORDING}, a {test.classes[label]}; {path.stat().st_size / 1e3:.0f} kB")


def draw_camera(ax, events: np.ndarray, now_us: int, sensor_size: tuple[int, int, int]) -> None:
    """Draw the last events before a moment, the latest darkest."""
    ax.clear()
    recent = events[events["t"] >= now_us - TRAIL_US]
    age = np.clip((now_us - recent["t"]) / TRAIL_US, 0, 1)
    colours = np.array([mpl.colors.to_rgba(ON if one else OFF) for one in recent["p"]]).reshape(-1, 4)
    colours[:, 3] = 1 - age
    ax.scatter(recent["x"], recent["y"], c=colours, s=14, marker="s", linewidths=0)
    width, height = sensor_size[:2]
    ax.set(xlim=(-1, width), ylim=(height, -1), xticks=[], yticks=[], aspect="equal")
    ax.set_title(f"camera, {now_us / 1000:.0f} ms", loc="left")


def draw_answer(ax, counts: np.ndarray, now_us: int) -> None:
    """Draw the output neurons' spikes so far."""
    ax.clear()
    leader = int(counts.argmax()) if counts.any() else None
    colours = ["C7" if one != leader else "C2" for one in range(len(counts))]
    ax.bar(range(len(counts)), counts, color=colours)
    ax.set(xticks=range(len(counts)), ylim=(0, 10.5), xlabel="output neuron", ylabel="spikes so far")
    ax.set_title("answer: none yet" if leader is None else f"answer: {leader}", loc="left")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("recording.webp")))
