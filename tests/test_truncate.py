"""Truncated backpropagation through time, held against a loop over snnTorch that detaches its state."""

import contextlib
import copy

import pytest
import snntorch as snn
import torch
from torch import nn
from torch.nn import functional as F

from snn_helpers import ALIF, Delay, Leaky, RLeaky, Synaptic, TrainConfig, accelerate, train
from snn_helpers.activity import firing_fractions
from snn_helpers.models.delayed import DelayedSNN
from snn_helpers.models.mixed import MixedSNN
from snn_helpers.models.readout import run_network
from snn_helpers.models.recurrent import RecurrentSNN
from snn_helpers.models.resnet import SpikingResNet
from snn_helpers.neurons import HiddenState
from snn_helpers.over_time import NormOverTime
from snn_helpers.training.estimate import expected_memory
from snn_helpers.training.truncate import Parts, check_truncation, parts_of

STEPS, BATCH = 11, 3
FAST_SIGMOID = snn.surrogate.fast_sigmoid(25)


def parts(model, frames, num_steps):
    return Parts(model, frames, num_steps, model, contextlib.nullcontext())


def rain(steps=STEPS, features=8, seed=0):
    return torch.poisson(torch.full((steps, BATCH, features), 0.5), torch.Generator().manual_seed(seed))


def objective(output):
    return F.cross_entropy(output.mem_rec.sum(0), torch.arange(BATCH)) + 0.1 * output.spk_rec.mean()


def gradients(model):
    return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]


def truncated(model, frames, num_steps):
    """Return outputs and gradients of a step in parts."""
    model.zero_grad()
    torch.manual_seed(2)
    step = parts(model, frames, num_steps)
    output, _ = step.forward()
    objective(output).backward()
    step.backward()
    return output, gradients(model)


def whole(model, frames):
    model.zero_grad()
    torch.manual_seed(2)
    output = run_network(model, frames)
    objective(output).backward()
    return output, gradients(model)


class PlainLoop(nn.Module):
    """snnTorch's own neurons, their states handed on by hand, and cut off from the graph every `cut` steps."""

    def __init__(self, recurrent):
        super().__init__()
        kind = snn.RLeaky if recurrent else snn.Leaky
        options = {"linear_features": 6} if recurrent else {}
        self.first, self.out = nn.Linear(8, 6), nn.Linear(6, 4)
        self.hidden = kind(0.8, threshold=0.5, learn_beta=True, spike_grad=FAST_SIGMOID, **options)
        self.last = snn.Leaky(0.9, threshold=0.5, spike_grad=FAST_SIGMOID)
        if recurrent:
            nn.init.zeros_(self.hidden.recurrent.bias)

    def run(self, frames, cut):
        spk, mem, last_mem, steps = torch.zeros(BATCH, 6), torch.zeros(BATCH, 6), torch.zeros(BATCH, 4), []
        for place, frame in enumerate(frames):
            if place % cut == 0:
                spk, mem, last_mem = spk.detach(), mem.detach(), last_mem.detach()
            given = (spk, mem) if isinstance(self.hidden, snn.RLeaky) else (mem,)
            spk, mem = self.hidden(self.first(frame), *given)
            last_spk, last_mem = self.last(self.out(spk), last_mem)
            steps.append((last_spk, last_mem))
        return tuple(map(torch.stack, zip(*steps)))


def same_network(plain, own, engine):
    """Return the plain loop's network as one step: of our neurons, or of snnTorch's that keep their state."""
    recurrent = isinstance(plain.hidden, snn.RLeaky)
    ours = {"init_hidden": True}
    if own:
        hidden = RLeaky(6, 0.8, 0.5, learn=("beta",), **ours) if recurrent else Leaky(0.8, 0.5, learn=("beta",), **ours)
        last = Leaky(0.9, 0.5, output=True, **ours)
    else:
        kind = snn.RLeaky if recurrent else snn.Leaky
        options = {"linear_features": 6} if recurrent else {}
        hidden = kind(0.8, threshold=0.5, learn_beta=True, spike_grad=FAST_SIGMOID, **options, **ours)
        last = snn.Leaky(0.9, threshold=0.5, spike_grad=FAST_SIGMOID, output=True, **ours)
    if recurrent:
        with torch.no_grad():
            hidden.recurrent.weight.copy_(plain.hidden.recurrent.weight)
            if not own:
                hidden.recurrent.bias.zero_()
    net = nn.Sequential(plain.first, hidden, plain.out, last)
    return accelerate(net, engine), hidden


