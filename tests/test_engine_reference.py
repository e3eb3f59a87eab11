"""The reference equals snnTorch and formulas worked by hand; everything else is held against the reference."""

import pytest
import snntorch
import torch
from snntorch import surrogate

from snn_helpers.engine import reference
from snn_helpers.engine.reference import BatchNorm, Neuron, register_surrogate, run
from snn_helpers.neurons import ALIF, NEURONS, Leaky, Synaptic


def integrator(**changes):
    def equation(cur, spk, mem, *, threshold):
        return (mem + cur - spk.detach() * threshold,)

    return Neuron(**{"kind": "integrator", "equation": equation, "numbers": {"threshold": 1.0}, **changes})


@pytest.mark.parametrize("make", [Leaky, Synaptic])
@pytest.mark.parametrize("beta", [0.0, 0.9, 1.0])
def test_run_equals_snntorch_bit_for_bit_and_in_gradients(make, beta):
    torch.manual_seed(0)
    spike_grad = surrogate.fast_sigmoid(slope=25)
    neuron = make(beta=beta, threshold=0.8).neuron()
    theirs = (
        snntorch.Leaky(beta=beta, threshold=0.8, spike_grad=spike_grad)
        if make is Leaky
        else snntorch.Synaptic(alpha=0.9, beta=beta, threshold=0.8, spike_grad=spike_grad)
    )
    cur = (0.7 * torch.randn(30, 4, 17)).requires_grad_()
    weights = torch.randn(2, *cur.shape)

    def snntorch_run(cur, neuron):
        state, spk_rec, mem_rec = theirs.reset_mem(), [], []
        state = [state] if make is Leaky else state
        for cur_t in cur:
            spk, *state = theirs(cur_t, *state)
            spk_rec.append(spk)
            mem_rec.append(state[-1])
        return torch.stack(spk_rec), torch.stack(mem_rec)

    results = []
    for function in (snntorch_run, run):
        spk_rec, mem_rec = function(cur, neuron)
        (grad,) = torch.autograd.grad((weights[0] * spk_rec + weights[1] * mem_rec).sum(), cur)
        results.append((spk_rec, mem_rec, grad))
    (spk, mem, grad), (our_spk, our_mem, our_grad) = results
    assert spk.mean() > 0.05
    assert torch.equal(spk, our_spk)
    assert torch.equal(mem, our_mem)
    torch.testing.assert_close(our_grad, grad, rtol=1e-5, atol=1e-7)


def test_learnable_beta_and_threshold_get_snntorch_gradients():
    torch.manual_seed(1)
    cur = 0.7 * torch.randn(20, 3, 11)
    layer = snntorch.Leaky(
        beta=0.8, threshold=0.9, learn_beta=True, learn_threshold=True, spike_grad=surrogate.fast_sigmoid(slope=25)
    )
    mem, total = torch.zeros_like(cur[0]), 0.0
    weights = torch.randn_like(cur)
    for cur_t, weight in zip(cur, weights):
        spk, mem = layer(cur_t, mem)
        total = total + (weight * spk).sum()
    total.backward()
    ours = Leaky(0.8, 0.9, learn=("beta", "threshold"))
    (weights * run(cur, ours.neuron())[0]).sum().backward()
    torch.testing.assert_close(ours.beta.grad, layer.beta.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.threshold.grad, layer.threshold.grad, rtol=1e-5, atol=1e-6)


def test_membrane_exactly_at_threshold_does_not_fire():
    spk_rec, mem_rec = run(torch.tensor([[1.0], [0.5], [0.75]]), Leaky(0.5, 1.0).neuron())
    assert mem_rec.flatten().tolist() == [1.0, 1.0, 1.25]
    assert spk_rec.flatten().tolist() == [0.0, 0.0, 1.0]


def test_synaptic_golden_trace():
    neuron = Synaptic(0.5, 0.5, 1.0).neuron()
    spk_rec, mem_rec = run(torch.tensor([[1.0], [0.5], [0.0], [0.0]]), neuron)
    # i: 1, 1, 0.5, 0.25; u: 1, 1.5 (fires), 0.75 + 0.5 - 1, 0.125 + 0.25
    assert mem_rec.flatten().tolist() == [1.0, 1.5, 0.25, 0.375]
    assert spk_rec.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


def test_alif_golden_trace():
    neuron = ALIF(0.5, 1.0, 0.5, 2.0).neuron()
    spk_rec, mem_rec = run(torch.tensor([[2.0], [1.75], [1.0]]), neuron)
    # u: 2 (fires); 1 + 1.75 - 1 = 1.75 below 1 + 2 * 0.5 = 2; 0.875 + 1 = 1.875 above 1 + 2 * 0.25 = 1.5
    assert mem_rec.flatten().tolist() == [2.0, 1.75, 1.875]
    assert spk_rec.flatten().tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("kind", NEURONS)
