"""A listener takes spikes and membranes of any layer of neurons apart, of one step and of all."""

import pytest
import snntorch
import torch

from snn_helpers.neurons import ALIF, Leaky, Listener, Synaptic
from snn_helpers.neurons.alif import SNNTorchALIF


@pytest.fixture(autouse=True)
def leave_no_snntorch_neuron():
    yield
    snntorch.SpikingNeuron.instances.clear()


def heard(module, *args):
    calls = []
    handle = module.register_forward_hook(Listener(lambda *call: calls.append(call)))
    output = module(*args)
    handle.remove()
    module(*args)
    ((spk, mem, whole),) = calls
    return output, spk, mem, whole


@pytest.mark.parametrize("make", [Leaky, Synaptic, ALIF])
def test_our_neurons_are_heard_over_time_and_step_by_step(make):
    cur = 2 * torch.rand(4, 2, 3)
    output, spk, mem, whole = heard(make(), cur)
    assert whole
    assert torch.equal(spk, output[0])
    assert torch.equal(mem, output[1])
    for with_output in (False, True):
        output, step_spk, step_mem, whole = heard(make(init_hidden=True, output=with_output), cur[0])
        assert not whole
        assert torch.equal(step_spk, output[0] if with_output else output)
        assert torch.equal(step_mem, mem[0])
        assert torch.equal(step_spk, spk[0])


ZERO = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("make", "states"),
    [
        (lambda **o: snntorch.Leaky(0.9, **o), 1),
        (lambda **o: snntorch.Synaptic(0.8, 0.9, **o), 2),
        (lambda **o: snntorch.Alpha(0.8, 0.7, **o), 3),
        (lambda **o: snntorch.Lapicque(0.9, **o), 1),
        (lambda **o: snntorch.RLeaky(0.9, linear_features=3, **o), 2),
        (lambda **o: snntorch.RSynaptic(0.8, 0.9, linear_features=3, **o), 3),
    ],
)
def test_neurons_of_snntorch_are_heard_with_and_without_hidden_state(make, states):
    torch.manual_seed(0)
    cur = 2 * torch.rand(2, 3)
    module = make()
    output, spk, mem, whole = heard(module, cur, *[ZERO] * states)
    assert not whole
    assert torch.equal(spk, output[0])
    assert torch.equal(mem, output[-1])
    for with_output in (False, True):
        hidden = make(init_hidden=True, output=with_output)
        hidden.load_state_dict(module.state_dict())
        output, step_spk, step_mem, whole = heard(hidden, cur)
        assert not whole
        assert torch.equal(step_spk, output[0] if with_output else output)
        assert step_mem.shape == step_spk.shape


def test_alif_in_snntorchs_form_hands_its_membrane_out_second():
    module = SNNTorchALIF(*map(torch.tensor, (0.8, 1.0, 0.9, 0.5)), spike_grad=snntorch.surrogate.atan())
    output, spk, mem, whole = heard(module, 2 * torch.rand(2, 3))
    assert (torch.equal(spk, output[0]), torch.equal(mem, output[1]), whole) == (True, True, False)


def test_neurons_of_snntorch_that_run_over_time_are_heard_whole():
    frames = torch.rand(4, 2, 3)
    output, spk, mem, whole = heard(snntorch.LeakyParallel(3, 5), frames)
    assert (torch.equal(spk, output), mem, whole) == (True, None, True)
    output, spk, mem, whole = heard(snntorch.StateLeaky(0.9, channels=3, output=True), frames)
    assert (torch.equal(spk, output[0]), torch.equal(mem, output[1]), whole) == (True, True, True)


def test_delta_neurons_hand_out_two_membranes():
    output, spk, mem, whole = heard(snntorch.DeltaLeaky(beta=0.9), torch.rand(2, 3), (ZERO, ZERO))
    assert (torch.equal(spk, output[0]), torch.equal(mem, output[1][0]), whole) == (True, True, False)
