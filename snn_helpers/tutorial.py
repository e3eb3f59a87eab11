"""The series in a folder of the reader's own: copies of the notebooks that come with the package."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from snn_helpers._files import writable_folder, write_json, write_whole
from snn_helpers._paths import user_path

TEMPLATES = Path(__file__).parent / "notebooks"
"""The notebooks as they come; in a checkout a link to the checkout's own."""

RECORD = ".snn-tutorial.json"
"""File in the reader's folder: name of each notebook to the digest of what was copied."""


class Copied(NamedTuple):
    """What `copy_notebooks` did.

    Attributes
    ----------
    notebooks : tuple of Path
        The series in the reader's folder, in order.
    written : tuple of str
        Names of the notebooks that were copied just now: new ones, and newer releases of ones left as they came.
    changed : tuple of str
        Names of those that the reader has changed, and that were kept.
    """

    notebooks: tuple[Path, ...]
    written: tuple[str, ...]
    changed: tuple[str, ...]


def copy_notebooks(folder: Path) -> Copied:
    """Copy the series into a folder; a notebook that its reader has changed is never overwritten.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Raises
    ------
    ValueError
        If the folder cannot be written to, or holds the originals.
    FileNotFoundError
        If the package lies here without its notebooks.
    """
    folder = user_path(folder)
    templates = sorted(TEMPLATES.glob("*.ipynb"))
    if not templates:
        raise FileNotFoundError(f"{TEMPLATES} holds no notebooks: install the package again, or clone it with links.")
    if folder.resolve() == TEMPLATES.resolve():
        raise ValueError(f"`--out`: {folder} holds the original notebooks. Choose another folder.")
    writable_folder("--out", folder)
    copied, written, changed = _read_record(folder), [], []
    for template in templates:
        name, content = template.name, template.read_bytes()
        if (folder / name).exists() and not (folder / name).is_file():
            raise ValueError(f"`--out`: {folder / name} is no file, where a notebook belongs. Choose another folder.")
        present = (folder / name).read_bytes() if (folder / name).exists() else None
        if present is not None and present != content and copied.get(name) != _digest(present):
            changed.append(name)
            continue
        if present != content:
            write_whole(folder / name, content.decode("utf-8"))
            written.append(name)
        copied[name] = _digest(content)
    write_json(folder / RECORD, copied)
    return Copied(tuple(folder / template.name for template in templates), tuple(written), tuple(changed))


def _read_record(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # without a record, whatever differs counts as changed by the reader
        return {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
