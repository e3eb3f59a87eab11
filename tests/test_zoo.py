"""Networks as tutorials and papers describe them equal their own plain loops: spikes, membranes, gradients."""

import json
import sys
import warnings
from pathlib import Path

import pytest
import snntorch
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from zoo import DOCS, MARKED, markdown
from zoo_compare import compare
from zoo_networks import ZOO, plain_loop

from snn_helpers.over_time import accelerate

# The loop's own gradients are so far from those in float64: in a steep surrogate rounding of membranes is amplified.
GRADIENTS = 5e-5


@pytest.fixture(autouse=True)
def leave_no_snntorch_neuron():
    yield
    snntorch.SpikingNeuron.instances.clear()


def train(net, inputs, steps=2):
    """Let some steps of an optimiser make the weights anything but those that were drawn."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = plain_loop(net, inputs)
        outputs = outputs[-1] if isinstance(outputs, tuple) else outputs
        outputs.square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("trained", [False, True], ids=["drawn", "trained"])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", ZOO)
def test_network_of_the_zoo_equals_its_plain_loop(name, mode, trained):
    network = ZOO[name]
    net, inputs = network.make(network.small)
    if trained:
        train(net, inputs)
    net.train(mode == "train")
    differs = compare(net, inputs)
    assert differs.layers > 1
    assert differs.fired > 0.01
    assert differs.unexplained == 0
    if differs.near == 0:
        assert differs.spikes == 0
    if differs.spikes == 0:  # else rounding decided, as another processor's would
        assert differs.membranes <= 1e-4
        assert differs.gradients <= GRADIENTS


@pytest.mark.parametrize("name", ZOO)
def test_network_of_the_zoo_is_planned_without_a_warning(name):
    network = ZOO[name]
    net, inputs = network.make(network.small)
    fast = accelerate(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast(inputs)
    assert "by the network's own loop" not in fast.explain()


def test_table_of_the_page_is_that_of_the_figures_kept():
    tables = json.loads((DOCS / "zoo.json").read_text(encoding="utf-8"))
    assert MARKED.findall((DOCS / "speed.md").read_text(encoding="utf-8")) == [markdown(tables)]
    for table in tables.values():
        assert set(table["rows"]) == set(ZOO)
        assert all(row["unexplained"] == 0 for row in table["rows"].values())
