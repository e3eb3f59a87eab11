"""Neurons that are fully connected among themselves: step by step, each with one generated kernel.

The current of the connections is the library's product, as in the loop, or, where few neurons have fired, a sum of the
rows of weights of those that have.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snn_helpers.engine import cpu_linear
from snn_helpers.engine.cpu_memory import array, empty
from snn_helpers.engine.cpu_runtime import run_chunks
from snn_helpers.engine.cpu_steps import run_steps

FEW = 0.06  # share of neurons that fire, below which their rows are summed: measured with 128 to 1,024 neurons


class RecurrentRun(torch.autograd.Function):
    """cur [T, B, n], weight [n, n], bias [n] or None, and numbers to spikes and membranes [T, B, n]."""

    @staticmethod
    def forward(ctx, cur, made, exact, weight, bias, *numbers):
        """Compute the outputs, and keep what the way back needs."""
        num_steps, batch, n = cur.shape
        run = made.begin(numbers, num_steps, cur.shape[1:])
        records = made.records(run, True)
        rows, spikes = weight.detach().t(), records[0].view(num_steps, batch, n)
        flat, shift = array(rows, -1), torch.zeros(n) if bias is None else bias.detach()
        drive, counts = shift.expand(batch, n).contiguous(), []
        steps, _places = made.forward(run, records, cur, drive)
        for now in range(num_steps):
            if now > 0:
                _drive(spikes[now - 1], rows, flat, shift, drive, exact or counts[-1] > FEW * batch * n)
            run_chunks(run_steps, run.chunks, steps, now, now + 1, False)
            counts.append(int(np.count_nonzero(spikes[now].numpy())))
        return made.keep(ctx, run, cur, records, numbers, weight)

    @staticmethod
    def backward(ctx, *grads):
        """Compute a gradient for each argument of `forward`."""
        made, run, (cur, weight, *saved) = ctx.made, ctx.run, ctx.saved_tensors
        num_steps, total, sums = run.num_steps, run.shape.numel(), made.sums(run)
        grad_cur, grad_drive, carry = empty(num_steps, total), empty(num_steps, total), torch.zeros(made.count, total)
        places = {"grad_x": grad_cur, "grad_y": grad_drive, **{f"c{k}": carry[k] for k in made.source.carried}}
        steps, _places = made.backward(run, saved, dict(zip((0, made.mem), grads)), sums, cur, **places)
        back, through = carry[0].view(run.shape), grad_drive.view(-1, *run.shape)
        for now in range(num_steps - 1, -1, -1):
            run_chunks(run_steps, run.chunks, steps, now, now + 1, True)
            torch.addmm(back, through[now], weight, out=back)
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[3]:
            before, after = saved[0][:-1].flatten(0, 1), through[1:].flatten(0, 1)
            grad_weight = after.t() @ before
        if ctx.needs_input_grad[4]:
            grad_bias = through.sum((0, 1))
        of_numbers = made.number_gradients(run, sums, ctx.numbers)
        return grad_cur.view(-1, *run.shape), None, None, grad_weight, grad_bias, *of_numbers


def _drive(spk: Tensor, rows: Tensor, flat: np.ndarray, shift: Tensor, drive: Tensor, dense: bool) -> None:
    """Fill `drive` [B, n] with the current of the connections for spikes [B, n]."""
    fired = None if dense else spk.to(torch.uint8)
    if dense or not torch.equal(fired.float(), spk):  # graded spikes are no counts
        torch.addmm(shift, spk, rows, out=drive)
        return
    chunks = -(-len(spk) // cpu_linear.SAMPLES)
    run_chunks(cpu_linear.linear_forward, chunks, fired.numpy(), flat, shift.numpy(), drive.numpy())
