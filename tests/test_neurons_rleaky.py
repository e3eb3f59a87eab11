"""Neurons that are connected among themselves equal snnTorch's, on every engine."""

import copy
import gc
import pickle
import weakref

import pytest
import snntorch
import torch
from torch import nn

from snn_helpers.activity import synaptic_operations
from snn_helpers.exchange.nir import from_nir, to_nir
from snn_helpers.neurons import RLeaky
from snn_helpers.over_time import accelerate

BETA, THRESHOLD = 0.75, 0.5


def made(features=4, **options):
    torch.manual_seed(0)
    neurons = RLeaky(features, BETA, THRESHOLD, **options)
    with torch.no_grad():
        neurons.recurrent.weight.mul_(7)
    return neurons


def currents(steps=12, batch=3, features=4, **options):
    return torch.randn(steps, batch, features, generator=torch.Generator().manual_seed(0), **options)


@pytest.mark.parametrize("way", ["cpu", "reference", "snntorch"])
def test_golden_trace_of_two_neurons(way):
    # beta 0.5, threshold 1. The first neuron excites the second by 1.5, the second inhibits the first by 1.
    # u1: 2, fires; 1 + 0 - 1 = 0; 0 - 1 + 0.5 (the second has fired); -0.25 + 1.25 = 1 exactly, which does not fire.
    # u2: 0; 0 + 1.5, fires; 0.75 - 1; -0.125.
    neurons = RLeaky(2, 0.5, 1.0, engine="reference" if way == "snntorch" else way)
    with torch.no_grad():
        neurons.recurrent.weight.copy_(torch.tensor([[0.0, -1.0], [1.5, 0.0]]))
    cur = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]], [[0.5, 0.0]], [[1.25, 0.0]]])
    spk_rec, mem_rec = neurons.run_snntorch(cur) if way == "snntorch" else neurons(cur)
    assert mem_rec[:, 0].tolist() == [[2.0, 0.0], [0.0, 1.5], [-0.5, -0.25], [1.0, -0.125]]
    assert spk_rec[:, 0].tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_values_and_gradients_equal_a_loop_over_snntorchs(engine):
    """A loop written here, its neuron made by snnTorch's constructor: no code of ours."""
    neurons = made(learn=("beta", "threshold"), engine=engine, surrogate="fast_sigmoid")
    theirs = snntorch.RLeaky(
        BETA, linear_features=4, threshold=THRESHOLD, learn_beta=True, learn_threshold=True,
        spike_grad=snntorch.surrogate.fast_sigmoid(25),
    )  # fmt: skip
    with torch.no_grad():
        theirs.recurrent.weight.copy_(neurons.recurrent.weight)
        theirs.recurrent.bias.zero_()
    results = []
    for cur in (currents(requires_grad=True), currents(requires_grad=True)):
        if not results:
            spk_rec, mem_rec = neurons(cur)
            learned = [neurons.recurrent.weight, neurons.beta, neurons.threshold]
        else:
            (spk, mem), steps = theirs.init_rleaky(), []
            for cur_now in cur:
                spk, mem = theirs(cur_now, spk, mem)
                steps.append((spk, mem))
            spk_rec, mem_rec = map(torch.stack, zip(*steps))
            learned = [theirs.recurrent.weight, theirs.beta, theirs.threshold]
        loss = (spk_rec.cumsum(0) * mem_rec.cos()).sum()
        results.append((spk_rec, mem_rec, *torch.autograd.grad(loss, [cur, *learned])))
    assert 0 < results[0][0].mean() < 1
    assert torch.equal(results[0][0], results[1][0])
    for ours, other in zip(*results):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("init_hidden", [False, True])
def test_steps_equal_all_steps_at_once(init_hidden):
    spk_rec, mem_rec = made()(currents())
    neurons, state = made(init_hidden=init_hidden, output=init_hidden), ()
    for step, cur in enumerate(currents()):
        spk, *state = neurons(cur) if init_hidden else neurons.step(cur, *state)
        assert torch.equal(spk, spk_rec[step])
        torch.testing.assert_close(state[0], mem_rec[step])


def test_state_dict_has_the_connections_and_copies_have_no_state():
    neurons, cur = made(init_hidden=True, output=True), currents()[0].abs()
    assert list(neurons.state_dict()) == ["recurrent.weight"]
    first, second = neurons(cur)[1], neurons(cur)[1]
    assert not torch.equal(first, second)
    for fresh in (copy.deepcopy(neurons), pickle.loads(pickle.dumps(neurons))):
        assert torch.equal(fresh(cur)[1], first)
        assert torch.equal(fresh(cur)[1], second)
    listed = len(snntorch.SpikingNeuron.instances)
    gone = weakref.ref(neurons.snntorch_neuron())
    gc.collect()
    assert gone() is None
    assert len(snntorch.SpikingNeuron.instances) == listed


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 4), made(init_hidden=True, output=True)).eval()


def test_operations_of_the_connections_are_counted_alike_by_engine_and_loop():
    frames = torch.rand(9, 2, 6, generator=torch.Generator().manual_seed(0)) * 3
    net = network()
    spk_rec, _ = accelerate(net)(frames)
    by_hand = (
        float(spk_rec[:-1].detach().sum()) * 4 / 2
    )  # each spike but the last step's, to four neurons; two recordings
    assert by_hand > 0
    for engine in ("auto", "snntorch"):
        costs = synaptic_operations(accelerate(net, engine), frames)
        assert costs["1.recurrent"].operations == by_hand
        assert costs["1.recurrent"].spiking


def test_connections_leave_in_nir_and_come_back():
    frames = torch.rand(9, 2, 6, generator=torch.Generator().manual_seed(0)) * 3
    net = network()
    spk_rec, _ = accelerate(net)(frames)
    assert spk_rec.any()
    pytest.importorskip("nir")
    back = from_nir(to_nir(net, (6,)))
    answer = accelerate(back)(frames)
    assert torch.equal(answer[0] if isinstance(answer, tuple) else answer, spk_rec)


def test_number_of_neurons_is_checked():
    with pytest.raises(ValueError, match="`features` must be a whole number >= 1; got 0"):
        RLeaky(0)
    with pytest.raises(ValueError, match="`threshold` must be a number > 0"):
        RLeaky(3, threshold=0.0)
