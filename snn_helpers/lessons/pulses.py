"""A small task about memory: to count the pulses that came in the last so many steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_SHARE = 0.2  # of steps that have a pulse


def pulse_counts(windows: Sequence[int], seed: int, num_steps: int = 100, trains: int = 32) -> tuple[Tensor, Tensor]:
    """Return random pulses and, for the last `num_steps` steps, how many pulses came in each window that ends there.

    Parameters
    ----------
    windows : sequence of int
        Lengths in steps.
    seed : int
        Of the pulses.
    num_steps : int
        Steps that are counted at; as many steps as the longest window go before them.
    trains : int
        Independent trains of pulses, B.

    Returns
    -------
    pulses : float32 [max(windows) + num_steps, B, 1]
        In {0, 1}.
    counts : float32 [num_steps, B, len(windows)]
        Pulses in each window, the present step included.

    Examples
    --------
    >>> pulses, counts = pulse_counts([1, 3], seed=0, num_steps=4, trains=2)
    >>> bool((counts[-1, :, 1] == pulses[-3:].sum(0)[:, 0]).all())
    True
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    pulses = (torch.rand(max(windows) + num_steps, trains, 1, generator=generator) < _SHARE).float()
    total = torch.cat([torch.zeros(1, trains, 1), pulses.cumsum(0)])
    ends = torch.arange(max(windows) + 1, max(windows) + num_steps + 1)
    return pulses, torch.cat([total[ends] - total[ends - window] for window in windows], -1)


def train_and_test_pulses(windows: Sequence[int], seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return two independent sets of `pulse_counts`: one to fit on, one to test on."""
    return [pulse_counts(windows, 2 * seed + part) for part in (0, 1)]


def readout_errors(mem: Tensor, counts: Tensor, new_mem: Tensor, new_counts: Tensor) -> np.ndarray:
    """Fit linear readouts by least squares, of each neuron alone and of all, and return their errors on new membranes.

    Parameters
    ----------
    mem, new_mem : Tensor [T, B, neurons]
        Membranes to fit on, and to test on.
    counts, new_counts : Tensor [T, B, questions]
        The right answers.

    Returns
    -------
    float64 [neurons + 1, questions]
        Root mean square errors as shares of the standard deviation of the new answers: 1 for always answering the mean.
        The last row is of all neurons together.
    """
    fit, test = (
        np.column_stack([part.flatten(0, 1).double().numpy(), np.ones(part[..., 0].numel())]) for part in (mem, new_mem)
    )
    answers, new_answers = (part.flatten(0, 1).double().numpy() for part in (counts, new_counts))
    neurons = np.arange(mem.shape[-1])
    errors = []
    for group in [*neurons[:, None], neurons]:
        columns = [*group, -1]  # the last column is the constant
        weights = np.linalg.lstsq(fit[:, columns], answers, rcond=None)[0]
        missed = test[:, columns] @ weights - new_answers
        errors.append(np.sqrt((missed**2).mean(0)) / new_answers.std(0))
    return np.array(errors)
