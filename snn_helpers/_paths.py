"""Where things are kept: one answer for the command line, notebooks in any folder, and tests."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, of Linux's and other common file systems


def user_path(path: str | os.PathLike) -> Path:
    """Return a path that a person has given, with `~` replaced by the home folder, as a shell does it.

    Examples
    --------
    >>> user_path("~/digits") == Path.home() / "digits"
    True

    Raises
    ------
    ValueError
        If no file can have this path: it is empty, too long, or has a null character.
    """
    text = os.fspath(path)
    if not text:
        raise ValueError("a path is empty. Name a file or folder; `.` is this folder.")
    if "\0" in text:
        raise ValueError(f"{text!r} is no path: it holds a null character.")
    longest = max(len(os.fsencode(name)) for name in text.split(os.sep))
    for what, size, most in (("name", longest, _LONGEST_NAME), ("path", len(os.fsencode(text)), _LONGEST_PATH)):
        if size > most:
            raise ValueError(
                f"{text[:40]}... is a {what} of {size:,} bytes, and {most:,} are the most. Choose a shorter one."
            )
    return Path(path).expanduser()


def project_root() -> Path:
    """Return the source checkout that this package runs from, else the working folder."""
    return _checkout() or Path.cwd()


def _checkout() -> Path | None:
    folder = Path(__file__).resolve().parents[1]
    return folder if (folder / "pyproject.toml").is_file() else None


def data_home() -> Path:
    """Return the folder where built and downloaded data land.

    It is the environment variable SNN_DATA_DIR, else `data/` of a source checkout, else the user's cache folder.
    """
    if os.environ.get("SNN_DATA_DIR"):
        return user_path(os.environ["SNN_DATA_DIR"])
    checkout = _checkout()
    if checkout:
        return checkout / "data"
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "snn_helpers"


def imports_home() -> Path:
    """Return the folder of the data sets that were imported, one folder each, by name."""
    return data_home() / "imported"


def imported_names() -> tuple[str, ...]:
    """Return the names of the data sets that were imported on this machine."""
    return tuple(sorted(path.name for path in imports_home().glob("*") if (path / "train").is_dir()))


def imported_folder(name: str | os.PathLike) -> Path | None:
    """Return the folder of an imported data set, given its name or the folder itself; None if there is none."""
    own = user_path(name)
    for folder in (imports_home() / str(name), own):
        if holds_imported(folder):
            return folder
    return None


def holds_imported(folder: Path) -> bool:
    """Whether this very folder is one of imported recordings."""
    return any((folder / split / "manifest.json").is_file() for split in ("train", "valid", "test"))


def results_home() -> Path:
    """Return the folder of the notebooks' findings: SNN_RESULTS_DIR, else `results/` of the project."""
    return user_path(os.environ.get("SNN_RESULTS_DIR") or project_root() / "results")


def runs_home() -> Path:
    """Return the folder of training runs: SNN_RUNS_DIR, else `checkpoints/` of the project."""
    return user_path(os.environ.get("SNN_RUNS_DIR") or project_root() / "checkpoints")


def logs_home() -> Path:
    """Return the folder of logs: SNN_LOGS_DIR, else `logs/` of the project."""
    return user_path(os.environ.get("SNN_LOGS_DIR") or project_root() / "logs")


def keep_results_in(folder: Path) -> None:
    """Have findings, training runs and logs of this process and its children lie in a folder.

    A checkout keeps its own, and so does whoever has set the variables.
    """
    if _checkout() is None:
        for variable, name in (("RESULTS", "results"), ("RUNS", "checkpoints"), ("LOGS", "logs")):
            os.environ.setdefault(f"SNN_{variable}_DIR", str(folder.absolute() / name))


def is_writable(folder: Path) -> bool:
    """Return whether files can be written into a folder, or the folder be made."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def keep_kernels() -> None:
    """Have numba keep compiled kernels in a temporary folder where it would find no other place, and say so once.

    numba keeps them beside the source, else in the user's cache folder, and where it can write to neither, in a
    container without a home for instance, refuses to compile at all. It reads the variable NUMBA_CACHE_DIR when it is
    imported. Kernels are code: the folder must be the user's own, and nobody else's to write to.
    """
    package = Path(__file__).parent
    beside = [package / room / "__pycache__" for room in ("engine/cpu", "events")]
    if os.environ.get("NUMBA_CACHE_DIR") or all(map(is_writable, beside)) or _has_cache_folder():
        return
    folder = Path(tempfile.gettempdir()) / f"snn_helpers-kernels-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700)
        print(f"snn_helpers: no place to keep compiled kernels; they go to {folder}.", file=sys.stderr, flush=True)
    except FileExistsError:
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
            folder = Path(tempfile.mkdtemp(prefix="snn_helpers-kernels-"))
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].core.config.reload_config()


def kernel_sources() -> Path:
    """Return the folder of the source of generated kernels: where numba keeps what it compiles of them, too."""
    beside = Path(__file__).parent / "engine" / "cpu" / "__pycache__"
    home = os.environ.get("NUMBA_CACHE_DIR") or (beside if is_writable(beside) else _cache_folder())
    return user_path(home) / "generated"


def _cache_folder() -> Path:
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "numba"


def _has_cache_folder() -> bool:
    try:
        return is_writable(_cache_folder())
    except RuntimeError:  # this user has no home at all
        return False
