"""Trace one call of a network: every torch operation, the spiking neurons as they are, and the shape of each result.

The call runs on a copy whose tensors have shapes and no numbers ("meta"), so that a trace costs no arithmetic, draws no
random numbers and leaves the network alone. Sizes are therefore plain integers in it, and loops over them unroll.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import linecache
import operator
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import _disable_current_modes as no_dispatch
from torch.utils._pytree import tree_leaves, tree_map

from snn_helpers.over_time.in_place import (
    OPERATORS,
    changes_its_argument,
    follow_writes,
    join_equal_constants,
    seen_elsewhere,
    stack_records,
    written,
)
from snn_helpers.over_time.layers import (
    DROPOUT_FUNCTIONS,
    DROPOUTS,
    is_spiking,
    keeps_state,
    kept_state,
    takes_all_time,
)
from snn_helpers.over_time.norm import NormOverTime
from snn_helpers.over_time.watch import Dice, Watch, memory

VALUES = {"item", "tolist", "numpy", "__bool__", "__float__", "__int__", "requires_grad_", "backward", "data_ptr"}
DRAWS = {"bernoulli", "rand_like", "randn_like", "poisson"}  # before a loop they are drawn as the loop draws them
_KEPT = {"hidden"}  # what neurons of ours keep of their last call
RESETS = ("reset_mem", "init_leaky", "init_synaptic", "init_alpha", "init_lapicque", "init_rleaky", "init_rsynaptic")


class CannotTrace(Exception):
    """The network does something in its step that cannot be computed over all time at once; says what, and where.

    Attributes
    ----------
    resets : bool
        Whether a neuron's hidden state had been set to zero before.
    calls : int
        How many times a layer of neurons had been called before, at most.
    """

    resets = False
    calls = 0


class Traced:
    """What one call of a network did.

    Attributes
    ----------
    graph : fx.Graph
        The operations in their order; `node.meta["val"]` is the result, a meta tensor, or a tuple of them.
    constants : dict of str to Tensor
        Tensors that the call made itself, by the target of their "get_attr" nodes.
    resets : bool
        Whether the call set a neuron's hidden state to zero, as a loop over time does before it begins.
    calls : int
        How many times it called a layer of neurons, at most.
    indexed : bool
        Whether it took single elements of its first argument, as a loop over time takes its steps.
    """

    def __init__(self, graph: fx.Graph, constants: dict[str, Tensor], resets: bool, calls: int):
        self.graph, self.constants, self.resets, self.calls = graph, constants, resets, calls
        first = next((node for node in graph.nodes if node.op == "placeholder"), None)
        self.indexed = first is not None and any(_takes_an_element(user) for user in first.users)


_LOCK = threading.RLock()  # torch.fx changes nn.Module for the whole process while it traces


def trace(net: nn.Module, method: str, /, *inputs: Any, **options: Any) -> Traced:
    """Trace `net.<method>(*inputs, **options)`; tensors are taken by shape and type only, anything else as it is.

    Raises
    ------
    CannotTrace
        If what the call does depends on the numbers in its tensors, draws random numbers of its own, changes attributes
        of the network, or is not understood.
    """
    with _LOCK:
        return _trace(net, method, inputs, options)


def _trace(net: nn.Module, method: str, inputs: tuple, options: dict[str, Any]) -> Traced:
    meta = _meta_copy(net)
    neurons = [module for module in meta.modules() if is_spiking(module)]
    tracer = _Tracer(neurons, inputs, options)
    for neuron in neurons:
        _answer_resets_with_nothing(neuron, tracer)
        for connections in neuron.children():  # who listens to them asks for numbers, which this copy has not
            connections._forward_pre_hooks.clear()
    states = [_states(neuron) for neuron in neurons]
    before = _attributes(meta)
    dice = Dice()
    tracer.traced_func_name = method
    import snntorch

    instances, snntorch.SpikingNeuron.instances = snntorch.SpikingNeuron.instances, neurons
    try:
        # What the network's own code switches off is seen, whatever the caller does.
        with torch.enable_grad(), tracer.watch, _functions_as_operations(tracer):
            graph = tracer.trace_neurons(meta) if is_spiking(meta) else tracer.trace(meta)
        if dice.moved():
            raise CannotTrace("it draws random numbers of its own")
        changed = [name for name, value in _attributes(meta).items() if before.get(name) != value]
        if changed:
            raise CannotTrace(f"it changes its attribute `{changed[0]}`, which only its own loop can")
    except Exception as err:  # whatever the network's own code makes of values that have no numbers
        failure = err if isinstance(err, CannotTrace) else CannotTrace(f"{_reason(err)}{_line(err)}")
        failure.resets, failure.calls = _were_reset(neurons, states), tracer.calls
        raise failure from err
    finally:
        snntorch.SpikingNeuron.instances = instances
        dice.restore()
    calls = tracer.calls
    follow_writes(graph, meta)
    write = seen_elsewhere(graph, meta) or tracer.changed_constant()
    if write is not None:
        what = f"it changes a tensor in place that is seen elsewhere (`{_name_of(write.target)}`)"
        failure = CannotTrace(f"{what}{write.meta.get('line', '')}")
        failure.resets, failure.calls = _were_reset(neurons, states), calls
        raise failure
    join_equal_constants(graph, meta)
    stack_records(graph)
    for node in graph.nodes:
        if node.op == "call_module" and not node.args and (first := next(iter(node.kwargs), "")) in ("input", "input_"):
            node.args, node.kwargs = (node.kwargs[first],), {k: v for k, v in node.kwargs.items() if k != first}
    constants = {n.target: getattr(meta, n.target) for n in graph.nodes if str(n.target).startswith("_tensor_constant")}
    for name, value in constants.items():
        if value.device.type == "meta":
            raise CannotTrace(f"it computes with a tensor of its own, `{name}`, that is no parameter and no buffer")
    return Traced(graph, constants, _were_reset(neurons, states), calls)


@contextlib.contextmanager
def _functions_as_operations(tracer: _Tracer) -> Iterator[None]:
    """Let an `autograd.Function` of the network's own be one operation: what it does inside is no part of the trace."""
    original = torch.autograd.Function.__dict__["apply"]

    def apply(cls, *args, **kwargs):
        function, given = original.__get__(None, cls), tree_leaves((args, kwargs))
        if not any(isinstance(item, fx.Proxy) for item in given):
            return function(*args, **kwargs)
        values = [item.value for item in given if isinstance(item, _Proxy) and isinstance(item.value, Tensor)]
        before = [value._version for value in values]
        result = tracer.create_proxy("call_function", function, args, kwargs)
        if [value._version for value in values] != before:
            raise CannotTrace(f"`{cls.__name__}` changes a tensor in place{_line()}")
        return result

    torch.autograd.Function.apply = classmethod(apply)
    try:
        yield
    finally:
        torch.autograd.Function.apply = original


