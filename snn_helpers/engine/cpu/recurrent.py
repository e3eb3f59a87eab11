"""Neurons that are fully connected among themselves: step by step, each with one generated kernel.

The current of the connections is the library's product, as in the loop, or, where few neurons have fired, a sum of the
rows of weights of those that have.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snn_helpers.engine.cpu import linear_kernels
from snn_helpers.engine.cpu.memory import array, empty
from snn_helpers.engine.cpu.runtime import run_chunks
from snn_helpers.engine.cpu.steps import run_steps

FEW = 0.06  # share of neurons that fire, below which their rows are summed: measured with 128 to 1,024 neurons


class RecurrentRun(torch.autograd.Function):
    """cur [T, B, n], weight [n, n], bias [n] or None, and numbers to spikes and membranes [T, B, n]."""

    @staticmethod
    def forward(ctx, cur, made, exact, weight, bias, *numbers):
        """Compute the outputs, and keep what the way back needs."""
        num_steps, batch, n = cur.shape
        rows, shift = weight.detach().t(), torch.zeros(n) if bias is None else bias.detach()
        flat, drive, counts = array(rows, -1), shift.repeat(batch, 1), []
        run = made.forward(numbers, cur.shape, True, cur=cur)
        run.put("y", drive.view(-1))
        run.take(made.module.forward, made.source.slots["forward"])
        spikes = run.tensors[0]
        for now in range(num_steps):
            if now > 0:
                _drive(spikes[now - 1], rows, flat, shift, drive, exact or counts[-1] > FEW * batch * n)
            run_chunks(run_steps, run.chunks, run.steps, now, now + 1, False)
            counts.append(int(np.count_nonzero(spikes[now].numpy())))
        made.keep(ctx, run, cur.shape, numbers, weight)
        return spikes, run.tensors[made.mem]

    @staticmethod
    def backward(ctx, *grads):
        """Compute a gradient for each argument of `forward`."""
        made, (spikes, *_, weight) = ctx.made, (saved := ctx.saved_tensors)
        grad_cur, grad_drive = empty(*ctx.shape), empty(*ctx.shape)
        carry = torch.zeros(made.count, *ctx.shape[1:])
        carries = {f"c{k}": carry[k].view(-1) for k in made.source.carried}
        run = made.backward(ctx, saved, *grads, grad_x=grad_cur, grad_y=grad_drive, **carries)
        for now in range(run.num_steps - 1, -1, -1):
            run_chunks(run_steps, run.chunks, run.steps, now, now + 1, True)
            torch.addmm(carry[0], grad_drive[now], weight, out=carry[0])
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[3]:
            grad_weight = grad_drive[1:].flatten(0, 1).t() @ spikes[:-1].flatten(0, 1)
        if ctx.needs_input_grad[4]:
            grad_bias = grad_drive.sum((0, 1))
        return grad_cur, None, None, grad_weight, grad_bias, *made.number_gradients(ctx, run)


def _drive(spk: Tensor, rows: Tensor, flat: np.ndarray, shift: Tensor, drive: Tensor, dense: bool) -> None:
    """Fill `drive` [B, n] with the current of the connections for spikes [B, n]."""
    fired = None if dense else spk.to(torch.uint8)
    if dense or not torch.equal(fired.float(), spk):  # graded spikes are no counts
        torch.addmm(shift, spk, rows, out=drive)
        return
    chunks = -(-len(spk) // linear_kernels.SAMPLES)
    run_chunks(linear_kernels.linear_forward, chunks, fired.numpy(), flat, shift.numpy(), drive.numpy())
