"""Events that live in a GPU's memory, binned there: the frames of `events.frames.bin_frames`, bit for bit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BLOCK = 1024  # events a program


class DeviceEvents:
    """The events of many recordings on a device.

    Parameters
    ----------
    x, y, t, p : arrays [N]
        All recordings one after the other, each sorted by t (µs); p in 0..P - 1.
    offsets : int64 array [recordings + 1]
        Where each recording begins.
    sensor_size : (W, H, P)
        The frames' last three axes, reversed.
    device : torch.device or str
        Where they are kept.
    """

    def __init__(self, x, y, t, p, offsets, sensor_size: tuple[int, int, int], device: torch.device | str):
        offsets = np.array(offsets, dtype=np.int64)
        sizes = np.diff(offsets)
        if len(t) == 0:
            raise ValueError("there must be at least one event; got none.")
        t = np.asarray(t).astype(np.int64)  # from each recording's first event on, so that four bytes hold it
        t -= np.repeat(t[np.minimum(offsets[:-1], len(t) - 1)], sizes)
        place = np.uint8 if max(sensor_size[:2]) <= 256 else np.int16
        kinds = {"x": place, "y": place, "t": np.int32 if t.max() < 2**31 else np.int64, "p": np.uint8}
        arrays = {"x": x, "y": y, "t": t, "p": p}
        self.columns = [torch.from_numpy(np.array(arrays[name], kind)).to(device) for name, kind in kinds.items()]
        self.offsets, self.sensor_size = torch.from_numpy(offsets).to(device), tuple(sensor_size)
        self.most = int(sizes.max())  # events in a recording

    @property
    def device(self) -> torch.device:
        """Where the events are."""
        return self.offsets.device

    @staticmethod
    def nbytes(events: int, long: bool = False) -> int:
        """Return the bytes that so many events take on the device; `long`: a recording lasts for 35 minutes or more."""
        return events * (11 if long else 7)

    def frames(
        self,
        indices: Tensor,
        num_steps: int,
        *,
        width_us: int = 0,
        max_shift: int = 0,
        drop: float = 0.0,
        warp: float = 0.0,
        seed: int = 0,
        draws: Tensor | None = None,
    ) -> Tensor:
        """Count events in bins of time, polarity and pixel for a batch of recordings.

        Parameters
        ----------
        indices : int64 Tensor [B]
            Which recordings; on the device.
        num_steps : int
            Frames a recording, T.
        width_us : int
            0: T equal bins that keep every event; -1: tonic's, floored to whole µs; else bins of this length.
        max_shift, drop, warp, seed, draws
            As `Augment` and `bin_frames` of `snn_helpers.events.frames` have them.

        Returns
        -------
        uint8 Tensor [T, B, P, H, W]
            Event counts; a count beyond 255 stays at 255.
        """
        from snn_helpers.engine.cuda import frames_kernel
        from snn_helpers.engine.cuda.launch import launch

        width, height, polarities = self.sensor_size
        batch = indices.numel()
        counts = torch.zeros(num_steps, batch, polarities, height, width, dtype=torch.int32, device=self.device)
        bits = np.array([seed % 2**64, min(int(drop * 2**64), 2**64 - 1)], np.uint64)
        bits = torch.from_numpy(bits.view(np.int64)).to(self.device)  # the kernel takes them for unsigned again
        with torch.cuda.device_of(counts):
            launch(
                frames_kernel.count, (batch, -(-self.most // BLOCK)), *self.columns, self.offsets, indices,
                indices if draws is None else draws, bits[:1],
                torch.tensor([warp], dtype=torch.float64, device=self.device), bits[1:], counts, batch, num_steps,
                width_us, max_shift, W=width, H=height, P=polarities, WARP=warp > 0, DROP=drop > 0,
                SHIFT=max_shift > 0, WIDTH=BLOCK, num_warps=4, enable_fp_fusion=False,
            )  # fmt: skip
        return counts.clamp_(max=255).to(torch.uint8)
