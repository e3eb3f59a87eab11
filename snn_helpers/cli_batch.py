"""The commands that run notebooks: `tutorial`, `run`, `sweep` and `report`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from snn_helpers._paths import keep_results_in, user_path
from snn_helpers.training.config import PROFILES

_TUTORIAL = "snn-tutorial"
_INSTALL_LAB = "pip install 'snn_helpers[lab]'"


def _path(text: str) -> Path:
    """Return a path for argparse, which has words of its own for any ValueError."""
    try:
        return user_path(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def add_batch_commands(commands) -> None:
    """Add the commands to a parser's subparsers."""
    tutorial = commands.add_parser(
        "tutorial",
        help="copy the series of notebooks to a folder, open it, run it",
        description="Copies the notebooks that come with the package. One that you have changed is never overwritten.",
    )
    tutorial.add_argument("--out", type=_path, default=_TUTORIAL, help=f"your folder (default {_TUTORIAL})")
    then = tutorial.add_mutually_exclusive_group()
    then.add_argument("--lab", action="store_true", help="then open JupyterLab there")
    then.add_argument("--run", action="store_true", help="then run them all headlessly; ends with a table of findings")
    _add_parameters(tutorial)
    _add_limits(tutorial)
    tutorial.set_defaults(command=_tutorial)

    run = commands.add_parser("run", help="execute notebooks headlessly, in order")
    run.add_argument("notebooks", nargs="+", type=_path, help="notebooks to execute")
    run.add_argument("--out", type=_path, default="runs/latest", help="folder for the executed notebooks")
    _add_parameters(run)
    _add_limits(run)
    run.set_defaults(command=_run)

    sweep = commands.add_parser("sweep", help="run a notebook over settings, and go on with it")
    sweep.add_argument("notebook", type=_path, help="notebook, or a .toml file with the plan")
    sweep.add_argument(
        "--grid", nargs="+", default=[], metavar="NAME=VALUES",
        help="such as beta=0.8,0.9,0.95 seed=0..4; in a search also lr=0.001..0.01:log",
    )  # fmt: skip
    sweep.add_argument("--search", choices=("grid", "random", "optuna"), help="default grid: all combinations")
    sweep.add_argument("--trials", type=int, metavar="N", help="configurations of a search (default 20)")
    sweep.add_argument("--metric", help="result to make best (default valid_accuracy)")
    sweep.add_argument("--direction", choices=("maximize", "minimize"), help="default maximize")
    sweep.add_argument("--out", type=_path, help="folder of the sweep; default one of the plan's own under runs/")
    sweep.add_argument("--jobs", type=int, metavar="N", help="runs side by side (default 1)")
    sweep.add_argument("--threads", type=int, metavar="N", help="threads of a run; default the cores shared out")
    sweep.add_argument("--gpus", type=int, metavar="N", help="GPUs to share out, one a run (default 0: leave alone)")
    sweep.add_argument(
        "--retry", nargs="+", default=[], choices=("failed", "timeout", "killed"),
        help="run those again; failed means all that did not end well",
    )  # fmt: skip
    sweep.add_argument("--cluster", metavar="KIND", help="dask workers: local, or a batch system such as slurm")
    sweep.add_argument("--scheduler", metavar="ADDRESS", help="dask workers of a running scheduler")
    _add_parameters(sweep)
    _add_limits(sweep)
    sweep.set_defaults(command=_sweep)

    report = commands.add_parser("report", help="say what a sweep has found")
    report.add_argument("sweep", type=_path, help="folder of the sweep")
    report.add_argument("--metric", help="result to compare by; default the sweep's")
    report.add_argument("--notebook", action="store_true", help="also as an executed notebook, report.ipynb")
    report.set_defaults(command=_report)


