"""Run benchmarks one after the other, and keep what they print and draw on one page: benchmarks/results/README.md."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

from _measure import RESULTS, machine

from snn_helpers._files import write_whole


def run(path: Path) -> str:
    """Run a benchmark, show its lines as they come, and return them.

    Raises
    ------
    SystemExit
        If it fails, with its exit code.
    """
    lines = []
    with subprocess.Popen([sys.executable, "-u", path], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(process.returncode)
    return "".join(lines)


def main(paths: list[Path]) -> None:
    """Run the benchmarks, and write the page anew after each, so that one that fails costs no other's figures."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    page = f"# Measured here, {datetime.date.today()}\n\n"
    page += "".join(f"- {name}: {value}\n" for name, value in machine().items())
    for path in paths:
        print(f"== {path}", flush=True)
        before = {figure: figure.stat().st_mtime_ns for figure in RESULTS.glob("*.png")}
        page += f"\n## {path.stem}\n\n```\n{run(path)}```\n"
        drawn = [one.name for one in sorted(RESULTS.glob("*.png")) if before.get(one) != one.stat().st_mtime_ns]
        page += "".join(f"\n![{path.stem}]({name})\n" for name in drawn)
        write_whole(RESULTS / "README.md", page)
    print(f"page: {RESULTS / 'README.md'}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
