"""How a layer of neurons runs on an engine, and who is told of its spikes."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from snn_helpers.engine import Neuron, Spikes, kernels
from snn_helpers.engine.cpu.runtime import saved_as_they_are
from snn_helpers.neurons import Listener, SpikingNeuron, as_neuron
from snn_helpers.over_time import layers
from snn_helpers.over_time.fingerprint import HOOKS
from snn_helpers.over_time.listen import InputListener, input_listeners


class Runner:
    """Runs layers of neurons on the engine that was asked for.

    Parameters
    ----------
    engine : {"auto", "snntorch", "reference", "cpu", "cuda"}
        "snntorch" loops over snnTorch's own neurons, layer by layer; "reference" over the equations.
    """

    def __init__(self, engine: str):
        self.engine = engine

    def on(self, tensor: Tensor) -> str:
        """Return what computes tensors of this device and type: "snntorch", "reference", "cpu" or "cuda"."""
        if self.engine != "auto":
            return self.engine
        kind = tensor.device.type
        return kind if kind in ("cpu", "cuda") and tensor.dtype == torch.float32 else "reference"

    def event_driven(self, tensor: Tensor):
        """Return the module with event-driven layers for tensors of this device and type, or None.

        Where its kernels cannot be compiled, snnTorch's own neurons take over for good, with one warning.
        """
        engine = self.on(tensor)
        if engine != tensor.device.type:
            return None
        try:
            return _ready(engine)
        except RuntimeError as err:
            if type(err).__name__ != "EngineCompileError":
                raise
            self.engine = "snntorch"
            warnings.warn(f"The loop over snnTorch takes over, which is slower: {err}", stacklevel=6)
            return None

    def equation(self, module: nn.Module, like: Tensor | None = None) -> Neuron | str:
        """Return the equation of a layer of neurons and its numbers, or why it runs by its own code.

        Engines compute in the type of the currents, which are `like`.
        """
        neuron = "engine 'snntorch' was asked for" if self.engine == "snntorch" else as_neuron(module)
        for name, value in {} if like is None or isinstance(neuron, str) else neuron.numbers.items():
            if isinstance(value, Tensor) and torch.result_type(value, like) != like.dtype:
                return f"its `{name}` is {value.dtype}, which makes more than {like.dtype} of its currents"
        return neuron

    def in_parts(self, module: nn.Module, conv: nn.Module) -> bool:
        """Whether a convolution and its neurons have no kernel in common."""
        neuron, device = self.equation(module, conv.weight), conv.weight.device
        if device.type == "cuda" and (conv.kernel_size, conv.padding, conv.stride) != ((3, 3), (1, 1), (1, 1)):
            return True
        return isinstance(neuron, str) or kernels.serves("conv_layer", neuron, device) is not None

    def how(self, neuron: Neuron, like: Tensor) -> str:
        """Say what runs neurons over time for currents like these."""
        engine = self.on(like)
        found = kernels.find_kernel("neurons", neuron, engine) if engine in ("cpu", "cuda") else "no kernel is asked"
        if isinstance(found, str):
            return f"the equation in torch, step by step ({neuron.kind}): {found}"
        steps = "all steps" if neuron.recurrence is None else "its recurrence, each step"
        return f"{steps} in one kernel ({neuron.kind}){', generated from its equation' if found.generated else ''}"

    def neurons(self, module: nn.Module, cur: Tensor, states: list[Any], places: list[int], plain: bool) -> Any:
        """Run a layer over currents [T, B, ...]; return what the module returns, over time.

        Parameters
        ----------
        states : list
            What the network hands to the neurons in the first step, beside the current.
        places : list of int
            Which result is handed on in the place of each state.
        plain : bool
            Whether spikes and membranes are all that is used of the results.
        """
        if self.engine == "snntorch" and isinstance(module, SpikingNeuron):
            spk, mem = module.run_snntorch(cur)
        else:
            zero = all(state is None or not (state.requires_grad or bool(state.any())) for state in states)
            neuron = self.equation(module, cur)
            if isinstance(neuron, str) or not plain or not zero:
                return layers.run_own_code(module, cur, states, places)
            spk, mem = kernels.neurons(cur, neuron, self.engine if self.engine in kernels.ENGINES else "auto")
            if neuron.recurrence is not None:
                self._tell_connections(module.recurrent, spk)
        self.tell(module, spk, mem)
        return layers.as_returned(module, spk, mem)

    def fire(self, engine, module: nn.Module, cur: Tensor) -> Any:
        """Run a layer over currents that lie channels-last in memory, where the engine can; else return None."""
        in_order = cur.dim() == 5 and not cur.is_contiguous() and cur.permute(0, 1, 3, 4, 2).is_contiguous()
        if not in_order or not hasattr(engine, "fire") or any(tap.mem for tap in layers.listeners(module)):
            return None
        neuron = self.equation(module, cur)
        if isinstance(neuron, str) or (spk := engine.fire(cur, neuron)) is None:
            return None
        self.tell(module, spk, None)
        return layers.as_returned(module, spk, None)

    def go_on(self, module: nn.Module, cur: Tensor, plain: bool) -> Any:
        """Run a layer that keeps its state over further currents [T, B, ...], and leave it the last state.

        Kernels start from zero: a step before the first, whose current is the membrane, brings neurons without another
        state to where they were. It is tried whether it does; all others run by their own code, step by step.
        """
        neuron, hidden = self.equation(module, cur), getattr(module, "hidden", ())
        begins = hidden and hidden[0].shape == cur.shape[1:]
        ours = isinstance(module, SpikingNeuron) and not isinstance(neuron, str) and neuron.states == ("mem",)
        if not (ours and plain and (not begins or _is_reached(neuron, *hidden))):
            return layers.run_own_code(module, cur, [], [], goes_on=True)
        steps = torch.cat([hidden[1].detach()[None], cur]) if begins else cur
        spk, mem = kernels.neurons(steps, neuron, self.engine if self.engine in kernels.ENGINES else "auto")
        if begins:
            spk, mem = spk[1:], mem[1:]
        module.hidden = (spk[-1], mem[-1])
        if neuron.recurrence is not None:
            self._tell_connections(module.recurrent, spk)
        self.tell(module, spk, mem)
        return layers.as_returned(module, spk, mem)

    def _tell_connections(self, recurrent: nn.Module, spk: Tensor) -> None:
        """Tell those who listen to the connections of neurons among themselves what these took: spikes a step later."""
        for listener in input_listeners(recurrent):
            listener.on_rows(torch.cat([torch.zeros_like(spk[:1]), spk[:-1]]).detach().flatten(0, 1), 1)

    def conv_layer(self, engine, spikes: Spikes, conv: nn.Module, weight: Tensor, norm, pool: int, module: nn.Module,
        options: dict,
    ):  # fmt: skip
        """Run convolution by `weight`, norm, pool and neurons in one pass; return what the neurons' module returns."""
        keep_mem = any(listener.mem for listener in layers.listeners(module))
        neuron = self.equation(module)
        for name in ("padding", "stride"):
            if getattr(conv, name) != (1, 1):
                options = {name: getattr(conv, name)[0], **options}
        spk = engine.conv_layer(spikes, weight, conv.bias, neuron, norm=norm, pool=pool, keep_mem=keep_mem, **options)
        self.tell(module, spk, spk.mem)
        return layers.as_returned(module, spk, None)

    def tell(self, module: nn.Module, spk: Tensor | Spikes, mem: Tensor | None) -> None:
        """Tell those who listen to a layer of neurons what it did in all steps."""
        for listener in layers.listeners(module):
            listener.on_spikes(spk, mem, True)


