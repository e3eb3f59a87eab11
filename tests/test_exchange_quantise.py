"""Weights of few bits: the rounding is what it says, and whole numbers alone fire the same spikes."""

import copy

import pytest
import snntorch as snn
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from snn_helpers import (
    ALIF,
    Leaky,
    SpikingCNN,
    SpikingResNet,
    Synaptic,
    accelerate,
    balance_firing,
    quantisation_aware,
    quantise,
)
from snn_helpers.exchange.quantise import load_quantised
from snn_helpers.models.readout import decide

HIDDEN = {"init_hidden": True}


def counts(steps=8, batch=4, shape=(2, 34, 34)):
    return torch.poisson(torch.full((steps, batch, *shape), 0.3), torch.Generator().manual_seed(1)).to(torch.uint8)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4), st.sampled_from((4, 8)))
def test_weights_are_off_by_half_a_step_of_their_channel_at_most(numbers, bits):
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor(numbers).view(2, 2)
    made = quantise(net, bits)
    step = net.weight.detach().abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((made.network.weight - net.weight).abs() <= step * 0.5001).all()
    assert made.layers[""].weight.abs().max() <= 2 ** (bits - 1) - 1
    assert torch.equal(net.weight, torch.tensor(numbers).view(2, 2))


def test_report_counts_bytes_and_error():
    net = nn.Sequential(nn.Linear(100, 10), Leaky(**HIDDEN))
    assert quantise(net).bytes_before == 4 * 1010
    assert quantise(net).bytes_after == 1000 + 4 * 10 + 4 * 10
    assert quantise(net, 4).bytes_after == 500 + 4 * 10 + 4 * 10
    assert 0.01 < quantise(net, 4).largest_error <= 1 / 14
    assert "at 4 bits: 4,040 bytes became 580" in str(quantise(net, 4))


@pytest.mark.parametrize(("bits", "norm"), [(8, "batch"), (4, "none")])
def test_whole_numbers_alone_answer_as_the_dequantised_network(bits, norm):
    torch.manual_seed(0)
    net, frames = SpikingCNN(norm=norm, engine="snntorch", image_size=20), counts(shape=(2, 20, 20))
    balance_firing(net, frames, 0.1)
    for name in ("conv2", "hidden") if norm == "batch" else ():  # a scale may be negative, or zero
        layer = getattr(net, name)
        with torch.no_grad():
            layer.norm.weight[:3] = torch.tensor([-0.4, 0.0, 0.3])
            layer.norm.running_mean.normal_()
    made = quantise(net.eval(), bits)
    spk_rec, mem_rec = made.integer((2, 20, 20)).run(frames)
    with torch.no_grad():
        expected = made.network(frames)
    assert expected.spk_rec.any()
    assert (spk_rec != expected.spk_rec).float().mean() < 2e-3
    assert torch.equal(decide((spk_rec, mem_rec)), decide(expected))


def test_spikes_are_equal_to_the_last_one_where_nothing_is_rounded():
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), snn.Leaky(0.5, **HIDDEN), nn.Flatten(), nn.Linear(12, 4), nn.Dropout(),
        Leaky(torch.tensor([0.5, 0.25, 1.0, 0.0]), 2.0, output=True, **HIDDEN),
    )  # fmt: skip
    for weight in net.parameters():
        weight.data = torch.randint(-127, 128, weight.shape, generator=torch.Generator().manual_seed(0)) / 64
        weight.data.view(len(weight), -1)[:, 0] = 127 / 64  # so that a channel's step is 1 / 64
    frames = counts(shape=(2, 6, 6))
    integer = quantise(net).integer((2, 6, 6))
    spk_rec, mem_rec = integer.run(frames)
    with torch.no_grad():
        expected = accelerate(net.eval(), engine="reference")(frames)
    assert 0.1 < expected[0].mean() < 0.9
    assert torch.equal(spk_rec.float(), expected[0])
    torch.testing.assert_close(mem_rec.float(), expected[1], rtol=0, atol=1e-3)
    integer.step(frames[0])
    assert torch.equal(integer.run(frames)[0], spk_rec)  # from zero again


@pytest.mark.parametrize(
    "neurons",
    [
        ALIF(0.9, 0.5, rho=0.8, adaptation=0.7, output=True, **HIDDEN),
        Synaptic(0.6, torch.tensor([0.9, 0.5, 0.0, 1.0, 0.7]), 0.8, output=True, **HIDDEN),
        snn.Synaptic(0.6, 0.8, output=True, **HIDDEN),
    ],
    ids=["alif", "synaptic", "snntorch"],
)
def test_other_neurons_in_whole_numbers_fire_as_their_equation(neurons):
    torch.manual_seed(0)
    made, frames = quantise(nn.Sequential(nn.Linear(6, 5), neurons).eval()), counts(steps=40, shape=(6,))
    spk_rec, mem_rec = made.integer((6,)).run(frames)
    with torch.no_grad():
        expected = accelerate(made.network, engine="reference")(frames)
    assert 0.02 < expected[0].mean() < 0.98
    assert torch.equal(spk_rec.float(), expected[0])
    torch.testing.assert_close(mem_rec.float(), expected[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-6, -1e-6, 1.0])
