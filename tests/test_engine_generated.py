"""Kernels generated from a neuron's equation equal snnTorch's loop bit for bit, and say what they cannot be made of."""

import dataclasses
import subprocess
import sys
import threading
import types

import numba
import pytest
import snntorch
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from snntorch import surrogate
from torch import nn
from torch.nn import functional as F

from snn_helpers._paths import kernel_sources
from snn_helpers.engine import cpu, reference, serves
from snn_helpers.engine.cpu import generated
from snn_helpers.engine.cpu.scalars import exp
from snn_helpers.engine.reference import Neuron
from snn_helpers.engine.spikes import Spikes
from snn_helpers.neurons import ALIF, Leaky, SpikingNeuron, Synaptic, as_neuron
from snn_helpers.over_time import accelerate


@pytest.fixture(autouse=True)
def leave_no_snntorch_neuron():
    yield
    snntorch.SpikingNeuron.instances.clear()


def loop(module, cur):
    """Run snnTorch's neuron step by step, from the state that it starts with."""
    state, spk_rec, mem_rec = [], [], []
    for one in cur:
        hidden = (spk_rec[-1], *state) if hasattr(module, "recurrent") and spk_rec else state
        spk, *state = module(one, *hidden)
        spk_rec.append(spk)
        mem_rec.append(state[-1])
    return torch.stack(spk_rec), torch.stack(mem_rec)


