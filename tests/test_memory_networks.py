"""The networks whose hidden layer has a memory of its own: recurrent, delayed, mixed."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from watching import watched

from snn_helpers import TrainConfig, diagnose, load_model, record, stream, train
from snn_helpers.activity import synaptic_operations
from snn_helpers.models.delayed import DelayedSNN
from snn_helpers.models.firing import balance_firing
from snn_helpers.models.mixed import MixedSNN
from snn_helpers.models.recurrent import RecurrentSNN
from snn_helpers.models.registry import MODELS
from snn_helpers.training.build import make_optimizer

NETWORKS = {"recurrent": RecurrentSNN, "delayed": DelayedSNN, "mixed": MixedSNN}
HIDDEN = RecurrentSNN.num_hidden
LAYERS = ["conv1", "conv2", "conv3", "hidden", "output"]
every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def build(make, **options):
    torch.manual_seed(0)
    return make(threshold=0.1, **options)


def counts(steps=12, batch=3, seed=0):
    """Return blobs that move, uint8 [T, B, 2, 34, 34]."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.zeros(steps, batch, 2, 34, 34)
    for step in range(steps):
        frames[step, :, :, 4 + 2 * step % 20 : 12 + 2 * step % 20, 6:20] = 0.6
    return torch.poisson(frames, generator).to(torch.uint8)


@every_network
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_every_engine_fires_the_same_spikes_and_gives_the_same_gradients(make, norm):
    results = []
    for engine in ("auto", "snntorch"):
        model = build(make, norm=norm, engine=engine).train()
        spikes = watched(copy.deepcopy(model), counts())[0]
        torch.manual_seed(1)  # the same dropout
        F.cross_entropy(model(counts()).mem_rec.sum(0), torch.arange(3)).backward()
        results.append((spikes, [weight.grad for weight in model.parameters()]))
    (ours, grads), (theirs, their_grads) = results
    assert list(ours) == LAYERS
    for name in LAYERS:
        assert torch.equal(ours[name][0], theirs[name][0]), name
        assert 0.005 < ours[name][0].float().mean() < 0.4, name
    for one, other in zip(grads, their_grads):
        assert (one - other).norm() <= 1e-4 * other.norm() + 1e-7


@every_network
def test_stream_record_and_copies_are_the_networks_own_spikes(make):
    model, frames = build(make, norm="none").eval(), counts()
    spk_rec, mem_rec = (part.detach() for part in model(frames))
    assert spk_rec.any()
    live = stream(model, batch=3)
    steps = [live.step(frame) for frame in frames]
    assert torch.equal(torch.stack([spk for spk, _ in steps]), spk_rec)
    live.reset([1])  # one stream begins anew, the others go on
    for place, frame in enumerate(frames[:4]):
        assert torch.equal(live.step(frame)[0][1], spk_rec[place, 1])
    assert np.array_equal(record(model, frames).spk["output"], spk_rec.numpy())
    for fresh in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(fresh(frames).mem_rec, mem_rec)
    other = build(make, norm="none", engine="reference").eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(frames).spk_rec, spk_rec)


@every_network
def test_layers_are_balanced_diagnosed_and_counted(make):
    model = build(make)
    reached = balance_firing(model, counts(), 0.05)
    assert list(reached) == LAYERS
    assert all(abs(share - 0.05) < 0.03 for share in reached.values()), reached
    assert diagnose(model, (counts(), torch.arange(3)))
    costs = synaptic_operations(model, counts())
    connections = [f"{layer}" for layer in LAYERS] + ["hidden.neurons.recurrent"] * (make is RecurrentSNN)
    assert sorted(costs) == sorted(connections)
    assert all(cost.operations > 0 for cost in costs.values())


@every_network
def test_network_trains_goes_on_and_loads(make, make_folder, data_home, tmp_path):
    (name,) = (name for name, cls in NETWORKS.items() if cls is make)
    assert MODELS[name].network.endswith(f":{make.__name__}")
    folder = make_folder(per_class={"Train": 6, "Test": 2}, count=300)
    given = {"delays": "0,1"} if name == "delayed" else {"tau_max": 5.0, "learn": "beta"} if name == "mixed" else {}
    config = TrainConfig(
        model=name, dataset="nmnist", data_dir=str(folder), time_steps=3, batch_size=16, epochs=1, profile="smoke",
        save_dir=str(tmp_path / "run"), **given,
    )  # fmt: skip
    result = train(config)
    assert list(result.metrics["spike_fractions"]) == LAYERS
    model, saved = load_model(result.paths["best"])
    assert isinstance(model, make)
    assert all(getattr(saved, key) == value for key, value in given.items())
    again = train(TrainConfig(resume=str(tmp_path / "run")))
    assert again.metrics["test_accuracy"] == result.metrics["test_accuracy"]


