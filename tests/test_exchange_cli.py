"""The command `export`: what it writes, what it says, and what it refuses before any work."""

import re
import sys
from dataclasses import asdict

import pytest
import torch
from torch import nn

from snn_helpers import Leaky, SpikingCNN, TrainConfig, balance_firing, load_dataset
from snn_helpers.cli import main
from snn_helpers.exchange.quantise import load_quantised
from snn_helpers.models.pretrained import read_weights
from snn_helpers.models.readout import decide
from snn_helpers.models.registry import MODELS, RegisteredModel
from snn_helpers.models.settings import CNNSettings
from snn_helpers.training.checkpoint import KEYS, load_checkpoint, save_checkpoint


class Strided(nn.Sequential):
    """A network that NIR can say."""

    def __init__(self, beta=0.9, **_):
        neurons = [Leaky(beta, 0.5, init_hidden=True, output=last) for last in (False, True)]
        super().__init__(
            nn.Conv2d(2, 4, 5, stride=4), nn.BatchNorm2d(4), neurons[0], nn.Flatten(), nn.Linear(256, 10), neurons[1]
        )


@pytest.fixture
def folder(make_folder, data_home):
    return make_folder(per_class={"Train": 6, "Test": 1}, count=200)


@pytest.fixture
def make_checkpoint(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "strided", RegisteredModel(CNNSettings, Strided))

    def make(model="cnn"):
        torch.manual_seed(0)
        frames = torch.poisson(torch.full((5, 8, 2, 34, 34), 0.2))
        net = SpikingCNN(threshold=0.1) if model == "cnn" else Strided()
        if model == "cnn":
            balance_firing(net, frames, 0.1)
        config = asdict(TrainConfig(model=model, dataset="nmnist", data_dir=str(folder), time_steps=5).resolve())
        geometry = {"num_classes": 10, "in_channels": 2, "image_size": 34}
        data = {"train": {"dataset": "nmnist", "recordings": 54}}
        state = {**dict.fromkeys(KEYS), "model": net.state_dict(), "config": config, "geometry": geometry, "data": data}
        save_checkpoint(tmp_path / "best.pt", state)
        return tmp_path / "best.pt", net

    return make


def export(*arguments):
    return main(["export", *map(str, arguments)])


def test_nir_says_what_is_kept_and_how_many_spikes_differ(make_checkpoint, tmp_path, capsys):
    pytest.importorskip("nir", reason="the extra `exchange` is not installed")
    path, _ = make_checkpoint("strided")
    assert export(path, "--to", "nir", "--num_samples", 10, "--dt", 1e-3) == 0
    told = capsys.readouterr().out
    assert f"written to {tmp_path / 'best.nir'}" in told
    assert "normalisations are folded into weights" in told
    assert "meant for steps of 0.001 s" in told
    assert re.search(r"read again: 0 of 500 output spikes differ, 0 of 10 answers", told)


def test_max_pool_is_refused_for_nir_and_leaves_no_file(make_checkpoint, tmp_path, capsys):
    pytest.importorskip("nir", reason="the extra `exchange` is not installed")
    path, _ = make_checkpoint()
    assert export(path, "--to", "nir") == 1
    assert "snn-helpers: conv1.pool: NIR has no node for MaxPool2d" in capsys.readouterr().err
    assert {file.name for file in tmp_path.glob("best*")} == {"best.pt"}


def test_onnx_names_its_states(make_checkpoint, tmp_path, capsys):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the extra `exchange` is not installed")
    path, _ = make_checkpoint()
    assert export(path, "--to", "onnx", "--out", tmp_path / "deep" / "step.onnx", "--num_samples", 10) == 0
    told = capsys.readouterr().out
    assert "states that start as zeros, in and out: conv1.spk, conv1.mem, conv2.spk" in told
    assert re.search(r"in onnxruntime: [0-5] of 500 output spikes differ", told)
    assert (tmp_path / "deep" / "step.onnx").is_file()


def test_weights_of_few_bits_come_back_from_the_file(make_checkpoint, tmp_path, capsys):
    path, net = make_checkpoint()
    assert export(path, "--to", "int4", "--num_samples", 10) == 0
    told = capsys.readouterr().out
    assert re.search(r"approximated: 5 layers of weights at 4 bits: [\d,]+ bytes became [\d,]+; largest error", told)
    assert "dequantised:" in told
    assert "in whole numbers alone:" in told
    before, rounded = re.search(r"a recording: ([\d.]+) million before, ([\d.]+) million rounded", told).groups()
    assert 0 < float(rounded) < float(before)  # weights that became zero pass nothing on
    again = load_quantised(tmp_path / "best-int4.pt", net)
    assert not torch.equal(again.network.conv1.weights.weight, net.conv1.weights.weight)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_samples", "-1"], "`--num_samples` must be a whole number in [0, 1000000]"),
        (["--dt", "0"], "`--dt` must be a number > 0"),
        (["--out", "."], "`--out`: . is a folder; name a file in it"),
    ],
)
def test_bad_flags_are_refused_before_the_checkpoint_is_read(flags, message, capsys):
    assert export("nowhere.pt", "--to", "int8", *flags) == 1
    assert message in capsys.readouterr().err


def test_missing_package_and_missing_checkpoint_are_said_first(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert export(tmp_path / "nowhere.pt", "--to", "onnx") == 1
    assert "`--to onnx` needs the package onnx. Run `pip install 'snn_helpers[exchange]'`." in capsys.readouterr().err
    assert export(tmp_path / "nowhere.pt", "--to", "int8") == 1
    assert "there is no checkpoint here" in capsys.readouterr().err


def test_weights_come_with_a_card_whose_scores_are_theirs(make_checkpoint, tmp_path, capsys):
    path, net = make_checkpoint()
    assert export(path, "--to", "weights", "--out", tmp_path / "mine.npz") == 0
    told = capsys.readouterr().out
    card, state = read_weights(tmp_path / "mine.npz")
    assert str(card) in told
    net.load_state_dict(state)
    test_set = load_dataset("nmnist", card_folder(path), "test")
    answers = decide(net.eval()(torch.from_numpy(test_set.frames(range(len(test_set)), card.time_steps))))
    assert card.scores["test"]["hits"] == int((answers == torch.from_numpy(test_set.labels)).sum())
    assert card.scores["test"]["n"] == len(test_set) == card.data["test"]["recordings"]
    assert card.data["train"]["recordings"] == 54
    assert (card.network, card.time_steps, card.seed) == ("cnn", 5, 0)
    assert "data_dir" not in card.settings
    assert card.commands[0].startswith("snn-helpers train --model cnn --profile teach --dataset nmnist --seed 0")
    assert "--time_steps 5" in card.commands[0]


def card_folder(checkpoint):
    return load_checkpoint(checkpoint)["config"]["data_dir"]


def test_weights_of_a_network_of_ones_own_are_refused(make_checkpoint, tmp_path, capsys):
    path, _ = make_checkpoint("strided")
    assert export(path, "--to", "weights") == 1
    assert "strided is no network of this package; take int8" in capsys.readouterr().err
    assert not (tmp_path / "best.npz").exists()
