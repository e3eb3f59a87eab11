"""The networks give the same spikes and gradients on the event-driven engine as in the loop over snnTorch's neurons."""

import copy
import functools

import numpy as np
import pytest
import snntorch as snn
import torch
import watching
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from snn_helpers.activity import firing_fractions
from snn_helpers.data import load_dataset
from snn_helpers.engine.cpu import generated
from snn_helpers.engine.cpu.runtime import EngineCompileError
from snn_helpers.events.folder import folder_chunks, list_recordings
from snn_helpers.events.frames import FrameSpec, bin_frames
from snn_helpers.models.cnn import SpikingCNN
from snn_helpers.models.firing import balance_firing
from snn_helpers.models.resnet import SpikingResNet
from snn_helpers.models.settings import SKIPS
from snn_helpers.over_time import accelerate, runner

NUM_RECORDINGS, NUM_STEPS, THRESHOLD = 64, 12, 0.1
RESNETS = {skip: functools.partial(SpikingResNet, skip=skip) for skip in SKIPS}
NETWORKS = {"cnn": SpikingCNN, "resnet": RESNETS["sew"]}
every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def pair(norm, state=None, surrogate="fast_sigmoid", make=SpikingCNN):
    """Return the same network on both engines."""
    torch.manual_seed(0)
    loop = make(threshold=THRESHOLD, dropout=0.2, norm=norm, engine="snntorch", surrogate=surrogate)
    fast = make(threshold=THRESHOLD, dropout=0.2, norm=norm, engine="cpu", surrogate=surrogate)
    fast.load_state_dict(loop.state_dict() if state is None else state)
    loop.load_state_dict(fast.state_dict())
    return loop, fast


def watched(model, frames):
    torch.manual_seed(1)  # the same dropout
    return watching.watched(model, frames)[0]


def fractions_of(model, frames):
    with firing_fractions(model) as fractions:
        model(frames)
    return fractions


@functools.cache
def simulated_frames():
    dataset = load_dataset("simulated", split="test")
    indices = np.linspace(0, len(dataset) - 1, NUM_RECORDINGS).astype(int)
    return torch.from_numpy(dataset.frames(indices, NUM_STEPS)), torch.from_numpy(dataset.labels[indices])


def real_frames(folder):
    paths, labels = list_recordings(folder / "Train")
    chosen = np.linspace(0, len(paths) - 1, NUM_RECORDINGS).astype(int)
    (chunk,) = folder_chunks([paths[i] for i in chosen], labels[chosen])
    offsets = np.concatenate([[0], chunk.counts]).cumsum()
    frames = bin_frames(chunk[:4], offsets, np.arange(NUM_RECORDINGS), (34, 34, 2), FrameSpec(NUM_STEPS))
    return torch.from_numpy(frames), torch.from_numpy(labels[chosen])


@pytest.fixture(scope="module", params=["simulated", "real"])
def recordings(request):
    return simulated_frames() if request.param == "simulated" else real_frames(request.getfixturevalue("real_data"))


def train_briefly(model, frames, labels, steps=4):
    optimizer = torch.optim.Adam(model.parameters(), 2e-4)  # small beside weights made for this threshold
    for step in range(steps):
        part = slice(16 * step % NUM_RECORDINGS, 16 * step % NUM_RECORDINGS + 16)
        optimizer.zero_grad()
        F.cross_entropy(model.train()(frames[:, part]).spk_rec.sum(0), labels[part]).backward()
        optimizer.step()
    return model.state_dict()


def thresholds(layer, spk):
    """Return the threshold that each neuron has at each step, [T, B, ...], given its spikes."""
    neurons, adapted, past = layer.neurons, torch.zeros(spk.shape[1:]), []
    for spk_now in spk:
        past.append(neurons.threshold + getattr(neurons, "adaptation", 0.0) * adapted)
        rho = getattr(neurons, "rho", 0.0)
        adapted = rho * adapted + (1.0 - rho) * spk_now
    return torch.stack(past)


def assert_equal_but_at_the_threshold(model, ours, theirs):
    """Hold every layer's first difference to the rule: only where the loop's membrane is within 1e-5 of the threshold.

    What follows from such a difference, later or in deeper layers, is not held against the engine.
    """
    for name, layer in model.spiking_layers().items():
        spk, mem = theirs[name]
        differing = (ours[name][0] != spk).flatten(2).any(2)  # [T, B]
        clean = ~differing.any(0)
        if not clean.all():
            first = differing[:, ~clean].float().argmax(0)
            distance = (mem - thresholds(layer, spk)).abs()
            for t, b in zip(first.tolist(), (~clean).nonzero().flatten().tolist()):
                at = ours[name][0][t, b] != spk[t, b]
                assert (distance[t, b][at] < 1e-5).all(), name
            return
        assert torch.allclose(ours[name][1], mem, atol=1e-5), name


