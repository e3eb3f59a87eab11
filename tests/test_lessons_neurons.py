"""The membrane that notebook 02 compares its neuron with, its small task about memory, and its figures."""

import numpy as np
import pytest
import snntorch
import torch
from matplotlib import pyplot as plt

from snn_helpers import ALIF, lessons, plots


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def held(current, end_ms, step_ms=0.1):
    times_ms = np.arange(0, end_ms, step_ms)
    return np.full(len(times_ms), current), times_ms


def test_weak_current_charges_the_model_as_its_circuit():
    current, times_ms = held(0.1, 200)
    membrane = lessons.cortical_membrane(current, times_ms, adapting=False)
    circuit = lessons.circuit_response(current, times_ms, until_ms=200)
    assert np.abs(membrane - circuit).max() < 0.2
    limit = lessons.CORTICAL_CELL.rest_mv + lessons.CORTICAL_CELL.resistance * 0.1
    assert circuit[-1] == pytest.approx(limit, abs=0.1)


def test_circuit_is_not_told_beyond_its_end():
    current, times_ms = held(0.1, 20)
    circuit = lessons.circuit_response(current, times_ms, until_ms=10)
    assert np.isfinite(circuit[times_ms < 10]).all()
    assert np.isnan(circuit[times_ms >= 10]).all()


def test_strong_current_makes_the_model_fire_and_the_slow_current_makes_it_tire():
    current, times_ms = held(1.0, 350)
    steady, tiring = (
        np.diff(lessons.spike_times_ms(lessons.cortical_membrane(current, times_ms, adapting), times_ms))
        for adapting in (False, True)
    )
    assert np.ptp(steady[1:]) < 0.3
    assert (np.diff(tiring) > 0).all()
    assert tiring[-1] > 2 * steady[-1]


def test_short_pulse_after_rest_is_not_stepped_over():
    times_ms = np.arange(0, 300, 0.1)
    current = np.where((times_ms > 200) & (times_ms < 203), 20.0, 0.0)
    fired = lessons.spike_times_ms(lessons.cortical_membrane(current, times_ms), times_ms)
    assert len(fired) >= 1
    assert 200 < fired[0] < 205


def test_rates_grow_with_the_current_and_are_zero_below_its_threshold():
    rates = lessons.cortical_rates(np.array([0.1, 1.0, 2.0]), duration_ms=200)
    assert rates[0] == 0
    assert 30 < rates[1] < rates[2] < 100


@pytest.mark.parametrize("neuron", [snntorch.Leaky(0.9, init_hidden=True, output=True),
                                    snntorch.Synaptic(0.8, 0.9, init_hidden=True, output=True),
                                    ALIF(0.9, init_hidden=True, output=True)])  # fmt: skip
def test_any_neuron_that_keeps_its_state_is_stepped(neuron):
    response = lessons.run_neuron(neuron, torch.full((30, 1), 0.5))
    assert {name: value.shape for name, value in response.items()} == dict.fromkeys(("spk", "mem", "theta"), (30,))
    assert response["spk"].sum() > 0
    assert response["mem"][0] == pytest.approx(0.5)


def test_pulses_are_counted_in_windows_that_end_with_the_step():
    pulses, counts = lessons.pulse_counts([1, 4, 7], seed=3, num_steps=5, trains=2)
    assert pulses.shape == (12, 2, 1)
    assert counts.shape == (5, 2, 3)
    for step in range(5):
        for question, window in enumerate((1, 4, 7)):
            last = 7 + step + 1
            assert torch.equal(counts[step, :, question], pulses[last - window : last, :, 0].sum(0))


def test_training_and_test_pulses_of_all_seeds_differ():
    parts = [pulses for seed in range(3) for pulses, _ in lessons.train_and_test_pulses([2, 9], seed)]
    assert len({tuple(pulses.flatten().tolist()) for pulses in parts}) == 6


def test_readout_finds_what_is_linear_and_is_no_better_than_the_mean_at_noise():
    generator = torch.Generator().manual_seed(0)
    mem, new_mem = torch.randn(2, 400, 5, 2, generator=generator)
    counts, new_counts = (part.sum(-1, keepdim=True) + 3 for part in (mem, new_mem))
    errors = lessons.readout_errors(mem, counts, new_mem, new_counts)
    assert errors.shape == (3, 1)
    assert errors[2, 0] < 1e-6
    assert errors[:2, 0] == pytest.approx([0.7, 0.7], abs=0.06)
    noise = torch.randn(400, 5, 1, generator=generator)
    assert lessons.readout_errors(mem, noise, new_mem, noise)[2, 0] == pytest.approx(1, abs=0.02)


def test_figures_of_neurons_draw_what_they_are_given():
    current, times_ms = held(0.2, 5)
    figure = plots.draw_membrane(times_ms, current, np.full(50, -70.0), np.full(50, -71.0))
    assert [len(ax.lines) for ax in figure.axes[1:]] == [1, 2]
    ax = plots.curves({"a": ([0, 1], [1, 2], "-", plots.ON), "b": ([1], [2], "x", plots.OFF)}, xlabel="time, ms")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert ax.get_xlabel() == "time, ms"
    response = {"mem": np.zeros(50), "spk": np.eye(50)[7], "theta": 1.0}
    figure = plots.draw_responses(times_ms, current, {"one": response, "two": response})
    assert [ax.get_ylabel() for ax in figure.axes] == ["input", "one", "two"]
    (bars,) = figure.axes[1].collections
    assert len(bars.get_segments()) == 1
    changes = np.zeros((6, 9))
    changes[2, 3], changes[4, 5] = 1, -1
    figure = plots.draw_codes(np.eye(9), {"delta": changes})
    assert [len(line.get_xdata()) for line in figure.axes[1].lines] == [1, 1]
    figure = plots.draw_time_constants(np.array([5.0, 50.0]), np.full((3, 2), 0.5), [6.0, 40.0], [0.4, 0.4])
    assert len(figure.axes[0].lines) == 6
