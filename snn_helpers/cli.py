"""The command line: flags made from the same records that the Python calls take."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from typing import Any

from snn_helpers._checks import check_int
from snn_helpers._paths import logs_home
from snn_helpers._plugins import load_plugins
from snn_helpers._settings import choices_of, kind_of, names_of
from snn_helpers.cli_batch import add_batch_commands
from snn_helpers.cli_data import add_data_commands
from snn_helpers.cli_exchange import add_exchange_commands
from snn_helpers.models.registry import MODELS
from snn_helpers.training.config import TrainConfig

# The keys of `activity_figures.FIGURES`, here so that --help does not load torch.
ACTIVATION_FIGURES = (
    *("events", "network", "rates", "raster", "membrane", "feature_maps", "race", "anytime", "controls"),
    *("confusion", "tsne", "cost", "attribution"),
)

# Settings of `train` that other commands choose themselves, beside those of scope "call"; and those that one protocol
# has no use for.
_OF_CALL = names_of(TrainConfig, "call")
_CHOSEN = {
    "verify-resume": (*_OF_CALL, "save_every"),
    "protocol": (*_OF_CALL, "dataset", "seed", "init_from", "select"),
}
_UNUSED = {
    "full": {"profile": "runs in the profile full"},
    "real": dict.fromkeys(("data_dir", "num_samples"), "takes all recordings of --real_dir"),
}


class _Parser(argparse.ArgumentParser):
    """Says which flag a misspelt one was likely meant to be, and takes -1,2 for a value, as argparse takes -1."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **{"allow_abbrev": False, **options})
        self.set_defaults(parser=self)  # of the command that was typed
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def refuse(self, unknown: Sequence[str]):
        """End with what is wrong with the first of the arguments that nothing takes."""
        word = unknown[0].partition("=")[0]
        is_flag = word.startswith("-")
        # A word is likely to be a flag without its dashes only where it is almost one.
        meant, cutoff = (word, 0.6) if is_flag else (f"--{word}", 0.8)
        near = difflib.get_close_matches(meant, self._option_string_actions, n=1, cutoff=cutoff)
        problem = f"unknown flag {word}" if is_flag else f"unexpected word {unknown[0]!r}, which belongs to no flag"
        hint = f"; did you mean {near[0]}?" if near else ""
        if not near and not is_flag and "--out" in self._option_string_actions:
            hint = f"; did you mean --out {word}?"
        self.error(problem + ("; plugin files are joined by commas" if word.endswith(".py") else hint))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0 done, 1 failed with a message, 2 the flags were wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has no µ gets another sign, not an error
            stream.reconfigure(errors="replace")
    try:
        parser = _make_parser(_model_asked_for(argv))
        args, unknown = parser.parse_known_args(argv)
        if unknown:
            args.parser.refuse(unknown)
        return args.command(args) or 0
    except KeyboardInterrupt as stop:
        print(f"\nsnn-helpers: {str(stop) or 'stopped. What was saved is kept.'}", file=sys.stderr)
        return getattr(stop, "exit_code", 130)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, OSError, ImportError, MemoryError) as err:
        print(f"snn-helpers: {_sentence(err)}", file=sys.stderr)
        return 1


def _sentence(err: Exception) -> str:
    """Return what went wrong; of the system's own errors without their number."""
    if isinstance(err, OSError) and err.strerror and err.filename is not None:
        return f"{os.fsdecode(err.filename)}: {err.strerror[:1].lower()}{err.strerror[1:]}."
    return str(err)


def _model_asked_for(argv: Sequence[str] | None) -> str:
    """Return the network whose flags are wanted, and load the plugins that are named: flags are made from both."""
    first_look = _Parser(add_help=False)
    first_look.add_argument("--model", nargs="?")
    first_look.add_argument("--plugins", nargs="?")
    args, _ = first_look.parse_known_args(argv)
    load_plugins(args.plugins)
    return args.model if args.model in MODELS else TrainConfig.model