@pytest.mark.parametrize("cut", [1, 4, STEPS])
@pytest.mark.parametrize("recurrent", [False, True], ids=["leaky", "rleaky"])
@pytest.mark.parametrize(("own", "engine"), [(True, "auto"), (True, "reference"), (False, "auto")])
def test_gradients_are_those_of_a_loop_that_detaches_its_state(cut, recurrent, own, engine):
    torch.manual_seed(0)
    plain, frames = PlainLoop(recurrent), rain()
    spk_rec, mem_rec = plain.run(frames, cut)
    assert 0.05 < spk_rec.detach().mean() < 0.9
    loss = F.cross_entropy(mem_rec.sum(0), torch.arange(BATCH)) + 0.1 * spk_rec.mean()
    learned = [*plain.first.parameters(), *plain.out.parameters(), plain.hidden.beta]
    learned += [plain.hidden.recurrent.weight] if recurrent else []
    theirs = torch.autograd.grad(loss, learned)
    model, hidden = same_network(plain, own, engine)
    output, _ = truncated(model, frames, cut)
    assert torch.equal(output.spk_rec, spk_rec)
    torch.testing.assert_close(output.mem_rec, mem_rec)
    ours = [*plain.first.parameters(), *plain.out.parameters(), hidden.beta]
    ours += [hidden.recurrent.weight] if recurrent else []
    for weight, their in zip(ours, theirs):
        assert (weight.grad - their).norm() <= 1e-5 * their.norm() + 1e-7


NETWORKS = {
    "recurrent": lambda: RecurrentSNN(threshold=0.1, norm="none"),
    "delayed": lambda: DelayedSNN(threshold=0.1, norm="none", delays="0,2,5"),
    "mixed": lambda: MixedSNN(threshold=0.1, norm="none", learn=("beta",)),
    "resnet": lambda: SpikingResNet(threshold=0.1, norm="none", channels=(4, 6), hidden=12),
    "resnet by snnTorch": lambda: SpikingResNet(
        threshold=0.1, norm="none", channels=(4, 6), hidden=12, engine="snntorch"
    ),
}


def images(steps=STEPS):
    generator = torch.Generator().manual_seed(0)
    return torch.poisson(torch.full((steps, BATCH, 2, 34, 34), 0.3), generator).to(torch.uint8)


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_spikes_are_those_of_whole_recordings_and_gradients_those_of_all_steps_in_one_part(make):
    torch.manual_seed(0)
    model, frames = make().train(), images()
    output, full = whole(model, frames)
    assert output.spk_rec.any()
    cut, ours = truncated(model, frames, 4)
    assert torch.equal(cut.spk_rec, output.spk_rec)
    torch.testing.assert_close(cut.mem_rec, output.mem_rec, rtol=1e-4, atol=1e-5)
    assert any((one - other).norm() > 1e-3 * other.norm() for one, other in zip(ours, full))  # something is cut off
    one_part, equal = truncated(model, frames, STEPS)
    assert torch.equal(one_part.spk_rec, output.spk_rec)
    for one, other in zip(equal, full):
        assert (one - other).norm() <= 1e-5 * other.norm() + 1e-8
    assert all(module.hidden == () for module in model.modules() if isinstance(module, HiddenState))


def test_several_processes_average_the_gradients_of_all_parts(tmp_path):
    torch.manual_seed(0)
    model, frames = MixedSNN(threshold=0.1).train(), images()
    _, alone = truncated(copy.deepcopy(model), frames, 4)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped, averaged = nn.parallel.DistributedDataParallel(model), []
        wrapped.register_comm_hook(averaged, _note_and_average)
        torch.manual_seed(2)
        step = Parts(model, frames, 4, wrapped, contextlib.nullcontext())
        objective(step.forward()[0]).backward()
        step.backward()
    finally:
        torch.distributed.destroy_process_group()
    assert averaged == [0]  # once, after the last part
    for one, other in zip(gradients(model), alone):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def _note_and_average(averaged, bucket):
    averaged.append(bucket.index())
    future = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


