"""What the notebooks share: figures, findings kept for the next notebook, predictions, and checks of exercises.

The checks of a notebook stand in a module of its number, `checks_<number>.py`; each is named here to be public.
"""

from __future__ import annotations

from snn_helpers.lessons.answers import WrongAnswer as WrongAnswer
from snn_helpers.lessons.any_data import class_to_show as class_to_show
from snn_helpers.lessons.any_data import nominal_step_ms as nominal_step_ms
from snn_helpers.lessons.any_data import three_parts as three_parts
from snn_helpers.lessons.any_data import within_five_bytes as within_five_bytes
from snn_helpers.lessons.budgets import Budget as Budget
from snn_helpers.lessons.budgets import Look as Look
from snn_helpers.lessons.budgets import budget as budget
from snn_helpers.lessons.budgets import look as look
from snn_helpers.lessons.checks_00 import check_decide as check_decide
from snn_helpers.lessons.checks_00 import check_mean_rate as check_mean_rate
from snn_helpers.lessons.checks_01 import check_bin_events as check_bin_events
from snn_helpers.lessons.checks_01 import check_decode as check_decode
from snn_helpers.lessons.checks_01 import check_events_lost as check_events_lost
from snn_helpers.lessons.checks_02 import check_leaky_step as check_leaky_step
from snn_helpers.lessons.checks_02 import check_least_current as check_least_current
from snn_helpers.lessons.checks_02 import check_surrogate_gradient as check_surrogate_gradient
from snn_helpers.lessons.checks_03 import check_conv_parameters as check_conv_parameters
from snn_helpers.lessons.checks_03 import check_early_gap as check_early_gap
from snn_helpers.lessons.checks_03 import check_order_gap as check_order_gap
from snn_helpers.lessons.checks_04 import check_match_hidden as check_match_hidden
from snn_helpers.lessons.checks_04 import check_silence as check_silence
from snn_helpers.lessons.checks_04 import check_values_after as check_values_after
from snn_helpers.lessons.checks_05 import check_interval as check_interval
from snn_helpers.lessons.checks_05 import check_paired_p as check_paired_p
from snn_helpers.lessons.checks_06 import check_count_operations as check_count_operations
from snn_helpers.lessons.checks_06 import check_dead_and_saturated as check_dead_and_saturated
from snn_helpers.lessons.checks_06 import check_shuffle_time as check_shuffle_time
from snn_helpers.lessons.checks_07 import check_front as check_front
from snn_helpers.lessons.checks_07 import check_missing as check_missing
from snn_helpers.lessons.checks_07 import check_run_id as check_run_id
from snn_helpers.lessons.figures import show as show
from snn_helpers.lessons.networks import trained_network as trained_network
from snn_helpers.lessons.predictions import reveal as reveal
from snn_helpers.lessons.results import machine as machine
from snn_helpers.lessons.results import read_results as read_results
from snn_helpers.lessons.results import write_results as write_results
from snn_helpers.lessons.sweep_budget import SweepBudget as SweepBudget
from snn_helpers.lessons.sweep_budget import sweep_budget as sweep_budget
