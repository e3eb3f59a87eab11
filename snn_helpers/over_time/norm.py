"""Batch normalisation over time and batch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class NormOverTime(_BatchNorm):
    """Batch normalisation whose statistics are pooled over all time steps and recordings.

    A network with it is no longer a loop over steps in training: a layer's normalisation needs all steps of the layer
    before it. It therefore runs layer by layer, through `accelerate`. In eval mode it is an affine map of each step.

    Parameters
    ----------
    num_features : int
        Channels C of currents [B, C, ...].
    eps, momentum, affine, track_running_stats
        As for `torch.nn.BatchNorm2d`.

    Raises
    ------
    RuntimeError
        In training, if it is called one step at a time.
    """

    def _check_input_dim(self, cur: Tensor) -> None:
        if cur.dim() < 2 or cur.shape[1] != self.num_features:
            raise ValueError(f"`cur` must be [B, {self.num_features}, ...]; got {tuple(cur.shape)}.")

    def forward(self, cur: Tensor) -> Tensor:
        """Normalise the currents of one step [B, C, ...] by the running statistics."""
        if self.training or self.running_mean is None:
            raise RuntimeError(
                "NormOverTime pools its statistics over all time steps, and was called with one. Run the network over "
                "time with snn_helpers.accelerate, or use nn.BatchNorm, which sees one step at a time."
            )
        return super().forward(cur)

    def over_time(self, cur: Tensor) -> Tensor:
        """Normalise the currents of all steps [T, B, C, ...]: in training, of more than one value a channel."""
        if self.training and cur.numel() == cur.shape[2]:
            raise ValueError(
                "normalisation over time and batch needs more than one value a channel in training; this is one step "
                "of one recording. Give more steps or recordings, call `eval()`, or build the network with norm='none'."
            )
        return nn.modules.batchnorm._BatchNorm.forward(self, cur.flatten(0, 1)).unflatten(0, cur.shape[:2])
