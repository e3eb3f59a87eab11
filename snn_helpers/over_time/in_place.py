"""Operations that change a tensor in place: where nothing else sees the change, they are as good as their results."""

from __future__ import annotations

from torch import Tensor, fx, nn

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


def changes_its_argument(kind: str, target, kwargs: dict, net: nn.Module) -> bool:
    """Whether an operation writes into its first argument."""
    if kind == "call_module":
        return bool(getattr(net.get_submodule(target), "inplace", False))
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
        if node.op in ("placeholder", "get_attr") or spiking:
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
