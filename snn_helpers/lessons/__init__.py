"""What the notebooks share: figures, findings kept for the next notebook, predictions, and exercises.

The exercises of a notebook stand in a module of its number, `checks_<number>.py`, and register themselves: a notebook
hands what its reader wrote to `solved`.
"""

from __future__ import annotations

from snn_helpers.lessons.answers import WrongAnswer as WrongAnswer
from snn_helpers.lessons.answers import solved as solved
from snn_helpers.lessons.any_data import class_to_show as class_to_show
from snn_helpers.lessons.any_data import event_image as event_image
from snn_helpers.lessons.any_data import nominal_step_ms as nominal_step_ms
from snn_helpers.lessons.any_data import three_parts as three_parts
from snn_helpers.lessons.any_data import within_five_bytes as within_five_bytes
from snn_helpers.lessons.costs import ENERGY_SOURCES as ENERGY_SOURCES
from snn_helpers.lessons.costs import colleagues_network as colleagues_network
from snn_helpers.lessons.costs import colleagues_rounding as colleagues_rounding
from snn_helpers.lessons.costs import cost_budget as cost_budget
from snn_helpers.lessons.costs import cost_row as cost_row
from snn_helpers.lessons.costs import operations_by_step as operations_by_step
from snn_helpers.lessons.costs import spikes_that_differ as spikes_that_differ
from snn_helpers.lessons.costs import spiking_answers as spiking_answers
from snn_helpers.lessons.costs import stop_early as stop_early
from snn_helpers.lessons.costs import with_average_pools as with_average_pools
from snn_helpers.lessons.figures import show as show
from snn_helpers.lessons.gestures import record_gestures as record_gestures
from snn_helpers.lessons.gpu_times import stored_gpu_times as stored_gpu_times
from snn_helpers.lessons.looks import Look as Look
from snn_helpers.lessons.looks import look as look
from snn_helpers.lessons.membranes import CORTICAL_CELL as CORTICAL_CELL
from snn_helpers.lessons.membranes import circuit_response as circuit_response
from snn_helpers.lessons.membranes import cortical_membrane as cortical_membrane
from snn_helpers.lessons.membranes import cortical_rates as cortical_rates
from snn_helpers.lessons.membranes import run_neuron as run_neuron
from snn_helpers.lessons.membranes import spike_times_ms as spike_times_ms
from snn_helpers.lessons.memories import MEMORIES as MEMORIES
from snn_helpers.lessons.memories import MOTION_STEPS as MOTION_STEPS
from snn_helpers.lessons.memories import STEP_MS as STEP_MS
from snn_helpers.lessons.memories import MemoryNetwork as MemoryNetwork
from snn_helpers.lessons.memories import accuracy_over_time as accuracy_over_time
from snn_helpers.lessons.memories import accuracy_rows as accuracy_rows
from snn_helpers.lessons.memories import answers_so_far as answers_so_far
from snn_helpers.lessons.memories import fading_copy as fading_copy
from snn_helpers.lessons.memories import motion_frames as motion_frames
from snn_helpers.lessons.memories import one_digit_in_all_orders as one_digit_in_all_orders
from snn_helpers.lessons.memories import print_accuracies as print_accuracies
from snn_helpers.lessons.memories import scores_over_time as scores_over_time
from snn_helpers.lessons.memories import train_memory as train_memory
from snn_helpers.lessons.memory_study import stored_memories as stored_memories
from snn_helpers.lessons.networks import faulty_copy as faulty_copy
from snn_helpers.lessons.networks import network_to_look_inside as network_to_look_inside
from snn_helpers.lessons.networks import network_to_measure as network_to_measure
from snn_helpers.lessons.networks import trained_network as trained_network
from snn_helpers.lessons.ordinary import multiplications as multiplications
from snn_helpers.lessons.ordinary import ordinary_answers as ordinary_answers
from snn_helpers.lessons.ordinary import stacked_frames as stacked_frames
from snn_helpers.lessons.ordinary import train_ordinary as train_ordinary
from snn_helpers.lessons.own_recordings import grade as grade
from snn_helpers.lessons.own_recordings import labelled_rows as labelled_rows
from snn_helpers.lessons.own_recordings import slice_groups as slice_groups
from snn_helpers.lessons.own_recordings import split_rows as split_rows
from snn_helpers.lessons.own_recordings import write_rows as write_rows
from snn_helpers.lessons.predictions import reveal as reveal
from snn_helpers.lessons.pulses import pulse_counts as pulse_counts
from snn_helpers.lessons.pulses import readout_errors as readout_errors
from snn_helpers.lessons.pulses import train_and_test_pulses as train_and_test_pulses
from snn_helpers.lessons.results import check_results_home as check_results_home
from snn_helpers.lessons.results import machine as machine
from snn_helpers.lessons.results import new_folder as new_folder
from snn_helpers.lessons.results import read_results as read_results
from snn_helpers.lessons.results import write_results as write_results
from snn_helpers.lessons.small_network import train_small as train_small
from snn_helpers.lessons.small_network import write_small_job as write_small_job
from snn_helpers.lessons.timing import layer_times as layer_times
from snn_helpers.lessons.timing import times_in_turns as times_in_turns
