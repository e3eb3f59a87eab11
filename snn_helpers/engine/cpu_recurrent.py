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

FEW = 0.06  # share of neurons that fire, below which their rows are summed: measured with 128 to 1,024 neurons


class RecurrentRun(torch.autograd.Function):
    """cur [T, B, n], weight [n, n], bias [n] or None, and numbers to spikes and membranes [T, B, n]."""

    @staticmethod
    def forward(ctx, cur, made, exact, weight, bias, *numbers):
        """Compute the outputs, and keep what the way back needs."""
        (num_steps, batch, n), total = cur.shape, cur[0].numel()
        block = made.block(total)
        records = {k: empty(num_steps, total) for k in made.source.kept}
        given = array(cur, num_steps, total), *made.arrays(numbers, cur.shape[1:])
        rows, recs = weight.detach().t(), [rec.numpy() for rec in records.values()]
        spikes, flat = records[0].view(num_steps, batch, n), array(rows, -1)
        shift = torch.zeros(n) if bias is None else bias.detach()
        drive, counts = shift.expand(batch, n).contiguous(), []
        for now in range(num_steps):
            if now > 0:
                _drive(spikes[now - 1], rows, flat, shift, drive, exact or counts[-1] > FEW * total)
            run_chunks(made.module.forward, -(-total // block), block, now, drive.view(-1).numpy(), *given, *recs)
            counts.append(int(np.count_nonzero(recs[0][now])))
        ctx.made, ctx.given, ctx.numbers, ctx.few = made, given[1:], [v.shape for v in numbers], sum(counts)
        outs = [records[k].view(cur.shape) for k in made.source.kept[:2]]
        saved = dict(zip(made.source.kept, (*outs, *list(records.values())[2:])))
        ctx.save_for_backward(
            cur if made.source.takes_cur else None, weight, bias, *(saved[k] for k in made.source.saved)
        )
        ctx.set_materialize_grads(False)
        return tuple(outs)

    @staticmethod
    def backward(ctx, *grads):
        """Compute a gradient for each argument of `forward`."""
        made, source, (cur, weight, _, *saved) = ctx.made, ctx.made.source, ctx.saved_tensors
        shape = saved[0].shape
        (num_steps, batch, n), total = shape, shape[1:].numel()
        cur = np.empty((0, total), np.float32) if cur is None else array(cur, num_steps, total)
        given, sums = made.gradients(grads, num_steps, total), made.sums(total, total)
        grad_cur, grad_drive, carry = (
            empty(num_steps, total),
            empty(num_steps, total),
            torch.zeros(len(source.kept), total),
        )
        block, none, recs = made.block(total), np.empty(total, np.float32), [array(r, num_steps, total) for r in saved]
        arrays = carry.numpy(), grad_drive.numpy(), *(one.numpy() for one in sums.values())
        back, through = carry[0].view(batch, n), grad_drive.view(num_steps, batch, n)
        for now in range(num_steps - 1, -1, -1):
            run_chunks(
                made.module.backward, -(-total // block), block, now, none, cur, *ctx.given, *recs, *given,
                grad_cur.numpy(), *arrays,
            )  # fmt: skip
            torch.addmm(back, through[now], weight, out=back)
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[3]:
            before, after = saved[0][:-1].reshape(-1, n), through[1:].reshape(-1, n)
            grad_weight = after.t() @ before
        if ctx.needs_input_grad[4]:
            grad_bias = through.sum((0, 1))
        of_numbers = made.number_gradients(sums, shape[1:], ctx.numbers)
        return grad_cur.view(shape), None, None, grad_weight, grad_bias, *of_numbers


def _drive(spk: Tensor, rows: Tensor, flat: np.ndarray, shift: Tensor, drive: Tensor, dense: bool) -> None:
    """Fill `drive` [B, n] with the current of the connections for spikes [B, n]."""
    fired = None if dense else spk.to(torch.uint8)
    if dense or not torch.equal(fired.float(), spk):  # graded spikes are no counts
        torch.addmm(shift, spk, rows, out=drive)
        return
    chunks = -(-len(spk) // cpu_linear.SAMPLES)
    run_chunks(cpu_linear.linear_forward, chunks, fired.numpy(), flat, shift.numpy(), drive.numpy())
