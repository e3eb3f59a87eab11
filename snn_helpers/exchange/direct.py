"""One step of a network at a time: the same operations on the same numbers, with less around each of them.

A step of a small network takes torch longer to begin its operations than to compute them. Modules of a stream's own
copy therefore know beforehand what their classes look up in each call: no bit of what they return is another.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from snn_helpers.engine.reference import above_threshold
from snn_helpers.exchange.reading import without_surrogate
from snn_helpers.neurons import SpikingNeuron
from snn_helpers.over_time import NormOverTime
from snn_helpers.over_time.layers import DROPOUTS

_NORMS = (NormOverTime, nn.BatchNorm1d, nn.BatchNorm2d)


def call_directly(net: nn.Module) -> None:
    """Give the modules of a network in eval mode a `forward` of their own: changed in place, for good.

    Tensors stay the network's, so that what is learned in place is used. Modules of others are left alone.
    """
    like = next(net.parameters(), torch.empty(0))
    for module in reversed([*net.modules()]):  # what is in a sequence, before the sequence
        forward = _forward_of(module, like)
        if forward is not None:
            module.forward = forward


def _forward_of(module: nn.Module, like: Tensor) -> Callable | None:
    kind = type(module)
    if kind in (nn.Conv2d, nn.Linear) and "weight" not in module._parameters:
        return None  # a hook makes it anew in each call
    if kind is nn.Conv2d and module.padding_mode == "zeros":
        given = (module.stride, module.padding, module.dilation, module.groups)
        return lambda x, weight=module.weight, bias=module.bias: torch.conv2d(x, weight, bias, *given)
    if kind is nn.Linear:
        return functools.partial(nn.functional.linear, weight=module.weight, bias=module.bias)
    if kind in _NORMS and module.running_mean is not None:
        tensors = (module.weight, module.bias, module.running_mean, module.running_var)
        return lambda x, eps=module.eps: torch.batch_norm(x, *tensors, False, 0.0, eps, False)
    if kind is nn.MaxPool2d and _halves(module):
        return _largest_of_four
    if kind in (*DROPOUTS, nn.Identity):
        return _same
    if kind is nn.Sequential and len(module):
        return functools.partial(
            _in_turn, [m if m._forward_hooks or m._forward_pre_hooks else m.forward for m in module]
        )
    if isinstance(module, SpikingNeuron) and not module._parameters:
        return _neurons(module, like)
    return None


def _halves(pool: nn.MaxPool2d) -> bool:
    sides = (_pair(item) for item in (pool.kernel_size, pool.stride, pool.padding, pool.dilation))
    return [*map(tuple, sides)] == [(2, 2), (2, 2), (0, 0), (1, 1)] and not (pool.ceil_mode or pool.return_indices)


def _largest_of_four(cur: Tensor) -> Tensor:
    """Return what `MaxPool2d(2)` does, in a third of the time and, of many streams, in a tenth."""
    high, wide = (side // 2 * 2 for side in cur.shape[-2:])
    rows = torch.maximum(cur[..., 0:high:2, :wide], cur[..., 1:high:2, :wide])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])


def _same(value: Tensor) -> Tensor:
    return value


def _in_turn(functions: Sequence[Callable], value: Tensor) -> Tensor:
    for function in functions:
        value = function(value)
    return value


def _neurons(module: SpikingNeuron, like: Tensor) -> Callable | None:
    """Return one step of neurons whose numbers stay; where their connections give them more, make these ready alone."""
    neuron = without_surrogate(module.neuron())
    numbers, place = neuron.tensors(like), neuron.states.index("mem")
    if any(getattr(type(module), name) is not getattr(SpikingNeuron, name) for name in ("forward", "_step_numbers")):
        module.neuron = functools.partial(_same, dataclasses.replace(neuron, numbers=numbers))
        return None
    threshold = numbers["threshold"] if neuron.excess is above_threshold else None

    def forward(cur: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        hidden = module.hidden
        if not hidden or (hidden[0].shape, hidden[0].dtype, hidden[0].device) != (cur.shape, cur.dtype, cur.device):
            hidden = [torch.zeros_like(cur)] * (1 + len(neuron.states))
        state = neuron.equation(cur, *hidden, **numbers)
        mem = state[place]
        spk = neuron.spikes(state, numbers) if threshold is None else (mem > threshold).to(mem.dtype)
        module.hidden = (spk, *state)
        return (spk, mem) if module.output else spk

    return forward
