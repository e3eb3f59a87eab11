"""Event-driven fully connected layers: the kernels. Each spike adds one row of weights."""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu.rows import add_rows, find_nonzero
from snn_helpers.engine.cpu.runtime import ZERO, kernel

SAMPLES = 16  # rows of the input a chunk, forward
INPUTS = 64  # input neurons a chunk, in the gradient of the weights


@kernel
def linear_forward(chunk, spk, rows, shift, cur):
    """Compute `spk @ rows + shift` for one chunk of samples.

    Parameters
    ----------
    spk : uint8 array [samples, n_in]
        Spikes or counts.
    rows : float32 array [n_in * n_out], flat
        Weights, contiguous over outputs.
    shift : float32 array [n_out]
        Bias.
    cur : float32 array [samples, n_out]
        Filled with the currents.
    """
    if chunk < 0:
        return
    samples, n_in = spk.shape
    n_out = shift.size
    spk_flat, cur_flat = spk.reshape(-1), cur.reshape(-1)
    found = np.empty(n_in, np.int32)
    for k in range(chunk * SAMPLES, min(samples, (chunk + 1) * SAMPLES)):
        cur[k] = np.float32(0)
        hits = find_nonzero(spk_flat, k * n_in, (k + 1) * n_in, found)
        add_rows(cur_flat, k * n_out, rows, n_out, found, ZERO, hits, ZERO, n_out)
        for h in range(hits):
            for _ in range(1, spk[k, found[h]]):  # counts above one
                add_rows(cur_flat, k * n_out, rows, n_out, found, h, h + 1, ZERO, n_out)
        for j in range(n_out):
            cur[k, j] += shift[j]


@kernel
def linear_weight_gradient(chunk, spk, grad, grad_rows):
    """Compute `spk.T @ grad` for one chunk of input neurons: grad [samples, n_out] to grad_rows [n_in, n_out]."""
    if chunk < 0:
        return
    samples, n_in = spk.shape
    n_out = grad.shape[1]
    spk_flat, grad_flat, rows_flat = spk.reshape(-1), grad.reshape(-1), grad_rows.reshape(-1)
    low, high = chunk * INPUTS, min(n_in, (chunk + 1) * INPUTS)
    found, first = np.empty(high - low, np.int32), np.zeros(high - low + 1, np.int64)
    for k in range(samples):
        for h in range(find_nonzero(spk_flat, k * n_in + low, k * n_in + high, found)):
            first[found[h] + 1] += spk[k, low + found[h]]
    for i in range(high - low):
        first[i + 1] += first[i]
    sample, place = np.empty(first[high - low] + 1, np.int32), first.copy()
    for k in range(samples):
        for h in range(find_nonzero(spk_flat, k * n_in + low, k * n_in + high, found)):
            for _ in range(spk[k, low + found[h]]):
                sample[place[found[h]]] = k
                place[found[h]] += 1
    for i in range(low, high):
        grad_rows[i] = np.float32(0)
        start, stop = first[i - low], first[i - low + 1]
        add_rows(rows_flat, i * n_out, grad_flat, n_out, sample, start, stop, ZERO, n_out)
