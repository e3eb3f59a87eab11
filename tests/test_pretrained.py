"""Weights that come with the package: what their cards say is true, and a damaged file is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from snn_helpers import SpikingCNN, SpikingResNet, load_dataset
from snn_helpers.cli import _make_parser
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.models.pretrained import (
    FOLDER,
    Card,
    WeightsError,
    eight_bits,
    read_weights,
    restored,
    write_weights,
)
from snn_helpers.models.readout import decide
from snn_helpers.stats import wilson_interval
from snn_helpers.training.build import build_model
from snn_helpers.training.config import TrainConfig

NETWORKS = {"cnn": SpikingCNN, "resnet": SpikingResNet}
SMALL = 400_000 * 2  # bytes


@pytest.fixture(scope="module", params=NETWORKS)
def pretrained(request):
    return NETWORKS[request.param].pretrained()


def test_network_is_in_eval_mode_and_has_its_card(pretrained):
    assert not pretrained.training
    assert NETWORKS[pretrained.card.network] is type(pretrained)
    assert f"seed {pretrained.card.seed}" in str(pretrained.card)


def test_accuracy_on_a_part_of_the_test_split_fits_the_card(pretrained):
    """The whole split is scored when the weights are written; 100 recordings of it must not contradict the card."""
    card, count = pretrained.card, 100
    recordings = load_dataset(card.data["test"]["dataset"], None, "test")
    assert recordings.provenance.as_dict() == card.data["test"]
    recordings = recordings.take(count)
    frames = torch.from_numpy(recordings.frames(range(count), card.time_steps))
    with torch.inference_mode():
        hits = int((decide(pretrained(frames)) == torch.from_numpy(recordings.labels)).sum())
    low, high = wilson_interval(hits, count)
    assert low <= card.scores["test"]["high"]
    assert high >= card.scores["test"]["low"]


def test_card_has_accuracies_with_their_intervals(pretrained):
    card = pretrained.card
    assert set(card.scores) == {"valid", "test"}
    for split, score in card.scores.items():
        assert score["accuracy"] == score["hits"] / score["n"]
        assert [score["low"], score["high"]] == pytest.approx(wilson_interval(score["hits"], score["n"]))
        assert score["n"] == card.data[split]["recordings"]


def test_commands_of_the_card_make_a_network_of_the_same_structure(pretrained):
    card = pretrained.card
    train, export = (command.split()[1:] for command in card.commands)
    args = vars(_make_parser(card.network).parse_args(train))
    names = set(TrainConfig.names())
    config = TrainConfig(**{name: value for name, value in args.items() if name in names}).resolve()
    assert {name: value for name, value in config.as_dict().items() if name in card.settings} == card.settings
    assert config.seed == card.seed
    assert config.time_steps == card.time_steps
    recordings = load_dataset(config.dataset, None, "train").take(config.num_samples)
    assert recordings.provenance.as_dict() == card.data["train"]
    made, stored = build_model(config, recordings.geometry).state_dict(), pretrained.state_dict()
    assert {name: value.shape for name, value in made.items()} == {name: value.shape for name, value in stored.items()}
    assert _make_parser(card.network).parse_args(export).to == "weights"
    assert export[1].startswith(train[train.index("--save_dir") + 1])


@pytest.mark.parametrize("name", NETWORKS)
def test_files_are_small_and_hold_no_code(name):
    path = FOLDER / f"{name}.npz"
    assert path.stat().st_size < SMALL
    with np.load(path, allow_pickle=False) as file:
        assert {file[part].dtype.kind for part in file.files} <= set("fi")


def test_network_without_weights_says_so():
    with pytest.raises(NotImplementedError, match="no weights of SpikingNetwork come with this package"):
        SpikingNetwork.pretrained()


@pytest.fixture
def copied(tmp_path):
    for suffix in ("npz", "json"):
        shutil.copy(FOLDER / f"cnn.{suffix}", tmp_path)
    return tmp_path / "cnn.npz"


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_all(path):
    path.unlink()


def lose_the_card(path):
    path.with_suffix(".json").unlink()


def garble_the_card(path):
    path.with_suffix(".json").write_text("{")


def forget_a_field(path):
    card = path.with_suffix(".json")
    fields = json.loads(card.read_text())
    del fields["seed"]
    card.write_text(json.dumps(fields))


def hand_over_an_object(path):
    np.savez(path, weight=np.array([{}], dtype=object))
    card = path.with_suffix(".json")
    from hashlib import sha256

    fields = json.loads(card.read_text()) | {"sha256": sha256(path.read_bytes()).hexdigest()}
    card.write_text(json.dumps(fields))


DAMAGES = [flip_a_bit, lose_half, lose_all, lose_the_card, garble_the_card, forget_a_field, hand_over_an_object]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_file_is_refused_with_one_message(copied, damage):
    assert read_weights(copied)[0].network == "cnn"
    damage(copied)
    with pytest.raises(WeightsError, match=r"cnn\.npz: these weights are damaged, or no weights \(.+\)\. If they came"):
        read_weights(copied)


def test_eight_bits_are_within_half_a_step_of_the_weights():
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 2, 2)
    weight[2] = 0
    state = {"weight": weight, "bias": torch.randn(5), "count": torch.tensor(3)}
    again = restored(eight_bits(state))
    steps = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    assert ((again["weight"] - weight).abs() <= steps / 2 + 1e-7).all()
    assert torch.equal(again["bias"], state["bias"])
    assert again["count"] == 3
    assert again["count"].dtype == torch.int64
    assert {name: value.dtype for name, value in again.items()} == {name: v.dtype for name, v in state.items()}
    assert torch.equal(restored(eight_bits(again))["weight"], again["weight"])


def test_written_weights_are_read_again(tmp_path):
    card = Card("cnn", {}, ["a", "b"], 4, ["make it"], {}, {}, {}, 0, {})
    written = write_weights(tmp_path / "mine.npz", {"weight": torch.ones(2, 2)}, card)
    read, state = read_weights(tmp_path / "mine.npz")
    assert read == written
    assert torch.equal(state["weight"], torch.ones(2, 2))
