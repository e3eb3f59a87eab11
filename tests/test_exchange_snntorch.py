"""snnTorch: a network of its neurons, written by hand, takes the weights of ours, and ours takes its."""

import pytest
import snntorch as snn
import torch
from torch import nn

from snn_helpers import SpikingCNN, balance_firing


class HandWritten(nn.Module):
    """SpikingCNN as a user of snnTorch writes it, its layers by the names that ours have."""

    def __init__(self, beta=0.9, threshold=1.0, learn=False):
        super().__init__()

        def layer(weights, norm=None, pool=None, output=False):
            neurons = snn.Leaky(beta, threshold, init_hidden=True, output=output, learn_beta=learn)
            parts = {"weights": weights, "norm": norm, "pool": pool, "neurons": neurons}
            made = nn.Sequential()
            for name, part in parts.items():
                if part is not None:
                    made.add_module(name, part)
            return made

        def conv(before, after):
            weights = nn.Conv2d(before, after, 3, padding=1, bias=False)
            return layer(weights, nn.BatchNorm2d(after), nn.MaxPool2d(2))

        self.conv1, self.conv2, self.conv3 = conv(2, 32), conv(32, 64), conv(64, 128)
        self.hidden = layer(nn.Linear(128 * 4 * 4, 256, bias=False), nn.BatchNorm1d(256))
        self.output = layer(nn.Linear(256, 10), output=True)

    def forward(self, frames):
        for module in self.modules():
            if isinstance(module, snn.Leaky):
                module.reset_hidden()
        steps = [
            self.output(self.hidden(self.conv3(self.conv2(self.conv1(frame))).flatten(1))) for frame in frames.float()
        ]
        return torch.stack([spk for spk, _ in steps])


def counts(steps=6, batch=2):
    return torch.poisson(torch.full((steps, batch, 2, 34, 34), 0.4), torch.Generator().manual_seed(1)).to(torch.uint8)


@pytest.mark.parametrize("engine", ["snntorch", "auto"])
def test_hand_written_network_takes_our_weights_and_fires_the_same(engine):
    torch.manual_seed(0)
    ours, theirs, frames = SpikingCNN(engine=engine), HandWritten().eval(), counts()
    balance_firing(ours, frames, 0.1)
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[-2] for name in missing} == {"neurons"}  # numbers that they keep beside the weights
    with torch.no_grad():
        expected, spk_rec = theirs(frames), ours.eval()(frames).spk_rec
    assert expected.any()
    if engine == "snntorch":
        assert torch.equal(spk_rec, expected)
    assert (spk_rec != expected).float().mean() < 1e-2  # sums in another order


def test_weights_and_decays_that_the_hand_written_network_learned_come_back():
    torch.manual_seed(0)
    theirs, frames = HandWritten(beta=0.7, threshold=0.1, learn=True), counts()
    with torch.no_grad():
        theirs.train()(frames)  # statistics
    ours = SpikingCNN(threshold=0.1, engine="snntorch", learn=("beta",)).eval()
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing
    settings = {"threshold", "graded_spikes_factor", "reset_mechanism_val"}
    assert {name.rpartition(".")[2] for name in unexpected} == settings
    with torch.no_grad():
        expected = theirs.eval()(frames)
        assert torch.equal(ours(frames).spk_rec, expected)
    assert expected.any()
