"""Generated networks over time equal their loops: layers, neurons, resets, parameters, skips, both forms."""

import copy
import warnings

import pytest
import snntorch as snn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch import surrogate
from torch import nn

from snn_helpers.neurons import ALIF, Leaky, Synaptic, reset
from snn_helpers.over_time import accelerate


@pytest.fixture(autouse=True)
def leave_no_snntorch_neuron():
    yield
    snn.SpikingNeuron.instances.clear()


SURROGATES = {
    "default": None,
    "atan": surrogate.atan(alpha=3.0),
    "fast_sigmoid": surrogate.fast_sigmoid(slope=10),
    "sigmoid": surrogate.sigmoid(slope=5),
    "straight_through": surrogate.straight_through_estimator(),
    "triangular": surrogate.triangular(),
    "own": lambda v: surrogate.ATan.apply(v, 1.5),
}
OURS = {"leaky": Leaky, "synaptic": Synaptic, "alif": ALIF}
THEIRS = ("Leaky", "Synaptic", "Lapicque", "Alpha", "RLeaky", "RSynaptic")


@st.composite
def neurons(draw, features, hidden):
    """Draw a layer of neurons for currents of `features` (channels, or neurons); its state inside or handed on."""
    kind = draw(st.sampled_from((*THEIRS, *OURS) if hidden else THEIRS))
    if kind in OURS:
        return OURS[kind](init_hidden=True, surrogate=draw(st.sampled_from(["fast_sigmoid", "atan"])))
    image = isinstance(features, tuple)
    options = {
        "threshold": draw(st.sampled_from([0.5, 1.0])),
        "spike_grad": SURROGATES[draw(st.sampled_from(sorted(SURROGATES)))],
        "reset_mechanism": draw(st.sampled_from(["subtract", "zero", "none"])),
        "init_hidden": hidden,
        "learn_threshold": draw(st.booleans()),
        "learn_beta": kind not in ("Alpha", "Lapicque") and draw(st.booleans()),  # cannot be copied then
    }
    beta = draw(st.sampled_from([0.5, 0.9]))
    size = (features[0], 1, 1) if image else (features,)
    if draw(st.booleans()) and kind in ("Leaky", "Synaptic"):
        beta = torch.linspace(0.3, 0.95, size[0]).view(size)
    if kind in ("Leaky", "Synaptic"):
        options["reset_delay"] = draw(st.booleans())
        options["inhibition"] = not image and draw(st.integers(0, 4)) == 0
    if kind == "Leaky":
        options["graded_spikes_factor"] = draw(st.sampled_from([1.0, 1.0, 0.5]))
    if kind in ("RLeaky", "RSynaptic"):
        ways = [{"all_to_all": False, "V": 0.5}]
        ways.append({"conv2d_channels": features[0], "kernel_size": 3} if image else {"linear_features": features})
        options |= draw(st.sampled_from(ways))
    if kind in ("Synaptic", "Alpha", "RSynaptic"):
        options["alpha"] = 0.95 if kind == "Alpha" else 0.8
        beta = 0.6 if kind == "Alpha" else beta
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(snn, kind)(beta=beta, **options)


class Drawn(nn.Module):
    """Layers with neurons after each, a skip around the second convolution, and a loop inside or outside."""

    def __init__(self, draw, hidden):
        super().__init__()
        channels, padding = draw(st.sampled_from([3, 4])), draw(st.integers(0, 1))
        options = {"padding": padding, "stride": draw(st.integers(1, 2)), "padding_mode": draw(st.sampled_from(MODES))}
        self.conv1 = nn.Conv2d(2, channels, draw(st.sampled_from([1, 3])), **options)
        self.pool = draw(st.sampled_from([nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Identity(), nn.BatchNorm2d(channels)]))
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip, self.hidden = draw(st.sampled_from([None, "currents", "spikes", "cat"])), hidden
        self.neurons1, self.neurons2 = (draw(neurons((channels,), hidden)) for _ in range(2))
        features = self.join(*[self.pool(self.conv1(torch.zeros(2, 2, 8, 8)))] * 2).flatten(1).shape[1]
        self.drop = nn.Dropout(draw(st.sampled_from([0.0, 0.3])))
        self.fc = nn.Linear(features, 4)
        self.neurons3 = draw(neurons(4, hidden))
        with torch.no_grad():
            for module in (self.conv1, self.conv2, self.fc):
                module.weight *= 3

    def join(self, spk, before):
        return torch.cat([spk, before], 1) if self.skip == "cat" else spk + before if self.skip == "spikes" else spk

    def one_step(self, x, run):
        spk1 = run("neurons1", self.pool(self.conv1(x)))
        cur = self.conv2(spk1)
        spk2 = run("neurons2", cur + spk1 if self.skip == "currents" else cur)
        return run("neurons3", self.fc(self.drop(self.join(spk2, spk1).flatten(1))))

    def forward(self, x):
        if self.hidden:
            return self.one_step(x, lambda name, cur: getattr(self, name)(cur))
        states = {name: getattr(self, name).reset_mem() for name in ("neurons1", "neurons2", "neurons3")}
        spk_rec, mem_rec = [], []

        def run(name, cur):
            state = states[name] if isinstance(states[name], tuple) else (states[name],)
            spk, *new = getattr(self, name)(cur, *state)
            states[name] = (spk, *new) if name_of(self, name).startswith("R") else tuple(new)
            return spk

        for frame in x:
            spk_rec.append(self.one_step(frame, run))
            mem_rec.append(states["neurons3"][-1])
        return torch.stack(spk_rec), torch.stack(mem_rec)


MODES = ["zeros", "circular", "replicate"]


def name_of(net, name):
    return type(getattr(net, name)).__name__


def run_loop(net, frames):
    reset(net)
    return torch.stack([net(frame) for frame in frames]) if net.hidden else net(frames)


@settings(max_examples=40)
@given(st.data(), st.booleans(), st.booleans(), st.integers(0, 2**16))
def test_generated_network_equals_its_loop(data, hidden, training, seed):
    torch.manual_seed(seed)
    net = Drawn(data.draw, hidden).train(training)
    frames = (torch.rand(4, 2, 2, 8, 8) < 0.3).float()
    reset(net)
    twin = copy.deepcopy(net)
    torch.manual_seed(seed)
    try:
        expected = run_loop(twin, frames)
    except (UnboundLocalError, RuntimeError):  # snnTorch cannot run these neurons at all
        return
    torch.manual_seed(seed)
    got = accelerate(net)(frames)
    first, second = (part if isinstance(part, tuple) else (part,) for part in (got, expected))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, equal_nan=True)
    for outputs in (first, second):
        loss = sum((part * torch.linspace(-1, 1, part.numel()).view_as(part)).sum() for part in outputs)
        if loss.requires_grad:
            loss.backward()
    pairs = [(p.grad, q.grad) for p, q in zip(net.parameters(), twin.parameters())]
    largest = max((float(q.nan_to_num().abs().max()) for _, q in pairs if q is not None), default=0.0)
    for ours, theirs in pairs:
        if theirs is not None or ours is not None:
            ours = torch.zeros_like(theirs) if ours is None else ours
            theirs = torch.zeros_like(ours) if theirs is None else theirs
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * largest + 1e-9, equal_nan=True)
