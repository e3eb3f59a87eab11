"""2x2 max-pool of spikes in bytes, after their neurons: the kernels. One chunk is one image [H, W, C]."""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu.runtime import kernel

_ZERO = np.float32(0)


@kernel
def pool_forward(chunk, count, pooled):
    """Write the largest counts of each window of `count` uint8 [N, H, W, C] to `pooled` uint8 [N, H / 2, W / 2, C]."""
    if chunk < 0:
        return
    _, height, width, channels = pooled.shape
    for y in range(height):
        for x in range(width):
            a, b = count[chunk, 2 * y, 2 * x], count[chunk, 2 * y, 2 * x + 1]
            c, d = count[chunk, 2 * y + 1, 2 * x], count[chunk, 2 * y + 1, 2 * x + 1]
            to = pooled[chunk, y, x]
            for k in range(channels):
                to[k] = max(max(a[k], b[k]), max(c[k], d[k]))


@kernel
def pool_backward(chunk, count, grad, grad_in):
    """Write gradients [N, H / 2, W / 2, C] to `grad_in` [N, H, W, C]: to the first of the largest, as torch does."""
    if chunk < 0:
        return
    _, height, width, channels = grad.shape
    if count.shape[1] % 2 or count.shape[2] % 2:
        grad_in[chunk] = _ZERO
    for y in range(height):
        for x in range(width):
            a, b = count[chunk, 2 * y, 2 * x], count[chunk, 2 * y, 2 * x + 1]
            c, d = count[chunk, 2 * y + 1, 2 * x], count[chunk, 2 * y + 1, 2 * x + 1]
            to_a, to_b = grad_in[chunk, 2 * y, 2 * x], grad_in[chunk, 2 * y, 2 * x + 1]
            to_c, to_d = grad_in[chunk, 2 * y + 1, 2 * x], grad_in[chunk, 2 * y + 1, 2 * x + 1]
            here = grad[chunk, y, x]
            for k in range(channels):
                above, below, value = max(a[k], b[k]), max(c[k], d[k]), here[k]
                upper = value if above >= below else _ZERO
                lower = _ZERO if above >= below else value
                to_a[k] = upper if a[k] >= b[k] else _ZERO
                to_b[k] = _ZERO if a[k] >= b[k] else upper
                to_c[k] = lower if c[k] >= d[k] else _ZERO
                to_d[k] = _ZERO if c[k] >= d[k] else lower
