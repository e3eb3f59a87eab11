"""Any network over time: what is traced, how it is rolled up and planned, and what runs by its own loop instead."""

import copy
import functools
import pickle
import random
import re
import sys
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import snntorch as snn
import torch
from snntorch import spikegen, utils
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from snn_helpers import SpikingCNN
from snn_helpers.engine import cpu
from snn_helpers.neurons import Leaky, reset
from snn_helpers.over_time import Accelerated, InputListener, NormOverTime, accelerate, actions, event_actions
from snn_helpers.over_time.fingerprint import Snapshot, fingerprint
from snn_helpers.over_time.program import one_step, roll
from snn_helpers.over_time.trace import trace


@pytest.fixture(autouse=True)
def leave_no_snntorch_neuron():
    torch.manual_seed(0)
    yield
    snn.SpikingNeuron.instances.clear()


def lif(**options):
    return snn.Leaky(beta=0.9, init_hidden=True, **options)


def fc_net():
    return nn.Sequential(nn.Linear(6, 5), lif(), nn.Linear(5, 3), lif(output=True))


def events(*shape, share=0.4):
    return (torch.rand(shape) < share).float() * 2


def step_loop(net, frames, *more, model=None):
    """Run one call a step from states of zero; `model` has the neurons, if it is not what is called."""
    model = model or net
    reset(model)
    outputs = [net(frame, *more) for frame in frames]
    reset(model)
    if isinstance(outputs[0], torch.Tensor):
        return torch.stack(outputs)
    return tuple(torch.stack(part) for part in zip(*outputs))


def flat(outputs):
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


def assert_equal(got, expected):
    for one, other in zip(flat(got), flat(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def gradients(net, outputs):
    net.zero_grad()
    sum((part * torch.linspace(-1, 1, part.numel()).view_as(part)).sum() for part in flat(outputs)).backward()
    return [p.grad.clone() for p in net.parameters() if p.requires_grad]


def assert_as_loop(net, frames, *more, loop=step_loop, runs=None):
    """Assert that a network over time equals its loop in values and gradients; return what `explain` says."""
    twin = copy.deepcopy(net)
    state = torch.get_rng_state()
    expected = loop(twin, frames, *more)
    torch.set_rng_state(state)
    fast = accelerate(net)
    got = fast(frames, *more)
    assert_equal(got, expected)
    wanted = gradients(twin, expected)
    largest = max(float(theirs.abs().max()) for theirs in wanted)
    for ours, theirs in zip(gradients(net, got), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6 * largest)
    text = fast.explain()
    assert ("by the network's own loop" in text) is (runs == "loop")
    return text


def own_loop(net, *inputs):
    reset(net)
    return net(*inputs)


class Looped(nn.Module):
    """A class with its loop inside; `step` computes one step."""

    def __init__(self, num_steps=4):
        super().__init__()
        self.num_steps = num_steps
        self.fc1, self.fc2 = nn.Linear(6, 5), nn.Linear(5, 3)
        self.lif1, self.lif2 = snn.Leaky(beta=0.9), snn.Leaky(beta=0.8)

    def forward(self, x):
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        spk_rec, mem_rec = [], []
        for step in range(self.num_steps):
            spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk_rec.append(spk2)
            mem_rec.append(mem2)
        return torch.stack(spk_rec), torch.stack(mem_rec)


# What is traced, rolled up and planned


def test_trace_of_a_step_lists_its_operations():
    net = fc_net()
    traced = trace(net, "forward", torch.zeros(2, 6))
    program = one_step(traced)
    assert [op.target for op in program.steps[:5]] == ["input_1", "0", "1", "2", "3"] or len(program.steps) >= 5
    assert traced.calls == 1
    assert not traced.resets


def test_loop_is_rolled_up_into_one_step():
    net = Looped()
    traced = trace(net, "forward", torch.zeros(4, 2, 6))
    program = roll(traced, lambda path: path.startswith("lif"))
    (stage,) = program.stages
    assert stage.num_steps == 4
    assert [op.target for op in stage.steps if op.kind == "call_module"] == ["fc1", "lif1", "fc2", "lif2"]
    assert traced.resets


def test_explain_names_what_runs_each_layer():
    fast = accelerate(fc_net())
    assert "Not run yet" in fast.explain()
    fast(events(4, 2, 6))
    lines = fast.explain().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2", "3"]
    assert "kernel (leaky)" in lines[1]


def test_explain_says_why_a_layer_has_no_kernel():
    net = nn.Sequential(nn.Linear(6, 5), snn.Lapicque(beta=0.9, init_hidden=True, output=True))
    fast = accelerate(net)
    fast(events(4, 2, 6))
    assert "Lapicque" in fast.explain()


def test_static_input_is_computed_once():
    class Static(Looped):
        def forward(self, x):
            return super().forward([x] * self.num_steps)

    assert "once: the same in every step" in assert_as_loop(Static(), events(2, 6), loop=own_loop)


def test_two_loops_one_after_the_other():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2, self.lif1, self.lif2 = nn.Linear(6, 5), nn.Linear(5, 3), lif(), lif(output=True)

        def forward(self, x):
            utils.reset(self)
            first = torch.stack([self.lif1(self.fc1(frame)) for frame in x])
            return torch.stack([self.lif2(self.fc2(spk))[1] for spk in first])[-1]

    text = assert_as_loop(Two(), events(4, 2, 6), loop=own_loop)
    assert text.count("own loop of 4 steps") == 2


# Which form a network has


class HiddenLoop(nn.Module):
    """Neurons that keep their state, a loop inside, and no reset before it."""

    def __init__(self, batch_first=False, fixed=None):
        super().__init__()
        self.fc, self.lif = nn.Linear(6, 3), lif(output=True)
        self.batch_first, self.fixed = batch_first, fixed

    def forward(self, x):
        steps = self.fixed or (x.size(1) if self.batch_first else x.size(0))
        outputs = [self.lif(self.fc(x if self.fixed else x[:, t] if self.batch_first else x[t])) for t in range(steps)]
        return torch.stack([spk for spk, _ in outputs]), torch.stack([mem for _, mem in outputs])


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("batch_first", [False, True])
def test_loop_without_a_reset_is_taken_for_a_loop(batch, batch_first):
    frames = events(batch, 4, 6) if batch_first else events(4, batch, 6)
    text = assert_as_loop(HiddenLoop(batch_first), frames, loop=own_loop)
    assert "own loop of 4 steps" in text


def test_loop_without_a_reset_over_one_image():
    assert "own loop of 5 steps" in assert_as_loop(HiddenLoop(fixed=5), events(2, 6), loop=own_loop)


@pytest.mark.parametrize("shape", [(1, 2, 6), (4, 1, 6), (1, 1, 6)])
@pytest.mark.parametrize("make", [fc_net, HiddenLoop, Looped])
def test_one_step_and_one_recording(make, shape):
    net = make()
    net.num_steps = shape[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_equal(
            accelerate(net)(frames := events(*shape)), (step_loop if make is fc_net else own_loop)(net, frames)
        )


def test_shared_layers_within_one_step_are_no_loop():
    fc, neurons = nn.Linear(6, 6), lif()
    assert_as_loop(nn.Sequential(fc, neurons, fc, neurons), events(2, 2, 6))


# Inputs


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float64])
def test_frames_of_any_type(dtype):
    net = fc_net()
    frames = events(4, 2, 6).to(dtype)
    if dtype is torch.float64:
        net = nn.Sequential(nn.Linear(6, 5), Leaky(init_hidden=True, output=True)).double()
        assert accelerate(net)(frames)[1].dtype is torch.float64
        assert_equal(accelerate(net)(frames), step_loop(net, frames))
    else:
        assert_equal(accelerate(net)(frames), step_loop(net, frames.float()))


def test_bytes_that_are_neither_images_nor_flat_reach_a_fully_connected_layer():
    net, frames = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), lif()), events(4, 2, 3, 4).to(torch.uint8)
    assert_equal(accelerate(net)(frames), step_loop(net, frames.float()))


