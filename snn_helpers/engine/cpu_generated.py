"""Kernels over time for neurons of any kind, generated from their equation where it can be, with autograd.

A kernel is generated once for an equation, its surrogate, and which numbers are one a neuron or learned. It is tried
before its first use: spikes and membranes must equal the reference's bit for bit, and gradients to rounding.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snn_helpers._paths import kernel_sources
from snn_helpers.engine.cpu_memory import array, empty
from snn_helpers.engine.cpu_recurrent import RecurrentRun
from snn_helpers.engine.cpu_runtime import EngineCompileError, compiling, run_chunks
from snn_helpers.engine.cpu_source import Source
from snn_helpers.engine.cpu_steps import CURRENT, Places, Steps, run_steps
from snn_helpers.engine.graph import SHAPE, CannotGenerateError, trace_step
from snn_helpers.engine.kernels import Kernel
from snn_helpers.engine.reference import Neuron, run

BLOCK = 2048  # neurons a chunk at most: their state, current and gradient stay in the cache
_LOCK = threading.RLock()


class Run(NamedTuple):
    """One run of neurons over time, in parts of `size` neurons, with their numbers as kernels take them.

    `shape` is [B, ...]; in a layer of images, memory is channels-last.
    """

    num_steps: int
    size: int
    shape: torch.Size
    numbers: np.ndarray
    rows: list[np.ndarray]

    @property
    def chunks(self) -> int:
        """How many parts there are."""
        return -(-self.shape.numel() // self.size)


class Generated:
    """Kernels of one equation, for one choice of which numbers are one a neuron or learned.

    Parameters
    ----------
    neuron : Neuron
        The values of its numbers play no part.
    vectors, learned : tuple of str
        Numbers that are one a neuron; those that get a gradient.
    layer : bool
        For a layer with a convolution; see `Source`.

    Attributes
    ----------
    reason : str or None
        Why the kernels are not to be used, where a trial has shown it.
    """

    def __init__(self, neuron: Neuron, vectors: tuple[str, ...], learned: tuple[str, ...], layer: bool = False):
        self.names = tuple(neuron.numbers)
        places = {name: f"p{k}" for k, name in enumerate(self.names)}
        step = trace_step(neuron, learned)
        self.probe = _probe(neuron)
        self.graph, self.count, self.layer = step.graph, 1 + len(neuron.states), layer
        self.mem = 1 + neuron.states.index("mem")
        self.source = Source(
            step, self.count, self.mem, [places[name] for name in vectors], neuron.recurrence is not None, layer
        )
        self.tried, self.reason = False, None
        self._module = None

    @property
    def module(self) -> types.ModuleType:
        """The compiled source."""
        if self._module is None:
            with compiling("a kernel generated from a neuron's equation"):
                self._module = _load(self.source.text)
        return self._module

    def begin(self, numbers: Sequence[Tensor], num_steps: int, shape: torch.Size, size: int | None = None) -> Run:
        """Return a run of neurons [B, ...], in parts of `size` neurons, with numbers that broadcast to them."""
        values = {f"p{k}": value.detach() for k, value in enumerate(numbers)}
        done: dict[int, Tensor] = {}
        single = [float(self.graph.evaluate(place, values, done)) for place in self.source.numbers]
        rows = [self.graph.evaluate(place, values, done).expand(shape) for place in self.source.rows]
        rows = [(row.movedim(1, -1) if self.layer else row).reshape(-1).contiguous().numpy() for row in rows]
        total = shape.numel()
        size = size or min(BLOCK, max(256, -(-total // 8)))
        return Run(num_steps, size, shape, np.array(single, np.float32), rows)

    def records(self, run: Run, train: bool, keep_mem: bool = True) -> dict[int, Tensor]:
        """Return records of states to be filled, [T, N]: of spikes, of membranes where kept, what `train` needs."""
        kept = {0, *(self.source.kept if train else ()), *[self.mem] * keep_mem}
        kinds = {0: np.uint8 if self.layer else np.float32}
        total = run.shape.numel()
        return {k: empty(run.num_steps, total, dtype=kinds.get(k, np.float32)) for k in self.source.kept if k in kept}

    def _places(self, run: Run, cur: Tensor | None, drive: Tensor | None) -> Places:
        places = Places(run.size, run.shape.numel())
        for k, row in enumerate(run.rows):
            places.put(f"row{k}", row)
        if drive is not None:
            places.put("y", array(drive, -1))
        if cur is None:
            places.put_own("x", CURRENT)
        else:
            places.put("x", array(cur, run.num_steps, -1))
        return places

    def _steps(self, name: str, run: Run, places: Places) -> Steps:
        slots, sweep = self.source.slots, name == "backward" and bool(self.source.swept)
        return Steps(
            getattr(self.module, name).address, places.table(slots[name]), self.module.sweep.address if sweep else 0,
            places.table(slots["sweep"] if sweep else ()), run.numbers, places.size, places.total, places.line,
            places.rows, places.cleared,
        )  # fmt: skip

    def forward(
        self, run: Run, records: dict[int, Tensor], cur: Tensor | None = None, drive: Tensor | None = None
    ) -> tuple[Steps, Places]:
        """Return the steps forward that fill `records`, and what must outlive them.

        Parameters
        ----------
        run, records : as from `begin` and `records`
        cur : Tensor [T, B, ...] or None
            Currents; None: the kernel writes them to each part's own memory.
        drive : Tensor [B, ...] or None
            Current of a recurrence.
        """
        places = self._places(run, cur, drive)
        for k in range(self.count):
            places.put_state(k, records[k].numpy() if k in records else None)
        return self._steps("forward", run, places), places

    def backward(
        self, run: Run, saved: Sequence[Tensor], grads: dict[int, Tensor | None], sums: dict[str, Tensor],
        cur: Tensor | None = None, **rows: Tensor,
    ) -> tuple[Steps, Places]:  # fmt: skip
        """Return the steps back, and what must outlive them.

        Parameters
        ----------
        run : as from `begin`
        saved : sequence of Tensor
            Records of the states `source.saved`.
        grads : dict
            Gradients of spikes and membranes, by state; None: there is none.
        sums : dict
            As from `sums`: what gradients of numbers are added to.
        cur : Tensor [T, B, ...] or None
            Currents, where `source.takes_cur`.
        **rows : Tensor
            Where "grad_x" (else in a part's own memory), "grad_y" and carries "c0", ... (else there, too) lie.
        """
        places = self._places(run, cur, None)
        places.put_own("grad_x", CURRENT)
        for k in self.source.carried:
            if f"c{k}" not in rows:
                places.put_carry(f"c{k}")
        for k, record in zip(self.source.saved, saved):
            places.put_state(k, array(record, run.num_steps, -1))
        for k in self.source.swept:
            places.put_state(k, None, run.num_steps)
        for k, grad in grads.items():
            if grad is not None:
                places.put(f"d{k}", array(grad, run.num_steps, -1))
        for name, row in (rows | sums).items():
            places.put(name, row.numpy())
        return self._steps("backward", run, places), places

    def keep(self, ctx, run: Run, cur: Tensor, records: dict[int, Tensor], numbers: Sequence[Tensor], *more) -> tuple:
        """Keep for the way back what it needs, and return spikes and membranes."""
        records = {k: record.view(-1, *run.shape) for k, record in records.items()}
        ctx.made, ctx.run, ctx.numbers = self, run, [value.shape for value in numbers]
        saved = (records.get(k) for k in self.source.saved)
        ctx.save_for_backward(cur if self.source.takes_cur else None, *more, *saved)
        ctx.set_materialize_grads(False)
        return records[0], records[self.mem]

    def sums(self, run: Run) -> dict[str, Tensor]:
        """Return zeros [N] for the gradient that each neuron gives to the numbers that learn."""
        return {name: torch.zeros(run.shape.numel()) for name in self.source.learned}

    def number_gradients(self, run: Run, sums: dict[str, Tensor], shapes: list[torch.Size]) -> list[Tensor | None]:
        """Return the gradient of each number, of its own shape, from `sums` over neurons."""
        found, shape = [], run.shape
        for k, own in enumerate(shapes):
            one = sums.get(f"p{k}")
            if one is None:
                found.append(None)
            elif f"p{k}" in self.source.vectors:
                one = one.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1) if self.layer else one.view(shape)
                found.append(one.double().sum_to_size(own).float())
            else:  # by NumPy: the order of torch's sums depends on the number of threads
                found.append(torch.tensor(one.numpy().sum(dtype=np.float64), dtype=torch.float32).view(own))
        return found

    def try_out(self, cur: Tensor, neuron: Neuron, apply: Callable | None = None) -> str | None:
        """Return None where the kernels do what the reference does, on a few steps, else how they differ.

        Parameters
        ----------
        cur : Tensor [T, B, ...]
            The first of its steps are part of the trial.
        neuron : Neuron
            Equation and numbers.
        apply : callable or None
            What runs a layer's neurons: (cur, neuron) to spikes and membranes.
        """
        with _LOCK:
            if not self.tried:
                try:
                    self.reason = self._differs(cur, neuron, apply or functools.partial(self._apply, exact=True))
                except (EngineCompileError, OSError) as err:
                    self.reason = f"the kernel generated from its equation cannot be built: {err}"
                self.tried = True
            return self.reason

    @torch.inference_mode(False)
    def _differs(self, cur: Tensor, neuron: Neuron, apply: Callable) -> str | None:
        numbers = {k: v.clone() if isinstance(v, Tensor) and v.is_inference() else v for k, v in neuron.numbers.items()}
        neuron, results = dataclasses.replace(neuron, numbers=numbers), []
        learned = [*neuron.tensors(cur).values(), *(neuron.recurrence or ())]
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)  # a surrogate may draw
            some = torch.cat([0.3 + 0.8 * torch.randn(5, *cur.shape[1:]), cur.detach()[:3]]).requires_grad_()
            up = torch.randn(2, *some.shape)
            leaves = [some, *(v for v in learned if v is not None and v.requires_grad)]
            for function in (run, apply):
                outs = function(some, neuron)
                outs = (outs[0], outs[1].detach()) if self.layer else outs
                pairs = [(out, one) for out, one in zip(outs, up) if out.requires_grad]
                grads = [None] * len(leaves)
                if pairs:
                    got, given = zip(*pairs)
                    grads = torch.autograd.grad(got, leaves, given, allow_unused=True, retain_graph=True)
                results.append(([out.detach().numpy() for out in outs], grads))
        (outs, grads), (our_outs, our_grads) = results
        if not all(np.array_equal(*two, equal_nan=True) for two in zip(outs, our_outs)):
            return "a kernel generated from its equation does not compute the same"
        if not all(map(_alike, our_grads, grads)):
            return "a kernel generated from its equation has other gradients"
        return None

    def is_still(self, neuron: Neuron) -> bool:
        """Whether the functions of these neurons compute what they did when the kernels were generated."""
        now = _probe(neuron)
        return len(now) == len(self.probe) and all(torch.allclose(*two, 0, 0, True) for two in zip(now, self.probe))

    def run(self, cur: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
        """Run neurons over time, by the reference where a trial fails."""
        return run(cur, neuron) if self.try_out(cur, neuron) else self._apply(cur, neuron)

    def _apply(self, cur: Tensor, neuron: Neuron, exact: bool = False) -> tuple[Tensor, Tensor]:
        numbers = neuron.tensors(cur).values()
        if neuron.recurrence is None:
            return _Run.apply(cur, self, *numbers)
        return RecurrentRun.apply(cur, self, exact, *neuron.recurrence, *numbers)


def _alike(ours: Tensor | None, theirs: Tensor | None) -> bool:
    if ours is None or theirs is None:
        return all(one is None or not one.any() for one in (ours, theirs))
    ours, theirs = (one.double().nan_to_num(0, 0, 0) for one in (ours, theirs))
    return bool((ours - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6)


def _probe(neuron: Neuron) -> tuple[Tensor, ...]:
    """Return what one step and its gradient give for some numbers: by it, a function that has changed is noticed."""
    generator, options = torch.Generator().manual_seed(1), {"dtype": torch.float32, "device": "cpu"}
    with torch.enable_grad():
        draw = [torch.rand(SHAPE, generator=generator, **options) for _ in range(2 + len(neuron.states))]
        draw = [one.requires_grad_() for one in draw]
        names = [*neuron.numbers, *["drive"] * (neuron.recurrence is not None)]
        numbers = {name: torch.rand((), generator=generator, **options) * 0.5 + 0.25 for name in names}
        spk, state = neuron.step(draw[0], draw[1], draw[2:], numbers)
        outs = [out for out in (spk, *state) if out.requires_grad]
        up = [torch.ones_like(out) for out in outs]
        grads = torch.autograd.grad(outs, draw, up, allow_unused=True) if outs else ()
    return tuple(value.detach() for value in (spk, *state, *grads) if value is not None)


_MADE: dict[tuple, Generated | str] = {}  # guarded by the lock; the newest last
_MOST = 256


@torch.inference_mode(False)
def generate(neuron: Neuron, layer: bool = False) -> Generated | str:
    """Return the kernels of these neurons, alone or in a layer with a convolution, or why there are none."""
    tensors = {name: value for name, value in neuron.numbers.items() if isinstance(value, Tensor)}
    vectors = tuple(name for name, value in tensors.items() if value.numel() != 1)
    learned = tuple(name for name, value in tensors.items() if neuron.learns and value.requires_grad)
    key = (neuron.key, tuple(neuron.numbers), vectors, learned, layer)
    with _LOCK:
        found = _MADE.pop(key, None)
        if found is None or (isinstance(found, Generated) and not neuron.is_pure and not found.is_still(neuron)):
            try:
                found = Generated(neuron, vectors, learned, layer)
            except CannotGenerateError as err:
                found = f"no kernel can be generated from its equation: {err}"
        _MADE[key] = found
        if len(_MADE) > _MOST:
            del _MADE[next(iter(_MADE))]
    return found.reason or found if isinstance(found, Generated) else found


def make(neuron: Neuron) -> Kernel | str:
    """Return the kernel for neurons alone, or why there is none."""
    found = generate(neuron)
    return found if isinstance(found, str) else Kernel(found.run, generated=True)


def make_layer(neuron: Neuron) -> Generated | str:
    """Return the kernels for neurons in a layer with a convolution, or why there are none."""
    if neuron.recurrence is not None:
        return "neurons with a recurrence run by themselves"
    found = generate(neuron, layer=True)
    if isinstance(found, Generated) and found.source.factor is not None:
        numbers = neuron.tensors(torch.empty(0)).values()
        values = {f"p{k}": value.detach() for k, value in enumerate(numbers)}
        if (found.graph.evaluate(found.source.factor, values, {}) != 1).any():
            return "its spikes are not zeros and ones"
    return found


class _Run(torch.autograd.Function):
    """cur [T, B, ...] and numbers to spikes and membranes [T, B, ...]."""

    @staticmethod
    def forward(ctx, cur, made, *numbers):
        """Compute the outputs, and keep what the way back needs."""
        run = made.begin(numbers, len(cur), cur.shape[1:])
        records = made.records(run, any(ctx.needs_input_grad))
        steps, _places = made.forward(run, records, cur)
        run_chunks(run_steps, run.chunks, steps, 0, run.num_steps, False)
        return made.keep(ctx, run, cur, records, numbers)

    @staticmethod
    def backward(ctx, *grads):
        """Compute a gradient for each argument of `forward`."""
        made, run, (cur, *saved) = ctx.made, ctx.run, ctx.saved_tensors
        grad_cur, sums = empty(run.num_steps, run.shape.numel()), made.sums(run)
        steps, _places = made.backward(run, saved, dict(zip((0, made.mem), grads)), sums, cur, grad_x=grad_cur)
        run_chunks(run_steps, run.chunks, steps, 0, run.num_steps, True)
        return grad_cur.view(-1, *run.shape), None, *made.number_gradients(run, sums, ctx.numbers)


def _load(text: str) -> types.ModuleType:
    """Return the module of a source, which stands in a file named by its content: numba keeps kernels by their file."""
    name = f"kernel_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    with _LOCK:
        if name in sys.modules:
            return sys.modules[name]
        path = kernel_sources() / f"{name}.py"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(beside).replace(path)
        module = types.ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # where numba looks for it, which compiles while it is executed
        try:
            exec(compile(text, str(path), "exec"), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
    return module
