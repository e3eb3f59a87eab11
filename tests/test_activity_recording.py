"""What `record` keeps is what a hand-written loop keeps, for our networks and for anything of snnTorch's neurons."""

import copy
import gc
import weakref

import numpy as np
import pytest
import snntorch
import torch
from torch import nn
from watching import watched

from snn_helpers import ALIF, Leaky, SpikingCNN, SpikingResNet, Synaptic, record
from snn_helpers.activity import firing_fractions
from snn_helpers.neurons import reset
from snn_helpers.neurons.alif import SNNTorchALIF


def frames_of(num_steps=4, batch=3, seed=0):
    return torch.randint(0, 3, (num_steps, batch, 2, 34, 34), generator=torch.Generator().manual_seed(seed)).byte()


class Loop(nn.Module):
    """An snnTorch network as the tutorials write it, its neurons two levels down."""

    def __init__(self, neuron=None):
        super().__init__()
        self.block = nn.ModuleDict({"lin": nn.Linear(6, 5), "lif": neuron or snntorch.Leaky(0.8)})
        self.out = nn.ModuleDict({"lin": nn.Linear(5, 3), "lif": snntorch.Leaky(0.9)})

    def forward(self, x):
        hidden, mem = None, None
        spikes, mems = [], []
        for x_now in x:
            cur = self.block["lin"](x_now)
            spk, *hidden = self.block["lif"](cur, *(hidden or ()))
            spk, mem = self.out["lif"](self.out["lin"](spk), mem)
            spikes.append(spk)
            mems.append(mem)
        return torch.stack(spikes), torch.stack(mems)


@pytest.fixture
def loop_input():
    return 5 * torch.rand(7, 4, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("engine", ["cpu", "snntorch"])
@pytest.mark.parametrize("network", [SpikingCNN, SpikingResNet])
def test_recording_equals_what_the_network_hands_out(network, engine):
    torch.manual_seed(0)
    model, frames = network(engine=engine).eval(), frames_of()
    expected, out = watched(model, frames)
    recording = record(model, frames)
    assert list(recording) == list(model.spiking_layers())
    for name, (spk, mem) in expected.items():
        assert np.array_equal(recording.spk[name], spk.numpy())
        assert np.array_equal(recording.mem[name], mem.numpy())
    assert torch.equal(recording.output.spk_rec, out.spk_rec)
    assert np.array_equal(recording.spk["output"], out.spk_rec.numpy())
    assert np.array_equal(recording["output"].mem, out.mem_rec.numpy())
    assert any(spk.any() for spk in recording.spk.values())


@pytest.mark.parametrize(
    "neuron",
    [
        snntorch.Leaky(0.8),
        snntorch.Synaptic(0.7, 0.8),
        snntorch.RLeaky(0.8, linear_features=5),
        SNNTorchALIF(*map(torch.tensor, (0.8, 1.0, 0.9, 0.5)), spike_grad=snntorch.surrogate.fast_sigmoid()),
    ],
    ids=lambda neuron: type(neuron).__name__,
)
def test_snntorch_network_equals_a_loop_by_hand(neuron, loop_input):
    torch.manual_seed(0)
    model = Loop()
    model.block["lif"] = neuron
    if isinstance(neuron, snntorch.RLeaky):
        spk, mem = neuron.init_rleaky()
        model.forward = lambda x: by_hand(model, x, [spk, mem])
        state = [spk, mem]
    else:
        state = []
    with torch.no_grad():
        # On a copy: snnTorch's neurons keep their last state, and start from it where they are handed None.
        spikes, mems, out = by_hand(copy.deepcopy(model), loop_input, state)
    recording = record(model, loop_input)
    assert np.array_equal(recording.spk["block.lif"], spikes)
    assert np.array_equal(recording.mem["block.lif"], mems)
    assert np.array_equal(recording.spk["out.lif"], out[0].numpy())
    assert recording.spk["block.lif"].shape == (7, 4, 5)
    assert spikes.any()


def by_hand(model, x, state):
    spikes, mems, outs, mem_out = [], [], [], None
    for x_now in x:
        neuron = model.block["lif"]
        spk, *state = neuron(model.block["lin"](x_now), *state)
        spikes.append(spk)
        mems.append(state[0] if isinstance(neuron, SNNTorchALIF) else state[-1])
        spk_out, mem_out = model.out["lif"](model.out["lin"](spk), mem_out)
        outs.append((spk_out, mem_out))
    stacked = tuple(torch.stack(part) for part in zip(*outs))
    return torch.stack(spikes).detach().numpy(), torch.stack(mems).detach().numpy(), stacked


def record_steps(model, frames):
    reset(model)
    with record(model) as recording, torch.no_grad():
        for frame in frames:
            model(frame)
    return recording


def test_model_of_one_step_is_looped_over_from_a_fresh_state(loop_input):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), snntorch.Leaky(0.8, init_hidden=True))
    lif = snntorch.Leaky(0.8)
    mem, expected = None, []
    with torch.no_grad():
        for x_now in loop_input:
            spk, mem = lif(model[0](x_now), mem)
            expected.append((spk, mem))
    spk, mem = (torch.stack(part).numpy() for part in zip(*expected))
    for _ in range(2):  # the second time, nothing of the first is left in the state
        recording = record_steps(model, loop_input)
        assert np.array_equal(recording.spk["1"], spk)
        assert np.array_equal(recording.mem["1"], mem)
    assert spk.any()
    model[1].reset_mem()
    with record(model) as recording, torch.no_grad():
        for x_now in loop_input:
            model(x_now)
    assert np.array_equal(recording.mem["1"], mem)


