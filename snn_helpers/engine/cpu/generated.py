"""Kernels over time for neurons of any kind, generated from their equation where it can be, with autograd.

A kernel is generated once for an equation, its surrogate, and which numbers are one a neuron or learned. It is tried
before its first use: spikes and membranes must equal the reference's bit for bit, and gradients to rounding.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snn_helpers._paths import kernel_sources
from snn_helpers.engine.cpu.memory import empty
from snn_helpers.engine.cpu.recurrent import RecurrentRun
from snn_helpers.engine.cpu.runtime import (
    EngineCompileError,
    check_first_order,
    compiling,
    run_chunks,
    saved_as_they_are,
)
from snn_helpers.engine.cpu.source import Source
from snn_helpers.engine.cpu.steps import Run, run_steps
from snn_helpers.engine.graph import SHAPE, CannotGenerateError, trace_step
from snn_helpers.engine.reference import Neuron, run

BLOCK = 2048  # neurons a chunk at most: their state, current and gradient stay in the cache
_LOCK = threading.RLock()


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
        step, self.probe = trace_step(neuron, learned), _probe(neuron)
        self.graph, self.count, self.layer = step.graph, 1 + len(neuron.states), layer
        self.mem = 1 + neuron.states.index("mem")
        vectors = [f"p{k}" for k, name in enumerate(neuron.numbers) if name in vectors]
        self.source = Source(step, self.count, self.mem, vectors, neuron.recurrence is not None, layer)
        self.tried, self.reason = False, None
        self._module, self._known = None, (None, None)

    @property
    def module(self) -> types.ModuleType:
        """The compiled source."""
        if self._module is None:
            with compiling("a kernel generated from a neuron's equation"):
                self._module = _load(self.source.text)
        return self._module

    def _evaluate(self, numbers: Sequence[Tensor], shape: Sequence[int]) -> tuple[np.ndarray, list[Tensor]]:
        """Compute what is the same in every step: numbers, and rows of one number a neuron [B, ...] = `shape`."""
        known, key = self._known, None if self.source.rows else tuple(map(float, numbers))
        if key is None or key != known[0]:
            values, done = {f"p{k}": value.detach() for k, value in enumerate(numbers)}, {}
            single = [float(self.graph.evaluate(place, values, done)) for place in self.source.numbers]
            # As float32, whatever they are: a condition, as that of a clamped number, is boolean.
            rows = [self.graph.evaluate(place, values, done).float().expand(shape) for place in self.source.rows]
            # Copies: a way back must see the numbers of its way forward, though an optimiser has changed them since.
            rows = [(value.movedim(1, -1) if self.layer else value).flatten().clone() for value in rows]
            self._known = known = key, (np.array(single, np.float32), rows)
        return known[1]

    def forward(
        self, numbers: Sequence[Tensor], shape: Sequence[int], train: bool, keep_mem: bool = True,
        cur: Tensor | None = None,
    ) -> Run:  # fmt: skip
        """Return a run forward, with `tensors` for records of states [T, ...], by place, and of currents, "x".

        Parameters
        ----------
        numbers : sequence of Tensor
            They broadcast to [B, ...].
        shape : sequence of int
            Of neurons over time, [T, B, ...]; memory of a layer's is channels-last.
        train, keep_mem : bool
            Keep what the way back needs; keep the membranes.
        cur : Tensor [T, B, ...] or None
            Currents; None: a kernel writes them to "x" where they are kept, else to own memory.
        """
        source, (num_steps, *each), total = self.source, shape, math.prod(shape[1:])
        size = math.prod(each[1:]) if self.layer else min(BLOCK, max(256, -(-total // 8)))
        run = Run(num_steps, total, size, *self._evaluate(numbers, each))
        memory = (*shape[:2], *shape[3:], shape[2]) if self.layer else shape
        for k in {0, *[self.mem] * keep_mem, *(source.kept if train else ())}:
            run.tensors[k] = empty(*memory, dtype=np.uint8 if self.layer and k == 0 else np.float32)
        if train and source.takes_cur:
            run.tensors["x"] = cur = empty(*memory) if cur is None else cur
        if cur is not None:
            run.put("x", cur)
        for k in range(self.count):
            run.put_state(k, run.tensors.get(k))
        run.take(self.module.forward, source.slots["forward"])
        return run

    def keep(self, ctx, run: Run, shape: Sequence[int], numbers: Sequence[Tensor], *more: Tensor) -> None:
        """Keep for the way back what it needs, and `more`."""
        ctx.made, ctx.fixed, ctx.shape, ctx.numbers = self, run.fixed, shape, [value.shape for value in numbers]
        ctx.save_for_backward(*(run.tensors.get(k) for k in (*self.source.saved, "x")), *more)
        ctx.set_materialize_grads(False)

    def backward(self, ctx, saved: Sequence[Tensor | None], *grads: Tensor | None, **rows: Tensor) -> Run:
        """Return a run back, with `tensors` that the gradients of numbers are added to, [N].

        Parameters
        ----------
        ctx
            As `keep` has left it.
        saved : sequence of Tensor or None
            Its saved tensors, read once: activation checkpointing computes them anew, and gives them out once only.
        *grads : Tensor [T, B, ...] or None
            Of spikes, and of membranes.
        **rows : Tensor
            Where "grad_x", the gradient of the currents, "grad_y" and the carries "c0", ... lie, else in own memory.
        """
        check_first_order()
        run, source = Run(*ctx.fixed), self.source
        run.tensors = {name: torch.zeros(run.fixed[1]) for name in source.learned}
        for k in source.carried:
            run.put_carry(f"c{k}")
        for k, record in zip(source.saved, saved):
            run.put_state(k, record)
        for k in source.swept:
            run.put_state(k, None, max(3, run.num_steps))
        places = {
            "x": saved[len(source.saved)],
            **dict(zip(("d0", f"d{self.mem}"), grads)),
            **rows,
            **run.tensors,
        }
        for name, where in places.items():
            if where is not None:
                run.put(name, where)
        sweep = [self.module.sweep, source.slots["sweep"]] if source.swept else []
        run.take(self.module.backward, source.slots["backward"], *sweep)
        return run

    def number_gradients(self, ctx, run: Run) -> list[Tensor | None]:
        """Return the gradient of each number, of its own shape, after a run back."""
        found, (batch, *each) = [], ctx.shape[1:]
        for k, own in enumerate(ctx.numbers):
            one = run.tensors.get(f"p{k}")
            if one is not None and f"p{k}" in self.source.vectors:
                one = one.view(batch, *each[1:], each[0]).movedim(-1, 1) if self.layer else one.view(batch, *each)
                one = one.double().sum_to_size(own).float()
            elif one is not None:  # by NumPy: the order of torch's sums depends on the number of threads
                one = torch.tensor(one.numpy().sum(dtype=np.float64), dtype=torch.float32).view(own)
            found.append(one)
        return found

    def try_out(self, cur: Tensor, neuron: Neuron, apply: Callable | None = None) -> str | None:
        """Return None where the kernels do what the reference does, on a few steps, else how they differ.

        `apply` is what runs a layer's neurons: (cur, neuron) to spikes and membranes.
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
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), saved_as_they_are():
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

    def fires_bytes(self, neuron: Neuron) -> bool:
        """Whether spikes are zeros and ones: what they are multiplied by, is one."""
        values = {f"p{k}": value.detach() for k, value in enumerate(neuron.tensors(torch.empty(0)).values())}
        return bool((self.graph.evaluate(self.source.factor, values, {}) == 1).all())

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
            return _Alone.apply(cur, self, *numbers)
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
    with _LOCK, saved_as_they_are():
        found = _MADE.pop(key, None)
        if found is None or (isinstance(found, Generated) and not neuron.is_pure and not found.is_still(neuron)):
            try:
                found = Generated(neuron, vectors, learned, layer)
            except CannotGenerateError as err:
                found = f"no kernel can be generated from its equation: {err}"
        _MADE[key] = found
        if len(_MADE) > _MOST:
            del _MADE[next(iter(_MADE))]
    if isinstance(found, Generated) and found.source.factor is not None and not found.fires_bytes(neuron):
        return "its spikes are not zeros and ones"
    return found.reason or found if isinstance(found, Generated) else found


class _Alone(torch.autograd.Function):
    """cur [T, B, ...] and numbers to spikes and membranes [T, B, ...]."""

    @staticmethod
    def forward(ctx, cur, made, *numbers):
        """Compute the outputs, and keep what the way back needs."""
        run = made.forward(numbers, cur.shape, any(ctx.needs_input_grad), cur=cur)
        run_chunks(run_steps, run.chunks, run.steps, 0, run.num_steps, False)
        made.keep(ctx, run, cur.shape, numbers)
        return run.tensors[0], run.tensors[made.mem]

    @staticmethod
    def backward(ctx, *grads):
        """Compute a gradient for each argument of `forward`."""
        grad_cur = empty(*ctx.shape)
        run = ctx.made.backward(ctx, ctx.saved_tensors, *grads, grad_x=grad_cur)
        run_chunks(run_steps, run.chunks, run.steps, 0, run.num_steps, True)
        return grad_cur, None, *ctx.made.number_gradients(ctx, run)


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