@every_network
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("trained", [False, True], ids=["untrained", "trained"])
def test_engine_fires_the_loops_spikes(recordings, norm, trained, make):
    frames, labels = recordings
    loop, fast = pair(norm, make=make)
    if trained:
        loop, fast = pair(norm, train_briefly(fast, frames, labels), make=make)
    frames = frames[:, ::8]
    for training in (False, True):
        ours, theirs = watched(fast.train(training), frames), watched(loop.train(training), frames)
        assert sum(spk.sum().item() for spk, _ in theirs.values()) > 0
        assert_equal_but_at_the_threshold(loop, ours, theirs)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("skip", SKIPS[1:])
def test_engine_fires_the_loops_spikes_at_other_skips(norm, skip):
    frames, _ = simulated_frames()
    loop, fast = pair(norm, make=RESNETS[skip])
    ours, theirs = watched(fast, frames[:, :8]), watched(loop, frames[:, :8])
    assert theirs["block2.outer"][0].any()
    assert_equal_but_at_the_threshold(loop, ours, theirs)


@functools.cache
def lively_without_skips(norm):
    _, fast = pair(norm, make=RESNETS["none"])
    balance_firing(fast, simulated_frames()[0][:, :8], 0.1)
    return fast.state_dict()


@pytest.mark.parametrize("make", [SpikingCNN, *RESNETS.values()], ids=["cnn", *RESNETS])
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("surrogate", ["fast_sigmoid", "compact"])
def test_engine_has_the_loops_gradients_and_statistics(norm, surrogate, make):
    all_frames, all_labels = simulated_frames()
    limit = 1e-5 if norm == "none" else 1e-4
    gaps, state = [], None
    if make is RESNETS["none"]:  # layers that are silent, as they may be without a skip, have no gradients to compare
        state = lively_without_skips(norm)
    loop, fast = (model.train() for model in pair(norm, state, surrogate=surrogate, make=make))
    state = copy.deepcopy(loop.state_dict())
    for start in range(0, NUM_RECORDINGS, 2):
        # A spike that only one fires, its membrane at the threshold, changes gradients: take batches without. So does a
        # pool window whose largest currents are within rounding of each other, which no output tells: of the batches
        # with equal spikes it spares most, and no gradient may be far off.
        frames, labels = all_frames[:, start : start + 2], all_labels[start : start + 2]
        ours, theirs = watched(fast, frames), watched(loop, frames)
        loop.load_state_dict(state)
        fast.load_state_dict(state)
        if not all(torch.equal(ours[name][0], theirs[name][0]) for name in theirs):
            continue
        for model in (loop, fast):
            model.zero_grad()
            torch.manual_seed(1)  # the same dropout
            F.cross_entropy(model(frames).spk_rec.sum(0), labels).backward()
        for (name, theirs), (_, ours) in zip(loop.named_buffers(), fast.named_buffers()):
            assert torch.allclose(ours.double(), theirs.double(), rtol=1e-4, atol=1e-6), name
        pairs = [(ours.grad, theirs.grad) for theirs, ours in zip(loop.parameters(), fast.parameters())]
        assert all(not ours.any() for ours, theirs in pairs if not theirs.any())
        if all(
            theirs.any() for _, theirs in pairs
        ):  # layers may be silent without a skip: no gradient, and no ratio of two
            gaps.append(max(float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs))
        if len(gaps) == 3:
            break
    assert len(gaps) == 3
    assert sorted(gaps)[1] <= limit, gaps
    assert max(gaps) <= 100 * limit, gaps


@pytest.mark.parametrize("engine", ["cpu", "snntorch"])
def test_fractions_are_the_layers_means_and_carry_gradients(engine):
    frames, _ = simulated_frames()
    model = pair("batch")[engine == "cpu"].eval()
    fractions = fractions_of(model, frames[:, :4])
    means = {name: spk.float().mean().item() for name, (spk, _) in watched(model, frames[:, :4]).items()}
    assert {name: value.item() for name, value in fractions.items()} == pytest.approx(means, abs=1e-6)
    fractions["conv1"].backward()
    assert model.conv1.weights.weight.grad.abs().sum() > 0


