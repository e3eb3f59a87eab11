"""Operations that change a tensor in place: where nothing else sees the change, they are as good as their results."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from snn_helpers.over_time.fingerprint import Modules
from snn_helpers.over_time.layers import is_spiking

OPERATORS = {"iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul", "iand", "ior", "ixor"}
# What may return a tensor that shares its memory with the argument; what is not named makes a new one.
_VIEWS = {
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "getitem", "transpose", "permute", "t", "expand",
    "expand_as", "view_as", "reshape_as", "detach", "contiguous", "to", "float", "double", "half", "type_as", "cpu",
    "cuda",
    "chunk", "split", "unbind", "select", "narrow", "movedim", "swapaxes", "swapdims", "diagonal", "real", "unfold",
    "moveaxis", "adjoint", "ravel", "dropout", "type", "broadcast_to", "broadcast_tensors", "atleast_1d", "atleast_2d",
    "atleast_3d", "tensor_split", "hsplit", "vsplit", "dsplit", "positive", "pos", "as_strided", "dropout1d",
    "dropout2d", "dropout3d",
}  # fmt: skip
_VIEW_MODULES = (nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def written(tensor: Tensor, place: Any, value: Any) -> Tensor:
    """Write into a part of a tensor, `tensor[place] = value`, and return it."""
    tensor[place] = value
    return tensor


def changes_its_argument(kind: str, target, kwargs: dict, net: Modules) -> bool:
    """Whether an operation writes into its first argument."""
    if kind == "call_module":
        return bool(getattr(net.get_submodule(target), "inplace", False))
    if target is written:
        return True
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    if kind == "call_function" and name in OPERATORS and getattr(target, "__module__", "") == "_operator":
        return True
    return bool(kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__"))


def follow_writes(graph: fx.Graph, net: nn.Module) -> None:
    """Let what uses a tensor after it was changed in place use the result of the change."""
    order = {node: place for place, node in enumerate(graph.nodes)}
    same: dict[fx.Node, list[fx.Node]] = {}  # the names of one tensor
    for node in graph.nodes:
        source = node.args[0] if node.op.startswith("call_") and node.args else None
        if isinstance(source, fx.Node) and changes_its_argument(node.op, node.target, node.kwargs, net):
            same[node] = [*same.get(source, [source]), node]
            for name in same[node][:-1]:
                for user in list(name.users):
                    if order[user] > order[node]:
                        user.replace_input_with(name, node)


def seen_elsewhere(graph: fx.Graph, net: nn.Module) -> fx.Node | None:
    """Return the first operation in place whose change something else sees, or None.

    Seen by others are changes of the network's input, of its parameters and buffers, of what a layer of neurons
    returned, which may be its state, and of a value that is used again later under another name.
    """
    group: dict[fx.Node, int] = {}
    owned: set[int] = set()  # groups whose memory is not the step's own
    members: dict[int, list[fx.Node]] = {}
    order = {node: place for place, node in enumerate(graph.nodes)}
    last_use = {node: max((order[user] for user in node.users), default=-1) for node in graph.nodes}
    for node in graph.nodes:
        source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        calls = node.op.startswith("call_") and source is not None
        writes = calls and changes_its_argument(node.op, node.target, node.kwargs, net)
        spiking = node.op == "call_module" and is_spiking(net.get_submodule(node.target))
        if source is not None and not spiking and (writes or _is_view(node, net)):
            group[node] = group[source]
        else:
            group[node] = order[node]
        outside = node.op in ("placeholder", "get_attr") and not node.meta.get("made")
        if outside or spiking:
            owned.add(group[node])
        if writes and isinstance(node.meta.get("val"), Tensor):
            others = members.get(group[node], [])
            if group[node] in owned or any(last_use[other] > order[node] for other in others):
                return node
        members.setdefault(group[node], []).append(node)
    return None


def _is_view(node: fx.Node, net: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(net.get_submodule(node.target), _VIEW_MODULES)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name in _VIEWS


def join_equal_constants(graph: fx.Graph, net: nn.Module) -> None:
    """Let equal tensors that a call made itself, such as zeros in every step, be one; after `follow_writes`."""
    kept: dict[tuple, list[tuple[Tensor, fx.Node]]] = {}
    for node in list(graph.nodes):
        if not node.meta.get("made"):
            continue
        value = getattr(net, node.target)
        alike = kept.setdefault((value.shape, value.dtype, value.device, value.requires_grad), [])
        twin = next((other for constant, other in alike if torch.equal(constant, value)), None)
        if twin is None:
            alike.append((value, node))
        else:
            node.replace_all_uses_with(twin)
            graph.erase_node(node)


def stack_records(graph: fx.Graph) -> None:
    """Replace a tensor that is written part by part along an axis, as by `rec[step] = spk`, by a stack of the parts."""
    for node in list(graph.nodes):
        if node.target is not written or not node.users or any(user.target is written for user in node.users):
            continue
        chain = [node]  # from the last write to the first
        while isinstance(before := chain[-1].args[0], fx.Node) and before.target is written and len(before.users) == 1:
            chain.append(before)
        axes, places = zip(*(_axis_and_place(write.args[1]) for write in chain))
        record = node.meta["val"]
        if len(set(axes)) > 1 or axes[0] is None or sorted(places) != list(range(record.shape[axes[0]])):
            continue
        parts = {place: write.args[2] for place, write in zip(places, chain)}
        shape = record.select(axes[0], 0).shape
        if all(_is_part(part, shape, record.dtype) for part in parts.values()):
            # Where it is used first, behind all steps: else it would be an operation of the last step alone.
            with graph.inserting_before(min(node.users)):
                stack = graph.call_function(torch.stack, ([parts[place] for place in sorted(parts)], axes[0]))
            stack.meta = {"val": record, "line": node.meta["line"]}
            node.replace_all_uses_with(stack)
            for write in chain:
                graph.erase_node(write)


def _is_part(part: Any, shape: torch.Size, dtype: torch.dtype) -> bool:
    value = part.meta.get("val") if isinstance(part, fx.Node) else None
    return isinstance(value, Tensor) and (value.shape, value.dtype) == (shape, dtype)


def _axis_and_place(index: Any) -> tuple[int | None, int]:
    """Return which axis one number of an index is for, and the number; axis None if the index is any other."""
    parts = list(index if isinstance(index, tuple) else (index,))
    while len(parts) > 1 and (parts[-1] is Ellipsis or _is_whole(parts[-1])):
        parts.pop()
    *whole, place = parts
    plain = type(place) is int and all(_is_whole(item) for item in whole)
    return len(whole) if plain else None, place


def _is_whole(item: Any) -> bool:
    return isinstance(item, slice) and item == slice(None)
