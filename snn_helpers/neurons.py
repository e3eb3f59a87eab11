"""Spiking neurons over time as modules: currents [T, B, ...] in, spikes and membranes [T, B, ...] out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn_helpers._checks import check_float


class Leaky(nn.Module):
    """Leaky integrate-and-fire neurons, run over all time steps of a batch by `snntorch.Leaky`.

    The state starts at zero in every call and does not outlive it, so that no batch can leak into the next.

    Parameters
    ----------
    beta : float in [0, 1]
        Decay of the membrane per step, exp(-dt / tau).
    threshold : float > 0
        A membrane strictly above it fires.
    slope : float > 0
        Steepness k of the surrogate gradient 1 / (1 + k |mem - threshold|)^2.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.

    Notes
    -----
    mem[t] = beta mem[t-1] + cur[t] - threshold spk[t-1]; spk[t] = 1 where mem[t] > threshold. The reset is subtracted
    one step later and is not differentiated. J. K. Eshraghian et al., Proceedings of the IEEE 111 (2023), eq. 4 and 8.
    """

    def __init__(self, beta: float = 0.9, threshold: float = 1.0, slope: float = 25.0):
        super().__init__()
        self.beta = check_float("beta", beta, low=0, high=1)
        self.threshold = check_float("threshold", threshold, low=0, above=True)
        self.slope = check_float("slope", slope, low=0, above=True)

    def forward(self, cur: Tensor) -> tuple[Tensor, Tensor]:
        """Run the neurons over time; `cur`, the spikes and the membranes are [T, B, ...]."""
        neuron = self.snntorch_neuron().to(cur.device)
        mem = torch.zeros_like(cur[0])
        spk_rec, mem_rec = [], []
        for cur_now in cur:
            spk, mem = neuron(cur_now, mem)
            spk_rec.append(spk)
            mem_rec.append(mem)
        return torch.stack(spk_rec), torch.stack(mem_rec)

    def snntorch_neuron(self):
        """Return a new `snntorch.Leaky` with these parameters, to be called one step at a time."""
        import snntorch
        from snntorch import surrogate

        neuron = snntorch.Leaky(self.beta, self.threshold, spike_grad=surrogate.fast_sigmoid(self.slope))
        # snnTorch lists every neuron ever built in this class attribute, which would keep it alive for good.
        snntorch.SpikingNeuron.instances.remove(neuron)
        return neuron

    def extra_repr(self) -> str:
        """Return the parameters, as `print(model)` shows them."""
        return f"beta={self.beta}, threshold={self.threshold}, slope={self.slope}"
