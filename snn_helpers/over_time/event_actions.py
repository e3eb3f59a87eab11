"""Actions of layers of weights that touch only the events among their inputs, where these are few enough."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from snn_helpers.engine import Spikes
from snn_helpers.engine.spikes import few_a_pixel
from snn_helpers.over_time.actions import Action, Context, Fold, Same, at_step
from snn_helpers.over_time.fold import call
from snn_helpers.over_time.listen import input_listeners
from snn_helpers.over_time.program import Now, is_neuron_op

# Share of non-zero inputs, and products a step, at which a fully connected layer is event-driven.
FEW, WORTH = 0.1, 2**20
CONV_WORTH = 2**22  # products a step, at which a convolution alone may be event-driven


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
        spikes = value if isinstance(value, Spikes) else few_events(ctx, ref, module.out_features, FEW)
        if spikes is None or ctx.engine is None or spikes.count.dim() not in (3, 5):
            Fold(self.indices).run(ctx)
            return
        for listener in input_listeners(module):
            listener.on_rows(spikes.count.flatten(2).flatten(0, 1), 1)
        ctx.values[last] = ctx.engine.linear(spikes, module.weight, module.bias)


def few_events(ctx: Context, ref: Now, products: float, most: float) -> Spikes | None:
    """Return a value over time as bytes, if no more than a share of them is not zero, and that is worth while.

    Parameters
    ----------
    products : float
        What an event is multiplied with.
    most : float
        The share.
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
            return None
    elif not isinstance(value, Spikes) or value.count.is_cuda:
        return None
    spikes = as_spikes(ctx, ref)
    return spikes if spikes is not None and np.count_nonzero(spikes.count) <= most * spikes.count.numel() else None


@dataclass
class Conv(Action):
    """A chain of operations with a convolution, which is event-driven where few of its inputs are events.

    Attributes
    ----------
    chain : Fold
        All of them, for torch.
    place : int
        Of the convolution in the chain; before it there are max-pools.
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
        spikes = self._events(ctx, conv)
        if spikes is None:
            self.chain.run(ctx)
            return
        for listener in input_listeners(conv):
            listener.on_rows(spikes.count.flatten(0, 1), 1)
        ctx.values[index] = ctx.engine.conv(
            spikes, conv.weight, conv.bias, stride=conv.stride, padding=conv.padding, dilation=conv.dilation,
            groups=conv.groups,
        )  # fmt: skip
        if after:
            type(self.chain)(after).run(ctx)
        for done in self.indices[:-1]:
            ctx.values[done] = None

    def _events(self, ctx: Context, conv: nn.Module) -> Spikes | None:
        if not hasattr(ctx.engine, "conv"):
            return None
        products = conv.weight[:, 0].numel() / (conv.groups * math.prod(conv.stride))
        most = few_for_conv(products, torch.is_grad_enabled() and conv.weight.requires_grad)
        before, ref = self.indices[: self.place], ctx.steps[self.indices[0]].args[0]
        size = ctx.steps[ctx.steps[self.indices[self.place]].args[0].index].val.numel()
        if most == 0 or size * products < CONV_WORTH:
            return None
        if before:
            with torch.no_grad():  # of a pool, too, one step says enough
                value = ctx.values[ref.index]
                last = value.count[-1].float() if isinstance(value, Spikes) else at_step(value, ctx.num_steps - 1)
                for op in (ctx.steps[k] for k in before):
                    last = call(op, (last, *op.args[1:]), op.kwargs, ctx.net)
            if torch.count_nonzero(last) > most * last.numel():
                return None
            Fold(before).run(ctx)
            ref = Now(before[-1])
        spikes = few_events(ctx, ref, products, most)
        return spikes if spikes is not None and few_a_pixel(spikes) else None


@dataclass
class ConvLayer(Action):
    """Convolution, normalisation, pool and neurons in one pass, event-driven.

    Attributes
    ----------
    norm : int or None
        The normalisation among the operations.
    pool : {1, 2}
        Side of the max-pool's windows.
    apart : list of Action
        One operation after the other, where the input is no spikes in bytes.
    """

    norm: int | None
    pool: int
    apart: list[Action]

    how = "event-driven: convolution, pool and neurons in one pass"

    def run(self, ctx: Context) -> None:
        """Run the layer in one pass if it can."""
        conv, neuron = (ctx.net.get_submodule(ctx.steps[k].target) for k in (self.indices[0], self.indices[-1]))
        source = ctx.steps[self.indices[0]].args[0]
        spikes = None if ctx.engine is None or ctx.runner.in_parts(neuron, conv) else as_spikes(ctx, source)
        if spikes is None:
            for action in self.apart:
                action.run(ctx)
            return
        for listener in input_listeners(conv):
            listener.on_rows(spikes.count.flatten(0, 1), 1)
        norm = None if self.norm is None else ctx.net.get_submodule(ctx.steps[self.norm].target)
        ctx.values[self.indices[-1]] = ctx.runner.conv_layer(ctx.engine, spikes, conv, norm, self.pool, neuron)


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
        if value.is_cuda or not torch.equal(last.to(torch.uint8).to(value.dtype), last):
            return None
        with contextlib.suppress(ValueError):
            return Spikes.of(value)
        return None
    count = torch.empty_like(value, dtype=torch.uint8)
    for one, bytes_ in zip(value, count):  # each stays in the cache
        if not torch.equal(bytes_.copy_(one).to(value.dtype), one):
            return None
    return Spikes(count)
