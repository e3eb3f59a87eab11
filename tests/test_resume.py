"""A run may be stopped at any step, in any way; resumed, it is the uninterrupted run, bit for bit."""

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from snn_helpers.cli import main
from snn_helpers.training import verify
from snn_helpers.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.loop import train
from snn_helpers.training.stopping import StopRequests, TrainingStopped
from snn_helpers.training.verify import _compare

pytestmark = pytest.mark.usefixtures("runs_home")


class StopAfter:
    """A monitor that wants to stop once it was asked so many times; the loop asks after every step."""

    def __init__(self, steps):
        self.steps, self.rows = steps, []

    @property
    def stop_requested(self):
        self.steps -= 1
        return self.steps <= 0

    def update(self, row):
        self.rows.append(row)


@pytest.fixture(scope="module")
def folder(make_folder_at, tmp_path_factory):
    """Return a folder with nine Train recordings of each digit, one of them for validation, and one Test."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNN_DATA_DIR", str(home / "data"))
        yield make_folder_at(home / "NMNIST", {"Train": 9, "Test": 1}, count=300)


# Five steps an epoch. Where it starts from is a third of the time: one of the settings below balances its layers first.
SHORT = {"dataset": "nmnist", "time_steps": 3, "batch_size": 16, "event_drop": 0.1, "warp": 0.1, "save_every": 2}
SHORT |= {"init_rate": 0.0}


@pytest.fixture
def make_config(folder, tmp_path):
    """Return a maker of tiny runs: make(name of the save_dir, other settings)."""

    def make(name="run", **changes):
        return TrainConfig(**(SHORT | {"data_dir": folder, "epochs": 3, "save_dir": tmp_path / name} | changes))

    return make


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """Return the uninterrupted run of so many epochs: its folder and result. Each is trained once, for all tests."""
    home = tmp_path_factory.mktemp("whole")

    @functools.cache
    def train_once(epochs):
        place = home / str(epochs)
        return place, train(TrainConfig(**SHORT, data_dir=folder, save_dir=place, epochs=epochs))

    return train_once


def assert_same_run(one, other):
    """Hold two runs' folders against each other: weights, optimiser, schedule, history, and the best."""
    for name in ("last.pt", "best.pt"):
        first, second = load_checkpoint(one / name), load_checkpoint(other / name)
        for key in ("model", "optimizer", "scheduler", "epoch", "step", "history", "rng"):
            assert_equal(first[key], second[key], f"{name}: {key}")
    assert (one / "history.csv").read_bytes() == (other / "history.csv").read_bytes()


