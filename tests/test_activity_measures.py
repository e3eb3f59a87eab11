"""Toy tensors with known answers for every measure, and costs held against NeuroBench's."""

import numpy as np
import pytest
import snntorch
import torch
from torch import nn

from snn_helpers import SpikingCNN, SpikingResNet, record
from snn_helpers.activity import (
    activation_sparsity,
    anytime,
    confusion_matrix,
    correlation,
    decisions,
    estimate_energy,
    firing_rates,
    inter_spike_intervals,
    network_rows,
    output_race,
    synaptic_operations,
)
from snn_helpers.models.network import SpikeOutput
from snn_helpers.models.readout import decide, decide_so_far
from snn_helpers.stats import wilson_interval

TRAINS = np.array([[0, 1, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [0, 1, 0, 0]])[:, None]  # [T = 4, B = 1, 4 neurons]


def test_rates_of_a_toy_layer():
    rates = firing_rates({"toy": TRAINS})["toy"]
    assert rates.per_neuron.tolist() == [0, 1, 0.25, 0.5]
    assert rates.spike_fraction == 7 / 16
    assert (rates.dead, rates.saturated) == (0.25, 0.25)
    assert rates.rate_hz(step_ms=10) == pytest.approx(43.75)


def test_neuron_that_fires_in_any_recording_is_alive():
    spk = np.zeros((3, 2, 2), np.uint8)
    spk[1, 1, 0] = 1
    assert firing_rates({"toy": spk})["toy"].dead == 0.5


def test_sums_of_spikes_count_as_firing_once():
    rates = firing_rates({"skip": 2 * np.ones((3, 1, 1))})["skip"]
    assert (rates.spike_fraction, rates.saturated) == (1, 1)


def test_intervals_stay_within_a_neuron_and_a_recording():
    spk = np.zeros((6, 2, 2), np.uint8)
    spk[[0, 2, 5], 0, 0] = 1  # intervals 2, 3
    spk[[1, 2], 1, 1] = 1  # interval 1
    spk[4, 1, 0] = 1  # none: fires once
    found = inter_spike_intervals(spk)
    assert sorted(found.steps) == [1, 2, 3]
    assert found.mean == 2
    assert found.variation == pytest.approx(np.std([1, 2, 3]) / 2)
    assert np.isnan(inter_spike_intervals(np.zeros((3, 1, 1))).mean)


def test_correlation_of_equal_opposite_and_constant_neurons():
    fires = np.array([1, 0, 1, 0, 0, 1])
    spk = np.stack([fires, fires, 1 - fires, np.zeros(6)], axis=1)[:, None]
    assert np.allclose(correlation(spk), [[1, 1, -1], [1, 1, -1], [-1, -1, 1]])
    assert correlation(np.zeros((3, 1, 2))).shape == (0, 0)
    rng = np.random.default_rng(0)
    assert correlation(rng.integers(0, 2, (20, 3, 9)), max_neurons=4).shape == (4, 4)


def test_decision_follows_the_spikes_and_settles_once():
    spk = np.zeros((4, 2, 3))
    spk[1, 0, 2] = spk[2, 0, 1] = spk[3, 0, 1] = 1  # 2 leads, a tie, then 1
    mem = np.zeros((4, 2, 3))
    mem[:, 0, 2] = 1  # breaks the tie at step 2
    mem[:, 1, 1] = 5  # nobody fires: the membrane decides from the start
    found = decisions(spk, mem)
    assert found.so_far[:, 0].tolist() == [2, 2, 2, 1]
    assert found.settled.tolist() == [3, 0]
    assert found.first_spike.tolist() == [1, 4]
    assert found.final.tolist() == [1, 1]


def test_last_decision_so_far_is_the_decision():
    rng = np.random.default_rng(3)
    out = SpikeOutput(torch.tensor(rng.integers(0, 2, (9, 50, 10))).float(), torch.tensor(rng.normal(size=(9, 50, 10))))
    assert torch.equal(decide_so_far(*out)[-1], decide(out))
    part = SpikeOutput(out.spk_rec[:4], out.mem_rec[:4])
    assert torch.equal(decide_so_far(*out)[3], decide(part))


def test_anytime_accuracy_is_a_share_with_its_interval_at_the_end_of_each_step():
    spk = np.zeros((2, 4, 2))
    spk[0, :, 0] = 1
    spk[1, :2, 1] = 2
    curve = anytime(decisions(spk, np.zeros_like(spk)), np.array([1, 1, 1, 0]), step_ms=12)
    assert curve.accuracy.tolist() == [0.25, 0.75]
    assert curve.elapsed_ms.tolist() == [12, 24]
    assert (curve.low[1], curve.high[1]) == pytest.approx(wilson_interval(3, 4))


def test_race_counts_spikes_so_far():
    assert output_race(TRAINS, 0)[-1].tolist() == [0, 4, 1, 2]
    assert output_race(TRAINS.astype(np.uint8), 0)[1].tolist() == [0, 2, 1, 1]


def test_bad_input_of_measures_is_refused():
    with pytest.raises(ValueError, match="nothing was recorded"):
        firing_rates({})
    with pytest.raises(ValueError, match=r"`toy` must be spikes \[T, B, ...\].*\[4, 1\]"):
        firing_rates({"toy": np.zeros((4, 1))})
    with pytest.raises(ValueError, match="one a recording, 1"):
        anytime(decisions(TRAINS, TRAINS), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"`decided` must be in 0\.\.1, the classes of the network; got 0\.\.2"):
        confusion_matrix([0, 1], [0, 2], num_classes=2)


# What an answer costs.


def test_operations_of_a_hand_counted_network():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(18, 4))
    model[0].weight.data.fill_(1.0)
    model[0].bias.data.zero_()
    image = torch.zeros(1, 1, 1, 3, 3)
    image[0, 0, 0, 0, 0] = 1  # the corner reaches 4 places in each of 2 channels
    image[0, 0, 0, 1, 1] = 1  # the middle reaches 9
    costs = synaptic_operations(Steps(model), image)
    assert costs["model.0"].operations == 2 * (4 + 9)
    assert costs["model.0"].dense == 2 * 49  # 9 + 4 * 6 + 4 * 4 places that lie in the image
    assert costs["model.2"].operations == 4 * 18  # every place of both channels got something
    assert (costs["model.0"].spiking, costs["model.2"].spiking) == (True, False)


