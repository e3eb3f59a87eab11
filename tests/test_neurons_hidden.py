"""Neurons as one step of a network: state kept between calls, set to zero for one network alone, in no copy."""

import copy
import gc
import pickle
import weakref

import pytest
import snntorch
import torch
from torch import nn

from snn_helpers.neurons import ALIF, Leaky, Synaptic, clamp_parameters, reset


@pytest.fixture(autouse=True)
def leave_no_snntorch_neuron():
    yield
    snntorch.SpikingNeuron.instances.clear()


def currents(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", [Leaky, Synaptic, ALIF])
def test_steps_with_hidden_state_equal_all_steps_at_once_in_values_and_gradients(make):
    options = {"beta": 0.75, "threshold": 0.5, "learn": tuple(make.ranges)}
    whole, step = make(**options), make(**options, init_hidden=True, output=True)
    cur = currents(12, 3, 4).requires_grad_()
    results = []
    for spk, mem in (whole(cur), (torch.stack(rec) for rec in zip(*(step(one) for one in cur)))):
        parameters = list((step if results else whole).parameters())
        results.append((spk, mem, *torch.autograd.grad((spk.cumsum(0) * mem.cos()).sum(), [cur, *parameters])))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_without_output_a_step_returns_spikes_alone():
    silent, shown = (Leaky(init_hidden=True, output=output) for output in (False, True))
    cur = currents(2, 3)
    assert torch.equal(silent(cur), shown(cur)[0])
    assert repr(shown).endswith("engine='auto', init_hidden=True, output=True)")


def test_state_is_in_no_state_dict_copy_or_pickle_and_starts_anew_for_another_shape():
    neurons, cur = Leaky(init_hidden=True, output=True, learn=("beta",)), 0.6 * torch.ones(2, 3)
    first, second = neurons(cur)[1], neurons(cur)[1]
    assert not torch.equal(first, second)
    assert set(neurons.state_dict()) == {"beta"}
    for fresh in (copy.deepcopy(neurons), pickle.loads(pickle.dumps(neurons))):
        assert torch.equal(fresh(cur)[1], first)
    assert torch.equal(neurons(cur[:1])[1], first[:1])
    assert torch.equal(neurons(cur.double())[1], neurons.double()(cur[:, :1].double())[1].expand(2, 3))


def test_reset_lets_go_of_the_graph():
    class Input(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight, held):
            ctx.held = held
            return weight.expand(2, 3)

        @staticmethod
        def backward(ctx, grad):
            return grad.sum(0), None

    neurons, held = Leaky(init_hidden=True), nn.Identity()
    gone = weakref.ref(held)
    neurons(Input.apply(torch.ones(3, requires_grad=True), held))
    del held
    gc.collect()
    assert gone() is not None
    neurons.reset_hidden()
    gc.collect()
    assert gone() is None


def test_reset_reaches_nested_neurons_of_one_network_and_of_no_other():
    def build():
        inner = nn.Sequential(ALIF(init_hidden=True), nn.Sequential(snntorch.Leaky(0.9, init_hidden=True)))
        return nn.Sequential(nn.Linear(4, 4), inner, snntorch.Synaptic(0.5, 0.9, init_hidden=True))

    torch.manual_seed(0)
    net, other = build(), build()
    for one in (net, other):
        one(20 * currents(2, 4).abs())
        one[2](torch.ones(2, 4))
    reset(net)
    assert net[1][0].hidden == ()
    assert not net[1][1][0].mem.any()
    assert not net[2].syn.any()
    assert other[1][0].hidden[1].any()
    assert other[1][1][0].mem.any()
    assert other[2].syn.any()


@pytest.mark.parametrize("learn", [(), ("beta", "threshold")])
def test_a_number_a_neuron_equals_neurons_one_by_one(learn):
    beta, threshold = torch.tensor([0.5, 0.9, 1.0]), torch.tensor([0.4, 0.8, 1.2])
    cur = currents(20, 2, 3)
    neurons = Leaky(beta, threshold, learn=learn)
    spk_rec, mem_rec = neurons(cur)
    for k in range(3):
        one = Leaky(float(beta[k]), float(threshold[k]))(cur[:, :, k : k + 1])
        assert torch.equal(spk_rec[:, :, k : k + 1], one[0])
        torch.testing.assert_close(mem_rec[:, :, k : k + 1], one[1])
    assert set(neurons.state_dict()) == set(learn)
    assert "beta=[(3,)]" in repr(neurons)
    if learn:
        spk_rec.sum().backward()
        assert neurons.beta.grad.shape == (3,)
    with pytest.raises(ValueError, match=r"`beta` must be a number in \[0, 1\]; got 1.5"):
        Leaky(torch.tensor([0.5, 1.5]))


def test_learned_parameters_are_set_back_and_the_value_that_is_kept_is_the_one_that_is_used():
    net = nn.Sequential(nn.Sequential(ALIF(learn=("beta", "threshold", "adaptation"), init_hidden=True)))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(-3.0)
    clamp_parameters(net)
    assert {name: value.item() for name, value in net.state_dict().items()} == pytest.approx(
        {"0.0.beta": 0.0, "0.0.threshold": 1e-6, "0.0.adaptation": 0.0}
    )