@pytest.mark.parametrize("shift", [0.0, 0.3, -0.3, 1e-9])
def test_channels_that_are_next_to_nothing_do_not_outgrow_their_bits(scale, shift):
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(3)
    norm.weight.data[0], norm.bias.data[0] = scale, shift
    net = nn.Sequential(nn.Linear(4, 3), norm, Leaky(0.9, output=True, **HIDDEN)).eval()
    made, frames = quantise(net), counts(steps=30, shape=(4,))
    with torch.no_grad():
        spk_rec, mem_rec = accelerate(made.network, engine="reference")(frames.float())
    spk, mem = made.integer((4,)).run(frames)
    assert torch.equal(spk.float(), spk_rec)
    torch.testing.assert_close(mem.float(), mem_rec, rtol=1e-4, atol=1e-4)


def test_norm_that_turns_what_a_max_pool_took_is_refused():
    norm = nn.BatchNorm2d(2)
    net = nn.Sequential(nn.Conv2d(2, 2, 3), nn.MaxPool2d(2), norm, Leaky(**HIDDEN)).eval()
    quantise(net).integer((2, 6, 6))
    norm.weight.data[1] = -1.0
    with pytest.raises(ValueError, match="2: a negative scale after a max-pool"):
        quantise(net).integer((2, 6, 6))


@pytest.mark.parametrize("bits", [8, 4])
def test_file_brings_the_weights_back(tmp_path, bits):
    net = nn.Sequential(nn.Linear(7, 3), Leaky(0.8, learn=("beta",), **HIDDEN))
    made = quantise(net, bits)
    made.save(tmp_path / "net.pt")
    again = load_quantised(tmp_path / "net.pt", nn.Sequential(nn.Linear(7, 3), Leaky(0.1, learn=("beta",), **HIDDEN)))
    for name, value in made.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value)
    assert torch.equal(again.layers["0"].weight, made.layers["0"].weight)
    assert str(again) == str(made)
    with pytest.raises(ValueError, match="holds no such weights of Linear"):
        load_quantised(tmp_path / "net.pt", nn.Linear(7, 3))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            nn.Sequential(nn.Linear(4, 3), snn.RLeaky(0.9, linear_features=3, **HIDDEN)),
            "1: of neurons, Leaky, Synaptic",
        ),
        (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), Leaky(**HIDDEN)), r"1 \(ReLU\): has no form in whole numbers"),
        (nn.Sequential(Leaky(**HIDDEN), nn.Linear(4, 3)), r"0 \(Leaky\): has no form in whole numbers"),
        (nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, reset_mechanism="zero", **HIDDEN)), "1: of neurons, Leaky, Syn"),
    ],
)
def test_layer_without_a_form_in_whole_numbers_is_named(net, message):
    with pytest.raises(ValueError, match=message):
        quantise(net).integer((4,))


class Joined(nn.Module):
    def __init__(self, way="sum"):
        super().__init__()
        self.way, self.first = way, nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), Leaky(output=True, **HIDDEN))
        self.last, self.readout = nn.Linear(32, 3), Leaky(**HIDDEN)

    def forward(self, frame):
        spk, mem = self.first(frame.float())
        joined = spk.clone() + frame if self.way == "sum" else mem if self.way == "mem" else spk + 1.0
        return self.readout(self.last(joined.view(joined.shape[0], -1)))


def test_skips_are_sums_of_whole_numbers():
    torch.manual_seed(0)
    made, frames = quantise(Joined().eval()), counts(shape=(2, 4, 4))
    with torch.no_grad():
        expected = accelerate(made.network, engine="reference")(frames)
    assert expected.any()
    assert torch.equal(made.integer((2, 4, 4)).run(frames)[0].float(), expected)


@pytest.mark.parametrize(("way", "name"), [("mem", "view"), ("shift", "add")])
def test_operation_without_a_form_in_whole_numbers_is_named(way, name):
    with pytest.raises(ValueError, match=f"`{name}`.*: has no form in whole numbers here"):
        quantise(Joined(way)).integer((2, 4, 4))


def test_what_cannot_be_rounded_is_refused():
    with pytest.raises(ValueError, match="`bits` must be 8 or 4; got 3"):
        quantise(SpikingResNet(), 3)
    with pytest.raises(ValueError, match="Leaky has no convolution and no linear layer"):
        quantise(Leaky(**HIDDEN))
    net = nn.Linear(2, 2)
    net.weight.data[0, 0] = float("inf")
    with pytest.raises(ValueError, match="Linear: weights must be finite"):
        quantise(net)
    with pytest.raises(TypeError, match=r"`net` must be an nn\.Module; got str"):
        quantise("net")
    with pytest.raises(ValueError, match="`frame` must hold whole numbers"):
        quantise(nn.Sequential(nn.Linear(4, 3), Leaky(**HIDDEN))).integer((4,)).step(torch.rand(1, 4))