def test_counts_beyond_a_byte_are_not_wrapped_around():
    net = nn.Sequential(nn.Linear(6, 5), lif(output=True))
    frames = torch.full((3, 2, 6), 300)
    assert_equal(accelerate(net)(frames), step_loop(net, frames.float()))


def test_inputs_and_parameters_are_left_as_they_are():
    net, frames = fc_net(), events(4, 2, 6)
    kept, state = frames.clone(), copy.deepcopy(net.state_dict())
    accelerate(net)(frames)
    assert torch.equal(frames, kept)
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name])


def test_inputs_beside_the_first():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(6, 3), lif(output=True)

        def forward(self, x, gain, shift=0.5):
            return self.lif(self.fc(x) * gain + shift)

    net, frames, gain = Scaled(), events(4, 2, 6), torch.rand(2, 3)
    assert_as_loop(net, frames, gain)
    assert_as_loop(net, frames, gain, 1.5)
    fast = accelerate(net)
    assert_equal(fast(frames, shift=1.5, gain=gain), step_loop(net, frames, gain, 1.5))


@pytest.mark.parametrize("kind", ["dict", "list", "kept states"])
def test_loop_that_takes_several_tensors_at_once_is_planned(kind):
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen, self.heard = nn.Linear(6, 3), nn.Linear(4, 3)
            self.lif = lif(output=True) if kind == "kept states" else snn.Leaky(beta=0.9)

        def forward(self, given):
            seen, heard = given.values() if isinstance(given, dict) else given
            mem, rec = self.lif.reset_mem(), []
            for step in range(len(seen)):
                cur = self.seen(seen[step]) + self.heard(heard[step])
                spk, mem = self.lif(cur) if kind == "kept states" else self.lif(cur, mem)
                rec.append(mem)
            return torch.stack(rec), spk

    seen, heard = events(5, 2, 6), events(5, 2, 4)
    given = [seen, heard] if kind == "list" else {"seen": seen, "heard": heard}
    assert_as_loop(Fused(), given, loop=own_loop)


def test_step_that_takes_a_dict_is_refused_and_not_taken_for_a_loop():
    class Step(nn.Sequential):
        def forward(self, given):
            return super().forward(given["seen"])

    with pytest.raises(
        ValueError, match=r"first input must be a tensor .* got dict\. Only a network with its own loop"
    ):
        accelerate(Step(*fc_net()))({"seen": events(4, 2, 6)})


@pytest.mark.parametrize("given", [(), (3,), (torch.zeros(()),), (torch.zeros(0, 2, 6),)])
def test_input_that_is_no_tensor_over_time_is_refused(given):
    with pytest.raises(ValueError, match="first input must be a tensor"):
        accelerate(fc_net())(*given)


def test_network_without_spiking_layers_is_refused():
    with pytest.raises(ValueError, match="no spiking layer"):
        accelerate(nn.Linear(2, 3))


def test_bare_neurons_run_over_time():
    neurons = lif(output=True)
    frames = events(5, 2, 3)
    assert_equal(accelerate(neurons)(frames), step_loop(neurons, frames))


# Outputs


@pytest.mark.parametrize("kind", ["dict", "list", "last", "lists of steps", "loss"])
def test_what_a_loop_returns_comes_in_its_own_types(kind):
    class Returning(Looped):
        def forward(self, x):
            mem1, mem2, spk_rec = self.lif1.reset_mem(), self.lif2.reset_mem(), []
            for frame in x:
                spk1, mem1 = self.lif1(self.fc1(frame), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                spk_rec.append(spk2)
            loss = mem2.square().mean() + mem1.abs().sum()
            return {
                "dict": {"spk": torch.stack(spk_rec, 1), "mem": mem2},
                "list": [torch.stack(spk_rec), mem1],
                "last": mem2,
                "lists of steps": spk_rec,
                "loss": loss,
            }[kind]

    net, frames = Returning(), events(4, 2, 6)
    got, expected = accelerate(net)(frames), own_loop(net, frames)
    assert type(got) is type(expected)
    if kind == "dict":
        assert got.keys() == expected.keys()
        got, expected = list(got.values()), list(expected.values())
    assert_equal(got, expected)


def test_step_may_return_a_dict():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(6, 3), lif(output=True)

        def forward(self, x):
            cur = self.fc(x)
            spk, mem = self.lif(cur)
            return {"cur": cur, "more": [spk, mem]}

    net, frames = Named(), events(4, 2, 6)
    got = accelerate(net)(frames)
    assert type(got) is dict
    assert type(got["more"]) is list
    expected = net.fc(frames), *step_loop(nn.Sequential(net.fc, net.lif), frames)
    assert_equal((got["cur"], *got["more"]), expected)


def test_everything_that_a_loop_records_is_kept():
    class Recording(Looped):
        def forward(self, x):
            mem1, syn1, mem2 = *self.syn1.reset_mem()[::-1], self.lif2.reset_mem()
            records = [[], [], [], []]
            for frame in x:
                cur1 = self.fc1(frame)
                spk1, syn1, mem1 = self.syn1(cur1, syn1, mem1)
                _, mem2 = self.lif2(self.fc2(spk1), mem2)
                for record, value in zip(records, (cur1, syn1, mem1, mem2)):
                    record.append(value)
            return tuple(torch.stack(record) for record in records)

        def __init__(self):
            super().__init__()
            self.syn1 = snn.Synaptic(alpha=0.8, beta=0.9)

    assert_as_loop(Recording(), events(4, 2, 6), loop=own_loop)


# Layers between neurons


def test_dropout_masks_are_those_of_the_loop():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2, self.lif1, self.lif2 = nn.Linear(6, 8), nn.Linear(8, 3), lif(), lif(output=True)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.lif2(self.fc2(F.dropout(self.lif1(self.fc1(self.drop(x))), 0.3, self.training)))

    net, frames = Dropping(), events(5, 2, 6)
    assert_as_loop(net, frames)
    assert_as_loop(net.eval(), frames)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_in_a_step_sees_one_step_at_a_time(training):
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), lif(), nn.Flatten(), nn.Linear(64, 3), lif(output=True)
    )
    net.train(training)
    twin, frames = copy.deepcopy(net), events(4, 3, 2, 4, 4)
    assert_equal(accelerate(net)(frames), step_loop(twin, frames))
    assert_equal(net[1].running_var, twin[1].running_var)
    assert net[1].num_batches_tracked == (4 if training else 0)


@pytest.mark.parametrize("piece", [1, 2**20])
def test_batch_norm_in_a_step_after_a_large_layer_is_part_of_its_chain(monkeypatch, piece):
    monkeypatch.setattr(actions, "PIECE", piece)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, groups=2), nn.BatchNorm2d(4), nn.ReLU(), lif(), nn.Flatten(), nn.Linear(36, 3)
    )  # without groups, convolution and normalisation would be one layer
    twin, frames = copy.deepcopy(net), events(5, 4, 2, 8, 8)
    text = assert_as_loop(net, frames)
    assert ("0 + 1 + 2" in text) == (piece == 1)
    step_loop(twin, frames)
    assert_equal(net[1].running_var, twin[1].running_var)  # the same statistics in the same order
    assert net[1].num_batches_tracked == twin[1].num_batches_tracked == 5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pieces_are_joined_in_their_layout_with_their_gradients(layout):
    pieces = [torch.rand(n, 3, 4, 5).contiguous(memory_format=layout).requires_grad_() for n in (2, 2, 1)]
    joined = actions.join(pieces)
    assert torch.equal(joined, torch.cat(pieces))
    assert joined.is_contiguous(memory_format=layout)
    up = torch.rand(5, 3, 4, 5)
    for grad, part in zip(torch.autograd.grad(joined, pieces, up), up.split(2), strict=True):
        assert torch.equal(grad, part)
    apart = actions.split(joined, 2)
    assert torch.equal(torch.autograd.grad(apart, joined, up.split(2))[0], up)


