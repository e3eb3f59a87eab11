"""Checkpoints: whole or not at all, plain inside, and refused by name when they are not what they should be."""

import os

import pytest
import torch

from snn_helpers.training.checkpoint import (
    KEYS,
    CheckpointError,
    load_checkpoint,
    load_or_previous,
    random_state,
    restore_random_state,
    save_checkpoint,
)


def state(**changes):
    plain = {
        "model": {"weight": torch.arange(6.0).reshape(2, 3)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "scheduler": {},
        "scaler": {},
        "epoch": 2,
        "step": 0,
        "partial": {"sums": [0.0] * 4, "fractions": {}, "lr": 0.1},
        "seconds": 1.5,
        "config": {"model": "cnn", "data_dir": None},
        "history": [{"epoch": 0, "lr": 0.1}],
        "rng": random_state(),
        "initial_firing": {"conv1": 0.08},
        "speed": {"samples_per_s": 100.0},
        "data": {"steps_an_epoch": 3},
        "geometry": {"num_classes": 10, "in_channels": 2, "image_size": 34},
        "threads": 2,
    }
    return {**plain, **changes}


def test_checkpoint_comes_back_as_it_was_saved(tmp_path):
    saved = state()
    save_checkpoint(tmp_path / "last.pt", saved)
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert set(loaded) == {*KEYS, "format"}
    assert torch.equal(loaded["model"]["weight"], saved["model"]["weight"])
    for key in ("epoch", "config", "history", "scheduler"):
        assert loaded[key] == saved[key]


def test_checkpoint_loads_with_weights_only(tmp_path):
    save_checkpoint(tmp_path / "last.pt", state())
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 2


def test_save_leaves_only_the_file(tmp_path):
    save_checkpoint(tmp_path / "last.pt", state())
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("failing", ["torch.save", "os.replace"])
def test_save_that_fails_keeps_the_checkpoint_that_was_there(tmp_path, monkeypatch, failing):
    save_checkpoint(tmp_path / "last.pt", state(epoch=1))

    def half_written(_, part):
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def no_rename(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((torch, "save", half_written) if failing == "torch.save" else (os, "replace", no_rename)))
    with pytest.raises(
        CheckpointError,
        match=r"No space left on device\)\. Make room; go on with `--resume .*last\.pt`",
    ):
        save_checkpoint(tmp_path / "last.pt", state(epoch=2))
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]
    assert load_checkpoint(tmp_path / "last.pt")["epoch"] == 1


def test_load_names_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pt: there is no checkpoint here"):
        load_checkpoint(tmp_path / "nowhere.pt")


def test_load_names_a_folder_given_for_a_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint here\. `snn-helpers train` writes"):
        load_checkpoint(tmp_path)
    (tmp_path / "last.pt").touch()
    with pytest.raises(CheckpointError, match=r"no checkpoint here. Name a file in it: last\.pt\."):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_load_names_a_truncated_file(tmp_path, share):
    path = tmp_path / "last.pt"
    save_checkpoint(path, state())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"last\.pt: this is no checkpoint, or it is damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"not a checkpoint", b"PK\x03\x04 not a zip", b"\x80\x02}q\x00."])
def test_load_names_a_file_of_another_kind(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pt: "):
        load_checkpoint(path)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("must-not-be-made",)


def test_load_runs_no_code_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(state(config=Malicious()), "last.pt")
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint("last.pt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("key", KEYS)
def test_load_says_what_is_lacking(tmp_path, key):
    incomplete = state()
    del incomplete[key]
    save_checkpoint(tmp_path / "last.pt", incomplete)
    with pytest.raises(CheckpointError, match=f"not a checkpoint of this package; it lacks {key}"):
        load_checkpoint(tmp_path / "last.pt")


def test_load_refuses_a_bare_tensor(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this package"):
        load_checkpoint(tmp_path / "last.pt")


def test_load_refuses_a_newer_format(tmp_path):
    torch.save({"format": 99, **state()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"written by a newer version \(format 99"):
        load_checkpoint(tmp_path / "last.pt")


def test_random_state_brings_the_same_numbers_back():
    with torch.random.fork_rng(devices=[]):
        saved = random_state()
        first = torch.rand(5)
        torch.manual_seed(99)
        restore_random_state(saved)
        assert torch.equal(torch.rand(5), first)


def test_save_keeps_the_one_before_under_its_name(tmp_path):
    last, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    for epoch in (1, 2, 3):
        save_checkpoint(last, state(epoch=epoch), keep_before=previous)
    assert (load_checkpoint(previous)["epoch"], load_checkpoint(last)["epoch"]) == (2, 3)


def test_save_keeps_the_one_before_where_there_are_no_links(tmp_path, monkeypatch):
    def no_link(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    test_save_keeps_the_one_before_under_its_name(tmp_path)


def test_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "last.pt"
    weight = torch.full((64, 64), 0.5)
    save_checkpoint(path, state(model={"weight": weight}))
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["model"]["weight"], weight)  # torch does not notice
    with pytest.raises(CheckpointError, match=r"damaged \(the checksum of .* is wrong\)"):
        load_checkpoint(path)


def test_damaged_last_falls_back_to_the_one_before(tmp_path, capsys):
    last, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    for epoch in (1, 2):
        save_checkpoint(last, state(epoch=epoch), keep_before=previous)
    last.write_bytes(last.read_bytes()[:1000])
    found, path = load_or_previous(last)
    assert (found["epoch"], path) == (1, previous)
    assert "last.pt: this is no checkpoint, or it is damaged" in capsys.readouterr().out
    previous.unlink()
    with pytest.raises(CheckpointError, match="damaged"):
        load_or_previous(last)


def test_only_last_has_one_before_it(tmp_path):
    save_checkpoint(tmp_path / "previous.pt", state())
    (tmp_path / "best.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="damaged"):
        load_or_previous(tmp_path / "best.pt")
