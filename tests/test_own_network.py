"""Anyone's network: trained by `train(config, model=net)`, resumed, tested, scored; what is wrong is said early."""

import json
import re

import numpy as np
import pytest
import snntorch as snn
import torch
from torch import nn

from snn_helpers import (
    ALIF,
    Leaky,
    SpikingCNN,
    Splits,
    TrainConfig,
    diagnose,
    load_dataset,
    load_model,
    quantisation_aware,
    train,
)
from snn_helpers.activity import attribute_events, confusion_matrix, score_controls
from snn_helpers.models.readout import decide, decide_so_far, read_output
from snn_helpers.neurons import clamp_parameters
from snn_helpers.training.build import loss_function
from snn_helpers.training.checkpoint import CheckpointError, load_checkpoint
from snn_helpers.training.score import evaluate
from snn_helpers.training.stopping import TrainingStopped

PIXELS = 2 * 34 * 34


class StopAfter:
    """A monitor that wants to stop once it was asked so many times."""

    def __init__(self, steps):
        self.steps = steps

    @property
    def stop_requested(self):
        self.steps -= 1
        return self.steps <= 0

    def update(self, row):
        pass


def one_step(seed=0):
    """Return one step of a network, as snnTorch's tutorials write it with hidden states."""
    torch.manual_seed(seed)
    hidden, output = nn.Linear(PIXELS, 12), nn.Linear(12, 10)
    first, last = snn.Leaky(beta=0.9, init_hidden=True), snn.Leaky(beta=0.9, init_hidden=True, output=True)
    return nn.Sequential(nn.Flatten(), hidden, first, output, last)


def rounded(seed=0):
    """Return the same network, which learns with weights of 4 bits."""
    return quantisation_aware(one_step(seed), bits=4)


