"""Plots are tested by the data in their artists."""

import matplotlib as mpl
import numpy as np
import pytest

from snn_helpers import plots
from snn_helpers.events.recording import make_events

mpl.use("Agg")


@pytest.fixture
def events():
    return make_events([1, 2, 3], [4, 5, 6], [1_000, 2_000, 12_000], [0, 1, 1])


def test_polarity_image_is_white_where_nothing_happened_and_coloured_by_polarity():
    counts = np.zeros((2, 3, 3))
    counts[0, 0, 0] = counts[1, 2, 2] = 1
    image = plots.polarity_image(counts)
    assert np.allclose(image[1, 1], 1)
    assert np.allclose(image[0, 0], mpl.colors.to_rgb(plots.OFF))
    assert np.allclose(image[2, 2], mpl.colors.to_rgb(plots.ON))


def test_polarity_image_of_an_empty_frame_is_white():
    assert np.allclose(plots.polarity_image(np.zeros((2, 3, 3))), 1)


def test_event_cloud_draws_each_event_once_in_ms(events):
    ax = plots.event_cloud(events)
    drawn = np.concatenate([line.get_xydata() for line in ax.lines])
    assert sorted(map(tuple, drawn)) == [(1.0, 1.0), (2.0, 2.0), (12.0, 3.0)]


def test_event_rate_counts_events_per_ms(events):
    ax = plots.event_rate(events, end_ms=320)
    on, off = (patch.get_data().values for patch in ax.patches)
    assert on[0] == off[0] == pytest.approx(1 / 5)
    assert on.sum() * 5 == 2


def test_event_rate_ends_with_the_recording_and_has_bins_to_see(events):
    ax = plots.event_rate(events)
    assert ax.get_xlim() == (0, 12)
    counts, edges, _ = ax.patches[0].get_data()
    assert len(counts) == 20
    assert (counts * np.diff(edges)).sum() == pytest.approx(2)
    assert not ax.texts


def test_event_rate_of_nmnist_has_one_axis_and_shades_the_saccades(events):
    ax = plots.event_rate(events, saccades=True)
    assert ax.get_xlim() == (0, 320)
    assert [text.get_text() for text in ax.texts] == ["saccade 1", "saccade 2", "saccade 3"]


def test_legend_of_polarities_has_the_colours_of_a_frame():
    ax = plots.frame(np.ones((2, 3, 3)))
    plots.polarity_legend(ax)
    (legend,) = ax.figure.legends
    on, off, both = (patch.get_facecolor()[:3] for patch in legend.get_patches())
    assert np.allclose(on, mpl.colors.to_rgb(plots.ON))
    assert np.allclose(off, mpl.colors.to_rgb(plots.OFF))
    assert np.allclose(both, ax.images[0].get_array()[0, 0])


def test_pixel_trace_draws_the_brightness_and_a_mark_an_event():
    ax = plots.pixel_trace(np.arange(4), np.array([1.0, 2, 3, 1]), np.array([0, 1, 1, -1]))
    curve, on, off = ax.lines
    assert curve.get_ydata().tolist() == [1, 2, 3, 1]
    assert (on.get_xdata().tolist(), off.get_xdata().tolist()) == ([1, 2], [3])
    assert max(on.get_ydata()) < 1


def test_twin_frames_show_the_same_digits_above_each_other():
    labels = np.array([0, 0, 1, 2])
    maps = {name: np.zeros((4, 2, 3, 3)) for name in ("real", "simulated")}
    maps["real"][1:, 1] = 1  # all but the first image
    figure = plots.twin_frames(maps, labels, columns=2)
    assert [ax.get_title() for ax in figure.axes] == ["real 0", "real 2", "simulated 0", "simulated 2"]
    assert figure.axes[0].images[0].get_array().min() == 1
    assert figure.axes[1].images[0].get_array().min() < 1


def test_share_curve_shows_percent_with_a_band():
    ax = plots.share_curve([1, 10], np.array([[0.1, 0.2], [0.3, 0.4]]))
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([20, 30])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "10"]
    assert len(ax.collections) == 1


def test_frames_strip_shows_every_frame_under_its_start():
    frames = np.zeros((3, 2, 4, 4))
    frames[1, 1] = 1
    ax = plots.frames_strip(frames, step_ms=10)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "10", "20"]
    image = ax.images[0].get_array()
    assert image.shape == (4, 14, 3)
    assert np.allclose(image[:, 5:9], mpl.colors.to_rgb(plots.ON))


