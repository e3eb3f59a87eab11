"""Leaky neurons: golden traces worked by hand, in numbers that float32 holds exactly."""

import gc
import weakref

import pytest
import snntorch
import torch

from snn_helpers.neurons import ALIF, Leaky, Synaptic, clamp_parameters

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
    shown = "Leaky(beta=0.5, threshold=2, surrogate='fast_sigmoid', slope=10, engine='auto')"
    assert repr(Leaky(0.5, 2.0, slope=10.0)) == shown


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


@pytest.mark.parametrize("make", [Leaky, Synaptic, ALIF])
@pytest.mark.parametrize("engine", ["auto", "cpu", "reference"])
def test_steps_in_a_loop_equal_all_steps_at_once(make, engine):
    neuron = make(beta=0.75, threshold=0.5, engine=engine)
    cur = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(0))
    spk_rec, mem_rec = neuron(cur)
    assert 0 < spk_rec.mean() < 1
    state = ()
    for step in range(12):
        spk, *state = neuron.step(cur[step], *state)
        mem = state[-1] if make is Synaptic else state[0]
        assert torch.equal(spk, spk_rec[step])
        assert torch.equal(mem, mem_rec[step])


def test_leaky_and_synaptic_equal_snntorchs_in_a_loop():
    cur = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(0))
    leaky, synaptic = snntorch.Leaky(0.75, 0.5), snntorch.Synaptic(0.5, 0.75, 0.5)
    mem, syn, syn_mem = leaky.reset_mem(), *synaptic.reset_mem()
    for neuron in (leaky, synaptic):
        snntorch.SpikingNeuron.instances.remove(neuron)
    ours, ours_synaptic = Leaky(0.75, 0.5)(cur), Synaptic(0.5, 0.75, 0.5)(cur)
    for step in range(12):
        spk, mem = leaky(cur[step], mem)
        assert torch.equal(spk, ours[0][step])
        assert torch.equal(mem, ours[1][step])
        spk, syn, syn_mem = synaptic(cur[step], syn, syn_mem)
        assert torch.equal(spk, ours_synaptic[0][step])
        assert torch.equal(syn_mem, ours_synaptic[1][step])


def test_alif_follows_the_golden_trace():
    # beta 0.5, rho 0.5, b 2, threshold 1. u: 2; 1 + 2 - 1; 1 + 1 - 0. a: 0; 0.5; 0.25, so thresholds 1; 2; 1.5.
    # The second membrane stands exactly at its raised threshold and must not fire.
    spk_rec, mem_rec = ALIF(beta=0.5, threshold=1.0, rho=0.5, adaptation=2.0)(trace([2.0, 2.0, 1.0]))
    assert mem_rec.flatten().tolist() == [2.0, 2.0, 2.0]
    assert spk_rec.flatten().tolist() == [1.0, 0.0, 1.0]


def test_alif_without_adaptation_and_synaptic_without_alpha_are_leaky():
    cur = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = Leaky(0.75, 0.5)(cur)
    for neuron in (ALIF(0.75, 0.5, adaptation=0.0), Synaptic(0.0, 0.75, 0.5)):
        for ours, theirs in zip(neuron(cur), expected):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_learned_parameters_get_gradients_and_stand_in_the_state_dict(engine):
    neuron = Leaky(0.75, 0.5, engine=engine, learn=("beta", "threshold"))
    cur = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(0))
    neuron(cur)[0].sum().backward()
    assert set(neuron.state_dict()) == {"beta", "threshold"}
    assert neuron.number("beta") == 0.75
    assert "beta=0.75" in repr(neuron)
    assert neuron.beta.grad.abs() > 0
    assert neuron.threshold.grad < 0  # a higher threshold fires less
    assert not Leaky().state_dict()


