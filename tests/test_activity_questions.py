"""Controls conserve what they must, embeddings say how they came about, attributions and diagnoses are right."""

import numpy as np
import pytest
import snntorch
import torch
from torch import nn

from snn_helpers import SpikingCNN, SpikingResNet, diagnose
from snn_helpers.activity import (
    CONTROLS,
    Attribution,
    attribute_events,
    embed,
    embed_layers,
    embed_over_time,
    event_values,
    neighbour_agreement,
    score_controls,
    spike_counts,
    spoil,
)
from snn_helpers.activity.attribution import faithfulness
from snn_helpers.events.recording import make_events
from snn_helpers.models.network import SpikeOutput


@pytest.fixture
def frames():
    return np.random.default_rng(0).poisson(0.3, (6, 5, 2, 34, 34)).astype(np.uint8)


# Controls


@pytest.mark.parametrize("control", ["shuffled", "reversed", "collapsed"])
def test_control_of_time_conserves_the_counts_of_every_pixel(frames, control):
    before = frames.copy()
    spoilt = spoil(frames, control)
    assert np.array_equal(frames, before)
    assert spoilt.dtype == np.uint8
    assert np.array_equal(spoilt.sum(0), frames.sum(0))
    assert not np.array_equal(spoilt, frames)


def test_shuffled_recordings_keep_their_frames_each_in_an_order_of_its_own():
    frames = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None, None, None, None], (8, 20, 2, 3, 3))
    order = spoil(frames, "shuffled")[:, :, 0, 0, 0]
    assert (np.sort(order, axis=0) == np.arange(8)[:, None]).all()
    assert len({tuple(column) for column in order.T}) > 15


def test_collapsed_recordings_have_the_same_frame_at_every_step_but_for_rounding():
    frames = np.zeros((4, 2, 2, 3, 3), np.uint8)
    frames[0, :, 0] = 10
    frames[2, :, 1] = 8
    collapsed = spoil(frames, "collapsed")
    assert (collapsed[:, :, 1] == 2).all()
    assert set(np.unique(collapsed[:, :, 0])) == {2, 3}
    alone = np.zeros((4, 1, 2, 9, 9), np.uint8)
    alone[0] = 1
    assert set(np.unique(spoil(alone, "collapsed").argmax(0))) == {0, 1, 2, 3}  # one event falls anywhere


def test_polarity_is_swapped_and_events_are_dropped_at_their_share(frames):
    assert np.array_equal(spoil(frames, "polarity swapped")[:, :, 0], frames[:, :, 1])
    dropped = spoil(frames, "events dropped", drop=0.3)
    assert (dropped <= frames).all()
    assert dropped.sum() / frames.sum() == pytest.approx(0.7, abs=0.02)
    assert np.array_equal(spoil(frames, "events dropped", drop=0.0), frames)


class FirstFrame(nn.Module):
    """Answers by the pixel that is lit in the first frame: it needs the order of time, and nothing else."""

    def forward(self, frames):
        first = frames[:1, :, 1, 0, :3].float()
        spk = torch.cat([first, torch.zeros(len(frames) - 1, *first.shape[1:])])
        return SpikeOutput(spk, torch.zeros_like(spk))


def test_score_tells_a_network_that_needs_the_order_of_time():
    labels = np.arange(60) % 3
    frames = np.zeros((5, 60, 2, 4, 4), np.uint8)
    frames[0, np.arange(60), 1, 0, labels] = 200
    frames[1:, np.arange(60), 1, 0, (labels + 1) % 3] = 200
    scores = score_controls(FirstFrame(), frames, labels, drop=0.0, batch_size=7)
    assert list(scores) == list(CONTROLS)
    assert scores["as recorded"].accuracy == scores["events dropped"].accuracy == 1
    assert scores["reversed"].accuracy == 0
    assert scores["reversed"].lost == 60
    assert scores["shuffled"].accuracy == pytest.approx(0.2, abs=0.15)
    assert scores["shuffled"].low < scores["shuffled"].accuracy < scores["shuffled"].high
    assert scores["collapsed"].total == 60


def test_bad_input_of_controls_is_refused(frames):
    with pytest.raises(ValueError, match="one class only"):
        score_controls(FirstFrame(), frames, np.zeros(5, int))
    with pytest.raises(ValueError, match=r"\[T, 2, 2, H, W\] for 2 labels"):
        score_controls(FirstFrame(), frames, np.array([0, 1]))
    with pytest.raises(ValueError, match=r"'reversed'.*got 'backwards'"):
        spoil(frames, "backwards")


# Embeddings


@pytest.fixture
def groups():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    return rng.normal(size=(60, 40)) + 8 * labels[:, None] * (np.arange(40) % 3 == 0), labels


def test_tsne_keeps_groups_together_and_is_the_same_for_the_same_seed(groups):
    features, labels = groups
    first, again = (embed(features, perplexity=10, seed=3) for _ in range(2))
    assert np.array_equal(first.points, again.points)
    assert neighbour_agreement(first.points, labels, 5) == 1
    assert (first.method, first.seed, first.perplexity, first.message) == ("tsne", 3, 10, "")
    assert first.trustworthiness > 0.7


