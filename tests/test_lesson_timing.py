"""Times of a notebook's code: who takes turns, and which layer a time belongs to."""

import time

import numpy as np
import pytest
import snntorch as snn
import torch
from snntorch import utils
from torch import nn

from snn_helpers import accelerate, lessons
from snn_helpers.plots import call_curves, firing_bars, short_training


def step_by_step(net, frames):
    utils.reset(net)
    return [net(frame) for frame in frames]


def network():
    torch.manual_seed(0)
    stages = [nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True), nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True)]
    return nn.Sequential(*stages)


def test_works_take_turns_after_one_warm_up_each():
    calls = []
    times = lessons.times_in_turns({name: lambda name=name: calls.append(name) for name in "ab"}, repeats=2)
    assert calls == list("ababab")
    assert {name: values.shape for name, values in times.items()} == {"a": (2,), "b": (2,)}


def test_times_are_in_ms():
    times = lessons.times_in_turns({"nap": lambda: time.sleep(0.02)}, repeats=1)
    assert times["nap"][0] >= 20


@pytest.mark.parametrize("at_once", [False, True])
def test_layer_times_name_every_layer_of_neurons_and_remove_their_hooks(at_once):
    net, frames = network(), torch.rand(5, 2, 4)
    fast = accelerate(net)
    times = lessons.layer_times(
        fast if at_once else net, lambda: fast(frames) if at_once else step_by_step(net, frames), repeats=1
    )
    assert list(times) == ["1", "3"]
    assert all(value > 0 for value in times.values())
    assert not any(module._forward_hooks for module in net.modules())


def test_layer_times_give_a_slow_layer_its_time():
    class Slow(nn.Linear):
        def forward(self, values):
            time.sleep(0.01)
            return super().forward(values)

    net = network()
    net[2] = Slow(3, 2)
    times = lessons.layer_times(net, lambda: step_by_step(net, torch.rand(3, 2, 4)), repeats=1)
    assert times["3"] >= 30


def test_firing_bars_draw_one_bar_a_layer_and_network():
    ax = firing_bars({"before": {"a": 1.0, "b": 0.0}, "after": {"a": 5.0, "b": 5.0}})
    assert [bar.get_width() for bar in ax.patches] == [1.0, 0.0, 5.0, 5.0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_short_training_draws_seeds_means_and_accuracies():
    losses = {"one": np.array([[2.0, 1.0], [4.0, 3.0]]), "other": np.array([[2.0, 2.0], [2.0, 2.0]])}
    figure = short_training(losses, {"one": [0.4, 0.6], "other": [0.1, 0.1]}, total=100, chance=0.1)
    left, right = figure.axes
    assert left.lines[2].get_ydata().tolist() == [3.0, 2.0]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([50, 10])


def test_call_curves_stand_at_the_ends_of_steps():
    ax = call_curves({"call 1": np.array([0.5, 1.0])}, step_ms=12.0)
    assert ax.lines[0].get_xdata().tolist() == [12.0, 24.0]