def test_without_memory_nothing_is_cut_off():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), Leaky(0.0, 0.5, init_hidden=True), nn.Dropout(0.3))
    net = accelerate(nn.Sequential(*net, nn.Linear(6, 4), Leaky(0.0, 0.5, init_hidden=True, output=True)).train())
    output, full = whole(net, rain())
    for num_steps in (1, 4):
        cut, ours = truncated(net, rain(), num_steps)
        assert torch.equal(cut.spk_rec, output.spk_rec)
        for one, other in zip(ours, full):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [Synaptic, ALIF])
def test_gradients_of_neurons_with_more_states_are_those_of_a_loop_of_steps(kind):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), kind(beta=0.8, threshold=0.4, init_hidden=True), Delay([0, 3]))
    net = nn.Sequential(*net, nn.Linear(12, 4), Leaky(0.9, 0.5, init_hidden=True, output=True))
    frames, steps = rain(), []
    for place, frame in enumerate(frames):
        if place % 4 == 0:
            for module in net:
                module.hidden = tuple(state.detach() for state in getattr(module, "hidden", ()))
        steps.append(net(frame))
    spk_rec, mem_rec = map(torch.stack, zip(*steps))
    loss = F.cross_entropy(mem_rec.sum(0), torch.arange(BATCH)) + 0.1 * spk_rec.mean()
    theirs = torch.autograd.grad(loss, [*net.parameters()])
    output, ours = truncated(accelerate(net), frames, 4)
    assert torch.equal(output.spk_rec, spk_rec)
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_penalty_on_spikes_and_running_statistics_are_those_of_whole_recordings():
    def made():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), Leaky(0.0, 0.5, init_hidden=True))
        return accelerate(nn.Sequential(*net, nn.Linear(6, 4), Leaky(0.0, 0.5, init_hidden=True, output=True)))

    model, other = made(), made()
    with firing_fractions(model) as fractions:
        model(rain())
    sum(fractions.values()).backward()
    step = parts(other, rain(), 4)
    _, found = step.forward()
    sum(found.values()).backward()
    step.backward()
    for name, fraction in fractions.items():
        torch.testing.assert_close(found[name].detach(), fraction.detach())
    for one, theirs in zip(gradients(other), gradients(model)):
        torch.testing.assert_close(one, theirs, rtol=1e-4, atol=1e-6)
    for one, theirs in zip(other.buffers(), model.buffers()):
        torch.testing.assert_close(one, theirs)


def test_no_part_holds_more_than_its_steps(monkeypatch):
    """What autograd saves at any time is that of one part: of a tenth of the steps, hardly more than a tenth."""
    torch.manual_seed(0)
    model, frames, most = MixedSNN(threshold=0.1, norm="none"), images(20), []
    kept = [0]

    def pack(tensor):
        kept[0] += tensor.numel() * tensor.element_size()
        return tensor

    backward = torch.autograd.backward

    def watched(*args, **options):
        most.append(kept[0])
        kept[0] = 0
        return backward(*args, **options)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        monkeypatch.setattr(torch.autograd, "backward", watched)
        for num_steps in (20, 2):
            step = parts(model, frames, num_steps)
            output, _ = step.forward()
            for value in output:
                value.grad = torch.ones_like(value)
            kept[0] = 0
            step.backward()
    assert len(most) == 1 + 10
    assert max(most[1:]) < 0.2 * most[0]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_normalisation_uses_the_statistics_of_whole_recordings(momentum):
    def made():
        torch.manual_seed(0)
        model = MixedSNN(threshold=0.1).train()
        for norm in (module for module in model.modules() if isinstance(module, NormOverTime)):
            norm.momentum = momentum
        return model

    ordinary, model, frames = made(), made(), images()
    output, _ = whole(ordinary, frames)
    cut, ours = truncated(model, frames, 4)
    assert output.spk_rec.any()
    assert (cut.spk_rec != output.spk_rec).float().mean() < 1e-3  # membranes within rounding of the threshold
    for (name, one), theirs in zip(model.named_buffers(), ordinary.buffers()):
        torch.testing.assert_close(one, theirs, rtol=1e-4, atol=1e-6, msg=name)
    assert all(module.training for module in model.modules())
    # In one part, the gradients are those of a network whose statistics are constants.
    _, one_part = truncated(model, frames, STEPS)
    fixed = made()
    for norm in (module for module in fixed.modules() if isinstance(module, NormOverTime)):
        norm.momentum = 1.0
    with torch.no_grad():
        torch.manual_seed(2)
        fixed(frames)
    sizes = dict(zip(("conv1", "conv2", "conv3", "hidden"), (34 * 34, 17 * 17, 8 * 8, 1)))
    for name, pixels in sizes.items():
        norm = fixed.get_submodule(f"{name}.norm").eval()
        norm.running_var *= 1 - 1 / (STEPS * BATCH * pixels)
    _, theirs = whole(fixed, frames)
    for one, their in zip(one_part, theirs):
        assert (one - their).norm() <= 1e-3 * their.norm() + 1e-7
    assert any((one - other).norm() > 1e-2 * other.norm() for one, other in zip(ours, theirs))


