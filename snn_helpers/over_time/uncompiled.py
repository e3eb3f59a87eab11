"""What `torch.compile` leaves as it is; in a file of its own, since the mark loads torch's compiler, seconds of it."""

from __future__ import annotations

from typing import Any

import torch


@torch.compiler.disable
def run_uncompiled(over_time: Any, *inputs: Any, **options: Any) -> Any:
    """Run a network over time outside of what is being compiled."""
    return over_time.run(*inputs, **options)
