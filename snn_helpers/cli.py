"""The command line: flags made from the same records that the Python calls take."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from snn_helpers._checks import check_int
from snn_helpers.cli_batch import add_batch_commands
from snn_helpers.training.config import TrainConfig


class _Parser(argparse.ArgumentParser):
    """Says which flag a misspelt one was likely meant to be."""

    def error(self, message: str):
        marker = "unrecognized arguments: "
        if marker in message:
            unknown = message.split(marker)[1].split()[0]
            near = difflib.get_close_matches(unknown, self._option_string_actions, n=1)
            message = f"unknown flag {unknown}" + (f"; did you mean {near[0]}?" if near else "")
        super().error(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0 done, 1 failed with a message, 2 the flags were wrong."""
    parser = _make_parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        return args.command(args) or 0
    except KeyboardInterrupt:
        print("\nsnn-helpers: stopped. What was saved is kept.", file=sys.stderr)
        return 130
    except (ValueError, TypeError, RuntimeError, ArithmeticError, OSError, ImportError) as err:
        print(f"snn-helpers: {err}", file=sys.stderr)
        return 1


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="snn-helpers", description="Learn and run spiking networks on event data.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND", parser_class=_Parser)

    train = commands.add_parser("train", help="train or test a network", allow_abbrev=False)
    _add_config_flags(train)
    train.set_defaults(command=_train, parser=train)

    view = commands.add_parser("visualize-data", help="draw recordings as figures", allow_abbrev=False)
    view.add_argument("--dataset", default="simulated", choices=("simulated", "nmnist"), help="default simulated")
    view.add_argument("--data_dir", help="folder of recordings (nmnist) or of built stores (simulated)")
    view.add_argument("--split", default="train", choices=("train", "valid", "test"), help="default train")
    view.add_argument("--num_samples", type=int, default=10, help="recordings to draw (default 10)")
    view.add_argument("--time_steps", type=int, default=10, help="frames a recording, T (default 10)")
    view.add_argument("--log_dir", default="logs/data", help="folder for the figures (default logs/data)")
    view.set_defaults(command=_visualize_data, parser=view)

    add_batch_commands(commands)
    return parser


def _add_config_flags(parser: argparse.ArgumentParser) -> None:
    for item in fields(TrainConfig):
        kind = item.type.split(" ")[0]
        flag, checks = f"--{item.name}", item.metadata
        if kind == "bool":
            parser.add_argument(flag, action="store_true", help=checks["help"])
            continue
        default = "" if item.default is None else f" (default {item.default})"
        options = {"help": (checks["help"] + default).replace("%", "%%"), "default": item.default}
        if checks["bare"]:
            options |= {"nargs": "?", "const": checks["bare"]}
        if checks["choices"]:
            options["choices"] = checks["choices"]
        elif not checks["path"]:
            options["type"] = {"int": int, "float": float, "str": str}[kind]
            options["metavar"] = {"int": "N", "float": "X", "str": "NAMES"}[kind]
        else:
            options["metavar"] = "PATH"
        parser.add_argument(flag, **options)


def _train(args: argparse.Namespace) -> None:
    from snn_helpers.training.loop import train

    config = TrainConfig.from_params({item.name: getattr(args, item.name) for item in fields(TrainConfig)})
    result = train(config)
    print(f"written to {result.paths['save_dir']}")
    if config.visualize:
        from snn_helpers.run_figures import write_run_figures

        for path in write_run_figures(result):
            print(path)


def _visualize_data(args: argparse.Namespace) -> None:
    from snn_helpers.datasets import load_dataset
    from snn_helpers.plots import draw_recording_sheet

    check_int("--num_samples", args.num_samples, low=1)
    check_int("--time_steps", args.time_steps, low=1)
    dataset = load_dataset(args.dataset, args.data_dir, args.split).take(args.num_samples)
    folder = Path(args.log_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(len(dataset)):
        frames = dataset.frames([index], args.time_steps)[:, 0]
        label = int(dataset.labels[index])
        figure = draw_recording_sheet(dataset.events(index), frames, f"digit {label}", str(dataset.provenance))
        path = folder / f"{args.dataset}-{args.split}-{index:03d}-digit{label}.png"
        figure.savefig(path)
        print(path)
