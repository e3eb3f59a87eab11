"""Neurons over time on a CPU: one step forward and one step back for a row of neurons, and layers of neurons alone."""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu_runtime import kernel, part

# Places in `kernels.KINDS`, in `kernels.SURROGATES`, and in the array of numbers that every kernel takes.
LEAKY, SYNAPTIC, ALIF = range(3)
FAST_SIGMOID, COMPACT, ATAN = range(3)
BETA, THRESHOLD, ALPHA, RHO, ADAPTATION, SLOPE, KIND, SURROGATE = range(8)
BLOCK = 4096  # neurons a chunk in `neurons_forward`: state, current and gradient stay in the cache

_ZERO, _HALF, _ONE, _HALF_PI = np.float32(0), np.float32(0.5), np.float32(1), np.float32(np.pi / 2)


@part
def step_forward(cur, numbers, mem_before, mem, extra, spk_before, spk):
    """Advance n neurons by one step; see `snn_helpers.neurons` for the equations.

    Parameters
    ----------
    cur : float32 array [n]
        Currents.
    numbers : float32 array [8]
        The neuron's.
    mem_before, mem : float32 arrays [n]
        Membranes after the previous step and, filled, after this one; different memory, so that loops vectorise.
    extra : float32 array [n]
        Synaptic current or adaptation; changed in place.
    spk_before, spk : uint8 arrays [n]
        Spikes of the previous step and, filled, of this one.
    """
    beta, threshold, kind = numbers[BETA], numbers[THRESHOLD], numbers[KIND]
    alpha, rho, gain = numbers[ALPHA], numbers[RHO], numbers[ADAPTATION]
    if kind == LEAKY:
        for k in range(cur.size):
            reset = threshold if spk_before[k] != 0 else _ZERO
            u = (beta * mem_before[k] + cur[k]) - reset
            mem[k] = u
            spk[k] = u > threshold
    elif kind == SYNAPTIC:
        for k in range(cur.size):
            reset = threshold if spk_before[k] != 0 else _ZERO
            i = alpha * extra[k] + cur[k]
            u = (beta * mem_before[k] + i) - reset
            extra[k] = i
            mem[k] = u
            spk[k] = u > threshold
    else:
        for k in range(cur.size):
            fired = _ONE if spk_before[k] != 0 else _ZERO
            before = threshold + gain * extra[k]
            a = rho * extra[k] + (_ONE - rho) * fired
            u = (beta * mem_before[k] + cur[k]) - fired * before
            extra[k] = a
            mem[k] = u
            spk[k] = (u - (threshold + gain * a)) > _ZERO


@part
def surrogate(excess, slope, which):
    """Gradient of a spike with respect to u - theta."""
    if which == COMPACT:
        return max(_ZERO, _ONE - _HALF * slope * abs(excess))
    if which == ATAN:
        turn = _HALF_PI * slope * excess
        return _HALF * slope / (_ONE + turn * turn)
    r = _ONE / (_ONE + slope * abs(excess))
    return r * r


@part
def recompute_extra(numbers, spk, extra):
    """Fill `extra` [T + 1, n] with ALIF's adaptation before each step, from the spikes uint8 [T, n]."""
    rho = numbers[RHO]
    extra[0] = _ZERO
    for t in range(spk.shape[0]):
        for k in range(spk.shape[1]):
            fired = _ONE if t > 0 and spk[t - 1, k] != 0 else _ZERO
            extra[t + 1, k] = rho * extra[t, k] + (_ONE - rho) * fired


@part
def step_backward(grad, direct, numbers, mem, spk, extra, learn, grad_mem, grad_extra, grad_threshold):
    """Take n neurons one step back: turn the gradient of the spikes into the gradient of the currents.

    Parameters
    ----------
    grad, direct : float32 arrays [n]
        Gradients of this step's spikes and membranes; `direct` may be empty.
    mem, spk, extra : arrays [n]
        This step's membranes, spikes and (ALIF) adaptation.
    learn : bool
        Fill `grad_threshold`, too.
    grad_mem, grad_extra : float32 arrays [n]
        Gradients of the membranes and of the synaptic current or adaptation, from the step after; changed in place.
        The gradient of the currents is `grad_extra` for synaptic neurons, `grad_mem` for the others.
    grad_threshold : float32 array [n]
        Filled with the gradient of each neuron's threshold in this step.
    """
    beta, threshold, kind, slope = numbers[BETA], numbers[THRESHOLD], numbers[KIND], numbers[SLOPE]
    which = numbers[SURROGATE]
    if kind == ALIF:
        _alif_backward(grad, numbers, mem, spk, extra, grad_mem, grad_extra, grad_threshold)
    elif learn:
        for k in range(grad.size):
            through = grad[k] * surrogate(mem[k] - threshold, slope, which)
            grad_threshold[k] = -through - (grad_mem[k] if spk[k] != 0 else _ZERO)
            grad_mem[k] = through + beta * grad_mem[k]
    else:
        for k in range(grad.size):
            grad_mem[k] = grad[k] * surrogate(mem[k] - threshold, slope, which) + beta * grad_mem[k]
    for k in range(direct.size):
        grad_mem[k] += direct[k]
    if kind == SYNAPTIC:
        alpha = numbers[ALPHA]
        for k in range(grad.size):
            grad_extra[k] = grad_mem[k] + alpha * grad_extra[k]


