"""MATLAB files up to version 7 (7.3 is HDF5): columns by name, or in one struct such as `TD`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snn_helpers.events.convert import ALIASES
from snn_helpers.events.dtype import RecordingError
from snn_helpers.events.formats.base import Format, Options, Reading

_MARK = b"MATLAB 5.0 MAT-file"


def _read(path: Path, options: Options) -> Reading:
    from scipy.io import loadmat

    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=True)
    except Exception as err:  # a damaged file fails in many ways
        raise RecordingError(f"{path}: the MATLAB file cannot be read ({err}).") from err
    variables = {name: value for name, value in content.items() if not name.startswith("__")}
    found = [columns for columns in (variables, *map(_struct, variables.values())) if _has_events(columns, options)]
    if len(found) != 1:
        raise RecordingError(
            f"{path}: {len(found) or 'no'} sets of events in this MATLAB file; expected one x, y, t (or ts) and p (or "
            f"pol), alone or in a struct. It holds {', '.join(variables) or 'nothing'}."
        )
    return Reading(
        iter([{name: np.atleast_1d(values) for name, values in found[0].items()}]), None, options.unit, options.columns
    )


def _struct(value) -> dict:
    if isinstance(value, np.ndarray) and value.dtype.names and value.ndim == 0:
        return {name: value[name][()] for name in value.dtype.names}
    return {}


def _has_events(columns: dict, options: Options) -> bool:
    if options.columns is not None:
        return set(options.columns) <= set(columns)
    names = {str(name).lower() for name in columns}
    return all(names & set(known) for known in ALIASES.values())


FORMAT = Format("MATLAB", "a MATLAB file", (".mat",), lambda head, *_: head.startswith(_MARK), _read)