def test_way_back_of_single_steps_touches_each_of_them_once():
    """Not all steps for each of them, as the gradient of an indexed tensor does."""

    class Names(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = set()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), lif(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3), lif())
    out = accelerate(net)(events(6, 2, 2, 8, 8))
    with Names() as names:
        out.sum().backward()
    assert "convolution_backward" in names.seen
    assert not names.seen & {"select_backward", "slice_backward"}


def test_norm_over_time_pools_all_steps():
    net = nn.Sequential(nn.Linear(6, 5), NormOverTime(5), lif(output=True))
    frames = events(4, 2, 6)
    cur = nn.functional.batch_norm(net[0](frames).flatten(0, 1), None, None, training=True).unflatten(0, (4, 2))
    assert_equal(accelerate(net)(frames), step_loop(net[2], cur))


CONVS = {
    "circular": {"padding": 1, "padding_mode": "circular"},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "dilation": {"padding": 1, "dilation": 2},
    "stride": {"padding": 1, "stride": 2},
    "groups": {"padding": 1, "groups": 2},
    "same": {"padding": "same"},
    "none": {},
    "no bias": {"padding": 1, "bias": False},
}


@pytest.mark.parametrize("options", CONVS.values(), ids=CONVS)
def test_every_convolution_is_exact(options):
    net = nn.Sequential(nn.Conv2d(2, 4, 3, **options), lif(), nn.Conv2d(4, 4, 3, **options), lif(output=True))
    assert_as_loop(net, events(4, 3, 2, 9, 9))


@pytest.mark.parametrize("batch", [1, 3, 4, 5])
def test_weights_are_never_taken_for_recordings(batch):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.mask = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.rand(4, 4))
            self.kernel = nn.Parameter(torch.randn(5, 1, 1, 1))
            self.lif = lif(output=True)

        def forward(self, x):
            cur = F.linear(x, self.weight * self.mask)
            cur = F.conv2d(cur[:, None, None], self.kernel * 2).sum(1)[:, 0]
            return self.lif(cur)

    assert_as_loop(Masked(), events(4, batch, 4))


@pytest.mark.parametrize("shared", ["weights", "neurons", "norm"])
def test_module_used_twice_in_a_step(shared):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.lif1, self.norm1 = nn.Linear(4, 4), lif(), nn.BatchNorm1d(4)
            self.fc2 = self.fc1 if shared == "weights" else nn.Linear(4, 4)
            self.lif2 = self.lif1 if shared == "neurons" else lif()
            self.norm2 = self.norm1 if shared == "norm" else nn.BatchNorm1d(4)

        def forward(self, x):
            return self.lif2(self.norm2(self.fc2(self.lif1(self.norm1(self.fc1(x))))))

    assert_as_loop(Twice(), events(4, 3, 4))


def test_recurrence_that_is_written_out_runs_step_by_step():
    class Fed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.back, self.out = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)
            self.lif1, self.lif2 = snn.Leaky(beta=0.9), snn.Leaky(beta=0.9)

        def forward(self, x):
            mem1, mem2, spk1 = self.lif1.reset_mem(), self.lif2.reset_mem(), torch.zeros(x.shape[1], 5)
            mem_rec = []
            for frame in x:
                spk1, mem1 = self.lif1(self.fc(frame) + self.back(spk1), mem1)
                _, mem2 = self.lif2(self.out(spk1), mem2)
                mem_rec.append(mem2)
            return torch.stack(mem_rec)

    assert "step by step: a recurrence" in assert_as_loop(Fed(), events(5, 2, 6), loop=own_loop)


def test_learned_initial_state_gets_its_gradient():
    class Started(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif, self.first = nn.Linear(6, 3), snn.Leaky(beta=0.9), nn.Parameter(torch.zeros(3))

        def forward(self, x):
            mem, mem_rec = self.first.expand(x.shape[1], 3), []
            for frame in x:
                _, mem = self.lif(self.fc(frame), mem)
                mem_rec.append(mem)
            return torch.stack(mem_rec)

    assert_as_loop(Started(), events(4, 2, 6), loop=own_loop)


def test_graded_spikes_before_an_event_driven_convolution():
    first = snn.Leaky(beta=0.9, init_hidden=True, graded_spikes_factor=0.5)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), first, nn.Conv2d(4, 4, 3, padding=1), lif(output=True))
    assert_as_loop(net, events(4, 2, 2, 6, 6))


def test_fully_connected_layer_on_few_events_is_event_driven(monkeypatch):
    monkeypatch.setattr("snn_helpers.over_time.event_actions.WORTH", 0)
    called = []
    accelerate(fc_net())(events(2, 1, 6))  # compiles the kernels, which calls them
    monkeypatch.setattr(cpu, "linear", lambda *args, run=cpu.linear: called.append(1) or run(*args))
    net = nn.Sequential(nn.Linear(40, 12), lif(), nn.Linear(12, 3), lif(output=True))
    with torch.no_grad():  # their sums are exact in any order
        for parameter in net.parameters():
            parameter.copy_((64 * parameter).round() / 16)
    frames = (torch.rand(6, 3, 40) < 0.05).float()
    assert_as_loop(net, frames)
    assert called == [1]
    assert_as_loop(net, frames + 0.25)
    assert_as_loop(net, (torch.rand(6, 3, 40) < 0.5).float())
    assert called == [1]


class Residual(nn.Module):
    """Currents are added before the neurons fire; one convolution is used twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.lif1, self.lif2 = nn.Conv2d(2, 4, 1, stride=2, bias=False), lif(), lif()
        self.twice, self.lif3 = nn.Conv2d(4, 4, 2, padding=1, groups=4), lif(output=True)

    def forward(self, x):
        spk = self.lif1(self.conv(x))
        spk = self.lif2(F.avg_pool2d(self.twice(spk), 2))
        return self.lif3(self.twice(spk) + self.twice(spk).mean())


EVENT_DRIVEN = {  # network, shape of a step, calls of the event-driven convolution
    "stride, norm a step, average pool": (
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.AvgPool2d(2), lif()),
            *(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4), lif(output=True)),
        ),
        (2, 16, 16), 2,
    ),
    "max-pool of any kind": (
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, (3, 2), dilation=2), lif(), nn.MaxPool2d(3, 2, 1)),
            *(nn.Conv2d(4, 4, 3, padding=3), nn.MaxPool2d(3), lif(output=True)),
        ),
        (2, 12, 13), 2,
    ),
    "one side": (
        lambda: nn.Sequential(
            *(nn.Conv1d(3, 8, 5, stride=2, padding=2), lif(), nn.MaxPool1d(2), nn.Conv1d(8, 4, 2), lif()),
        ),
        (3, 20), 2,
    ),
    "residual": (Residual, (2, 12, 12), 4),
    "norms a step in layers, spikes pooled": (
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), lif(threshold=6.0), nn.MaxPool2d(2)),
            *(nn.Conv2d(4, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.MaxPool2d(2), lif(threshold=6.0)),
            *(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, affine=False), nn.Tanh(), lif()),
            *(nn.Conv2d(4, 4, 1, groups=2), lif(output=True)),
        ),
        (2, 23, 22), 4,
    ),
}  # fmt: skip


@pytest.fixture
def conv_calls(monkeypatch):
    """Let a share of 0.6 be few events for any convolution, and return a list that grows with each event-driven one."""
    called = []
    accelerate(fc_net())(events(2, 1, 6))  # compiles the kernels, which calls them
    for name in ("WORTH", "CONV_WORTH"):
        monkeypatch.setattr(event_actions, name, 0)
    monkeypatch.setattr(event_actions, "few_for_conv", lambda products, trains: 0.6)

    def counting(run, path):
        @functools.wraps(run)
        def count(*args, **options):
            called.extend([1] * (options.get("path", path) == "events"))
            return run(*args, **options)

        return count

    for name, path in (("conv", "events"), ("conv_norm", "events"), ("conv_layer", "auto")):
        monkeypatch.setattr(cpu, name, counting(getattr(cpu, name), path))
    return called


def exact(net):
    """Round all weights, so that their sums are exact in any order."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((64 * parameter).round() / 32)
    return net


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", EVENT_DRIVEN)
def test_convolutions_on_few_events_are_event_driven_and_equal_the_loop(conv_calls, name, training):
    make, shape, calls = EVENT_DRIVEN[name]
    net, frames = exact(make()).train(training), events(5, 3, *shape, share=0.3)
    text = assert_as_loop(net, frames)
    assert len(conv_calls) == calls if training else conv_calls  # else some are part of a layer in one pass
    assert "convolution event-driven after few events" in text


