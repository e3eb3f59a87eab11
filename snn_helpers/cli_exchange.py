"""The command `export`: a trained network out to NIR, ONNX or weights of few bits, and what that changes."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from snn_helpers._checks import check_float, check_int
from snn_helpers._files import writable_folder
from snn_helpers._paths import user_path

# Suffix of the file, and packages that are needed.
TARGETS = {
    "nir": (".nir", ("nir",)),
    "onnx": (".onnx", ("onnx", "onnxscript", "onnxruntime")),
    "int8": ("-int8.pt", ()),
    "int4": ("-int4.pt", ()),
    "weights": (".npz", ()),
}


def add_exchange_commands(commands) -> None:
    """Add `export` to the command line."""
    out = commands.add_parser(
        "export",
        help="write a trained network for other programs",
        description="Writes a checkpoint's network as NIR, as ONNX (one time step, with states in and out), or with "
        "weights of 8 or 4 bits; says what is kept and what is approximated, and counts the output spikes that differ "
        "on validation recordings. What a format cannot say is refused, by the name of the layer. `weights` writes "
        "weights of 8 bits and a card: how they were made, and their accuracy on the validation and test splits.",
    )
    out.add_argument("checkpoint", metavar="CHECKPOINT", help="file of a training run, such as best.pt")
    out.add_argument("--to", required=True, choices=tuple(TARGETS), help="format")
    out.add_argument("--out", metavar="FILE", help="default beside the checkpoint, with its name and a suffix")
    out.add_argument("--dt", type=float, default=1e-4, help="NIR: seconds a step (default 1e-4, as snnTorch takes it)")
    out.add_argument("--data_dir", help="folder of its recordings; default where it was trained from")
    out.add_argument("--num_samples", type=int, default=100, help="recordings to compare on (default 100; 0: none)")
    out.add_argument("--plugins", metavar="FILES", help="plugin files of the network, where they were moved")
    out.set_defaults(command=_export)


def _export(args: argparse.Namespace) -> None:
    check_int("--num_samples", args.num_samples, low=0, high=1_000_000)
    check_float("--dt", args.dt, low=0, above=True)
    suffix, packages = TARGETS[args.to]
    checkpoint = user_path(args.checkpoint)
    path = user_path(args.out) if args.out else checkpoint.with_name(checkpoint.stem + suffix)
    if path.is_dir():
        raise ValueError(f"`--out`: {path} is a folder; name a file in it.")
    if path == checkpoint:
        raise ValueError(f"`--out`: {path} is the checkpoint itself; choose another name.")

    from snn_helpers.exchange.reading import need
    from snn_helpers.training.build import load_model
    from snn_helpers.training.checkpoint import CheckpointError, load_checkpoint

    for package in packages:
        need(package, f"`--to {args.to}`")
    state = load_checkpoint(checkpoint)
    geometry = state["geometry"]
    if not geometry or not {"image_size", "in_channels"} <= geometry.keys():
        raise CheckpointError(f"{checkpoint}: does not say for what frames its network was built; train it anew.")
    model, config = load_model(checkpoint, plugins=args.plugins)
    if args.to == "weights" and config.model not in ("cnn", "resnet"):
        raise ValueError(f"`--to weights`: {config.model} is no network of this package; take int8.")
    size = geometry["image_size"]
    width, height = size if isinstance(size, tuple | list) else (size, size)
    writable_folder("--out", path.parent)
    if args.to == "weights":
        notes, runs, rounded = _write_weights(args, model, config, state, checkpoint, path), {}, None
    else:
        notes, runs, rounded = _write(args, model, (geometry["in_channels"], height, width), path, config.time_steps)
    print(f"written to {path}, {path.stat().st_size:,} bytes")
    print("\n".join(notes))
    if args.num_samples and runs:
        _compare(model, config, runs, rounded, args)


def _write(
    args: argparse.Namespace, model, shape: tuple[int, int, int], path: Path, num_steps: int
) -> tuple[list[str], dict, Any]:
    """Write the file; return what is kept and approximated, what to run on frames, by name, and a rounded network."""
    from snn_helpers.exchange import nir, onnx, quantise
    from snn_helpers.models.readout import run_network

    if args.to == "nir":
        nir.to_nir(model, shape, args.dt, path, num_steps)
        again = nir.from_nir(path).eval()
        notes = [
            "kept: weights, decays, thresholds and resets of every neuron, connections; left out: dropout, surrogates",
            "approximated: normalisations are folded into weights, which are rounded once",
            f"meant for steps of {args.dt:g} s by the forward Euler method",
        ]
        return notes, {"read again": lambda frames: run_network(again, frames)}, None
    if args.to == "onnx":
        states = onnx.to_onnx(model, shape, path, num_steps)
        notes = [
            "kept: one time step, its operations in float32; left out: dropout, surrogates, the loop over time",
            f"states that start as zeros, in and out: {', '.join(states)}",
        ]
        return notes, {"in onnxruntime": lambda frames: onnx.run_onnx(path, frames)}, None
    quantised = quantise.quantise(model, int(args.to.removeprefix("int")))
    quantised.save(path)
    notes = ["kept: biases, normalisations, decays and thresholds", f"approximated: {quantised}"]
    runs = {"dequantised": lambda frames: run_network(quantised.network, frames)}
    try:
        integer = quantised.integer(shape, num_steps=num_steps)
    except ValueError as err:
        notes.append(f"not in whole numbers alone: {err}")
    else:
        runs["in whole numbers alone"] = integer.run
    return notes, runs, quantised.network


def _write_weights(args: argparse.Namespace, model, config, state: dict, checkpoint: Path, path: Path) -> list[str]:
    """Write weights of 8 bits and their card, and return the card's lines: scores are those of the stored weights."""
    from snn_helpers._versions import release
    from snn_helpers.data import load_dataset
    from snn_helpers.models.pretrained import Card, eight_bits, restored, write_weights
    from snn_helpers.models.registry import MODELS
    from snn_helpers.stats import wilson_interval
    from snn_helpers.training.build import loss_function
    from snn_helpers.training.score import evaluate

    stored = model.state_dict()
    model.load_state_dict(restored(eight_bits(stored)))
    data, scores = {}, {}
    for split in ("train", "valid", "test"):
        recordings = load_dataset(config.dataset, args.data_dir or config.data_dir, split).pooled(config.image_size)
        data[split] = recordings.provenance.as_dict() if split != "train" else state["data"]["train"]
        if split != "train":
            batches = recordings.loader(64, config.time_steps, shuffle=False).batches(0)
            score = evaluate(model, batches, loss_function(config.loss, getattr(config, "threshold", 1.0)))
            low, high = wilson_interval(score.hits, score.total)
            scores[split] = {
                "accuracy": score.accuracy, "hits": score.hits, "n": score.total, "low": low, "high": high
            }  # fmt: skip
    versions = {name: release(name) for name in ("snn_helpers", "torch", "snntorch", "numpy")}
    arguments = MODELS[config.model].arguments(vars(config)) | state["geometry"]
    folder = f"checkpoints/{checkpoint.parent.name}"
    commands = [
        f"{_train_command(config)} --save_dir {folder}",
        f"snn-helpers export {folder}/{checkpoint.name} --to weights --out {args.out or path.name}",
    ]
    card = Card(
        config.model, arguments, list(recordings.classes), config.time_steps, commands, _settings_of(config), data,
        scores, config.seed, versions,
    )  # fmt: skip
    return [str(write_weights(path, stored, card))]