def test_single_event_of_a_large_sensor_is_seen():
    counts = np.zeros((2, 720, 1280))
    counts[1, 719, 1279] = 1
    drawn = plots.frame(counts).images[0]
    image = drawn.get_array()
    assert image.shape == (72, 128, 3)
    assert list(drawn.get_extent()) == [-0.5, 1279.5, 719.5, -0.5]
    assert np.allclose(image[-1, -1], mpl.colors.to_rgb(plots.ON))
    assert np.allclose(image[:-1], 1)
    strip = plots.frames_strip(np.stack([counts, counts])).images[0].get_array()
    assert strip.shape == (36, 129, 3)
    assert np.allclose(strip[-1, [63, 128]], mpl.colors.to_rgb(plots.ON))


def test_raster_has_a_dot_a_spike():
    spikes = np.array([[0, 1], [1, 1], [0, 0]])
    assert plots.raster(spikes).collections[0].get_offsets().tolist() == [[0, 1], [1, 0], [1, 1]]


def test_membrane_traces_draws_every_neuron_and_the_threshold():
    mem = np.arange(6.0).reshape(3, 2)
    ax = plots.membrane_traces(mem, 2.5, names=["a", "b"])
    assert [line.get_ydata().tolist() for line in ax.lines[:2]] == [[0, 2, 4], [1, 3, 5]]
    assert set(ax.lines[2].get_ydata()) == {2.5}
    assert plots.membrane_traces(mem, 2.5, step_ms=10).lines[0].get_xdata().tolist() == [10, 20, 30]


def test_membrane_traces_are_marked_at_moments():
    ax = plots.membrane_traces(np.zeros((4, 1)), None, marks=[1.5, 2.5])
    assert [set(line.get_xdata()) for line in ax.lines[:2]] == [{1.5}, {2.5}]


def test_recording_overview_shows_each_part_and_all_events(events):
    figure = plots.recording_overview(events, [("first", np.ones((2, 5, 5))), ("last", np.zeros((2, 5, 5)))])
    assert [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes[:2]] == ["first", "last"]
    assert sum(len(line.get_xdata()) for line in figure.axes[2].lines) == len(events)


def test_seed_dots_draw_each_seed_and_the_mean():
    ax = plots.seed_dots({"a": [80.0, 90.0], "b": [70.0]})
    assert [sorted(line.get_xdata()) for line in ax.lines] == [[80, 90], [85, 85], [70], [70, 70]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_knob_curves_join_the_means_and_show_each_seed():
    ax = plots.knob_curves({"low": {20: [1.0, 3.0], 60: [4.0]}, "high": {60: [6.0]}}, knob="size")
    assert ax.lines[0].get_ydata().tolist() == [2, 4]
    assert [len(line.get_ydata()) for line in ax.lines] == [2, 2, 1, 1, 1]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["20", "60"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["low", "high"]


def test_training_curves_and_bars_hold_the_values():
    history = [{"epoch": 0, "train_loss": 2.0, "valid_loss": 1.5}, {"epoch": 1, "train_loss": 1.0, "valid_loss": 0.5}]
    ax = plots.training_curves(history, "loss", scale=10)
    assert [list(line.get_ydata()) for line in ax.lines] == [[20, 10], [15, 5]]
    ax = plots.accuracy_bars([("a", 0.5, 0.4, 0.7), ("b", 0.9, 0.8, 0.95)])
    assert [bar.get_width() for bar in ax.patches] == [50, 90]
    ax = plots.layer_bars({"conv1": 3.0, "conv2": 4321.5})
    assert [bar.get_width() for bar in ax.patches] == [3, 4321.5]
    assert [text.get_text().strip() for text in ax.texts] == ["3", "4,322"]


def test_stacked_bars_lay_parts_end_to_end_and_write_their_sum():
    ax = plots.stacked_bars({"slow": {"a": 3.0, "b": 4.0}, "fast": {"a": 1.0, "b": 0.5}})
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 3), (0, 1), (3, 4), (1, 0.5)]
    assert [text.get_text().strip() for text in ax.texts] == ["7", "1.5"]
    slow = plots.stacked_bars({"slow": {"a": 1000.0, "b": 234.0}})
    assert slow.texts[0].get_text().strip() == "1,234"


def test_confusion_writes_every_count():
    ax = plots.confusion(np.array([[3, 1], [0, 2]]))
    assert sorted(text.get_text() for text in ax.texts) == ["1", "2", "3"]


