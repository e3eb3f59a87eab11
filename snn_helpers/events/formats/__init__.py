"""File formats of recordings, one file each, told apart by their content.

To add one: write its file with a `FORMAT`, and name it in `_MODULES`.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from pathlib import Path

from snn_helpers.events.formats.base import Foreign, Format, foreign_kind, read_head

# In the order in which they are tried: N-MNIST's, which has no mark of its own, last.
_MODULES = (
    "aedat4",
    "aedat3",
    "aedat2",
    "event_stream",
    "evt2",
    "evt21",
    "evt3",
    "dat",
    "hdf5",
    "numpy_files",
    "matlab",
    "text",
    "nmnist",
)


@cache
def all_formats() -> tuple[Format, ...]:
    """Return every format, in the order in which they are tried."""
    return tuple(importlib.import_module(f"{__name__}.{module}").FORMAT for module in _MODULES)


def recognise(path: str | os.PathLike) -> Format | Foreign | None:
    """Say from a file's content which format it has, or which other kind of file it is; None if neither.

    Raises
    ------
    OSError
        If there is no such file or it cannot be read.
    """
    path = Path(path)
    head, size = read_head(path)
    found = [known for known in all_formats() if known.fits(head, size, path)]
    if found and found[0].has_mark:
        return found[0]
    return foreign_kind(head) or (found[0] if found else None)


def suffix_format(path: str | os.PathLike) -> Format | None:
    """Return the format that can be written under this name, by its suffix; None if there is none."""
    suffix = Path(path).suffix.lower()
    return next((known for known in all_formats() if known.write is not None and suffix in known.suffixes), None)


__all__ = ["Foreign", "Format", "all_formats", "recognise", "suffix_format"]
