"""Properties of the CPU engine over random shapes, densities and parameters."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from snn_helpers.engine import cpu, reference
from snn_helpers.engine.reference import BatchNorm
from snn_helpers.engine.spikes import Spikes
from snn_helpers.neurons import ALIF, Leaky, Synaptic

DECAYS = st.sampled_from([0.0, 0.5, 0.9, 1.0])


def neurons_of(beta, decay, adaptation):
    return {
        "leaky": Leaky(beta).neuron(),
        "synaptic": Synaptic(decay, beta).neuron(),
        "alif": ALIF(beta, 1.0, decay, adaptation).neuron(),
    }


@st.composite
def cases(draw):
    """Draw counts uint8 [T, B, C, H, W] and weights of eighths, whose sums are exact in float32 in any order."""
    shape = [draw(st.integers(1, high)) for high in (4, 3, 9, 9, 9)]
    seed, density = draw(st.integers(0, 2**16)), draw(st.sampled_from([0.0, 0.05, 0.4, 1.0]))
    generator = torch.Generator().manual_seed(seed)
    highest = draw(st.sampled_from([1, 3, 255]))
    count = torch.randint(1, highest + 1, shape, generator=generator)
    count = (count * (torch.rand(shape, generator=generator) < density)).to(torch.uint8)
    n_out = draw(st.sampled_from([1, 3, 8, 20, 70]))
    weight = torch.randint(-6, 9, (n_out, shape[2], 3, 3), generator=generator) / 8
    bias = torch.randint(-2, 3, (n_out,), generator=generator) / 8
    return count, weight, bias


@settings(max_examples=60)
@given(cases(), st.sampled_from(["leaky", "synaptic", "alif"]), DECAYS, st.integers(1, 2))
def test_conv_layer_equals_the_reference_in_spikes_membranes_and_gradients(case, kind, beta, pool):
    count, weight, bias = case
    pool = min(pool, *count.shape[3:])
    neuron = neurons_of(beta, 0.5, 0.25)[kind]
    frames, leaves = count.float().requires_grad_(), [weight.requires_grad_(), bias.requires_grad_()]
    cur = F.conv2d(frames.double().flatten(0, 1), weight.double(), bias.double(), padding=1).float()  # exact
    cur = F.max_pool2d(cur, pool) if pool > 1 else cur
    spk, mem = reference.run(cur.unflatten(0, count.shape[:2]), neuron)
    up = torch.rand(spk.shape, generator=torch.Generator().manual_seed(0)) + 0.5
    expected = torch.autograd.grad((up * spk).sum(), [frames, *leaves])
    path = torch.zeros(count.shape, requires_grad=True)
    out = cpu.conv_layer(
        Spikes(count, path),
        weight,
        bias,
        neuron,
        pool=pool,
        path="events" if count.max() < 10 else "auto",
        keep_mem=True,
    )
    assert torch.equal(out.mem, mem)
    assert torch.equal(out.count.float(), spk)
    for ours, theirs in zip(torch.autograd.grad((up * out.float()).sum(), [path, *leaves]), expected):
        scale = theirs.abs().max()
        assert (ours - theirs).abs().max() <= 2e-5 * scale + 1e-9


@settings(max_examples=25)
@given(cases(), st.integers(1, 2), st.booleans())
def test_batch_norm_of_events_equals_torch_in_float64(case, pool, training):
    """Currents are compared, as membranes of neurons that never fire: a spike at the threshold has no right answer."""
    count, weight, _ = case
    pool = min(pool, *count.shape[3:])
    n_out = len(weight)
    gain, shift = torch.linspace(-1, 1.5, n_out), torch.linspace(-0.5, 0.5, n_out)
    running = [torch.full((n_out,), 0.25), torch.full((n_out,), 2.0)]
    cur = F.conv2d(count.double().flatten(0, 1), weight.double(), padding=1)
    if training and cur[:, 0].numel() < 2:
        return  # torch refuses
    running64 = [tensor.double() for tensor in running]
    cur = F.batch_norm(cur, *running64, gain.double(), shift.double(), training, 0.1, 1e-5)
    cur = (F.max_pool2d(cur, pool) if pool > 1 else cur).unflatten(0, count.shape[:2])
    out = cpu.conv_layer(
        count, weight, None, Leaky(0.0, 1e9).neuron(), norm=BatchNorm(gain, shift, *running, training),
        pool=pool, path="events" if count.max() < 10 else "auto", keep_mem=True,
    )  # fmt: skip
    scale = max(1.0, float(cur.abs().max()))
    assert (out.mem.double() - cur).abs().max() <= 3e-5 * scale
    for ours, theirs in zip(running, running64):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


@settings(max_examples=40)
@given(st.integers(0, 2**16), st.integers(1, 5), st.integers(1, 3), st.integers(1, 40), DECAYS, DECAYS)
def test_neurons_equal_the_reference_bit_for_bit(seed, num_steps, batch, size, beta, rho):
    generator = torch.Generator().manual_seed(seed)
    cur = torch.randint(-4, 9, (num_steps, batch, size), generator=generator) / 4  # often exactly at the threshold
    for neuron in neurons_of(beta, rho, 0.5).values():
        ours, theirs = cpu.neurons(cur, neuron), reference.run(cur, neuron)
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
