"""SpikingCNN, held against networks written out by hand here."""

import gc
import weakref

import numpy as np
import pytest
import snntorch
import torch
from snntorch import surrogate
from torch.nn import functional as F
from watching import layer_spikes, watched

from snn_helpers.events.digits import mnist_digits
from snn_helpers.events.frames import FrameSpec, bin_frames
from snn_helpers.events.recording import SENSOR_SIZE
from snn_helpers.events.simulate import simulate
from snn_helpers.models.cnn import SpikingCNN
from snn_helpers.over_time import NormOverTime

LAYERS = ("conv1", "conv2", "conv3", "hidden", "output")


@pytest.fixture(scope="module")
def bin_digits():
    """Return a maker of frames of a few simulated digits, uint8 [T, B = 24, 2, 34, 34]."""
    images, _ = mnist_digits()
    chosen = np.arange(0, 4_800, 200)
    made = simulate(images[chosen], chosen)
    events = (made.x, made.y, made.t, made.p)

    def bin_into(num_steps):
        frames = bin_frames(events, made.offsets, np.arange(chosen.size), SENSOR_SIZE, FrameSpec(num_steps))
        return torch.from_numpy(frames)

    return bin_into


@pytest.fixture(scope="module")
def frames(bin_digits):
    """Return frames of a few simulated digits, uint8 [T = 10, B = 24, 2, 34, 34]."""
    return bin_digits(10)


def build(seed=0, **options):
    torch.manual_seed(seed)
    return SpikingCNN(**options)


def lively(seed=0, **options):
    """Return a network in eval mode that fires, and whose sums come out the same in any order.

    Its weights are multiples of 2**-10 and its inputs whole numbers, so that float32 holds every sum exactly, however
    a batch is cut up; else a membrane a rounding error away from the threshold could fire in one order only.
    """
    model = build(seed, **options)
    with torch.no_grad():
        for layer in model.spiking_layers().values():
            weight = layer.weights.weight
            weight.copy_((weight * 1024).round() / 1024)
        for norm in model.modules():
            if isinstance(norm, NormOverTime):
                norm.running_mean.uniform_(-0.1, 0.1)
                norm.running_var.uniform_(0.05, 0.3)
    return model.eval()


def by_hand(model, frames, beta=0.9, threshold=1.0):
    """Run a SpikingCNN without dropout layer by layer over snnTorch's neurons; return spikes and membranes a layer."""
    steps, batch = frames.shape[:2]
    recorded = {}

    def fire(name, cur):
        neuron = snntorch.Leaky(beta, threshold, spike_grad=surrogate.fast_sigmoid(25))
        snntorch.SpikingNeuron.instances.remove(neuron)
        mem, spikes, membranes = torch.zeros_like(cur[0]), [], []
        for step in range(steps):
            spk, mem = neuron(cur[step], mem)
            spikes.append(spk)
            membranes.append(mem)
        recorded[name] = torch.stack(spikes), torch.stack(membranes)
        return recorded[name][0]

    def normalise(cur, layer):
        # Over time and batch together: [T * B, C, ...].
        if model.norm == "none":
            return cur
        norm = layer.norm
        statistics = (None, None) if model.training else (norm.running_mean, norm.running_var)
        return F.batch_norm(cur, *statistics, norm.weight, norm.bias, training=model.training, eps=1e-5)

    spk = frames.to(model.output.weights.weight.dtype)
    for name in LAYERS[:3]:
        layer = model.get_submodule(name)
        conv = layer.weights
        cur = F.conv2d(spk.reshape(steps * batch, *spk.shape[2:]), conv.weight, conv.bias, padding=1)
        cur = F.max_pool2d(normalise(cur, layer), 2)
        spk = fire(name, cur.reshape(steps, batch, *cur.shape[1:]))
    cur = F.linear(spk.reshape(steps * batch, -1), model.hidden.weights.weight, model.hidden.weights.bias)
    spk = fire("hidden", normalise(cur, model.hidden).reshape(steps, batch, -1))
    fire("output", F.linear(spk, model.output.weights.weight, model.output.weights.bias))
    return recorded


