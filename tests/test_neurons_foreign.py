"""snnTorch's own neurons, built with anything they take, equal what `as_neuron` makes of them."""

import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch import surrogate

from snn_helpers.engine import neurons as run_neurons
from snn_helpers.engine import serves
from snn_helpers.neurons import Leaky, as_neuron


@pytest.fixture(autouse=True)
def leave_no_snntorch_neuron():
    yield
    snntorch.SpikingNeuron.instances.clear()


def loop(module, cur):
    """Run snnTorch's neuron step by step from zero."""
    state = [torch.zeros_like(cur[0])] * (2 if isinstance(module, snntorch.Synaptic) else 1)
    spk_rec, mem_rec = [], []
    for one in cur:
        spk, *state = module(one, *state)
        spk_rec.append(spk)
        mem_rec.append(state[-1])
    return torch.stack(spk_rec), torch.stack(mem_rec)


SURROGATES = {
    "default": None,
    "atan": surrogate.atan(alpha=3.0),
    "fast_sigmoid": surrogate.fast_sigmoid(slope=10),
    "sigmoid": surrogate.sigmoid(slope=5),
    "own": lambda v: surrogate.ATan.apply(v, 1.5),
}


def numbers(low, high):
    one = st.floats(low, high, width=32)
    return st.one_of(one, st.lists(one, min_size=5, max_size=5).map(torch.tensor))


@settings(max_examples=80)
@given(
    st.booleans(),
    numbers(-0.25, 1.25),  # snnTorch clamps decays when it uses them
    numbers(0.125, 1.5),
    numbers(0, 1),
    st.sampled_from(["subtract", "zero", "none"]),
    st.sampled_from(sorted(SURROGATES)),
    st.booleans(),
    st.sampled_from(["auto", "reference"]),
    st.integers(0, 2**16),
)
def test_neurons_of_snntorch_over_time_equal_their_loop(
    synaptic, beta, threshold, alpha, reset, spike_grad, learn, engine, seed
):
    options = {"threshold": threshold, "reset_mechanism": reset, "spike_grad": SURROGATES[spike_grad]}
    options |= {"learn_beta": learn, "learn_threshold": learn}
    if synaptic:
        module = snntorch.Synaptic(alpha, beta, learn_alpha=learn, **options)
    else:
        module = snntorch.Leaky(beta, **options)
    cur = torch.randn(9, 3, 5, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    up = torch.randn(2, 9, 3, 5, generator=torch.Generator().manual_seed(seed + 1))
    neuron = as_neuron(module)
    leaves = [cur, *module.parameters()]
    results = []
    for spk, mem in (loop(module, cur), run_neurons(cur, neuron, engine)):
        grads = torch.autograd.grad((up[0] * spk + up[1] * mem).sum(), leaves, allow_unused=True)
        results.append((spk, mem, grads))
    (spk, mem, grads), (our_spk, our_mem, our_grads) = results
    assert torch.equal(our_spk, spk)
    assert torch.equal(our_mem, mem)
    for ours, theirs in zip(our_grads, grads):
        if theirs is None:  # a threshold without reset or gradient
            assert ours is None or not ours.any()
        else:
            # Some of snnTorch's surrogates overflow far from the threshold: theirs is the truth there, too.
            largest = float(theirs.nan_to_num().abs().max())
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * largest, equal_nan=True)


def test_kernels_serve_what_tutorials_use():
    for module in (snntorch.Leaky(0.9), snntorch.Synaptic(0.5, 0.9, spike_grad=surrogate.fast_sigmoid())):
        assert serves("neurons", as_neuron(module), "cpu") is None
        assert serves("conv_layer", as_neuron(module), "cpu") is None
    slope = as_neuron(snntorch.Leaky(0.9, spike_grad=surrogate.fast_sigmoid(slope=7))).slope
    assert (as_neuron(snntorch.Leaky(0.9)).surrogate, slope) == ("atan", 7.0)


def test_reset_is_what_the_neuron_does_and_not_what_it_says():
    module = snntorch.Leaky(0.5)
    module.reset_mechanism = "zero"  # it goes on subtracting
    cur = torch.full((4, 1, 1), 0.9)
    for ours, theirs in zip(run_neurons(cur, as_neuron(module)), loop(module, cur)):
        assert torch.equal(ours, theirs)


class Louder(snntorch.Leaky):
    """Computes something else than what it is derived from."""

    def forward(self, input_, mem=None):
        """Double the input."""
        return super().forward(2 * input_, mem)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Louder(0.9), "Louder has no equation"),
        (lambda: snntorch.SLSTM(3, 4), "SLSTM has no equation"),
        (lambda: snntorch.Leaky(0.9, state_quant=lambda mem: mem), "`state_quant`"),
        (lambda: torch.nn.ReLU(), "ReLU has no equation"),
    ],
)
def test_what_has_no_equation_says_why(make, reason):
    assert reason in as_neuron(make())


@pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")
def test_inhibition_has_no_equation():
    assert "`inhibition`" in as_neuron(snntorch.Leaky(0.9, inhibition=True))


def test_our_own_neurons_are_taken_as_they_are():
    module = Leaky(0.7, learn=("beta",))
    assert as_neuron(module).kind == "leaky"
    assert as_neuron(module).numbers["beta"].item() == pytest.approx(0.7)
