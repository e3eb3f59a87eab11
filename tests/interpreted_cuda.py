"""The GPU's kernels in Triton's interpreter, on the CPU: run by `test_engine_cuda.py`, in a process of its own.

TRITON_INTERPRET is read when the kernels are defined, so that a process either interprets or compiles.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from snn_helpers.data import EventDataset, Provenance
from snn_helpers.engine import cuda, kernels, reference
from snn_helpers.engine.cuda.frames import DeviceEvents
from snn_helpers.engine.reference import BatchNorm
from snn_helpers.engine.spikes import Spikes
from snn_helpers.events.frames import Augment, FrameSpec, bin_frames
from snn_helpers.events.store import EventStore
from snn_helpers.neurons import ALIF, NEURONS, Leaky, Synaptic
from snn_helpers.over_time.runner import Runner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from zoo_compare import compare
from zoo_networks import ZOO

torch.set_num_threads(1)
LEARN = {Leaky: ("beta", "threshold"), Synaptic: ("beta", "threshold", "alpha")}
LEARN[ALIF] = ("beta", "threshold", "rho", "adaptation")


@pytest.mark.parametrize(
    ("kind", "surrogate", "learn"),
    [("leaky", "fast_sigmoid", False), ("synaptic", "compact", True), ("alif", "atan", True)],
)
def test_neurons_equal_the_reference(kind, surrogate, learn):
    torch.manual_seed(0)
    make = NEURONS[kind]
    cur, up, results = (0.7 * torch.randn(6, 2, 301)).requires_grad_(), torch.randn(2, 6, 2, 301), []
    for function in (reference.run, cuda.neurons):
        module = make(threshold=0.8, surrogate=surrogate, learn=LEARN[make] if learn else ())
        assert kernels.serves("neurons", module.neuron(), "cuda") is None
        spk, mem = function(cur, module.neuron())
        results.append((spk, mem, *torch.autograd.grad((up[0] * spk + up[1] * mem).sum(), [cur, *module.parameters()])))
    (spk, mem, *grads), (our_spk, our_mem, *our_grads) = results
    assert torch.equal(spk, our_spk)
    assert torch.equal(mem, our_mem)
    for grad, our_grad in zip(grads, our_grads):
        torch.testing.assert_close(our_grad, grad, rtol=1e-4, atol=1e-4)


def plain_layer(count, path, weight, bias, neuron, norm, pool, stride, padding):
    frames = count.float() if path is None else count.float() + (path - path.detach())
    cur = F.conv2d(frames.flatten(0, 1), weight, bias, stride, padding)
    cur = cur if norm is None else norm(cur)
    cur = F.max_pool2d(cur, pool) if pool > 1 else cur
    return reference.run(cur.unflatten(0, count.shape[:2]), neuron)


def new_norm(channels, training):
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(channels).train(training)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(channels) + 0.5)
        norm.weight[::2] *= -1  # what is largest becomes smallest
        norm.weight[1], norm.weight[2] = 0.0, -0.01
        norm.bias.copy_(0.3 * torch.randn(channels))
        norm.running_mean.copy_(0.1 * torch.randn(channels))
        norm.running_var.copy_(torch.rand(channels) + 0.5)
    return norm


# T, B, C, H, W, channels out, size, stride, padding, pool, neurons, normalisation
FIRST = {
    "as in SpikingCNN": (3, 2, 2, 8, 8, 8, 3, 1, 1, 2, Leaky, None),
    "batch statistics": (3, 2, 2, 8, 8, 8, 3, 1, 1, 2, Leaky, "train"),
    "5x5, odd sides, adaptive": (3, 2, 2, 9, 7, 12, 5, 1, 0, 2, ALIF, "train"),
    "5x5, stride 2, no pool": (3, 2, 1, 9, 7, 40, 5, 2, 2, 1, Synaptic, "train"),
    "running statistics": (3, 2, 2, 8, 8, 8, 3, 1, 1, 2, Leaky, "eval"),
    "one step, one recording": (1, 1, 2, 8, 8, 8, 3, 1, 1, 2, Leaky, None),
}
LATER = {
    "pooled products": (3, 2, 16, 6, 5, 24, 3, 1, 1, 2, Leaky, None),
    "5x5, batch statistics": (2, 1, 5, 6, 6, 18, 5, 1, 2, 2, Leaky, "train"),
    "no pool, adaptive": (3, 1, 12, 5, 6, 20, 3, 1, 1, 1, ALIF, "train"),
    "stride 2": (3, 1, 12, 7, 6, 20, 3, 2, 1, 1, Synaptic, None),
    "many channels, running statistics": (2, 1, 70, 4, 5, 33, 3, 1, 1, 2, Leaky, "eval"),
}


@pytest.mark.parametrize("case", [*FIRST, *LATER])
def test_conv_layer_equals_torch(case):
    later = case in LATER
    steps, batch, n_in, height, width, n_out, size, stride, padding, pool, make, state = {**FIRST, **LATER}[case]
    torch.manual_seed(0)
    rates = torch.full((steps, batch, n_in, height, width), 0.3 if later else 0.5)
    count = torch.bernoulli(rates).byte() if later else torch.poisson(rates).clamp(max=9).byte()
    weight = (1.2 * torch.randn(n_out, n_in, size, size) / (n_in * size * size) ** 0.5).requires_grad_()
    bias = (0.1 * torch.randn(n_out)).requires_grad_()
    path, results, up = torch.zeros(count.shape, requires_grad=True) if later else None, [], None
    for ours in (True, False):
        module, norm = (
            make(threshold=0.8, learn=LEARN[make]),
            None if state is None else new_norm(n_out, state == "train"),
        )
        leaves = [t for t in (path, weight) if t is not None] + list(module.parameters())
        leaves += [bias] if norm is None else [norm.weight, norm.bias]
        if ours:
            norm_of = None if norm is None else BatchNorm.of(norm)
            out = cuda.conv_layer(
                Spikes(count, path), weight, bias, module.neuron(), norm=norm_of, pool=pool, stride=stride,
                padding=padding, keep_mem=True,
            )  # fmt: skip
            spk, mem = out.float(), out.mem
        else:
            spk, mem = plain_layer(count, path, weight, bias, module.neuron(), norm, pool, stride, padding)
        up = torch.randn(spk.shape) if up is None else up
        grads = torch.autograd.grad((spk * up).sum(), leaves)
        results.append((spk, mem, grads, [] if norm is None else [norm.running_mean, norm.running_var]))
    (spk, mem, grads, running), (our_spk, our_mem, our_grads, our_running) = results[1], results[0]
    assert 0.05 < spk.mean() < 0.8
    assert torch.equal(spk, our_spk)
    torch.testing.assert_close(our_mem, mem, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip((*our_grads, *our_running), (*grads, *running)):
        assert (ours - theirs).norm() <= 2e-4 * theirs.norm() + 2e-4


def test_conv_layer_has_no_range_to_fall_out_of():
    """Weights beyond float16's largest number, and beside them small ones."""
    torch.manual_seed(0)
    count = (torch.rand(2, 1, 16, 4, 4) < 0.3).byte()
    weight = torch.randn(16, 16, 3, 3) * torch.logspace(-2, 5, 16)[:, None, None, None]
    neuron = Leaky().neuron()
    spk = cuda.conv_layer(count, weight, None, neuron).float()
    assert torch.equal(spk, plain_layer(count, None, weight, None, neuron, None, 1, 1, 1)[0])


