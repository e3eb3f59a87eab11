"""Which operations of a step may be computed for many steps at once, the steps laid into the batch.

An operation may if it treats the rows of its first axis, the recordings, each on its own. What is not listed here runs
step after step, which is always right.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from snn_helpers.over_time.fingerprint import Modules
from snn_helpers.over_time.in_place import changes_its_argument
from snn_helpers.over_time.layers import DROPOUT_FUNCTIONS, DROPOUTS
from snn_helpers.over_time.program import Before, Now, Op

_BY_AXES = {
    3: (nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
    4: (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
        nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.PixelShuffle, nn.Upsample),
    5: (nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d),
}  # fmt: skip
_ANY_AXES = (nn.Linear, nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh,
             nn.Softplus, nn.Hardtanh, nn.GroupNorm)  # fmt: skip
_FUNCTIONS_BY_AXES = {
    **dict.fromkeys(("conv1d", "conv_transpose1d", "max_pool1d", "avg_pool1d", "adaptive_avg_pool1d"), 3),
    **dict.fromkeys(("conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"), 4),
    **dict.fromkeys(("conv3d", "conv_transpose3d", "max_pool3d", "avg_pool3d", "adaptive_avg_pool3d"), 5),
}
_ELEMENTWISE = {
    "add", "sub", "rsub", "mul", "truediv", "div", "neg", "pos", "abs", "relu", "relu6", "leaky_relu", "elu", "gelu",
    "silu", "sigmoid", "tanh", "exp", "sqrt", "square", "pow", "clamp", "where", "maximum", "minimum", "gt", "lt", "ge",
    "le", "eq", "ne", "float", "double", "half", "bool", "int", "long", "to", "contiguous", "clone", "detach", "iadd",
    "isub", "imul", "itruediv", "round", "floor", "ceil", "sign", "logical_and", "logical_or", "logical_not",
}  # fmt: skip
_RESHAPES = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"}


def name_of(op: Op) -> str:
    """Return the name of a function or method."""
    return op.target if isinstance(op.target, str) else getattr(op.target, "__name__", "")


def is_dropout(op: Op, net: Modules) -> bool:
    """Whether an operation draws a dropout mask now."""
    if op.kind == "call_module":
        module = net.get_submodule(op.target)
        return isinstance(module, DROPOUTS) and module.training and module.p > 0
    if name_of(op) in DROPOUT_FUNCTIONS:
        p, training = dropout_options(op)
        return training and p > 0
    return False


def dropout_options(op: Op) -> tuple[float, bool]:
    """Return probability and mode of a call of torch's dropout functions."""
    given = dict(zip(("p", "training"), op.args[1:3])) | op.kwargs
    return float(given.get("p", 0.5)), bool(given.get("training", given.get("train", True)))


def folds(op: Op, steps: list[Op], net: nn.Module, changing: set[int]) -> bool:
    """Whether an operation may be computed for many steps at once.

    Parameters
    ----------
    op : Op
        Its results, one step, are [B, ...].
    steps : list of Op
        The step it belongs to.
    net : nn.Module
        The network, for its modules.
    changing : set of int
        Operations whose results differ from step to step.
    """
    if not isinstance(op.val, Tensor) or op.val.dim() < 2:
        return False
    over = [steps[r.index].val for r in op.references if isinstance(r, Now) and r.index in changing]
    if any(isinstance(r, Before) for r in op.references) or not over:
        return False
    batch = op.val.shape[0]
    if any(not isinstance(v, Tensor) or v.dim() < 2 or v.shape[0] != batch for v in over):
        return False
    first = over[0]
    if op.kind == "call_module":
        return _module_folds(net.get_submodule(op.target), first)
    name = name_of(op)
    if name in _FUNCTIONS_BY_AXES:
        return first.dim() == _FUNCTIONS_BY_AXES[name] and len(over) == 1 and _first_changes(op, changing)
    if name in DROPOUT_FUNCTIONS:
        return not dropout_options(op)[1]
    if name == "linear":
        return len(over) == 1 and _first_changes(op, changing)
    if name == "cat":
        dim = op.kwargs.get("dim", op.args[1] if len(op.args) > 1 else 0)
        return dim % op.val.dim() > 0 and all(isinstance(r, Now) and r.index in changing for r in op.references)
    if name in _RESHAPES:
        return len(over) == 1
    return name in _ELEMENTWISE and all(v.dim() == op.val.dim() for v in over)


def _first_changes(op: Op, changing: set[int]) -> bool:
    """Whether the first argument, and not a weight, is what differs from step to step."""
    return bool(op.args) and isinstance(op.args[0], Now) and op.args[0].index in changing


def _module_folds(module: nn.Module, first: Tensor) -> bool:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):  # with NormOverTime
        return not module.training and module.running_mean is not None
    if isinstance(module, DROPOUTS):
        return not module.training or module.p == 0
    if isinstance(module, nn.Flatten):
        return module.start_dim >= 1
    if isinstance(module, nn.Unflatten):
        return isinstance(module.dim, int) and module.dim >= 1
    if isinstance(module, nn.LayerNorm):
        return first.dim() > len(module.normalized_shape)
    kind = kind_of(module)
    for axes, kinds in _BY_AXES.items():
        if kind in kinds:
            return first.dim() == axes and not getattr(module, "return_indices", False)
    return kind in _ANY_AXES


def kind_of(module: nn.Module) -> type[nn.Module]:
    """Return a module's class: that before torch's parametrisations where these say `of_weights_alone`.

    Such a parametrisation, rounding for instance, gives the same weights in every step. Others may not: spectral norm
    changes with each call.
    """
    if not is_parametrized(module):
        return type(module)
    maps = [one for each in module.parametrizations.values() for one in each]
    alone = all(getattr(one, "of_weights_alone", False) for one in maps)
    return type_before_parametrizations(module) if alone else type(module)


def call(op: Op, args: tuple, kwargs: dict[str, Any], net: Modules) -> Any:
    """Carry out an operation, and change none of its arguments."""
    if args and isinstance(args[0], Tensor) and changes_its_argument(op.kind, op.target, op.kwargs, net):
        args = (args[0].clone(), *args[1:])
    if op.kind == "call_module":
        return net.get_submodule(op.target)(*args, **kwargs)
    if op.kind == "call_method":
        return getattr(args[0], op.target)(*args[1:], **kwargs)
    return op.target(*args, **kwargs)


def call_folded(op: Op, args: tuple, kwargs: dict[str, Any], net: Modules) -> Tensor:
    """Carry out an operation on many steps laid into the batch, [steps * B, ...]."""
    if name_of(op) in _RESHAPES and op.kind != "call_module":
        return args[0].reshape(args[0].shape[0], *op.val.shape[1:])
    if name_of(op) == "to":  # onto the device where the value is already
        return args[0].to(op.val.dtype)
    return call(op, args, kwargs, net)


def fits_rows(value: Tensor, op: Op) -> bool:
    """Whether a value of one step, [B, ...] or smaller, must be repeated to meet many steps laid into the batch."""
    if op.kind == "call_module" or name_of(op) in _FUNCTIONS_BY_AXES or name_of(op) == "linear":
        return False  # a weight
    return value.dim() == op.val.dim() and value.shape[0] == op.val.shape[0] and value.shape[0] > 1
