"""A neuron and a surrogate of one's own, each in one file: no kernel, and computed exactly for that."""

import importlib.util
import textwrap

import pytest
import torch
from torch.nn import functional as F

from snn_helpers.engine import SURROGATES, cpu, reference, register_kernel, serves
from snn_helpers.engine import neurons as run_neurons
from snn_helpers.engine.kernels import _KERNELS, Kernel
from snn_helpers.neurons import NEURONS, Leaky, SpikingNeuron, clamp_parameters, register_neuron

FILE = '''
    """Leaky neurons that do not fire for some steps after a spike, and a bell-shaped surrogate."""
    import torch
    from snn_helpers.engine import register_surrogate
    from snn_helpers.neurons import SpikingNeuron, register_neuron

    register_surrogate("bell", lambda v, slope: torch.exp(-((slope * v) ** 2)), slope=4.0)

    @register_neuron
    class Refractory(SpikingNeuron):
        """Neurons with a refractory time of two steps."""
        kind = "refractory"
        ranges = {"beta": (0, 1), "threshold": (0, None)}
        states = ("mem", "wait")

        def __init__(self, beta=0.9, threshold=1.0, **options):
            super().__init__({"beta": beta, "threshold": threshold}, **options)

        @staticmethod
        def equation(cur, spk, mem, wait, *, beta, threshold):
            wait = torch.where(spk.detach() > 0, torch.full_like(wait, 2.0), (wait - 1).clamp(min=0))
            return beta * mem + cur - spk.detach() * threshold, wait

        @staticmethod
        def excess(mem, wait, threshold, **_):
            return torch.where(wait > 0, -torch.ones_like(mem), mem - threshold)
'''


@pytest.fixture
def refractory(tmp_path, monkeypatch):
    """Load the file above as a user would, and forget it afterwards."""
    for table in (NEURONS, SURROGATES):
        for name in list(table):
            monkeypatch.setitem(table, name, table[name])
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(FILE), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mine", path)
    for _ in range(2):  # loaded again: it takes the place of its former self
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    yield module.Refractory
    del NEURONS["refractory"], SURROGATES["bell"]


def test_own_neuron_is_computed_by_its_own_equation_on_every_engine(refractory):
    cur = torch.full((7, 1, 1), 2.0)
    for engine in ("auto", "cpu", "reference", "cuda"):
        spk_rec, mem_rec = refractory(beta=0.5, engine=engine)(cur)
        # u: 2, fires; 1 + 2 - 1 and 1 + 2 wait; 1.5 + 2 fires
        assert spk_rec.flatten().tolist() == [1, 0, 0, 1, 0, 0, 1]
        assert mem_rec.flatten().tolist()[:4] == [2.0, 2.0, 3.0, 3.5]
    for operation in ("neurons", "conv_layer"):  # by kernels generated from the equation
        assert serves(operation, refractory().neuron(), "cpu") is None


def test_own_neuron_and_surrogate_do_all_that_ours_do(refractory):
    assert {"refractory", "leaky", "synaptic", "alif"} <= set(NEURONS)
    neurons = refractory(surrogate="bell", learn=("beta",))
    cur = torch.rand(8, 2, 3)
    spk_rec, mem_rec = neurons(cur)
    spk_rec.sum().backward()
    assert neurons.beta.grad.abs() > 0
    hidden, state = refractory(surrogate="bell", init_hidden=True, output=True), ()
    for one, spk, mem in zip(cur, spk_rec, mem_rec):
        step_spk, *state = neurons.step(one, *state)
        assert torch.equal(step_spk, spk)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(hidden(one), (spk, mem)))
    with torch.no_grad():
        neurons.beta.fill_(7.0)
    clamp_parameters(neurons)
    assert neurons.number("beta") == 1.0
    assert torch.equal(neurons.run_snntorch(cur)[0], neurons(cur)[0])  # snnTorch has none: the equation itself


