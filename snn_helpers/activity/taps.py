"""Where spikes can be listened to: hooks on networks and neurons, and a way to take all of them off again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import nn

from snn_helpers._checks import check_choice
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.neurons import SpikingNeuron as SpikingNeurons


class Take(NamedTuple):
    """What is called: per layer (name, spk, mem, whole), as a model starts, and with what it returns."""

    layer: Callable
    start: Callable
    output: Callable


def find_layers(model: nn.Module) -> dict[str, tuple[str, nn.Module]]:
    """Return {layer name: (kind, module)}, kind one of "network", "ours" and "snntorch".

    A network of ours stands with each of its layers; what is inside it is not listed again.
    """
    import snntorch

    found, inside = {}, set()
    for path, module in model.named_modules():
        if any(path == outer or path.startswith(f"{outer}.") or not outer for outer in inside):
            continue
        if isinstance(module, SpikingNetwork):
            inside.add(path)
            prefix = f"{path}." if path else ""
            found |= {f"{prefix}{name}": ("network", module) for name in module.spiking_layers()}
        elif isinstance(module, SpikingNeurons):
            found[path or type(module).__name__] = ("ours", module)
        elif isinstance(module, snntorch.SpikingNeuron | snntorch.LeakyParallel):
            found[path or type(module).__name__] = ("snntorch", module)
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no spiking layer: neither a network of snn_helpers, nor its neurons, nor "
            "snnTorch's are in it."
        )
    return found


def attach(model: nn.Module, layers: Sequence[str] | None, take: Take) -> contextlib.ExitStack:
    """Listen to the layers of a model; closing what is returned ends it."""
    found = find_layers(model)
    wanted = [check_choice("layers", name, tuple(found)) for name in (found if layers is None else layers)]
    if not wanted:
        raise ValueError(f"`layers` is empty; there are {', '.join(found)}.")
    taps = contextlib.ExitStack()
    taps.callback(model.register_forward_pre_hook(lambda module, args: take.start()).remove)
    taps.callback(model.register_forward_hook(lambda module, args, output: take.output(output)).remove)
    networks: dict[nn.Module, dict[str, str]] = {}
    for name in wanted:
        kind, module = found[name]
        if kind == "network":
            own = [mine for mine in module.spiking_layers() if name == mine or name.endswith(f".{mine}")]
            networks.setdefault(module, {})[max(own, key=len)] = name
        elif kind == "ours":
            _tap_ours(taps, name, module, take)
        else:
            taps.callback(module.register_forward_hook(_snntorch_hook(name, take)).remove)
    for network, names in networks.items():
        hook = network.register_forward_pre_hook(_watch_hook(names, take), with_kwargs=True)
        taps.callback(hook.remove)
    return taps


def _watch_hook(names: dict[str, str], take: Take):
    """Have a network of ours call back with each layer's arrays, which costs no other way of computing."""

    def hook(module, args, kwargs):
        theirs = args[1] if len(args) > 1 else kwargs.get("watch")

        def watch(name, spk, mem):
            if name in names:
                take.layer(names[name], spk, mem, True)
            if theirs is not None:
                theirs(name, spk, mem)

        rest = {"fractions": args[2]} if len(args) > 2 else {}
        return args[:1], {**kwargs, **rest, "watch": watch}

    return hook


def _tap_ours(taps: contextlib.ExitStack, name: str, neurons: SpikingNeurons, take: Take) -> None:
    """Listen to neurons of ours, whichever of their three doors is used."""

    def on_forward(module, args, output):
        take.layer(name, *output, True)

    taps.callback(neurons.register_forward_hook(on_forward).remove)
    step, run = neurons.step, neurons.run_snntorch

    def heard_step(cur, *state):
        spk, *new_state = out = step(cur, *state)
        take.layer(name, spk, neurons.membrane(new_state), False)
        return out

    def heard_run(cur):
        out = run(cur)
        take.layer(name, *out, True)
        return out

    for door, heard in (("step", heard_step), ("run_snntorch", heard_run)):
        setattr(neurons, door, heard)  # shadows the method until it is deleted
        taps.callback(delattr, neurons, door)


def _snntorch_hook(name: str, take: Take):
    import snntorch

    from snn_helpers.neurons.alif import SNNTorchALIF

    def hook(module, args, output):
        if isinstance(module, snntorch.LeakyParallel):
            take.layer(name, output, None, True)
        elif isinstance(output, tuple):
            mem = output[1] if isinstance(module, SNNTorchALIF) else output[-1]
            take.layer(name, output[0], mem, False)
        else:
            take.layer(name, output, module.mem, False)

    return hook
