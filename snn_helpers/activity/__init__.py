"""Looking inside a network: record what its layers do, measure it, and ask what a decision rests on.

Arrays and plain dataclasses come out; drawing them is the business of `snn_helpers.plots`.
"""

from __future__ import annotations

from snn_helpers.activity.attribution import Attribution as Attribution
from snn_helpers.activity.attribution import Faithfulness as Faithfulness
from snn_helpers.activity.attribution import attribute_events as attribute_events
from snn_helpers.activity.attribution import event_values as event_values
from snn_helpers.activity.attribution import faithfulness as faithfulness
from snn_helpers.activity.controls import CONTROLS as CONTROLS
from snn_helpers.activity.controls import ControlScore as ControlScore
from snn_helpers.activity.controls import score_controls as score_controls
from snn_helpers.activity.controls import spoil as spoil
from snn_helpers.activity.costs import Energy as Energy
from snn_helpers.activity.costs import LayerCost as LayerCost
from snn_helpers.activity.costs import activation_sparsity as activation_sparsity
from snn_helpers.activity.costs import estimate_energy as estimate_energy
from snn_helpers.activity.costs import synaptic_operations as synaptic_operations
from snn_helpers.activity.diagnosis import Diagnosis as Diagnosis
from snn_helpers.activity.diagnosis import diagnose as diagnose
from snn_helpers.activity.embedding import Embedding as Embedding
from snn_helpers.activity.embedding import embed as embed
from snn_helpers.activity.embedding import embed_layers as embed_layers
from snn_helpers.activity.embedding import embed_over_time as embed_over_time
from snn_helpers.activity.embedding import neighbour_agreement as neighbour_agreement
from snn_helpers.activity.embedding import spike_counts as spike_counts
from snn_helpers.activity.measures import Anytime as Anytime
from snn_helpers.activity.measures import Decisions as Decisions
from snn_helpers.activity.measures import Intervals as Intervals
from snn_helpers.activity.measures import Rates as Rates
from snn_helpers.activity.measures import anytime as anytime
from snn_helpers.activity.measures import confusion_matrix as confusion_matrix
from snn_helpers.activity.measures import correlation as correlation
from snn_helpers.activity.measures import decisions as decisions
from snn_helpers.activity.measures import firing_rates as firing_rates
from snn_helpers.activity.measures import inter_spike_intervals as inter_spike_intervals
from snn_helpers.activity.measures import output_race as output_race
from snn_helpers.activity.recording import LayerRecord as LayerRecord
from snn_helpers.activity.recording import Recording as Recording
from snn_helpers.activity.recording import record as record
from snn_helpers.activity.structure import network_rows as network_rows
from snn_helpers.activity.taps import firing_fractions as firing_fractions
from snn_helpers.activity.taps import layer_threshold as layer_threshold