@torch.no_grad()
def _is_reached(neuron: Neuron, spk: Tensor, mem: Tensor) -> bool:
    """Whether a step from zero with the membrane as its current ends in this state, and gives numbers no gradient."""
    if neuron.learns and neuron.kind != "leaky":
        return False
    zero = torch.zeros_like(mem)
    reached, (state,) = neuron.step(mem, zero, [zero], neuron.tensors(mem))
    return torch.equal(reached, spk) and torch.equal(state, mem)


@functools.cache
def _ready(device: str):
    """Return an engine with its kernels compiled, or loaded from disk, once in a process."""
    engine = importlib.import_module(f"snn_helpers.engine.{device}")
    if device == "cpu":
        # It goes backward, too, whatever the caller does.
        with torch.inference_mode(False), torch.enable_grad(), saved_as_they_are():
            engine.warm_up()
    return engine


def other_hooks(modules: Iterable[nn.Module]) -> str | None:
    """Name the first module with a hook that only a call of the module would run, or return None.

    Torch also has hooks on the calls of all modules there are.
    """
    if any(getattr(nn.modules.module, f"_global_{kind}_hooks") for kind in HOOKS):
        return "every module (torch.nn.modules.module)"
    for module in modules:
        foreign = [hook for hook in module._forward_hooks.values() if not isinstance(hook, Listener)]
        foreign += [hook for hook in module._forward_pre_hooks.values() if not isinstance(hook, InputListener)]
        if foreign or module._backward_hooks or module._backward_pre_hooks:
            return type(module).__name__
    return None
