"""Several processes that train one network: two of them compute what one computes with the joined batch."""

import json
import os
import subprocess
import sys

import pytest
import torch

from snn_helpers.data import load_dataset
from snn_helpers.training.checkpoint import load_checkpoint
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.loop import train

# No normalisation over the batch and no dropout: what differs between two processes and one by design. And no Adam,
# which makes as much of a gradient that is rounding as of one that is not.
SETTINGS = {"dataset": "nmnist", "time_steps": 3, "batch_size": 16, "epochs": 2, "norm": "none", "dropout": 0.0}
SETTINGS |= {"optimizer": "sgd", "lr": 1e-3}


@pytest.fixture
def folder(make_folder, data_home):
    """Return a folder with seven Train recordings of each digit, one of them for validation, and one Test."""
    return make_folder(per_class={"Train": 7, "Test": 1}, count=300)


# What torchrun gives two processes, forked from one that has loaded the packages: that takes longer than the training.
FORKED = """
import os, socket, sys
import torch._dynamo
import snn_helpers.training.loop
from snn_helpers.cli import main
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
born = []
for rank in "01":
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
    born.append(os.fork())
    if born[-1] == 0:
        code = main(sys.argv[1:])
        sys.stdout.flush()
        os._exit(code)
sys.exit(max(os.waitpid(one, 0)[1] for one in born) > 0)
"""
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "snn_helpers")


def start_two(folder, save_dir, launcher=LAUNCHER, **more):
    """Train in two processes."""
    settings = SETTINGS | {"data_dir": folder, "save_dir": save_dir} | more
    flags = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, *launcher, "train", *flags]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def test_two_processes_train_the_network_of_one(folder, tmp_path):
    alone = train(TrainConfig(**SETTINGS, data_dir=folder, save_dir=tmp_path / "alone"))
    done = start_two(folder, tmp_path / "both")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1  # one of them speaks, one of them writes
    assert done.stdout.count("epoch 1/2") == 1
    ours, theirs = (load_checkpoint(tmp_path / name / "last.pt") for name in ("alone", "both"))
    for name, weight in ours["model"].items():
        assert torch.allclose(weight, theirs["model"][name], rtol=1e-3, atol=1e-5), name
    for here, there in zip(alone.history, theirs["history"]):
        assert here == pytest.approx(there, rel=1e-3)
    told = json.loads((tmp_path / "both" / "result.json").read_text())
    assert told["n_test"] == 10


def test_run_of_two_processes_is_resumed_by_one(folder, tmp_path):
    # 49 recordings: the last one of three batches of 16 is left out, however many processes there are.
    done = start_two(folder, tmp_path / "run", ("-c", FORKED), dropout=0.2, norm="batch", save_every=2, num_samples=49)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("expected: ") == 1
    inside = load_checkpoint(tmp_path / "run" / "previous.pt")
    assert inside["step"] == 2
    torch.save(inside, tmp_path / "run" / "last.pt")
    resumed = train(TrainConfig(resume=tmp_path / "run"))
    assert len(resumed.history) == 2
    assert resumed.history[0] == inside["history"][0]


def test_setting_that_cannot_be_met_ends_all_processes_with_its_message(folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = start_two(folder, tmp_path / "file" / "run")
    assert done.returncode != 0
    assert "`--save_dir`: cannot write to" in done.stderr


def test_parts_of_a_batch_make_the_whole(folder):
    dataset = load_dataset("nmnist", folder, "train")
    options = {"batch_size": 7, "num_steps": 2, "seed": 3}
    whole = dataset.loader(**options)
    parts = [dataset.loader(**options, part=(rank, 2)) for rank in range(2)]
    assert len(parts[0]) == len(whole) == 9  # 60 recordings, the last batch of 4
    for step, (batch, *shares) in enumerate(zip(whole.batches(1), *(part.batches(1) for part in parts))):
        for rank, (frames, labels) in enumerate(shares):
            assert torch.equal(frames, batch[0][:, rank::2])
            assert torch.equal(labels, batch[1][rank::2])
        weights = [part.weight(len(labels), step) for part, (_, labels) in zip(parts, shares)]
        assert sum(weights) == pytest.approx(2)  # their mean is 1
    # Of a last batch too small to be shared out, learning makes no use; scoring does.
    few = dataset.subset(range(15))
    assert [len(few.loader(7, 2, part=(rank, 2), least=2)) for rank in (0, 1)] == [2, 2]
    assert len(few.take(1).loader(7, 2, least=2)) == 1  # the only one
    scored = [len(labels) for rank in (0, 1) for _, labels in few.loader(7, 2, shuffle=False, part=(rank, 2))]
    assert sum(scored) == 15
