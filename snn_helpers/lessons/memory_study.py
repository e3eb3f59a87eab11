"""Where a network keeps what it has seen, over seeds: figures of `docs/motion.json`, from `benchmarks/motion.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

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
        "summed frames": (159,),
        "no memory": (168,),
        "short memory": (196,),
        "leaky, shuffled time": (155,),
        "leaky": (723,),
        "mixed": (756,),
        "adaptive": (528,),
        "recurrent": (887,),
        "delayed": (995,),
        "GRU": (997,),
    },
    "long gaps": {
        "leaky": (844,),
        "recurrent": (484,),
        "delayed": (482,),
        "GRU": (997,),
        "delayed, half as long": (487,),
    },
}


def stored_memories() -> MemoryStudy:
    """Return the study that was run beforehand."""
    shares = {
        setting: MappingProxyType({name: tuple(right / _N for right in counts) for name, counts in rows.items()})
        for setting, rows in _RIGHT.items()
    }
    seeds = len(next(iter(_RIGHT["short gaps"].values())))
    words = f"simulated motion, test, n = {_N:,}, {seeds} seeds"
    return MemoryStudy(MappingProxyType(shares), _N, words)