def firing(model, frames):
    """Return the share of steps with a spike, a layer."""
    return {name: spk.float().mean().item() for name, spk in layer_spikes(model, frames).items()}


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_cnn_equals_the_network_written_by_hand(frames, norm, training):
    model = lively(norm=norm, dropout=0.0, engine="snntorch").train(training)
    layers, out = watched(model, frames[:, :6])
    expected = by_hand(model, frames[:, :6])
    assert tuple(layers) == LAYERS
    for name in LAYERS:
        assert 0 < expected[name][0].mean() < 1  # a comparison of silent layers would show nothing
        assert torch.equal(layers[name][0], expected[name][0])
        assert torch.equal(layers[name][1], expected[name][1])
    assert torch.equal(out.spk_rec, layers["output"][0])
    assert torch.equal(out.mem_rec, layers["output"][1])


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_gradients_equal_those_of_the_network_written_by_hand(frames, norm):
    model = lively(norm=norm, dropout=0.0, engine="snntorch").train()
    labels = torch.arange(6)

    def gradients(spk_rec):
        return torch.autograd.grad(F.cross_entropy(spk_rec.sum(0), labels), list(model.parameters()))

    ours = gradients(model(frames[:, :6]).spk_rec)
    theirs = gradients(by_hand(model, frames[:, :6])["output"][0])
    for gradient, expected in zip(ours, theirs):
        assert expected.abs().max() > 0
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_output_shapes_and_values(frames):
    out = build()(frames[:3, :4])
    assert out.spk_rec.shape == out.mem_rec.shape == (3, 4, 10)
    assert set(out.spk_rec.unique().tolist()) <= {0.0, 1.0}
    assert out.spk_rec.dtype == out.mem_rec.dtype == torch.float32


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_parameters_number_as_worked_out_by_hand(norm):
    # Weights of the convolutions and of 128 * 4 * 4 -> 256 -> 10, then scale and shift, or one bias, a channel.
    weights = 9 * (2 * 32 + 32 * 64 + 64 * 128) + 2048 * 256 + 256 * 10 + 10
    a_channel = 32 + 64 + 128 + 256
    expected = weights + (2 if norm == "batch" else 1) * a_channel
    assert sum(parameter.numel() for parameter in build(norm=norm).parameters()) == expected


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_cnn_gives_the_same_answer_to_the_same_batch_twice(frames, norm):
    model = lively(norm=norm)
    first, second = model(frames[:, :4]), model(frames[:, :4])
    assert first.spk_rec.any()
    assert torch.equal(first.spk_rec, second.spk_rec)
    assert torch.equal(first.mem_rec, second.mem_rec)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_permuting_the_batch_permutes_the_output(frames, norm):
    model, order = lively(norm=norm), torch.tensor([3, 0, 5, 1, 4, 2])
    straight, permuted = model(frames[:, :6]), model(frames[:, order])
    assert straight.spk_rec.any()
    assert torch.equal(straight.spk_rec[:, order], permuted.spk_rec)
    assert torch.equal(straight.mem_rec[:, order], permuted.mem_rec)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("step", [5, 7, 9])
def test_later_frames_do_not_change_earlier_outputs(frames, norm, step):
    model = lively(norm=norm)
    changed = frames[:, :4].clone()
    changed[step:] = changed[step:].flip(-1) + 1
    before, after = model(frames[:, :4]), model(changed)
    assert torch.equal(before.mem_rec[:step], after.mem_rec[:step])
    assert torch.equal(before.spk_rec[:step], after.spk_rec[:step])
    assert before.mem_rec[:step].any()
    assert (before.mem_rec[step] - after.mem_rec[step]).abs().max() > 1e-3


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_smaller_batch_after_a_larger_one_leaves_no_trace(frames, norm):
    model = lively(norm=norm)
    whole, part = model(frames[:, :5]), model(frames[:, :2])
    assert torch.equal(whole.spk_rec[:, :2], part.spk_rec)
    assert torch.equal(whole.mem_rec[:, :2], part.mem_rec)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize(("num_steps", "batch"), [(1, 1), (1, 3), (4, 1)])
def test_cnn_runs_when_there_is_one_step_or_one_recording(frames, norm, num_steps, batch):
    out = lively(norm=norm)(frames[:num_steps, :batch])
    assert out.spk_rec.shape == (num_steps, batch, 10)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_cnn_leaves_frames_unchanged(frames, norm):
    given = frames[:2, :2].float()
    before = given.clone()
    build(norm=norm)(given)
    assert torch.equal(given, before)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_dropout_acts_in_training_only_and_from_torchs_seed(frames, norm):
    model = lively(norm=norm, dropout=0.6)
    without = lively(norm=norm, dropout=0.0)
    assert torch.equal(model(frames[:, :3]).mem_rec, without(frames[:, :3]).mem_rec)

    def trained(seed):
        torch.manual_seed(seed)
        return model.train()(frames[:, :3]).mem_rec

    first = trained(1)
    assert torch.equal(first, trained(1))
    assert not torch.equal(first, trained(2))
    # The hidden layer is upstream of the dropout, the output is not.
    assert not torch.equal(first, without.train()(frames[:, :3]).mem_rec)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_state_dict_holds_parameters_and_normalisation_statistics_only(frames, norm):
    model = build(norm=norm)
    model(frames[:, :2])
    names = {name for name, _ in model.named_parameters()}
    statistics = {name for name in model.state_dict() if name.endswith(("running_mean", "running_var"))}
    counters = {name for name in model.state_dict() if name.endswith("num_batches_tracked")}
    assert set(model.state_dict()) == names | statistics | counters
    assert bool(statistics) == (norm == "batch")
    assert {value.dim() for name, value in model.state_dict().items() if name in statistics} <= {1}


