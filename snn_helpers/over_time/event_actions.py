"""Actions of layers of weights that touch only the events among their inputs, where these are few enough."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair, _single

from snn_helpers.engine import BatchNorm, Spikes
from snn_helpers.engine.spikes import few_a_pixel
from snn_helpers.over_time.actions import Action, Context, Fold, Same, at_step
from snn_helpers.over_time.fingerprint import Modules
from snn_helpers.over_time.fold import call
from snn_helpers.over_time.listen import input_listeners
from snn_helpers.over_time.norm import NormOverTime
from snn_helpers.over_time.program import Now, Op, is_neuron_op

# Share of non-zero inputs, and products a step, at which a fully connected layer is event-driven.
FEW, WORTH = 0.1, 2**20
CONV_WORTH = 2**22  # products a step, at which a convolution alone may be event-driven
# Currents of all steps from which a CPU computes a layer in one pass: with few events among its inputs; in any case.
# Measured on 8 to 64 channels, 8 x 8 to 34 x 34 pixels, 4 to 25 steps, 1 to 32 recordings, without and with gradients.
PASS_WORTH, PASS_ALWAYS, PASS_FEW = 2**16, 2**17, 0.1


def few_for_conv(products: float, trains: bool) -> float:
    """Return the share of non-zero inputs up to which a convolution alone is event-driven.

    Measured on 2 to 128 channels, 8 x 8 to 64 x 64 pixels, windows of side 1 to 7, strides 1 and 2, 1 to 64 groups, two
    cores, and set somewhat lower. What an event costs beside its products, as for its list, and what each output costs,
    does not grow with the products; in training the library's gradient of the weights is slow, so that more events pay.

    Parameters
    ----------
    products : float
        Weights that an input is multiplied with: taps by output channels of its group, by stride.
    trains : bool
        Whether weights get a gradient.
    """
    slope, none = (0.04, 9) if trains else (0.08, 72)
    return slope * math.log2(max(1.0, products / none))


class Linear(Action):
    """A fully connected layer: event-driven where its input is spikes in bytes, or few events."""

    how = "event-driven after spikes in bytes or few events, else torch, all steps at once"

    def run(self, ctx: Context) -> None:
        """Connect fully; a `Flatten` before it is part of it."""
        *_, last = self.indices
        ref = ctx.steps[self.indices[0]].args[0]
        module, value = ctx.net.get_submodule(ctx.steps[last].target), ctx.values[ref.index]
        spikes, scale = (value, 1) if isinstance(value, Spikes) else few_events(ctx, ref, module.out_features, FEW)
        if spikes is None or ctx.engine is None or spikes.count.dim() not in (3, 5):
            Fold(self.indices).run(ctx)
            return
        tell(module, spikes, scale)
        ctx.values[last] = ctx.engine.linear(spikes, scaled(module.weight, scale), module.bias)


def few_events(ctx: Context, ref: Now, products: float, most: float) -> tuple[Spikes | None, float]:
    """Return a value over time as bytes and their scale, if few of them are not zero, and that is worth while.

    Parameters
    ----------
    products : float
        What an event is multiplied with.
    most : float
        The share of non-zero ones up to which they are few.
    """
    value = ctx.values[ref.index]
    if isinstance(value, Tensor):  # a look at one step spares that at all of them
        size, fits = value[0].numel(), value.dtype == torch.float32 and not value.is_cuda
        if (
            ctx.engine is None
            or not fits
            or size * products < WORTH
            or torch.count_nonzero(value[-1]) > 2 * most * size
        ):
            return None, 1
    elif not isinstance(value, Spikes) or value.count.is_cuda:
        return None, 1
    spikes, scale = as_scaled_spikes(ctx, ref)
    few = spikes is not None and np.count_nonzero(spikes.count) <= most * spikes.count.numel()
    return (spikes, scale) if few else (None, 1)


class SpikePool(Action):
    """A 2x2 max-pool, of spikes in bytes where they come in bytes."""

    how = "in bytes after spikes in bytes, else torch, many steps at once"

    def run(self, ctx: Context) -> None:
        """Pool all steps."""
        (index,) = self.indices
        value = ctx.values[ctx.steps[index].args[0].index]
        if isinstance(value, Spikes) and hasattr(ctx.engine, "max_pool"):
            ctx.values[index] = ctx.engine.max_pool(value)
        else:
            Fold([index]).run(ctx)


@dataclass
class Conv(Action):
    """A chain of operations with a convolution, which is event-driven where few of its inputs are events.

    Attributes
    ----------
    chain : Fold
        All of them, for torch.
    place : int
        Of the convolution in the chain; before it there are pools whose results may be counts.
    """

    chain: Fold
    place: int

    @property
    def how(self) -> str:
        """What computes it."""
        return f"convolution event-driven after few events, else {self.chain.how}"

    def run(self, ctx: Context) -> None:
        """Compute the chain, the convolution by its events if they are few."""
        index, after = self.indices[self.place], self.indices[self.place + 1 :]
        conv = ctx.net.get_submodule(ctx.steps[index].target)
        spikes, scale = self._events(ctx, conv)
        if spikes is None:
            self.chain.run(ctx)
            return
        tell(conv, spikes, scale)
        ctx.values[index] = ctx.engine.conv(
            spikes, scaled(conv.weight, scale), conv.bias, stride=conv.stride, padding=conv.padding,
            dilation=conv.dilation, groups=conv.groups,
        )  # fmt: skip
        if after:
            type(self.chain)(after).run(ctx)
        for done in self.indices[:-1]:
            ctx.values[done] = None

    def _events(self, ctx: Context, conv: nn.Module) -> tuple[Spikes | None, float]:
        if not hasattr(ctx.engine, "conv"):
            return None, 1
        products, most = few_for(conv)
        before, ref = self.indices[: self.place], ctx.steps[self.indices[0]].args[0]
        size = ctx.steps[ctx.steps[self.indices[self.place]].args[0].index].val.numel()
        if most == 0 or size * products < CONV_WORTH:
            return None, 1
        if before:
            with torch.no_grad():  # of a pool, too, one step says enough
                value = ctx.values[ref.index]
                last = value.count[-1].float() if isinstance(value, Spikes) else at_step(value, ctx.num_steps - 1)
                for op in (ctx.steps[k] for k in before):
                    last = call(op, (last, *op.args[1:]), op.kwargs, ctx.net)
            if torch.count_nonzero(last) > most * last.numel():
                return None, 1
            Fold(before).run(ctx)
            ref = Now(before[-1])
        return events_for_conv(ctx, ref, conv)


@dataclass
class _Layer(Action):
    """Operations from a convolution on that events carry out in one pass, where the engine can and it is worth while.

    Attributes
    ----------
    apart : list of Action
        The same, one operation after the other.
    """

    apart: list[Action]

    def run(self, ctx: Context) -> None:
        """Compute the layer, in one pass if it can."""
        conv = ctx.net.get_submodule(ctx.steps[self.indices[0]].target)
        spikes, scale = self._events(ctx, conv)
        if spikes is None:
            for action in self.apart:
                action.run(ctx)
            return
        tell(conv, spikes, scale)
        ctx.values[self.indices[-1]] = self._in_one_pass(ctx, conv, spikes, scale)

    def _events(self, ctx: Context, conv: nn.Module) -> tuple[Spikes | None, float]:
        """Return the input as bytes and their scale, or None where the layer is computed apart."""
        raise NotImplementedError

    def _in_one_pass(self, ctx: Context, conv: nn.Module, spikes: Spikes, scale: float) -> Any:
        raise NotImplementedError


@dataclass
class ConvLayer(_Layer):
    """Convolution, normalisation, pool and neurons in one pass, event-driven.

    Attributes
    ----------
    norm : int or None
        The normalisation among the operations; of each step on its own, it is done where few inputs are events.
    pool : {1, 2}
        Side of the max-pool's windows.
    """

    norm: int | None
    pool: int

    how = "event-driven: convolution, pool and neurons in one pass; a small layer one after the other"

    def _modules(self, ctx: Context) -> tuple[nn.Module, nn.Module | None]:
        places = (self.indices[-1], self.norm)
        neuron, norm = (None if k is None else ctx.net.get_submodule(ctx.steps[k].target) for k in places)
        return neuron, norm

    def _events(self, ctx: Context, conv: nn.Module) -> tuple[Spikes | None, float]:
        source, (neuron, norm) = ctx.steps[self.indices[0]].args[0], self._modules(ctx)
        if ctx.engine is None or ctx.goes_on or self._is_small(ctx, conv) or ctx.runner.in_parts(neuron, conv):
            return None, 1
        if not for_few_events(conv, norm):
            return as_scaled_spikes(ctx, source)
        if normalises_each_step(norm) and not can_normalise_each_step(ctx, norm, ctx.steps[self.norm]):
            return None, 1
        return events_for_conv(ctx, source, conv)

    def _in_one_pass(self, ctx: Context, conv: nn.Module, spikes: Spikes, scale: float) -> Any:
        neuron, norm = self._modules(ctx)
        options = {"path": "events"} if for_few_events(conv, norm) else {}
        norm = None if norm is None else BatchNorm.of(norm, ctx.num_steps if normalises_each_step(norm) else None)
        return ctx.runner.conv_layer(
            ctx.engine, spikes, conv, scaled(conv.weight, scale), norm, self.pool, neuron, options
        )

    def _is_small(self, ctx: Context, conv: nn.Module) -> bool:
        """Whether the layer has so little to compute that what a pass takes beside it is more than it spares."""
        op = ctx.steps[self.indices[0]]
        size = ctx.num_steps * op.val.numel()
        if size >= PASS_ALWAYS or conv.weight.device.type != "cpu":
            return False
        if size < PASS_WORTH or (torch.is_grad_enabled() and conv.weight.requires_grad):
            return True
        value = ctx.values[op.args[0].index]
        if isinstance(value, Same):
            return False
        last = (value.count if isinstance(value, Spikes) else value)[-1]
        return bool(torch.count_nonzero(last) > PASS_FEW * last.numel())


@dataclass
class ConvNorm(_Layer):
    """Convolution and batch norm in each step, where few inputs are events, of what is not led into neurons alone."""

    how = "event-driven after few events, with its normalisation, else torch, step by step"

    def _events(self, ctx: Context, conv: nn.Module) -> tuple[Spikes | None, float]:
        norm = ctx.steps[self.indices[1]]
        if ctx.goes_on or not can_normalise_each_step(ctx, ctx.net.get_submodule(norm.target), norm):
            return None, 1
        return events_for_conv(ctx, ctx.steps[self.indices[0]].args[0], conv)

    def _in_one_pass(self, ctx: Context, conv: nn.Module, spikes: Spikes, scale: float) -> Any:
        norm = BatchNorm.of(ctx.net.get_submodule(ctx.steps[self.indices[1]].target), ctx.num_steps)
        return ctx.engine.conv_norm(
            spikes, scaled(conv.weight, scale), conv.bias, norm, padding=conv.padding[0], stride=conv.stride[0]
        )


def tell(module: nn.Module, spikes: Spikes, scale: float) -> None:
    """Tell those who listen to a layer of weights what it takes, a row a step and recording."""
    for listener in input_listeners(module):
        count = spikes.count.flatten(2) if isinstance(module, nn.Linear) else spikes.count
        listener.on_rows(scaled(count.flatten(0, 1), scale), 1)


def for_few_events(conv: nn.Module, norm: nn.Module | None) -> bool:
    """Whether the engine has a layer in one pass for few events alone."""
    return normalises_each_step(norm) or conv.stride != (1, 1)


def normalises_each_step(norm: nn.Module | None) -> bool:
    """Whether a normalisation takes statistics of the batch, in each step anew."""
    return norm is not None and norm.training and not isinstance(norm, NormOverTime)


def can_normalise_each_step(ctx: Context, norm: nn.Module, op: Op) -> bool:
    """Whether the engine can: torch counts its batches to average over all, and refuses statistics of one value."""
    return hasattr(ctx.engine, "conv_norm") and norm.momentum is not None and op.val.numel() > norm.num_features


def events_for_conv(ctx: Context, ref: Now, conv: nn.Module) -> tuple[Spikes | None, float]:
    """Return what `few_events` does for a convolution, where counts are small enough for it to be precise."""
    spikes, scale = few_events(ctx, ref, *few_for(conv))
    return (spikes, scale) if spikes is not None and few_a_pixel(spikes) else (None, 1)


def few_for(conv: nn.Module) -> tuple[float, float]:
    """Return what an input of a convolution is multiplied with, and the share up to which events are few."""
    products = conv.weight.numel() / (conv.weight.shape[1] * conv.groups * math.prod(conv.stride))
    return products, few_for_conv(products, torch.is_grad_enabled() and conv.weight.requires_grad)


def scaled(value: Tensor, scale: float) -> Tensor:
    """Return the counts, or the weights that meet them, times the scale of the counts."""
    return value if scale == 1 else value * scale


def as_scaled_spikes(ctx: Context, ref: Now) -> tuple[Spikes | None, float]:
    """Return a value over time as bytes, and what they are to be multiplied with: 1, or an average pool's share.

    Where a window has 2, 4, 8, ... pixels, means of counts are counts times a power of two: nothing is rounded.
    """
    spikes, size = as_spikes(ctx, ref), pixels_of_mean(ctx.steps[ref.index], ctx.net)
    if spikes is not None or size is None or not isinstance(value := ctx.values[ref.index], Tensor):
        return spikes, 1
    if value.is_cuda or value.dtype != torch.float32 or not _are_counts(value[-1].detach() * size):
        return None, 1
    with contextlib.suppress(ValueError):
        return Spikes.of(value * size), 1 / size
    return None, 1


def pixels_of_mean(op: Op, net: Modules) -> int | None:
    """Return by what an average pool divides, where that is a power of two; None for anything else."""
    pool = net.get_submodule(op.target) if op.kind == "call_module" else None
    if type(pool) not in (nn.AvgPool1d, nn.AvgPool2d):
        return None
    each = _single if type(pool) is nn.AvgPool1d else _pair
    size = getattr(pool, "divisor_override", None) or math.prod(each(pool.kernel_size))
    at_border = pool.ceil_mode or (any(each(pool.padding)) and not pool.count_include_pad)
    return None if at_border or size & (size - 1) else size


def _are_counts(value: Tensor) -> bool:
    return torch.equal(value.to(torch.uint8).to(value.dtype), value)


def as_spikes(ctx: Context, ref: Now) -> Spikes | None:
    """Return a value over time as bytes, if it is spikes or event counts."""
    value = ctx.values[ref.index]
    if isinstance(value, Spikes):
        return value
    if isinstance(value, Same) or value.dtype != torch.float32:
        return None
    op = ctx.steps[ref.index]
    if is_neuron_op(op, ctx.net) and not isinstance(ctx.runner.equation(ctx.net.get_submodule(op.target)), str):
        with contextlib.suppress(ValueError):  # graded
            return Spikes.of(value)
        return None
    if value.requires_grad:
        last = value[-1].detach()  # by one step, currents are seen to be no spikes, nor a pool of them
        if value.is_cuda or not _are_counts(last):
            return None
        with contextlib.suppress(ValueError):
            return Spikes.of(value)
        return None
    count = torch.empty_like(value, dtype=torch.uint8)
    for one, bytes_ in zip(value, count):  # each stays in the cache
        if not torch.equal(bytes_.copy_(one).to(value.dtype), one):
            return None
    return Spikes(count)