def test_step_gradients_are_right_for_a_smooth_spike(kind):
    """Check the equations' derivatives by finite differences, in float64, with a sigmoid in place of the step function.

    The surrogate itself is no derivative of what it stands for, and the detached reset is no function of its spike: so
    one step is checked, with the past spike given; time only chains steps, which is autograd's work.
    """
    torch.manual_seed(2)
    cur, spk, mem, extra = torch.rand(4, 2, 3, dtype=torch.float64)
    neuron = NEURONS[kind](*[3] * (kind == "rleaky")).neuron()
    names = [*neuron.numbers, *["drive"] * (neuron.recurrence is not None)]
    numbers = 0.2 + 0.7 * torch.rand(len(names), dtype=torch.float64)

    def step(cur, mem, extra, numbers):
        state = neuron.equation(
            cur, spk, *(mem if name == "mem" else extra for name in neuron.states), **dict(zip(names, numbers))
        )
        excess = neuron.excess(**dict(zip(neuron.states, state)), **dict(zip(names, numbers)))
        return torch.sigmoid(3 * excess), *state

    inputs = [tensor.clone().requires_grad_() for tensor in (cur, mem, extra, numbers)]
    assert torch.autograd.gradcheck(step, inputs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fast_sigmoid", [1 / 36, 1.0, 1 / 3.5**2]),
        ("compact", [0.0, 1.0, 0.0]),
        ("atan", [1 / (1 + (0.2 * torch.pi) ** 2), 1.0, 1 / (1 + (0.1 * torch.pi) ** 2)]),
    ],
)
def test_surrogate_gradients_equal_their_formula(name, expected):
    excess = torch.tensor([0.2, 0.0, -0.1], dtype=torch.float64, requires_grad=True)
    spk = integrator(surrogate=name).fire(excess)
    spk.sum().backward()
    assert spk.tolist() == [1.0, 0.0, 0.0]
    torch.testing.assert_close(excess.grad, torch.tensor(expected, dtype=torch.float64))


def test_fast_sigmoid_and_compact_have_the_same_height_and_area():
    excess = torch.linspace(-400, 400, 8_000_001, dtype=torch.float64).requires_grad_()
    areas = []
    for name in ("fast_sigmoid", "compact"):
        (grad,) = torch.autograd.grad(integrator(surrogate=name).fire(excess).sum(), excess)
        areas.append(float(grad.sum() * 1e-4))
    assert areas == pytest.approx([2 / 25, 2 / 25], rel=1e-3)


@pytest.mark.parametrize("slope", [1.0, 2.0, 5.0])
def test_arc_tangent_is_snntorchs(slope):
    excess = torch.linspace(-2, 2, 41, dtype=torch.float64).requires_grad_()
    theirs = torch.autograd.grad(surrogate.atan(slope)(excess).sum(), excess)
    torch.testing.assert_close(
        torch.autograd.grad(integrator(surrogate="atan", slope=slope).fire(excess).sum(), excess), theirs
    )
    assert integrator(surrogate="atan").slope == 2.0


def test_registered_surrogate_is_used_with_its_slope(monkeypatch):
    monkeypatch.setattr(reference, "SURROGATES", dict(reference.SURROGATES))

    def derivative(v, slope):
        return slope * torch.exp(-(v**2))

    for _ in range(2):  # a cell of a notebook is run again
        register_surrogate("gaussian", derivative, slope=3.0)
    excess = torch.tensor([0.5, -1.0], requires_grad=True)
    for neuron, slope in ((integrator(surrogate="gaussian"), 3.0), (integrator(surrogate="gaussian", slope=2.0), 2.0)):
        spk = neuron.fire(excess)
        (grad,) = torch.autograd.grad(spk.sum(), excess)
        assert spk.tolist() == [1.0, 0.0]
        torch.testing.assert_close(grad, slope * torch.exp(-(excess.detach() ** 2)))
    with pytest.raises(ValueError, match="two definitions are called 'compact'"):
        register_surrogate("compact", derivative)


def test_function_of_ones_own_is_called_as_it_is():
    cur = torch.tensor([[0.6], [0.6], [0.6]])
    spk_rec, mem_rec = run(cur, integrator(surrogate=surrogate.heaviside()))
    assert spk_rec.flatten().tolist() == [0.0, 1.0, 0.0]
    torch.testing.assert_close(mem_rec.flatten(), torch.tensor([0.6, 1.2, 0.8]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"surrogate": "fast_sigmoit"}, "Did you mean 'fast_sigmoid'"),
        ({"slope": 0}, "`slope` must be a number > 0"),
        ({"numbers": {"threshold": float("nan")}}, "`threshold`"),
    ],
)
def test_neuron_refuses_wrong_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        integrator(**arguments)


def test_batch_norm_counts_batches_as_torch_does():
    module = torch.nn.BatchNorm2d(4)
    BatchNorm.of(module)
    BatchNorm.of(module.eval())
    assert int(module.num_batches_tracked) == 1


def test_batch_norm_without_momentum_averages_all_batches_as_torch_does():
    ours, theirs = (torch.nn.BatchNorm2d(3, momentum=None) for _ in range(2))
    for seed in range(3):
        cur = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
        BatchNorm.of(ours).apply(cur)
        theirs(cur)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