def test_convolution_on_many_events_or_other_numbers_is_torchs(conv_calls):
    net = exact(nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), nn.AvgPool2d(2), lif(output=True)))
    assert_as_loop(net, events(4, 3, 2, 9, 9, share=0.8))
    assert_as_loop(net, events(4, 3, 2, 9, 9) / 4)
    assert accelerate(net, "reference")(events(4, 3, 2, 9, 9))[0].any()
    assert not conv_calls
    assert_as_loop(net, events(4, 3, 2, 9, 9))
    assert conv_calls == [1]


@pytest.mark.parametrize("shape", [(2, 6, 6), (1, 1, 6)])
def test_fully_connected_layer_on_the_last_axis_of_images_equals_the_loop(conv_calls, shape):
    net = exact(nn.Sequential(nn.Conv2d(shape[0], 1, 1), lif(threshold=0.1), nn.Linear(6, 3), lif(output=True)))
    assert_as_loop(net, events(5, 3, *shape))
    assert_as_loop(
        exact(nn.Sequential(nn.Linear(6, 3), lif(output=True))), events(5, 3, *shape).to(torch.uint8).float()
    )
    assert accelerate(net[2:])(events(5, 3, *shape).to(torch.uint8))[0].shape == (5, 3, *shape[:2], 3)


