"""The CPU kernels as autograd functions: shapes, memory, and which gradient belongs where."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from snn_helpers.engine.cpu import conv_back_kernels, conv_kernels, currents, linear_kernels, norm, pool_kernels
from snn_helpers.engine.cpu.generated import Generated
from snn_helpers.engine.cpu.memory import array, channels_first, channels_last, empty, weight_rows, weight_rows_back
from snn_helpers.engine.cpu.runtime import check_first_order, run_chunks
from snn_helpers.engine.cpu.steps import NO_STEPS, Run, Steps
from snn_helpers.engine.spikes import no_path

MAX_CHUNKS = 64
MAX_SUMS = 2**20  # float32 numbers
_NO_CURRENTS, _NO_WINNERS = np.empty((0,) * 5, np.float32), np.empty((0,) * 3, np.uint8)


def share_out(batch: int, sums: int = 0) -> int:
    """Return into how many shares a batch is cut: many, so that threads end together, but bounded memory for sums.

    Each share has its own sums of gradients, `sums` numbers; the number of threads plays no part, so that results do
    not depend on it.
    """
    return min(batch, MAX_CHUNKS, max(8, MAX_SUMS // max(1, sums)))


def _begin(ctx, made: Generated, cur_shape, pool: int, keep_mem: bool, numbers, cur: Tensor | None = None):
    """Return the way forward of neurons whose currents are [T, B, H, W, C] before a pool, and what is to be filled.

    That is winners and pooled currents, with no rows where they are not kept. Without a `cur`, a kernel gives currents.
    """
    num_steps, batch, height, width, channels = cur_shape
    shape, train = (num_steps, batch, channels, height // pool, width // pool), any(ctx.needs_input_grad)
    run = made.forward(numbers, shape, train, keep_mem, cur)
    pooled = run.tensors["x"].numpy() if cur is None and "x" in run.tensors else _NO_CURRENTS
    return run, empty(num_steps if train and pool == 2 else 0, batch, run.size, dtype=np.uint8), pooled


def _end(ctx, made: Generated, run: Run, numbers, keep_mem: bool, *saved: Tensor) -> tuple:
    """Keep what the way back needs; return what a layer hands on: counts, their path, membranes where asked for."""
    count, mem = run.tensors[0], run.tensors[made.mem] if keep_mem else None
    made.keep(ctx, run, channels_first(count).shape, numbers, *saved)
    ctx.mark_non_differentiable(count, *([] if mem is None else [mem]))
    return count, no_path(channels_first(count)), mem


class ConvNeurons(torch.autograd.Function):
    """count [T, B, H, W, C] through convolution, shift, pool and neurons to [T, B, rows, columns, n_out]."""

    @staticmethod
    def forward(ctx, count, path, weight, shift, window, made, pool, capacity, keep_mem, *numbers):
        """Compute the outputs, and keep what the way back needs."""
        n_out = len(weight)
        run, winner, pooled = _begin(ctx, made, (*count.shape[:2], *window.image, n_out), pool, keep_mem, numbers)
        ctx.window, ctx.sizes = window, (pool, capacity, False)
        _convolve(ctx, count, weight, shift, run.steps, winner.numpy(), pooled, np.empty((0, 0, 2, n_out)))
        return _end(ctx, made, run, numbers, keep_mem, count, weight, winner)

    @staticmethod
    def backward(ctx, _, grad_spk, __):
        """Compute a gradient for each argument of `forward`."""
        *_, count, weight, winner = saved = ctx.saved_tensors
        run = ctx.made.backward(ctx, saved, channels_last(grad_spk))
        grad_in = empty(*(count.shape if ctx.needs_input_grad[1] else (0,)))
        grads = _convolve_back(ctx, count, weight, run.steps, winner.numpy(), _NO_CURRENTS, grad_in)
        grad_path = channels_first(grad_in) if ctx.needs_input_grad[1] else None
        return None, grad_path, *grads, *[None] * 5, *ctx.made.number_gradients(ctx, run)


def _convolve(ctx, count, weight, shift, steps: Steps, winner: np.ndarray, cur: np.ndarray, sums: np.ndarray) -> None:
    chunks = share_out(count.shape[1])
    run_chunks(
        conv_kernels.conv_forward, chunks, chunks, count.numpy(), array(weight_rows(weight, ctx.window.groups), -1),
        array(shift), ctx.window, *ctx.sizes, steps, winner, cur, sums,
    )  # fmt: skip


def _convolve_back(ctx, count, weight, steps: Steps, winner: np.ndarray, grad_cur: np.ndarray, grad_in: Tensor):
    """Fill `grad_in`, if it has a size, and return the gradients of weight and shift."""
    check_first_order()
    n_out, channels, *sides = weight.shape
    groups = ctx.window.groups
    chunks = share_out(count.shape[1], weight.numel())
    grad_rows, wants_shift = torch.zeros(chunks, weight.numel()), ctx.needs_input_grad[3]
    grad_shift = torch.zeros(chunks if wants_shift else 0, n_out, dtype=torch.float64)
    rows = array(weight_rows_back(weight), -1) if grad_in.numel() else np.empty(0, np.float32)
    run_chunks(
        conv_back_kernels.conv_backward, chunks, chunks, count.numpy(), rows, ctx.window, *ctx.sizes, steps, winner,
        grad_cur, grad_rows.numpy(), grad_shift.numpy(), array(grad_in, -1),
    )  # fmt: skip
    grad_weight = grad_rows.sum(0).view(*sides, groups, channels, n_out // groups).permute(2, 4, 3, 0, 1).flatten(0, 1)
    return grad_weight, grad_shift.sum(0).float() if wants_shift else None


class ConvCurrents(torch.autograd.Function):
    """count [T, B, H, W, C] to the currents of its convolution, [T, B, n_out, ...], channels-last in memory.

    In memory as they are named where `planes` are wanted, for torch: its batch norm loses digits over channels-last.
    Beside them the sums of each step's currents and of their squares, float64 [T, 2, n_out], or None where they are not
    wanted.
    Events give the currents and the gradient of the weights; the input's gradient, which has no gaps, is the library's.
    """

    @staticmethod
    def forward(ctx, count, path, weight, shift, window, capacity, wants_sums, planes):
        """Compute the outputs, and keep what the way back needs."""
        n_out = len(weight)
        cur = empty(*count.shape[:2], *((n_out, *window.image) if planes else (*window.image, n_out)))
        sums = np.zeros((share_out(count.shape[1]) if wants_sums else 0, len(count), 2, n_out))
        ctx.window, ctx.sizes = window, (1, capacity, planes)
        _convolve(ctx, count, weight, shift, NO_STEPS, _NO_WINNERS, cur.numpy(), sums)
        ctx.save_for_backward(count, weight)
        sums = torch.from_numpy(sums.sum(0)) if wants_sums else None
        ctx.mark_non_differentiable(*([sums] if wants_sums else []))
        ctx.set_materialize_grads(False)
        return cur if planes else channels_first(cur), sums

    @staticmethod
    def backward(ctx, grad, _):
        """Compute a gradient for each argument of `forward`."""
        count, weight = ctx.saved_tensors
        planes = ctx.sizes[-1]
        grad = grad.contiguous() if planes else channels_last(grad)
        grads = _convolve_back(ctx, count, weight, NO_STEPS, _NO_WINNERS, grad.numpy(), torch.empty(0))
        grad_path = None
        if ctx.needs_input_grad[1]:
            images = (grad if planes else channels_first(grad)).flatten(0, 1)
            weight = weight if planes else weight.contiguous(memory_format=torch.channels_last)
            to = ctx.window
            grad_path = F.conv_transpose2d(
                images, weight, None, to.stride, to.padding, to.left_over, to.groups, to.dilation
            ).unflatten(0, count.shape[:2])
        return None, grad_path, *grads, None, None, None, None


class CurrentNeurons(torch.autograd.Function):
    """cur [T, B, C, H, W], channels-last in memory, through batch norm, pool and neurons to [T, B, H / pool, ..., C].

    Normalised by the statistics of `cur`, over time or in `each_step`, which are returned too, [1 or T, C], with `gain`
    and `shift` float32 [C]; without a `gain` not at all, and mean and variance are None. `sums` of each step's currents
    and their squares, float64 [T, 2, C], are taken here where they are None.
    """

    @staticmethod
    def forward(ctx, cur, sums, gain, shift, eps, each_step, made, pool, keep_mem, *numbers):
        """Compute the outputs, and keep what the way back needs."""
        cur = channels_last(cur)
        chunks, mean, var, inverse, gains = share_out(cur.shape[1]), None, None, None, torch.empty(0, 2, cur.shape[-1])
        if gain is not None:
            mean, var, inverse, gains = _statistics(cur, sums, gain, shift, eps, each_step)
            ctx.mark_non_differentiable(mean, var)
        as_it_is = cur if pool == 1 and gain is None else None
        run, winner, pooled = _begin(ctx, made, cur.shape, pool, keep_mem, numbers, as_it_is)
        run_chunks(
            currents.current_forward, chunks, chunks, cur.numpy(), gains.numpy(), pool, run.steps, winner.numpy(),
            pooled,
        )  # fmt: skip
        ctx.pool, ctx.cur_shape, ctx.normalised, ctx.each_step = pool, cur.shape, gain is not None, each_step
        of_norm = [cur, gain, mean, inverse] if ctx.normalised else [torch.empty(0, 0, 0, 0, 0), None, None, None]
        return *_end(ctx, made, run, numbers, keep_mem, winner, *of_norm), mean, var

    @staticmethod
    def backward(ctx, _, grad_spk, *__):
        """Compute a gradient for each argument of `forward`."""
        *_, winner, cur, gain, mean, inverse = saved = ctx.saved_tensors
        chunks, channels = share_out(ctx.cur_shape[1]), ctx.cur_shape[-1]
        grad_cur = empty(*ctx.cur_shape)
        rows = {"grad_x": grad_cur} if ctx.pool == 1 else {}
        run = ctx.made.backward(ctx, saved, channels_last(grad_spk), **rows)
        products = torch.zeros(chunks, len(grad_cur), 2, channels, dtype=torch.float64)
        run_chunks(
            currents.current_backward, chunks, chunks, ctx.pool, run.steps, winner.numpy(), cur.numpy(),
            grad_cur.numpy(), products.numpy(),
        )  # fmt: skip
        grad_gain = grad_shift = None
        if ctx.normalised:
            grad_gain, grad_shift = _norm_back(products, ctx.each_step, cur, gain, mean, inverse, grad_cur)
        of_numbers = ctx.made.number_gradients(ctx, run)
        return channels_first(grad_cur), None, grad_gain, grad_shift, *[None] * 5, *of_numbers


class NormCurrents(torch.autograd.Function):
    """cur [T, B, C, H, W] to their normalisation, both channels-last in memory; as `CurrentNeurons`, without these."""

    @staticmethod
    def forward(ctx, cur, sums, gain, shift, eps, each_step):
        """Compute the outputs, and keep what the way back needs."""
        cur = channels_last(cur)
        mean, var, inverse, gains = _statistics(cur, sums, gain, shift, eps, each_step)
        ctx.mark_non_differentiable(mean, var)
        chunks, out = share_out(cur.shape[1]), empty(*cur.shape)
        run_chunks(
            currents.current_forward, chunks, chunks, cur.numpy(), gains.numpy(), 1, NO_STEPS, _NO_WINNERS,
            out.numpy(),
        )  # fmt: skip
        ctx.each_step = each_step
        ctx.save_for_backward(cur, gain, mean, inverse)
        return channels_first(out), mean, var

    @staticmethod
    def backward(ctx, grad, *__):
        """Compute a gradient for each argument of `forward`."""
        check_first_order()
        cur, gain, mean, inverse = ctx.saved_tensors
        grad_cur = empty(*cur.shape).copy_(grad.permute(0, 1, 3, 4, 2))
        chunks = share_out(cur.shape[1])
        products = torch.zeros(chunks, len(cur), 2, cur.shape[-1], dtype=torch.float64)
        run_chunks(
            currents.current_backward, chunks, chunks, 1, NO_STEPS, _NO_WINNERS, cur.numpy(), grad_cur.numpy(),
            products.numpy(),
        )  # fmt: skip
        grads = _norm_back(products, ctx.each_step, cur, gain, mean, inverse, grad_cur)
        return channels_first(grad_cur), None, *grads, None, None


def _statistics(cur: Tensor, sums: Tensor | None, gain: Tensor, shift: Tensor, eps: float, each_step: bool) -> tuple:
    """Return mean, variance and 1 / deviation, float64 [1 or T, C], and the gains of `currents.current_forward`."""
    if sums is None:
        chunks = share_out(cur.shape[1])
        parts = torch.zeros(chunks, len(cur), 2, cur.shape[-1], dtype=torch.float64)
        run_chunks(currents.square_sums, chunks, chunks, cur.numpy(), parts.numpy())
        sums = parts.sum(0)
    sums = sums if each_step else sums.sum(0, keepdim=True)
    mean, mean_square = (sums * len(sums) / cur[..., 0].numel()).unbind(1)
    var = (mean_square - mean * mean).clamp(min=0)
    inverse = 1.0 / torch.sqrt(var + eps)
    return mean, var, inverse, _each_step(len(cur), gain * inverse, shift - mean * gain * inverse)


def _norm_back(products: Tensor, each_step: bool, cur, gain, mean, inverse, grad_cur: Tensor) -> tuple[Tensor, Tensor]:
    """Turn `grad_cur` of normalised currents into that of `cur`; return the gradients of gain and shift."""
    grad_shift, with_cur = products.sum(0 if each_step else (0, 1)).view(len(mean), 2, -1).unbind(1)
    grad_gain = (with_cur - mean * grad_shift) * inverse
    scale, size = gain * inverse, cur[..., 0].numel() / len(mean)
    slope = scale * inverse * grad_gain / size
    gains = _each_step(len(cur), scale, -slope, slope * mean - scale * grad_shift / size)
    chunks = share_out(cur.shape[1])
    run_chunks(currents.norm_backward, chunks, chunks, cur.numpy(), gains.numpy(), grad_cur.numpy())
    return grad_gain.sum(0).float(), grad_shift.sum(0).float()


def _each_step(num_steps: int, *gains: Tensor) -> Tensor:
    """Return gains of each step, or of all alike, [T or 1, C], as float32 [T, gains, C]."""
    return torch.stack(gains, 1).float().expand(num_steps, -1, -1).contiguous()


class MaxPool(torch.autograd.Function):
    """count [T, B, H, W, C] to the largest of each 2x2 window, [T, B, H / 2, W / 2, C]."""

    @staticmethod
    def forward(ctx, count, path):
        """Compute the outputs, and keep what the way back needs."""
        num_steps, batch, height, width, channels = count.shape
        pooled = empty(num_steps, batch, height // 2, width // 2, channels, dtype=np.uint8)
        images = num_steps * batch
        run_chunks(pool_kernels.pool_forward, images, count.flatten(0, 1).numpy(), pooled.flatten(0, 1).numpy())
        ctx.save_for_backward(count)
        ctx.mark_non_differentiable(pooled)
        ctx.set_materialize_grads(False)
        return pooled, no_path(channels_first(pooled))

    @staticmethod
    def backward(ctx, _, grad):
        """Compute the gradient of the path."""
        check_first_order()
        (count,) = ctx.saved_tensors
        grad_in, grad = empty(*count.shape), channels_last(grad)
        images = (one.flatten(0, 1).numpy() for one in (count, grad, grad_in))
        run_chunks(pool_kernels.pool_backward, count.shape[0] * count.shape[1], *images)
        return None, channels_first(grad_in)


class Linear(torch.autograd.Function):
    """count [T, B, ...] and weight [n_out, ...] to currents [T, B, n_out]."""

    @staticmethod
    def forward(ctx, count, path, weight, bias):
        """Compute the outputs, and keep what the way back needs."""
        samples, n_in, n_out = count.shape[0] * count.shape[1], count[0, 0].numel(), weight.shape[0]
        rows = weight.detach().movedim(0, -1).contiguous().view(n_in, n_out)
        cur = empty(samples, n_out)
        run_chunks(
            linear_kernels.linear_forward, -(-samples // linear_kernels.SAMPLES), array(count, samples, n_in),
            array(rows, -1), array(bias), cur.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(count, rows)
        ctx.weight_shape = weight.shape
        return cur.view(*count.shape[:2], n_out)

    @staticmethod
    def backward(ctx, grad):
        """Compute a gradient for each argument of `forward`."""
        check_first_order()
        count, rows = ctx.saved_tensors
        n_in, n_out = rows.shape
        grad = grad.contiguous().view(-1, n_out)
        grad_path = grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_path = torch.mm(grad, rows.t(), out=empty(len(grad), n_in)).view(count.shape)
        if ctx.needs_input_grad[2]:
            grad_rows = empty(n_in, n_out)
            run_chunks(
                linear_kernels.linear_weight_gradient, -(-n_in // linear_kernels.INPUTS), array(count, -1, n_in),
                array(grad), grad_rows.numpy(),
            )  # fmt: skip
            grad_weight = grad_rows.view(*ctx.weight_shape[1:], n_out).movedim(-1, 0)
        return None, grad_path, grad_weight, grad.sum(0) if ctx.needs_input_grad[3] else None


def count_events(count: Tensor) -> tuple[int, int]:
    """Return the most events in any step of any recording, and all events, of uint8 [T, B, H, W, C]."""
    chunks = share_out(count.shape[1])
    most, total = np.zeros(chunks, np.int64), np.zeros(chunks, np.int64)
    run_chunks(conv_kernels.count_events, chunks, chunks, count.numpy(), most, total)
    return int(most.max()), int(total.sum())


def current_sums(count: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of a convolution's currents and of their squares, float64 [n_out], of uint8 [T, B, H, W, C].

    With gradient to the weight; see `norm`.
    """
    chunks, channels = share_out(count.shape[1]), count.shape[-1]
    shapes = (3, channels, 5 * channels), (9 * channels + 1, 9 * channels), (channels,)
    parts = [np.zeros((chunks, *shape), np.int64) for shape in shapes]
    run_chunks(norm.window_products, chunks, chunks, count.numpy(), *parts)
    table = torch.from_numpy(norm.window_table(*(part.sum(0) for part in parts))).double()
    rows = weight.permute(2, 3, 1, 0).reshape(9 * channels, -1).double()
    return table[-1] @ rows, (rows * (table[:-1] @ rows)).sum(0)
