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
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snn_helpers._paths import kernel_sources
from snn_helpers.engine.cpu_memory import array, empty
from snn_helpers.engine.cpu_recurrent import RecurrentRun
from snn_helpers.engine.cpu_runtime import EngineCompileError, run_chunks
from snn_helpers.engine.cpu_source import Source
from snn_helpers.engine.graph import SHAPE, CannotGenerateError, trace_step
from snn_helpers.engine.kernels import Kernel
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

    Attributes
    ----------
    reason : str or None
        Why the kernels are not to be used, where a trial has shown it.
    """

    def __init__(self, neuron: Neuron, vectors: tuple[str, ...], learned: tuple[str, ...]):
        self.names = tuple(neuron.numbers)
        places = {name: f"p{k}" for k, name in enumerate(self.names)}
        step = trace_step(neuron, learned)
        self.probe = _probe(neuron)
        self.graph = step.graph
        mem = 1 + neuron.states.index("mem")
        self.source = Source(
            step, 1 + len(neuron.states), mem, [places[name] for name in vectors], neuron.recurrence is not None
        )
        self.tried, self.reason = False, None
        self._module = None

    @property
    def module(self) -> types.ModuleType:
        """The compiled source."""
        if self._module is None:
            self._module = _load(self.source.text)
        return self._module

    def arrays(self, numbers: tuple[Tensor, ...], shape: torch.Size) -> tuple[np.ndarray, np.ndarray]:
        """Return what the kernels take: numbers float32 [n], and rows of one number a neuron, float32 [m, N]."""
        values = {f"p{k}": value.detach() for k, value in enumerate(numbers)}
        done: dict[int, Tensor] = {}
        single = [float(self.graph.evaluate(place, values, done)) for place in self.source.numbers]
        rows = [self.graph.evaluate(place, values, done).expand(shape).reshape(-1) for place in self.source.rows]
        rows = torch.stack(rows) if rows else torch.empty(0, 1)
        return np.array(single, np.float32), rows.numpy()

    @staticmethod
    def block(total: int) -> int:
        """Return how many of so many neurons are a chunk."""
        return min(BLOCK, max(256, -(-total // 8)))

    def gradients(self, grads: tuple[Tensor | None, ...], num_steps: int, total: int) -> list[np.ndarray]:
        """Return the gradients of spikes and membranes as `backward` takes them, without rows where there is none."""
        given = [dict(zip(self.source.kept, grads))[k] for k in self.source.given]
        return [np.empty((0, total), np.float32) if g is None else array(g, num_steps, total) for g in given]

    def sums(self, total: int, chunks: int) -> dict[str, Tensor]:
        """Return zeros for the gradients of numbers: one a neuron, or one a chunk to be added up."""
        vectors, learned = self.source.vectors, self.source.learned
        if self.source.driven:
            return {name: torch.zeros(total) for name in learned}
        return {n: torch.zeros(total) if n in vectors else torch.zeros(chunks, dtype=torch.float64) for n in learned}

    def number_gradients(
        self, sums: dict[str, Tensor], shape: torch.Size, shapes: list[torch.Size]
    ) -> list[Tensor | None]:
        """Return the gradient of each number, of its own shape, from `sums` over neurons [B, ...] or chunks."""
        found = []
        for k, own in enumerate(shapes):
            one = sums.get(f"p{k}")
            if one is not None:
                one = one.double()
                one = one.view(shape).sum_to_size(own) if f"p{k}" in self.source.vectors else one.sum().view(own)
            found.append(None if one is None else one.float())
        return found

    def try_out(self, cur: Tensor, neuron: Neuron) -> str | None:
        """Return None where the kernels do what the reference does, on a few steps, else how they differ."""
        with _LOCK:
            if not self.tried:
                try:
                    self.reason = self._differs(cur, neuron)
                except (EngineCompileError, OSError) as err:
                    self.reason = f"the kernel generated from its equation cannot be built: {err}"
                self.tried = True
            return self.reason

    @torch.inference_mode(False)
    def _differs(self, cur: Tensor, neuron: Neuron) -> str | None:
        numbers = {k: v.clone() if isinstance(v, Tensor) and v.is_inference() else v for k, v in neuron.numbers.items()}
        neuron, results = dataclasses.replace(neuron, numbers=numbers), []
        learned = [*neuron.tensors(cur).values(), *(neuron.recurrence or ())]
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)  # a surrogate may draw
            some = torch.cat([0.3 + 0.8 * torch.randn(5, *cur.shape[1:]), cur.detach()[:3]]).requires_grad_()
            up = torch.randn(2, *some.shape)
            leaves = [some, *(v for v in learned if v is not None and v.requires_grad)]
            for function in (run, functools.partial(self._apply, exact=True)):
                outs = function(some, neuron)
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
def generate(neuron: Neuron) -> Generated | str:
    """Return the kernels of these neurons, or why there are none."""
    tensors = {name: value for name, value in neuron.numbers.items() if isinstance(value, Tensor)}
    vectors = tuple(name for name, value in tensors.items() if value.numel() != 1)
    learned = tuple(name for name, value in tensors.items() if neuron.learns and value.requires_grad)
    key = (neuron.key, tuple(neuron.numbers), vectors, learned)
    with _LOCK:
        found = _MADE.pop(key, None)
        if found is None or (isinstance(found, Generated) and not neuron.is_pure and not found.is_still(neuron)):
            try:
                found = Generated(neuron, vectors, learned)
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


class _Run(torch.autograd.Function):
    """cur [T, B, ...] and numbers to spikes and membranes [T, B, ...]."""

    @staticmethod
    def forward(ctx, cur, made, *numbers):
        """Compute the outputs, and keep what the way back needs."""
        num_steps, total = cur.shape[0], cur[0].numel()
        records = {k: empty(num_steps, total) for k in made.source.kept}
        block = made.block(total)
        given = (block, array(cur, num_steps, total), *made.arrays(numbers, cur.shape[1:]))
        run_chunks(made.module.forward, -(-total // block), *given, *(rec.numpy() for rec in records.values()))
        ctx.made, ctx.shape, ctx.given, ctx.numbers = made, cur.shape, given[2:], [v.shape for v in numbers]
        outs = [records[k].view(cur.shape) for k in made.source.kept[:2]]
        saved = dict(zip(made.source.kept, (*outs, *list(records.values())[2:])))
        ctx.save_for_backward(cur if made.source.takes_cur else None, *(saved[k] for k in made.source.saved))
        ctx.set_materialize_grads(False)
        return tuple(outs)

    @staticmethod
    def backward(ctx, *grads):
        """Compute a gradient for each argument of `forward`."""
        made, (cur, *saved) = ctx.made, ctx.saved_tensors
        num_steps, total = ctx.shape[0], ctx.shape[1:].numel()
        block = made.block(total)
        chunks, grad_cur = -(-total // block), empty(num_steps, total)
        cur = np.empty((0, total), np.float32) if cur is None else array(cur, num_steps, total)
        sums = made.sums(total, chunks)
        run_chunks(
            made.module.backward, chunks, block, cur, *ctx.given, *(array(rec, num_steps, total) for rec in saved),
            *made.gradients(grads, num_steps, total), grad_cur.numpy(), *(one.numpy() for one in sums.values()),
        )  # fmt: skip
        return grad_cur.view(ctx.shape), None, *made.number_gradients(sums, ctx.shape[1:], ctx.numbers)


def _load(text: str) -> types.ModuleType:
    """Return the module of a source, which stands in a file named by its content: numba keeps kernels by their file."""
    name = f"kernel_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
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
    exec(compile(text, str(path), "exec"), module.__dict__)
    sys.modules[name] = module
    return module