def test_state_dict_saved_after_one_batch_serves_another_size(frames):
    model = lively()
    model(frames[:, :5])
    other = lively(seed=7)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(frames[:, :3]).spk_rec, model(frames[:, :3]).spk_rec)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_cnn_is_not_kept_alive_by_snntorch(frames, norm):
    listed = len(snntorch.SpikingNeuron.instances)
    model = build(norm=norm)
    model(frames[:2, :2]).spk_rec.sum().backward()
    assert len(snntorch.SpikingNeuron.instances) == listed
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("num_steps", [10, 25])
def test_every_layer_of_the_untrained_network_fires_sparsely(bin_digits, norm, seed, num_steps):
    shares = firing(build(seed, norm=norm), bin_digits(num_steps))
    assert tuple(shares) == LAYERS
    assert min(shares.values()) > 0.02, shares
    assert max(shares.values()) < 0.15, shares


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_untrained_network_fires_sparsely_on_real_recordings(real_data, norm):
    from snn_helpers.events.recording import read_bin

    recordings = [read_bin(path) for path in sorted(real_data.glob("Train/*/*.bin"))[::42]]
    events = np.concatenate(recordings)
    offsets = np.cumsum([0, *map(len, recordings)])
    flat = tuple(np.ascontiguousarray(events[field]) for field in "xytp")
    frames = bin_frames(flat, offsets, np.arange(len(recordings)), SENSOR_SIZE, FrameSpec(10))
    shares = firing(build(norm=norm), torch.from_numpy(frames))
    assert min(shares.values()) > 0.02, shares
    assert max(shares.values()) < 0.15, shares


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("threshold", [0.5, 2.0])
def test_firing_does_not_depend_on_the_threshold(frames, norm, threshold):
    # A power of two scales weights and membranes without rounding, so that the very same spikes come out.
    spikes = {}
    for value in (1.0, threshold):
        spikes[value] = layer_spikes(build(norm=norm, dropout=0.0, threshold=value), frames[:, :4])
    for name in LAYERS:
        assert spikes[1.0][name].any()
        assert torch.equal(spikes[1.0][name], spikes[threshold][name])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 2, 34, 34), r"`frames` must be \[T, B, C, H, W\], 5 axes; got 4: \(4, 2, 34, 34\)"),
        ((4, 1, 1, 34, 34), r"\[2, 34, 34\], which this model was built for; got \[1, 34, 34\]"),
        ((4, 1, 2, 28, 34), r"\[2, 34, 34\], which this model was built for; got \[2, 28, 34\]"),
        ((0, 1, 2, 34, 34), "at least one step and one recording"),
        ((4, 0, 2, 34, 34), "at least one step and one recording"),
    ],
)
def test_cnn_refuses_frames_of_another_shape(shape, message):
    with pytest.raises(ValueError, match=message):
        build()(torch.zeros(shape))


def test_cnn_may_be_built_for_other_frames():
    model = build(in_channels=1, image_size=17, num_classes=3)
    assert model(torch.ones(2, 3, 1, 17, 17)).spk_rec.shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"norm": "bach"}, ValueError, "`norm` must be one of .* Did you mean 'batch'"),
        ({"engine": "snntorh"}, ValueError, "`engine` must be one of .* Did you mean 'snntorch'"),
        ({"beta": -0.1}, ValueError, r"`beta` must be a number in \[0, 1\]"),
        ({"threshold": 0.0}, ValueError, "`threshold` must be a number > 0"),
        ({"dropout": 1.0}, ValueError, "`dropout` must be a number in"),
        ({"num_classes": 1}, ValueError, "`num_classes` must be a whole number >= 2"),
        ({"in_channels": 0}, ValueError, "`in_channels` must be a whole number >= 1"),
        ({"image_size": 7}, ValueError, "`image_size` must be a whole number >= 8"),
        ({"image_size": 34.0}, TypeError, "`image_size` must be a whole number"),
    ],
)
def test_cnn_refuses_bad_values(arguments, error, message):
    with pytest.raises(error, match=message):
        SpikingCNN(**arguments)


def test_auto_engine_says_what_it_chose():
    model = build(engine="auto")
    assert model.engine == "cpu"
    assert model.double().engine == "reference"  # the event-driven kernels compute in float32
    assert build(engine="snntorch").engine == "snntorch"