class ByName(nn.Module):
    """Hands inputs over by their names."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.lif1 = nn.Conv2d(2, 4, 3), nn.AvgPool2d(2), lif(threshold=0.1)
        self.linear, self.lif2 = nn.Linear(16, 3), lif(output=True)

    def forward(self, x):
        spk = self.lif1(input_=self.pool(input=self.conv(input=x)))
        return self.lif2(self.linear(input=spk.flatten(1)))


def test_inputs_by_name_equal_the_loop_and_are_heard(conv_calls):
    net, frames = exact(ByName()), events(5, 3, 2, 6, 6)
    assert_as_loop(net, frames)
    heard = []
    net.linear.register_forward_pre_hook(InputListener(lambda rows, times: heard.append(len(rows))))
    accelerate(net)(frames)
    assert sum(heard) == 15


def test_norm_over_time_without_running_statistics_pools_in_eval_mode_too():
    norm = NormOverTime(4, track_running_stats=False)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), norm, lif(threshold=0.5), nn.Flatten(), nn.Linear(64, 3), lif(output=True))
    for frames in (events(5, 3, 2, 6, 6), events(5, 3, 2, 6, 6) / 4):
        training, evaluating = accelerate(net.train())(frames), accelerate(net.eval())(frames)
        assert training[1].any()
        torch.testing.assert_close(evaluating[1], training[1])


@pytest.mark.parametrize(
    ("pool", "calls"),
    [
        (nn.AvgPool2d(2), 1),
        (nn.AvgPool2d((1, 4), 2, (0, 1)), 1),
        (nn.AvgPool2d(3, 2, divisor_override=8), 1),
        (nn.AvgPool2d(3), 0),
        (nn.AvgPool2d(2, 2, 1, count_include_pad=False), 0),
        (nn.AvgPool2d(2, ceil_mode=True), 0),
    ],
)
def test_means_of_counts_over_two_four_or_eight_pixels_are_counts(conv_calls, monkeypatch, pool, calls):
    monkeypatch.setattr(event_actions, "few_for_conv", lambda products, trains: 1)
    layers = nn.Conv2d(2, 4, 3, padding=1), lif(threshold=0.3), pool, nn.Conv2d(4, 4, 3, stride=2), lif(output=True)
    net, frames = exact(nn.Sequential(*layers)), events(5, 3, 2, 13, 13, share=0.3)
    assert_as_loop(net, frames)
    assert len(conv_calls) == calls
    heard = []
    net[3].register_forward_pre_hook(InputListener(lambda rows, times: heard.append(rows.float())))
    accelerate(net)(frames)
    with torch.no_grad():
        expected = pool(accelerate(net[:2])(frames).flatten(0, 1))
    assert expected.any()
    assert torch.equal(torch.cat(heard), expected)


def test_layers_in_one_pass_and_fully_connected_ones_take_means_of_counts(conv_calls, monkeypatch):
    monkeypatch.setattr(event_actions, "FEW", 0.6)
    called = []

    def noted(spikes, *args, run, **options):
        called.append((run.__name__, bool(spikes.count.max() > 1)))
        return run(spikes, *args, **options)

    for run in (cpu.conv_layer, cpu.linear):
        monkeypatch.setattr(cpu, run.__name__, functools.partial(noted, run=run))
    layers = nn.Conv2d(2, 4, 3, padding=1), lif(threshold=0.3), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3), lif(threshold=0.1)
    net = nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3), lif(output=True))
    assert_as_loop(exact(net), events(5, 3, 2, 12, 12, share=0.3))
    assert called[1:] == [("conv_layer", True), ("linear", True)]


def test_those_who_listen_to_an_event_driven_convolution_hear_its_input(conv_calls):
    net, frames = exact(nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), lif())), events(4, 3, 2, 9, 9)
    heard = []
    net[0].register_forward_pre_hook(InputListener(lambda rows, times: heard.append((rows, times))))
    accelerate(net)(frames)
    ((rows, times),) = heard
    assert conv_calls == [1]
    assert times == 1
    assert torch.equal(rows.float(), frames.flatten(0, 1))


def test_share_of_events_that_are_few_grows_with_the_products_of_an_input():
    shares = [event_actions.few_for_conv(products, False) for products in (9, 100, 1000)]
    assert shares[0] == 0
    assert 0 < shares[1] < shares[2] < event_actions.few_for_conv(1000, True) + 0.1 < 0.5


@pytest.mark.parametrize("size", [5, 7, (5, 5), 1, (3, 5)])
def test_convolutions_of_any_window_equal_the_loop(size):
    net = nn.Sequential(
        nn.Conv2d(2, 4, size),
        lif(),
        nn.Conv2d(4, 4, size, padding=1 if size == 5 else 0),
        nn.MaxPool2d(2),
        lif(),
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((64 * parameter).round() / 16)
    text = assert_as_loop(net, events(4, 2, 2, 17, 16))
    assert text.count("event-driven: convolution") == (0 if size == (3, 5) else 2)


def test_operations_in_place():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2, self.act, self.lif = nn.Linear(6, 6), nn.Linear(6, 6), nn.ReLU(inplace=True), lif()

        def forward(self, x):
            cur = self.fc1(x)
            cur += self.fc2(x)
            cur.add_(1.5)
            return self.lif(self.act(cur))

    assert_as_loop(InPlace(), events(4, 2, 6))


# Copies, modes, states


def test_parameters_are_not_written_to_with_one_recording():
    net = nn.Sequential(nn.Linear(4, 3), snn.RLeaky(beta=0.9, linear_features=3, init_hidden=True))
    before, x = copy.deepcopy(net.state_dict()), 4 * torch.rand(6, 1, 4)
    got = accelerate(net)(x)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items() if "recurrent" in name)
    assert torch.equal(got, step_loop(net, x))


@pytest.mark.parametrize("batch", [1, 3])
def test_numbers_that_change_before_the_way_back_do_not_change_its_gradients(batch):
    grads = []
    for factor in (1.0, 0.3):
        torch.manual_seed(0)
        neurons = snn.Leaky(0.9, threshold=torch.rand(1, 300) + 0.5, init_hidden=True, reset_mechanism="zero")
        net = nn.Sequential(nn.Linear(20, 300), neurons)
        out = accelerate(net)(4 * torch.rand(6, batch, 20))
        with torch.no_grad():
            neurons.threshold.mul_(factor)
        out.sum().backward()
        grads.append(net[0].weight.grad)
    assert grads[0].any()
    assert torch.equal(*grads)


@pytest.mark.parametrize("layer", [lambda: nn.Linear(8, 6), lambda: nn.Conv2d(2, 3, 3)])
def test_gradients_of_gradients_are_refused(layer):
    net = nn.Sequential(layer(), lif())
    shape = (5, 2, 8) if isinstance(net[0], nn.Linear) else (5, 2, 2, 6, 6)
    total = accelerate(net)(torch.rand(shape)).sum()
    with pytest.raises(RuntimeError, match="no gradients of gradients"):
        torch.autograd.grad(total, list(net[0].parameters()), create_graph=True)


def test_networks_traced_by_several_threads_at_once_and_others_meanwhile():
    def run(seed):
        made = nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True))
        return [accelerate(made)(torch.rand(seed + steps, 2, 4)).shape[0] == seed + steps for steps in range(2, 7)]

    def plain(_):
        layer = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        return [layer(torch.ones(1, 2)).shape == (1, 2) for _ in range(300)]

    with ThreadPoolExecutor(4) as pool:
        done = [*pool.map(run, range(4)), *pool.map(plain, range(2))]
        done += [found.result() for found in [pool.submit(run, 9), pool.submit(plain, 0), pool.submit(run, 5)]]
    assert all(map(all, done))


@pytest.mark.parametrize("count", [3, 255])
def test_large_counts_are_as_precise_as_products(count):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), lif())
    frames = count * (torch.rand(3, 2, 16, 24, 24) < 0.05).float()
    runs_by = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "ConvNeurons", counted(cpu.ConvNeurons, runs_by))
        patch.setattr(cpu, "ConvCurrents", counted(cpu.ConvCurrents, runs_by))
        accelerate(net)(frames)
    assert bool(runs_by) == (count == 3)  # else by products: 255 additions of one weight are rounded 255 times


def counted(function, calls):
    class Counted:
        @staticmethod
        def apply(*args):
            calls.append(1)
            return function.apply(*args)

    return Counted


def test_neurons_called_once_with_all_steps_are_told():
    class AllAtOnce(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(12, 4), snn.Leaky(0.9, init_hidden=True)

        def forward(self, x):
            return self.lif(self.fc(x.flatten(2)))  # [T, B, ...], of which snnTorch's neurons take T for the batch

    with pytest.warns(UserWarning, match="its neurons are called once, with all steps, and take them for one"):
        accelerate(AllAtOnce())(torch.rand(5, 2, 3, 4))


@pytest.mark.parametrize("name", ["beta", "threshold"])
def test_numbers_of_a_wider_type_make_the_loops_results(name):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 4)
            self.lif = snn.Leaky(**({"beta": 0.9} | {name: torch.linspace(0.3, 0.9, 4, dtype=torch.float64)}))

        def forward(self, x):
            mem, spk_rec, mem_rec = self.lif.reset_mem(), [], []
            for frame in x:
                spk, mem = self.lif(self.fc(frame), mem)
                spk_rec.append(spk)
                mem_rec.append(mem)
            return torch.stack(spk_rec), torch.stack(mem_rec)

    net, x = Net(), 3 * torch.rand(6, 2, 5)
    fast, expected = accelerate(net), Net.forward(net, x)
    for ours, theirs in zip(fast(x), expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)  # of equal types, too
    assert expected[1].dtype == torch.float64
    assert f"its `{name}` is torch.float64, which makes more than torch.float32" in fast.explain()


def test_accelerated_network_shares_everything_with_the_network():
    net = fc_net().eval()
    fast = accelerate(net)
    assert not net.training
    assert accelerate(fast) is fast
    assert list(fast.state_dict()) == list(net.state_dict())
    assert all(a is b for a, b in zip(fast.parameters(), net.parameters(), strict=True))
    fast.train()
    assert net.training
    assert net[1].training
    net.eval()
    assert not fast.training


def test_optimiser_over_the_parameters_trains_the_network():
    net, frames = fc_net(), events(4, 2, 6)
    fast = accelerate(net)
    before = net[0].weight.clone()
    optimizer = torch.optim.SGD(fast.parameters(), lr=0.1)
    fast(frames)[1].square().sum().backward()
    optimizer.step()
    assert not torch.equal(net[0].weight, before)
    assert_equal(fast(frames), step_loop(net, frames))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda fast: pickle.loads(pickle.dumps(fast))], ids=["copy", "pickle"])
def test_copies_are_independent_and_work(how):
    fast, frames = accelerate(nn.Sequential(nn.Linear(6, 5), Leaky(init_hidden=True, output=True))), events(4, 2, 6)
    expected = fast(frames)
    other = how(fast)
    assert type(other) is Accelerated
    assert_equal(other(frames), expected)
    with torch.no_grad():
        next(other.parameters()).zero_()
    assert_equal(fast(frames), expected)
    assert not torch.equal(other(frames)[1], expected[1])


def test_two_networks_do_not_touch_each_other():
    first, second, frames = fc_net(), fc_net(), events(4, 2, 6)
    expected = step_loop(first, frames), step_loop(second, frames)
    fast = accelerate(first), accelerate(second)
    for _ in range(2):
        assert_equal(fast[0](frames), expected[0])
        assert_equal(fast[1](frames), expected[1])


@pytest.mark.parametrize("neurons", [lif, lambda: Leaky(init_hidden=True)], ids=["snntorch", "ours"])
def test_states_of_the_network_are_left_as_they_are(neurons):
    net, frames = nn.Sequential(nn.Linear(6, 5), neurons()), events(4, 2, 6)
    expected = step_loop(net, frames)
    for frame in frames:
        net(frame)  # its states hang on a graph now
    kept = net[1].mem if isinstance(net[1], snn.Leaky) else net[1].hidden
    assert_equal(accelerate(net)(frames), expected)
    assert (net[1].mem if isinstance(net[1], snn.Leaky) else net[1].hidden) is kept


def registered(hook):
    return lambda net: net.fc.register_forward_hook(hook)


SEEN_AT_ONCE = {
    "module": lambda net: setattr(net, "fc", nn.Linear(6, 3)),
    "parameter": lambda net: setattr(net.fc, "weight", nn.Parameter(torch.rand(3, 6))),
    "data": lambda net: setattr(net.fc.weight, "data", torch.rand(3, 6).double()),
    "attribute": lambda net: setattr(net, "gain", 2.0),
    "new attribute": lambda net: setattr(net, "more", 2.0),
    "equal attribute": lambda net: setattr(net, "gain", 1),
    "list": lambda net: net.gains.append(1.0),
    "dict": lambda net: SETTINGS.update(gain=2.0),
    "array": lambda net: net.array.fill(2.0),
    "object": lambda net: setattr(net.options, "gain", 2.0),
    "tensor": lambda net: net.scales[0].mul_(2.0),
    "mode": lambda net: net.lif.eval(),
    "hook": registered(print),
    "input hook": lambda net: net.lif.register_forward_pre_hook(print),
    "back hook": lambda net: net.fc.register_full_backward_hook(print),
    "buffer": lambda net: net.register_buffer("kept", torch.ones(1)),
    "hidden size": lambda net: setattr(net, "hidden", 5),
    "type": lambda net: setattr(net, "kind", torch.float64),
}


@pytest.mark.parametrize("change", SEEN_AT_ONCE)
def test_snapshot_holds_until_anything_changes(change, monkeypatch):
    monkeypatch.setitem(SETTINGS, "gain", 1.0)
    net, frames = Switched(), events(4, 2, 6)
    net.hidden, net.kind = 6, torch.float32
    fast = accelerate(net)
    snapshot = Snapshot(net)
    fast(frames)[1].sum().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    assert snapshot.holds(net)  # running and training leave it
    before = fingerprint(net)
    SEEN_AT_ONCE[change](net)
    assert not snapshot.holds(net)
    unread = ("module", "parameter", "buffer")  # looked up in every run, as hooks are
    assert change in unread or "hook" in change or fingerprint(net) != before


def test_module_of_the_same_kind_is_the_one_that_runs_from_then_on():
    net, frames = fc_net(), events(4, 2, 6)
    fast = accelerate(net)
    fast(frames)
    for index in (0, 1, 3):
        net[index] = nn.Linear(6, 5) if index == 0 else lif(output=index == 3)
        assert_equal(fast(frames), step_loop(net, frames))
    net[2].weight = nn.Parameter(torch.rand(3, 5))
    net[2].bias.requires_grad_(False)
    outputs = fast(frames)
    assert_equal(outputs, step_loop(net, frames))
    outputs[1].sum().backward()
    assert net[2].weight.grad.any()
    assert net[2].bias.grad is None


def test_steps_are_traced_once_however_many_there_are(monkeypatch):
    traced = []

    def noted(net, method, *inputs, **options):
        traced.append(tuple(inputs[0].shape))
        return trace(net, method, *inputs, **options)

    monkeypatch.setattr(sys.modules[accelerate.__module__], "trace", noted)
    net = fc_net()
    fast = accelerate(net)
    for num_steps in (4, 1, 7):
        frames = events(num_steps, 2, 6)
        assert_equal(fast(frames), step_loop(copy.deepcopy(net), frames))
    assert traced == [(2, 6)]
    assert fast(events(4, 3, 6))[0].shape[1] == 3
    assert traced == [(2, 6), (3, 6)]
    loop = Looped()
    fast = accelerate(loop)
    for loop.num_steps in (4, 2, 4):  # how many there are is part of what a loop does
        frames = events(loop.num_steps, 2, 6)
        assert_equal(fast(frames), own_loop(copy.deepcopy(loop), frames))
    assert traced[2:] == [(4, 2, 6), (2, 2, 6)]


def test_hook_that_comes_or_goes_is_noticed():
    net, frames, seen = fc_net(), events(4, 2, 6), []
    fast = accelerate(net)
    fast(frames)
    handle = net[0].register_forward_hook(lambda *_: seen.append(1))
    with pytest.warns(UserWarning, match="hook on Linear"):
        fast(frames)
    assert len(seen) == 4
    handle.remove()
    fast(frames)
    assert len(seen) == 4
    assert "own loop" not in fast.explain()


@pytest.mark.parametrize("sizes", [(0, 0), (10**9, 10**9), (0, 10**9)])
@pytest.mark.parametrize("training", [True, False])
def test_layer_in_one_pass_and_one_after_the_other_equal_the_loop(monkeypatch, sizes, training):
    for name, size in zip(("PASS_WORTH", "PASS_ALWAYS"), sizes):
        monkeypatch.setattr(event_actions, name, size)
    passes = []
    monkeypatch.setattr(
        cpu, "conv_layer", lambda *args, run=cpu.conv_layer, **more: passes.append(1) or run(*args, **more)
    )
    layers = (nn.Conv2d(2, 4, 3), lif(threshold=0.3), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2), lif(output=True))
    net, few = exact(nn.Sequential(*layers)), events(5, 3, 2, 10, 10, share=0.02)
    assert_as_loop(net, few)
    assert bool(passes) == (sizes == (0, 0))
    passes.clear()
    with torch.no_grad():
        for frames, is_pass in ((few, sizes[0] == 0), (events(5, 3, 2, 10, 10, share=0.9), sizes == (0, 0))):
            assert_equal(accelerate(net[:2])(frames), step_loop(net[:2], frames))
            assert bool(passes) == is_pass
            passes.clear()


def test_every_call_starts_from_zero():
    fast, frames = accelerate(fc_net()), events(4, 2, 6)
    assert_equal(fast(frames), fast(frames))


CHANGES = ("attribute", "list", "global", "module", "output", "mode", "reset", "double", "object", "array", "tensor")


@pytest.mark.parametrize("change", CHANGES)
def test_network_is_traced_anew_when_it_has_changed(change):
    net = Switched()
    fast, frames = accelerate(net), events(4, 2, 6)
    first = fast(frames)
    match change:
        case "attribute":
            net.gain = 2.0
        case "list":
            net.gains[0] = 3.0
        case "object":
            net.options.gain = 2.0
        case "array":
            net.array[0] = 2.0
        case "tensor":
            net.scales[0].mul_(2.0)
        case "global":
            SETTINGS["gain"] = 2.0
        case "module":
            net.fc = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
        case "output":
            net.lif.output = False
        case "mode":
            net.eval()
        case "reset":
            net.lif = snn.Leaky(beta=0.9, init_hidden=True, output=True, reset_mechanism="zero")
        case "double":
            net.lif = Leaky(init_hidden=True, output=True)
            net.double()
            frames = frames.double()
    try:
        got = fast(frames)
        assert_equal(got, step_loop(net, frames))
        if change not in ("output", "double"):
            assert not torch.equal(got[1], first[1])
    finally:
        SETTINGS["gain"] = 1.0


SETTINGS = {"gain": 1.0}


class Switched(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.lif, self.gain, self.gains = nn.Linear(6, 3), lif(output=True), 1.0, [1.0]
        self.options, self.array, self.scales = types.SimpleNamespace(gain=1.0), np.ones(2), [torch.ones(3)]

    def forward(self, x):
        cur = self.fc(x) * self.gain * self.gains[0] * SETTINGS["gain"] * self.options.gain * float(self.array[0])
        cur = cur * self.scales[0]
        return self.lif(cur * 2 if self.training else cur)


class Rounded(torch.autograd.Function):
    """Rounds to few levels, straight through: of weights, or of one recording's currents in one step."""

    @staticmethod
    def forward(ctx, values, how):
        if how == "in place":
            ctx.mark_dirty(values)
            return values.mul_(2.0)
        noise = torch.rand_like(values) - 0.5 if how == "noise" else 0.0
        scale = values.abs().max() / 7
        return torch.round(values / scale + noise) * scale

    @staticmethod
    def backward(ctx, grad):
        return grad * 0.5, None


