"""Any network on event counts: how it is run over time, how its answer is read, how output spikes become a class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn_helpers.models.network import SpikeOutput
from snn_helpers.over_time import frames_for, over_time


def run_network(network: nn.Module, frames: Tensor) -> SpikeOutput:
    """Run any network on event counts [T, B, ...]: of one step or over time, ours or not."""
    network = over_time(network)
    return read_output(network(frames_for(network, frames)))


def read_output(answer) -> SpikeOutput:
    """Return spikes and membranes over time, of what a network answers.

    Parameters
    ----------
    answer : Tensor, or tuple or list of spikes and membranes
        Spikes [T, B, classes] and membranes of the same shape, each a tensor or a list of T tensors [B, classes], as
        loops record them; or spikes alone, whose membranes then count as zero.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    is_pair = isinstance(answer, tuple | list) and len(answer) > 0 and not _is_series(answer)
    parts = [torch.stack(list(part)) if _is_series(part) else part for part in (answer if is_pair else [answer])]
    if not isinstance(parts[0], Tensor) or parts[0].dim() != 3:
        told = list(parts[0].shape) if isinstance(parts[0], Tensor) else type(parts[0]).__name__
        raise TypeError(f"a network must answer output spikes [T, B, classes], alone or first in a pair; got {told}.")
    has_mem = len(parts) > 1 and isinstance(parts[1], Tensor)
    return SpikeOutput(parts[0], parts[1] if has_mem else torch.zeros_like(parts[0]))


def _is_series(part) -> bool:
    """Say whether something is a list of what single steps gave, [B, classes] each."""
    is_list = isinstance(part, tuple | list) and len(part) > 0
    return is_list and all(isinstance(step, Tensor) and step.dim() == 2 for step in part)


def decide(output) -> Tensor:
    """Return the class of each recording, int64 [B]: the neuron with most spikes.

    Of neurons with equally many it is that with the higher mean membrane, and of those the one with the lower index.

    Parameters
    ----------
    output : (spk_rec, mem_rec), each [T, B, classes]
        What a network answers, for example a `SpikeOutput`; see `read_output` for other forms.

    Examples
    --------
    >>> spk_rec, mem_rec = torch.zeros(1, 1, 3), torch.tensor([[[20.0, 60.0, 90.0]]])
    >>> decide((spk_rec, mem_rec)).item()
    2
    """
    return decide_so_far(*read_output(output))[-1]


def decide_so_far(spk_rec: Tensor, mem_rec: Tensor) -> Tensor:
    """Return what `decide` would answer if the recording ended after each step.

    Parameters
    ----------
    spk_rec, mem_rec : Tensor [T, B, classes]
        Output spikes and membranes.

    Returns
    -------
    Tensor int64 [T, B]
        The last row is `decide`'s.
    """
    steps = torch.arange(1, len(spk_rec) + 1, device=spk_rec.device).view(-1, 1, 1)
    return _most(spk_rec.cumsum(0), mem_rec.cumsum(0) / steps)


def _most(counts: Tensor, membrane: Tensor) -> Tensor:
    """Return the first of the highest membranes among those of most spikes."""
    most = counts == counts.amax(-1, keepdim=True)
    membrane = membrane.nan_to_num(nan=-torch.inf).masked_fill(~most, -torch.inf)
    return (most & (membrane == membrane.amax(-1, keepdim=True))).int().argmax(-1)
