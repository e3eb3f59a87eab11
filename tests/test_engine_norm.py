"""Batch normalisation inside the engine: large means, what may be missing, and NaN."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from snn_helpers._checks import NotANumberError
from snn_helpers.engine import BatchNorm, Spikes, cpu, reference
from snn_helpers.neurons import Leaky

SILENT = Leaky(0.0, 1e9).neuron()  # its membranes are the currents
PATHS = ["events", "dense"]


def counts(density=0.3, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(5, 3, channels, 8, 7, generator=generator) < density).byte()


def compare(count, weight, bias, module, path, wants_input=True, tolerance=1e-5, each_step=False, **options):
    """Hold normalised currents, running statistics and gradients against torch's in float64."""
    num_steps = len(count) if each_step else None
    options = {"padding": 1, **options}
    exact = copy.deepcopy(module).double()
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (weight, bias)]
    leaves64 = [tensor.detach().double().requires_grad_() for tensor in leaves]
    frames = count.double().requires_grad_()
    cur64 = F.conv2d(frames.flatten(0, 1), *leaves64, **options)
    cur64 = torch.cat([exact(part) for part in cur64.chunk(num_steps or 1)])
    carrier = torch.zeros(count.shape, requires_grad=True) if wants_input else None
    neuron = Leaky(0.0, 1.0, slope=0.5).neuron()
    norm = BatchNorm.of(module, num_steps)
    copied = BatchNorm.of(copy.deepcopy(module), num_steps)
    shown = cpu.conv_layer(Spikes(count), *leaves, SILENT, norm=copied, path=path, keep_mem=True, **options)
    torch.testing.assert_close(shown.mem.flatten(0, 1).double(), cur64.detach(), rtol=tolerance, atol=tolerance)
    out = cpu.conv_layer(Spikes(count, carrier), *leaves, neuron, norm=norm, path=path, **options)
    spk64, mem64 = reference.run(cur64.unflatten(0, count.shape[:2]), neuron)
    sure = ((mem64 - 1.0).abs() > 1e-4).cumprod(0).bool()
    assert sure.float().mean() > 0.98
    assert torch.equal(out.count.double()[sure], spk64[sure])
    up = torch.rand(spk64.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    theirs = torch.autograd.grad((up * spk64).sum(), [*leaves64, *exact.parameters(), *[frames] * wants_input])
    ours = torch.autograd.grad(
        (up.float() * out.float()).sum(), [*leaves, *module.parameters(), *[carrier] * wants_input]
    )
    scale = float(theirs[0].norm())
    for one, other in zip(ours, theirs):
        assert (one.double() - other).norm() <= 20 * tolerance * max(float(other.norm()), 0.01 * scale)
    if module.running_mean is not None:
        torch.testing.assert_close(module.running_mean.double(), exact.running_mean, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(module.running_var.double(), exact.running_var, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("wants_input", [True, False])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [0.0, 1000.0, -30_000.0])
def test_a_large_bias_costs_the_statistics_no_digits(size, path, wants_input):
    torch.manual_seed(0)
    compare(counts(), 0.4 * torch.randn(6, 3, 3, 3), torch.full((6,), size), nn.BatchNorm2d(6), path, wants_input)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 5), st.integers(0, 4), st.integers(1, 3), st.sampled_from([2, 3, 5, 9]), st.integers(1, 3),
    st.booleans(), st.sampled_from(PATHS), st.integers(0, 2**16),
)  # fmt: skip
def test_statistics_of_each_step_for_any_window(side, padding, stride, channels, batch, each_step, path, seed):
    torch.manual_seed(seed)
    count = counts(0.3, channels, seed)[:, :batch]
    weight, options = torch.randn(7, channels, side, side) / side, {"padding": min(padding, side - 1), "stride": stride}
    module = nn.BatchNorm2d(7, momentum=0.3)
    nn.init.normal_(module.weight, 1.0), nn.init.normal_(module.bias)
    alone = copy.deepcopy(module)
    compare(count, weight, torch.randn(7), module, path, tolerance=1e-4, each_step=each_step, **options)

    path = torch.zeros(count.shape, requires_grad=True)
    leaves = [weight.clone().requires_grad_(), path, *alone.parameters()]
    cur = cpu.conv_norm(
        Spikes(count, path), leaves[0], None, BatchNorm.of(alone, len(count) if each_step else None), **options
    )
    exact = copy.deepcopy(alone).double()
    leaves64 = [weight.double().requires_grad_(), count.double().requires_grad_(), *exact.parameters()]
    cur64 = F.conv2d(leaves64[1].flatten(0, 1), leaves64[0], **options).chunk(len(count) if each_step else 1)
    cur64 = torch.cat([exact(part) for part in cur64]).unflatten(0, count.shape[:2])
    up = torch.randn_like(cur64)
    grads, grads64 = torch.autograd.grad(cur, leaves, up.float()), torch.autograd.grad(cur64, leaves64, up)
    for one, other in zip((cur, *grads), (cur64, *grads64)):
        assert (one.double() - other).norm() <= 1e-4 * other.norm().clamp(min=1.0)


