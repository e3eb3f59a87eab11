"""Where a network keeps what it has seen, over seeds: figures of `docs/motion.json`, from `benchmarks/motion.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snn_helpers.stats import mean_interval


@dataclass(frozen=True)
class MemoryStudy:
    """Test accuracies of small networks that differ in their memory.

    Attributes
    ----------
    accuracies : mapping of setting to mapping of network to tuple of float
        Shares in [0, 1], one a seed; a seed is the same weights' generator and order of recordings in all networks.
    n : int
        Recordings of the test split.
    provenance : str
        In words.
    """

    accuracies: Mapping[str, Mapping[str, tuple[float, ...]]]
    n: int
    provenance: str

    def difference(self, setting: str, first: str, second: str) -> tuple[float, float, float]:
        """Return how many points the first network is ahead, seed by seed: mean, and bounds of its 95 % interval."""
        rows = self.accuracies[setting]
        mean, low, high = mean_interval([100 * (a - b) for a, b in zip(rows[first], rows[second])])
        return mean, low, high


_N = 1_000
_RIGHT = {
    "short gaps": {
        "summed frames": (159, 164, 164, 153, 164),
        "no memory": (168, 166, 167, 186, 176),
        "short memory": (196, 213, 197, 212, 213),
        "leaky, shuffled time": (155, 170, 162, 158, 163),
        "leaky": (723, 745, 754, 745, 742),
        "mixed": (756, 771, 774, 750, 781),
        "adaptive": (528, 468, 588, 442, 506),
        "recurrent": (887, 948, 966, 965, 817),
        "delayed": (995, 995, 997, 997, 997),
        "GRU": (997, 998, 996, 999, 996),
    },
    "long gaps": {
        "leaky": (844, 848, 841, 843, 859),
        "recurrent": (484, 502, 689, 617, 670),
        "delayed": (482, 480, 483, 488, 505),
        "GRU": (997, 996, 997, 995, 993),
        "delayed, half as long": (487, 482, 485, 489, 481),
    },
}


def stored_memories() -> MemoryStudy:
    """Return the study that was run beforehand."""
    shares = {
        setting: {name: tuple(right / _N for right in counts) for name, counts in rows.items()}
        for setting, rows in _RIGHT.items()
    }
    seeds = len(next(iter(_RIGHT["short gaps"].values())))
    words = f"simulated motion, test, n = {_N:,}, {seeds} seeds"
    return MemoryStudy(shares, _N, words)
