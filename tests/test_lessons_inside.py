"""The network that notebook 08 looks at, pretrained, named or of other data, and its faulty copy."""

import pytest
import torch

from snn_helpers import TrainConfig, lessons, train
from snn_helpers.lessons import networks

SHORT = {"num_samples": 20, "time_steps": 3, "epochs": 1, "batch_size": 10}
ASKED = {"profile": "smoke", "dataset": None, "data_dir": None, "seed": 1}


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_RESULTS_DIR", str(tmp_path / "results"))
    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path / "runs"))


def test_pretrained_network_is_trained_further_on_more_steps():
    from snn_helpers.models.cnn import SpikingCNN

    model, config, words = lessons.network_to_look_inside(None, ASKED, {**SHORT, "time_steps": 12, "lr": 1e-4}, SHORT)
    assert (config.dataset, config.time_steps, config.seed) == ("simulated", 12, 1)
    assert words.endswith("trained for one more epoch with T = 12, seed 1")
    assert not model.training
    before, after = SpikingCNN.pretrained().output.weights.weight, model.output.weights.weight
    assert 0 < float((before - after).detach().norm()) < 0.1 * float(before.detach().norm())


def test_named_network_is_taken_as_it_is(tmp_path):
    path = train(TrainConfig(**{**ASKED, **SHORT}, save_dir=tmp_path / "named")).paths["best"]
    _, config, words = lessons.network_to_look_inside(str(path), ASKED, {}, {})
    assert config.time_steps == 3
    assert words.startswith("the checkpoint named by the parameter")


def test_other_data_get_a_network_of_their_own(tmp_path, monkeypatch):
    path = train(TrainConfig(**{**ASKED, **SHORT}, save_dir=tmp_path / "other")).paths["best"]
    calls = []

    def trained(*arguments):
        calls.append(arguments)
        return path, TrainConfig(time_steps=3), "a network of these data"

    monkeypatch.setattr(networks, "trained_network", trained)
    asked = {**ASKED, "dataset": "motion"}
    model, config, words = lessons.network_to_look_inside(None, asked, {}, SHORT)
    assert calls == [(None, asked, SHORT)]
    assert (config.time_steps, model.training, words) == (3, False, "a network of these data")


def test_faulty_copy_differs_in_one_threshold():
    from snn_helpers.models.cnn import SpikingCNN

    model = SpikingCNN.pretrained()
    copied = lessons.faulty_copy(model, "conv3")
    assert copied.conv3.neurons.number("threshold") == pytest.approx(100 * model.conv3.neurons.number("threshold"))
    assert copied.conv2.neurons.number("threshold") == model.conv2.neurons.number("threshold")
    for (name, value), other in zip(model.named_parameters(), copied.parameters()):
        assert torch.equal(value, other), name
