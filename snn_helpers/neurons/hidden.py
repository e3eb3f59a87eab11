"""State that a module keeps from step to step of a recording."""

from __future__ import annotations

from torch import Tensor, nn


class HiddenState(nn.Module):
    """A module that keeps what one step leaves for the next, until `reset_hidden`; no `state_dict` has it.

    Attributes
    ----------
    hidden : tuple of Tensor [B, ...]
        After the last call; empty before the first.
    """

    hidden: tuple[Tensor, ...] = ()

    def hidden_for(self, like: Tensor) -> tuple[Tensor, ...]:
        """Return what is kept, or nothing where it is of another batch than `like` [B, ...]: snnTorch does so, too."""
        kept = self.hidden
        fits = kept and (kept[0].shape, kept[0].dtype, kept[0].device) == (like.shape, like.dtype, like.device)
        return kept if fits else ()

    def reset_hidden(self) -> None:
        """Let the next step start at zero, and let go of the graph behind the last."""
        self.hidden = ()

    def __getstate__(self):
        """Leave hidden state out of copies and pickles: it belongs to a batch."""
        return {**self.__dict__, "hidden": ()}
