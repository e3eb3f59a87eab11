"""Where spikes can be listened to: one hook a layer of neurons, of ours and snnTorch's alike, however deep they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from snn_helpers._checks import check_choice
from snn_helpers.engine import Spikes
from snn_helpers.neurons import SPIKING, Listener
from snn_helpers.over_time import Accelerated, layer_name


def find_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of neurons by name: the module's path, without a last part "neurons".

    Raises
    ------
    ValueError
        If there is none.
    """
    found = {}
    if isinstance(model, Accelerated):  # of neurons alone, too, which are their own network
        model = model.over_time.net
    for path, module in model.named_modules():
        if isinstance(module, SPIKING):
            found[layer_name(path) or type(module).__name__] = module
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no spiking layer: neither neurons of snn_helpers nor snnTorch's are in it."
        )
    return found


def layer_threshold(model: nn.Module, layer: str) -> float | None:
    """Return the firing threshold of a layer of neurons, where it has one number for it."""
    value = getattr(find_layers(model)[layer], "threshold", None)
    return float(value) if value is not None and torch.as_tensor(value).numel() == 1 else None


def attach(
    model: nn.Module,
    layers: Sequence[str] | None,
    on_layer: Callable,
    mem: bool = True,
    on_start: Callable = lambda: None,
    on_output: Callable = lambda output: None,
) -> contextlib.ExitStack:
    """Listen to the layers of a model; closing what is returned ends it.

    `on_layer` is called as on_layer(name, spk, mem, whole), see `Listener`; `on_start` as the model starts, and
    `on_output` with what it returns.
    """
    found = find_layers(model)
    wanted = [check_choice("layers", name, tuple(found)) for name in (found if layers is None else layers)]
    if not wanted:
        raise ValueError(f"`layers` is empty; there are {', '.join(found)}.")
    taps = contextlib.ExitStack()
    if not isinstance(model, SPIKING):
        taps.callback(model.register_forward_pre_hook(lambda module, args: on_start()).remove)
        taps.callback(model.register_forward_hook(lambda module, args, output: on_output(output)).remove)
    for name in wanted:
        taps.callback(found[name].register_forward_hook(Listener(partial(on_layer, name), mem)).remove)
    return taps


@contextlib.contextmanager
def firing_fractions(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Measure the mean spike fraction of every layer while a model runs, for example for a penalty on it.

    Parameters
    ----------
    model : nn.Module
        Any with our neurons or snnTorch's.

    Yields
    ------
    dict of str to Tensor []
        Filled, layer by layer, as the model runs inside the block. The gradient reaches the spikes that were fired
        only: through the surrogate it would push silent neurons ever further from their threshold.

    Examples
    --------
    >>> import torch
    >>> from snn_helpers import SpikingCNN
    >>> model = SpikingCNN()
    >>> with firing_fractions(model) as fractions:
    ...     out = model(torch.ones(2, 1, 2, 34, 34))
    >>> list(fractions)
    ['conv1', 'conv2', 'conv3', 'hidden', 'output']
    """
    fractions: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def on_layer(name, spk, mem, whole):
        mean = spk.fraction() if isinstance(spk, Spikes) else (spk * spk.detach()).mean()
        calls[name] = calls.get(name, 0) + 1
        fractions[name] = mean if name not in fractions else fractions[name] + (mean - fractions[name]) / calls[name]

    with attach(model, None, on_layer, mem=False):
        yield fractions
