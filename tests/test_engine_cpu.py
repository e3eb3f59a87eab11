"""The CPU engine equals the reference in spikes, membranes and gradients, on every path, and says what is wrong."""

import dataclasses

import numba
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from snn_helpers.engine import cpu, reference
from snn_helpers.engine.cpu import generated
from snn_helpers.engine.cpu.functions import current_sums
from snn_helpers.engine.cpu.memory import channels_last
from snn_helpers.engine.cpu.runtime import EngineCompileError, call_kernel, kernel
from snn_helpers.engine.kernels import KINDS, SURROGATES
from snn_helpers.engine.reference import BatchNorm
from snn_helpers.engine.spikes import Spikes
from snn_helpers.neurons import ALIF, NEURONS, Leaky, Synaptic

NUMBERS = {"beta": 0.9, "threshold": 0.8, "alpha": 0.6, "rho": 0.85, "adaptation": 0.3}
LEAKY = Leaky().neuron()


def close(ours, theirs, rel=1e-5):
    """Hold a gradient to its size as a whole: single entries sum terms that nearly cancel."""
    return torch.linalg.vector_norm(ours - theirs) <= rel * torch.linalg.vector_norm(theirs) + 1e-12


def learnable(kind, surrogate="fast_sigmoid", dtype=torch.float32):
    names = [name for name in NUMBERS if name in NEURONS[kind].ranges]
    values = [torch.tensor(NUMBERS[name], dtype=dtype, requires_grad=True) for name in names]
    return dataclasses.replace(NEURONS[kind](surrogate=surrogate).neuron(), numbers=dict(zip(names, values))), values