def _make_parser(model: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="snn-helpers",
        description="Learn and run spiking networks on event data.",
    )
    commands = parser.add_subparsers(dest="name", metavar="COMMAND", parser_class=_Parser)

    def refuse_nothing(args: argparse.Namespace):
        parser.error(f"a command is missing: {', '.join(commands.choices)}. `snn-helpers --help` says what they do")

    parser.set_defaults(command=refuse_nothing, parser=parser)

    train = commands.add_parser("train", help="train or test a network")
    _add_config_flags(train, model)
    train.set_defaults(command=_train)

    verify = commands.add_parser(
        "verify-resume",
        help="show that a killed and resumed run is the uninterrupted one",
        description="Trains twice with the same flags, once through and once killed and resumed, and compares weights, "
        "optimiser, schedule and history bit for bit. Takes the flags of `snn-helpers train`; default --profile smoke.",
    )
    verify.add_argument("--kills", type=int, default=3, help="how often the second run is killed (default 3)")
    _add_config_flags(verify, model, hidden=_CHOSEN["verify-resume"])
    verify.set_defaults(command=_verify_resume)

    protocol = commands.add_parser(
        "protocol",
        help="train and test by a protocol, several seeds, with interval",
        description="Protocols: simulated; transfer (train on simulated, test on real recordings); finetune (then "
        "five folds of the real ones, with a learning rate, epochs and, where none is given, a warp of its own); real "
        "(five folds, real ones alone); full (official N-MNIST, profile full). Takes the flags of `snn-helpers train`. "
        "What was done before is not done again.",
    )
    protocol.add_argument("protocol", choices=("simulated", "transfer", "finetune", "real", "full"))
    protocol.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="default 0 1 2 3 4")
    protocol.add_argument("--real_dir", help="folder of real recordings, Train/<digit>/*.bin; default $SNN_REAL_DATA")
    _add_config_flags(protocol, model, hidden=_CHOSEN["protocol"])
    protocol.set_defaults(command=_protocol)

    add_data_commands(commands)
    _add_activation_flags(commands)
    add_exchange_commands(commands)
    add_batch_commands(commands)
    doctor = commands.add_parser("doctor", help="say what is wrong here, and what mends it")
    doctor.set_defaults(command=_doctor)
    return parser


def _add_activation_flags(commands) -> None:
    look = commands.add_parser(
        "visualize-activations",
        help="draw what a trained network does, with an HTML report",
    )
    look.add_argument("--model", default="cnn", choices=tuple(MODELS), help="default cnn")
    look.add_argument("--plugins", metavar="FILES", help="plugin files of the network, where they were moved")
    look.add_argument("--resume", help="checkpoint to look at; default the newest best.pt of this model")
    look.add_argument("--dataset", help="default what it was trained on")
    look.add_argument("--data_dir", help="folder of recordings (nmnist) or of built stores (simulated, motion)")
    look.add_argument("--split", default="valid", choices=("train", "valid", "test"), help="default valid")
    look.add_argument("--num_samples", type=int, default=200, help="recordings to look at (default 200)")
    look.add_argument("--sample", type=int, default=0, help="which of them is shown alone (default 0)")
    look.add_argument("--log_dir", help="folder for the figures (default activations in $SNN_LOGS_DIR, else in logs/)")
    look.add_argument("--visualize_all", action="store_true", help="every figure below")
    for name in ACTIVATION_FIGURES:
        look.add_argument(f"--{name}", action="store_true", help=f"draw {name.replace('_', ' ')}")
    look.set_defaults(command=_visualize_activations)


def _add_config_flags(parser: argparse.ArgumentParser, model: str, hidden: Sequence[str] = ()) -> None:
    """Add a flag for every setting; the `hidden` ones, which a command refuses, are not in its help.

    Nor are those of other networks, which the config refuses by the name of their network.
    """
    for item in fields(TrainConfig):
        _add_flag(parser, item, item.name in hidden)
    others = [name for name in MODELS if name != model]
    own = parser.add_argument_group(
        f"settings of {model}", f"Those of another network: --model {{{','.join(others)}}} --help."
    )
    seen = set(names_of(TrainConfig))
    for name in (model, *others):
        for item in fields(MODELS[name].settings):
            if item.name not in seen:
                _add_flag(own, item, name != model)
                seen.add(item.name)


