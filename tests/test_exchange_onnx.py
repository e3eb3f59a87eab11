"""ONNX: the written step fires the same spikes in onnxruntime, for batches of any size."""

import sys

import numpy as np
import pytest
import snntorch as snn
import torch
from torch import nn

from snn_helpers import ALIF, Leaky, Synaptic, accelerate, export_step, to_onnx
from snn_helpers.exchange.onnx import run_onnx

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="the extra `exchange` is not installed")
HIDDEN = {"init_hidden": True}


def frames_of(*shape, steps=8, batch=3):
    return torch.poisson(torch.full((steps, batch, *shape), 0.4), torch.Generator().manual_seed(1))


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle = nn.Linear(6, 8), snn.RLeaky(0.8, linear_features=8, **HIDDEN)
        self.zero = snn.Leaky(0.7, reset_mechanism="zero", **HIDDEN)
        self.last, self.readout = (
            nn.Linear(8, 7),
            Synaptic(0.5, torch.linspace(0.5, 0.9, 7), 0.5, output=True, **HIDDEN),
        )
        self.shift = nn.Parameter(torch.full((8,), 0.3))

    def forward(self, frame):
        spk = self.middle(self.first(frame.view(frame.shape[0], -1)) + self.shift)
        return self.readout(self.last(self.zero(spk * 1.5) + spk))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (Odd, (2, 3)),
        (lambda: nn.Sequential(nn.Linear(4, 16), ALIF(threshold=0.1, **HIDDEN)), (4,)),
    ],
    ids=["own", "spikes alone"],
)
def test_step_in_onnxruntime_fires_the_same_for_any_batch(make, shape, tmp_path):
    torch.manual_seed(0)
    net = make().train()
    names = to_onnx(net, shape, tmp_path / "step.onnx")
    assert net.training
    net.eval()
    assert all(name.rpartition(".")[2] in ("spk", "mem", "syn", "adapted") for name in names)
    for batch in (1, 2, 5):
        frames = frames_of(*shape, batch=batch)
        with torch.no_grad():
            expected = (
                accelerate(net.eval(), engine="snntorch")(frames) if not hasattr(net, "over_time") else net(frames)
            )
        expected = expected if isinstance(expected, tuple) else (expected,)
        answer = run_onnx(tmp_path / "step.onnx", frames)
        assert len(answer) == len(expected)
        assert (torch.from_numpy(answer[0]) != expected[0]).float().mean() < 1e-3  # sums in another order
        if len(answer) > 1:
            np.testing.assert_allclose(answer[1], expected[1], rtol=0, atol=1e-3)
    assert expected[0].any()


class Changed(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, frame):
        return self.change(frame)


class Sized(nn.Module):
    """Names sizes of the frame and of the batch."""

    def __init__(self, features):
        super().__init__()
        self.features = features
        self.layer, self.neurons = nn.Linear(features, 3), Leaky(output=True, **HIDDEN)

    def forward(self, frame):
        return self.neurons(self.layer(frame.view(-1, self.features).view(frame.shape[0], self.features)))


@pytest.mark.parametrize("features", [7, 11])
def test_sizes_of_the_frame_are_not_taken_for_the_batchs(features, tmp_path):
    net = Sized(features).eval()
    to_onnx(net, (features,), tmp_path / "step.onnx")
    frames = frames_of(features, batch=2)
    np.testing.assert_array_equal(run_onnx(tmp_path / "step.onnx", frames)[0], accelerate(net)(frames)[0].detach())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda frame: frame.reshape(len(frame) * 3).reshape(-1, 3), "reshape"),
        (lambda frame: frame / frame.shape[0] ** 0.5, "truediv"),
        (lambda frame: frame[: frame.shape[0] - 1], "getitem"),
    ],
)
def test_number_that_follows_from_the_batchs_size_is_refused(change, name, tmp_path):
    net = nn.Sequential(Changed(change), nn.Linear(3, 3), Leaky(output=True, **HIDDEN)).eval()
    with pytest.raises(ValueError, match=f"`{name}`.*: takes a number that follows from the batch's size"):
        to_onnx(net, (3,), tmp_path / "step.onnx")


