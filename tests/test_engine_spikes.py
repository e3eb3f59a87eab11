"""Spikes of any type between layers: what a byte holds, whom the gradient reaches, autocast."""

import warnings

import pytest
import torch
from torch.nn import functional as F

from snn_helpers.engine import Spikes, cpu, cuda, reference
from snn_helpers.engine import neurons as run_neurons
from snn_helpers.neurons import Leaky

LEAKY = Leaky().neuron()


def counts(seed=0):
    return (torch.rand(5, 3, 4, 6, 6, generator=torch.Generator().manual_seed(seed)) < 0.3).byte()


@pytest.fixture(params=[cpu, cuda], ids=["cpu", "cuda"])
def engine(request, monkeypatch):
    """Return an engine; that for GPUs runs here without Triton's kernels."""
    monkeypatch.setattr(cuda, "no_kernels", lambda device: "this is a test")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The GPU's kernels do not run here")
        yield request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_float_spikes_that_want_a_gradient_get_it(engine, dtype):
    torch.manual_seed(0)
    frames = counts().to(dtype).requires_grad_()
    plain = counts().float().requires_grad_()
    weight, fully = (torch.randn(5, 4, 3, 3) * 16).round() / 64, torch.randn(7, 4 * 36)
    up = torch.randn(5, 3, 7)
    (ours,) = torch.autograd.grad((up * engine.linear(frames, fully)).sum(), frames)
    (theirs,) = torch.autograd.grad((up * F.linear(plain.flatten(2), fully)).sum(), plain)
    torch.testing.assert_close(ours, theirs.to(dtype), rtol=1e-5, atol=1e-2 if dtype == torch.bfloat16 else 1e-5)
    for pool in (1, 2):
        cur = F.max_pool2d(F.conv2d(plain.flatten(0, 1), weight, padding=1), pool).unflatten(0, (5, 3))
        up = torch.randn(cur.shape)
        (theirs,) = torch.autograd.grad((up * reference.run(cur, LEAKY)[0]).sum(), plain)
        out = engine.conv_layer(frames, weight, None, LEAKY, pool=pool).float()
        (ours,) = torch.autograd.grad((up * out).sum(), frames)
        assert theirs.any()
        torch.testing.assert_close(ours, theirs.to(dtype), rtol=1e-5, atol=1e-2 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.float64])
def test_frames_of_any_type_are_counts(engine, dtype):
    weight, fully = torch.randn(5, 4, 3, 3), torch.randn(7, 4 * 36)
    frames = counts().to(dtype)
    expected = engine.conv_layer(counts(), weight, None, LEAKY)
    assert torch.equal(engine.conv_layer(frames, weight, None, LEAKY).count, expected.count)
    assert torch.equal(engine.linear(frames, fully), engine.linear(counts(), fully))


@pytest.mark.parametrize("value", [256, -1, 0.5, float("nan"), float("inf")])
def test_what_a_byte_does_not_hold_is_refused(engine, value):
    frames = torch.full((2, 1, 1, 4, 4), value)
    for spikes in (frames, frames.double().requires_grad_()) if isinstance(value, float) else (frames,):
        with pytest.raises(ValueError, match=r"whole numbers in \[0, 255\]"):
            engine.linear(spikes, torch.ones(2, 16))
        with pytest.raises(ValueError, match=r"whole numbers in \[0, 255\]"):
            Spikes.of(spikes)


def test_sums_beyond_a_byte_are_refused_and_all_others_exact():
    many = Spikes(torch.full((2, 1, 3), 200, dtype=torch.uint8))
    with pytest.raises(ValueError, match="spikes add up to 400, and `Spikes` count to 255"):
        many + many
    assert (many + Spikes(torch.full((2, 1, 3), 55, dtype=torch.uint8))).count.unique().tolist() == [255]
    with pytest.raises(ValueError, match="spikes add up to 256"):
        Spikes(torch.tensor([[[255, 0]]], dtype=torch.uint8)) + Spikes(torch.tensor([[[1, 7]]], dtype=torch.uint8))


@pytest.mark.parametrize("frames", [counts(), counts().float(), counts().bool()], ids=["uint8", "float", "bool"])
def test_layers_compute_in_float32_under_autocast_on_a_cpu(frames):
    torch.manual_seed(0)
    weight, fully = torch.randn(5, 4, 3, 3, requires_grad=True), torch.randn(7, 5 * 9, requires_grad=True)
    module = torch.nn.BatchNorm2d(5)

    def network():
        norm = reference.BatchNorm.of(module)
        spikes = cpu.conv_layer(frames, weight, None, LEAKY, norm=norm, pool=2, path="dense", keep_mem=True)
        spk_rec, mem_rec = cpu.neurons(cpu.linear(spikes, fully), LEAKY)
        return spikes.count, spikes.mem, spk_rec, mem_rec, *torch.autograd.grad(mem_rec.sum(), [weight, fully])

    plain = network()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = network()
    for one, other in zip(cast, plain):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_currents_of_half_precision_under_autocast_are_computed_in_float32():
    cur = torch.rand(4, 2, 3).bfloat16()
    expected = reference.run(cur.float(), LEAKY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for spk_rec, mem_rec in (run_neurons(cur, LEAKY), cpu.neurons(cur, LEAKY), Leaky()(cur)):
            assert torch.equal(spk_rec, expected[0])
            assert torch.equal(mem_rec, expected[1])
    assert run_neurons(cur, LEAKY)[1].dtype == torch.bfloat16  # asked for by its type alone: as a loop computes it