def test_network_names_every_layer():
    layers = [
        {"name": "in", "shape": (2, 4, 4), "parameters": 0, "spike_fraction": None},
        {"name": "out", "shape": (10,), "parameters": 1234, "spike_fraction": 0.05},
    ]
    words = " ".join(text.get_text() for text in plots.network(layers).texts)
    assert all(part in words for part in ("in", "out", "2 × 4 × 4", "1,234 weights", "5.0 % active"))


def test_rate_curves_are_per_ms():
    ax = plots.rate_curves({"real": np.array([5.0, 10.0])}, bin_ms=5)
    assert ax.lines[0].get_xydata().tolist() == [[2.5, 1.0], [7.5, 2.0]]


def test_recording_sheet_carries_title_and_provenance(events):
    figure = plots.draw_recording_sheet(events, np.zeros((2, 2, 34, 34), np.uint8), "digit 3", "made by hand")
    assert figure.get_supxlabel() == "made by hand"
    assert figure.axes[0].get_title() == "digit 3: 3 events in 11 ms"


def test_recording_sheet_of_an_empty_recording_is_drawn(events):
    plots.draw_recording_sheet(events[:0], np.zeros((2, 2, 34, 34), np.uint8), "nothing", "").canvas.draw()


def test_raster_reads_as_snntorchs(events):
    from snntorch import spikeplot

    spikes = np.zeros((5, 4))
    spikes[1, 2] = spikes[4, 0] = 1
    _, (theirs, ours) = mpl.pyplot.subplots(1, 2)
    import torch

    spikeplot.raster(torch.tensor(spikes), theirs)
    plots.raster(spikes, ours)
    assert np.array_equal(theirs.collections[0].get_offsets(), ours.collections[0].get_offsets())
    assert ours.get_xlim() == (-0.5, 4.5)
    assert plots.raster(spikes, step_ms=10).collections[0].get_offsets()[:, 0].tolist() == [20, 50]


def test_feature_maps_lie_side_by_side():
    counts = np.arange(3 * 2 * 2).reshape(3, 2, 2)
    drawn = plots.feature_maps(counts, columns=2).images[0].get_array()
    assert drawn.shape == (5, 5)
    assert np.array_equal(drawn[:2, 3:], counts[1])
    assert np.array_equal(drawn[3:, :2], counts[2])
    assert drawn.mask[2].all()
    with pytest.raises(ValueError, match=r"\[C, H, W\]; got shape \[2, 2\]"):
        plots.feature_maps(counts[0])


def test_race_starts_at_zero_and_names_the_true_class_and_its_rivals():
    counts = np.cumsum([[0, 1, 0], [1, 1, 0], [0, 1, 0]], axis=0)
    ax = plots.race(counts, step_ms=10, true_class=0)
    lines = {tuple(line.get_ydata()): line.get_color() for line in ax.lines}
    assert lines[0, 0, 1, 1] == plots.HIGHLIGHT
    assert lines[0, 1, 2, 3] == plots.OFF
    assert lines[0, 0, 0, 0] == plots.GREY
    assert ax.lines[0].get_xdata().tolist() == [0, 10, 20, 30]
    assert sorted(text.get_text() for text in ax.texts) == [" 0 (true)", " 1"]


def test_embedding_draws_each_recording_once_and_rings_the_wrong_ones():
    points = np.arange(12.0).reshape(6, 2)
    ax = plots.embedding(points, [0, 1, 0, 1, 7, 7], wrong=np.array([0, 0, 1, 0, 0, 0], bool))
    *groups, rings = ax.collections
    drawn = np.concatenate([group.get_offsets() for group in groups])
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, points))
    assert [text.get_text() for text in ax.texts] == ["0", "1", "7"]
    assert rings.get_offsets().tolist() == [[4, 5]]
    with pytest.raises(ValueError, match=r"\[N, 2\] with a label each"):
        plots.embedding(points, [0, 1])


def test_paths_end_at_the_mean_of_the_class():
    points = np.random.default_rng(0).normal(size=(4, 6, 2))
    ax = plots.paths(points, np.array([0, 0, 0, 1, 1, 1]))
    assert ax.texts[0].get_position() == pytest.approx(points[-1, :3].mean(0))
    assert np.allclose(ax.lines[1].get_xydata(), points[:, :3].mean(1))


def test_anytime_curve_shows_percent_with_intervals():
    ax = plots.anytime_curve({"plain": ([10, 20], [0.5, 0.9], [0.4, 0.8], [0.6, 0.95])})
    assert ax.lines[0].get_xydata().tolist() == [[10, 50], [20, 90]]
    assert ax.collections[0].get_datalim(ax.transData).ymax == pytest.approx(95)