class RoundedLinear(nn.Linear):
    how = "weights"

    def forward(self, x):
        if self.how == "weights":
            return F.linear(x, Rounded.apply(self.weight, "weights"), self.bias)
        return Rounded.apply(super().forward(x), self.how)


@pytest.mark.parametrize("how", ["weights", "currents", "noise", "in place"])
def test_autograd_function_of_the_networks_own_is_one_operation(how):
    net, frames = nn.Sequential(RoundedLinear(6, 5), lif(), RoundedLinear(5, 3), lif(output=True)), events(4, 2, 6)
    net[0].how = net[2].how = how
    if how in ("weights", "currents"):
        assert_as_loop(net, frames)
        return
    fast = accelerate(net)
    with pytest.warns(UserWarning, match=r"random numbers|`Rounded` changes a tensor in place"):
        torch.manual_seed(1), fast(frames)


# What runs by its own loop, with a warning that names the line


class Refused(nn.Module):
    """Does one thing that cannot be computed over all time at once; the loop is inside or outside."""

    def __init__(self, what):
        super().__init__()
        self.what, self.fc, self.lif, self.count = what, nn.Linear(6, 6), lif(), 0
        self.fc2, self.kept = nn.Linear(6, 6), []

    def forward(self, x):
        cur = self.fc(x)
        match self.what:
            case "control flow":
                if cur.sum() > 0:
                    cur = cur * 2
            case "item":
                cur = cur * cur.abs().max().item()
            case "noise":
                cur = cur + torch.randn_like(cur)
            case "noise of torch":
                cur = cur + torch.randn(6)
            case "noise of Python":
                cur = cur * random.random()
            case "attribute":
                self.count += 1
                cur = cur * self.count
            case "list":
                self.kept.append(cur)
            case "state":
                cur = cur + self.lif.mem if self.lif.mem.numel() else cur
            case "state after the call":
                self.lif(cur)
                return self.lif.mem
            case "written input":
                cur = cur + x.mul_(1.0)
            case "write seen elsewhere":
                other = cur
                cur = self.fc2(cur)
                other += 1
                cur = cur + other.view(-1, 6) + cur
                before = cur.view(-1, 6)
                cur += 1
                cur = cur * before
            case "no gradient":
                with torch.no_grad():
                    cur = self.fc2(cur)
                cur = cur + self.fc(x)
            case "neuron":
                self.lif.beta = self.lif.beta * 0.9
        return self.lif(cur)


