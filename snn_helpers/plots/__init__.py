"""Figures: arrays in, Axes out. Every function draws on the Axes given, or on a new one, and returns it."""

from __future__ import annotations

from snn_helpers.plots.maps import attribution_cloud as attribution_cloud
from snn_helpers.plots.maps import attribution_map as attribution_map
from snn_helpers.plots.maps import class_colour as class_colour
from snn_helpers.plots.maps import correlation_map as correlation_map
from snn_helpers.plots.maps import embedding as embedding
from snn_helpers.plots.maps import paths as paths
from snn_helpers.plots.networks import feature_maps as feature_maps
from snn_helpers.plots.networks import interval_histogram as interval_histogram
from snn_helpers.plots.networks import layer_bars as layer_bars
from snn_helpers.plots.networks import membrane_traces as membrane_traces
from snn_helpers.plots.networks import network as network
from snn_helpers.plots.networks import race as race
from snn_helpers.plots.networks import raster as raster
from snn_helpers.plots.networks import stacked_bars as stacked_bars
from snn_helpers.plots.recordings import SACCADES_MS as SACCADES_MS
from snn_helpers.plots.recordings import draw_recording_sheet as draw_recording_sheet
from snn_helpers.plots.recordings import event_cloud as event_cloud
from snn_helpers.plots.recordings import event_rate as event_rate
from snn_helpers.plots.recordings import frame as frame
from snn_helpers.plots.recordings import frames_strip as frames_strip
from snn_helpers.plots.recordings import polarity_image as polarity_image
from snn_helpers.plots.recordings import rate_curves as rate_curves
from snn_helpers.plots.recordings import shade_saccades as shade_saccades
from snn_helpers.plots.results import accuracy_bars as accuracy_bars
from snn_helpers.plots.results import anytime_curve as anytime_curve
from snn_helpers.plots.results import confusion as confusion
from snn_helpers.plots.results import cost_bars as cost_bars
from snn_helpers.plots.results import deletion_insertion as deletion_insertion
from snn_helpers.plots.results import training_curves as training_curves
from snn_helpers.plots.style import GREY as GREY
from snn_helpers.plots.style import HIGHLIGHT as HIGHLIGHT
from snn_helpers.plots.style import OFF as OFF
from snn_helpers.plots.style import ON as ON
from snn_helpers.plots.style import THEMES as THEMES
from snn_helpers.plots.style import new_figure as new_figure
from snn_helpers.plots.style import stamp as stamp
from snn_helpers.plots.style import theme_settings as theme_settings
from snn_helpers.plots.style import use_style as use_style