@pytest.mark.parametrize("make", [Leaky, Synaptic, ALIF])
def test_loop_over_snntorchs_neuron_equals_the_reference_and_its_gradients(make):
    neurons = make(beta=0.75, threshold=0.5, engine="reference", learn=tuple(make.ranges)).double()
    cur = torch.randn(12, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    gradients = []
    for run in (neurons, neurons.run_snntorch):
        spk_rec, mem_rec = run(cur)
        assert 0 < spk_rec.mean() < 1
        gradients.append(torch.autograd.grad((spk_rec.cumsum(0) * mem_rec.cos()).sum(), [cur, *neurons.parameters()]))
        gradients[-1] = [*gradients[-1], spk_rec, mem_rec]
    for ours, theirs in zip(*gradients):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", [Leaky, Synaptic, ALIF])
def test_snntorch_neurons_are_not_kept_alive(make):
    listed = len(snntorch.SpikingNeuron.instances)
    gone = weakref.ref(make().snntorch_neuron())
    gc.collect()
    assert gone() is None
    assert len(snntorch.SpikingNeuron.instances) == listed


# Six steps worked by hand; beta = 0.5, threshold = 1.
# Synaptic, alpha = 0.5: i = 0.5, 0.75, 0.375, 0.9375, 0.46875, 0.234375. u: 0.5; 0.25 + 0.75 = 1 exactly, which does
# not fire; 0.5 + 0.375; 0.4375 + 0.9375, fires; 0.6875 + 0.46875 - 1; 0.078125 + 0.234375.
SYN_CURRENTS = [0.5, 0.5, 0.0, 0.75, 0.0, 0.0]
SYN_MEMBRANES = [0.5, 1.0, 0.875, 1.375, 0.15625, 0.3125]
SYN_SPIKES = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
# ALIF, rho = 0.5, b = 2: a = 0, 0.5, 0.25, 0.625, 0.3125, 0.15625; thresholds 1, 2, 1.5, 2.25, 1.625, 1.3125.
# u: 2, fires; 1 + 2 - 1 = 2, exactly at its threshold; 1 + 1 = 2, fires; 1 + 0.5 - 1.5; 0 + 1.625, exactly at its
# threshold; 0.8125 + 1, fires.
ALIF_CURRENTS = [2.0, 2.0, 1.0, 0.5, 1.625, 1.0]
ALIF_MEMBRANES = [2.0, 2.0, 2.0, 0.0, 1.625, 1.8125]
ALIF_SPIKES = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("way", ["cpu", "reference", "snntorch"])
@pytest.mark.parametrize(
    ("make", "numbers", "currents", "membranes", "spikes"),
    [
        (Leaky, {}, CURRENTS, MEMBRANES, SPIKES),
        (Synaptic, {"alpha": 0.5}, SYN_CURRENTS, SYN_MEMBRANES, SYN_SPIKES),
        (ALIF, {"rho": 0.5, "adaptation": 2.0}, ALIF_CURRENTS, ALIF_MEMBRANES, ALIF_SPIKES),
    ],
)
def test_golden_trace_of_six_steps(way, make, numbers, currents, membranes, spikes):
    neurons = make(beta=0.5, threshold=1.0, engine="reference" if way == "snntorch" else way, **numbers)
    run = neurons.run_snntorch if way == "snntorch" else neurons
    spk_rec, mem_rec = run(trace(currents))
    assert mem_rec.flatten().tolist() == membranes
    assert spk_rec.flatten().tolist() == spikes


@pytest.mark.parametrize("make", [Leaky, Synaptic, ALIF])
@pytest.mark.parametrize("sign", [1, -1])
def test_learned_parameters_stay_in_range_under_a_large_learning_rate(make, sign):
    neurons = make(learn=tuple(make.ranges))
    optimizer = torch.optim.SGD(neurons.parameters(), lr=100.0)
    cur = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        for name in make.ranges:
            neurons.get_parameter(name).grad = torch.tensor(float(sign))
        optimizer.step()
        assert not all(low <= neurons.number(name) <= (high or 1) for name, (low, high) in make.ranges.items())
        assert neurons(cur)[0].isfinite().all()  # until they are set back, they count as the edge of their range
        clamp_parameters(torch.nn.Sequential(neurons))
        for name, (low, high) in make.ranges.items():
            value = neurons.number(name)
            assert low <= value <= (value if high is None else high)
            assert name != "threshold" or value > 0
        spk_rec, _ = neurons(cur)
        assert spk_rec.isfinite().all()
    # At the edge of its range a parameter can still come back.
    spk_rec, mem_rec = neurons(cur)
    (spk_rec.sum() + mem_rec.sum()).backward()
    assert neurons.get_parameter("beta").grad.abs() > 0


def test_unknown_parameter_to_learn_is_refused():
    with pytest.raises(ValueError, match="`learn` must be one of 'beta', 'threshold'; got 'alpha'"):
        Leaky(learn=("alpha",))