def test_linear_layer_over_more_than_one_axis_has_no_whole_numbers():
    net = nn.Sequential(nn.Linear(6, 5), Leaky(init_hidden=True)).eval()
    with pytest.raises(ValueError, match="a linear layer takes one axis"):
        quantise(net).integer((3, 6))


def layered():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), Leaky(threshold=0.3, **HIDDEN), nn.Flatten(), nn.Linear(12, 4),
        Leaky(threshold=0.1, output=True, **HIDDEN),
    )  # fmt: skip


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_that_were_trained_with_are_those_that_are_rounded_to(bits, tmp_path):
    net, frames = layered(), counts(shape=(2, 6, 6))
    before = copy.deepcopy(net.state_dict())
    aware = quantisation_aware(net, bits)
    fast, optimiser = accelerate(aware), torch.optim.SGD(aware.parameters(), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        (-fast(frames)[1].mean()).backward()
        optimiser.step()
    made = quantise(aware, bits)
    for place in (0, 4):
        assert torch.equal(made.network[place].weight, aware[place].weight)
        assert not torch.equal(aware[place].parametrizations.weight.original, before[f"{place}.weight"])
        assert type(made.network[place]) is type(net[place])
    assert made.largest_error > 0
    with torch.no_grad():
        expected = accelerate(aware.eval(), engine="reference")(frames)
        assert torch.equal(accelerate(made.network.eval(), engine="reference")(frames)[0], expected[0])
    assert torch.equal(made.integer((2, 6, 6)).run(frames)[0].float(), expected[0])
    assert 0.02 < expected[0].mean() < 0.98
    made.save(tmp_path / "net.pt")
    again = load_quantised(tmp_path / "net.pt", aware).network  # what it was trained as is of its kind, too
    assert torch.equal(again[4].weight, aware[4].weight)
    for name, value in before.items():
        assert torch.equal(net.state_dict()[name], value)


def test_gradients_pass_the_rounding_as_they_are():
    aware, frames = quantisation_aware(layered(), 4), counts(shape=(2, 6, 6))
    rounded = quantise(aware, 4).network
    for net in (aware, rounded):
        accelerate(net)(frames)[1].square().mean().backward()
    for place in (0, 4):
        assert rounded[place].weight.grad.any()
        torch.testing.assert_close(aware[place].parametrizations.weight.original.grad, rounded[place].weight.grad)


def test_rounded_weights_are_run_over_all_time_and_those_that_change_by_the_call_are_not():
    plain, frames = layered(), counts(shape=(2, 6, 6))
    fast, aware = accelerate(plain), accelerate(quantisation_aware(plain, 4))
    fast(frames), aware(frames)
    assert aware.explain() == fast.explain()
    parametrizations.spectral_norm(plain[4])
    other = accelerate(plain)
    other(frames)
    assert "step by step" in other.explain()


def test_weights_that_another_parametrisation_makes_are_rounded_as_they_are():
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), Leaky(**HIDDEN))
    made, expected = quantise(net), net[0].weight.detach()
    assert torch.equal(made.layers["0"].dequantised(), made.network[0].weight)
    torch.testing.assert_close(made.network[0].weight, expected, rtol=0, atol=float(expected.abs().max()) / 254)
    assert parametrize.is_parametrized(net[0])
    with pytest.raises(ValueError, match="0: its weights are parametrised already"):
        quantisation_aware(net)


def test_network_that_was_trained_for_other_bits_is_refused():
    with pytest.raises(ValueError, match="0: was trained for weights of 4 bits; got `bits` 8"):
        quantise(quantisation_aware(layered(), 4), 8)
    with pytest.raises(ValueError, match="`bits` must be 8 or 4; got 2"):
        quantisation_aware(layered(), 2)
    with pytest.raises(ValueError, match="Leaky has no convolution and no linear layer"):
        quantisation_aware(Leaky(**HIDDEN))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_type_are_trained_as_they_are_rounded(dtype):
    torch.manual_seed(0)
    aware = quantisation_aware(nn.Sequential(nn.Linear(50, 30), nn.Linear(30, 4)).to(dtype), bits=4)
    rounded = quantise(aware, bits=4)
    for mine, theirs in zip(rounded.network, aware):
        assert theirs.weight.dtype == dtype
        assert torch.equal(mine.weight, theirs.weight)
    aware[0].weight.sum().backward()
    assert torch.equal(aware[0].parametrizations.weight.original.grad, torch.ones(30, 50, dtype=dtype))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.full((1, 1, 4), 1e30), "counts of events up to 65,535; got 1e"),
        (torch.full((1, 1, 4), torch.inf), "counts of events up to 65,535; got inf"),
        (torch.ones(1, 1, 5), r"must be \[B, 4\]; got \[1, 5\]"),
        (torch.ones(0, 1, 4), r"must be \[T, B, ...\] of one step or more; got \[0, 1, 4\]"),
    ],
)
def test_frames_that_whole_numbers_cannot_hold_are_refused(frames, message):
    net = nn.Sequential(nn.Linear(4, 3), Leaky(init_hidden=True, output=True))
    with pytest.raises(ValueError, match=f"`frames?` .*{message}"):
        quantise(net).integer((4,)).run(frames)