class Steps(nn.Module):
    """Runs a model on one step after the other."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return torch.stack([self.model(x_now) for x_now in x])


def test_weights_of_zero_and_inputs_of_zero_cost_nothing():
    model = Steps(nn.Linear(3, 2, bias=False))
    model.model.weight.data = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
    assert synaptic_operations(model, torch.tensor([[[1.0, 1.0, 1.0]]]))["model"].operations == 3
    assert synaptic_operations(model, torch.zeros(2, 1, 3))["model"].operations == 0


@pytest.mark.parametrize("network", [SpikingCNN, SpikingResNet])
def test_every_engine_counts_the_same(network):
    torch.manual_seed(0)
    fast = network().eval()
    slow = network(engine="snntorch").eval()
    slow.load_state_dict(fast.state_dict())
    frames = torch.randint(0, 3, (3, 2, 2, 34, 34), generator=torch.Generator().manual_seed(0)).byte()
    assert synaptic_operations(fast, frames) == synaptic_operations(slow, frames)
    empty = synaptic_operations(network(norm="none"), torch.zeros_like(frames))
    assert all(cost.operations == 0 < cost.dense for cost in empty.values())


class AsSnnTorch(nn.Module):
    """A SpikingCNN without normalisation as NeuroBench takes it: one step a call, snnTorch's neurons inside."""

    def __init__(self, model):
        super().__init__()
        self.weights = nn.ModuleList(layer.weights for layer in model.spiking_layers().values())
        self.neurons = nn.ModuleList(
            snntorch.Leaky(
                layer.neurons.beta,
                threshold=layer.neurons.threshold,
                init_hidden=True,
                spike_grad=snntorch.surrogate.fast_sigmoid(),
            )
            for layer in model.spiking_layers().values()
        )

    def reset(self):
        for neuron in self.neurons:
            neuron.reset_mem()

    def forward(self, x):
        for number, (weights, neurons) in enumerate(zip(self.weights, self.neurons)):
            x = weights(x if number < 3 else x.flatten(1))
            x = neurons(nn.functional.max_pool2d(x, 2) if number < 3 else x)
        return x, self.neurons[-1].mem


