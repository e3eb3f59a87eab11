import numpy as np
import pytest
from matplotlib import pyplot as plt

from snn_helpers import plots


@pytest.fixture(autouse=True)
def _close_figures():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def texts_of(ax):
    return " ".join(text.get_text() for text in ax.texts)


def test_order_trials_names_the_inputs_where_they_fire():
    inputs, mem = np.zeros((5, 2, 2)), np.zeros((5, 2))
    inputs[1, 0, 0] = inputs[3, 0, 1] = inputs[2, 1, 1] = inputs[4, 1, 0] = 1
    figure = plots.order_trials(inputs, mem, ["A first", "B first"], step_ms=10)
    left, right = figure.axes
    assert [(text.get_position()[0], text.get_text().strip()) for text in left.texts] == [(10, "A"), (30, "B")]
    assert right.get_title() == "B first"


def test_loss_map_has_the_weight_of_a_to_the_right():
    losses = np.zeros((3, 3))
    losses[2, 0] = 5  # A high, B low
    ax = plots.loss_map(np.array([-1.0, 0.0, 1.0]), losses, points={"start": (1, -1)}, path=np.zeros((4, 2)))
    assert ax.images[0].get_array()[0, 2] == 5  # lower right
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["start"]


def test_loss_staircase_cuts_along_the_weight_of_b():
    losses = np.arange(9.0).reshape(3, 3)
    figure = plots.loss_staircase(np.array([-1.0, 0.0, 1.0]), losses, {"start": (0, 0)}, cut=0.9)
    lines = [line.get_ydata() for ax in figure.axes for line in ax.lines]
    assert any(np.array_equal(line, [6, 7, 8]) for line in lines)


def test_unrolled_neuron_shows_values():
    words = texts_of(plots.unrolled_neuron({"u1": 0.8, "L": 0.5}))
    assert "$u_1$ = 0.8" in words
    assert "$L$ = 0.5" in words
    assert "loss" in words


def test_surrogates_are_drawn_with_the_step_and_their_integrals():
    excess = np.linspace(-1, 1, 201)
    figure = plots.surrogates(excess, {"boxcar": (np.abs(excess) < 0.5).astype(float)})
    left, right = figure.axes
    step, curve = (line.get_ydata() for line in left.lines)
    assert set(np.asarray(step, float)) == {0.0, 1.0}
    np.testing.assert_allclose([curve[0], curve[100], curve[-1]], [0, 0.5, 1], atol=0.02)
    assert right.lines[0].get_ydata().max() == 1


def test_gradient_by_step_leaves_zeros_out_of_the_logarithmic_axis():
    figure = plots.gradient_by_step({"P": np.array([0.0, 0.0, 1.0])}, 2)
    linear, logarithmic = (ax.lines[0].get_ydata() for ax in figure.axes)
    assert list(linear) == [0, 0, 1]
    assert np.isnan(logarithmic[:2]).all()
    assert logarithmic[2] == 1


def test_gradient_by_distance_draws_zero_at_the_bottom_and_never_at_the_top():
    distances = np.array([0.1, 0.9])
    figure = plots.gradient_by_distance(
        distances, {"triangle": np.array([1.0, 0.0])}, {"triangle": np.array([4, np.nan])}
    )
    left, right = figure.axes
    assert list(left.lines[0].get_ydata()) == [1, 0.25]
    assert right.lines[0].get_ydata()[1] > 4
    assert "never" in texts_of(right)


def test_gradient_by_distance_is_drawn_where_nothing_ever_learns():
    nothing = {"triangle": np.zeros(2)}, {"triangle": np.full(2, np.nan)}
    left, right = plots.gradient_by_distance(np.array([0.1, 0.9]), *nothing).axes
    assert np.isfinite(left.lines[0].get_ydata()).all()
    assert np.isfinite(right.lines[0].get_ydata()).all()


def test_learners_and_scale_curves_draw_every_series():
    axis, losses = np.array([-1.0, 1.0]), np.zeros((2, 2))
    figure = plots.learners({"a": [1, 0], "b": [1, 1]}, 0.7, axis, losses, {"start": (0, 0)}, np.zeros((3, 2)))
    assert [line.get_label() for line in figure.axes[0].lines][:2] == ["a", "b"]
    figure = plots.scale_curves({"one": {"boxcar": np.array([[1.0, 0.9], [0.5, 0.6]])}}, [1, 10], [0.5])
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [95, 55])
    assert ax.get_title() == "one"