REFUSED = {
    "control flow": "if cur.sum",
    "item": "item",
    "noise": "randn_like",
    "noise of torch": "random numbers",
    "noise of Python": "random numbers",
    "attribute": "`count`",
    "list": "`kept`",
    "state": "state `mem`",
    "state after the call": "state `mem`",
    "written input": "in place",
    "write seen elsewhere": "in place",
    "no gradient": "gradients or autocast",
    "neuron": "numbers of a layer of neurons",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_traced_runs_by_the_loop_and_says_why(what):
    net, frames = Refused(what), events(4, 2, 6)
    twin = copy.deepcopy(net)
    torch.manual_seed(1), random.seed(1)
    expected = step_loop(twin, frames)
    torch.manual_seed(1), random.seed(1)
    fast = accelerate(net)
    with pytest.warns(UserWarning, match="runs by its own loop") as caught:
        got = fast(frames)
    message = str(caught[0].message)
    assert REFUSED[what] in message
    if what in ("control flow", "item", "noise", "state", "written input", "no gradient"):
        assert re.search(r"test_over_time\.py:\d+", message), message
    assert torch.equal(got, expected)
    assert "own loop" in fast.explain()


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"gain": 3.0}, "keyword"), ({"gain": 3.0}, "keyword only"), ({"gain": 3.0}, "any"), ({}, "default")],
)
def test_arguments_that_are_no_tensors_reach_the_network(options, kind):
    class Gained(nn.Sequential):
        match kind:
            case "keyword only":

                def forward(self, x, *, gain=1.0):
                    return super().forward(x * gain if gain else x)
            case "any":

                def forward(self, x, **options):
                    return super().forward(x * options["gain"])
            case _:

                def forward(self, x, gain=1.0, bias=None):
                    return super().forward(x * gain if bias is None else x + bias)

    net, frames = Gained(*fc_net()), events(4, 2, 6)
    fast = accelerate(net)
    assert_equal(fast(frames, **options), step_loop(lambda x: net(x, **options), frames, model=net))
    assert "own loop" not in fast.explain()