def test_attribution_map_and_cloud_colour_by_sign(events):
    ax = plots.attribution_map(np.array([[[1.0, 0], [0, 0]], [[1, 0], [0, -1]]]))
    assert ax.images[0].get_array().tolist() == [[2, 0], [0, -1]]
    cloud = plots.attribution_cloud(events, np.array([1.0, -5.0, 0.5])).collections[0]
    assert cloud.get_array().tolist() == [0.5, 1, -5]  # what said most is drawn last
    assert cloud.get_offsets()[-1].tolist() == [2, 2]


def test_deletion_and_insertion_are_shown_with_every_random_order():
    shares = np.array([0, 1])
    rows = {"deletion": np.array([[1, 0], [0.9, 0.1]]), "insertion": np.array([[0, 1], [0.2, 0.8]])}
    ax = plots.deletion_insertion(shares, {name: part[0] for name, part in rows.items()}, rows)
    assert len(ax.lines) == 6
    assert ax.lines[0].get_ydata().tolist() == [100, 0]
    assert len(ax.get_legend().get_texts()) == 4


def test_cost_bars_say_their_numbers():
    ax = plots.cost_bars({"conv": (100, 2000)})
    assert [bar.get_width() for bar in ax.patches] == [100, 2000]
    assert [text.get_text() for text in ax.texts] == [" 100", " 2,000"]


def test_dark_theme_draws_light_ink_on_dark_paper():
    def brightness(colour):
        return np.mean(mpl.colors.to_rgb(colour))

    spikes = np.eye(3)
    with mpl.rc_context(plots.theme_settings("dark")):
        dark = plots.raster(spikes)
        empty = plots.polarity_image(np.zeros((2, 2, 2)), dark.get_facecolor())
    light = plots.raster(spikes)
    assert brightness(dark.get_facecolor()) < 0.2 < 0.8 < brightness(dark.collections[0].get_facecolor()[0])
    assert brightness(light.collections[0].get_facecolor()[0]) < 0.2 < 0.8 < brightness(light.get_facecolor())
    assert brightness(empty[0, 0]) < 0.2
    with pytest.raises(ValueError, match="'light', 'dark'; got 'drak'"):
        plots.theme_settings("drak")


@pytest.mark.parametrize("theme", plots.THEMES)
def test_every_colour_stands_out_from_its_paper_and_from_the_others(theme):
    from itertools import combinations

    with mpl.rc_context(plots.theme_settings(theme)):
        paper = np.array(mpl.colors.to_rgb(mpl.rcParams["axes.facecolor"]))
    named = [np.array(mpl.colors.to_rgb(colour)) for colour in (plots.ON, plots.OFF, plots.HIGHLIGHT, plots.GREY)]
    assert all(contrast(colour, paper) > 3 for colour in named)
    # As seen without red or green cones (matrices of Vienot, Brettel and Mollon 1999, linear light).
    no_red = ((0.11, 0.89, 0), (0.11, 0.89, 0), (0.004, -0.004, 1))
    no_green = ((0.29, 0.71, 0), (0.29, 0.71, 0), (-0.02, 0.02, 1))
    for blind in (no_red, no_green):
        seen = [np.array(blind) @ colour**2.2 for colour in named[:3]]
        assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 0.1