@part
def _alif_backward(grad, numbers, mem, spk, extra, grad_mem, grad_extra, grad_threshold):
    beta, threshold, slope = numbers[BETA], numbers[THRESHOLD], numbers[SLOPE]
    rho, gain, which = numbers[RHO], numbers[ADAPTATION], numbers[SURROGATE]
    for k in range(grad.size):
        of_spike = grad[k] + (_ONE - rho) * grad_extra[k]
        through = of_spike * surrogate(mem[k] - (threshold + gain * extra[k]), slope, which)
        of_threshold = -through - (grad_mem[k] if spk[k] != 0 else _ZERO)
        grad_mem[k] = through + beta * grad_mem[k]
        grad_extra[k] = gain * of_threshold + rho * grad_extra[k]
        grad_threshold[k] = of_threshold


@part
def add_number_gradients(numbers, t, mem, spk, extra, grad_mem, grad_extra, grad_threshold, sums):
    """Add step t's share of the gradients of the neuron's numbers to `sums` float64 [5]; after its `step_backward`.

    `mem` and `spk` are [T, n]; `extra` [T + 1, n] is what `recompute_extra` filled (ALIF only).
    """
    beta, threshold, kind = numbers[BETA], numbers[THRESHOLD], numbers[KIND]
    for k in range(grad_mem.size):
        sums[THRESHOLD] += grad_threshold[k]
        if kind == ALIF:
            sums[ADAPTATION] += grad_threshold[k] * extra[t + 1, k]
        if t == 0:
            continue
        sums[BETA] += grad_mem[k] * mem[t - 1, k]
        if kind == ALIF:
            sums[RHO] += grad_extra[k] * (extra[t, k] - (_ONE if spk[t - 1, k] != 0 else _ZERO))
        elif kind == SYNAPTIC:
            syn = mem[t - 1, k]  # i[t-1] = u[t-1] - beta u[t-2] + theta s[t-2]
            if t > 1:
                syn -= beta * mem[t - 2, k]
                syn += threshold if spk[t - 2, k] != 0 else _ZERO
            sums[ALPHA] += grad_extra[k] * syn


@kernel
def neurons_forward(chunk, cur, numbers, mem, spk):
    """Run the neurons of one block over time: cur float32 [T, N] to mem float32 [T, N], spk uint8 [T, N]."""
    if chunk < 0:
        return
    num_steps, total = spk.shape
    low, high = chunk * BLOCK, min(total, (chunk + 1) * BLOCK)
    extra, rest, silent = (
        np.zeros(high - low, np.float32),
        np.zeros(high - low, np.float32),
        np.zeros(high - low, np.uint8),
    )
    for t in range(num_steps):
        mem_before = mem[t - 1, low:high] if t > 0 else rest
        spk_before = spk[t - 1, low:high] if t > 0 else silent
        step_forward(cur[t, low:high], numbers, mem_before, mem[t, low:high], extra, spk_before, spk[t, low:high])


@kernel
def neurons_backward(chunk, grad_spk, grad_mem, numbers, mem, spk, learn, grad_cur, sums):
    """Take the neurons of one block back over time.

    Parameters
    ----------
    grad_spk, grad_mem : float32 arrays [T, N]
        Gradients of spikes and membranes; `grad_mem` may have no rows.
    mem, spk : float32, uint8 arrays [T, N]
        Membranes and spikes.
    learn : bool
        Sum the gradients of the neuron's numbers, too.
    grad_cur : float32 array [T, N]
        Filled with the gradient of the currents.
    sums : float64 array [chunks, 5]
        Gradients of beta, threshold, alpha, rho, adaptation.
    """
    if chunk < 0:
        return
    num_steps, total = spk.shape
    low, high = chunk * BLOCK, min(total, (chunk + 1) * BLOCK)
    n, kind = high - low, numbers[KIND]
    carry, none = np.zeros((3, n), np.float32), np.empty(0, np.float32)
    extra = np.empty((num_steps + 1, n if kind == ALIF else 0), np.float32)
    if kind == ALIF:
        recompute_extra(numbers, spk[:, low:high], extra)
    for t in range(num_steps - 1, -1, -1):
        direct = grad_mem[t, low:high] if grad_mem.shape[0] > 0 else none
        step_backward(
            grad_spk[t, low:high], direct, numbers, mem[t, low:high], spk[t, low:high], extra[t + 1], learn,
            carry[0], carry[1], carry[2],
        )  # fmt: skip
        if learn:
            add_number_gradients(
                numbers, t, mem[:, low:high], spk[:, low:high], extra, carry[0], carry[1], carry[2], sums[chunk]
            )
        grad_cur[t, low:high] = carry[1] if kind == SYNAPTIC else carry[0]
