"""Releases of packages, also of this one where it runs from a checkout that is not installed."""

from __future__ import annotations

from importlib import metadata


def release(package: str) -> str | None:
    """Return the release of a package, or None if it is not installed.

    Examples
    --------
    >>> release("numpy").split(".")[0]
    '2'
    >>> release("no_such_package") is None
    True
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        import snn_helpers

        return snn_helpers.__version__ if package == "snn_helpers" else None
