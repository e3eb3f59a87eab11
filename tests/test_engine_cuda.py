"""The GPU engine, in Triton's interpreter where Triton is installed and there is no GPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from snn_helpers.engine import cuda, reference
from snn_helpers.engine.cuda import plain
from snn_helpers.engine.cuda.frames import DeviceEvents
from snn_helpers.engine.cuda.graphs import GraphedStep
from snn_helpers.engine.reference import BatchNorm
from snn_helpers.engine.spikes import Spikes
from snn_helpers.neurons import Leaky

LEAKY = Leaky().neuron()
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed, so its kernels cannot be interpreted"
)


@needs_triton
def test_kernels_in_the_interpreter():
    """Run in a process of its own: TRITON_INTERPRET is read when the kernels are defined."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", Path(__file__).parent / "interpreted_cuda.py"],
        capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def small_layers():
    """Launch each kernel once, on the device "meta"."""
    neuron, device = LEAKY, "meta"
    frames = torch.empty(4, 16, 2, 8, 8, dtype=torch.uint8, device=device)
    first, second, fully = (
        torch.empty(s, device=device, requires_grad=True) for s in ((16, 2, 3, 3), (16, 16, 3, 3), (16, 256))
    )
    norm = BatchNorm(*(torch.empty(16, device=device) for _ in range(4)), True)
    spikes = cuda.conv_layer(frames, first, None, neuron, norm=norm)
    spikes = cuda.conv_layer(cuda.conv_layer(spikes, second, None, neuron, norm=norm), second, None, neuron, pool=2)
    cuda.neurons(cuda.linear(spikes, fully), neuron)[0].sum().backward()
    events = DeviceEvents(*(np.zeros(1, int) for _ in range(4)), [0, 1], (34, 34, 2), device)
    events.frames(torch.empty(16, dtype=torch.int64, device=device), 4, max_shift=2, drop=0.1, warp=0.1)


@needs_triton
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_a_gpu_that_is_not_here(capability, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from snn_helpers.engine.cuda import ahead

    with ahead.recording() as launches:
        small_layers()
    one_of_each = {(launch.module, launch.name): launch for launch in launches}
    reports = ahead.compile_launches(list(one_of_each.values()), capability, workers=2)
    kernels = {(report.launch.module.rpartition(".")[2], report.launch.name) for report in reports}
    assert {name for _, name in kernels} == {
        "forward", "backward", "products", "pooled_products", "weight_gradient", "spread", "split_weights",
        "patch_products", "count",
    }  # fmt: skip
    assert [report.error for report in reports if report.error] == []
    assert [report for report in reports if report.spilled > 0 or report.registers == 0] == []
    limit = {80: 163, 90: 227}[capability]  # KiB of shared memory that a block may have
    assert max(report.shared for report in reports) <= limit * 1024
    assert all(report.tensor_cores for report in reports if "products" in report.launch.name)


@pytest.fixture
def without_triton(monkeypatch):
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None)
    for function in (cuda.no_kernels, cuda._warn):
        function.cache_clear()
    yield
    for function in (cuda.no_kernels, cuda._warn):
        function.cache_clear()


def test_neurons_fall_back_with_one_warning(without_triton, recwarn):
    cur = torch.ones(3, 1, 4)
    for _ in range(2):
        spk_rec, _ = cuda.neurons(cur, LEAKY)
    assert torch.equal(spk_rec, reference.run(cur, LEAKY)[0])
    assert [str(warning.message)[:62] for warning in recwarn] == [
        "The GPU's kernels do not run here: Triton is not installed. to"
    ]


@pytest.mark.filterwarnings("ignore:The GPU")
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


@pytest.mark.filterwarnings("ignore:The GPU")
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


@pytest.mark.filterwarnings("ignore:The GPU")
@pytest.mark.parametrize("autocast", [False, True])
def test_tf32_is_off_in_both_directions_and_back_on_afterwards(without_triton, monkeypatch, autocast):
    """What cuDNN is told is a setting of the process: looked up where the library is called, and after it."""
    conv, matmul, seen = torch.backends.cudnn.conv, torch.backends.cuda.matmul, []

    def spy(function):
        def call(*args, **kwargs):
            seen.append((conv.fp32_precision, matmul.fp32_precision))
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(plain.F, "conv2d", spy(F.conv2d))
    monkeypatch.setattr(plain.F, "linear", spy(F.linear))
    monkeypatch.setattr(plain, "_convolution_backward", spy(plain._convolution_backward))
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


@pytest.mark.filterwarnings("ignore:The GPU")
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


@pytest.mark.filterwarnings("ignore:The GPU")
def test_conv_layer_takes_stride_and_padding(without_triton):
    count, weight = (torch.rand(2, 1, 2, 9, 8) < 0.5).byte(), torch.randn(4, 2, 5, 5)
    out = cuda.conv_layer(count, weight, None, LEAKY, stride=2, padding=2)
    cur = F.conv2d(count.flatten(0, 1).float(), weight, None, 2, 2).unflatten(0, (2, 1))
    assert torch.equal(out.float(), reference.run(cur, LEAKY)[0])


@pytest.mark.parametrize(
    ("shape", "weight", "options", "match"),
    [
        ((2, 1, 2, 4, 4), (4, 2, 3, 3), {"pool": 3}, "`pool` must be one of 1, 2; got 3"),
        ((2, 1, 2, 4, 4), (4, 2, 3, 2), {}, r"`weight` must be \[n_out, C, size, size\]"),
        ((2, 1, 3, 4, 4), (4, 2, 3, 3), {}, "with 2 channels on axis 2"),
        ((2, 1, 2, 4, 4), (4, 2, 5, 5), {"padding": 0}, "at least one step, one recording and one pixel"),
        ((2, 1, 2, 4, 4), (4, 2, 3, 3), {"precision": "half"}, "`precision` must be one of"),
    ],
)
def test_conv_layer_refuses(shape, weight, options, match):
    with pytest.raises(ValueError, match=match):
        cuda.conv_layer(torch.zeros(shape, dtype=torch.uint8), torch.zeros(weight), None, LEAKY, **options)


def test_linear_refuses_other_features():
    with pytest.raises(ValueError, match=r"`spikes` must be \[T, B, 5\]"):
        cuda.linear(torch.zeros(2, 1, 4, dtype=torch.uint8), torch.zeros(3, 5))


def test_a_step_without_a_gpu_is_a_plain_train_step():
    """Loss, clipping, optimiser and what comes after them, in that order, and the same weights bit for bit."""
    torch.manual_seed(0)
    batches, states = [(torch.randn(4, 3), torch.randn(4, 2)) for _ in range(3)], []
    for graphed in (True, False):
        torch.manual_seed(1)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        step = GraphedStep(
            lambda x, y, m=model: F.mse_loss(m(x), y), optimizer, clip=0.5,
            after=lambda m=model: m.bias.data.clamp_(-0.2, 0.2),
        )  # fmt: skip
        for x, y in batches:
            if graphed:
                loss, norm = step(x, y)
                assert not loss.requires_grad
                assert norm > 0
            else:
                optimizer.zero_grad()
                F.mse_loss(model(x), y).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                model.bias.data.clamp_(-0.2, 0.2)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_device_events_say_what_they_take():
    assert DeviceEvents.nbytes(1000) == 7000
    with pytest.raises(ValueError, match="at least one event"):
        DeviceEvents([], [], [], [], [0, 0], (34, 34, 2), "cpu")