class Recorded(Looped):
    """A loop in one of many ways."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        with torch.no_grad():
            self.fc2.bias += 0.3

    def forward(self, x, state=None):
        mem1, mem2 = state or (self.lif1.reset_mem(), self.lif2.reset_mem())
        total, rec, late = torch.zeros(x.shape[1], 3), torch.zeros(*x.shape[:2], 3), torch.zeros(x.shape[1], 6)
        for step in range(len(x)):
            now = x.select(0, step) if self.how == "select" else x[step]
            spk, mem1 = self.lif1(self.fc1(now - late if self.how == "late" else now), mem1)
            spk, mem2 = self.lif2(self.fc2(spk) + torch.full((3,), 0.1), mem2)
            late = now * 0.5
            match self.how:
                case "in place":
                    total += spk
                case "record":
                    rec[step] = mem2
                case "record and sum":
                    rec[step, :, :] = mem2
                    total += spk
                case _:
                    total = total + spk
        return rec if self.how == "record" else (rec, total) if self.how == "record and sum" else total


@pytest.mark.parametrize("how", ["sum", "in place", "record", "record and sum", "select", "late"])
def test_loop_is_planned_however_it_is_written(how):
    assert_as_loop(Recorded(how), events(5, 2, 6), loop=own_loop)


def test_initial_state_given_as_a_tuple():
    net, frames = Recorded("sum"), events(5, 2, 6)
    state = (torch.rand(2, 5), torch.rand(2, 3))
    assert_equal(accelerate(net)(frames, state), own_loop(net, frames, state))


def test_result_of_the_step_before_reaches_neurons():
    class Late(Looped):
        def forward(self, x):
            mem1, mem2, before, rec = self.lif1.reset_mem(), self.lif2.reset_mem(), torch.zeros(x.shape[1], 5), []
            for frame in x:
                spk2, mem2 = self.lif2(before, mem2)
                spk1, mem1 = self.lif1(self.fc1(frame), mem1)
                before = spk1 * 0.7
                rec.append(self.fc2(spk2))
            return torch.stack(rec)

    net, frames = Late(), events(5, 2, 6, share=0.8)
    with torch.no_grad():
        net.fc1.weight.abs_()
    assert_as_loop(net, frames, loop=own_loop)
    assert own_loop(net, frames).any()


@pytest.mark.parametrize("what", ["grows", "counter", "read after writing"])
def test_tensors_of_the_loop_that_change_run_by_the_loop(what):
    class Growing(Looped):
        def forward(self, x):
            mem, rec, count, sums = self.lif1.reset_mem(), torch.empty(0), torch.ones(1), torch.zeros(x.shape[1], 5)
            for frame in x:
                spk, mem = self.lif1(self.fc1(frame) * (count if what == "counter" else 1), mem)
                rec = torch.cat([rec, spk[None]]) if what == "grows" else spk
                if what == "counter":
                    count += 1
                if what == "read after writing":
                    sums[:] = spk
            return rec, sums.sum(0)

    net, frames = Growing(), events(4, 2, 6)
    with pytest.warns(UserWarning, match="differ from each other|in place|has written"):
        assert_equal(accelerate(net)(frames), own_loop(net, frames))


def test_own_code_of_neurons_that_draws_random_numbers_runs_by_the_loop():
    class Noisy(snn.Leaky):
        def forward(self, cur):
            return super().forward(cur + torch.randn_like(cur))

    noisy = [Noisy(beta=0.9, init_hidden=True) for _ in range(2)]
    net, frames = nn.Sequential(nn.Linear(6, 5), noisy[0], nn.Linear(5, 3), noisy[1]), events(4, 2, 6)
    torch.manual_seed(1)
    expected = step_loop(net, frames)
    torch.manual_seed(1)
    with pytest.warns(UserWarning, match="random numbers"):
        assert torch.equal(accelerate(net)(frames), expected)


def test_random_numbers_before_the_loop_are_those_of_the_loop():
    class Encoded(Looped):
        def forward(self, image):
            return super().forward(spikegen.rate(image, num_steps=6))

    net, image = Encoded(), torch.rand(2, 6)
    assert_as_loop(net, image, loop=own_loop)
    fast = accelerate(net)
    assert not torch.equal(fast(image)[0], fast(image)[0])  # drawn anew in each call


@pytest.mark.parametrize("inside", [False, True])
def test_network_of_an_accelerated_network_takes_all_time(inside):
    class Around(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x)

    net, frames = fc_net(), events(4, 2, 6)
    around = Around(accelerate(net))
    assert_equal((accelerate(around) if inside else around)(frames), step_loop(net, frames))


@pytest.mark.parametrize("kind", ["LeakyParallel", "StateLeaky"])
@pytest.mark.parametrize("alone", [False, True])
def test_neurons_that_take_all_time(kind, alone):
    class Parallel(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2, self.lif = nn.Linear(6, 5), nn.Linear(5, 3), snn.Leaky(beta=0.8, threshold=0.3)
            parallel = kind == "LeakyParallel"
            self.first = snn.LeakyParallel(5, 5, beta=0.9) if parallel else snn.StateLeaky(beta=0.9, channels=5)

        def forward(self, x):
            spk = self.first(self.fc1(x))
            cur, rec = self.fc2(spk if kind == "LeakyParallel" else spk[0]), []
            if alone:
                return cur
            mem = self.lif.reset_mem()
            for now in cur:
                _, mem = self.lif(now, mem)
                rec.append(mem)
            return torch.stack(rec)

    net, frames = Parallel(), events(4, 2, 6)
    if alone:
        del net.lif
        assert torch.equal(accelerate(net)(frames), net(frames))
    else:
        assert_as_loop(net, frames, loop=own_loop)


@pytest.mark.parametrize("kind", ["SLSTM", "SConv2dLSTM", "SConv2dLSTM pooled"])
@pytest.mark.parametrize("hidden", [False, True])
def test_spiking_lstm(kind, hidden):
    def neurons():
        options = {"threshold": 0.05, "init_hidden": hidden}
        if kind == "SLSTM":
            return snn.SLSTM(6, 6, **options)
        return snn.SConv2dLSTM(2, 2, 3, max_pool=2 if "pooled" in kind else 0, **options)

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = neurons(), neurons()

        def forward(self, x):
            if hidden:
                return self.second(self.first(x))
            (syn1, mem1), (syn2, mem2), rec = self.first.reset_mem(), self.second.reset_mem(), []
            for frame in x:
                spk, syn1, mem1 = self.first(frame, syn1, mem1)
                spk, syn2, mem2 = self.second(spk, syn2, mem2)
                rec.append(spk)
            return torch.stack(rec)

    frames = events(4, 2, 6) if kind == "SLSTM" else events(4, 3, 2, 8, 8)
    text = assert_as_loop(Recurrent(), frames, loop=step_loop if hidden else own_loop)
    assert "step by step" in text


def test_steps_that_differ_run_by_the_loop():
    class Differing(Looped):
        def forward(self, x):
            mem, mem_rec = self.lif1.reset_mem(), []
            for step, frame in enumerate(x):
                cur = self.fc1(frame)
                _, mem = self.lif1(cur * 2 if step == 1 else cur, mem)
                mem_rec.append(mem)
            return torch.stack(mem_rec)

    net, frames = Differing(), events(4, 2, 6)
    with pytest.warns(UserWarning, match="differ from each other"):
        assert_equal(accelerate(net)(frames), own_loop(net, frames))


def test_numbers_that_differ_from_step_to_step_run_by_the_loop():
    class Fading(Looped):
        def forward(self, x):
            mem, mem_rec = self.lif1.reset_mem(), []
            for step, frame in enumerate(x):
                _, mem = self.lif1(self.fc1(frame) * 0.9**step, mem)
                mem_rec.append(mem)
            return torch.stack(mem_rec)

    net, frames = Fading(), events(4, 2, 6)
    with pytest.warns(UserWarning, match="differ from each other"):
        assert_equal(accelerate(net)(frames), own_loop(net, frames))


def test_hook_of_a_user_is_called_once_a_step():
    net, seen, frames = fc_net(), [], events(4, 2, 6)
    net[0].register_forward_hook(lambda module, args, output: seen.append(args[0].shape))
    with pytest.warns(UserWarning, match="hook on Linear"):
        accelerate(net)(frames)
    assert seen == [(2, 6)] * 4


def test_autocast_on_a_cpu_runs_by_the_loop():
    net, frames = nn.Sequential(nn.Linear(6, 5), lif(output=True)), events(4, 2, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.warns(UserWarning, match="autocast"):
        assert_equal(accelerate(net)(frames), step_loop(net, frames))


def test_compiled_network_runs():
    net, frames = fc_net(), events(4, 2, 6)
    compiled = torch.compile(accelerate(net), backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_equal(compiled(frames), step_loop(net, frames))


def test_network_that_torch_has_compiled_is_the_one_inside():
    net, frames = fc_net(), events(4, 2, 6)
    fast = accelerate(torch.compile(net, backend="eager"))
    assert_equal(fast(frames), step_loop(net, frames))
    assert "own loop" not in fast.explain()
    assert set(fast.state_dict()) == set(net.state_dict())
    inside = nn.Sequential(torch.compile(nn.Linear(6, 3), backend="eager"), lif())
    with pytest.warns(UserWarning, match=r"`0` is compiled by torch\.compile; give it as it was before"):
        accelerate(inside)(frames)


@pytest.mark.parametrize("make", [lambda: accelerate(fc_net()), lambda: Leaky(init_hidden=True), SpikingCNN])
def test_exported_network_says_what_to_export_instead(make):
    with pytest.raises(RuntimeError, match=r"`snn_helpers.export_step\(net, sample_shape\)` exports one time step"):
        torch.export.export(make(), (events(4, 2, 6),))


def test_transforms_of_torch_func_end_in_torchs_own_words():
    fast, frames = accelerate(fc_net()), events(4, 2, 6)
    parameters = {name: p.detach() for name, p in fast.named_parameters()}
    with pytest.warns(UserWarning, match="torch.func"), pytest.raises(RuntimeError, match="functorch transforms"):
        torch.func.grad(lambda p: torch.func.functional_call(fast, p, (frames,))[1].sum())(parameters)


def test_empty_batch_and_lazy_layers_run_by_the_loop():
    assert accelerate(fc_net())(events(4, 0, 6))[0].shape == (4, 0, 3)
    net, frames = nn.Sequential(nn.LazyLinear(5), lif()), events(4, 2, 6)
    fast = accelerate(net)
    with pytest.warns(UserWarning, match="hook on LazyLinear"):
        fast(frames)
    assert_equal(fast(frames), step_loop(net, frames))


def test_fingerprint_of_a_network_that_runs_itself_does_not_grow_with_its_plans():
    net = SpikingCNN(threshold=0.1).eval()
    frames = torch.zeros(2, 1, 2, 34, 34, dtype=torch.uint8)
    sizes = []
    for batch in range(1, 5):
        net(frames.expand(-1, batch, -1, -1, -1))
        sizes.append(len(repr(fingerprint(net))))
    assert sizes == [sizes[0]] * 4


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward"])
def test_hook_on_every_module_is_called_in_each_step(kind):
    net = nn.Sequential(nn.Linear(6, 4), Leaky(init_hidden=True, output=True))
    frames, seen = torch.ones(5, 2, 6, requires_grad=True), []
    fast = accelerate(net)
    register = getattr(nn.modules.module, f"register_module_{kind}_hook")
    handle = register(lambda module, *_: seen.append(module) if module is net[0] else None)
    try:
        with pytest.warns(UserWarning, match="a hook on every module .* must be called once a step"):
            fast(frames)[1].sum().backward()
    finally:
        handle.remove()
    assert seen == 5 * [net[0]]
    assert "own loop" not in (fast(frames), fast.explain())[1]


# One frame that `expand` lays along time


def repeating_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), lif(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5), nn.Dropout(0.2), lif(output=True)
    )


def test_frame_that_repeats_is_convolved_once():
    frame = 2 * torch.rand(3, 1, 8, 8)
    assert "once: the same in every step" in assert_as_loop(repeating_net(), frame.expand(6, *frame.shape))


def test_counts_that_repeat_are_taken_as_floats():
    net, frame = repeating_net().eval(), torch.randint(0, 4, (3, 1, 8, 8), dtype=torch.uint8)
    frames = frame.expand(6, *frame.shape)
    assert_equal(accelerate(net)(frames), step_loop(net, frames.float()))


def test_frame_that_repeats_is_told_from_frames_that_differ():
    net, frame = repeating_net().eval(), 2 * torch.rand(3, 1, 8, 8)
    fast, repeated = accelerate(net), frame.expand(6, *frame.shape)
    for frames in (repeated, torch.rand(6, 3, 1, 8, 8), repeated, repeated.clone(), repeated[:1]):
        assert_equal(fast(frames), step_loop(net, frames))


def test_frame_that_repeats_gets_the_gradient_of_each_step_where_one_is_asked_for():
    net, frame = repeating_net(), 2 * torch.rand(3, 1, 8, 8)
    frames = frame.expand(6, *frame.shape).requires_grad_()
    accelerate(net)(frames)[1].square().sum().backward()
    assert len(frames.grad.flatten(1).unique(dim=0)) == 6
