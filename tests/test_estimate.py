"""The estimate before a training: near what a process really takes, and refused where it cannot fit."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from snn_helpers.events.frames import FrameSpec
from snn_helpers.training import estimate as module
from snn_helpers.training.build import build_model
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.estimate import Estimate, estimate, expected_memory, free_memory
from snn_helpers.training.loop import train

FRAME = (2, 34, 34)

CASES = [("cnn", "cpu"), ("cnn", "snntorch"), ("resnet", "cpu")]
# Each step in a process of its own, forked from one that has loaded the packages alone.
STEPS = """
import json, os, sys, torch
import torch._dynamo
from snn_helpers.training.build import build_model, loss_function
from snn_helpers.training.config import TrainConfig
for model, engine in json.loads(sys.argv[1]):
    born = os.fork()
    if born:
        assert os.waitpid(born, 0)[1] == 0
        continue
    config = TrainConfig(model=model, engine=engine, time_steps=20, batch_size=32)
    frames = (torch.rand(20, 32, 2, 34, 34) < 0.06).to(torch.uint8)
    output = build_model(config)(frames)
    loss_function(config.loss)(output, torch.zeros(32, dtype=torch.int64)).backward()
    status = open("/proc/self/status").read()  # getrusage would tell of the process that started this one, too
    print(model, engine, status.split("VmHWM:")[1].split()[0], flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def taken():
    """Return the greatest memory, in bytes, of a process that takes one step, by (model, engine)."""
    command = [sys.executable, "-c", STEPS, json.dumps(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return {(model, engine): int(size) * 1024 for model, engine, size in rows}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory of a process from /proc")
@pytest.mark.parametrize(("model", "engine"), CASES)
def test_expected_memory_is_near_what_a_step_takes(taken, model, engine):
    config = TrainConfig(model=model, engine=engine, time_steps=20, batch_size=32)
    expected = expected_memory(build_model(config), config, FRAME)
    assert 0.7 * taken[model, engine] < expected < 2 * taken[model, engine]


def test_expected_memory_grows_with_steps_and_batch_and_leaves_the_model_alone():
    config = TrainConfig(time_steps=10, batch_size=8)
    model = build_model(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sizes = [
        expected_memory(model, TrainConfig(time_steps=steps, batch_size=size), FRAME)
        for steps, size in ((10, 8), (20, 8), (10, 16), (20, 16))
    ]
    assert sizes[0] < sizes[1] == sizes[2] < sizes[3]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.engine == "cpu"


def test_training_that_cannot_fit_is_refused_before_it_begins(make_folder, data_home, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda device: 10**8)
    settings = {"dataset": "nmnist", "data_dir": make_folder(), "time_steps": 3, "epochs": 1, "batch_size": 16}
    with pytest.raises(
        MemoryError, match=r"needs about 0\.\d GiB of memory, and 0\.1 GiB are free\. Lower `batch_size`"
    ):
        train(TrainConfig(**settings, save_dir=tmp_path / "run"))
    assert not list((tmp_path / "run").glob("*.pt"))


class Recordings(list):
    """Stand in for an `EventDataset`."""

    def binned(self, indices, spec):
        return np.ones((spec.num_steps, len(indices), *FRAME), np.uint8)


class Loader:
    """Stands in for a `FrameLoader` of 2 frames a recording, here of one batch of one recording an epoch."""

    def __init__(self, recordings, part=(0, 1)):
        self.dataset, self.part, self.spec = Recordings(range(recordings)), part, FrameSpec(2)

    def batches(self, epoch):
        return iter([(torch.ones(2, 1, 2, 34, 34, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))])

    def __len__(self):
        return 1


def found_by(config, model, loader, *processes_here):
    criterion = lambda output, labels: output.mem_rec.sum()  # noqa: E731
    return estimate(config, model, loader, criterion, torch.device("cpu"), *processes_here)


def test_scarce_memory_is_said_by_the_first_process(monkeypatch, capsys):
    config = TrainConfig(time_steps=2, batch_size=2, epochs=3, profile="smoke").resolve()
    model = build_model(config)
    monkeypatch.setattr(module, "free_memory", lambda device: int(1.2 * expected_memory(model, config, FRAME)))
    found = found_by(config, model, Loader(10))
    assert "Memory may get short" in capsys.readouterr().out
    assert found.seconds > 0
    found_by(config, model, Loader(10, part=(1, 2)))
    assert capsys.readouterr().out == ""


def test_batch_larger_than_the_data_set_needs_no_more_than_the_data_set(monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda device: 2**40)
    large, fitting = (TrainConfig(time_steps=2, batch_size=size, epochs=1) for size in (1_000_000, 72))
    model = build_model(large)
    found = [found_by(config, model, Loader(72)).memory for config in (large, fitting)]
    assert found == 2 * [expected_memory(model, fitting, FRAME)]


def test_processes_share_out_a_batch_and_the_memory_of_their_machine(monkeypatch):
    config = TrainConfig(time_steps=2, batch_size=65, epochs=1)
    model = build_model(config)
    one = expected_memory(model, config, FRAME, 17)  # the largest of four parts
    monkeypatch.setattr(module, "free_memory", lambda device: 4 * one)
    assert [found_by(config, model, Loader(100, part=(2, 4)), here).memory for here in (1, 2, 4)] == [
        one,
        2 * one,
        4 * one,
    ]
    monkeypatch.setattr(module, "free_memory", lambda device: 4 * one - 1)
    loader = Loader(100, part=(2, 4))
    loader.batches = None  # a whole batch may not fit: it is made after the memory was found to suffice
    with pytest.raises(MemoryError, match="a training step of 4 processes needs about"):
        found_by(config, model, loader, 4)


def test_estimate_says_time_in_the_unit_that_fits():
    texts = [str(Estimate(2**31, None, seconds)) for seconds in (90, 1800, 36000)]
    assert [text.split(" of training")[0] for text in texts] == [
        "expected: 90 s",
        "expected: 30 min",
        "expected: 10.0 h",
    ]
    assert texts[0].endswith("2.0 GiB of memory")


def test_free_memory_of_this_machine_is_known():
    free = free_memory(torch.device("cpu"))
    assert 10**8 < free < 10**14


def write_cgroup(folder, **files):
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(text)
    return folder


def test_cached_files_of_a_container_count_as_free(tmp_path):
    stat = "anon 52428800\nfile 41943040\ninactive_anon 4096\ninactive_file 31457280\nactive_file 10485760\n"
    cgroup = write_cgroup(tmp_path, max="104857600\n", current="94371840\n", stat=stat)
    assert free_memory(torch.device("cpu"), cgroup) == 104857600 - 94371840 + 31457280


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"max": "1000\n", "current": "400\n"}, 600),
        ({"max": "1000\n", "current": "400\n", "stat": "anon 5\n"}, 600),
        ({"max": "1000\n", "current": "1400\n"}, 0),
    ],
)
def test_container_that_tells_of_no_cached_files_has_what_its_limit_leaves(tmp_path, files, free):
    assert free_memory(torch.device("cpu"), write_cgroup(tmp_path, **files)) == free


def test_container_without_a_limit_has_what_the_machine_has(tmp_path):
    cgroup = write_cgroup(tmp_path, max="max\n", current="400\n", stat="inactive_file 9\n")
    assert free_memory(torch.device("cpu"), cgroup) > 10**8
    assert free_memory(torch.device("cpu"), tmp_path / "none") > 10**8