def _were_reset(neurons: list[nn.Module], states: list[dict[str, Tensor]]) -> bool:
    return any(_states(n)[name] is not state for n, own in zip(neurons, states) for name, state in own.items())


def _name_of(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _takes_an_element(node: fx.Node) -> bool:
    if node.target in ("unbind", "select") or node.target in (torch.unbind, torch.select):
        return True
    if node.target is not operator.getitem:
        return False
    places = node.args[1] if isinstance(node.args[1], tuple | list) else (node.args[1],)
    return any(isinstance(place, int) and not isinstance(place, bool) for place in places)


class _Proxy(fx.Proxy):
    """A value of the trace that knows its shape: sizes are integers, and it can be unpacked and looped over."""

    @property
    def value(self) -> Any:
        return self.node.meta["val"]

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[fx.Proxy]:
        return (self[index] for index in range(len(self.value)))

    def __getattr__(self, name: str):
        if name in ("shape", "ndim", "dtype", "is_cuda", "is_sparse"):
            return getattr(self.value, name)
        if name == "device":
            return self.tracer.device
        if name in ("size", "dim", "numel", "nelement", "ndimension", "is_floating_point"):
            return getattr(self.value, name)
        if name in ("data", "requires_grad", "grad", "grad_fn", "is_leaf"):
            raise CannotTrace(f"it reads `.{name}` of a tensor{_line()}")
        if name in ("real", "imag", "T", "mT", "H", "mH"):
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return super().__getattr__(name)

    def __setitem__(self, place: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", written, (self, place, value), {})


def _write_by(name: str):
    """Return the method of a traced value that changes it in place, such as `+=`, for which torch.fx has none."""
    target = getattr(operator, name)

    def method(self, other):
        return self.tracer.create_proxy("call_function", target, (self, other), {})

    return method


for _name in OPERATORS:
    setattr(_Proxy, f"__{_name}__", _write_by(_name))


# Methods of a tensor, and functions, as the operators that they are: steps are alike however they are written.
_SAME = {
    **{name: getattr(operator, name) for name in ("add", "sub", "mul", "matmul")},
    **{f"{name}_": getattr(operator, f"i{name}") for name in ("add", "sub", "mul")},
}


def _as_operator(kind: str, target: Any, args: tuple, kwargs: dict) -> tuple[str, Any, tuple]:
    """Return an operation as an operator of Python's, if it is one."""
    if kind == "call_method" and target == "__setitem__":
        return "call_function", written, args
    if kind == "call_method" and target in _SAME and len(args) == 2 and not kwargs:
        return "call_function", _SAME[target], args
    if (target == "select" or target is torch.select) and len(args) == 3 and args[1] >= 0:
        return "call_function", operator.getitem, (args[0], (*[slice(None)] * args[1], args[2]) if args[1] else args[2])
    return kind, target, args


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True

    def __init__(self, neurons: list[nn.Module], inputs: tuple, options: dict):
        super().__init__()
        self.inputs, self.options = inputs, options
        self.watch = Watch(self._refuse)
        self.device = next((value.device for value in tensors((inputs, options))), None)
        self._neurons = neurons
        self._thread = threading.get_ident()  # what other threads call meanwhile is none of this trace
        self._is_aside = False  # what runs now is to be evaluated, not traced
        self._modes: tuple | None = None
        self._calls: dict[str, int] = {}
        self._results: dict[tuple[str, str], Any] = {}  # of modules, by path and the shapes that they are given
        self._constants: dict[int, tuple[Tensor, fx.Node, int]] = {}

    def _refuse(self, reason: str) -> None:
        raise CannotTrace(f"{reason}{_line()}")

    @property
    def calls(self) -> int:
        """How many times a layer of neurons was called, at most."""
        return max(self._calls.values(), default=0)

    def trace_neurons(self, root: nn.Module) -> fx.Graph:
        """Trace a network that is one layer of neurons: a call of itself."""
        self.root, self.graph, self.tensor_attrs = root, fx.Graph(), {}
        args, options = self._given()
        self.create_proxy("output", "output", (self.create_proxy("call_module", "", args, options),), {})
        return self.graph

    def create_args_for_root(self, root_fn: Callable, is_module: bool, concrete_args: Any = None):
        """Have the method called with what it is given: a placeholder for each tensor, anything else as it is."""
        args, options = self._given()
        return lambda root: root_fn(root, *args, **options), [self.root]

    def _given(self) -> tuple[tuple, dict]:
        places = itertools.count()

        def placeholder(item):
            if not isinstance(item, Tensor):
                return item
            self._value_given = item.detach().to("meta")
            return self.create_proxy("placeholder", f"input_{next(places)}", (), {})

        return tree_map(placeholder, (self.inputs, self.options))

    def create_arg(self, a: Any):
        """Return what stands for an argument in the graph; for a tensor of the code's own always the same node."""
        if not isinstance(a, Tensor) or isinstance(a, fx.Proxy):
            return super().create_arg(a)
        if id(a) not in self._constants:
            node = super().create_arg(a)
            node.meta["made"] = a.device.type != "meta" and self.watch.is_made(a)
            self._constants[id(a)] = a, node, a._version
        return self._constants[id(a)][1]

    def changed_constant(self) -> fx.Node | None:
        """Return a tensor of the code's own that was changed in place after it was used, or None."""
        for tensor, node, version in self._constants.values():
            if tensor._version != version:
                return node
        return None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Let modules compute as they are, outside the trace."""
        was, self._is_aside = self._is_aside, True
        try:
            yield
        finally:
            self._is_aside = was

    @property
    def _aside(self) -> bool:
        return self._is_aside or threading.get_ident() != self._thread

    def call_module(self, module, forward, args, kwargs):
        return forward(*args, **kwargs) if self._aside else super().call_module(module, forward, args, kwargs)

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        whole = keeps_state(module) or takes_all_time(module) or isinstance(module, NormOverTime)
        return whole or super().is_leaf_module(module, name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def getattr(self, attr, attr_val, parameter_proxy_cache):
        if self._aside or _caller_is_snntorch():
            return attr_val
        if isinstance(attr_val, Tensor) and any(attr_val is s for n in self._neurons for s in _states(n).values()):
            raise CannotTrace(f"it reads the state `{attr}` of a neuron from outside{_line()}")
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_proxy(self, kind, target, args, kwargs, *rest, **options):
        kind, target, args = _as_operator(kind, target, args, kwargs)
        name = _name_of(target)
        if self._aside:  # a traced value got into what is only evaluated
            raise CannotTrace(f"it changes numbers of a layer of neurons{_line()}")
        modes = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")
        self._modes = self._modes or modes
        if modes != self._modes:
            raise CannotTrace(f"it switches gradients or autocast on or off{_line()}")
        if kind == "call_module" and is_spiking(self.root.get_submodule(target)):
            self._calls[target] = self._calls.get(target, 0) + 1
        if kind in ("call_function", "call_method") and name in VALUES:
            raise CannotTrace(f"it reads numbers out of a tensor (`{name}`){_line()}")
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **options)
        proxy.node.meta["val"] = self._value(kind, target, args, kwargs)
        proxy.node.meta["line"] = _line()
        return proxy

    def _value(self, kind: str, target, args, kwargs) -> Any:
        written = changes_its_argument(kind, target, kwargs, self.root) and isinstance(args[0], Tensor)
        if written and not isinstance(args[0], fx.Proxy) and memory(args[0]):
            self.watch.written.add(memory(args[0]))
        with no_dispatch():
            args, kwargs = tree_map(_as_value, (args, kwargs))
        if kind == "output":
            return None
        if kind == "placeholder":
            return self._value_given
        if kind == "get_attr":
            with self.aside():
                return _as_value(_at(self.root, target))
        module = self.root.get_submodule(target) if kind == "call_module" else None
        drawn = DRAWS.union(DROPOUT_FUNCTIONS)
        self.watch.masks = isinstance(module, DROPOUTS) or (module is None and _name_of(target) in drawn)
        with torch.no_grad(), self.aside():
            if module is not None:  # in a loop once for all its steps: it takes most of a trace's time
                call = target, str(tree_map(_shape, (args, kwargs)))
                if call not in self._results:
                    run = _neuron_value if keeps_state(module) else _kept
                    self._results[call] = run(module, args, kwargs)
                return self._results[call]
            if kind == "call_function":
                return target(*args, **kwargs)
            if target in ("to", "cpu", "cuda", "type_as"):
                return _moved(target, args, kwargs)
            return getattr(args[0], target)(*args[1:], **kwargs)


def _shape(item: Any) -> Any:
    return (item.shape, item.dtype) if isinstance(item, Tensor) else item


def _as_value(item: Any) -> Any:
    if isinstance(item, _Proxy):
        return item.value
    return item.detach().to("meta") if isinstance(item, Tensor) else item


def _moved(target: str, args: tuple, kwargs: dict) -> Tensor:
    """Return what `.to(...)` makes of a meta tensor, without its change of device."""
    if target != "to":
        return args[0].to(args[1].dtype) if target == "type_as" else args[0]
    kinds = [item for item in (*args[1:], kwargs.get("dtype")) if isinstance(item, torch.dtype)]
    kinds += [item.dtype for item in args[1:] if isinstance(item, Tensor)]
    return args[0].to(kinds[0]) if kinds else args[0]


def _kept(module: nn.Module, args, kwargs):
    """Run a leaf on meta tensors; a normalisation's running statistics are left alone."""
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return torch.empty_like(args[0])
    return module.forward(*args, **kwargs)


def _neuron_value(neuron: nn.Module, args, kwargs) -> Any:
    """Return the shapes of what a neuron, or a delay, answers; its state stays as it is."""
    with kept_state([neuron]):
        neuron.__dict__["inhibition"] = False  # it asks for numbers, and changes no shape
        return neuron.forward(*args, **kwargs)


def _meta_copy(net: nn.Module) -> nn.Module:
    """Copy a network without its numbers; also one whose states hang on autograd's graph."""
    memo = {}
    for path, module in net.named_modules():
        if isinstance(module, torch.jit.ScriptModule) or "_orig_mod" in module._modules:
            how = "torch.compile" if "_orig_mod" in module._modules else "torch.jit"
            raise CannotTrace(f"`{path}` is compiled by {how}; give it as it was before")
        for value in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
            if isinstance(value, nn.parameter.UninitializedTensorMixin):
                raise CannotTrace("a lazy layer gets its shape in its first call")
            if isinstance(value, Tensor):
                if value.dim() == 0 and not value.is_floating_point():
                    continue  # a setting, such as snnTorch's number of the reset, which its code looks at
                empty = value.detach().to("meta")
                is_parameter = isinstance(value, nn.Parameter)
                memo[id(value)] = nn.Parameter(empty, value.requires_grad) if is_parameter else empty
    try:
        return copy.deepcopy(net, memo)
    except Exception as err:
        raise CannotTrace(f"it cannot be copied ({_reason(err)})") from err


def _states(neuron: nn.Module) -> dict[str, Tensor]:
    """Return a neuron's hidden state: buffers that no state_dict has, and plain attributes."""
    buffers = {name: neuron._buffers[name] for name in neuron._non_persistent_buffers_set if name in neuron._buffers}
    return buffers | {name: value for name, value in vars(neuron).items() if isinstance(value, Tensor)}


def _answer_resets_with_nothing(neuron: nn.Module, tracer: _Tracer) -> None:
    """Have the methods that set a neuron's state to zero return empty tensors, which its neuron takes for zero."""
    for name in RESETS:
        method = getattr(neuron, name, None)
        if method is None:
            continue

        def reset(method=method):
            with tracer.aside():
                return tree_map(lambda state: torch.zeros(0), method())

        object.__setattr__(neuron, name, reset)


def _attributes(net: nn.Module) -> dict[str, Any]:
    """Return what a call must leave alone: attributes by identity, numbers by value, lists and dicts by their items."""
    found = {}
    for path, module in net.named_modules():
        neurons = is_spiking(module) or takes_all_time(module)
        hidden = module._non_persistent_buffers_set if neurons else ()
        for name, value in (*vars(module).items(), *module._buffers.items(), *module._parameters.items()):
            if name.startswith("_tensor_constant") or name in ("_buffers", "_parameters", "_modules", *hidden):
                continue
            if neurons and (name in _KEPT or (isinstance(value, Tensor | fx.Proxy) and name in vars(module))):
                continue  # what neurons keep of their last call
            plain = isinstance(value, int | float | str | bool | type(None))
            items = list(value.values()) if isinstance(value, dict) else value
            items = [id(item) for item in items] if isinstance(items, list | tuple | set) else None
            found[f"{path}.{name}".lstrip(".")] = (value if plain else id(value), items)
    return found


def _caller_is_snntorch() -> bool:
    """Whether snnTorch's own code, for example `utils.reset`, reads an attribute."""
    frame = sys._getframe(2)
    while frame and "/torch/" in frame.f_code.co_filename:
        frame = frame.f_back
    return bool(frame) and "/snntorch/" in frame.f_code.co_filename


def _at(root: nn.Module, target: str) -> Any:
    for name in target.split("."):
        root = getattr(root, name)
    return root


def _reason(err: BaseException) -> str:
    text = str(err).strip().split("\n")[0]
    if isinstance(err, fx.proxy.TraceError) or "'_Proxy' object" in text or "Proxy" in text:
        return "what it does depends on the numbers in a tensor"
    return f"{type(err).__name__}: {text}" if text else type(err).__name__


def _line(err: BaseException | None = None) -> str:
    """Name the line of the network's own code that was last at work."""
    if err is None:
        frame, found = sys._getframe(1), None
        while frame and frame.f_code is not trace.__code__:  # the frames before the trace began are the caller's
            if _is_own(frame.f_code.co_filename):
                found = frame.f_code.co_filename, frame.f_lineno
                break
            frame = frame.f_back
    else:
        own = [f for f in traceback.extract_tb(err.__traceback__) if _is_own(f.filename)]
        found = (own[-1].filename, own[-1].lineno) if own else None
    return f" ({found[0]}:{found[1]}: `{linecache.getline(*found).strip()}`)" if found else ""


def _is_own(filename: str) -> bool:
    return (
        not any(part in filename for part in ("/torch/", "snn_helpers/over_time", "/snntorch/")) and filename[:1] != "<"
    )


def tensors(values: Any) -> list[Tensor]:
    """Return the tensors in a nested value."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
