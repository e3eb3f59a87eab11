"""The neuron lab computes what the package's reference and snnTorch compute, in Python and in the browser's module."""

import json
import math

import numpy as np
import pytest
import snntorch
import torch
from javascript import in_node

from snn_helpers.engine.reference import run
from snn_helpers.neurons import NEURONS
from snn_helpers.widgets import NeuronLab
from snn_helpers.widgets.neuron_lab import respond

NUMBERS = {"beta": math.exp(-12 / 70), "alpha": math.exp(-12 / 50), "rho": math.exp(-12 / 300)}
NUMBERS |= {"threshold": 0.9, "adaptation": 2.5}


def neuron_of(kind, numbers):
    return NEURONS[kind](**{name: value for name, value in numbers.items() if name in NEURONS[kind].ranges}).neuron()


def currents(seed, num_steps=200):
    return np.random.default_rng(seed).normal(0.15, 0.4, num_steps).astype(np.float32)


def simulate_in_node(neurons, cur):
    values = [float(value) for value in cur]
    return in_node(
        f"import {{ simulate }} from './neuron.js'; const cur = Float32Array.from({json.dumps(values)});"
        f"console.log(JSON.stringify({json.dumps(neurons)}.map(neuron => Object.fromEntries(Object.entries("
        "simulate(neuron, cur)).map(([name, list]) => [name, [...list]])))))"
    )


def snntorch_record(kind, reset, cur):
    options = {"threshold": NUMBERS["threshold"], "reset_mechanism": reset}
    if kind == "leaky":
        neuron, state = snntorch.Leaky(NUMBERS["beta"], **options), (torch.zeros(1),)
    else:
        neuron, state = snntorch.Synaptic(NUMBERS["alpha"], NUMBERS["beta"], **options), (torch.zeros(1),) * 2
    mem, spk = [], []
    for x in torch.from_numpy(cur):
        fired, *state = neuron(x[None], *state)
        spk.append(fired.item())
        mem.append(state[-1].item())
    return np.array(spk, np.float32), np.array(mem, np.float32)


@pytest.mark.parametrize("kind", ["leaky", "synaptic", "alif"])
def test_subtracting_lab_equals_the_reference_to_the_last_bit(kind):
    cur, neuron = currents(1), neuron_of(kind, NUMBERS)
    spk, mem = (record.flatten().numpy() for record in run(torch.from_numpy(cur)[:, None], neuron))
    assert 5 < spk.sum() < 150
    ours = respond(cur, neuron)
    (theirs,) = simulate_in_node([{"kind": kind, "reset": "subtract", **NUMBERS}], cur)
    for record in (ours, theirs):
        assert np.array_equal(np.asarray(record["spk"], np.float32), spk)
        assert np.array_equal(np.asarray(record["mem"], np.float32), mem)
    assert np.array_equal(np.asarray(theirs["theta"], np.float32), ours["theta"])


@pytest.mark.parametrize(("kind", "reset"), [("leaky", "zero"), ("leaky", "none"), ("synaptic", "none")])
def test_other_resets_equal_snntorch(kind, reset):
    cur = currents(2)
    spk, mem = snntorch_record(kind, reset, cur)
    assert spk.sum() > 5
    (theirs,) = simulate_in_node([{"kind": kind, "reset": reset, **NUMBERS}], cur)
    for record in (respond(cur, neuron_of(kind, NUMBERS), reset), theirs):
        assert np.array_equal(np.asarray(record["spk"], np.float32), spk)
        assert np.allclose(record["mem"], mem, rtol=0, atol=1e-6)


def test_synaptic_reset_to_zero_empties_the_membrane_and_keeps_the_current():
    cur, numbers = [2.0, 0.0, 0.0], {"alpha": 0.5, "beta": 0.5, "threshold": 1.0}
    ours = respond(np.array(cur, np.float32), neuron_of("synaptic", numbers), "zero")
    (theirs,) = simulate_in_node([{"kind": "synaptic", "reset": "zero", **numbers}], cur)
    assert ours["mem"].tolist() == theirs["mem"] == [2.0, 1.0, 1.0]  # worked by hand: i is 2, 1, 0.5
    assert ours["spk"].tolist() == theirs["spk"] == [1, 0, 0]


def test_membrane_at_the_threshold_does_not_fire():
    record = simulate_in_node([{"kind": "leaky", "reset": "subtract", "beta": 0.5, "threshold": 1}], [1.0, 0.75])[0]
    assert record["mem"] == [1.0, 1.25]
    assert record["spk"] == [0, 1]


def test_long_time_constant_integrates_and_short_one_needs_coincidence():
    apart = {"inputs_ms": [120.0, 240.0, 360.0], "weight": 0.6}
    assert NeuronLab(state={**apart, "tau_ms": 300}).response()["spk"].sum() == 1
    assert NeuronLab(state={**apart, "tau_ms": 50}).response()["spk"].sum() == 0
    together = {"inputs_ms": [240.0, 240.0, 240.0], "weight": 0.6}
    assert NeuronLab(state={**together, "tau_ms": 5}).response()["spk"].sum() == 1


def test_equations_show_the_present_numbers():
    lines = in_node(
        "import { equations } from './neuron.js'; console.log(JSON.stringify(['subtract', 'zero', 'none'].map(reset =>"
        "equations({ kind: 'leaky', reset, beta: 0.9, threshold: 0.5 })[0])))"
    )
    assert lines[0].startswith("u[t] = 0.900 u[t−1] + x[t] − 0.500 s[t−1]")
    assert "(1 − s[t−1])" in lines[1]
    assert lines[2].startswith("u[t] = 0.900 u[t−1] + x[t],")


def test_figure_draws_the_response_of_the_state_given_back():
    lab = NeuronLab(state={"tau_ms": 300})
    again = NeuronLab(state=lab.state)
    figure = again.figure()
    drawn = figure.axes[1].lines[0].get_ydata()
    assert np.array_equal(drawn, lab.response()["mem"])
    assert "τ = 300 ms" in figure.axes[0].get_title()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"tau_ms": 0}, r"`state\['tau_ms'\]` must be a number in \[5, 500\]; got 0"),
        ({"kind": "laeky"}, "Did you mean 'leaky'"),
        ({"tau": 5}, "Did you mean 'tau_ms'"),
        ({"inputs_ms": [5000.0]}, r"inputs_ms'\]\[0\]` must be a number in"),
        ({"inputs_ms": "soon"}, "must be a list of at most 40 numbers"),
    ],
)
def test_state_that_cannot_be_is_refused(state, message):
    with pytest.raises(ValueError, match=message):
        NeuronLab(state=state)