@pytest.mark.parametrize("count", [5, 10, 11])
def test_neighbour_agreement_of_a_few_recordings_counts_all_others(count):
    features, labels = np.arange(float(count))[:, None], np.arange(count) % 2
    even, odd = (count + 1) // 2, count // 2
    neighbours = min(10, count - 1)
    assert neighbour_agreement(features, labels) == pytest.approx(
        (even * (even - 1) + odd * (odd - 1)) / (count * neighbours)
    )


def test_perplexity_is_clamped_with_a_message():
    found = embed(np.random.default_rng(0).normal(size=(10, 4)), perplexity=30)
    assert found.perplexity == 3
    assert found.message == "perplexity 3 instead of 30: 10 recordings allow no more"
    assert found.points.shape == (10, 2)


def test_pca_is_a_projection_onto_the_directions_of_most_variance():
    features = np.outer(np.arange(-5, 6), [3.0, 4.0])
    points = embed(features, "pca").points
    assert np.allclose(np.abs(points[:, 0]), 5 * np.abs(np.arange(-5, 6)), atol=1e-4)
    assert np.allclose(points[:, 1], 0, atol=1e-4)


def test_layers_and_the_raw_input_are_embedded_alike(frames):
    spikes = {"hidden": np.random.default_rng(1).integers(0, 2, (6, 8, 12))}
    wide = np.concatenate([frames, frames[:, :3]], axis=1)
    found = embed_layers(spikes, wide, method="pca")
    assert list(found) == ["input", "hidden"]
    assert np.array_equal(found["hidden"].points, embed(spike_counts(spikes["hidden"]), "pca").points)
    assert spike_counts(wide).shape == (8, 2 * 34 * 34)


def test_embedding_over_time_gives_a_path_that_ends_at_the_counts_of_the_whole():
    spk = np.random.default_rng(2).integers(0, 2, (5, 9, 7))
    found = embed_over_time(spk)
    assert found.points.shape == (5, 9, 2)
    distances = np.linalg.norm(found.points[-1] - found.points[-1, 0], axis=1)
    counts = spike_counts(spk)
    assert (distances <= np.linalg.norm(counts - counts[0], axis=1) + 1e-4).all()  # a projection shortens


def test_layer_in_which_nothing_fires_is_one_point():
    assert not embed(np.zeros((8, 5))).points.any()


def test_bad_input_of_embeddings_is_refused(groups):
    with pytest.raises(ValueError, match="3 recordings are too few to embed; at least 5"):
        embed(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="one class only"):
        neighbour_agreement(groups[0], np.zeros(60, int))
    with pytest.raises(ValueError, match=r"finite numbers \[N, D\]; got shape \[60\]"):
        embed(groups[0][:, 0])


# Attribution


