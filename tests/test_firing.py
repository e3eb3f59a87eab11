"""Every layer of an untrained network can be made to fire at a chosen share of steps."""

import copy

import pytest
import snntorch
import torch

from snn_helpers.activity import firing_fractions
from snn_helpers.models.cnn import SpikingCNN
from snn_helpers.models.firing import balance_firing
from snn_helpers.models.resnet import SpikingResNet


@pytest.fixture(scope="module")
def events():
    """Return sparse event counts, uint8 [T = 12, B = 8, 2, 34, 34]."""
    return torch.poisson(torch.full((12, 8, 2, 34, 34), 0.08), torch.Generator().manual_seed(0)).to(torch.uint8)


def measured(model, frames, training):
    patient = copy.deepcopy(model).train(training)
    with torch.no_grad(), firing_fractions(patient) as fractions:
        patient(frames)
    return {name: float(value) for name, value in fractions.items()}


@pytest.mark.parametrize("make", [SpikingCNN, SpikingResNet])
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize(
    ("num_steps", "beta", "threshold", "share"),
    [(12, 0.9, 1.0, 0.08), (12, 0.0, 0.1, 0.02), (6, 1.0, 20.0, 0.2), (1, 0.5, 1.0, 0.1)],
)
def test_every_layer_fires_at_the_share_asked_for(events, make, norm, num_steps, beta, threshold, share):
    torch.manual_seed(0)
    model = make(beta=beta, threshold=threshold, dropout=0.0, norm=norm)
    told = balance_firing(model, events[:num_steps], share)
    assert list(told) == list(model.spiking_layers())
    for name, value in told.items():
        # The few neurons and recordings of the last layers fire in coarse steps.
        assert value == pytest.approx(share, rel=0.3 if name in ("hidden", "output") else 0.05), name
    assert measured(model, events[:num_steps], training=True) == pytest.approx(told, abs=1e-3)
    # In eval the variance kept is the unbiased one: of few recordings and steps it is a larger one.
    assert measured(model, events[:num_steps], training=False) == pytest.approx(told, abs=0.5 * share)


def test_result_depends_on_weights_and_frames_only(events):
    torch.manual_seed(0)
    first = SpikingCNN()
    second = copy.deepcopy(first)
    balance_firing(first, events, 0.1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    balance_firing(second, events, 0.1)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_threshold_may_be_a_whole_number():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(20, 30), snntorch.Leaky(beta=0.9, threshold=3, init_hidden=True))
    frames = torch.poisson(torch.full((12, 8, 20), 0.5))
    assert balance_firing(net, frames, 0.1) == pytest.approx({"1": 0.1}, rel=0.1)


def test_engines_balance_alike(events):
    torch.manual_seed(0)
    loop, fast = SpikingResNet(engine="snntorch"), SpikingResNet(engine="cpu")
    fast.load_state_dict(loop.state_dict())
    told = balance_firing(loop, events[:2], 0.1)
    assert balance_firing(fast, events[:2], 0.1) == pytest.approx(told, rel=0.05)


def test_network_without_input_is_left_finite_and_its_mode_as_it_was():
    model = SpikingCNN(norm="none").eval()
    told = balance_firing(model, torch.zeros(3, 2, 2, 34, 34, dtype=torch.uint8))
    assert told["conv1"] == 0.0
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert not model.training
    assert SpikingCNN().conv1.norm.momentum == 0.1


@pytest.mark.parametrize("share", [0, -0.1, 0.6])
def test_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=r"`share` must be a number in \(0, 0.5\]"):
        balance_firing(SpikingCNN(), torch.zeros(1, 1, 2, 34, 34, dtype=torch.uint8), share)


def test_each_layer_may_have_its_own_share(events):
    torch.manual_seed(0)
    shares = {"conv1": 0.05, "conv2": 0.01, "conv3": 0.2, "hidden": 0.1, "output": 0.3}
    assert balance_firing(SpikingCNN(), events, shares) == pytest.approx(shares, rel=0.3)
    with pytest.raises(ValueError, match=r"`share` must name the layers conv1, conv2, .*; got conv1\."):
        balance_firing(SpikingCNN(), events, {"conv1": 0.1})