@pytest.mark.parametrize("image", [False, True])
def test_linear_equals_torch(image):
    torch.manual_seed(0)
    shape = (3, 2, 12, 2, 3) if image else (3, 2, 70)
    count, features = (torch.rand(shape) < 0.3).byte(), 72 if image else 70
    path, bias = torch.zeros(shape, requires_grad=True), torch.randn(20, requires_grad=True)
    weight = torch.randn(20, features, requires_grad=True)
    up = torch.randn(3, 2, 20)
    out = cuda.linear(Spikes(count, path), weight, bias)
    expected = F.linear((count.float() + path).flatten(2), weight, bias)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad((out * up).sum(), [path, weight, bias]),
        torch.autograd.grad((expected * up).sum(), [path, weight, bias]),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_one_product_is_not_exact():
    torch.manual_seed(0)
    count, weight = (torch.rand(1, 4, 256) < 0.5).byte(), torch.randn(32, 256)
    exact = F.linear(count.double(), weight.double())
    far = {p: float((cuda.linear(count, weight, precision=p) - exact).abs().max()) for p in ("exact", "float16")}
    assert far["exact"] < 1e-5 < 1e-3 < far["float16"]


@pytest.mark.filterwarnings("ignore::snn_helpers.events.frames.EventsLostWarning")  # bins that are too few for all
@pytest.mark.parametrize(
    ("spec", "augment"),
    [
        (FrameSpec(5), Augment()),
        (FrameSpec(4, "tonic"), Augment(drop=0.3)),
        (FrameSpec(3, window_us=40_000), Augment(max_shift=2)),
        (FrameSpec(3), Augment(warp=0.15)),
        (FrameSpec(4), Augment(2, 0.2, 0.1)),
        (FrameSpec(2), Augment(drop=1.0)),
    ],
)
def test_frames_on_the_device_are_the_cpus_bit_for_bit(spec, augment):
    rng = np.random.default_rng(0)
    sizes = [300, 0, 1500, 20, 5]  # one is empty, one lasts for no time
    offsets, total = np.concatenate([[0], np.cumsum(sizes)]), sum(sizes)
    x, y, p = (rng.integers(0, high, total).astype(np.uint8) for high in (34, 34, 2))
    t = np.concatenate([np.sort(rng.integers(5, 300_000, size)) for size in sizes])
    x[300:900], y[300:900], p[300:900], t[300:900], t[-5:] = 3, 4, 1, t[300], t[-5]  # more than a byte counts
    events = DeviceEvents(x, y, t, p, offsets, (34, 34, 2), "cpu")
    chosen, draws = np.array([2, 0, 1, 4, 2, 3]), np.arange(6) + 11
    expected = bin_frames((x, y, t, p), offsets, chosen, (34, 34, 2), spec, augment, -5, draws)
    width_us = spec.window_us or (-1 if spec.window == "tonic" else 0)
    frames = events.frames(
        torch.from_numpy(chosen), spec.num_steps, width_us=width_us, max_shift=augment.max_shift, drop=augment.drop,
        warp=augment.warp, seed=-5, draws=torch.from_numpy(draws),
    )  # fmt: skip
    assert np.array_equal(frames.numpy(), expected)