def currents(*shape, seed=0):
    return (0.4 + 0.8 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def assert_equal(ours, theirs, cur, neuron_leaves, rel=1e-5):
    """Hold results to the last bit, gradients as wholes to rounding."""
    up = torch.randn(2, *cur.shape, generator=torch.Generator().manual_seed(1))
    leaves = [cur, *neuron_leaves]
    grads = []
    for spk, mem in (ours, theirs):
        grads.append(torch.autograd.grad((up[0] * spk + up[1] * mem).sum(), leaves, allow_unused=True))
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    for one, other in zip(*grads):
        if one is None or other is None:
            assert all(g is None or not g.any() for g in (one, other))
        else:
            torch.testing.assert_close(one.isnan(), other.isnan())
            one, other = one.nan_to_num(), other.nan_to_num()
            assert torch.linalg.vector_norm(one - other) <= rel * torch.linalg.vector_norm(other) + 1e-12


RESETS = ("subtract", "zero", "none")
NEURONS = {
    "leaky": lambda **o: snntorch.Leaky(0.9, learn_beta=True, **o),
    "leaky, a beta each": lambda **o: snntorch.Leaky(torch.linspace(0.3, 0.95, 7), learn_beta=True, **o),
    "leaky at once": lambda **o: snntorch.Leaky(0.9, reset_delay=False, learn_threshold=True, **o),
    "synaptic": lambda **o: snntorch.Synaptic(0.6, torch.rand(7), learn_alpha=True, learn_beta=True, **o),
    "synaptic at once": lambda **o: snntorch.Synaptic(0.6, 0.9, reset_delay=False, **o),
    "lapicque": lambda **o: snntorch.Lapicque(beta=0.8, learn_threshold=True, **o),
    "lapicque of R and C": lambda **o: snntorch.Lapicque(R=5, C=0.7, **o),
    "alpha": lambda **o: snntorch.Alpha(0.9, 0.7, learn_beta=True, learn_threshold=True, **o),
}


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("name", NEURONS)
def test_neurons_of_snntorch_equal_their_loop(name, reset):
    module = NEURONS[name](reset_mechanism=reset)
    neuron, cur = as_neuron(module), currents(20, 3, 7)
    assert serves("neurons", neuron, "cpu") is None
    theirs = loop(module, cur)
    assert theirs[0].any() or name == "lapicque of R and C"
    assert_equal(cpu.neurons(cur, neuron), theirs, cur, module.parameters(), 2e-5)
    assert serves("neurons", neuron, "cpu") is None  # not by the reference, after a trial that failed


@pytest.mark.parametrize("density", ["dense", "few fire"])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("kind", [snntorch.RLeaky, snntorch.RSynaptic])
def test_recurrent_neurons_equal_their_loop(kind, reset, density, monkeypatch):
    monkeypatch.setattr("snn_helpers.engine.cpu.recurrent.FEW", 0.0 if density == "dense" else 1.0)
    decays = (0.9,) if kind is snntorch.RLeaky else (0.7, 0.9)
    module = kind(*decays, linear_features=19, reset_mechanism=reset, learn_beta=True, learn_threshold=True)
    with torch.no_grad():  # sums of these are exact in any order
        module.recurrent.weight.copy_((64 * module.recurrent.weight).round() / 64)
        module.recurrent.bias.copy_((64 * module.recurrent.bias).round() / 64)
    neuron, cur = as_neuron(module), currents(20, 5, 19)
    assert serves("neurons", neuron, "cpu") is None
    assert_equal(cpu.neurons(cur, neuron), loop(module, cur), cur, module.parameters(), 2e-5)
    assert serves("neurons", neuron, "cpu") is None


@pytest.mark.parametrize("learn", [False, True])
def test_graded_spikes_equal_their_loop(learn):
    module = snntorch.Leaky(0.8, graded_spikes_factor=0.3, learn_graded_spikes_factor=learn)
    cur = currents(15, 2, 6)
    assert_equal(cpu.neurons(cur, as_neuron(module)), loop(module, cur), cur, module.parameters())


def test_a_threshold_below_zero_fires_before_the_first_step():
    module = snntorch.Leaky(0.8, threshold=-0.1, reset_mechanism="zero")
    cur = currents(9, 2, 6)
    assert_equal(cpu.neurons(cur, as_neuron(module)), loop(module, cur), cur, [])


SURROGATES = {
    "sigmoid": surrogate.sigmoid(slope=7),
    "escape": surrogate.spike_rate_escape(beta=2, slope=3),
    "sparse": surrogate.SFS(slope=10, B=-0.5),
    "heaviside": surrogate.heaviside(),
    "straight": surrogate.straight_through_estimator(),
    "fast": surrogate.fast_sigmoid(slope=3),
    "atan": surrogate.atan(alpha=4.0),
    "custom": surrogate.custom_surrogate(lambda v, grad, spk: grad * torch.exp(-v * v)),
}


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("kind", [snntorch.Leaky, snntorch.Lapicque])
def test_surrogates_of_snntorch_have_the_gradients_of_their_loop(name, kind):
    module = kind(0.8, spike_grad=SURROGATES[name])
    neuron, cur = as_neuron(module), currents(12, 2, 40)
    assert serves("neurons", neuron, "cpu") is None
    assert_equal(cpu.neurons(cur, neuron), loop(module, cur), cur, [], 2e-5)


def test_a_number_a_neuron_in_an_image_equals_the_loop():
    beta, threshold = torch.rand(4, 1, 1), 0.5 + torch.rand(4, 5, 1)
    module = snntorch.Leaky(beta, threshold=threshold, learn_beta=True, learn_threshold=True)
    cur = currents(10, 2, 4, 5, 6)
    assert_equal(cpu.neurons(cur, as_neuron(module)), loop(module, cur), cur, module.parameters())


@pytest.mark.parametrize("make", [Leaky, Synaptic, ALIF])
def test_two_runs_are_equal_for_any_number_of_threads(make):
    module, cur = make(learn=("beta", "threshold")), currents(8, 16, 700)
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3, 1):
            torch.set_num_threads(count)
            outs = cpu.neurons(cur, module.neuron())
            results.append((*outs, *torch.autograd.grad(sum(o.sum() for o in outs), [cur, *module.parameters()])))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def own(equation, excess=None, states=("mem",), fire="fast_sigmoid", **numbers):
    rule = {} if excess is None else {"excess": excess}
    return Neuron("own", equation, {"beta": 0.9, "threshold": 1.0, **numbers}, states, surrogate=fire, **rule)


def expressions():
    """Equations in plain torch, as text."""
    leaf = st.sampled_from(
        ["cur", "mem", "spk.detach()", "other", "beta", "threshold", "0.3", "mem.abs()", "cur.clamp(min=0)"]
    )

    def grow(inner):
        two = st.tuples(inner, inner)
        return st.one_of(
            two.map("({0[0]} + {0[1]})".format),
            two.map("({0[0]} - {0[1]})".format), two.map("({0[0]} * {0[1]})".format),
            two.map("torch.where(mem > other, {0[0]} + zero, {0[1]} + zero)".format),
            two.map("torch.maximum({0[0]} + zero, {0[1]} + zero)".format),
            inner.map("({0} + zero).clamp(-1, 1)".format), inner.map("({0} / (1 + mem * mem))".format),
            inner.map("({0} + zero) ** 2".format),
        )  # fmt: skip

    return st.recursive(leaf, grow, max_leaves=6)


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # each compiles
@given(expressions(), expressions(), st.booleans())
def test_equations_of_any_form_equal_the_reference(first, second, learn):
    code = (
        "lambda cur, spk, mem, other, *, beta, threshold: (lambda zero: ("
        f"(beta * mem + 0.5 * ({first})).clamp(-4, 4), ({second} + zero).clamp(-2, 2)))(torch.zeros_like(mem))"
    )
    numbers = {"beta": torch.tensor(0.7, requires_grad=learn), "threshold": torch.tensor(0.5, requires_grad=learn)}
    neuron = own(eval(code), states=("mem", "other"), **numbers)
    cur = currents(9, 2, 11)
    assert serves("neurons", neuron, "cpu") is None
    made = generated.generate(neuron)
    assert made.try_out(cur, neuron) is None
    spk, mem = reference.run(cur, neuron)
    for ours, theirs in zip(made.run(cur, neuron), (spk, mem)):
        assert torch.equal(ours, theirs)