def _tutorial(args: argparse.Namespace) -> int:
    from snn_helpers.tutorial import copy_notebooks

    if not args.run and (args.profile or args.parameters or args.limit or args.memory):
        args.parser.error("--profile, -p, --limit and --memory are for a run: add --run")
    for wanted, package in ((args.lab, "jupyterlab"), (args.run, "ipykernel")):
        if wanted and not _is_installed(package):
            raise ImportError(f"{package} is missing. Type: {_INSTALL_LAB}")
    folder, notebooks, written, changed = args.out, *copy_notebooks(args.out)
    print(f"{len(notebooks)} notebooks are in {folder}: {len(written)} copied now.", flush=True)
    again = "snn-helpers tutorial" + (f" --out {shlex.quote(str(folder))}" if folder != Path(_TUTORIAL) else "")
    if changed:
        print(f"snn-helpers: kept as you changed them: {', '.join(changed)}. For an original, rename yours and type "
              f"`{again}` again, or choose another folder by --out.", file=sys.stderr, flush=True)  # fmt: skip
    keep_results_in(folder)
    if args.lab:
        # In the place of this process, so that Ctrl-C is JupyterLab's.
        command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.absolute()}"]
        os.execv(sys.executable, [*command, str(notebooks[0].absolute())])
    if args.run:
        from snn_helpers.batch import run_series
        from snn_helpers.sweeps import training_rules

        code = run_series(notebooks, folder / "executed", _fixed(args), training_rules(), _limits(args))
        print(f"The notebooks as they ran are in {folder / 'executed'}.")
    else:
        code = int(bool(changed))
    install = "" if _is_installed("jupyterlab") else f"{_INSTALL_LAB} && "
    print(f"Next, type: {install}{again} --lab")
    return code


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", choices=PROFILES, help="default $SNN_PROFILE, else teach")
    parser.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="a notebook parameter; give it as often as needed",
    )  # fmt: skip


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=float, metavar="S", help="seconds of a notebook (default 3600)")
    parser.add_argument("--memory", type=int, metavar="MB", help="address space of a notebook; default no limit")


def _fixed(args: argparse.Namespace) -> dict[str, str]:
    return dict(args.parameters) | ({"profile": args.profile} if args.profile else {})


def _limits(args: argparse.Namespace, told: dict[str, Any] | None = None):
    from snn_helpers.batch import Limits

    seconds = args.limit if args.limit is not None else (told or {}).get("limit", 3600.0)
    return Limits(seconds, args.memory if args.memory is not None else (told or {}).get("memory"))


def _run(args: argparse.Namespace) -> int:
    from snn_helpers.batch import run_series
    from snn_helpers.sweeps import training_rules

    return run_series(args.notebooks, args.out, _fixed(args), training_rules(), _limits(args))


def _sweep(args: argparse.Namespace) -> int:
    from snn_helpers.batch import SweepPlan, run_sweep
    from snn_helpers.batch.sweep import default_folder
    from snn_helpers.sweeps import training_rules

    asked = {name: getattr(args, name) for name in ("search", "trials", "metric", "direction")}
    asked = {name: value for name, value in asked.items() if value is not None}
    fixed = _fixed(args)
    if args.notebook.suffix == ".toml":
        from dataclasses import replace

        plan, told = SweepPlan.from_toml(args.notebook)
        plan = replace(plan, grid={**plan.grid, **_grid(args.grid)}, fixed={**plan.fixed, **fixed}, **asked)
    else:
        plan, told = SweepPlan(args.notebook, _grid(args.grid), fixed, **asked), {}
    workers = _workers(args, told)
    folder = args.out or (user_path(told["out"]) if "out" in told else default_folder(plan))
    rows = run_sweep(plan, folder, workers, training_rules(), args.retry, lambda line: print(line, flush=True))
    print(f"snn-helpers report {folder}")
    return int(any(row["status"] != "done" for row in rows.values()))


def _grid(items: list[str]) -> dict[str, str]:
    grid: dict[str, str] = {}
    for item in items:
        name, equals, values = item.partition("=")
        if not equals or not name or not values:
            raise ValueError(f"`--grid`: {item!r} must be NAME=VALUES, such as beta=0.8,0.9.")
        if name in grid:
            raise ValueError(f"`--grid`: `{name}` is given twice.")
        grid[name] = values
    return grid


def _workers(args: argparse.Namespace, told: dict[str, Any]):
    from snn_helpers._checks import check_choice
    from snn_helpers.batch import Workers

    known = ("jobs", "threads", "gpus", "scheduler", "cluster", "limit", "memory", "out")
    for name in told:
        check_choice(f"line of {args.notebook.name}", name, known)
    options = dict(told.get("cluster", {}))
    kind = args.cluster or options.pop("kind", None)
    options.pop("kind", None)
    names = ("jobs", "threads", "gpus", "scheduler")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    values = {name: told[name] for name in names if name in told} | given
    return Workers(limits=_limits(args, told), cluster=kind, options=options, **values)


def _report(args: argparse.Namespace) -> None:
    from snn_helpers.batch.report import make_report, summary_lines
    from snn_helpers.sweep_report import write_report

    report = make_report(args.sweep, args.metric)
    print("\n".join(summary_lines(report)))
    for path in write_report(report, args.sweep, as_notebook=args.notebook):
        print(path)