class OwnLoop(nn.Module):
    """A network with its loop over time, as snnTorch's tutorials write it; answers in the form asked for."""

    def __init__(self, answer=lambda spk, mem: (torch.stack(spk), torch.stack(mem)), seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.fc1, self.lif1 = nn.Linear(PIXELS, 12), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(12, 10), snn.Leaky(beta=0.9)
        self.answer = answer

    def forward(self, frames):
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk_rec, mem_rec = [], []
        for frame in frames:
            spk1, mem1 = self.lif1(self.fc1(frame.flatten(1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk_rec.append(spk2)
            mem_rec.append(mem2)
        return self.answer(spk_rec, mem_rec)


class NoNeurons(nn.Module):
    """A network whose neurons nobody knows: a threshold on sums over time."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.fc = nn.Linear(PIXELS, 10)

    def forward(self, frames):
        mem_rec = self.fc(frames.flatten(2)).cumsum(0)
        soft = torch.sigmoid(mem_rec)
        return (mem_rec > 0).to(soft.dtype) + soft - soft.detach(), mem_rec


@pytest.fixture
def splits(make_folder, data_home):
    """Return recordings to learn from, to watch and to test on."""
    folder = make_folder(per_class={"Train": 6, "Test": 1}, count=300)
    return Splits(*(load_dataset("nmnist", folder, split) for split in ("train", "valid", "test")))


@pytest.fixture
def make_config(tmp_path):
    """Return a maker of tiny runs, four steps an epoch."""

    def make(name="run", **changes):
        settings = {"dataset": "nmnist", "time_steps": 3, "batch_size": 16, "epochs": 2, "save_dir": tmp_path / name}
        return TrainConfig(**{**settings, **changes})

    return make


@pytest.mark.parametrize("make", [one_step, rounded, OwnLoop, NoNeurons])
def test_own_network_trains_goes_on_tests_and_loads(make, make_config, splits, tmp_path):
    net = make()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    whole = train(make_config("whole"), model=net, splits=splits)
    assert any(not torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert whole.metrics["config"]["model"] == "own"
    assert whole.metrics["initial_firing"] == {}  # its weights are left as they were handed over
    told = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert told["n_test"] == 10
    known = make is not NoNeurons
    assert bool(told["spike_fractions"]) == known
    assert ((told["synaptic_operations"] or 0) > 0) == known

    with pytest.raises(TrainingStopped):
        train(make_config("parts"), StopAfter(3), splits, model=make())
    last = tmp_path / "parts" / "last.pt"
    resumed = train(TrainConfig(resume=last), splits=splits, model=make(seed=1))
    assert repr(resumed.history) == repr(whole.history)  # nan where no neurons are known
    for name, value in load_checkpoint(last)["model"].items():
        assert torch.equal(value, load_checkpoint(tmp_path / "whole" / "last.pt")["model"][name])
    only = TrainConfig(resume=last, test_only=True, save_dir=tmp_path / "test")
    tested = train(only, splits=splits, model=make(seed=1))
    loaded, config = load_model(last, make(seed=1))
    assert config.model == "own"
    frames = torch.from_numpy(splits.test.frames(range(10), 3)).float()
    with torch.no_grad():
        right = decide(loaded(frames)).numpy() == splits.test.labels
    assert tested.metrics["test_accuracy"] == right.mean()


def test_checkpoint_of_an_own_network_asks_for_it(make_config, splits, tmp_path):
    train(make_config(epochs=1), model=NoNeurons(), splits=splits)
    best = tmp_path / "run" / "best.pt"
    for again in (lambda: load_model(best), lambda: train(TrainConfig(resume=best), splits=splits)):
        with pytest.raises(CheckpointError, match=r"best\.pt: its network is not one of this package's\. Build it and"):
            again()
    with pytest.raises(CheckpointError, match=r"holds another network: it (lacks|has) "):
        train(TrainConfig(resume=best), splits=splits, model=OwnLoop())
    begun = make_config("begun", epochs=1, init_from=best)
    assert train(begun, model=NoNeurons(), splits=splits).history


def test_settings_of_a_network_do_not_fit_one_that_was_handed_over(make_config, splits):
    with pytest.raises(
        ValueError, match="`beta` is a setting of cnn, resnet, recurrent, delayed and mixed; `model` is own"
    ):
        train(make_config(beta=0.5), model=NoNeurons(), splits=splits)
    with pytest.raises(ValueError, match="names 'resnet', and a network was handed over"):
        train(make_config(model="resnet"), model=NoNeurons(), splits=splits)
    with pytest.raises(ValueError, match=r"`engine`: NoNeurons runs by its own loop, whatever is asked for\."):
        train(make_config(engine="reference"), model=NoNeurons(), splits=splits)
    with pytest.raises(CheckpointError, match="`model` is 'own': the network is not"):
        train(make_config(model="own"), splits=splits)
    with pytest.raises(ValueError, match="`spike_penalty`: the network has no neurons"):
        train(make_config(spike_penalty=0.1), model=NoNeurons(), splits=splits)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda spk, mem: torch.stack(spk), "[3, 1, 10]"),
        (lambda spk, mem: (torch.stack(spk).sum(0), torch.stack(mem).sum(0)), "[1, 10], [1, 10]"),
        (lambda spk, mem: (spk, mem), "list, list"),
        (lambda spk, mem: (torch.stack(spk, 1), torch.stack(mem, 1)), "[1, 3, 10], [1, 3, 10]"),
    ],
)
def test_network_that_answers_otherwise_is_refused_before_any_work(answer, told, make_config, splits, tmp_path):
    message = rf"OwnLoop must answer \(spk_rec, mem_rec\), each \[T, B, classes\], .*; it answered {re.escape(told)}\."
    with pytest.raises(TypeError, match=message):
        train(make_config(), model=OwnLoop(answer), splits=splits)
    assert not (tmp_path / "run").exists()


def test_labels_that_are_no_classes_are_refused_before_any_work(make_config, splits, tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 4), Leaky(init_hidden=True, output=True))
    with pytest.raises(ValueError, match=r"`labels of the train split` must be in 0\.\.3, the classes of the network"):
        train(make_config(), model=net, splits=splits)
    assert not (tmp_path / "run").exists()


def batch(labels):
    torch.manual_seed(0)
    return torch.poisson(torch.full((3, len(labels), 2, 34, 34), 0.1)).to(torch.uint8), torch.tensor(labels)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([1, 10], ValueError, r"`labels` must be in 0\.\.9, the classes of the network; got 1\.\.10"),
        ([-1, 3], ValueError, r"`labels` must be in 0\.\.9, .*; got -1\.\.3"),
        ([0.5, 1.0], TypeError, r"`labels` must be whole numbers; got torch\.float32"),
    ],
)
def test_labels_that_are_no_classes_are_one_message_at_every_door(labels, error, message):
    frames, bad = batch(labels)
    net = SpikingCNN(engine="reference")
    output = net.eval()(frames)
    criterion = loss_function("ce_count_loss")
    with pytest.raises(error, match=message):
        criterion(output, bad)
    with pytest.raises(error, match=message):
        evaluate(net, [(frames, bad)], lambda *_: torch.zeros(()))
    with pytest.raises(error, match=message):
        diagnose(net, (frames, bad))
    numpy_message = message.replace(r"torch\.", "")
    with pytest.raises(error, match=numpy_message):
        score_controls(net, frames.numpy(), bad.numpy())
    with pytest.raises(error, match=numpy_message):
        confusion_matrix(bad.numpy(), np.array([0, 1]))
    with pytest.raises(error, match=message.replace("labels", "targets")):
        attribute_events(net, frames, bad)


def test_one_step_of_one_recording_is_refused_in_training_and_runs_in_eval():
    frames, labels = batch([3])
    net = SpikingCNN(engine="reference")
    message = r"normalisation over time and batch needs more than one value a channel in training"
    for call in (lambda: net(frames[:1]), lambda: diagnose(net, (frames[:1], labels))):
        with pytest.raises(ValueError, match=message):
            call()
    assert net.eval()(frames[:1]).spk_rec.shape == (1, 1, 10)
    assert diagnose(net, (frames[:1], labels)).layers


def test_batch_of_one_is_refused_before_any_work_where_a_normalisation_sees_one_step(make_config, splits, tmp_path):
    norm = nn.BatchNorm1d(10)
    net = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 10), norm, Leaky(init_hidden=True, output=True))
    with pytest.raises(ValueError, match="`batch_size`, `time_steps`: normalisation needs more than one value"):
        train(make_config(batch_size=1), model=net, splits=splits)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spikes", "membranes", "answer"),
    [
        ([[0, 0, 0]], [[20.0, 60.0, 90.0]], 2),  # where a squeezed membrane is 1 in float32
        ([[0, 0, 0]], [[-90.0, -60.0, -200.0]], 1),
        ([[1, 1, 0]], [[5.0, 5.0, 99.0]], 0),  # equal in all: the lower index
        ([[0, 1, 1], [1, 1, 0]], [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]], 1),
        ([[1, 0, 1], [0, 1, 0]], [[0.1, 0.2, 0.3], [0.1, 0.5, 0.3]], 1),
        ([[0, 0, 0]], [[float("nan"), 1.0, 0.0]], 1),
        ([[0, 0, 0]], [[float("-inf")] * 3], 0),
        ([[0, 1, 0]], [[1.0, float("-inf"), 1.0]], 1),
    ],
)
def test_ties_of_spikes_go_to_the_higher_membrane_and_then_to_the_lower_index(spikes, membranes, answer):
    spk_rec, mem_rec = torch.tensor(spikes, dtype=torch.float32)[:, None], torch.tensor(membranes)[:, None]
    assert decide((spk_rec, mem_rec)).tolist() == [answer]
    assert decide_so_far(spk_rec, mem_rec)[-1].tolist() == [answer]


FORMS = {
    "tuple": lambda spk, mem: (torch.stack(spk), torch.stack(mem)),
    "list": lambda spk, mem: [torch.stack(spk), torch.stack(mem)],
    "tensor": lambda spk, mem: torch.stack(spk),
    "lists of steps": lambda spk, mem: (spk, mem),
    "list of steps": lambda spk, mem: spk,
}


@pytest.mark.parametrize("form", FORMS)
def test_controls_score_plain_networks_of_snntorch_whatever_they_answer(form):
    frames, labels = batch([0, 1, 2, 3, 4, 5])
    net = OwnLoop(FORMS[form])
    scores = score_controls(net, frames.numpy(), labels.numpy(), batch_size=4)
    with torch.no_grad():
        spk_rec, mem_rec = OwnLoop()(frames.float())
    if form in ("tensor", "list of steps"):
        mem_rec = torch.zeros_like(mem_rec)
    assert scores["as recorded"].accuracy == (decide((spk_rec, mem_rec)) == labels).float().mean()
    assert diagnose(net, (frames, labels)).layers


def test_controls_score_one_step_of_a_network():
    frames, labels = batch([0, 1, 2, 3, 4, 5])
    net = one_step()
    scores = score_controls(net, frames.numpy(), labels.numpy())
    assert scores["as recorded"].total == 6
    assert net.training


@pytest.mark.parametrize("answer", [torch.zeros(3, 2), None, (), ("spikes",), [torch.zeros(2, 2, 2, 2)]])
def test_answer_without_spikes_over_time_is_refused(answer):
    with pytest.raises(TypeError, match=r"a network must answer output spikes \[T, B, classes\]"):
        read_output(answer)


def test_checkpoint_holds_learned_parameters_as_they_are_used(make_config, splits, tmp_path):
    def make():
        torch.manual_seed(0)
        neurons = ALIF(0.9, 1.0, learn=("beta", "threshold"), init_hidden=True, output=True)
        return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 10), neurons)

    net = make()
    config = make_config(epochs=1, batch_size=60, lr=100.0, scheduler="none", loss="ce_max_membrane_loss")
    train(config, model=net, splits=splits)
    again = make()
    load_model(tmp_path / "run" / "last.pt", again)
    saved = load_checkpoint(tmp_path / "run" / "last.pt")["model"]
    assert net[2].beta.item() in (0.0, 1.0)  # a step of 100 leads out of the range
    for name in ("beta", "threshold"):
        assert torch.equal(saved[f"2.{name}"], getattr(net[2], name).detach())
        assert torch.equal(getattr(again[2], name), getattr(net[2], name))
    clamp_parameters(again)  # nothing is left to set back
    assert torch.equal(again[2].beta, net[2].beta)
