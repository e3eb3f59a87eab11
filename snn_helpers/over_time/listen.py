"""Listen to what goes into a layer of weights, whether it is called once a step or for many steps at once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class InputListener:
    """A forward pre-hook on a layer of weights that does not mind how many steps come at once.

    To be given to `register_forward_pre_hook`. What runs a layer without calling its module looks for it among the
    module's hooks, and calls `on_rows` itself.

    Parameters
    ----------
    on_rows : callable
        Called as on_rows(inputs, times): inputs [N, ...] of single steps and recordings, in any order and in as many
        parts as it pleases; each row counts `times` times.
    """

    def __init__(self, on_rows: Callable[[Tensor, int], None]):
        self.on_rows = on_rows
        self.times = 1  # how many steps a call stands for

    def __call__(self, module: nn.Module, args: tuple) -> None:
        """Take the input of one call."""
        self.on_rows(args[0].detach(), self.times)


def input_listeners(module: nn.Module) -> list[InputListener]:
    """Return a module's listeners."""
    return [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, InputListener)]
