"""Is the simulated camera close to the real one? Simulates the digits of 1,000 real N-MNIST recordings and compares.

Run `python benchmarks/camera.py`. The real recordings are looked for in the folder that the environment variable
SNN_REAL_DATA names (default: ../shared/data/NMNIST beside the repository), as `Train/<digit>/<index>.bin`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from snn_helpers.events.compare import BIN_US, NUM_BINS, CameraComparison, EventStatistics, compare_recordings
from snn_helpers.events.digits import REAL_PER_CLASS, mnist_digits
from snn_helpers.events.simulate import simulate
from snn_helpers.events.twins import load_twins

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    """Print the figures beside their targets; the exit status is 1 if one is missed."""
    folder = Path(os.environ.get("SNN_REAL_DATA") or ROOT / "../shared/data/NMNIST")
    twins = load_twins(folder) if (folder / "Train").is_dir() else None
    if twins is None:
        print(f"No real recordings 00001-01000 at {folder}: nothing to compare. SNN_REAL_DATA names another folder.")
        return 0
    images, _ = mnist_digits()
    started = time.perf_counter()
    simulate(images, np.arange(len(images)))
    seconds = time.perf_counter() - started
    comparison = compare_recordings(twins.simulated, twins.real)
    rows = table(comparison, seconds)
    print(f"{'figure':46} {'target':>16} {'reached':>16}")
    for figure, target, reached, met in rows:
        print(f"{figure:46} {target:>16} {reached:>16}{'' if met else '  MISSED'}")
    print_context(comparison)
    RESULTS.mkdir(parents=True, exist_ok=True)
    draw(comparison, RESULTS / "camera.png")
    print(f"figure: {(RESULTS / 'camera.png').relative_to(ROOT)}")
    return 0 if all(met for *_, met in rows) else 1


def table(c: CameraComparison, seconds: float) -> list[tuple[str, str, str, bool]]:
    """Return figure, target, reached and whether it is met."""

    def at_least(figure: str, target: float, *reached: float) -> tuple[str, str, str, bool]:
        text = " / ".join(f"{value:.3f}" for value in reached)
        return figure, f">= {target:.2f}", text, min(reached) >= target

    def near_one(figure: str, within: float, reached: float) -> tuple[str, str, str, bool]:
        return figure, f"1 +- {within:.2f}", f"{reached:.3f}", abs(reached - 1) <= within

    return [
        at_least("maps a saccade and polarity: correlation", 0.96, c.map_correlation),
        at_least("the same, six maps as one vector", 0.96, c.stacked_map_correlation),
        near_one("events a recording: mean, simulated / real", 0.10, c.count_mean_ratio),
        near_one("events a recording: standard deviation, ratio", 0.20, c.count_std_ratio),
        at_least("events a recording: correlation with the twin", 0.80, c.count_correlation),
        ("share of ON events: simulated - real", "0 +- 0.03", f"{c.on_share_difference:+.4f}",
         abs(c.on_share_difference) <= 0.03),
        near_one("active pixels: ratio", 0.10, c.active_pixels_ratio),
        at_least("mean maps, OFF / ON: correlation", 0.98, *c.mean_map_correlation),
        at_least("event rate in 5 ms bins, OFF / ON: correlation", 0.96, *c.rate_correlation),
        ("5,000 recordings simulated, seconds", "< 60", f"{seconds:.1f}", seconds < 60),
    ]  # fmt: skip


def print_context(c: CameraComparison) -> None:
    """Print figures without a target, for both sides."""
    print(f"\n{'without a target':46} {'real':>16} {'simulated':>16}")
    for figure, value in {
        "events a recording, mean": lambda s: f"{s.counts.mean():.0f}",
        "events a recording, standard deviation": lambda s: f"{s.counts.std():.0f}",
        "active pixels, mean": lambda s: f"{s.active_pixels.mean():.0f}",
        "active pixels, standard deviation": lambda s: f"{s.active_pixels.std():.0f}",
        "last event, ms": lambda s: f"{s.duration_ms.mean():.1f}",
        "gap at a pixel, same polarity, 1 %, ms": lambda s: f"{s.gap_ms[0]:.2f}",
        "gap at a pixel, same polarity, median, ms": lambda s: f"{s.gap_ms[1]:.2f}",
        "gap at a pixel, same polarity, 99 %, ms": lambda s: f"{s.gap_ms[2]:.1f}",
        "events in the outermost ring of pixels": lambda s: f"{ring(s):.1f}",
    }.items():
        print(f"{figure:46} {value(c.real):>16} {value(c.simulated):>16}")
    low, high = np.percentile(c.map_correlations, (1, 99))
    print(f"map correlation of single recordings, 1st to 99th percentile: {low:.3f} to {high:.3f}")


def ring(statistics: EventStatistics) -> float:
    """Mean number of events in the outermost pixels, which no digit reaches: leak and noise."""
    seen = statistics.mean_maps.sum(axis=(0, 1))
    return float(seen.sum() - seen[1:-1, 1:-1].sum())


def draw(c: CameraComparison, path: Path) -> None:
    """Draw five digits, real above simulated, for each saccade, and the event rates."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 14), layout="constrained")
    FigureCanvasAgg(figure)
    maps, rates = figure.subfigures(1, 2, width_ratios=(0.62, 1))
    chosen = np.cumsum((0, *REAL_PER_CLASS[:-1]))[[0, 2, 3, 5, 8]] + 10
    axes = maps.subplots(len(chosen) * 2, 3)
    for row, i in enumerate(np.repeat(chosen, 2)):
        side, name = ((c.real, "real"), (c.simulated, "simulated"))[row % 2]
        for saccade in range(3):
            off, on = side.maps[i, saccade]
            ax = axes[row, saccade]
            ax.imshow(on - off, cmap="RdBu_r", vmin=-6, vmax=6)
            ax.set(xticks=[], yticks=[])
            if row == 0:
                ax.set_title(f"saccade {saccade + 1}")
        axes[row, 0].set_ylabel(name)
    maps.suptitle("ON (red) minus OFF (blue) events")
    middle = (np.arange(NUM_BINS) + 0.5) * BIN_US / 1000
    for polarity, ax in enumerate(rates.subplots(4, 1)[:2]):
        ax.plot(middle, c.real.rate[polarity], color="black", label="real")
        ax.plot(middle, c.simulated.rate[polarity], color="tab:orange", label="simulated")
        ax.set(title=f"{('OFF', 'ON')[polarity]} events in 5 ms", xlabel="time (ms)", ylabel="events a recording")
        ax.set_ylim(0, 1.3 * max(c.real.rate.max(), c.simulated.rate.max()))  # room for the legend
        ax.legend(loc="upper center", ncols=2)
    counts, active = rates.axes[2:]
    counts.scatter(c.real.counts, c.simulated.counts, s=4, color="tab:blue")
    counts.set(title="events a recording", xlabel="real", ylabel="simulated of the same digit")
    active.scatter(c.real.active_pixels, c.simulated.active_pixels, s=4, color="tab:blue")
    active.set(title="active pixels", xlabel="real", ylabel="simulated of the same digit")
    for ax in (counts, active):
        ax.axline((0, 0), slope=1, color="black", linewidth=0.7)
        ax.autoscale_view()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    raise SystemExit(main())