def leak(cur, spk, mem, *, beta, threshold):
    return (beta * mem + cur - spk.detach() * threshold,)


def branch(cur, spk, mem, *, beta, threshold):
    return (beta * mem + cur if mem.mean() > 0 else mem + cur,)


@pytest.mark.parametrize(
    ("equation", "reason"),
    [
        (branch, "asks for a tensor's value"),
        (lambda cur, spk, mem, beta, threshold: (beta * mem + cur - spk.sum(-1, keepdim=True),), "mixes neurons"),
        (lambda cur, spk, mem, beta, threshold: (beta * mem + cur + torch.roll(mem, 1, -1),), "mixes neurons"),
        (lambda cur, spk, mem, beta, threshold: (beta * mem + cur + torch.randn_like(cur),), "random"),
        (lambda cur, spk, mem, beta, threshold: (beta * mem + torch.exp(mem - cur),), "does not round `exp` as torch"),
        (lambda cur, spk, mem, beta, threshold: (torch.add(mem, cur, alpha=0.3),), "with `alpha`"),
        (lambda cur, spk, mem, beta, threshold: (torch.lerp(cur, mem, 0.3),), "no kernel has this operation"),
        (lambda cur, spk, mem, beta, threshold: ((beta * mem.double() + cur).float(),), "float64"),
    ],
)
def test_what_no_kernel_can_be_generated_from_says_why_and_runs_by_the_reference(equation, reason):
    neuron, cur = own(equation), currents(6, 2, 5)
    assert reason in serves("neurons", neuron, "cpu")
    if reason != "random":
        assert all(map(torch.equal, cpu.neurons(cur, neuron), reference.run(cur, neuron)))


def test_what_computes_something_else_than_its_trace_runs_by_the_reference():
    class Counts:
        calls = 0

        def __call__(self, cur, spk, mem, *, beta, threshold):
            self.calls += 1
            return (beta * mem + cur * (1 + self.calls % 3),)

    neuron, cur = own(Counts()), currents(6, 2, 5)
    cpu.neurons(cur, neuron)
    neuron.equation.calls = 0
    ours = cpu.neurons(cur, neuron)[1]
    assert not torch.equal(ours, cpu.neurons(cur, own(leak))[1])
    assert "not" in str(serves("neurons", neuron, "cpu")) or generated.generate(neuron).reason is None


def test_a_surrogate_that_changes_is_noticed():
    settings = {"slope": 1.0}
    fire = surrogate.custom_surrogate(lambda v, grad, spk: grad * settings["slope"])
    neuron, cur = own(leak, fire=fire), currents(4, 2, 5)
    grads = []
    for settings["slope"] in (1.0, 3.0):
        grads.append(torch.autograd.grad(cpu.neurons(cur, neuron)[0].sum(), cur)[0])
    torch.testing.assert_close(grads[1][-1], 3 * grads[0][-1])


def test_a_first_call_in_inference_mode_has_its_kernel():
    neuron, cur = own(lambda cur, spk, mem, beta, threshold: (0.5 * beta * mem + cur,)), currents(4, 2, 5)
    with torch.inference_mode():
        numbers = {name: torch.tensor(value) for name, value in neuron.numbers.items()}
        cpu.neurons(cur.detach(), dataclasses.replace(neuron, numbers=numbers))
    assert generated.generate(neuron).reason is None
    assert_equal(cpu.neurons(cur, neuron), reference.run(cur, neuron), cur, [])


