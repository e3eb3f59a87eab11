"""Launches of the Triton kernels: shapes, sizes of blocks, and the small tensors that lie between two kernels."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from snn_helpers.engine.cuda import conv_kernels, first_kernels, neuron_kernels, parts
from snn_helpers.engine.kernels import KINDS, NUMBERS, SURROGATES
from snn_helpers.engine.reference import Neuron

SHARED_BYTES = 112 * 1024  # of a block, so that two share a multiprocessor
PATCH_LIMIT = 128  # values in the patch under a pool window, in a first layer


class Equation(NamedTuple):
    """What kernels need to know of neurons, beside their numbers: kind and surrogate by place, and the slope."""

    kind: int
    surrogate: int
    slope: float

    @classmethod
    def of(cls, neuron: Neuron) -> Equation:
        """Take it from neurons that a kernel serves."""
        return cls(KINDS.index(neuron.kind), SURROGATES.index(neuron.surrogate), neuron.slope)


class Shape(NamedTuple):
    """The sizes of a convolution over time, and of the max-pool after it."""

    num_steps: int
    batch: int
    n_in: int
    height: int
    width: int
    n_out: int
    size: int
    stride: int
    padding: int
    pool: int

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the currents."""
        return tuple((side + 2 * self.padding - self.size) // self.stride + 1 for side in (self.height, self.width))

    @property
    def pooled(self) -> tuple[int, int]:
        """Height and width after the pool."""
        return tuple(side // self.pool for side in self.out)

    @property
    def images(self) -> int:
        """Steps times recordings."""
        return self.num_steps * self.batch

    @property
    def rows(self) -> int:
        """Pixels of the currents, of all steps and recordings."""
        return self.images * math.prod(self.out)

    @property
    def neurons(self) -> int:
        """Places of neurons in one step of all recordings, the channels left out."""
        return self.batch * math.prod(self.pooled)

    def patch(self, pool: int) -> int:
        """Side of the patch of the input that a pool window sees."""
        return self.size + (pool - 1) * self.stride


@functools.lru_cache(maxsize=256)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers on a device, copied there once: a copy from the CPU cannot be part of a CUDA graph."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def numbers_of(neuron: Neuron, device: torch.device) -> Tensor:
    """Return a neuron's `NUMBERS` as float32 [5] on the device; learned ones with their gradient."""
    values = [neuron.numbers.get(name, 0.0) for name in NUMBERS]
    fixed = _constant(tuple(0.0 if isinstance(value, Tensor) else float(value) for value in values), device)
    if not any(isinstance(value, Tensor) for value in values):
        return fixed
    return torch.stack(
        [
            value.to(device, torch.float32).reshape(()) if isinstance(value, Tensor) else fixed[i]
            for i, value in enumerate(values)
        ]
    )


@functools.lru_cache(maxsize=16)
def _multiprocessors(device: torch.device) -> int:
    return 2 if device.type != "cuda" else torch.cuda.get_device_properties(device).multi_processor_count


def launch(kernel, grid: tuple[int, ...], *args, **meta) -> None:
    """Launch a kernel; the one place that all launches go through."""
    meta.setdefault("enable_fp_fusion", True)
    kernel[grid](*args, **meta)


def _power(size: int, low: int = 16) -> int:
    return max(low, triton.next_power_of_2(size))


def _padded(size: int, block: int) -> int:
    """Return the power of two of small sizes, a multiple of `block` of large ones."""
    return _power(size) if size <= block else triton.cdiv(size, block) * block


# ------------------------------------------------------------------------------------------------ neurons
def neurons_forward(
    cur: Tensor, numbers: Tensor, equation: Equation, rows: int, channels: int, *, image: tuple[int, int] = (1, 1),
    pool: int = 1, scale: Tensor | None = None, shift: Tensor | None = None, spk: Tensor, mem: Tensor | None = None,
    arg: Tensor | None = None,
) -> None:  # fmt: skip
    """Fill `spk`, and where given `mem` and `arg`, each [T, rows, channels]; `mem` may be `cur` if pool is 1."""
    num_steps = cur.shape[0]
    cols = min(triton.next_power_of_2(channels), 128)
    block = max(1, (256 if pool == 2 else 512) // cols)
    launch(
        neuron_kernels.forward, (triton.cdiv(rows, block), triton.cdiv(channels, cols)),
        cur, cur if scale is None else scale, cur if shift is None else shift, spk, cur if mem is None else mem,
        spk if arg is None else arg, numbers, num_steps, rows, cur.numel() // num_steps,
        H=image[0], W=image[1], C=channels, KIND=equation.kind, POOL=pool, SCALE=scale is not None,
        SHIFT=shift is not None, MEM=mem is not None, ARG=arg is not None, ROWS=block, COLS=cols, num_warps=4,
        enable_fp_fusion=False,
    )  # fmt: skip


class NeuronGradients(NamedTuple):
    """What `neurons_backward` gives; None where it was not asked for."""

    cur: Tensor  # of the (pooled) currents
    amax: Tensor | None  # its largest magnitude
    sums: Tensor | None  # float64 [C]
    products: Tensor | None  # float64 [C]: of its products with the normalised currents
    numbers: Tensor | None  # float32 [5]


def neurons_backward(
    grad_spk: Tensor, mem: Tensor, numbers: Tensor, equation: Equation, rows: int, channels: int, *,
    grad_mem: Tensor | None = None, image: tuple[int, int] = (1, 1), pool: int = 1, by_channel: bool = False,
    norm: tuple[Tensor, ...] | None = None, arg: Tensor | None = None, learn: bool = False,
) -> NeuronGradients:  # fmt: skip
    """Take neurons back over time; `norm` is (currents, mean, 1 / deviation, weight, bias)."""
    num_steps, device = mem.shape[0], mem.device
    cols = min(triton.next_power_of_2(channels), 128)
    block = max(1, (512 if by_channel else 256) // cols)
    grid = triton.cdiv(rows, block), triton.cdiv(channels, cols)

    def new(wanted, *shape):
        return torch.empty(shape, device=device) if wanted else None

    du = torch.empty_like(mem)
    amax = torch.zeros((), device=device) if by_channel else None
    sums, products = new(by_channel, grid[0], channels), new(norm is not None, grid[0], channels)
    learned = new(learn, grid[0] * grid[1], 5)
    adapted = torch.empty_like(mem) if KINDS[equation.kind] == "alif" else mem
    cur, *statistics = norm or (mem, mem, mem, mem, mem)
    unused = [tensor if tensor is not None else du for tensor in (amax, sums, products, learned)]
    launch(
        neuron_kernels.backward, grid,
        grad_spk, du if grad_mem is None else grad_mem, mem, adapted, cur, mem if arg is None else arg, *statistics, du,
        *unused, numbers, equation.slope, num_steps, rows, cur.numel() // num_steps,
        H=image[0], W=image[1], C=channels, KIND=equation.kind, SURROGATE=equation.surrogate, POOL=pool,
        MEM=grad_mem is not None, AMAX=amax is not None, SUMS=by_channel, NORM=norm is not None, LEARN=learn,
        ROWS=block, COLS=cols, num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    sums, products = (None if t is None else t.sum(0, dtype=torch.float64) for t in (sums, products))
    learned = None if learned is None else learned.sum(0, dtype=torch.float64).float()
    return NeuronGradients(du, amax, sums, products, learned)


# ------------------------------------------------------------------------------------------------ weights in parts
class Split(NamedTuple):
    """Weights in float16 parts [parts, taps, KPAD, NPAD], and what they are made of."""

    parts: Tensor
    amax: Tensor  # largest magnitude of the weights
    k: int
    n: int


def largest(weight: Tensor) -> Tensor:
    """Return the largest magnitude of a tensor, on its device."""
    return torch.linalg.vector_norm(weight, ord=torch.inf)


def split(
    weight: Tensor, amax: Tensor, count: int, *, k: int, n: int, taps: int, strides: tuple[int, int, int, int, int],
    k0: int | None = None, n0: int | None = None, flip: bool = False, sign: Tensor | None = None,
) -> Split:  # fmt: skip
    """Split contiguous weights into `count` parts; strides of n // n0, n % n0, k // k0, k % k0 and the taps."""
    kpad, npad = _padded(k, 64), _padded(n, 64)
    out = torch.empty(count, taps, kpad, npad, dtype=torch.float16, device=weight.device)
    total = taps * kpad * npad
    launch(
        parts.split_weights, (triton.cdiv(total, 1024),), weight, weight if sign is None else sign, amax, out, total,
        *strides, N=n, N0=n0 or n, NPAD=npad, K=k, K0=k0 or k, KPAD=kpad, TAPS=taps, FLIP=flip, SIGN=sign is not None,
        PARTS=count, WIDTH=1024, num_warps=4,
    )  # fmt: skip
    return Split(out, amax, k, n)


# ------------------------------------------------------------------------------------------------ convolutions
def _stages(bytes_a_stage: int, most: int = 4) -> int:
    return max(2, min(most, SHARED_BYTES // bytes_a_stage))


def products(
    a: Tensor, weight: Split, shape: Shape, *, transposed: bool = False, amax: Tensor | None = None, stats: bool = False
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Convolve spikes uint8 [images, H, W, K], or (with `amax`) the parts of a gradient [parts, images, H, W, K].

    `transposed` is the gradient of the input. Returns float32 [images, H, W, N], and sums and sums of squares by
    channel in float64 with `stats`.
    """
    here, there = ((shape.height, shape.width), shape.out) if transposed else (shape.out, (shape.height, shape.width))
    rows = shape.images * here[0] * here[1]
    a_parts = 0 if amax is None else a.shape[0]
    w_parts, _, kpad, npad = weight.parts.shape
    tall = rows >= 128 * 264
    block = 128 if tall else 64
    cols = 128 if npad % 128 == 0 and tall else min(npad, 64)
    depth = min(kpad, 64)
    size_a = block * depth * (2 * max(1, a_parts) if a_parts else 1)
    out = torch.empty(shape.images, *here, weight.n, device=a.device)
    grid = triton.cdiv(rows, block), npad // cols
    sums = torch.empty(2, grid[0], weight.n, device=a.device) if stats else (out, out)
    launch(
        conv_kernels.products, grid, a, weight.parts, out, weight.amax, out if amax is None else amax, *sums, rows,
        a[0].numel() if a_parts else 0, HO=here[0], WO=here[1], HI=there[0], WI=there[1], K=weight.k, N=weight.n,
        KPAD=kpad, NPAD=npad, SIZE=shape.size, UP=1 if transposed else shape.stride,
        DOWN=shape.stride if transposed else 1,
        PAD=shape.size - 1 - shape.padding if transposed else shape.padding, A_PARTS=a_parts, W_PARTS=w_parts,
        STATS=stats, LONG=_is_long(a, out), ROWS=block, COLS=cols, DEPTH=depth,
        num_warps=8 if block * cols >= 128 * 128 else 4, num_stages=_stages(size_a + 2 * w_parts * depth * cols),
    )  # fmt: skip
    return (out, *sums.sum(1, dtype=torch.float64)) if stats else (out, None, None)


def _is_long(*tensors: Tensor) -> bool:
    return any(tensor.numel() >= 2**31 for tensor in tensors)


def pooled_products(spk: Tensor, weight: Split, shape: Shape, arg: Tensor | None) -> Tensor:
    """Convolve spikes uint8 [T, B, H, W, K] and max-pool: float32 [T, B, HP, WP, N]; `arg` is filled where given."""
    height, width = shape.pooled
    rows = shape.images * height * width
    w_parts, _, kpad, npad = weight.parts.shape
    block, cols, depth = 64, min(npad, 64), min(kpad, 64)
    out = torch.empty(shape.num_steps, shape.batch, height, width, weight.n, device=spk.device)
    launch(
        conv_kernels.pooled_products, (triton.cdiv(rows, block), npad // cols), spk, weight.parts, weight.amax, out,
        spk if arg is None else arg, rows, HI=shape.height, WI=shape.width, HP=height, WP=width, K=weight.k, N=weight.n,
        KPAD=kpad, NPAD=npad, SIZE=shape.size, STRIDE=shape.stride, PAD=shape.padding, PARTS=w_parts,
        KEEP=arg is not None, LONG=_is_long(spk, out), ROWS=block, COLS=cols, DEPTH=depth, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


def spread(
    du: Tensor, arg: Tensor | None, amax: Tensor, shape: Shape, count: int,
    norm: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Return the gradient of the full currents in float16 parts [count, images, H, W, N].

    `norm` is (currents, offset, slope, scale), see `norm.spread_coefficients`.
    """
    out = torch.empty(count, shape.images, *shape.out, shape.n_out, dtype=torch.float16, device=du.device)
    total = out[0].numel()
    cur, offset, slope, scale = norm or (du, du, du, du)
    launch(
        conv_kernels.spread, (triton.cdiv(total, 1024),), du, du if arg is None else arg, cur, offset, slope, scale,
        amax, out, total, HO=shape.out[0], WO=shape.out[1], N=shape.n_out, POOL=shape.pool, NORM=norm is not None,
        PARTS=count, LONG=total >= 2**31, WIDTH=1024, num_warps=4,
    )  # fmt: skip
    return out


def weight_gradient(spk: Tensor, grad: Tensor, amax: Tensor, shape: Shape) -> Tensor:
    """Gradient of the weights, float32 [size, size, N, K], from spikes uint8 [.., K] and `grad` in parts [.., N]."""
    size, k, n = shape.size, shape.n_in, shape.n_out
    rows = shape.rows
    kblock = min(_power(k), {1: 128, 3: 64}.get(size, 32))
    nblock = min(_power(n), 128 if size <= 3 else 64)
    if size == 3 and k <= 32:
        nblock = min(nblock, 64)
    tiles = size * triton.cdiv(k, kblock) * triton.cdiv(n, nblock)
    large = kblock * nblock >= 64 * 128
    waves = 4 if not large else (1 if size == 1 else 2)
    splits = max(1, min(triton.cdiv(rows, 64), _multiprocessors(spk.device) * waves // tiles))
    part = torch.empty(splits, size, size, n, k, device=spk.device)
    launch(
        conv_kernels.weight_gradient, (tiles, splits), spk, grad, amax, part, rows, grad[0].numel(), splits,
        HO=shape.out[0], WO=shape.out[1], HI=shape.height, WI=shape.width, K=k, N=n, SIZE=size, STRIDE=shape.stride,
        PAD=shape.padding, PARTS=grad.shape[0], LONG=_is_long(spk, grad), ROWS=64, KBLOCK=kblock, NBLOCK=nblock,
        num_warps=8 if large else 4, num_stages=3,
    )  # fmt: skip
    return part.sum(0)


# ------------------------------------------------------------------------------------------------ first layers
def patch_size(shape: Shape, pool: int) -> int:
    """Return the number of values in the patch under a pool window, as a power of two."""
    return _power(shape.n_in * shape.patch(pool) ** 2, 32)


def _first_cols(shape: Shape) -> int:
    return min(_power(shape.n_out), 128 // shape.pool**2)


def _first_geometry(shape: Shape, pool: int, windows: tuple[int, int]) -> dict:
    return {
        "H": shape.height, "W": shape.width, "C": shape.n_in, "SIDE": shape.patch(pool), "PITCH": pool * shape.stride,
        "PAD": shape.padding, "HP": windows[0], "WP": windows[1], "K": patch_size(shape, pool),
    }  # fmt: skip


def first_forward(
    frames: Tensor, weight: Tensor, amax: Tensor, count: int, shape: Shape, numbers: Tensor, equation: Equation, *,
    sign: Tensor | None, scale: Tensor | None, shift: Tensor | None, spk: Tensor, mem: Tensor | None,
    arg: Tensor | None,
) -> None:  # fmt: skip
    """Fill spikes [T, B, HP, WP, N], and where given membranes and winners, from frames [T, B, C, H, W]."""
    cols, places, k = _first_cols(shape), shape.pool**2, patch_size(shape, shape.pool)
    blocks = triton.cdiv(shape.n_out, cols)
    split_in = torch.empty(count, blocks, k, places * cols, dtype=torch.float16, device=frames.device)
    launch(
        first_kernels.split_weights, (blocks, k // 16), weight, weight if sign is None else sign, amax, split_in,
        C=shape.n_in, N=shape.n_out, SIZE=shape.size, STRIDE=shape.stride, SIDE=shape.patch(shape.pool), K=k,
        PLACES=places, SIGN=sign is not None, PARTS=count, COLS=cols, num_warps=4,
    )  # fmt: skip
    height, width = shape.pooled
    launch(
        first_kernels.forward, (triton.cdiv(shape.batch * height * width, 64), blocks),
        frames, split_in, amax, amax if scale is None else scale, amax if shift is None else shift, spk,
        spk if mem is None else mem, spk if arg is None else arg, numbers, shape.num_steps, shape.batch,
        *frames.stride(), **_first_geometry(shape, shape.pool, (height, width)), N=shape.n_out, PLACES=places,
        KIND=equation.kind, PARTS=count, SCALE=scale is not None, SHIFT=shift is not None, KEEP=mem is not None,
        ROWS=64, COLS=cols, num_warps=4, num_stages=3, enable_fp_fusion=False,
    )  # fmt: skip


@functools.lru_cache(maxsize=64)
def _windows(size: int, stride: int, n_in: int, pool: int, device: torch.device) -> Tensor:
    """Where, in the patch under a pool window, the window of each of its places lies: [pool^2, n_in size^2]."""
    side, place, tap = size + (pool - 1) * stride, torch.arange(pool * pool), torch.arange(n_in * size * size)
    y = (tap // size % size)[None] + stride * (place // pool)[:, None]
    x = (tap % size)[None] + stride * (place % pool)[:, None]
    return (((tap // size**2)[None] * side + y) * side + x).to(device)


def first_statistics(frames: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return window window^T and the window, added up over all that the convolution sees: float64 [n, n] and [n]."""
    pool = 2 if shape.pool == 2 and not any(side % 2 for side in shape.out) else 1
    windows = tuple(side // pool for side in shape.out)
    k, work = patch_size(shape, pool), shape.num_steps * triton.cdiv(shape.batch * windows[0] * windows[1], 64)
    splits = min(work, 4 * _multiprocessors(frames.device))
    products, sums = (torch.empty(splits, *size, device=frames.device) for size in ((k, k), (k,)))
    launch(
        first_kernels.patch_products, (splits,), frames, products, sums, shape.num_steps, shape.batch, splits,
        *frames.stride(), **_first_geometry(shape, pool, windows), ROWS=64, num_warps=4 if k <= 64 else 8, num_stages=2,
    )  # fmt: skip
    products, sums = products.sum(0, dtype=torch.float64), sums.sum(0, dtype=torch.float64)
    at = _windows(shape.size, shape.stride, shape.n_in, pool, frames.device)
    return products[at[:, :, None], at[:, None, :]].sum(0), sums[at].sum(0)


def first_weight_gradient(
    frames: Tensor, du: Tensor, arg: Tensor | None, amax: Tensor, shape: Shape, count: int
) -> Tensor:
    """Return du times the window that the winner saw, added up over windows and steps: [N, n_in size^2]."""
    cols, places, k = _first_cols(shape), shape.pool**2, patch_size(shape, shape.pool)
    blocks, (height, width) = triton.cdiv(shape.n_out, cols), shape.pooled
    work = shape.num_steps * triton.cdiv(shape.batch * height * width, 64)
    splits = min(work, 4 * _multiprocessors(frames.device))
    part = torch.empty(splits, blocks, places * cols, k, device=frames.device)
    launch(
        first_kernels.weight_gradient, (splits, blocks), frames, du, du if arg is None else arg, amax, part,
        shape.num_steps, shape.batch, splits, *frames.stride(), **_first_geometry(shape, shape.pool, (height, width)),
        N=shape.n_out, PLACES=places, PARTS=count, ROWS=64, COLS=cols, num_warps=8, num_stages=2,
    )  # fmt: skip
    part = part.sum(0).view(blocks, places, cols, k).transpose(0, 1).reshape(places, blocks * cols, k)[:, : shape.n_out]
    at = _windows(shape.size, shape.stride, shape.n_in, shape.pool, frames.device)
    return part.gather(2, at[:, None, :].expand(places, shape.n_out, at.shape[1])).sum(0)