def test_own_neuron_after_a_convolution_equals_the_plain_layers(refractory):
    torch.manual_seed(0)
    count, weight = (torch.rand(6, 2, 2, 6, 6) < 0.3).byte(), torch.randn(4, 2, 3, 3, requires_grad=True)
    neuron, module = refractory().neuron(), torch.nn.BatchNorm2d(4)
    out = cpu.conv_layer(count, weight, None, neuron, norm=reference.BatchNorm.of(module), pool=2, keep_mem=True)
    again = torch.nn.BatchNorm2d(4)
    cur = F.max_pool2d(again(F.conv2d(count.flatten(0, 1).float(), weight, padding=1)), 2).unflatten(0, (6, 2))
    spk, mem = reference.run(cur, neuron)
    assert torch.equal(out.float(), spk)
    torch.testing.assert_close(out.mem, mem)  # normalised currents are equal to rounding
    assert 0.01 < spk.mean() < 0.9
    ours, theirs = (torch.autograd.grad(s.square().sum(), weight)[0] for s in (out.float(), spk))
    torch.testing.assert_close(ours, theirs)


def test_own_kernel_serves_its_kind_alone(refractory, monkeypatch):
    monkeypatch.setattr("snn_helpers.engine.kernels._KERNELS", dict(_KERNELS))
    called = []

    def kernel(cur, neuron):
        called.append(neuron.kind)
        return reference.run(cur, neuron)

    register_kernel("cpu", "neurons", "refractory", Kernel(kernel, ("fast_sigmoid",)))
    cur = torch.rand(3, 2, 4)
    refractory()(cur)
    Leaky()(cur)
    refractory(surrogate="bell")(cur)
    assert called == ["refractory"]


@pytest.mark.parametrize(
    ("change", "reason", "lacks"),
    [
        ({"beta": torch.full((4,), 0.5)}, None, "`beta` has a number a neuron"),
        ({"surrogate": lambda v: (v > 0).float()}, None, "a function of one's own"),
        ({"surrogate": lambda v: v.clamp(min=0)}, "its spikes are not zeros and ones", "a function of one's own"),
        ({}, None, None),
        ({"beta": torch.tensor(0.5)}, None, None),
        ({"learn": ("threshold",)}, None, None),
    ],
)
def test_serves_says_what_a_kernel_lacks(change, reason, lacks, monkeypatch):
    neuron = Leaky(**change).neuron()
    found = serves("conv_layer", neuron, torch.device("cpu"))
    assert found is None if reason is None else reason in found
    monkeypatch.setattr("snn_helpers.engine.kernels._KERNELS", {})
    monkeypatch.setattr("snn_helpers.engine.kernels._MAKERS", {})
    assert "no kernel on 'cpu' computes `conv_layer`" in serves("conv_layer", neuron, "cpu")
    register_kernel("cpu", "conv_layer", "leaky", Kernel(print, ("fast_sigmoid",)))  # written by hand
    found = serves("conv_layer", neuron, "cpu")
    assert found is None if lacks is None else lacks in found


def test_no_device_but_cpu_and_cuda_has_kernels():
    assert serves("linear", None, "cpu") is None
    assert serves("neurons", Leaky().neuron(), "mps") == "there are no kernels for the device 'mps'"
    with pytest.raises(ValueError, match="`operation` must be one of"):
        serves("neuron", Leaky().neuron(), "cpu")


def test_neurons_of_another_type_run_by_the_reference_under_auto():
    cur = torch.rand(4, 2, 3, dtype=torch.float64)
    spk_rec, mem_rec = run_neurons(cur, Leaky().neuron())
    assert mem_rec.dtype == torch.float64
    assert torch.equal(spk_rec, reference.run(cur, Leaky().neuron())[0])
    with pytest.raises(ValueError, match="at least one step"):
        run_neurons(cur[:0], Leaky().neuron())


def test_an_equation_of_ones_own_under_another_kinds_name_is_refused():
    with pytest.raises(TypeError, match="Other has an equation of its own: give it a `kind` of its own, too"):

        class Other(Leaky):
            @staticmethod
            def equation(cur, spk, mem, *, beta, threshold):
                return (mem,)

    with pytest.raises(ValueError, match="two definitions are called 'leaky'"):

        @register_neuron
        class Another(SpikingNeuron):
            kind = "leaky"

            @staticmethod
            def equation(cur, spk, mem):
                return (mem + cur,)

    with pytest.raises(ValueError, match="must name the membrane 'mem'"):

        @register_neuron
        class Stateless(SpikingNeuron):
            kind, states = "stateless", ("syn",)

    with pytest.raises(TypeError, match="Empty has no `equation`: write one time step in plain torch"):

        @register_neuron
        class Empty(SpikingNeuron):
            kind = "empty"
