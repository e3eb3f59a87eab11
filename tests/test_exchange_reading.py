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


def test_what_was_computed_before_the_loop_is_in_no_step():
    with pytest.raises(ValueError, match=r"`sub`.* takes what was computed before the loop over time"):
        export_step(Tutorial("centred").eval(), (6,))


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
