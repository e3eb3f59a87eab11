"""What do weights of few bits cost? Accuracy, size and operations of SpikingCNN and SpikingResNet, rounded and trained.

Run `python benchmarks/few_bits.py`, or name networks: `cnn`, `resnet`. Starts from the weights that come with the
package, which are of 8 bits already. "Trained with 4 bits" is two epochs of `quantisation_aware` on the 4,000 simulated
training recordings; "float32" are the weights behind them, before they are rounded, which 8 bits are held against. The
learning rate was chosen on the validation split; `--split test` scores the test split.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

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
from snn_helpers.models.readout import decide
from snn_helpers.stats import wilson_interval

KINDS = {"cnn": SpikingCNN, "resnet": SpikingResNet}
EPOCHS, LR, BATCH, SEED = 2, 5e-4, 100, 0


def float_weights(aware: nn.Module, like: nn.Module) -> nn.Module:
    """Put the weights behind rounded ones into `like`, an unrounded network of the same kind, and return it."""
    state = {name.replace("parametrizations.weight.original", "weight"): v for name, v in aware.state_dict().items()}
    like.load_state_dict(state)
    return like.eval()


@torch.inference_mode()
def report(what: str, net: nn.Module, split: str, num_steps: int, size: int, before: float | None = None) -> float:
    """Print and return a network's accuracy in per cent; `before` is that of the network it is held against."""
    dataset = load_dataset("simulated", split=split)
    hits, operations = 0, 0.0
    for begin in range(0, len(dataset), BATCH):
        indices = range(begin, min(begin + BATCH, len(dataset)))
        frames = torch.from_numpy(dataset.frames(indices, num_steps))
        hits += int((decide(net(frames)).numpy() == dataset.labels[begin : begin + BATCH]).sum())
        costs = synaptic_operations(net, frames).values()
        operations += sum(cost.operations for cost in costs) * len(indices) / len(dataset)
    low, high = wilson_interval(hits, len(dataset))
    accuracy = 100 * hits / len(dataset)
    change = "" if before is None else f", {accuracy - before:+.1f} points"
    print(
        f"  {what:<28} {accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f} %, n = {len(dataset)}){change}; "
        f"{size / 1e3:,.0f} kB, {operations / 1e6:.2f} million operations a recording",
        flush=True,
    )
    return accuracy


def measure(name: str, split: str) -> None:
    """Print what a network's weights of 8 and 4 bits cost."""
    kind = KINDS[name]
    net = kind.pretrained()
    num_steps, size = net.card.time_steps, quantise(net).bytes_before
    print(f"{kind.__name__}, {num_steps} frames, simulated {split} recordings, seed {SEED}")
    before = report("as it comes", net, split, num_steps, quantise(net).bytes_after)
    four = quantise(net, 4)
    report("rounded to 4 bits", four.network, split, num_steps, four.bytes_after, before)
    aware = quantisation_aware(net, 4)
    recordings = [load_dataset("simulated", split=part) for part in ("train", "valid", "valid")]
    with tempfile.TemporaryDirectory() as folder:
        settings = {"epochs": EPOCHS, "lr": LR, "time_steps": num_steps, "seed": SEED, "profile": "teach"}
        train(TrainConfig(**settings, save_dir=folder, save_every=0), model=aware, splits=Splits(*recordings))
    trained = quantise(aware.eval(), 4)
    report("trained with 4 bits", trained.network, split, num_steps, trained.bytes_after, before)
    behind = float_weights(aware, kind.pretrained())
    whole = report("float32 behind these", behind, split, num_steps, size)
    eight = quantise(behind, 8)
    report("these rounded to 8 bits", eight.network, split, num_steps, eight.bytes_after, whole)


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