@pytest.mark.parametrize("kind", [Leaky, Synaptic, ALIF])
def test_our_neurons_are_heard_over_time_and_as_a_step(kind, loop_input):
    neurons, step = kind(threshold=0.5), kind(threshold=0.5, init_hidden=True)
    with torch.no_grad():
        spk, mem = neurons(loop_input)
    recordings = (record(neurons, loop_input), record(step, loop_input), record_steps(step, loop_input))
    for recording in recordings:
        (name,) = recording
        assert np.array_equal(recording.spk[name], spk.numpy())
        assert np.allclose(recording.mem[name], mem.numpy(), atol=1e-5)
    assert spk.any()


def test_batches_are_joined_and_several_networks_told_apart():
    torch.manual_seed(0)
    pair = nn.ModuleDict({"first": SpikingCNN(), "second": SpikingCNN()}).eval()
    frames = frames_of(batch=5)
    with record(pair["first"]) as joined, torch.no_grad():
        pair["first"](frames[:, :2])
        pair["first"](frames[:, 2:])
    whole = record(pair["first"], frames)
    assert np.array_equal(joined.spk["conv2"], whole.spk["conv2"])
    with record(pair, layers=["second.hidden"]) as one, torch.no_grad():
        pair["first"](frames)
        pair["second"](frames)
    assert list(one) == ["second.hidden"]
    assert np.array_equal(one.spk["second.hidden"], record(pair["second"], frames).spk["hidden"])


def test_neurons_left_out_are_the_same_in_spikes_and_membranes():
    model, frames = SpikingCNN().eval(), frames_of()
    few, whole = record(model, frames, max_neurons=7), record(model, frames)
    for name in whole:
        kept = few[name].neurons
        if name == "conv1":
            assert few.spk[name].shape == (4, 3, 7)
            assert np.array_equal(few.spk[name], whole.spk[name].reshape(4, 3, -1)[..., kept])
            assert np.array_equal(few.mem[name], whole.mem[name].reshape(4, 3, -1)[..., kept])
    assert whole["output"].neurons is None
    assert record(model, frames, max_neurons=10)["output"].neurons is None


def test_recording_carries_no_gradient_and_outlives_the_next_pass():
    model, frames = SpikingCNN().eval(), frames_of()
    with record(model) as recording:  # gradients on, as in training
        out = model(frames)
    assert out.spk_rec.requires_grad
    assert not recording.output.spk_rec.requires_grad
    before = {name: mem.copy() for name, mem in recording.mem.items()}
    record(model, frames_of(seed=5))
    assert all(np.array_equal(before[name], mem) for name, mem in recording.mem.items())
    assert all(isinstance(part, np.ndarray) for layer in recording.values() for part in (layer.spk, layer.mem))


