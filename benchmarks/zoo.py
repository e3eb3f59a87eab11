"""Measure networks that others have published beside their own plain loops: is it exact, and how much faster.

Run `python benchmarks/zoo.py [NAME...] [--quick] [--activity SHARE]`; the names are those of `zoo_networks.ZOO`,
`--quick` takes the sizes of the tests and one round, `--activity` lets layers fire at about that share of steps, as
those of trained networks do. Each network runs beside its own plain loop, interleaved: a train step and a forward pass.
Peak memory of a train step is that of a process of its own, above what stands before it; it is taken of weights as they
are drawn. `--keep` writes the figures into docs/zoo.json, under the activity asked for, and the table of docs/speed.md
from it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from _measure import interleaved, machine, new_figure, save
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from zoo_compare import compare
from zoo_networks import ZOO, plain_loop

from snn_helpers import balance_firing
from snn_helpers._files import write_whole
from snn_helpers.engine import cpu
from snn_helpers.over_time import accelerate

DOCS = Path(__file__).resolve().parents[1] / "docs"
MARKED = re.compile(r"(?<=<!-- zoo: written by benchmarks/zoo.py -->\n).*?(?=<!-- end of zoo -->)", re.DOTALL)
ROUNDS = 3
LOOP, OURS = "loop", "over time"
WORKS = ("train", "forward", "memory")


def train_step(run, net: nn.Module, inputs: Tensor):
    """Return a train step whose learning rate is 0, so that the weights stay."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)

    def step() -> None:
        optimizer.zero_grad()
        outputs = tree_leaves(run(inputs))
        sum(part.square().mean() for part in outputs).backward()
        optimizer.step()

    return step


def runners(name: str, quick: bool, activity: float | None):
    """Return the network of that name, its layers scaled to fire at a share, its input, and both ways to run it."""
    network = ZOO[name]
    net, inputs = network.make(network.small if quick else network.full)
    if activity is not None:
        balance_firing(net, inputs, activity)
    return net, inputs, {LOOP: lambda x: plain_loop(net, x), OURS: accelerate(net)}


def measure(name: str, quick: bool, activity: float | None, memory: bool) -> dict[str, float]:
    """Return what one network costs: seconds, the least of the rounds, and how far it is from its loop."""
    net, inputs, ways = runners(name, quick, activity)
    differs = compare(net, inputs)
    row = {"fired": differs.fired, "spikes": differs.spikes, "near": differs.near}
    row |= {"unexplained": differs.unexplained, "gradients": differs.gradients}
    rounds = 1 if quick else ROUNDS
    train = interleaved({way: train_step(run, net, inputs) for way, run in ways.items()}, rounds)
    net.eval()
    with torch.no_grad():
        forward = interleaved({way: lambda run=run: run(inputs) for way, run in ways.items()}, rounds)
    for way in ways:
        row[f"train {way}"], row[f"forward {way}"] = float(train[way].min()), float(forward[way].min())
        if memory:
            row[f"memory {way}"] = peak(name, way, quick)
    return row


def peak(name: str, way: str, quick: bool) -> float:
    """Return the peak memory of a train step in bytes, in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", way, name, *(["--quick"] if quick else [])]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def memory_of(name: str, way: str, quick: bool) -> None:
    """Print the peak of the second train step above what stands before the first, in bytes."""
    from engine import memory_bytes

    net, inputs, ways = runners(name, quick, None)
    cpu.warm_up()
    small_net, small, small_ways = runners(name, True, None)
    train_step(small_ways[way], small_net, small)()
    before = memory_bytes("VmRSS")
    reset_peak()
    train_step(ways[way], net, inputs)()
    print(json.dumps(max(memory_bytes("VmHWM") - before, 1)))


def reset_peak() -> None:
    """Set the process's peak memory back to what it has now, where the system can."""
    control = Path("/proc/self/clear_refs")
    if control.exists():
        control.write_text("5")


def print_row(name: str, row: dict[str, float]) -> None:
    cells = [f"{name:13}", f"{100 * row['fired']:5.1f} %", f"{row['spikes']:6d}", f"{row['near']:5d}"]
    cells.append(f"{row['unexplained']:5d}")
    cells.append(f"{row['gradients']:8.0e}")
    for work in ("train", "forward"):
        loop, ours = row[f"{work} {LOOP}"], row[f"{work} {OURS}"]
        cells.append(f"{1e3 * loop:8.1f} {1e3 * ours:8.1f} {loop / ours:5.2f}")
    if f"memory {LOOP}" in row:
        loop, ours = row[f"memory {LOOP}"], row[f"memory {OURS}"]
        cells.append(f"{loop / 1e6:7.0f} {ours / 1e6:7.0f} {loop / ours:5.1f}")
    print("  ".join(cells), flush=True)