def test_loader_on_the_device_gives_the_batches_of_the_cpu(tmp_path):
    rng = np.random.default_rng(1)
    sizes = [40, 300, 1, 90]
    x, y, p = (rng.integers(0, high, sum(sizes)).astype(np.uint8) for high in (34, 34, 2))
    t = np.concatenate([np.sort(rng.integers(0, 300_000, size)) for size in sizes])
    manifest = {"sensor_size": (34, 34, 2), "classes": ["left", "right"]}
    store = EventStore(tmp_path, x, y, t, p, np.cumsum([0, *sizes]), np.array([0, 1, 1, 0]), manifest)
    whole = EventDataset(store, range(4), Provenance("mine", "train", "made up", 4, "0" * 32))
    dataset = whole.subset([3, 1, 1, 0, 2])
    loader = dataset.loader(2, 3, seed=4, augment=Augment(2, 0.2, 0.1))
    for epoch in (0, 1):
        batches = zip(loader.batches(epoch), loader.on_device("cpu").batches(epoch), strict=True)
        for (frames, labels), (others, its_labels) in batches:
            assert torch.equal(frames, others)
            assert torch.equal(labels, its_labels)
    with pytest.raises(ValueError, match="made on the CPU alone"):
        dataset.loader(2, 3, window_us=1000).on_device("cpu")


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Have networks on the CPU run as if they were on a GPU; return how often the engine was asked for what."""
    asked = dict.fromkeys(("neurons", "conv_layer", "linear"), 0)

    def counted(name, function):
        def call(*args, **options):
            asked[name] += 1
            return function(*args, **options)

        return call

    for name in asked:
        monkeypatch.setattr(cuda, name, counted(name, getattr(cuda, name)))

    def neurons(cur, neuron, engine):
        served = kernels.serves("neurons", neuron, "cuda") is None
        return cuda.neurons(cur, neuron) if served else reference.run(cur, neuron)

    def in_parts(runner, module, conv):
        square = (conv.kernel_size, conv.padding) == ((3, 3), (1, 1))
        return not square or kernels.serves("conv_layer", runner.equation(module, conv.weight), "cuda") is not None

    monkeypatch.setattr(Runner, "event_driven", lambda runner, tensor: cuda)
    monkeypatch.setattr(Runner, "in_parts", in_parts)
    monkeypatch.setattr(kernels, "neurons", neurons)
    return asked


@pytest.mark.parametrize("name", ZOO)
def test_network_of_the_zoo_equals_its_plain_loop(name, on_a_gpu):
    network = ZOO[name]
    differs = compare(*network.make(network.small))
    assert differs.layers > 1
    assert differs.unexplained == 0
    assert differs.near > 0 or differs.spikes == 0
    assert differs.spikes > 0 or differs.gradients <= 1e-4
    assert on_a_gpu["neurons"] > 0 or name == "regression"  # whose neurons have no kernel on a GPU yet
    assert on_a_gpu["conv_layer"] > 0 or name not in ("convs", "vgg9", "unet")
