"""One step of neurons forward and one back, for a row of neurons: what kernels of whole layers call."""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu_runtime import part

# Places in `kernels.KINDS`, in `kernels.SURROGATES`, and in the array of numbers that every kernel takes.
LEAKY, SYNAPTIC, ALIF = range(3)
FAST_SIGMOID, COMPACT, ATAN = range(3)
BETA, THRESHOLD, ALPHA, RHO, ADAPTATION, SLOPE, KIND, SURROGATE = range(8)

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