def contrast(one, other):
    """Return the contrast ratio of two colours as the Web Content Accessibility Guidelines define it."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    bright, dim = sorted((float(c @ (0.2126, 0.7152, 0.0722)) + 0.05 for c in linear), reverse=True)
    return bright / dim


def test_numbers_of_groups_that_share_a_middle_stand_apart():
    points = np.array([[0, 0], [2, 2], [0, 2], [2, 0], [9, 9]], float)  # both pairs have their middle at (1, 1)
    ax = plots.embedding(points, [3, 3, 5, 5, 7])
    (three, five, seven) = (np.array(text.get_position()) for text in ax.texts)
    assert np.hypot(*(three - five)) > 0.06 * 9
    assert np.allclose(seven, 9, atol=1e-3)


def test_raster_of_one_neuron_numbers_it_once():
    ax = plots.raster(np.ones((3, 1)), plots.new_figure(height=1.3)[1])
    assert [tick for tick in ax.get_yticks() if -0.5 <= tick <= 0.5] == [0]
    ax = plots.raster(np.ones((3, 100)), plots.new_figure(height=1.3)[1])
    assert len([tick for tick in ax.get_yticks() if 0 <= tick <= 99]) <= 5


def test_race_names_neurons_that_end_together_above_each_other():
    ax = plots.race(np.array([[1, 0, 1, 2]]), true_class=2)
    places = {text.get_text().strip(): (text.xy[1], text.xyann[1]) for text in ax.texts}
    assert places["3"] == (2, 0)
    assert {places["0"], places["2 (true)"]} == {(1, 0), (1, 11)}


def test_race_names_the_answer_before_others_that_end_together():
    counts = np.array([[2, 2, 2, 2, 1]])
    words = sorted(text.get_text() for text in plots.race(counts, true_class=4, decided=3).texts)
    assert words == [" 0", " 3", " 4 (true)"]


def test_race_names_no_neuron_that_never_fired_but_the_true_one():
    counts = np.array([[0, 0, 0, 3]], np.uint8)
    assert sorted(text.get_text() for text in plots.race(counts, true_class=3).texts) == [" 3 (true)"]
    assert sorted(text.get_text() for text in plots.race(counts, true_class=1).texts) == [" 1 (true)", " 3"]


def test_network_draws_an_arrow_a_skip():
    layers = [{"name": name, "shape": (2,), "parameters": 0, "spike_fraction": None} for name in "abc"]
    layers[2]["joined_by"] = "a"
    ax = plots.network(layers)
    assert ax.lines[0].get_xdata().tolist() == [0, 0, 2]
    assert "skip" in ax.texts[-1].get_text()


def test_skip_diagram_has_a_row_a_skip_and_a_path_in_each_but_the_plain_one():
    from snn_helpers.models.settings import SKIPS

    axes = plots.skip_diagram().axes
    assert {ax.texts[0].get_text(): len(ax.lines) > 0 for ax in axes} == {skip: skip != "none" for skip in SKIPS}


def test_depth_curves_draw_medians_over_seeds_and_keep_zeros_on_a_logarithmic_axis():
    values = np.array([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]])
    linear = plots.depth_curves([1, 2], {"plain": values})
    assert linear.lines[0].get_ydata().tolist() == [2, 0]
    logarithmic = plots.depth_curves([1, 2], {"plain": values}, floor=1e-3)
    assert logarithmic.lines[0].get_ydata().tolist() == [2, 1e-3]
    hollow = logarithmic.lines[1]  # what lies below the axis
    assert hollow.get_xdata().tolist() == [2]
    assert hollow.get_linestyle() == "None"
    assert logarithmic.get_yscale() == "log"


def test_depth_panels_share_rows_that_end_above_every_value():
    tables = [scale * np.ones((2, 3, 4, 2)) for scale in (0.5, 0.9)]
    figure = plots.depth_panels([1, 2, 4], ["a", "b"], dict(zip("xy", tables)), dict(zip("zw", tables)))
    tops = [ax.get_ylim()[1] for ax in figure.axes]
    assert tops[0] == tops[1] > 90
    assert tops[2] == tops[3] > 0.9
    assert [ax.get_title() for ax in figure.axes] == ["x", "y", "z", "w"]


def test_seed_accuracies_draw_an_interval_where_there_are_several_seeds():
    ax = plots.seed_accuracies({"net": [0.5, 0.7, 0.9], "baseline": [0.4]}, chance=0.1)
    assert [text.get_text() for text in ax.texts] == ["70.0 %", "40.0 %"]
    ends = [line.get_xdata() for line in ax.lines]
    low, high = ends[0]
    assert 0 <= low < 50 < 90 < high <= 100
    assert sum(len(line) == 2 and line[0] != line[1] for line in ends) == 1  # no interval of one value


def test_splits_stand_beside_their_accuracies():
    figure = plots.draw_splits([("new people", 0.7, 0.6, 0.8)], ["a", "a", "b"], ["train", "train", "test"])
    accuracy, table = figure.axes
    assert accuracy.patches[0].get_width() == pytest.approx(70)
    assert [text.get_text() for text in table.texts] == ["2", "-", "-", "1"]


def test_groups_by_split_counts_recordings_in_the_order_of_splits():
    groups, splits = ["b", "a", "a", "a"], ["test", "train", "train", "test"]
    ax = plots.groups_by_split(np.array(groups), np.array(splits))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["train", "test"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in ax.texts] == ["2", "1", "-", "1"]


def test_class_gallery_draws_one_named_image_a_class():
    images = {name: np.ones((2, 4, 5)) for name in "abc"}
    figure = plots.class_gallery(images, columns=2)
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c"]