def assert_equal(first, second, where):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}: {key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for index, pair in enumerate(zip(first, second)):
            assert_equal(*pair, f"{where}: {index}")
    else:
        assert first == second, where


SETTINGS = {
    "onecycle": None,
    "cosine": {
        "scheduler": "cosine",
        "norm": "none",
        "loss": "ce_rate_loss",
        "optimizer": "adam",
        "init_rate": 0.03,
    },
    # A learning rate far too low, so that the plateau is reached, and lowers it.
    "plateau": {
        "scheduler": "plateau",
        "loss": "mse_count_loss",
        "optimizer": "sgd",
        "lr": 1e-6,
        "norm": "none",
        "epochs": 6,
    },
    "resnet": {"model": "resnet", "loss": "ce_max_membrane_loss", "learn": "beta,threshold", "epochs": 2},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_run_stopped_inside_epochs_is_the_uninterrupted_one(make_config, tmp_path, whole, settings):
    place, through = whole(3) if settings is None else (tmp_path / "whole", train(make_config("whole", **settings)))
    settings = settings or {}
    if settings.get("scheduler") == "plateau":
        assert through.history[-1]["lr"] < through.history[0]["lr"]
    with pytest.raises(
        TrainingStopped, match=r"stopped in epoch 1 after step 3 of 5; go on with `--resume .*last\.pt`"
    ):
        train(make_config("parts", **settings), StopAfter(3))
    assert load_checkpoint(tmp_path / "parts" / "last.pt")["step"] == 3
    torch.manual_seed(12345)  # what the caller did with torch's generator makes no difference
    with pytest.raises(TrainingStopped, match="epoch 2 after step 4"):
        train(TrainConfig(resume=tmp_path / "parts"), StopAfter(6))  # a folder will do
    resumed = train(TrainConfig(resume=tmp_path / "parts" / "last.pt"))
    assert resumed.history == through.history
    assert resumed.metrics["test_accuracy"] == through.metrics["test_accuracy"]
    assert_same_run(place, tmp_path / "parts")


def test_monitor_is_told_of_every_epoch(make_config):
    monitor = StopAfter(1000)
    history = train(make_config(), monitor).history
    assert len(history) == len(monitor.rows) == 3
    for row, told in zip(history, monitor.rows):
        assert row.items() <= told.items()
        assert 0 < told["firing/conv1"] < 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_after_the_step_with_a_checkpoint(make_config, tmp_path, number):
    class Signals(StopAfter):
        @property
        def stop_requested(self):
            self.steps -= 1
            if self.steps == 0:
                os.kill(os.getpid(), number)
            return False

    handlers = signal.getsignal(number)
    with pytest.raises(TrainingStopped) as stopped:
        train(make_config(), Signals(7))
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) is handlers
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    assert (state["epoch"], state["step"]) == (1, 2)


def test_second_ctrl_c_interrupts_at_once():
    with pytest.raises(KeyboardInterrupt) as stopped, StopRequests() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    assert not isinstance(stopped.value, TrainingStopped)


# Each life is a process of its own, forked from one that has loaded the packages, which take longer than its training.
NURSERY = """
import json, os, sys
import scipy.stats, torch._dynamo, torch.utils.tensorboard
import snn_helpers.events.motion, snn_helpers.models.cnn, snn_helpers.training.loop
from snn_helpers.cli import main
for line in sys.stdin:
    born = os.fork()
    if born == 0:
        sys.stdout = open(os.devnull, "w")
        os._exit(main(json.loads(line)))
    print(born, flush=True)
    print(os.waitpid(born, 0)[1], flush=True)
"""


class Nursery:
    """Runs the command line again and again, each time in a fresh process that may be killed."""

    def __init__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, "-c", NURSERY], **pipes)

    def start(self, arguments):
        """Start one life and return its process number."""
        print(json.dumps([*map(str, arguments)]), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def wait(self):
        """Return how the life ended: 0, or the signal that ended it."""
        return int(self.process.stdout.readline())


def is_running(number):
    """Return whether a process is there."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def nursery():
    made = Nursery()
    yield made
    made.process.kill()
    made.process.communicate()


def test_run_killed_at_random_steps_ten_times_ends_as_the_uninterrupted_one(folder, tmp_path, nursery):
    settings = {"epochs": 4, "batch_size": 4, "time_steps": 2, "save_every": 1}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    flags += ["--dataset=nmnist", f"--data_dir={folder}", "--event_drop=0.1", "--warp=0.1", "--init_rate=0"]
    # A process, too: in this one torch may have another number of threads, and sum in another order.
    nursery.start(["train", *flags, f"--save_dir={tmp_path / 'whole'}"])
    assert nursery.wait() == 0
    command = ["train", *flags, f"--save_dir={tmp_path / 'parts'}", "--resume=auto"]
    last, rng = tmp_path / "parts" / "last.pt", random.Random(0)
    for _ in range(10):
        before = last.stat().st_mtime_ns if last.exists() else 0
        life = nursery.start(command)
        # Wait for its first checkpoint, then a little: so that each life gets somewhere, and ends anywhere.
        while (last.stat().st_mtime_ns if last.exists() else 0) == before and is_running(life):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.kill(life, signal.SIGKILL)
        assert nursery.wait() in (0, signal.SIGKILL)
    state = load_checkpoint(last)
    assert state["epoch"] * 20 + state["step"] >= 10
    nursery.start(command)
    assert nursery.wait() == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_run_stopped_after_the_last_step_of_an_epoch_is_the_uninterrupted_one(make_config, tmp_path, whole):
    place, through = whole(1)
    with pytest.raises(TrainingStopped, match="after step 5 of 5"):
        train(make_config("parts", epochs=1), StopAfter(5))
    assert train(TrainConfig(resume=tmp_path / "parts")).history == through.history
    assert_same_run(place, tmp_path / "parts")


def test_run_killed_between_two_checkpoints_loses_no_best_epoch(make_config, tmp_path, whole, monkeypatch):
    from snn_helpers.training import run

    def killed_at_the_last(path, state, **options):
        if path.name == "last.pt" and state["epoch"] == 1:
            raise SystemExit
        save_checkpoint(path, state, **options)

    place, through = whole(2)
    with monkeypatch.context() as patch:
        patch.setattr(run, "save_checkpoint", killed_at_the_last)
        with pytest.raises(SystemExit):
            train(make_config("parts", epochs=2))
    assert train(make_config("parts", epochs=2, resume="auto")).history == through.history
    assert_same_run(place, tmp_path / "parts")


def test_damaged_last_checkpoint_goes_on_from_the_one_before(make_config, tmp_path, whole, capsys, monkeypatch):
    with pytest.raises(TrainingStopped):
        train(make_config("parts"), StopAfter(4))
    last = tmp_path / "parts" / "last.pt"
    last.write_bytes(last.read_bytes()[:5000])
    with monkeypatch.context() as patch:  # killed between keeping the one before and writing the new one
        patch.setattr("os.replace", lambda part, path: replace(part, path) if "previous" in str(path) else exit_now())
        with pytest.raises(SystemExit):
            train(make_config("parts", resume="auto"))
    load_checkpoint(tmp_path / "parts" / "previous.pt")  # the damaged one has not taken its place
    train(make_config("parts", resume="auto"))
    assert "Taking the one before it" in capsys.readouterr().out
    assert_same_run(whole(3)[0], tmp_path / "parts")


def replace(part, path, plain=os.replace):
    plain(part, path)


def exit_now():
    raise SystemExit


def test_damaged_best_checkpoint_is_noticed_before_any_work(make_config, tmp_path, whole):
    place, through = whole(2)
    with pytest.raises(TrainingStopped):
        train(make_config("parts", epochs=2), StopAfter(6))  # one step into the second epoch
    best = tmp_path / "parts" / "best.pt"
    best.write_bytes(best.read_bytes()[:5000])
    previous = tmp_path / "parts" / "previous.pt"
    assert load_checkpoint(previous)["epoch"] == 1  # has the weights of the first epoch: they are taken from there
    assert train(make_config("parts", epochs=2, resume="auto")).history == through.history
    assert_same_run(place, tmp_path / "parts")

    with pytest.raises(TrainingStopped):
        train(make_config("lost", epochs=2), StopAfter(6))
    for name in ("best.pt", "previous.pt"):
        path = tmp_path / "lost" / name
        path.write_bytes(path.read_bytes()[:5000])
    before = (tmp_path / "lost" / "last.pt").read_bytes()
    with pytest.raises(CheckpointError, match=r"the best epoch so far, 1, are in no sound file .*`--init_from"):
        train(make_config("lost", epochs=2, resume="auto"))
    assert (tmp_path / "lost" / "last.pt").read_bytes() == before


def test_resumed_run_keeps_its_engine_folders_and_steps_between_checkpoints(make_config, tmp_path):
    settings = {"epochs": 2, "engine": "snntorch", "save_every": 3}
    train(make_config("whole", **settings))
    with pytest.raises(TrainingStopped):
        train(make_config("parts", **settings), StopAfter(2))
    resumed = train(TrainConfig(resume=tmp_path / "parts" / "last.pt"))  # all that the message tells to give
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    kept = {name: resumed.metrics["config"][name] for name in ("engine", "save_every", "save_dir")}
    assert kept == {"engine": "snntorch", "save_every": 3, "save_dir": str(tmp_path / "parts")}
    assert resumed.paths["log_dir"] == tmp_path / "parts" / "logs"


@pytest.mark.parametrize("more", [0, 2])
def test_run_is_not_resumed_on_other_recordings(make_config, make_folder, tmp_path, more):
    with pytest.raises(TrainingStopped):
        train(make_config(), StopAfter(2))
    other = make_folder("other", {"Train": 9 + more, "Test": 1}, count=310)
    with pytest.raises(CheckpointError, match=r"its train recordings were others .* than these .*`--data_dir`"):
        train(make_config(data_dir=other, resume="auto"))


def test_other_number_of_threads_is_said(make_config, capsys, monkeypatch):
    with pytest.raises(TrainingStopped):
        train(make_config(epochs=1), StopAfter(2))
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    train(make_config(epochs=1, resume="auto"))
    assert f"the run had {threads} threads, this process has {threads + 1}" in capsys.readouterr().out


def test_full_disk_ends_the_run_with_the_last_checkpoint_intact(make_config, tmp_path, whole):
    """The limit on a file's size stands for a full disk: the checkpoint is the only large file."""
    import resource

    with pytest.raises(TrainingStopped):
        train(make_config("run"), StopAfter(3))
    before = (tmp_path / "run" / "last.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(
            CheckpointError,
            match=r"not be written \(.*\)\. Make room; go on with `--resume .*/last\.pt`",
        ):
            train(make_config("run", resume="auto"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    assert not list((tmp_path / "run").glob(".*.part"))
    train(make_config("run", resume="auto"))
    assert_same_run(whole(3)[0], tmp_path / "run")


def test_auto_begins_anew_where_there_is_nothing(make_config, capsys):
    train(make_config(epochs=1, resume="auto"))
    assert "--resume auto: there is nothing to go on from; a new run begins." in capsys.readouterr().out


def test_auto_takes_the_last_unfinished_run(make_config, tmp_path):
    train(make_config(epochs=1, save_dir=None))
    with pytest.raises(TrainingStopped) as stopped:
        train(make_config(save_dir=None), StopAfter(3))
    resumed = train(TrainConfig(resume="auto"))
    assert str(resumed.paths["last"]) in str(stopped.value)
    assert len(resumed.history) == 3


def test_resume_may_go_on_in_another_folder(make_config, tmp_path, whole):
    place, through = whole(3)
    with pytest.raises(TrainingStopped):
        train(make_config("parts"), StopAfter(12))
    resumed = train(TrainConfig(resume=tmp_path / "parts" / "last.pt", save_dir=tmp_path / "moved"))
    assert resumed.history == through.history
    assert_same_run(place, tmp_path / "moved")


def test_resume_without_the_best_epochs_weights_says_so(make_config, tmp_path):
    with pytest.raises(TrainingStopped):
        train(make_config("parts"), StopAfter(7))
    for name in ("best.pt", "previous.pt"):
        (tmp_path / "parts" / name).unlink()
    with pytest.raises(CheckpointError, match=r"weights of the best epoch so far, 1, are in no sound file beside it"):
        train(TrainConfig(resume=tmp_path / "parts"))


def test_two_runs_in_one_folder_are_refused(make_config, tmp_path):
    class Second(StopAfter):
        def update(self, row):
            if not self.rows:
                self.rows.append(row)
                with pytest.raises(ValueError, match=r"another process is training in .*run\. Choose another folder"):
                    train(make_config(epochs=1, resume=tmp_path / "run" / "last.pt"))

    monitor = Second(1000)
    train(make_config(epochs=1), monitor)
    assert monitor.rows


def test_verify_resume_says_equal(folder, capsys):
    flags = ["--dataset=nmnist", f"--data_dir={folder}", "--time_steps=2", "--batch_size=8", "--epochs=1"]
    flags += ["--init_rate=0"]
    assert main(["verify-resume", "--kills", "1", *flags]) == 0
    out = capsys.readouterr().out
    assert "killed (1 of 1): its last checkpoint is that after" in out
    assert "equal: weights, optimiser, schedule and history, bit for bit." in out


def test_verify_resume_counts_no_kill_of_a_run_that_was_done(tmp_path, monkeypatch):
    assert verify._run_and_kill([sys.executable, "-c", ""], tmp_path, random.Random(0)) is None
    monkeypatch.setattr(verify, "_run_through", lambda *_: None)
    monkeypatch.setattr(verify, "_run_and_kill", lambda *_: None)
    with pytest.raises(RuntimeError, match=r"the run ended before kill 1 of 2\. Have it do more \(--epochs"):
        verify.verify_resume([], kills=2)


def test_verify_resume_notices_a_bit():
    one = {"weight": torch.zeros(3), "lr": [0.1, 0.2], "name": "x"}
    other = {"weight": torch.tensor([0.0, 0.0, 1e-45]), "lr": [0.1, 0.2], "name": "x"}
    assert _compare(one, one, "state") == []
    assert _compare(one, other, "state") == ["state.weight"]
    assert _compare(one, {**one, "lr": [0.1]}, "state") == ["state.lr"]


def test_verify_resume_refuses_what_it_chooses_itself(capsys):
    for flag in ("save_dir", "save_every"):
        assert main(["verify-resume", f"--{flag}", "3"]) == 1
        assert f"`--{flag}`: verify-resume chooses that itself" in capsys.readouterr().err
