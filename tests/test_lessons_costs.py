"""What notebook 10 measures with: operations by step, the ordinary network, the planted fault, the ways out."""

import numpy as np
import pytest
import torch
from torch import nn

from snn_helpers import SpikingCNN, activity, lessons, load_dataset
from snn_helpers.lessons.costs import ENERGY_SOURCES

ASKED = {"profile": "smoke", "dataset": None, "data_dir": None, "seed": 1}


@pytest.fixture(scope="module")
def pretrained():
    return SpikingCNN.pretrained()


@pytest.fixture(scope="module")
def frames():
    return torch.from_numpy(load_dataset("simulated", split="valid").frames([0, 100, 200], 4))


@pytest.fixture
def ordinary():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 4, 2))


def test_budget_grows_with_the_profile_and_names_a_wrong_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_RESULTS_DIR", str(tmp_path))
    smoke, teach, full = (lessons.cost_budget(profile) for profile in ("smoke", "teach", "full"))
    assert smoke.recordings < teach.recordings < full.recordings
    with pytest.raises(ValueError, match="profile"):
        lessons.cost_budget("quick")


def test_pretrained_network_is_measured_on_the_steps_that_it_learned():
    model, config, words = lessons.network_to_measure(None, ASKED, {})
    assert config.time_steps == model.card.time_steps
    assert (words, model.training) == ("the pretrained SpikingCNN", False)


def test_operations_by_step_add_up_to_those_of_the_recording(pretrained, frames):
    by_step = lessons.operations_by_step(pretrained, frames)
    costs = activity.synaptic_operations(pretrained, frames)
    assert by_step.shape == (4,)
    assert by_step.sum() == pytest.approx(sum(cost.operations for cost in costs.values()))


def test_multiplications_leave_out_the_padding(ordinary):
    # Along a side, the four outputs reach 2, 3, 3 and 3 inputs.
    images = torch.ones(5, 2, 8, 8, dtype=torch.uint8)
    assert lessons.multiplications(ordinary, images) == 2 * 3 * 11**2 + 48 * 2


def test_stacked_frames_keep_every_event_and_are_drawn_anew_each_epoch():
    dataset = load_dataset("simulated", split="valid").subset(range(3))
    images = lessons.stacked_frames(dataset, 3)
    assert images.shape == (3, 6, 34, 34)
    assert images.sum((1, 2, 3)).tolist() == [len(dataset.events(index)) for index in range(3)]
    first, again, second = (lessons.stacked_frames(dataset, 3, epoch) for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_ordinary_network_learns_what_counts_can_tell(ordinary):
    labels = np.arange(64) % 2
    images = torch.zeros(64, 2, 8, 8, dtype=torch.uint8)
    images[labels == 1, 0] = 4
    images[labels == 0, 1] = 4
    lessons.train_ordinary(ordinary, [images] * 20, labels, seed=0)
    assert np.array_equal(lessons.ordinary_answers(ordinary, images), labels)
    assert not ordinary.training


def test_colleagues_network_fires_alike_and_is_spoilt_by_one_scale_alone(pretrained, frames):
    theirs, layer = lessons.colleagues_network(pretrained)
    with torch.inference_mode():
        assert torch.equal(theirs(frames).spk_rec, pretrained(frames).spk_rec)
    weight = theirs.get_submodule(layer).weights.weight.detach()
    left = [len(channel.unique()) for channel in lessons.colleagues_rounding(weight, 8)]
    assert left[0] > 50
    assert max(left[1:]) <= 5
    assert np.array_equal(pretrained.conv2.weights.weight.detach()[1:], theirs.conv2.weights.weight.detach()[1:])


def test_colleagues_network_without_normalisation_is_a_copy(frames):
    model = SpikingCNN(norm="none").eval()
    theirs, layer = lessons.colleagues_network(model)
    assert layer == "conv2"
    assert torch.equal(theirs.conv2.weights.weight, model.conv2.weights.weight)


def test_row_of_costs_holds_accuracy_size_and_operations(pretrained, frames):
    labels = lessons.spiking_answers(pretrained, frames)
    share, low, high, size, operations = lessons.cost_row(pretrained, 4, frames, labels, 2)
    weights = sum(weight.numel() for weight in pretrained.parameters() if weight.dim() > 1)
    assert (share, high, size) == (1, 1, weights / 2000)
    assert 0 < low < 1
    assert operations == pytest.approx(lessons.operations_by_step(pretrained, frames[:, :2]).sum())


class Scripted(nn.Module):
    """Returns output spikes that were written down: [T, B, classes]."""

    def __init__(self, spikes):
        super().__init__()
        self.spikes = torch.tensor(spikes, dtype=torch.float32)

    def forward(self, frames):
        from snn_helpers.models.network import SpikeOutput

        return SpikeOutput(self.spikes, self.spikes)


def test_early_exit_stops_at_the_first_lead_and_never_later_than_the_end():
    # The first recording leads by 2 after step 1, and would be wrong in the end; the second never leads by 2.
    network = Scripted([[[1, 0], [0, 1]], [[1, 0], [1, 0]], [[0, 1], [0, 1]], [[0, 1], [0, 0]], [[0, 1], [0, 0]]])
    right, stop, curve = lessons.stop_early(network, torch.zeros(5, 2), np.array([0, 1]), lead=2, step_ms=10)
    assert stop.tolist() == [1, 4]
    assert right.tolist() == [True, True]
    assert curve[0].tolist() == [10, 20, 30, 40, 50]
    assert curve[1][-1] == 0.5


def test_ways_out_are_compared_and_a_refusal_is_said(capsys):
    network = Scripted([[[1, 0]], [[0, 1]]])

    def refuses():
        raise ValueError("pool: no node.")

    ways = {"same": (lambda: network.spikes, network), "other": (lambda: 1 - network.spikes, network)}
    ways |= {"none": (refuses, network), "graph": (lambda: "a graph", network)}
    assert lessons.spikes_that_differ(ways, torch.zeros(2, 1)) == {"same": 0, "other": 4}
    assert "none: refused: pool: no node." in capsys.readouterr().out


def test_average_pools_replace_max_pools_in_a_copy(pretrained):
    pooled = lessons.with_average_pools(pretrained)
    kinds = [{type(module) for module in network.modules()} for network in (pooled, pretrained)]
    assert [nn.MaxPool2d in kind for kind in kinds] == [False, True]


def test_prices_follow_from_their_sources():
    float_add, int_add, small, large = (source.addition for source in ENERGY_SOURCES[:4])
    float_mac, int_mac, small_mac, large_mac = (source.multiplication for source in ENERGY_SOURCES[:4])
    assert (float_add, float_mac) == (activity.costs.PICOJOULES_PER_SPIKE[0], activity.costs.PICOJOULES_PER_MAC)
    assert (small - int_add, small_mac - int_mac) == pytest.approx((10 / 8, 10 / 8))  # 8 of 64 bits
    assert (large - float_add, large_mac - float_mac) == pytest.approx((100 / 2, 100 / 2))  # 32 of 64 bits
    odin, loihi, eyeriss = ENERGY_SOURCES[4:]
    assert all(None in chip.picojoules.values() for chip in (odin, loihi, eyeriss))
    assert (odin.addition, loihi.addition) == (12.7, activity.costs.PICOJOULES_PER_SPIKE[1])
    assert "simulated" in loihi.name  # its table is of simulations before the chip was made
    assert eyeriss.multiplication == pytest.approx(1e12 * 278e-3 / 35 / 666e6, rel=0.01)
