"""Generated steps of neurons as kernels call them: by the address of a function, with the addresses of rows.

So kernels are compiled once, whatever the neurons; a call costs nothing beside a row of hundreds of neurons or more.
Neurons lie in parts, each computed over all time by one thread: the recordings of a layer of images, or blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from snn_helpers.engine.cpu.runtime import kernel, part

LINE = 16  # float32 numbers of a cache line
ZEROS, CURRENT, OWN = range(3)  # rows of a part's own memory: zeros, the currents or their gradient, what it asks for


class Steps(NamedTuple):
    """What a kernel needs to take steps: see `Run`, which must outlive it.

    `step` and `sweep` are addresses of functions, or 0; `places` and `sweep_places` say where the rows that they take
    lie. A part has memory of its own: `rows` rows of `line` float32 numbers, of which `cleared` start at zero.
    """

    step: int
    places: np.ndarray
    sweep: int
    sweep_places: np.ndarray
    numbers: np.ndarray
    size: int
    total: int
    line: int
    rows: int
    cleared: int


class Run:
    """Neurons that are run over time, one way, forward or back: where their rows lie, by name.

    A place is (address, own, lag, mask, step, part): in step t, row `(t - lag) & mask` of a record whose rows are
    `step` bytes apart, and its parts `part` bytes; before step `lag`, zeros. With `own` 1, the address counts from the
    part's own memory. Where nothing was placed, there are zeros.

    Parameters
    ----------
    num_steps, total, size : int
        Time steps; neurons, all and in a part.
    numbers : float32 array
        What functions take beside rows.
    vectors : list of Tensor
        The rows "row0", ...

    Attributes
    ----------
    tensors : dict of int or str to Tensor
        What the run fills.
    steps : Steps
        For a kernel, once `take` has said which.
    """

    def __init__(self, num_steps: int, total: int, size: int, numbers: np.ndarray, vectors: Sequence[Tensor] = ()):
        self.fixed = num_steps, total, size, numbers, vectors
        self.num_steps, self.chunks, self.size, self.line = num_steps, -(-total // size), size, -(-size // LINE) * LINE
        self.rows = self.cleared = OWN
        self.tensors: dict[int | str, Tensor] = {}
        self._alive: list[Tensor] = []
        self._places: dict[str, tuple[int, ...]] = {}
        self.put_own("x", CURRENT)
        self.put_own("grad_x", CURRENT)
        for k, vector in enumerate(vectors):
            self.put(f"row{k}", vector)

    def put(self, name: str, where: Tensor, lag: int = 0) -> None:
        """Place a row in a record [T, ...] of all neurons, or a tensor of them without time, flat."""
        if where.dtype not in (torch.float32, torch.uint8):  # a kernel would read its bytes as numbers
            raise TypeError(f"row `{name}` is {where.dtype}; kernels take float32, and bytes where spikes are flags.")
        where, item = where.detach().contiguous(), where.element_size()
        self._alive.append(where)
        step = where.stride(0) * item if where.dim() > 1 else 0
        self._places[name] = where.data_ptr(), 0, lag, -1, step, self.size * item

    def put_own(self, name: str, row: int, lag: int = 0, mask: int = 0) -> None:
        """Place a row, or the rows from there on, in the part's own memory."""
        self._places[name] = 4 * self.line * row, 1, lag, mask, 4 * self.line, 0

    def put_carry(self, name: str) -> None:
        """Place a row that starts at zero and is changed in each step; before any state without a record."""
        self.put_own(name, self.rows)
        self.rows = self.cleared = self.rows + 1

    def put_state(self, k: int, record: Tensor | None, num_rows: int = 2) -> None:
        """Place a state before and after the step: in its record, or where there is none, in rows of own memory."""
        for name, lag in ((f"s{k}_in", 1), (f"s{k}_new", 0)):
            if record is None:
                self.put_own(name, self.rows, lag, -1 if num_rows > 2 else 1)
            else:
                self.put(name, record, lag)
        self.rows += num_rows * (record is None)

    def _table(self, names: Sequence[str]) -> np.ndarray:
        return np.array([self._places.get(name, (0, 1, 0, 0, 0, 0)) for name in names], np.int64)

    def take(self, step, slots: Sequence[str], sweep=None, again: Sequence[str] = ()) -> None:
        """Take steps of a function on the rows `slots`, and before them, of `sweep` on the rows `again`."""
        (_, total, size, numbers, _), places = self.fixed, self._table(slots)
        address, again = (sweep.address, self._table(again)) if sweep else (0, _NOWHERE)
        sizes = size, total, self.line, self.rows, self.cleared
        self.steps = Steps(step.address, places, address, again, numbers, *sizes)


_NOWHERE = np.empty((0, 6), np.int64)
NO_STEPS = Steps(0, _NOWHERE, 0, _NOWHERE, np.empty(0, np.float32), 0, 0, 0, 0, 0)  # of no neurons


@intrinsic
def _call(typingctx, function, numbers, rows, n):
    """Call a function by its address with addresses of numbers and of an array of addresses of rows."""

    def codegen(context, builder, signature, args):
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, pointer, ir.IntType(64)])
        numbers, rows = (builder.inttoptr(arg, pointer) for arg in args[1:3])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [numbers, rows, rows, args[3]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen


@part
def aligned(n):
    """Return float32 numbers [n], uninitialised, from a cache line on: rows across two lines load at half the speed."""
    buffer = np.empty(n + LINE, np.float32)
    skip = (-(buffer.ctypes.data // 4)) % LINE
    return buffer[skip : skip + n]


@part
def begin(steps):
    """Return the memory for one part after the other, float32 [rows * line], and room for addresses of rows."""
    own = aligned(steps.rows * steps.line)
    own[: steps.line] = np.float32(0)
    return own, np.empty(max(len(steps.places), len(steps.sweep_places)), np.int64)


@part
def current_row(steps, own):
    """Return the row of own memory, [size], from which steps take currents, or to which they write their gradient."""
    return own[CURRENT * steps.line : CURRENT * steps.line + steps.size]


@part
def _locate(places, own, t, part, rows):
    for k in range(len(places)):
        place = places[k]
        address, before = place[0] + place[1] * own, t - place[2]
        rows[k] = own if before < 0 else address + (before & place[3]) * place[4] + part * place[5]


@part
def take_step(steps, own, rows, t, part, n):
    """Take the n neurons of a part through step t, if there are any."""
    if steps.step == 0:
        return
    _locate(steps.places, own.ctypes.data, t, part, rows)
    _call(steps.step, steps.numbers.ctypes.data, rows.ctypes.data, n)


@part
def start(steps, own, rows, num_steps, part, n):
    """Begin with a part: clear what must start at zero, and compute states again that were not kept."""
    own[OWN * steps.line : steps.cleared * steps.line] = np.float32(0)
    if steps.sweep != 0:
        for t in range(num_steps):
            _locate(steps.sweep_places, own.ctypes.data, t, part, rows)
            _call(steps.sweep, steps.numbers.ctypes.data, rows.ctypes.data, n)


@kernel
def run_steps(chunk, steps, low, high, back):
    """Take one part of the neurons through the steps from `low` to `high`, or `back`."""
    if chunk < 0:
        return
    own, rows = begin(steps)
    n = min(steps.size, steps.total - chunk * steps.size)
    start(steps, own, rows, high, chunk, n)
    for k in range(high - low):
        take_step(steps, own, rows, high - 1 - k if back else low + k, chunk, n)