def random_counts(*shape, density=0.15, highest=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    count = torch.randint(1, highest + 1, shape, generator=generator)
    return (count * (torch.rand(shape, generator=generator) < density)).to(torch.uint8)


def random_layer(n_in, n_out, bias=True, norm=None, seed=0, gain=0.3):
    generator = torch.Generator().manual_seed(seed)
    weight = gain * torch.randn(n_out, n_in, 3, 3, generator=generator)
    if norm is None:
        weight = (64 * weight).round() / 64  # sums are exact; normalised, equal sums would be ties that rounding breaks
    module = None
    if norm is not None:
        module = nn.BatchNorm2d(n_out).train(norm == "train")
        with torch.no_grad():
            module.weight.copy_(torch.rand(n_out, generator=generator) - 0.2)
            module.bias.copy_(torch.rand(n_out, generator=generator) - 0.3)
    return weight, (6.4 * torch.randn(n_out, generator=generator)).round() / 64 if bias else None, module


def reference_layer(frames, weight, bias, neuron, module=None, pool=1):
    cur = F.conv2d(frames.flatten(0, 1), weight, bias, padding=1)
    cur = cur if module is None else module(cur)
    cur = F.max_pool2d(cur, pool) if pool > 1 else cur
    return reference.run(cur.unflatten(0, frames.shape[:2]), neuron)


def away_from_threshold(mem, threshold, distance=1e-5):
    """Where the reference's membrane, and all before it, is too far from the threshold for rounding to matter."""
    return ((mem - threshold).abs() > distance).cumprod(0).bool()


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("kind", KINDS)
def test_neurons_equal_the_reference_bit_for_bit_and_in_all_gradients(kind, surrogate):
    torch.manual_seed(0)
    cur = (0.7 * torch.randn(25, 3, 5, 311)).requires_grad_()  # more than one block
    neuron, values = learnable(kind, surrogate)
    weights = torch.randn(2, *cur.shape)
    results = []
    for function in (reference.run, cpu.neurons):
        spk_rec, mem_rec = function(cur, neuron)
        grads = torch.autograd.grad((weights[0] * spk_rec + weights[1] * mem_rec).sum(), [cur, *values])
        results.append((spk_rec, mem_rec, *grads))
    spk, mem, *grads = results[0]
    our_spk, our_mem, *our_grads = results[1]
    assert torch.equal(spk, our_spk)
    assert torch.equal(mem, our_mem)
    for ours, theirs in zip(our_grads, grads):
        assert close(ours, theirs, 2e-5)


@pytest.mark.parametrize("path", ["events", "dense"])
@pytest.mark.parametrize("norm", [None, "train", "eval"])
@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [True, False])
def test_conv_layer_equals_the_reference(first, kind, pool, norm, path):
    """Gradients are held against float64, the input's too but in a first layer, which has other ways without it.

    To 1e-5 where the currents are exact. Normalised currents are not, and the surrogate turns a difference in a
    current's last bit into one 50 times as large in its gradient; the neuron's numbers sum terms that nearly cancel.
    """
    count = random_counts(6, 3, 5, 9, 7)
    count[:, :, :, 2:, 2:] &= random_counts(6, 3, 5, 7, 5, density=0.6, highest=3, seed=7)  # busy at the border, too
    weight, bias, module = random_layer(5, 24, bias=norm is None, norm=norm)
    leaves = [weight.double().requires_grad_()] + ([] if bias is None else [bias.double().requires_grad_()])
    neuron, values = learnable(kind, dtype=torch.float64)
    frames, module64 = count.double().requires_grad_(), None
    if module is not None:
        module64 = nn.BatchNorm2d(24).double().train(norm == "train")
        module64.load_state_dict(module.state_dict())
        leaves += [module64.weight, module64.bias]
    bias64 = None if bias is None else leaves[1]
    spk, mem = reference_layer(frames, leaves[0], bias64, neuron, module64, pool)
    up = torch.randn(spk.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    grads = torch.autograd.grad((up * spk).sum(), [frames, *leaves, *values])

    our_leaves = [weight.requires_grad_()] + ([] if bias is None else [bias.requires_grad_()])
    our_leaves += [] if module is None else [module.weight, module.bias]
    our_neuron, our_values = learnable(kind)
    path_in = None if first else torch.zeros(count.shape, requires_grad=True)
    out = cpu.conv_layer(
        Spikes(count, path_in), weight, bias, our_neuron, norm=None if module is None else BatchNorm.of(module),
        pool=pool, path=path, keep_mem=True,
    )  # fmt: skip
    our_leaves = [*our_leaves, *our_values] if first else [path_in, *our_leaves, *our_values]
    our_grads = torch.autograd.grad((up.float() * out.float()).sum(), our_leaves)
    assert out.count.dtype == torch.uint8
    assert torch.equal(out.count.double(), spk)
    torch.testing.assert_close(out.mem.double(), mem.detach(), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(our_grads, grads[1:] if first else grads):
        assert close(
            ours.double(),
            theirs,
            (1e-3 if ours.dim() == 0 else 1e-5) if module is None else 1e-2 if ours.dim() == 0 else 1e-4,
        )
    if module is not None:
        torch.testing.assert_close(module.running_mean.double(), module64.running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(module.running_var.double(), module64.running_var, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("path", ["events", "dense"])
@pytest.mark.parametrize("norm", [None, "train", "eval"])
@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize(("side", "padding"), [(1, 0), (2, 0), (4, 1), (5, 0), (5, 4), (7, 3)])
@pytest.mark.parametrize("first", [True, False])
def test_windows_of_any_side_equal_the_reference(first, side, padding, pool, norm, path):
    count = random_counts(4, 3, 5, 9, 8)
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(12, 5, side, side, generator=generator) / side
    weight = (weight if norm else (64 * weight).round() / 64).requires_grad_()  # see `random_layer`
    module = None if norm is None else nn.BatchNorm2d(12).train(norm == "train")
    copy = None if norm is None else nn.BatchNorm2d(12).train(norm == "train").double()
    frames, weight64 = count.double().requires_grad_(), weight.detach().double().requires_grad_()
    cur = F.conv2d(frames.flatten(0, 1), weight64, padding=padding)
    cur = cur if copy is None else copy(cur)
    cur = F.max_pool2d(cur, pool) if pool > 1 else cur
    spk, _ = reference.run(cur.unflatten(0, (4, 3)), LEAKY)
    up = torch.randn(spk.shape, dtype=torch.float64, generator=generator)
    grads = torch.autograd.grad((up * spk).sum(), [weight64, *[frames] * (not first)])
    path_in = None if first else torch.zeros(count.shape, requires_grad=True)
    ours = cpu.conv_layer(
        Spikes(count, path_in), weight, None, LEAKY, padding=padding,
        norm=None if module is None else BatchNorm.of(module), pool=pool, path=path,
    )  # fmt: skip
    our_grads = torch.autograd.grad((up.float() * ours.float()).sum(), [weight, *[path_in] * (not first)])
    assert torch.equal(ours.count.double(), spk)
    for one, other in zip(our_grads, grads):
        assert close(one.double(), other, 1e-5 if norm is None else 1e-4)


@pytest.mark.parametrize("shape", [(3, 4, 2, 9, 7), (2, 1, 3, 1, 4), (1, 2, 1, 2, 2), (2, 3, 4, 6, 1)])
def test_statistics_from_pairs_of_events_equal_those_of_all_windows(shape):
    count = random_counts(*shape, density=0.4, highest=255)
    weight = torch.randn(8, shape[2], 3, 3, dtype=torch.float64, requires_grad=True)
    cur = F.conv2d(count.double().flatten(0, 1), weight, padding=1)
    up = torch.randn(2, 8, dtype=torch.float64)
    sums = [torch.stack([cur.sum((0, 2, 3)), cur.square().sum((0, 2, 3))])]
    sums.append(torch.stack(current_sums(channels_last(count), weight)))
    torch.testing.assert_close(sums[1], sums[0], rtol=1e-12, atol=1e-6)
    grads = [torch.autograd.grad((up * one).sum(), weight)[0] for one in sums]
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-10, atol=1e-6)


def test_statistics_of_a_large_bright_image_do_not_overflow():
    count = torch.full((1, 1, 1, 200, 200), 255, dtype=torch.uint8)  # more products than a sum in 32 bits has room for
    total, squares = current_sums(channels_last(count), torch.ones(1, 1, 3, 3))
    cur = F.conv2d(count[0].double(), torch.ones(1, 1, 3, 3, dtype=torch.float64), padding=1)
    assert total.item() == cur.sum().item()
    assert squares.item() == cur.square().sum().item()


@pytest.mark.parametrize("path", ["events", "dense"])
def test_a_layer_counts_its_spikes(path):
    spikes = cpu.conv_layer(random_counts(4, 3, 2, 12, 12), random_layer(2, 16)[0], None, LEAKY, pool=2, path=path)
    a_step = spikes.count.flatten(2).sum(2)
    assert spikes.events == (a_step.max(), a_step.sum())
    assert a_step.sum() > 0
    assert spikes.fraction() == Spikes(spikes.count).fraction() == spikes.count.float().mean()


def test_events_and_dense_agree_on_a_network_of_layers():
    count = random_counts(8, 5, 2, 20, 20, density=0.08)
    first, second = random_layer(2, 32, bias=False, norm="train")[0::2], random_layer(32, 64, gain=0.1)[:2]
    fully = 0.1 * torch.randn(10, 64 * 25, generator=torch.Generator().manual_seed(5))
    results = []
    for path in ("events", "dense"):
        leaves = [first[0].clone().requires_grad_(), *(tensor.clone().requires_grad_() for tensor in (*second, fully))]
        norm = BatchNorm.of(nn.BatchNorm2d(32))
        spikes = cpu.conv_layer(count, leaves[0], None, LEAKY, norm=norm, pool=2, path=path)
        spikes = cpu.conv_layer(spikes, leaves[1], leaves[2], LEAKY, pool=2, path=path)
        spk_rec, mem_rec = cpu.neurons(cpu.linear(spikes, leaves[3]), LEAKY)
        results.append((spikes.count, spk_rec, *torch.autograd.grad((spk_rec + mem_rec).sum(), leaves)))
    assert results[0][0].float().mean() > 0.02
    for ours, theirs in zip(*results):
        assert close(ours.float(), theirs.float(), 1e-4)


def test_linear_equals_torch_on_images_and_counts():
    count = random_counts(5, 3, 4, 3, 2, density=0.3, highest=3)
    weight = torch.randn(11, 24).requires_grad_()
    bias = torch.randn(11).requires_grad_()
    frames, path = count.float().requires_grad_(), torch.zeros(count.shape, requires_grad=True)
    expected = F.linear(frames.flatten(2), weight, bias)
    ours = cpu.linear(Spikes(count, path), weight, bias)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    up = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad(ours, [path, weight, bias], up), torch.autograd.grad(expected, [frames, weight, bias], up)
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cpu.linear(Spikes(count).flatten(), weight), ours - bias, rtol=1e-5, atol=1e-5)


def test_spikes_add_up_and_share_the_gradient():
    count = random_counts(3, 2, 4, 5, 5, highest=1)
    paths = [torch.zeros(count.shape, requires_grad=True) for _ in range(2)]
    total = Spikes(count, paths[0]) + Spikes(count, paths[1]) + Spikes(count)
    assert torch.equal(total.count, 3 * count)
    up = torch.randn(count.shape)
    assert all(torch.equal(grad, up) for grad in torch.autograd.grad(total.float(), paths, up))
    with pytest.raises(ValueError, match="differ in shape"):
        Spikes(count) + Spikes(count[:1])


def train_step(threads, count, leaves, norm=True):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        module = BatchNorm.of(nn.BatchNorm2d(16)) if norm else None
        spikes = cpu.conv_layer(count, leaves[0], None, LEAKY, norm=module, pool=2, path="events")
        spikes = cpu.conv_layer(spikes, leaves[1], None, ALIF(0.9, 0.5, 0.8, 0.2).neuron(), path="events")
        spikes = cpu.conv_layer(spikes, leaves[1], None, Synaptic(0.5, 0.9, 0.5).neuron(), path="events")
        grads = torch.autograd.grad(spikes.float().square().sum(), leaves)
    finally:
        torch.set_num_threads(before)
    return spikes.count, *grads


@pytest.mark.parametrize("threads", [1, 3])
def test_kernels_are_bit_equal_across_runs_and_numbers_of_threads(threads):
    count = random_counts(6, 19, 2, 12, 12)
    leaves = [random_layer(2, 16)[0].requires_grad_(), random_layer(16, 16, seed=1)[0].requires_grad_()]
    expected = train_step(2, count, leaves)
    for result in (train_step(2, count, leaves), train_step(threads, count, leaves)):
        assert all(torch.equal(one, other) for one, other in zip(result, expected))


def test_inputs_are_left_unchanged_and_nothing_stays_from_a_batch():
    count = random_counts(4, 2, 2, 8, 8)
    weight, bias, _ = random_layer(2, 8)
    copies = count.clone(), weight.clone(), bias.clone()
    outputs = [cpu.conv_layer(count, weight, bias, LEAKY, pool=2).count for _ in range(2)]
    assert torch.equal(*outputs)
    assert all(torch.equal(one, other) for one, other in zip((count, weight, bias), copies))


def test_membranes_are_kept_only_on_demand_and_saved_only_for_training():
    count = random_counts(4, 2, 2, 8, 8)
    weight, bias, _ = random_layer(2, 8)
    with torch.no_grad():
        assert cpu.conv_layer(count, weight, bias, LEAKY).mem is None
        kept = cpu.conv_layer(count, weight, bias, LEAKY, keep_mem=True)
    trained = cpu.conv_layer(count, weight.requires_grad_(), bias, LEAKY, keep_mem=True)
    assert torch.equal(kept.mem, trained.mem)
    assert torch.equal(kept.count, trained.count)
    assert not trained.mem.requires_grad


def test_auto_counts_the_events(monkeypatch):
    taken = []
    monkeypatch.setattr(cpu, "CurrentNeurons", type("Spy", (cpu.CurrentNeurons,), {}))
    monkeypatch.setattr(cpu.CurrentNeurons, "apply", lambda *a: taken.append("dense") or (a[0].byte(), None, None))
    weight = random_layer(1, 8)[0]
    for density, path in ((0.02, []), (0.9, ["dense"])):
        cpu.conv_layer(random_counts(2, 2, 1, 16, 16, density=density), weight, None, LEAKY)
        assert taken == path


def test_real_recordings_fire_as_in_the_reference(real_data):
    """Where a spike differs, the reference's membrane is within 1e-5 of the threshold."""
    files = sorted((real_data / "Train").glob("*/*.bin"))[::125][:8]
    count = np.zeros((25, len(files), 2, 34, 34), np.uint8)
    for b, file in enumerate(files):
        x, y, head, *time = np.fromfile(file, np.uint8).reshape(-1, 5).T.astype(np.int64)
        t_us = (head % 128) << 16 | time[0] << 8 | time[1]
        step = (t_us - t_us[0]) * 25 // (t_us[-1] - t_us[0] + 1)
        np.add.at(count, (np.clip(step, 0, 24), b, head >> 7, y, x), 1)
    spikes, frames = Spikes(torch.from_numpy(count)), torch.from_numpy(count).float()
    for number, (n_in, n_out, gain) in enumerate(((2, 32, 0.2), (32, 64, 0.1), (64, 128, 0.1))):
        weight, bias, _ = random_layer(n_in, n_out, gain=gain, seed=number)
        spk, mem = reference_layer(frames, weight, bias, LEAKY, pool=2)
        ours = cpu.conv_layer(spikes, weight, bias, LEAKY, pool=2, path="events")
        assert spk.mean() > 0.005
        sure = away_from_threshold(mem, 1.0)
        assert sure.float().mean() > 0.99
        assert torch.equal(ours.count.float()[sure], spk[sure])
        spikes, frames = Spikes(spk.byte()), spk


GOOD = {"spikes": random_counts(3, 2, 4, 6, 6), "weight": random_layer(4, 8)[0], "bias": None, "neuron": LEAKY}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"spikes": GOOD["spikes"][0]}, ValueError, r"\[T, B, C, H, W\], 5 axes; got 4"),
        ({"spikes": GOOD["spikes"].permute(0, 1, 3, 4, 2)}, ValueError, "Axis 4 is 4 long: is it the channel axis"),
        ({"spikes": GOOD["spikes"][:0]}, ValueError, "at least one step"),
        ({"spikes": GOOD["spikes"][:, :0]}, ValueError, "at least one step"),
        ({"spikes": GOOD["spikes"].float() + 0.5}, ValueError, "whole numbers in"),
        ({"spikes": GOOD["spikes"].float() * float("nan")}, ValueError, "whole numbers in"),
        ({"spikes": GOOD["spikes"].to("meta")}, TypeError, "device meta"),
        ({"weight": GOOD["weight"][:, :3]}, ValueError, "with 3 channels on axis 2"),
        ({"weight": GOOD["weight"][..., :2]}, ValueError, r"\[n_out, C, k, k\], with k at most 7"),
        ({"padding": 3}, ValueError, r"`padding` must be in \[0, 2\]; got 3"),
        ({"weight": GOOD["weight"] * float("nan")}, ValueError, "`weight` contains NaN"),
        ({"weight": GOOD["weight"].double()}, TypeError, "float64"),
        ({"pool": 3}, ValueError, "`pool` must be one of 1, 2"),
        ({"path": "sparse"}, ValueError, "`path` must be one of"),
    ],
)
def test_conv_layer_says_what_is_wrong(change, error, message):
    arguments = {**GOOD, **change}
    with pytest.raises(error, match=message):
        cpu.conv_layer(**arguments)