def test_mode_and_statistics_stay_as_they_are():
    model = SpikingCNN().train()
    model.hidden.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record(model, frames_of())
    assert model.training
    assert not model.hidden.norm.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("make", [lambda: SpikingCNN().eval(), Loop, lambda: nn.Sequential(Leaky())])
def test_nothing_stays_on_the_model_after_an_error(make):
    model = make()
    with pytest.raises(RuntimeError, match="stop"), record(model):
        raise RuntimeError("stop")
    with pytest.raises((ValueError, RuntimeError, TypeError, AttributeError)):
        record(model, "no frames")
    for module in model.modules():
        assert not [*module._forward_hooks, *module._forward_pre_hooks]


def test_recorded_model_can_be_freed():
    model = SpikingCNN().eval()
    recording = record(model, frames_of(2, 1), layers=["output"], what="spk")
    gone = weakref.ref(model)
    recording._model = None
    del model
    gc.collect()
    assert gone() is None


def test_fractions_and_a_recording_may_listen_together():
    model, frames = SpikingCNN().eval(), frames_of()
    with record(model, layers=["hidden"], what=["spk"]) as recording, firing_fractions(model) as fractions:
        model(frames)
    assert list(fractions) == list(model.spiking_layers())
    assert recording.mem == {}
    assert fractions["hidden"].item() == pytest.approx(recording.spk["hidden"].mean())


def test_graded_spikes_are_kept_as_they_are():
    class Graded(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif = snntorch.Leaky(0.5, graded_spikes_factor=0.5)

        def forward(self, x):
            mem = None
            for x_now in x:
                spk, mem = self.lif(x_now, mem)
            return spk

    spk = record(Graded(), torch.full((2, 1, 3), 4.0)).spk["lif"]
    assert spk.dtype == np.float32
    assert set(spk.ravel()) == {0.5}


def test_unknown_layer_lists_the_names():
    with pytest.raises(ValueError, match=r"'conv1', 'conv2', .*got 'conv9'"):
        record(SpikingCNN(), frames_of(), layers=["conv9"])


def test_model_without_spiking_layers_is_refused():
    with pytest.raises(ValueError, match="Sequential has no spiking layer"):
        record(nn.Sequential(nn.Linear(2, 2)), torch.zeros(1, 1, 2))


def test_nothing_recorded_is_refused():
    with pytest.raises(ValueError, match="nothing was recorded"), record(SpikingCNN()):
        pass
    with pytest.raises(ValueError, match="ask for 'spk'"):
        record(SpikingCNN(), what=())
    with pytest.raises(ValueError, match="'spk', 'mem'; got 'men'"):
        record(SpikingCNN(), what=("men",))


def test_too_much_memory_says_how_much_and_what_to_reduce():
    with pytest.raises(
        MemoryError, match=r"more than \d MB .* 1 MB are allowed\. Record fewer recordings .*max_neurons"
    ):
        record(SpikingCNN(), frames_of(4, 8), max_megabytes=1)
    assert record(SpikingCNN(), frames_of(4, 8), max_neurons=50, max_megabytes=1).spk["conv1"].shape == (4, 8, 50)


def test_batches_of_unlike_length_are_refused():
    recording = record(SpikingCNN().eval())
    recording.__enter__()
    with torch.no_grad():
        recording._model(frames_of(3))
        recording._model(frames_of(4))
    with pytest.raises(ValueError, match="different numbers of steps"):
        recording.__exit__(None, None, None)


def test_unknown_name_in_a_recording_lists_what_there_is():
    recording = record(SpikingCNN(), frames_of(2, 1), layers=["output"])
    with pytest.raises(KeyError, match="recorded: output"):
        recording["hidden"]
    assert repr(recording) == "Recording(output [2, 1, 10])"
    assert np.array_equal(recording["output"]["spk"], recording.spk["output"])
