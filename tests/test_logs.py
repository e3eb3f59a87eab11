"""What a run tells: TensorBoard's scalars, and what happens without TensorBoard."""

import sys

import pytest

from snn_helpers.training.config import TrainConfig
from snn_helpers.training.logs import EventLog
from snn_helpers.training.loop import train


def scalars(folder):
    """Return {name: [(step, value), ...]} of a TensorBoard log."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_log_tells_loss_accuracy_rate_firing_death_gradients_and_speed(make_folder, data_home, tmp_path):
    folder = make_folder(per_class={"Train": 13, "Test": 1}, count=300)
    settings = {"dataset": "nmnist", "data_dir": folder, "time_steps": 2, "batch_size": 10, "epochs": 2}
    result = train(TrainConfig(**settings, save_dir=tmp_path / "run", log_dir=tmp_path / "log"))
    told = scalars(tmp_path / "log")
    layers = ("conv1", "conv2", "conv3", "hidden", "output")
    names = {"loss/train", "loss/valid", "loss/step", "accuracy/train", "accuracy/valid", "lr", "gradient_norm/all"}
    names |= {f"{kind}/{name}" for kind in ("firing", "dead", "gradient_norm") for name in layers}
    names |= {"speed/samples_per_s", "speed/data_share", "cost/synaptic_operations"}
    assert set(told) == names
    steps = [12, 24]  # 120 recordings to learn from, ten a step
    for column, name in (("train_loss", "loss/train"), ("valid_accuracy", "accuracy/valid")):
        assert [step for step, _ in told[name]] == steps
        assert [value for _, value in told[name]] == pytest.approx([row[column] for row in result.history], rel=1e-5)
    assert [step for step, _ in told["gradient_norm/conv1"]] == [10, 22]  # every tenth step of an epoch
    for name in layers:
        assert all(0 <= value <= 1 for _, value in told[f"dead/{name}"])
    assert result.metrics["samples_per_s"] == pytest.approx(told["speed/samples_per_s"][-1][1], rel=1e-5)
    assert 0 < result.metrics["data_share"] < 1


def test_gradient_norms_of_the_layers_make_the_whole(make_folder, data_home, tmp_path):
    folder = make_folder(per_class={"Train": 13, "Test": 1}, count=300)
    settings = {"dataset": "nmnist", "data_dir": folder, "time_steps": 2, "batch_size": 10, "epochs": 1}
    train(TrainConfig(**settings, save_dir=tmp_path / "run", log_dir=tmp_path / "log"))
    told = {name: values[0][1] for name, values in scalars(tmp_path / "log").items() if name.startswith("gradient")}
    whole = told.pop("gradient_norm/all")
    together = sum(norm**2 for norm in told.values()) ** 0.5
    assert together == pytest.approx(whole, rel=1e-3)


def test_without_tensorboard_there_is_no_log_and_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = EventLog(tmp_path / "log")
    log.scalars(1, {"loss": 1.0})
    log.close()
    assert not (tmp_path / "log").exists()
    assert capsys.readouterr().out.count("pip install tensorboard") == 1


def test_log_that_cannot_be_written_ends_no_run(make_folder, data_home, tmp_path, capsys, monkeypatch):
    from torch.utils.tensorboard import SummaryWriter

    def full(self, name, value, step):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    folder = make_folder(per_class={"Train": 3, "Test": 1}, count=300)
    settings = {"dataset": "nmnist", "data_dir": folder, "time_steps": 2, "batch_size": 10, "epochs": 2}
    result = train(TrainConfig(**settings, save_dir=tmp_path / "run"))
    assert len(result.history) == 2
    assert result.paths["result"].exists()
    assert capsys.readouterr().out.count("no TensorBoard log from here on: it cannot be written (No space left") == 1
