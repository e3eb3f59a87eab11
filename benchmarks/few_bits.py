"""What do weights of few bits cost? Accuracy, size and operations of SpikingCNN and SpikingResNet, rounded and trained.

Run `python benchmarks/few_bits.py`, or name networks: `cnn`, `resnet`. Starts from the weights that come with the
package, which are of 8 bits already. "Trained with 4 bits" is two epochs of `quantisation_aware` on the 4,000 simulated
training recordings, its learning rate chosen on the validation split; `--split test` scores the test split. "float32",
which the others are held against, are the weights in `checkpoints/pretrained-cnn/best.pt` or `pretrained-resnet`, where
the first command of the network's card has made them, else those after two epochs more without rounding.

What rounding costs is a recording or two of the 500 of a split, and by chance: each of its digits is recorded eight
times anew, and networks are compared recording by recording, with a 95 % interval over the digits.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from snn_helpers import (
    SpikingCNN,
    SpikingResNet,
    Splits,
    TrainConfig,
    load_dataset,
    quantisation_aware,
    quantise,
    train,
)
from snn_helpers.activity import synaptic_operations
from snn_helpers.data.sources.simulated import SIMULATION_SEED
from snn_helpers.events.camera import Camera
from snn_helpers.events.digits import digit_indices, mnist_digits
from snn_helpers.events.frames import FrameSpec, bin_frames
from snn_helpers.events.recording import SENSOR_SIZE
from snn_helpers.events.simulate import simulate
from snn_helpers.models.readout import decide
from snn_helpers.training.checkpoint import load_checkpoint

KINDS = {"cnn": SpikingCNN, "resnet": SpikingResNet}
EPOCHS, LR, BATCH, SEED = 2, 5e-4, 100, 0
AGAIN = 8  # recordings of each digit


def record_again(split: str, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return frames uint8 [T, AGAIN N, 2, 34, 34] and labels of a split's N digits, by cameras of other seeds."""
    (images, labels), digits = mnist_digits(), digit_indices(split)
    frames = []
    for seed in range(SIMULATION_SEED + 1, SIMULATION_SEED + 1 + AGAIN):
        made = simulate(images[digits], digits, Camera(), seed)
        columns = (made.x, made.y, made.t, made.p)
        frames.append(bin_frames(columns, made.offsets, np.arange(len(digits)), SENSOR_SIZE, FrameSpec(num_steps)))
    return np.concatenate(frames, axis=1), np.tile(labels[digits], AGAIN)


@torch.inference_mode()
def report(what: str, net: nn.Module, data: tuple, size: int, held_against: np.ndarray | None = None) -> np.ndarray:
    """Print what a network does; return whether it is right, by recording, for others to be held against."""
    frames, labels = torch.from_numpy(data[0]), data[1]
    batches = [slice(begin, begin + BATCH) for begin in range(0, len(labels), BATCH)]
    right = np.concatenate([decide(net(frames[:, batch])).numpy() for batch in batches]) == labels
    costs = synaptic_operations(net, frames[:, : 10 * BATCH : 10]).values()
    change = ""
    if held_against is not None:
        by_digit = (1.0 * right - held_against).reshape(AGAIN, -1).mean(0)
        half = 1.96 * by_digit.std(ddof=1) / len(by_digit) ** 0.5
        change = f", {100 * by_digit.mean():+.2f} points (+- {100 * half:.2f})"
    print(
        f"  {what:<28} {right.mean():.1%} of {len(labels):,}{change}; {size / 1e3:,.0f} kB, "
        f"{sum(cost.operations for cost in costs) / 1e6:.2f} million operations a recording",
        flush=True,
    )
    return right


def trained(net: nn.Module, num_steps: int) -> nn.Module:
    """Train a network on, in place, and return it in eval mode."""
    recordings = [load_dataset("simulated", split=part) for part in ("train", "valid", "valid")]
    with tempfile.TemporaryDirectory() as folder:
        settings = {"epochs": EPOCHS, "lr": LR, "time_steps": num_steps, "seed": SEED, "profile": "teach"}
        train(TrainConfig(**settings, save_dir=folder, save_every=0), model=net, splits=Splits(*recordings))
    return net.eval()


def measure(name: str, split: str) -> None:
    """Print what a network's weights of 8 and 4 bits cost."""
    kind = KINDS[name]
    net = kind.pretrained()
    num_steps, size = net.card.time_steps, quantise(net).bytes_before
    data = record_again(split, num_steps)
    print(f"{kind.__name__}, {num_steps} frames, simulated {split} digits, each recorded {AGAIN} times, seed {SEED}")
    report("as it comes", net, data, quantise(net).bytes_after)
    whole, checkpoint = kind.pretrained(), Path(f"checkpoints/pretrained-{name}/best.pt")
    if checkpoint.exists():
        whole.load_state_dict(load_checkpoint(checkpoint)["model"])
    else:
        trained(whole, num_steps)
    right = report("float32", whole, data, size)
    for bits in (8, 4):
        rounded = quantise(whole, bits)
        report(f"rounded to {bits} bits", rounded.network, data, rounded.bytes_after, right)
    aware = quantise(trained(quantisation_aware(net, 4), num_steps), 4)
    report("trained with 4 bits", aware.network, data, aware.bytes_after, right)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help=f"{', '.join(KINDS)}; default both")
    parser.add_argument("--split", default="valid", choices=("valid", "test"))
    asked = parser.parse_args()
    for name in asked.networks or KINDS:
        measure(name, asked.split)
    return 0


if __name__ == "__main__":
    sys.exit(main())