def test_slice_to_the_batchs_size_is_taken_for_any(tmp_path):
    net = nn.Sequential(Changed(lambda frame: frame[: frame.shape[0]]), nn.Linear(3, 3), Leaky(output=True, **HIDDEN))
    to_onnx(net.eval(), (3,), tmp_path / "step.onnx")
    frames = frames_of(3, batch=9)
    np.testing.assert_array_equal(run_onnx(tmp_path / "step.onnx", frames)[0], accelerate(net)(frames)[0].detach())


class Swapped(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.first, self.neurons = first, Leaky(output=True, **HIDDEN)

    def forward(self, frame):
        spk, mem = self.neurons(frame)
        return (mem, spk) if self.first == "mem" else (spk, frame)


def test_only_membranes_are_called_so(tmp_path):
    with pytest.raises(ValueError, match="Swapped: what it returns first are no spikes"):
        to_onnx(Swapped("mem"), (3,), tmp_path / "step.onnx")
    to_onnx(Swapped("spk"), (3,), tmp_path / "step.onnx")
    assert len(run_onnx(tmp_path / "step.onnx", frames_of(3))) == 1


def test_exported_program_fires_the_same_after_a_file_for_any_batch(tmp_path):
    torch.manual_seed(0)
    net = Odd().eval()
    program, names = export_step(net, (2, 3))
    torch.export.save(program, tmp_path / "step.pt2")
    step = torch.export.load(tmp_path / "step.pt2").module()
    assert names == ["middle.spk", "middle.mem", "zero.spk", "zero.mem", "readout.spk", "readout.syn", "readout.mem"]
    for batch in (1, 4):
        frames, fired = frames_of(2, 3, batch=batch), []
        states = [torch.zeros(batch, 7 if name.startswith("readout") else 8) for name in names]
        with torch.no_grad():
            for frame in frames:
                spk, _, *states = step(frame, *states)
                fired.append(spk)
            expected = accelerate(net, engine="snntorch")(frames)[0]
        assert expected.any()
        assert torch.equal(torch.stack(fired), expected)


def test_neurons_without_an_equation_are_named(tmp_path):
    net = nn.Sequential(nn.Linear(4, 3), snn.Alpha(0.9, 0.8, inhibition=False, **HIDDEN))
    net[1].state_quant = lambda value: value
    with pytest.raises(ValueError, match="1: cannot be said in ONNX: Alpha with `state_quant`"):
        to_onnx(net, (4,), tmp_path / "step.onnx")
    net = nn.Sequential(nn.Linear(4, 3), Leaky(**HIDDEN))
    net[0].weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"0\.weight: holds numbers that are not finite"):
        to_onnx(net, (4,), tmp_path / "step.onnx")
    with pytest.raises(ValueError, match=r"`sample_shape` \(5,\): Sequential does not run on such a frame"):
        to_onnx(net, (5,), tmp_path / "step.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_package_ends_in_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    net = nn.Sequential(nn.Linear(4, 3), Leaky(**HIDDEN))
    with pytest.raises(ImportError, match=r"ONNX needs the package onnxscript\. Run `pip install 'snn_helpers\[exch"):
        to_onnx(net, (4,), tmp_path / "step.onnx")


def test_file_that_is_no_graph_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "text.onnx").write_text("no graph")
    for name, message in (("text.onnx", "this is no ONNX graph, or it is damaged"), ("none", "there is no such file")):
        with pytest.raises(ValueError, match=message):
            run_onnx(tmp_path / name, np.zeros((2, 1, 4)))


def test_frames_of_another_shape_are_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    to_onnx(nn.Sequential(nn.Linear(4, 3), Leaky(init_hidden=True, output=True)), (4,), tmp_path / "net.onnx")
    for shape in ((2, 1, 5), (5,), (0, 1, 4)):
        with pytest.raises(ValueError, match=r"`frames` must be \[T, B, 4\] of one step or more"):
            run_onnx(tmp_path / "net.onnx", np.zeros(shape))
