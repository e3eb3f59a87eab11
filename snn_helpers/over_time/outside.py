"""Values outside of a program's loops: what is there before them, what is computed between them, what is returned."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from snn_helpers.over_time.actions import Context, at_step
from snn_helpers.over_time.program import Fixed, Now, Stage, is_stack


class Known(dict):
    """Values from before the loop: parameters, buffers and constants are looked up when they are asked for."""

    def __init__(self, net: nn.Module, constants: dict[str, Tensor], given: dict):
        super().__init__(given)
        self.net, self.constants = net, constants

    def __missing__(self, node: fx.Node):
        if node.target in self.constants:
            return self.constants[node.target]
        value = self.net
        for name in node.target.split("."):
            value = getattr(value, name)
        return value


def evaluate(nodes: list[fx.Node], fixed: Known, done: list[tuple[Stage, Context]]) -> None:
    """Carry out what a network does before, between and after its loops."""
    for node in nodes:
        found = _stacked(node, done)
        if found is not None:
            ctx, index = found
            dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
            over = ctx.over(Now(index))
            fixed[node] = over.movedim(0, dim % over.dim())
            continue
        args, kwargs = map_aggregate((node.args, node.kwargs), lambda a: look_up(a, fixed, done))
        if node.op == "call_module":
            fixed[node] = fixed.net.get_submodule(node.target)(*args, **kwargs)
        elif node.op == "call_method":
            fixed[node] = getattr(args[0], node.target)(*args[1:], **kwargs)
        else:
            fixed[node] = node.target(*args, **kwargs)


def look_up(item: Any, fixed: Known, done: list[tuple[Stage, Context]]) -> Any:
    """Return the value of a node before, in or after a loop; anything else is itself."""
    if not isinstance(item, fx.Node):
        return item
    for stage, ctx in done:
        if item in stage.place:
            step, index = stage.place[item]
            return at_step(ctx.values[index], step)
    return fixed[item]


def _stacked(node: fx.Node, done: list[tuple[Stage, Context]]) -> tuple[Context, int] | None:
    """Return the operation whose results of all steps a node stacks in their order, or None."""
    if not is_stack(node) or not node.args or not isinstance(node.args[0], list | tuple):
        return None
    for stage, ctx in done:
        places = [stage.place.get(part) if isinstance(part, fx.Node) else None for part in node.args[0]]
        if None in places or [step for step, _ in places] != list(range(stage.num_steps)):
            continue
        indices = {index for _, index in places}
        if len(indices) == 1:
            return ctx, indices.pop()
    return None


def in_all_steps(ctx: Context, item: Any) -> Any:
    """Return what a step returns, over all steps."""
    if isinstance(item, Now):
        return ctx.over(item)
    if isinstance(item, Fixed):
        value = ctx.fixed[item.node]
        return value.expand(ctx.num_steps, *value.shape) if isinstance(value, Tensor) else value
    return item


def thawed(item: Any) -> Any:
    """Return a nest in Python's own lists and dicts, which torch.fx replaces by some that cannot be changed."""
    if isinstance(item, dict):
        return {name: thawed(value) for name, value in item.items()}
    if isinstance(item, list):
        return [thawed(value) for value in item]
    if isinstance(item, tuple):
        parts = [thawed(value) for value in item]
        return type(item)(*parts) if hasattr(item, "_fields") else tuple(parts)
    return item
