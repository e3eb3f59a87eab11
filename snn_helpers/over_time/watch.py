"""Watch what a network's code does beside what a trace records: random numbers, and tensors that it changes itself."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Watch(TorchDispatchMode):
    """Sees every operation of torch that is carried out, with numbers or without.

    Attributes
    ----------
    masks : bool
        Whether random numbers are the masks of a dropout, which are drawn as the loop draws them.
    written : set of int
        Memory into which the trace, and so far nothing else, has written.
    """

    def __init__(self, refuse):
        super().__init__()
        self.masks = False
        self.written: set[int] = set()
        self._refuse = refuse
        self._made: set[int] = set()  # memory that the code asked for itself

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Carry out an operation that may be."""
        kwargs, name = kwargs or {}, func._schema.name.partition("::")[2]
        if torch.Tag.nondeterministic_seeded in func.tags and not self.masks:
            self._refuse(f"it draws random numbers (`{name}`)")
        given = {memory(item) for item in tree_leaves((args, kwargs)) if isinstance(item, Tensor)}
        if given & self.written:
            self._refuse(f"it computes with a tensor into which it has written (`{name}`)")
        if func._schema.is_mutable and isinstance(args[0], Tensor) and not self.is_made(args[0]):
            self._refuse(f"it changes a tensor in place that is seen elsewhere (`{name}`)")
        result = func(*args, **kwargs)
        for item in tree_leaves(result):
            if isinstance(item, Tensor) and (memory(item) not in given or name == "lift_fresh"):
                self._made.add(memory(item))
        return result

    def is_made(self, tensor: Tensor) -> bool:
        """Whether the code made a tensor itself, so that nothing else sees its changes; also if it has no numbers."""
        return memory(tensor) == 0 or memory(tensor) in self._made


def memory(tensor: Tensor) -> int:
    """Return where the numbers of a tensor are; 0 if it has none."""
    has_numbers = tensor.device.type != "meta" and torch._C._has_storage(tensor)
    return tensor.untyped_storage().data_ptr() if has_numbers else 0


class Dice:
    """Python's and NumPy's generators of random numbers as they are now."""

    def __init__(self):
        self._python, self._numpy = self._now()

    @staticmethod
    def _now() -> tuple[Any, tuple]:
        return random.getstate(), np.random.get_state()  # noqa: NPY002 -- it is what networks of others may use

    def moved(self) -> bool:
        """Whether one has drawn a number since."""
        python, (_, keys, place, *_) = self._now()
        return python != self._python or place != self._numpy[2] or not np.array_equal(keys, self._numpy[1])

    def restore(self) -> None:
        """Set them back, so that the loop draws what it would have drawn."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002
