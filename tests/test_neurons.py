"""Leaky neurons: golden traces worked by hand, in numbers that float32 holds exactly."""

import gc
import weakref

import pytest
import snntorch
import torch

from snn_helpers.neurons import Leaky

# beta = 0.5, threshold = 1. Each membrane is half the last one plus the current, less 1 where the last one fired:
# 0.5; 0.25 + 0.875; 0.5625 + 0.5 - 1; 0.03125 + 0.25; 0.140625 + 1.5; 0.8203125 + 0 - 1.
CURRENTS = [0.5, 0.875, 0.5, 0.25, 1.5, 0.0]
MEMBRANES = [0.5, 1.125, 0.0625, 0.28125, 1.640625, -0.1796875]
SPIKES = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]


def trace(values):
    return torch.tensor(values).reshape(-1, 1, 1)


def test_leaky_follows_the_golden_trace():
    spk_rec, mem_rec = Leaky(beta=0.5, threshold=1.0)(trace(CURRENTS))
    assert mem_rec.flatten().tolist() == MEMBRANES
    assert spk_rec.flatten().tolist() == SPIKES


def test_leaky_resets_by_its_threshold():
    # threshold 0.5, beta 1: 0.75 fires; 0.75 + 0 - 0.5 = 0.25; 0.25 + 0.25 = 0.5 does not.
    spk_rec, mem_rec = Leaky(beta=1.0, threshold=0.5)(trace([0.75, 0.0, 0.25]))
    assert mem_rec.flatten().tolist() == [0.75, 0.25, 0.5]
    assert spk_rec.flatten().tolist() == [1.0, 0.0, 0.0]


def test_leaky_does_not_fire_when_the_membrane_is_exactly_at_threshold():
    # 1; 0.5 + 0.5 = 1 again; 0.5 + 0.5 + 2**-20, a hair above.
    spk_rec, mem_rec = Leaky(beta=0.5, threshold=1.0)(trace([1.0, 0.5, 0.5 + 2**-20]))
    assert mem_rec.flatten().tolist() == [1.0, 1.0, 1.0 + 2**-20]
    assert spk_rec.flatten().tolist() == [0.0, 0.0, 1.0]


def test_leaky_without_input_stays_silent():
    spk_rec, mem_rec = Leaky()(torch.zeros(4, 2, 3))
    assert not spk_rec.any()
    assert not mem_rec.any()


def test_gradient_is_the_fast_sigmoids_and_passes_no_reset():
    # d spk[1] / d cur[0] = beta / (1 + k |u[1] - 1|)^2 and so on, at the membranes above; u[1] = 1.125, k = 8.
    cur = trace(CURRENTS).requires_grad_()
    spk_rec, _ = Leaky(beta=0.5, threshold=1.0, slope=8.0)(cur)
    spk_rec[1].sum().backward(retain_graph=True)
    at_1 = 1 / (1 + 8 * 0.125) ** 2
    assert cur.grad.flatten().tolist() == pytest.approx([0.5 * at_1, at_1, 0, 0, 0, 0])

    # The spike at step 1 lowered u[2]; were the reset differentiated, `at_1` would show up in these.
    cur.grad = None
    spk_rec[2].sum().backward()
    at_2 = 1 / (1 + 8 * 0.9375) ** 2
    assert cur.grad.flatten().tolist() == pytest.approx([0.25 * at_2, 0.5 * at_2, at_2, 0, 0, 0])


def test_leaky_gives_the_same_answer_to_the_same_batch_twice():
    neurons, cur = Leaky(), torch.rand(6, 3, 5, generator=torch.Generator().manual_seed(0))
    for first, second in zip(neurons(cur), neurons(cur)):
        assert torch.equal(first, second)


def test_leaky_takes_a_smaller_batch_after_a_larger_one():
    neurons, cur = Leaky(), torch.rand(6, 4, 5, generator=torch.Generator().manual_seed(0))
    whole = neurons(cur)
    part = neurons(cur[:, :1])
    for of_whole, of_part in zip(whole, part):
        assert torch.equal(of_whole[:, :1], of_part)


def test_leaky_leaves_its_input_unchanged():
    cur = trace(CURRENTS)
    before = cur.clone()
    Leaky()(cur)
    assert torch.equal(cur, before)


def test_leaky_has_no_parameters_and_keeps_no_state():
    neurons = Leaky()
    neurons(trace(CURRENTS))
    assert dict(neurons.state_dict()) == {}
    assert list(neurons.buffers()) == []


def test_leaky_is_not_kept_alive_by_snntorch():
    listed = list(snntorch.SpikingNeuron.instances)
    neurons = Leaky()
    inner = neurons.snntorch_neuron()
    neurons(trace(CURRENTS))
    assert len(snntorch.SpikingNeuron.instances) == len(listed)
    gone = weakref.ref(neurons), weakref.ref(inner)
    del neurons, inner
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_leaky_leaves_other_peoples_neurons_in_snntorchs_list():
    theirs = snntorch.Leaky(0.5)
    try:
        Leaky()(trace(CURRENTS))
        assert any(neuron is theirs for neuron in snntorch.SpikingNeuron.instances)
    finally:
        snntorch.SpikingNeuron.instances.remove(theirs)


def test_leaky_shows_its_parameters():
    assert repr(Leaky(0.5, 2.0, 10.0)) == "Leaky(beta=0.5, threshold=2.0, slope=10.0)"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beta": 1.1}, ValueError, r"`beta` must be a number in \[0, 1\]; got 1.1"),
        ({"beta": "0.9"}, TypeError, "`beta` must be a number"),
        ({"threshold": 0}, ValueError, "`threshold` must be a number > 0; got 0"),
        ({"slope": -1}, ValueError, "`slope` must be a number > 0; got -1"),
    ],
)
def test_leaky_refuses_bad_values(arguments, error, message):
    with pytest.raises(error, match=message):
        Leaky(**arguments)