def _add_flag(parser, item: Field, hidden: bool) -> None:
    kind, checks = kind_of(item), item.metadata
    notes = [_range_text(checks), "" if kind == "bool" or item.default is None else f"default {item.default}"]
    told = f" ({'; '.join(filter(None, notes))})" if any(notes) else ""
    options = {"help": argparse.SUPPRESS if hidden else (checks["help"] + told).replace("%", "%%")}
    options |= {"default": argparse.SUPPRESS}
    if kind == "bool":
        action = argparse.BooleanOptionalAction if item.default else "store_true"
        parser.add_argument(f"--{item.name}", action=action, **options)
        return
    if checks["bare"]:
        options |= {"nargs": "?", "const": checks["bare"]}
    if checks["choices"]:
        options["choices"] = MODELS if item.name == "model" else choices_of(item)  # not the one handed over in Python
    elif not checks["path"]:
        options["type"] = {"int": int, "float": float, "str": str}[kind]
        options["metavar"] = {"int": "N", "float": "X", "str": "NAMES"}[kind]
    else:
        options["metavar"] = "PATH"
    parser.add_argument(f"--{item.name}", **options)


def _range_text(checks: Mapping[str, Any]) -> str:
    low, high = checks["low"], checks["high"]
    if high is not None:
        return f"above {low}, up to {high}" if checks["above"] else f"{low} to {high}"
    return "" if low is None else f"above {low}" if checks["above"] else f"at least {low}"


def _typed(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were typed; those left out are not in `args`."""
    return {name: getattr(args, name) for name in TrainConfig.names() if name in args}


def _train(args: argparse.Namespace) -> None:
    from snn_helpers.training.loop import train

    typed = _typed(args)
    config = TrainConfig(**typed)
    if config.visualize:  # what draws the figures at the end is loaded at the beginning
        from snn_helpers.run_figures import write_run_figures
    result = train(config, named=typed)
    if int(os.environ.get("RANK", "0")):  # of several processes the first one speaks
        return
    print(f"written to {result.paths['save_dir']}")
    if config.visualize:
        for path in write_run_figures(result):
            print(path)


def _verify_resume(args: argparse.Namespace) -> int:
    from snn_helpers.training.verify import verify_resume

    check_int("--kills", args.kills, low=1, high=1000)
    asked = {"profile": "smoke", **_typed(args)}
    TrainConfig(**asked)  # refuses bad values before anything runs
    _refuse_chosen(asked, "verify-resume", _CHOSEN["verify-resume"])
    flags = [_flag_text(name, value) for name, value in asked.items()]
    differing = verify_resume(flags, args.kills)
    for where in differing:
        print(f"differs: {where}")
    print("NOT equal." if differing else "equal: weights, optimiser, schedule and history, bit for bit.")
    return int(bool(differing))


def _flag_text(name: str, value: Any) -> str:
    return f"--{'' if value else 'no-'}{name}" if isinstance(value, bool) else f"--{name}={value}"


def _protocol(args: argparse.Namespace) -> None:
    from snn_helpers.training.protocols import run_protocol, summary_line

    asked = _typed(args)
    _refuse_chosen(asked, "protocol", _CHOSEN["protocol"])
    for name, reason in _UNUSED.get(args.protocol, {}).items():
        if name in asked:
            raise ValueError(f"`--{name}`: protocol {args.protocol} {reason}. Leave the flag out.")
    print(summary_line(run_protocol(args.protocol, TrainConfig(**asked), args.seeds, args.real_dir)))


def _refuse_chosen(asked: Mapping[str, Any], command: str, names: Sequence[str]) -> None:
    taken = [name for name in names if name in asked]
    if taken:
        raise ValueError(f"`--{taken[0]}`: {command} chooses that itself. Leave the flag out.")


def _doctor(args: argparse.Namespace) -> int:
    from snn_helpers.doctor import report

    return int(report() > 0)


def _visualize_activations(args: argparse.Namespace) -> None:
    from snn_helpers.activity_report import find_checkpoint, write_activity_report

    figures = [name for name in ACTIVATION_FIGURES if args.visualize_all or getattr(args, name)]
    if not figures:
        args.parser.error(f"say what to draw: --visualize_all, or any of --{', --'.join(ACTIVATION_FIGURES)}")
    checkpoint = args.resume or find_checkpoint(args.model)
    log_dir = args.log_dir or logs_home() / "activations"
    print(f"looking at {checkpoint}")
    recordings = (args.dataset, args.data_dir, args.split, args.num_samples, args.sample)
    for path in write_activity_report(checkpoint, log_dir, figures, *recordings, plugins=args.plugins):
        print(path)