def _settings_of(config) -> dict:
    """Return the settings of a training but for folders, which are this machine's."""
    from snn_helpers._settings import names_of

    elsewhere = (*names_of(type(config), "call"), *names_of(type(config), "here"))
    return {name: value for name, value in config.as_dict().items() if name not in elsewhere}


def _train_command(config) -> str:
    """Return the command of a training: the flags that its profile and its defaults would not give."""
    from snn_helpers.training.config import TrainConfig

    plain = TrainConfig(model=config.model, profile=config.profile, dataset=config.dataset).resolve()
    asked = _settings_of(config)
    named = {"model": config.model, "profile": config.profile, "dataset": config.dataset, "seed": config.seed}
    named |= {name: value for name, value in asked.items() if value != getattr(plain, name)}
    return "snn-helpers train " + " ".join(f"--{name} {value}" for name, value in named.items())


def _compare(model, config, runs: dict, rounded, args: argparse.Namespace) -> None:
    """Print how many output spikes and answers differ on validation recordings, and what a rounded network computes."""
    import torch

    from snn_helpers.activity import synaptic_operations
    from snn_helpers.data import load_dataset
    from snn_helpers.models.readout import decide, read_output, run_network

    recordings = load_dataset(config.dataset, args.data_dir or config.data_dir, "valid")
    recordings = recordings.pooled(config.image_size).take(args.num_samples)
    frames = torch.from_numpy(recordings.frames(range(len(recordings)), config.time_steps))
    labels = torch.from_numpy(recordings.labels)
    with torch.no_grad():
        expected = run_network(model, frames)
        print(f"on {recordings.provenance}, accuracy {(decide(expected) == labels).float().mean():.1%}:")
        for name, run in runs.items():
            found = read_output([torch.as_tensor(part) for part in run(frames)])
            spikes, answers = (found.spk_rec != expected.spk_rec).sum(), decide(found)
            print(
                f"  {name}: {spikes:,} of {expected.spk_rec.numel():,} output spikes differ, "
                f"{(answers != decide(expected)).sum()} of {len(labels)} answers, "
                f"accuracy {(answers == labels).float().mean():.1%}"
            )
    if rounded is not None:
        with contextlib.suppress(ValueError):  # of networks whose operations are not counted
            before, after = (
                sum(cost.operations for cost in synaptic_operations(net, frames).values()) / 1e6
                for net in (model, rounded)
            )
            print(f"  synaptic operations a recording: {before:.2f} million before, {after:.2f} million rounded")
