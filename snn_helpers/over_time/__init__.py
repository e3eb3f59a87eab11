"""Run a network of one time step over all of time."""

from snn_helpers.over_time.accelerate import accelerate as accelerate
from snn_helpers.over_time.norm import NormOverTime as NormOverTime

__all__ = ["NormOverTime", "accelerate"]