@pytest.mark.parametrize(
    ("cur", "error", "message"),
    [
        (torch.zeros(3), ValueError, r"must be \[T, B, ...\]"),
        (torch.zeros(0, 2, 3), ValueError, "at least one step"),
        (torch.zeros(2, 1, 3, dtype=torch.float64), TypeError, "float64"),
        (torch.full((2, 1, 3), float("nan")), ValueError, "NaN"),
    ],
)
def test_neurons_say_what_is_wrong(cur, error, message):
    with pytest.raises(error, match=message):
        cpu.neurons(cur, LEAKY)


def test_linear_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"must be \[T, B, 5\]"):
        cpu.linear(torch.zeros(2, 1, 4, dtype=torch.uint8), torch.zeros(3, 5))
    with pytest.raises(ValueError, match="contains NaN"):
        cpu.linear(torch.zeros(2, 1, 4, dtype=torch.uint8), torch.full((3, 4), float("nan")))


def test_float_counts_become_bytes():
    count = random_counts(2, 1, 3, 4, 4)
    assert torch.equal(Spikes.of(count.float()).count, count)


def test_a_kernel_that_does_not_compile_raises_the_error_that_models_catch():
    @kernel
    def broken(chunk):
        return chunk.nonsense

    with pytest.raises(EngineCompileError, match="kernel `broken` could not be compiled"):
        call_kernel(broken, 1)


def test_warm_up_runs_everything():
    cpu.warm_up()


def test_no_multiply_add_is_contracted_in_the_membrane_update():
    # Compiled again: numba does not show the code of what it loads from its cache.
    module = generated.generate(LEAKY, layer=True).module
    step = numba.cfunc(module.forward._sig, error_model="numpy")(module.forward.__wrapped__)
    code = step._library.get_asm_str()
    assert "mul" in code
    assert "vfmadd" not in code
    assert "fmla" not in code