def test_costs_and_sparsity_equal_neurobench():
    metrics = pytest.importorskip("neurobench.metrics.workload")
    models = pytest.importorskip("neurobench.models")
    torch.manual_seed(0)
    model = SpikingCNN(norm="none", threshold=0.5).eval()
    frames = torch.randint(0, 2, (3, 4, 2, 34, 34), generator=torch.Generator().manual_seed(0)).byte()
    frames *= torch.rand(frames.shape, generator=torch.Generator().manual_seed(1)) < 0.05  # events 0 or 1: additions
    theirs = models.SNNTorchModel(AsSnnTorch(model))
    theirs.register_hooks()
    data = (frames.transpose(0, 1).float(), torch.zeros(4))
    with torch.no_grad():
        answers = theirs(data[0])
    counted = metrics.SynapticOperations()(theirs, answers, data)
    sparsity = metrics.ActivationSparsity()(theirs, answers, data)
    theirs.cleanup_hooks()

    recording = record(model, frames)
    assert torch.equal(answers.transpose(0, 1), torch.from_numpy(recording.spk["output"]).float())
    costs = synaptic_operations(model, frames)
    assert all(cost.spiking for cost in costs.values())
    assert counted["Effective_MACs"] == 0
    assert sum(cost.operations for cost in costs.values()) == pytest.approx(counted["Effective_ACs"], rel=1e-6)
    assert sum(cost.dense for cost in costs.values()) == pytest.approx(counted["Dense"], rel=1e-6)
    assert activation_sparsity(recording.spk) == pytest.approx(sparsity, abs=1e-12)
    assert 0.5 < sparsity < 1


def test_events_of_more_than_one_make_multiplications_as_in_neurobench_but_over_the_whole_run():
    """Where the definitions differ: NeuroBench asks of each call whether it is spiking, we of all steps together."""
    metrics = pytest.importorskip("neurobench.metrics.utils.layers")
    layer = nn.Linear(4, 3, bias=False)
    steps = torch.tensor([[[1.0, 0, 1, 0]], [[2.0, 0, 1, 0]]])  # 6 operations each; the second step holds a count of 2
    by_call = [metrics.single_layer_MACs(step, layer) for step in steps]
    assert by_call == [(6, True), (6, False)]  # theirs: 6 additions, 6 multiplications
    cost = synaptic_operations(Steps(layer), steps)["model"]
    assert (cost.operations, cost.spiking) == (12, False)  # ours: 12, as multiplications


def test_energy_is_a_range_with_its_source():
    model = Steps(nn.Linear(10, 100, bias=False))
    energy = estimate_energy(synaptic_operations(model, torch.ones(1, 1, 10)))
    assert energy.low_nj == pytest.approx(0.9)
    assert energy.high_nj == pytest.approx(23.6)
    assert energy.dense_nj == pytest.approx(4.6)
    assert "Horowitz" in energy.caveat
    assert "Loihi" in energy.caveat


def test_network_without_connections_is_refused():
    with pytest.raises(ValueError, match="nothing to count"):
        synaptic_operations(nn.Identity(), torch.zeros(1, 1, 2))


@pytest.mark.parametrize("skip", ["sew", "add_then_fire", "membrane"])
def test_rows_describe_the_module_itself(skip):
    model = SpikingResNet(skip=skip).eval()
    rows = network_rows(model, torch.ones(2, 1, 2, 34, 34, dtype=torch.uint8))
    assert [row["name"] for row in rows] == ["events", *model.spiking_layers()]
    assert sum(row["parameters"] for row in rows) == sum(p.numel() for p in model.parameters())
    assert rows[1]["shape"] == (32, 17, 17)
    assert rows[0]["spike_fraction"] is None
    joined = {row["name"]: row["joined_by"] for row in rows if row["joined_by"]}
    assert joined == {"block1.outer": "stem", "block2.outer": "down"}