def keep(rows: dict[str, dict[str, float]], activity: float | None) -> None:
    """Write the figures into docs/zoo.json, beside those of another activity, and the table of docs/speed.md."""
    path, page = DOCS / "zoo.json", DOCS / "speed.md"
    tables = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    made = {"date": str(datetime.date.today()), "machine": machine(), "rows": rows}
    tables["untrained" if activity is None else f"set to fire at {100 * activity:g} %"] = made
    write_whole(path, json.dumps(tables, indent=1) + "\n")
    text = page.read_text(encoding="utf-8")
    write_whole(page, MARKED.sub(lambda _: markdown(tables), text))


def markdown(tables: dict[str, dict]) -> str:
    """Return the table of docs/speed.md from the figures in docs/zoo.json: how many times its loop each network is."""
    columns: dict[str, dict[str, str]] = {}  # by title: by network, what stands there
    told = []
    for of, table in tables.items():
        rows = table["rows"]
        columns[f"fires, {of}"] = {name: f"{100 * row['fired']:.0f} %" for name, row in rows.items()}
        spans = []
        for work in (one for one in WORKS if all(f"{one} {LOOP}" in row for row in rows.values())):
            ratios = {name: row[f"{work} {LOOP}"] / row[f"{work} {OURS}"] for name, row in rows.items()}
            columns[f"{work}, {of}"] = {name: f"{ratio:.1f}" for name, ratio in ratios.items()}
            spans.append(f"{work} {min(ratios.values()):.1f} to {max(ratios.values()):.1f}")
        threads = table["machine"]["torch threads"]
        told.append(
            f"\nNetworks {of}, {table['date']}, {threads} threads: {', '.join(spans)} (the loop's figure by ours)."
        )
    lines = [f"| network | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        lines.append(f"| {name} | {' | '.join(column.get(name, '-') for column in columns.values())} |")
    return "\n".join([*lines, *told]) + "\n"


def draw(rows: dict[str, dict[str, float]]) -> None:
    """Draw how many times faster, and how much smaller, each network is than its loop."""
    works = [work for work in WORKS if all(f"{work} {LOOP}" in row for row in rows.values())]
    figure, axes = new_figure(4 * len(works), 0.3 * len(rows) + 1.5, len(works))
    for ax, work in zip(axes, works):
        ratios = [row[f"{work} {LOOP}"] / row[f"{work} {OURS}"] for row in rows.values()]
        ax.barh(np.arange(len(rows)), ratios, color=["tab:blue" if ratio >= 1 else "tab:red" for ratio in ratios])
        ax.axvline(1, color="0.3", lw=1)
        ax.set_yticks(range(len(rows)), list(rows))
        title = {"train": "train step", "forward": "forward", "memory": "peak memory"}[work]
        ax.set(title=f"{title}: loop / over time", xscale="log")
        ax.invert_yaxis()
    save(figure, "zoo.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*ZOO, []], metavar="NAME", help=", ".join(ZOO))
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--quick", action="store_true", help="the sizes of the tests, one round")
    parser.add_argument("--activity", type=float, metavar="SHARE", help="let layers fire at about this share of steps")
    parser.add_argument("--keep", action="store_true", help="write docs/zoo.json, and the table in docs/speed.md")
    parser.add_argument("--memory-of", metavar="WAY", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.keep and (args.quick or args.no_memory):
        parser.error("--keep keeps the full sizes with their memory: leave out --quick and --no-memory.")
    if args.memory_of:
        memory_of(args.names[0], args.memory_of, args.quick)
        return 0
    rounds = 1 if args.quick else ROUNDS
    print(f"{torch.get_num_threads()} threads; ms, the least of {rounds} rounds; MB; loop, over time, loop / over time")
    print(f"{'network':13}  {'fires':>7}  {'differ':>6}  {'near':>5}  {'wrong':>5}  {'gradient':>8}", end="")
    print("".join(f"  {title:>25}" for title in ("train step", "forward")) + f"  {'peak memory':>22}")
    rows = {}
    for name in args.names or ZOO:
        rows[name] = measure(name, args.quick, args.activity, args.activity is None and not args.no_memory)
        print_row(name, rows[name])
    draw(rows)
    if args.keep:
        keep(rows, args.activity)
    return 0


if __name__ == "__main__":
    sys.exit(main())