class Weighted(nn.Module):
    """Answers by linear weights a pixel, so that the true attribution is known."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[3.0, 0.0, -2.0], [0.0, 0.0, 0.0]]))

    def forward(self, frames):
        spk = frames.float().flatten(2)[..., :3] @ self.weight.T  # [T, B, 2 classes]
        return SpikeOutput(spk, torch.zeros_like(spk))


def test_attribution_finds_the_events_with_weights_and_their_sign():
    frames = torch.zeros(2, 3, 2, 1, 3, dtype=torch.uint8)
    frames[0, :, 0, 0] = torch.tensor([1, 1, 1])
    frames[1, :, 0, 0] = torch.tensor([2, 1, 0])
    found = attribute_events(Weighted(), frames, path_steps=20)
    assert found.targets.tolist() == [0, 0, 0]
    values = found.values[:, 0, 0, 0]
    assert values[1, 0] == pytest.approx(2 * values[0, 0])
    assert values[0, 0] > 0 == values[0, 1] > values[0, 2]
    score = torch.log_softmax(torch.tensor([7.0, 0.0]), 0)[0] - np.log(0.5)  # complete, without a surrogate in the way
    assert found.values[:, 0].sum() == pytest.approx(float(score), abs=0.02)


class Summing(nn.Module):
    """Answers no spike, and membranes [T, B, 2] that are linear in the events of the step."""

    def forward(self, frames):
        events = frames.float().flatten(2) @ torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        return SpikeOutput(torch.zeros_like(events), events)


def test_attribution_by_membranes_sums_to_the_lead_of_the_answer():
    frames = torch.tensor([[[2, 1, 5]], [[0, 4, 0]]], dtype=torch.uint8).view(2, 1, 1, 1, 3)
    found = attribute_events(Summing(), frames, torch.tensor([0]), path_steps=4, score="membrane")
    # Each membrane is a mean over two steps, and the lead is half of the difference of two neurons.
    assert np.allclose(found.values.ravel(), [3 * 2 / 4, -1 / 4, 0, 0, -4 / 4, 0])
    with pytest.raises(ValueError, match="`score` must be one of 'probability', 'membrane'"):
        attribute_events(Summing(), frames, score="logit")


def test_events_share_what_their_cell_said():
    events = make_events([0, 0, 1], [0, 0, 0], [0, 10, 100], [1, 1, 0])
    values = np.zeros((2, 2, 1, 2))
    values[0, 1, 0, 0], values[1, 0, 0, 1] = 4, -1
    assert event_values(events, values).tolist() == [2, 2, -1]


def test_good_ranking_beats_chance_under_deletion_and_insertion():
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 3, (4, 6, 2, 1, 3)).astype(np.uint8))
    frames[:, :, 0, 0, 0] += 1
    model = Weighted()
    found = attribute_events(model, frames, torch.zeros(6, dtype=torch.long))
    good = faithfulness(model, frames, found)
    areas = good.areas()
    assert areas["deletion"] < areas["random deletion"]
    assert areas["insertion"] > areas["random insertion"]
    wrong = faithfulness(model, frames, Attribution(-found.values, found.targets)).areas()
    assert wrong["deletion"] > areas["random deletion"] > areas["deletion"]
    assert good.deletion[0] == good.insertion[-1]
    assert good.deletion[-1] == good.insertion[0] == 0.5  # no events left
    assert good.random_deletion.shape == (3, 11)
    with pytest.raises(ValueError, match="`attribution` is of frames"):
        faithfulness(model, frames[:2], found)


def test_attribution_of_a_spiking_network_is_zero_where_nothing_happened(frames):
    torch.manual_seed(0)
    model = SpikingCNN(threshold=0.3).train()
    found = attribute_events(model, torch.from_numpy(frames[:3, :2]), path_steps=2)
    assert model.training
    assert found.values.shape == (3, 2, 2, 34, 34)
    assert np.abs(found.values).max() > 0
    assert not found.values[frames[:3, :2] == 0].any()


# Diagnosis


def batch_of(seed=0, count=8):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 3, (5, count, 2, 34, 34), generator=rng).byte(), torch.arange(count) % 10


@pytest.mark.parametrize("network", [SpikingCNN, SpikingResNet])
def test_untrained_network_of_ours_is_healthy(network):
    torch.manual_seed(0)
    found = diagnose(network(), batch_of())
    assert found.problems == ()
    assert found.healthy
    assert "nothing found" in str(found)


def test_planted_dead_layer_is_named_and_a_change_proposed():
    torch.manual_seed(0)
    model = SpikingCNN()
    model.conv2.neurons.threshold = 1e6
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = diagnose(model, batch_of())
    assert found.layers["conv2"].dead == 1
    assert found.problems[0].startswith("layer 'conv2' is dead: no neuron fires, the highest membrane is")
    assert "the threshold 1e+06" in found.problems[0]
    assert "balance_firing" in found.problems[0]
    assert not any("'conv1'" in problem for problem in found.problems if "dead" in problem)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_silent_output_is_told_by_its_loss():
    torch.manual_seed(0)
    model = SpikingCNN()
    model.output.neurons.threshold = 1e6
    found = diagnose(model, batch_of())
    assert found.loss == pytest.approx(np.log(10), abs=1e-4)
    assert any("stuck at ln 10 = 2.30" in problem for problem in found.problems)
    assert any("'output' is dead" in problem for problem in found.problems)


def test_planted_saturated_layer_is_named():
    torch.manual_seed(0)
    model = SpikingCNN()
    model.hidden.norm.bias.data.fill_(50)
    (problem,) = [problem for problem in diagnose(model, batch_of()).problems if "saturated" in problem]
    assert problem.startswith("layer 'hidden' is saturated: 100 %")


def test_vanishing_gradient_is_told_by_its_layers():
    torch.manual_seed(0)
    model = SpikingCNN()
    for neurons in (model.conv3.neurons, model.hidden.neurons):
        neurons.slope = 1e5  # so narrow a surrogate that hardly any membrane is within
    (problem,) = [problem for problem in diagnose(model, batch_of()).problems if "vanishes" in problem]
    assert "'conv1.weights'" in problem
    assert "'output'" not in problem


def test_network_of_snntorch_is_diagnosed():
    class Net(nn.Module):
        def __init__(self, threshold):
            super().__init__()
            self.lin, self.lif = nn.Linear(6, 4), snntorch.Leaky(0.9, threshold=threshold)

        def forward(self, x):
            mem, spikes = self.lif.init_leaky(), []
            for x_now in x:
                spk, mem = self.lif(self.lin(x_now), mem)
                spikes.append(spk)
            return torch.stack(spikes)

    torch.manual_seed(0)
    batch = torch.rand(5, 3, 6), torch.tensor([0, 1, 2])
    assert not any("dead" in problem for problem in diagnose(Net(0.05), batch).problems)
    (dead, *_) = diagnose(Net(100.0), batch).problems
    assert dead.startswith("layer 'lif' is dead")
    with pytest.raises(ValueError, match="no spiking layer"):
        diagnose(nn.Linear(6, 4), batch)