@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("path", PATHS)
def test_a_large_mean_of_the_currents_costs_no_more_than_they_have_lost(path, channels):
    torch.manual_seed(0)
    weight = 0.02 * torch.randn(6, channels, 3, 3)
    weight[:, :, 1, 1] += 50.0  # of every pixel, since all have events
    compare(counts(2.0, channels), weight, torch.zeros(6), nn.BatchNorm2d(6), path, tolerance=2e-3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "options",
    [{"affine": False}, {"track_running_stats": False}, {"momentum": None}, {"affine": False, "momentum": 1.0}],
)
def test_normalisation_without_scale_or_running_statistics(options, path, training):
    torch.manual_seed(0)
    module = nn.BatchNorm2d(6, **options)
    if module.running_mean is not None:
        module(torch.randn(4, 6, 3, 3))
    weight, bias = 0.4 * torch.randn(6, 3, 3, 3), 0.1 * torch.randn(6)
    compare(counts(), weight, bias, module.train(training), path, tolerance=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
def test_nan_in_a_normalisation_is_refused_by_name(name, path, training):
    module = nn.BatchNorm2d(6).train(training)
    with torch.no_grad():
        getattr(module, name)[3] = float("nan")
    with pytest.raises(NotANumberError, match=f"`norm.{name}` contains NaN"):
        cpu.conv_layer(counts(), torch.randn(6, 3, 3, 3), None, SILENT, norm=BatchNorm.of(module), path=path)


def test_nan_in_a_bias_is_refused_by_name():
    bias = torch.tensor([0.0, float("nan")])
    with pytest.raises(NotANumberError, match="`bias` contains NaN"):
        cpu.conv_layer(counts(), torch.zeros(2, 3, 3, 3), bias, SILENT)
    with pytest.raises(NotANumberError, match="`bias` contains NaN"):
        cpu.linear(counts(), torch.zeros(2, 168), bias)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": torch.zeros(5)}, r"`bias` must be \[6\], as `weight` asks for; got \(5,\)"),
        ({"bias": torch.zeros(6, 1)}, r"`bias` must be \[6\]"),
        ({"norm": BatchNorm.of(nn.BatchNorm2d(4))}, r"`norm.weight` must be \[6\], as `weight` asks for; got \(4,\)"),
        (
            {"spikes": counts()[:1, :1, :, :1, :1], "norm": BatchNorm.of(nn.BatchNorm2d(6))},
            "more than one value a channel",
        ),
    ],
)
def test_conv_layer_refuses_what_does_not_fit_its_weight(change, message):
    arguments = {"spikes": counts(), "weight": torch.zeros(6, 3, 3, 3), "bias": None, "neuron": SILENT, **change}
    with pytest.raises(ValueError, match=message):
        cpu.conv_layer(**arguments)
    if "bias" in change:
        with pytest.raises(ValueError, match="`bias` must be"):
            cpu.linear(counts(), torch.zeros(6, 168), change["bias"])
