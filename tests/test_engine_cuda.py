"""The GPU engine, in Triton's interpreter where Triton is installed and there is no GPU."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from torch.nn import functional as F

from snn_helpers.engine import cuda, reference
from snn_helpers.engine.reference import BatchNorm
from snn_helpers.engine.spikes import Spikes
from snn_helpers.neurons import Leaky

LEAKY = Leaky().neuron()
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed, so its kernels cannot be interpreted"
)


@needs_triton
def test_kernels_equal_the_reference_in_the_interpreter():
    """Run in a process of its own: TRITON_INTERPRET is read when the kernels are defined."""
    code = """
        import torch
        from snn_helpers.engine import cuda, kernels, reference
        from snn_helpers.neurons import NEURONS
        for kind in kernels.KINDS:
            for surrogate in kernels.SURROGATES:
                neuron = NEURONS[kind](threshold=0.8, surrogate=surrogate).neuron()
                assert kernels.serves("neurons", neuron, "cuda") is None
                cur = (0.7 * torch.randn(6, 2, 300)).requires_grad_()
                up = torch.randn(2, *cur.shape)
                results = []
                for function in (reference.run, cuda.neurons):
                    spk, mem = function(cur, neuron)
                    results.append((spk, mem, *torch.autograd.grad((up[0] * spk + up[1] * mem).sum(), cur)))
                (spk, mem, grad), (our_spk, our_mem, our_grad) = results
                assert torch.equal(spk, our_spk) and torch.equal(mem, our_mem), (kind, surrogate)
                torch.testing.assert_close(our_grad, grad, rtol=1e-5, atol=1e-6)
        print("equal")
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"}, check=False,
    )  # fmt: skip
    assert run.stdout.strip() == "equal", run.stderr


@pytest.fixture
def without_triton(monkeypatch):
    monkeypatch.setattr(cuda, "triton", None)
    cuda._warn_without_triton.cache_clear()


def test_neurons_fall_back_with_one_warning(without_triton, recwarn):
    cur = torch.ones(3, 1, 4)
    for _ in range(2):
        spk_rec, _ = cuda.neurons(cur, LEAKY)
    assert torch.equal(spk_rec, reference.run(cur, LEAKY)[0])
    assert [str(warning.message)[:24] for warning in recwarn] == ["Triton is not installed:"]


@pytest.mark.filterwarnings("ignore:Triton is not installed")
def test_layers_equal_torch(without_triton):
    torch.manual_seed(0)
    count = (torch.rand(4, 2, 3, 8, 8) < 0.3).byte()
    path = torch.zeros(count.shape, requires_grad=True)
    weight, fully = (0.5 * torch.randn(8, 3, 3, 3)).requires_grad_(), torch.randn(5, 8 * 16)
    module, frames = torch.nn.BatchNorm2d(8), count.float().requires_grad_()
    out = cuda.conv_layer(Spikes(count, path), weight, None, LEAKY, norm=BatchNorm.of(module), pool=2, keep_mem=True)
    again = torch.nn.BatchNorm2d(8)
    cur = F.max_pool2d(again(F.conv2d(frames.flatten(0, 1), weight, padding=1)), 2).unflatten(0, (4, 2))
    spk, mem = reference.run(cur, LEAKY)
    assert torch.equal(out.float(), spk)
    assert torch.equal(out.mem, mem)
    one, other = (
        torch.autograd.grad(cuda.linear(s, fully).square().sum(), leaves)
        for s, leaves in ((out, [path, weight]), (Spikes(spk.byte(), spk), [frames, weight]))
    )
    for ours, theirs in zip(one, other):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Triton is not installed")
def test_autocast_runs_the_convolution_in_half_and_the_neurons_in_float(without_triton):
    count = (torch.rand(3, 2, 2, 6, 6) < 0.3).byte()
    weight = torch.randn(4, 2, 3, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = cuda.conv_layer(count, weight, None, LEAKY, keep_mem=True)
    out.float().sum().backward()
    assert out.mem.dtype == torch.float32
    assert weight.grad.isfinite().all()


def test_neurons_refuse_no_steps():
    with pytest.raises(ValueError, match="at least one step"):
        cuda.neurons(torch.zeros(0, 1, 3), LEAKY)


@pytest.mark.filterwarnings("ignore:Triton is not installed")
@pytest.mark.parametrize("autocast", [False, True])
def test_tf32_is_off_in_both_directions_and_back_on_afterwards(without_triton, monkeypatch, autocast):
    """What cuDNN is told is a setting of the process: looked up where the library is called, and after it."""
    conv, matmul, seen = torch.backends.cudnn.conv, torch.backends.cuda.matmul, []

    def spy(function):
        def call(*args, **kwargs):
            seen.append((conv.fp32_precision, matmul.fp32_precision))
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(cuda.F, "conv2d", spy(F.conv2d))
    monkeypatch.setattr(cuda.F, "linear", spy(F.linear))
    monkeypatch.setattr(cuda, "_convolution_backward", spy(cuda._convolution_backward))
    before = conv.fp32_precision, matmul.fp32_precision
    try:
        conv.fp32_precision = matmul.fp32_precision = "tf32"
        weight, fully = torch.randn(4, 2, 3, 3, requires_grad=True), torch.randn(3, 4 * 36, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            out = cuda.linear(cuda.conv_layer((torch.rand(3, 2, 2, 6, 6) < 0.5).byte(), weight, None, LEAKY), fully)
        out.square().sum().backward()
        assert seen == [("tf32", "tf32")] * 2 if autocast else [("ieee", "ieee")] * 3
        assert (conv.fp32_precision, matmul.fp32_precision) == ("tf32", "tf32")
    finally:
        conv.fp32_precision, matmul.fp32_precision = before
    assert weight.grad.any()
    assert fully.grad.any()


@pytest.mark.filterwarnings("ignore:Triton is not installed")
def test_layers_give_all_gradients_of_torchs(without_triton):
    torch.manual_seed(0)
    count = (torch.rand(3, 2, 2, 6, 6) < 0.4).float()
    tensors = [torch.randn(shape) for shape in ((4, 2, 3, 3), (4,), (3, 4 * 36), (3,))]
    results = []
    for ours in (True, False):
        frames, weight, bias, fully, offset = leaves = [t.clone().requires_grad_() for t in (count, *tensors)]
        if ours:
            out = cuda.linear(cuda.conv_layer(frames, weight, bias, LEAKY), fully, offset)
        else:
            cur = F.conv2d(frames.flatten(0, 1), weight, bias, padding=1).unflatten(0, (3, 2))
            out = F.linear(reference.run(cur, LEAKY)[0].flatten(2), fully, offset)
        results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