def test_penalty_pulls_on_both_engines_alike():
    frames, _ = simulated_frames()
    gradients = []
    for model in pair("batch"):
        sum(fractions_of(model.eval(), frames[:, :4]).values()).backward()
        gradients.append(model.conv2.weights.weight.grad)
    assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[0].norm()


@pytest.mark.parametrize("engine", ["cpu", "snntorch"])
def test_penalty_leaves_silent_neurons_alone(engine):
    """Else it would push them ever further from their threshold, where no gradient of the loss finds them."""
    frames, _ = simulated_frames()
    model = pair("none")[engine == "cpu"].eval()
    with torch.no_grad():
        model.conv1.weights.bias[:16] = -2 * THRESHOLD  # these channels stay silent, though not far from the threshold
    spikes = watched(model, frames[:, :4])
    fractions_of(model, frames[:, :4])["conv1"].backward()
    silent = spikes["conv1"][0].flatten(3).sum((0, 1, 3)) == 0
    assert 0 < silent.sum() < 32
    assert not model.conv1.weights.bias.grad[silent].any()
    assert model.conv1.weights.bias.grad[~silent].all()


def test_frames_that_are_no_counts_give_the_loops_answer():
    loop, fast = (model.eval() for model in pair("none"))
    frames = torch.rand(8, 2, 2, 34, 34, generator=torch.Generator().manual_seed(0)) * 3
    assert loop(frames).spk_rec.any()
    assert torch.equal(fast(frames).spk_rec, loop(frames).spk_rec)
    with pytest.raises(ValueError, match="`frames` contains NaN"):
        fast(torch.full((2, 1, 2, 34, 34), float("nan")))


def test_gradient_of_frames_is_the_loops():
    gradients = []
    for model in pair("none"):
        frames = torch.full((3, 1, 2, 34, 34), 0.2, requires_grad=True)
        model.eval()(frames).mem_rec.sum().backward()
        gradients.append(frames.grad)
    assert gradients[0].any()
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-6 * float(gradients[0].abs().max()))


@pytest.mark.parametrize("norm", ["batch", "none"])
@every_network
def test_activation_checkpointing_gives_the_same_gradients(make, norm):
    torch.manual_seed(0)
    model = make(threshold=THRESHOLD, norm=norm, engine="cpu").train()
    frames = torch.poisson(torch.full((4, 2, 2, 34, 34), 0.2))
    balance_firing(model, frames, 0.1)
    frames, found = frames.requires_grad_(), []
    for kept in (True, False):
        torch.manual_seed(1)  # the same dropout
        output = model(frames) if kept else checkpoint(model, frames, use_reentrant=False)
        found.append(torch.autograd.grad(output[1].square().mean(), [frames, *model.parameters()], allow_unused=True))
    for one, other in zip(*found, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert any(one.any() for one in found[0] if one is not None)


def test_trials_before_a_first_call_are_no_part_of_activation_checkpointing(monkeypatch):
    monkeypatch.setattr(runner, "_ready", functools.cache(runner._ready.__wrapped__))
    monkeypatch.setattr(generated, "_MADE", {})
    net = nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.8125, threshold=0.3, init_hidden=True, output=True))
    checkpoint(accelerate(net), torch.rand(5, 3, 6), use_reentrant=False)[1].sum().backward()
    assert net[0].weight.grad.any()


def test_failed_compilation_falls_back_to_the_loop_with_one_warning(monkeypatch):
    def fail(device):
        raise EngineCompileError("no compiler here")

    monkeypatch.setattr(runner, "_ready", fail)
    frames, _ = simulated_frames()
    loop, fast = pair("none")
    with pytest.warns(UserWarning, match="takes over, which is slower: no compiler here"):
        answer = fast.eval()(frames[:, :2])
    assert fast.engine == "snntorch"
    assert torch.equal(fast(frames[:, :2]).spk_rec, answer.spk_rec)
    assert torch.equal(loop.eval()(frames[:, :2]).spk_rec, answer.spk_rec)


@every_network
def test_weights_load_across_engines_and_hold_no_state(make):
    loop, fast = pair("batch", make=make)
    assert list(loop.state_dict()) == list(fast.state_dict())
    assert not [name for name in fast.state_dict() if "mem" in name or "spk" in name]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_first_call_may_be_without_gradients(mode):
    runner._ready.cache_clear()
    with mode():
        pair("none")[1].eval()(torch.ones(2, 1, 2, 34, 34, dtype=torch.uint8))