@every_network
def test_parameters_number_as_worked_out_by_hand(make):
    features, a_channel = 32 * 4 * 4, 16 + 32 + 32 + HIDDEN
    weights = 9 * (2 * 16 + 16 * 32 + 32 * 32) + HIDDEN * 10 + 10 + 2 * a_channel
    hidden = {RecurrentSNN: features + HIDDEN, DelayedSNN: 4 * features, MixedSNN: features}[make]
    assert sum(weight.numel() for weight in build(make).parameters()) == weights + HIDDEN * hidden


def test_hidden_neurons_hear_each_other_a_step_later():
    model = build(RecurrentSNN, norm="none").eval()
    deaf = copy.deepcopy(model)
    torch.nn.init.zeros_(deaf.hidden.neurons.recurrent.weight)
    ours, theirs = (watched(net, counts())[0]["hidden"] for net in (model, deaf))
    first = int(theirs[0].flatten(1).any(1).float().argmax())  # the step of the first spike
    assert torch.equal(ours[1][: first + 1], theirs[1][: first + 1])
    spk = theirs[0][first].float()
    gap = ours[1][first + 1] - theirs[1][first + 1]
    torch.testing.assert_close(gap, spk @ model.hidden.neurons.recurrent.weight.detach().T, rtol=1e-4, atol=1e-5)
    assert gap.any()


def test_delayed_network_without_delays_sees_the_present_alone():
    model, delayed = (build(DelayedSNN, norm="none", delays=delays).eval() for delays in ((0,), "0,3"))
    with torch.no_grad():
        delayed.load_state_dict(
            {**delayed.state_dict(), **{k: v for k, v in model.state_dict().items() if "conv" in k}}
        )
        now, before = delayed.hidden.weights.weight.view(HIDDEN, 2, -1).unbind(1)
        now.copy_(model.hidden.weights.weight)
        before.zero_()
        delayed.output.load_state_dict(model.output.state_dict())
        assert torch.equal(delayed(counts()).spk_rec, model(counts()).spk_rec)
        before.copy_(now)
        now.zero_()  # the hidden layer sees what was three steps before
        late, early = (watched(net, counts())[0]["hidden"][0] for net in (delayed, model))
    assert not late[:3].any()
    assert torch.equal(late[3:], early[:-3])
    assert early[:-3].any()


def test_hidden_neurons_forget_at_rates_of_their_own():
    model = build(MixedSNN, tau_min=2.0, tau_max=32.0)
    beta = model.hidden.neurons.beta
    assert beta.shape == (HIDDEN,)
    assert beta[0].item() == pytest.approx(math.exp(-1 / 2), rel=1e-6)
    assert beta[-1].item() == pytest.approx(math.exp(-1 / 32), rel=1e-6)
    steps = (-1 / beta.log()).log().diff()
    torch.testing.assert_close(steps, torch.full_like(steps, math.log(16) / (HIDDEN - 1)), rtol=1e-2, atol=0)
    assert "hidden.neurons.beta" not in model.state_dict()
    learning = build(MixedSNN, learn=("beta",))
    learning(counts()).mem_rec.square().mean().backward()
    assert learning.hidden.neurons.beta.grad.shape == (HIDDEN,)
    assert (learning.hidden.neurons.beta.grad != 0).float().mean() > 0.5


def test_connections_of_neurons_learn_at_a_tenth_of_the_pace_and_decay():
    config = TrainConfig(model="recurrent", learn="beta", lr=0.01, threshold=0.1)
    model = build(RecurrentSNN, learn=("beta",))
    groups = make_optimizer(model, config).param_groups
    (group,) = (g for g in groups if any(p is model.hidden.neurons.recurrent.weight for p in g["params"]))
    assert (group["lr"], group["weight_decay"]) == (pytest.approx(0.0001), 1e-4)
    (numbers,) = (g for g in groups if any(p is model.hidden.neurons.beta for p in g["params"]))
    assert numbers["weight_decay"] == 0
    assert sum(len(g["params"]) for g in groups) == len([*model.parameters()])


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("delayed", {"delays": "0,2,x"}, "`delays` must be whole numbers of steps joined by commas, .* got '0,2,x'"),
        ("delayed", {"delays": "0,-2"}, r"`delays` must be a whole number in \[0, 10000\]; got -2"),
        ("delayed", {"delays": "2,2"}, "`delays` must be numbers of steps, all different, .* got '2,2'"),
        ("mixed", {"tau_min": 9.0, "tau_max": 3.0}, "`tau_min` must be at most `tau_max`; got 9 and 3"),
        ("mixed", {"tau_min": 0.0}, "`tau_min` must be a number > 0"),
        ("recurrent", {"delays": "0,3"}, "`delays` is a setting of delayed; `model` is recurrent. Leave it out"),
    ],
)
def test_settings_that_make_no_network_are_refused(model, settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(model=model, **settings)
    if model in NETWORKS and "Leave it out" not in message:
        with pytest.raises(ValueError, match=message):
            NETWORKS[model](**settings)
