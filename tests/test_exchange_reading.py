"""Reading a step: a network that holds its own loop over time is the step that the loop repeats, or is refused."""

import pytest
import snntorch as snn
import torch
from torch import nn

from snn_helpers import accelerate, quantise
from snn_helpers.exchange.onnx import export_step
from snn_helpers.exchange.reading import read_step


class Tutorial(nn.Module):
    """A network as snnTorch's tutorials write it; `way` names what it does otherwise."""

    def __init__(self, way=""):
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.fc1, self.lif1 = nn.Linear(6, 8), snn.Leaky(beta=0.9, threshold=0.3)
        self.fc2, self.lif2 = nn.Linear(8, 8), snn.Synaptic(alpha=0.5, beta=0.8, threshold=0.3)
        self.lif3 = snn.RLeaky(beta=0.7, threshold=0.3, linear_features=8)

    def forward(self, frames):
        mem1, (syn2, mem2), (spk3, mem3) = self.lif1.init_leaky(), self.lif2.init_synaptic(), self.lif3.init_rleaky()
        if self.way == "charged":
            mem1 = torch.ones(frames.shape[1], 8)
        spk_rec, mem_rec, spk1 = [], [], torch.zeros(frames.shape[1], 8)
        mean = frames.mean(0) if self.way == "centred" else 0
        for frame in frames.flip(0) if self.way == "backwards" else frames:
            frame = frame - mean if self.way == "centred" else frame
            cur1 = self.fc1(frame) + (spk1 if self.way == "feedback" else 0)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            if self.way == "swapped":
                spk2, syn2, mem2 = self.lif2(cur2, mem2, syn2)
            else:
                spk2, syn2, mem2 = self.lif2(cur2, syn2, mem=mem2)
            spk3, mem3 = self.lif3(spk2, spk3, mem3)
            spk_rec.append(spk3)
            mem_rec.append(mem3)
        if self.way == "sums":
            return torch.stack(spk_rec).sum(0), torch.stack(mem_rec)
        return torch.stack(spk_rec, dim=0), torch.stack(mem_rec)


def frames_of(steps=9, batch=2):
    return torch.randint(0, 3, (steps, batch, 6), generator=torch.Generator().manual_seed(1)).float()


def test_loop_of_a_network_is_read_as_its_step():
    net, frames = Tutorial().eval(), frames_of()
    program, names = export_step(net, (6,))
    assert names == ["lif1.spk", "lif1.mem", "lif2.spk", "lif2.syn", "lif2.mem", "lif3.spk", "lif3.mem"]
    step, states, fired = program.module(), [torch.zeros(2, 8) for _ in names], []
    with torch.no_grad():
        for frame in frames:
            spk, _, *states = step(frame, *states)
            fired.append(spk)
        expected = net(frames)[0]
    assert 0.05 < expected.mean() < 0.95
    assert torch.equal(torch.stack(fired), expected)
    _, program = read_step(accelerate(net), (6,))
    assert program.one_step


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("charged", "`lif1`.* takes what the step before made"),
        ("feedback", "`add`.* takes what the step before made"),
        ("swapped", "`lif2`.* takes what the step before made"),
        ("backwards", "it takes something else than each frame in turn"),
        ("sums", "it returns something else than stacks of each step's results"),
    ],
)
def test_loop_that_is_more_than_its_steps_is_refused(way, message):
    with pytest.raises(ValueError, match=f"Tutorial: its loop over time cannot be read as steps.*: {message}"):
        read_step(Tutorial(way).eval(), (6,))


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("centred", r"`sub`.* takes what was computed before the loop over time"),
        ("whole", r"`fc`.* takes the input of all steps"),
    ],
)
def test_what_was_computed_before_the_loop_is_in_no_step(way, message):
    net = Tutorial(way) if way == "centred" else Repeating(lambda cur, step, steps: cur, whole=True)
    with pytest.raises(ValueError, match=message):
        read_step(net.eval(), (6,))


class Repeating(nn.Module):
    """A network with a loop of its own, in which `change` sees the currents, the step and how many there are."""

    def __init__(self, change, whole=False, num_steps=None):
        super().__init__()
        self.change, self.whole, self.num_steps = change, whole, num_steps
        self.fc, self.lif = nn.Linear(6, 4), snn.Leaky(beta=0.9)

    def forward(self, frames):
        mem, spk_rec, num_steps = self.lif.init_leaky(), [], self.num_steps or len(frames)
        for step in range(num_steps):
            cur = self.fc(frames if self.whole else frames[step])
            spk, mem = self.lif(self.change(cur, step, num_steps), mem)
            spk_rec.append(spk)
        return torch.stack(spk_rec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cur, step, steps: cur * 2 if step >= 5 else cur, "step 6 of its own loop"),
        (lambda cur, step, steps: cur * 2 if step == 24 else cur, "step 25 of its own loop"),
        (lambda cur, step, steps: cur * (0.5 if step < 4 else 0.9), "step 5 of its own loop"),
        (lambda cur, step, steps: cur / steps, "depends on their number: of 24 .* than of 25"),
        (lambda cur, step, steps: cur * torch.tensor(1 / steps), "depends on their number: of 24 .* than of 25"),
        (lambda cur, step, steps: cur if steps > 10 else cur * 2, "depends on their number: of 24 .* than of 3"),
    ],
)
def test_loop_that_changes_later_is_refused_by_its_step(change, message):
    with pytest.raises(ValueError, match=f"Repeating: .*{message}"):
        read_step(Repeating(change).eval(), (6,), num_steps=24)


def test_loop_of_a_number_of_its_own_is_read():
    _, program = read_step(Repeating(lambda cur, step, steps: cur, num_steps=25).eval(), (6,), num_steps=25)
    assert [op.target for op in program.steps][1:3] == ["fc", "lif"]


def test_tensor_of_the_batch_is_refused_in_a_graph_for_any_batch():
    with pytest.raises(ValueError, match=r"`add`.* takes a tensor whose shape follows from the batch's size"):
        export_step(Repeating(lambda cur, step, steps: cur + torch.ones(len(cur), 1)).eval(), (6,))


def test_network_with_a_loop_runs_in_whole_numbers_alone():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.fc, self.lif = nn.Linear(6, 4), snn.Leaky(beta=0.9, threshold=0.5)

        def forward(self, frames):
            mem, spk_rec = None, []
            for step in range(len(frames)):
                spk, mem = self.lif(self.fc(frames[step]), mem)
                spk_rec.append(spk)
            return torch.stack(spk_rec)

    made, frames = quantise(Net().eval(), 4), frames_of()
    with torch.no_grad():
        expected = made.network(frames)
    assert expected.any()
    assert torch.equal(made.integer((6,)).run(frames)[0].float(), expected)