def test_expected_memory_is_a_parts():
    model = MixedSNN(norm="none")
    long, cut = (TrainConfig(model="mixed", time_steps=400, batch_size=8, truncate=steps) for steps in (0, 10))
    assert expected_memory(model, cut, (2, 34, 34)) < 0.5 * expected_memory(model, long, (2, 34, 34))


class Loop(nn.Module):
    """Holds its own loop over time."""

    def __init__(self):
        super().__init__()
        self.weights, self.neurons = nn.Linear(8, 4), snn.Leaky(0.9)

    def forward(self, frames):
        mem, steps = self.neurons.init_leaky(), []
        for frame in frames:
            spk, mem = self.neurons(self.weights(frame), mem)
            steps.append((spk, mem))
        return tuple(map(torch.stack, zip(*steps)))


class Dense(nn.Module):
    """Has no neurons."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Linear(8, 4)

    def forward(self, frames):
        return self.weights(frames), self.weights(frames)


class Pixels(nn.Module):
    """Takes all steps, and has no neurons either."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Linear(2 * 34 * 34, 10)

    def forward(self, frames):
        return 2 * (self.weights(frames.flatten(2)),)


class Remembers(nn.Module):
    """Keeps a state that nobody knows of."""

    def __init__(self):
        super().__init__()
        self.weights, self.neurons = nn.Linear(8, 4), Leaky(init_hidden=True, output=True)
        self.last = None

    def forward(self, frame):
        before, self.last = self.last, frame
        return self.neurons(self.weights(frame if before is None else frame + before))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: accelerate(
                nn.Sequential(nn.Linear(8, 4), NormOverTime(4, track_running_stats=False), Leaky(init_hidden=True))
            ),
            "`truncate`: the network has a NormOverTime without running statistics",
        ),
        (lambda: accelerate(Loop()), "`truncate`: the state between two parts is not known: Loop holds its own loop"),
        (Dense, "`truncate`: Dense has no neurons of snn_helpers or snnTorch that take one step a call"),
        (lambda: accelerate(Remembers()), "`truncate`: the state between two parts is not known: Remembers: its step "),
    ],
)
def test_network_whose_state_is_not_known_is_refused(make, message):
    model = make().train()
    frame = (8,)
    config = TrainConfig(time_steps=8, truncate=4)
    with pytest.raises(ValueError, match=message):
        check_truncation(model, config, frame)
    check_truncation(model, TrainConfig(time_steps=8, truncate=8), frame)  # nothing is cut off
    assert parts_of(TrainConfig(time_steps=8, truncate=8), model, torch.zeros(8, 1, *frame)) is None


def test_run_is_refused_before_any_work_and_trains_in_parts(make_folder, data_home, tmp_path):
    with pytest.raises(ValueError, match=r"`truncate` must be a whole number in \[0, 1000000\]; got -1"):
        TrainConfig(truncate=-1)
    folder = make_folder(per_class={"Train": 6, "Test": 2}, count=300)
    given = {
        "model": "mixed", "dataset": "nmnist", "data_dir": str(folder), "time_steps": 5, "batch_size": 16, "epochs": 1,
        "profile": "smoke", "truncate": 2,
    }  # fmt: skip
    own = TrainConfig(**{**given, "model": "own"}, save_dir=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="`truncate`: Pixels has no neurons"):
        train(own, model=Pixels())
    assert not (tmp_path / "none").exists()
    result = train(TrainConfig(**given, spike_penalty=0.1, save_dir=str(tmp_path / "run")))
    assert result.metrics["config"]["truncate"] == 2