class Tired(SpikingNeuron):
    """Neurons whose membrane decays faster the more they have fired, and is halved where they fire."""

    kind = "tired"
    ranges = types.MappingProxyType({"beta": (0, 1), "threshold": (0, None), "rest": (0, 1)})
    states = ("mem", "fatigue")

    def __init__(self, beta=0.9, threshold=1.0, rest=0.8, **options):
        super().__init__({"beta": beta, "threshold": threshold, "rest": rest}, **options)

    @staticmethod
    def equation(cur, spk, mem, fatigue, *, beta, threshold, rest):
        fatigue = rest * fatigue + 0.25 * spk
        return beta * mem / (1 + fatigue) * torch.where(spk.detach() > 0, 0.5, 1.0) + cur, fatigue


class Squares(Leaky):
    kind = "squares"

    @staticmethod
    def equation(cur, spk, mem, *, beta, threshold):
        return (beta * mem + 0.5 * cur * cur - spk.detach() * threshold,)


LAYERS = {
    "of one's own": lambda: Tired(surrogate="atan", learn=("beta", "threshold", "rest")),
    "own surrogate": lambda: Tired(surrogate=surrogate.custom_surrogate(lambda v, grad, spk: grad / (1 + v * v))),
    "leaky to zero": lambda: snntorch.Leaky(0.9, reset_mechanism="zero", learn_beta=True, learn_threshold=True),
    "leaky at once": lambda: snntorch.Leaky(0.9, reset_delay=False, learn_beta=True),
    "a number a channel": lambda: snntorch.Leaky(torch.rand(6, 1, 1), learn_beta=True),
    "synaptic": lambda: snntorch.Synaptic(0.6, 0.9, learn_alpha=True, learn_beta=True, reset_mechanism="none"),
    "squares": lambda: Squares(),
    "lapicque": lambda: snntorch.Lapicque(beta=0.8, threshold=0.2, learn_threshold=True, learn_beta=True),
    "alpha": lambda: snntorch.Alpha(0.9, 0.7, learn_beta=True, learn_threshold=True),
}


def layer_of(module, pool, **options):
    """Run a layer of `module` on counts, and the loop over its own neurons; return results with all that has gradients.

    Weights are of 64ths, so that currents are exact in any order.
    """
    generator = torch.Generator().manual_seed(3)
    count = (torch.rand(9, 3, 4, 7, 8, generator=generator) < 0.2).byte()
    weight = (25 * torch.randn(6, 4, 3, 3, generator=generator)).round().div(64).requires_grad_()
    path, frames = torch.zeros(count.shape, requires_grad=True), count.float().requires_grad_()
    out = cpu.conv_layer(Spikes(count, path), weight, None, as_neuron(module), pool=pool, keep_mem=True, **options)
    cur = F.conv2d(frames.flatten(0, 1), weight, padding=1)
    cur = (F.max_pool2d(cur, 2) if pool == 2 else cur).unflatten(0, (9, 3))
    theirs = reference.run(cur, module.neuron()) if isinstance(module, SpikingNeuron) else loop(module, cur)
    return out, theirs, [path, weight, *module.parameters()], [frames, weight, *module.parameters()]


@pytest.mark.parametrize("path", ["events", "dense"])
@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_any_neuron_in_a_layer_with_a_convolution_equals_its_loop(name, pool, path):
    module = LAYERS[name]()
    assert serves("conv_layer", as_neuron(module), "cpu") is None
    out, (spk, mem), ours, theirs = layer_of(module, pool, path=path)
    assert generated.generate(as_neuron(module), layer=True).reason is None  # no trial has failed
    assert out.count.dtype == torch.uint8
    assert 0.02 < spk.mean() < 0.95
    assert torch.equal(out.count.float(), spk)
    assert torch.equal(out.mem, mem)
    up = torch.randn(spk.shape, generator=torch.Generator().manual_seed(4))
    sides = ((out.float(), ours), (spk, theirs))  # Lapicque's numbers share what they are computed from
    grads = (torch.autograd.grad((up * one).sum(), leaves, retain_graph=True) for one, leaves in sides)
    for one, other in zip(*grads):
        assert torch.linalg.vector_norm(one - other) <= 1e-5 * torch.linalg.vector_norm(other) + 1e-12


