"""Run a network that is written as one time step over all of time: traced once, planned, carried out on an engine."""

from snn_helpers.over_time.accelerate import Accelerated as Accelerated
from snn_helpers.over_time.accelerate import OverTime as OverTime
from snn_helpers.over_time.accelerate import accelerate as accelerate
from snn_helpers.over_time.accelerate import over_time as over_time
from snn_helpers.over_time.accelerate import runner_of as runner_of
from snn_helpers.over_time.any_network import device_of as device_of
from snn_helpers.over_time.any_network import evaluating as evaluating
from snn_helpers.over_time.any_network import frames_for as frames_for
from snn_helpers.over_time.any_network import kept_modes as kept_modes
from snn_helpers.over_time.layers import is_spiking as is_spiking
from snn_helpers.over_time.listen import InputListener as InputListener
from snn_helpers.over_time.norm import NormOverTime as NormOverTime
from snn_helpers.over_time.structure import INPUT as INPUT
from snn_helpers.over_time.structure import WEIGHTS as WEIGHTS
from snn_helpers.over_time.structure import Drive as Drive
from snn_helpers.over_time.structure import layer_name as layer_name

__all__ = [
    "INPUT",
    "WEIGHTS",
    "Accelerated",
    "Drive",
    "InputListener",
    "NormOverTime",
    "OverTime",
    "accelerate",
    "device_of",
    "evaluating",
    "frames_for",
    "is_spiking",
    "kept_modes",
    "layer_name",
    "over_time",
    "runner_of",
]
