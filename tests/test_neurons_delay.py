"""Delays: one step at a time, all steps at once, in bytes, and in networks that run over time."""

import copy

import pytest
import torch
from torch import nn

from snn_helpers.engine import Spikes
from snn_helpers.exchange.onnx import to_onnx
from snn_helpers.neurons import Delay, Leaky, reset
from snn_helpers.over_time import accelerate

DELAYS = (3, 0, 1)


def trains(steps=6, batch=2, channels=3, *rest, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (steps, batch, channels, *rest), generator=generator).float()


def by_hand(spk, delays):
    """Return the delayed copies, each step and delay written out."""
    zeros = torch.zeros_like(spk[0])
    return torch.stack([torch.cat([spk[t - d] if t >= d else zeros for d in delays], 1) for t in range(len(spk))])


@pytest.mark.parametrize("steps", [1, 2, 6])
@pytest.mark.parametrize("rest", [(), (4, 5)])
def test_steps_all_steps_and_bytes_are_the_copies_by_hand(steps, rest):
    spk, delay = trains(steps, 2, 3, *rest), Delay(DELAYS)
    expected = by_hand(spk, DELAYS)
    assert torch.equal(torch.stack([delay(one) for one in spk]), expected)
    assert torch.equal(delay.over_time(spk), expected)
    assert torch.equal(delay.over_time(Spikes.of(spk)).float(), expected)
    assert len(delay.hidden) == min(steps, 3)


@pytest.mark.parametrize("in_bytes", [False, True])
def test_gradient_goes_to_the_spikes_that_were_delayed(in_bytes):
    spk, up = trains(6, 2, 3, 4, 4), torch.randn(6, 2, 9, 4, 4, generator=torch.Generator().manual_seed(1))
    gradients = []
    for way in ("by hand", "at once"):
        given = spk.clone().requires_grad_()
        if way == "by hand":
            out = by_hand(given, DELAYS)
        else:
            out = Delay(DELAYS).over_time(Spikes.of(given) if in_bytes else given)
            out = out.float() if in_bytes else out
        gradients.append(torch.autograd.grad(out, given, up)[0])
    torch.testing.assert_close(*gradients)


def test_state_is_forgotten_by_reset_by_another_batch_and_by_copies():
    delay, spk = Delay([1]), torch.ones(2, 3)
    assert not delay(spk).any()
    assert delay(spk).all()
    assert not copy.deepcopy(delay)(spk).any()
    assert not delay(spk[:1]).any()
    reset(nn.Sequential(delay))
    assert not delay(spk[:1]).any()
    assert delay.state_dict() == {}


def test_spikes_that_are_changed_in_place_afterwards_are_delayed_as_they_were():
    delay, spk = Delay([1]), torch.ones(2, 3)
    delay(spk)
    spk.zero_()
    assert delay(spk).all()


class Net(nn.Module):
    """A delay before neurons, one called twice a step, and one on an input that is the same in every step."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (Leaky(0.8, 0.3, init_hidden=True, output=k == 1) for k in range(2))
        self.weights, self.out = nn.Linear(9, 4), nn.Linear(9, 4)
        self.delay, self.twice, self.still = Delay(DELAYS), Delay([2]), Delay([2])
        self.bias = nn.Parameter(torch.ones(2, 1))

    def forward(self, frame):
        spk = self.first(self.weights(self.delay(frame)))
        spk = torch.cat([spk, self.twice(spk), self.twice(1 - spk)], 1)[:, :9]
        return self.second(self.out(spk) + self.still(self.bias))


@pytest.mark.parametrize("engine", ["auto", "reference", "snntorch"])
def test_networks_with_delays_run_over_time_as_their_loop(engine):
    torch.manual_seed(0)
    net, spk = Net(), trains(8)
    reset(net)
    loop = [torch.stack(part) for part in zip(*[net(frame) for frame in spk])]
    kept = net.delay.hidden
    fast = accelerate(net, engine)
    ours = fast(spk)
    assert loop[0].any()
    assert torch.equal(ours[0], loop[0])
    torch.testing.assert_close(ours[1], loop[1])
    assert net.delay.hidden is kept  # a run over time leaves the state alone
    assert "delays: all steps shifted at once" in fast.explain()
    assert "step by step: a recurrence" in fast.explain()  # the one that is called twice
    gradients = [torch.autograd.grad(out[1].square().mean(), [*net.parameters()]) for out in (loop, ours)]
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("delays", "error", "message"),
    [
        ([], ValueError, "`delays` must be numbers of steps, all different"),
        ([1, 1], ValueError, r"all different, such as \(0, 2, 4\); got \[1, 1\]"),
        ([-1], ValueError, "`delays` must be a whole number >= 0; got -1"),
        ([0.5], TypeError, "`delays` must be a whole number"),
        (3, ValueError, "`delays` must be numbers of steps, all different"),
        (None, ValueError, "`delays` must be numbers of steps, all different"),
        ("0,2", ValueError, "`delays` must be numbers of steps, all different"),
    ],
)
def test_delays_that_are_none_are_refused(delays, error, message):
    with pytest.raises(error, match=message):
        Delay(delays)


def test_formats_without_a_word_for_delays_refuse_them_by_name(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    net = nn.Sequential(Delay([0, 1]), nn.Linear(6, 2), Leaky(init_hidden=True, output=True))
    with pytest.raises(ValueError, match=r"0: delays spikes by steps \(Delay\), for which no format here has a word"):
        to_onnx(net, (3,), tmp_path / "step.onnx")