def test_layers_are_equal_for_any_number_of_threads_and_keep_no_membranes_unasked():
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3, 1):
            torch.set_num_threads(count)
            out, _, leaves, _ = layer_of(Tired(learn=("beta", "rest")), 2)
            results.append((out.count, out.mem, *torch.autograd.grad(out.float().square().sum(), leaves[:-1])))
    finally:
        torch.set_num_threads(threads)
    assert all(all(map(torch.equal, results[0], other)) for other in results[1:])
    with torch.no_grad():
        weight = torch.ones(6, 4, 3, 3) / 8
        out = cpu.conv_layer(torch.ones(5, 2, 4, 6, 6).byte(), weight, None, Tired().neuron(), path="events")
        cur = F.conv2d(torch.ones(10, 4, 6, 6), weight, padding=1).unflatten(0, (5, 2))
    assert out.mem is None
    assert torch.equal(out.count.float(), reference.run(cur, Tired().neuron())[0])


@pytest.mark.parametrize(
    ("neuron", "reason"),
    [
        (own(leak, fire=lambda v: 2.0 * (v > 0).float()), "its spikes are not zeros and ones"),
        (as_neuron(snntorch.Leaky(0.8, graded_spikes_factor=2.0)), "its spikes are not zeros and ones"),
        (as_neuron(snntorch.Leaky(0.8, learn_graded_spikes_factor=True)), "not zeros and ones, but learned"),
        (as_neuron(snntorch.RLeaky(0.8, linear_features=8)), "a recurrence"),
    ],
)
def test_layers_whose_neurons_need_more_than_bytes_say_why_and_run_in_parts(neuron, reason):
    assert reason in serves("conv_layer", neuron, "cpu")
    if neuron.recurrence is None:
        count, weight = (torch.rand(5, 2, 3, 6, 6) < 0.3).byte(), torch.randn(4, 3, 3, 3)
        out = cpu.conv_layer(count, weight, None, neuron)
        cur = F.conv2d(count.float().flatten(0, 1), weight, padding=1).unflatten(0, (5, 2))
        assert torch.equal(out.float(), reference.run(cur, neuron)[0])


def test_slopes_share_one_kernel():
    texts = {generated.generate(Leaky(slope=slope).neuron()).source.text for slope in (3.0, 7.0, 25.0)}
    assert len(texts) == 1


def test_explain_says_that_a_kernel_was_generated_or_why_none_was():
    net = nn.Sequential(
        nn.Linear(4, 6), snntorch.Lapicque(0.9, init_hidden=True), nn.Linear(6, 3),
        snntorch.Leaky(0.9, init_hidden=True),
        snntorch.Leaky(0.9, init_hidden=True, spike_grad=surrogate.SSO()),
    )  # fmt: skip
    fast = accelerate(net)
    fast(torch.rand(5, 2, 4))
    text = fast.explain()
    assert "all steps in one kernel (snntorch.Lapicque), generated from its equation" in text
    assert "all steps in one kernel (leaky), generated from its equation" in text
    assert "step by step (leaky): no kernel can be generated from its equation: `rand_like`: it is random" in text


def test_source_stands_in_a_file_and_threads_that_need_it_at_once_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert kernel_sources() == tmp_path / "generated"
    text = "X = 5\n"
    modules = []
    threads = [threading.Thread(target=lambda: modules.append(generated._load(text))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (path,) = (tmp_path / "generated").iterdir()
    assert path.read_text() == text
    assert all(module.X == 5 for module in modules)


def test_kernels_are_kept_for_the_next_process_and_compiling_is_said_once(tmp_path):
    """In a fresh cache the message comes once; the next process is silent, since it loads what was compiled."""
    code = (
        "import torch; from snn_helpers.neurons import ALIF; from snn_helpers.engine import cpu;"
        "from snn_helpers.engine.cpu import generated;"
        "n = ALIF().neuron(); [cpu.neurons(torch.ones(2, 1, 3), n) for _ in range(2)];"
        "print(generated.generate(n).module.forward.cache_hits)"
    )
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": ""}
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        for _ in range(2)
    ]
    assert [run.stdout.strip() for run in runs] == ["0", "1"]
    assert runs[0].stderr.count("Compiling the event-driven kernels") == 1
    assert runs[1].stderr == ""


def test_exp_is_torchs_to_rounding():
    values = torch.linspace(-120, 100, 4001)
    compiled = numba.njit(lambda a: exp(a))
    ours = torch.tensor([compiled(v) for v in values.numpy()])
    theirs = values.exp()
    normal = theirs > 1e-37
    torch.testing.assert_close(ours[normal], theirs[normal], rtol=1e-6, atol=0)
    assert (ours[~normal] < 1e-37).all()
