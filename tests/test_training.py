"""Training: what it writes, that equal runs are equal, and that a resumed run is the uninterrupted one."""

import csv
import json
import shutil
import weakref

import pytest
import torch

from snn_helpers.cli import main
from snn_helpers.data import load_dataset
from snn_helpers.models.network import SpikeOutput
from snn_helpers.training import loop
from snn_helpers.training.build import build_model, load_model, make_optimizer
from snn_helpers.training.checkpoint import CheckpointError, load_checkpoint
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.logs import progress_line
from snn_helpers.training.loop import train
from snn_helpers.training.on_gpu import ahead
from snn_helpers.training.run import Run
from snn_helpers.training.score import decide, evaluate

COLUMNS = ["epoch", "lr", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "output_spikes"]
COLUMNS += ["hidden_spike_fraction"]


pytestmark = pytest.mark.usefixtures("runs_home")
SHORT = {"dataset": "nmnist", "time_steps": 3, "batch_size": 16, "epochs": 2, "event_drop": 0.1, "init_rate": 0.0}


@pytest.fixture(scope="module")
def folder(make_folder_at, tmp_path_factory):
    """Return a folder with six Train recordings of each digit, one of them for validation, and one Test."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNN_DATA_DIR", str(home / "data"))
        yield make_folder_at(home / "NMNIST", {"Train": 6, "Test": 1}, count=300)


@pytest.fixture
def make_config(folder, tmp_path):
    """Return a maker of tiny runs: make(name of the save_dir, other settings)."""

    def make(name="run", **changes):
        return TrainConfig(**(SHORT | {"data_dir": folder, "save_dir": tmp_path / name} | changes))

    return make


def trained_once(folder, place, **changes):
    return train(TrainConfig(**(SHORT | {"data_dir": folder, "save_dir": place} | changes)))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """Return the result of a run, for all tests that only look at it; see `copied`."""
    return trained_once(folder, tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture(scope="module")
def other(folder, tmp_path_factory):
    """Return the result of a run with other settings, one epoch long."""
    changes = {"epochs": 1, "beta": 0.75, "threshold": 1.5, "lr": 0.004, "seed": 2}
    return trained_once(folder, tmp_path_factory.mktemp("other") / "run", **changes)


def copied(result, tmp_path):
    """Return a copy of a run's folder, for a test that writes to it."""
    return shutil.copytree(result.paths["save_dir"], tmp_path / "run")


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def assert_same_weights(path, other):
    first, second = weights(path), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def seen(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_train_writes_checkpoints_history_and_result(finished):
    result, folder = finished, finished.paths["save_dir"]
    assert seen(folder) == ["best.pt", "history.csv", "last.pt", "logs", "previous.pt", "result.json"]
    assert folder.name == "run"
    assert list(result.paths["log_dir"].glob("events.out.tfevents.*"))

    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert [{key: float(value) for key, value in row.items()} for row in rows] == result.history
    assert [row["epoch"] for row in result.history] == [0, 1]

    told = json.loads((folder / "result.json").read_text())
    assert told == json.loads(json.dumps(result.metrics))
    assert {"test_accuracy", "n_test", "interval_low", "interval_high", "seed", "seconds"} <= told.keys()
    assert told["n_test"] == 10
    assert told["interval_low"] <= told["test_accuracy"] <= told["interval_high"]
    assert told["config"]["epochs"] == 2
    assert told["versions"]["torch"] == torch.__version__
    assert 0 < told["hidden_spike_fraction"] < 1
    assert told["synaptic_operations"] > 10_000
    assert told["provenance"]["test"]["recordings"] == 10
    assert told["provenance"]["train"]["recordings"] == 50


def test_checkpoints_hold_plain_values_and_every_part(finished):
    state = torch.load(finished.paths["last"], weights_only=True)
    assert {"model", "optimizer", "scheduler", "epoch", "config", "history", "rng"} <= state.keys()
    assert state["epoch"] == 2
    assert state["history"] == finished.history
    assert TrainConfig.from_params(state["config"]).time_steps == 3
    assert not [name for name in state["model"] if "mem" in name or "spk" in name]


def test_test_accuracy_is_that_of_the_best_checkpoint(finished, folder):
    model, config = load_model(finished.paths["best"])
    assert not model.training
    dataset = load_dataset("nmnist", folder, "test")
    frames = torch.from_numpy(dataset.frames(range(10), config.time_steps))
    with torch.no_grad():
        answers = decide(model(frames))
    assert finished.metrics["test_accuracy"] == (answers.numpy() == dataset.labels).mean()
    epoch = torch.load(finished.paths["best"], weights_only=True)["epoch"]
    accuracies = [row["valid_accuracy"] for row in finished.history]
    assert accuracies.index(max(accuracies)) == epoch - 1


def test_equal_settings_give_equal_runs(finished, make_config):
    torch.manual_seed(2)  # what the caller did with torch's generator makes no difference
    second = train(make_config())
    assert finished.history == second.history
    assert_same_weights(finished.paths["last"], second.paths["last"])
    one, two = (result.paths["save_dir"] / "history.csv" for result in (finished, second))
    assert one.read_bytes() == two.read_bytes()


def test_another_seed_gives_another_run(finished, make_config):
    assert train(make_config(seed=1)).history != finished.history


def test_resume_keeps_the_data_and_the_profile_of_the_run(make_config, tmp_path, folder):
    train(make_config(profile="full", epochs=1))
    resumed = train(TrainConfig(resume=tmp_path / "run" / "last.pt"))
    told = resumed.metrics["config"]
    assert (told["profile"], told["num_samples"]) == ("full", None)
    assert (told["dataset"], told["data_dir"]) == ("nmnist", str(folder))


def test_resume_of_a_finished_run_changes_nothing(finished, tmp_path):
    first, _ = finished, copied(finished, tmp_path)
    before = weights(tmp_path / "run" / "last.pt")
    (tmp_path / "run" / "history.csv").unlink()  # as if it had been killed just before it wrote that
    again = train(TrainConfig(resume=tmp_path / "run" / "last.pt"))
    assert again.history == first.history
    for name in ("test_accuracy", "samples_per_s", "data_share"):
        assert again.metrics[name] == first.metrics[name]
    assert again.paths.keys() == first.paths.keys()
    for name, value in weights(tmp_path / "run" / "last.pt").items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "none"}, "norm 'batch', not 'none'"),
        ({"beta": 0.5}, "beta 0.75, not 0.5"),
        ({"model": "resnet"}, "model 'cnn', not 'resnet'"),
        ({"threshold": 2.0}, "threshold 1.5, not 2.0"),
        ({"epochs": 7}, "epochs 1, not 7"),
        ({"seed": 3, "lr": 0.5}, "lr 0.004, not 0.5; seed 2, not 3"),
    ],
)
def test_resume_refuses_other_settings(other, changes, message):
    with pytest.raises(CheckpointError, match=f"last.pt: was made with {message}. Leave these flags out") as refused:
        train(TrainConfig(resume=other.paths["last"], **changes))
    assert ("begin another run from its weights: --init_from" in str(refused.value)) == ("epochs" in changes)


def test_flag_typed_at_its_default_is_refused_where_the_run_was_made_with_another(other, tmp_path, capsys):
    command = ["train", "--resume", str(copied(other, tmp_path))]
    assert main([*command, "--beta", str(TrainConfig().beta)]) == 1
    assert "was made with beta 0.75, not 0.9. Leave these flags out." in capsys.readouterr().err
    assert main([*command, "--beta", "0.75"]) == 0


def test_resume_names_a_damaged_checkpoint_before_any_work(make_config, tmp_path):
    path = tmp_path / "cut.pt"
    path.write_bytes(b"PK half a file")
    with pytest.raises(CheckpointError, match=r"cut\.pt: this is no checkpoint, or it is damaged"):
        train(make_config(resume=path))
    assert not (tmp_path / "run").exists()


def test_test_only_scores_a_folder_with_test_only(finished, make_folder, tmp_path, capsys):
    only_test = make_folder("only-test", {"Test": 3}, seed=4, count=300)
    config = TrainConfig(
        resume=finished.paths["best"],
        test_only=True,
        dataset="nmnist",
        data_dir=only_test,
        save_dir=tmp_path / "test",
    )
    capsys.readouterr()
    result = train(config)
    told = json.loads((tmp_path / "test" / "result.json").read_text())
    assert seen(tmp_path / "test") == ["result.json"]
    assert told["n_test"] == 30
    assert told["provenance"]["train"] is None
    assert told["config"]["time_steps"] == 3
    assert f"test accuracy {100 * told['test_accuracy']:.2f} %" in capsys.readouterr().out
    # The checkpoint of the best epoch knows of the epochs up to it.
    assert result.history == finished.history[: len(result.history)]


def test_test_only_gives_the_accuracy_of_the_run(finished, tmp_path):
    tested = train(TrainConfig(resume=finished.paths["best"], test_only=True, save_dir=tmp_path / "test"))
    assert tested.metrics["test_accuracy"] == finished.metrics["test_accuracy"]
    assert tested.metrics["provenance"]["test"] == finished.metrics["provenance"]["test"]
    assert set(tested.paths) == {"save_dir", "log_dir", "result"}


def test_test_only_of_a_folder_takes_the_network_that_the_run_tested_and_says_how_it_was_made(
    finished, other, folder, tmp_path
):
    run = copied(other, tmp_path)
    shutil.copy(finished.paths["last"], run / "last.pt")  # so that last and best differ
    tested = train(TrainConfig(resume=run, test_only=True, data_dir=folder))
    assert tested.metrics["config"]["resume"].endswith("best.pt")
    told = {name: tested.metrics["config"][name] for name in ("seed", "lr", "epochs")}
    assert told == {"seed": 2, "lr": 0.004, "epochs": 1}
    last = train(TrainConfig(resume=run, test_only=True, select="last"))
    assert last.metrics["config"]["resume"].endswith("last.pt")
    with pytest.raises(CheckpointError, match=r"was made with lr 0\.004, not 0\.5"):
        train(TrainConfig(resume=run, test_only=True, lr=0.5))


def test_new_run_takes_weights_of_a_network_with_the_same_neurons_only(finished, make_config, tmp_path):
    with pytest.raises(CheckpointError, match=r"its network has beta 0\.9, not 0\.2; threshold 0\.1, not 1\.0\. Give"):
        train(make_config("other", init_from=finished.paths["last"], beta=0.2, threshold=1.0))
    assert not (tmp_path / "other").exists()


def test_normalisation_of_single_values_is_refused_before_any_work(make_config):
    with pytest.raises(ValueError, match="`batch_size`, `time_steps`: normalisation needs more than one value"):
        train(make_config(batch_size=1, time_steps=1))


def test_test_only_leaves_the_checkpoint_as_it_was(finished):
    before = finished.paths["best"].read_bytes()
    train(TrainConfig(resume=finished.paths["best"], test_only=True))
    assert finished.paths["best"].read_bytes() == before


def test_test_only_needs_a_checkpoint(make_config):
    with pytest.raises(ValueError, match="`--test_only` needs `--resume CHECKPOINT`"):
        train(make_config(test_only=True))


def test_save_dir_that_holds_another_run_is_refused(finished, make_config, tmp_path):
    copied(finished, tmp_path)
    before = (tmp_path / "run" / "last.pt").read_bytes()
    with pytest.raises(ValueError, match=r"`--save_dir`: .*run holds another run\. Choose a new folder"):
        train(make_config(epochs=1))
    assert (tmp_path / "run" / "last.pt").read_bytes() == before


def test_save_dir_that_cannot_be_made_is_named(make_config, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"`--save_dir`: cannot write to .*file/run \(Not a directory\)"):
        train(make_config("file/run"))


def test_run_without_save_dir_gets_a_new_folder(make_config, tmp_path):
    result = train(make_config(epochs=1, save_dir=None))
    assert result.paths["save_dir"].parent == tmp_path / "runs"
    assert (result.paths["save_dir"] / "last.pt").exists()


def test_loss_that_is_no_number_stops_the_run(make_config, tmp_path, monkeypatch):
    nothing = lambda *_: lambda output, labels: output.spk_rec.sum() * float("nan")  # noqa: E731
    monkeypatch.setattr(loop, "loss_function", nothing)
    message = r"the loss is nan at epoch 1, step 1; first in the output\. No checkpoint .* lower `lr` than 0\.003\."
    with pytest.raises(FloatingPointError, match=message):
        train(make_config(lr=0.003))
    assert not list((tmp_path / "run").glob("*.pt"))


@pytest.mark.parametrize(
    ("engine", "found"), [("snntorch", "the gradient's norm is nan"), ("auto", "a current is nan")]
)
def test_weights_that_are_no_number_stop_the_run(make_config, monkeypatch, engine, found):
    """In snnTorch, membranes that are no number never fire: the loss stays at ln 10, and looks healthy."""

    def broken(self):
        with torch.no_grad():
            self.model.hidden.weights.weight.fill_(float("nan"))

    monkeypatch.setattr(Run, "begin", broken)
    with pytest.raises(FloatingPointError, match=f"{found} at epoch 1, step 1; first in the weights of hidden. No"):
        train(make_config(engine=engine))


@pytest.mark.parametrize("engine", ["snntorch", "auto"])
def test_learning_rate_that_blows_the_network_up_stops_the_run_by_step_and_layer(make_config, engine):
    where = r"at epoch \d, step \d; first in the (weights|gradients|membranes) of (conv\d|hidden|output)\. "
    with pytest.raises(FloatingPointError, match=where):
        train(make_config(engine=engine, lr=1e12, norm="none", scheduler="none"))


def test_checkpoint_never_holds_weights_that_an_update_has_ruined(make_config, tmp_path, monkeypatch):
    def ruined(self, *_):
        plain(self, *_)
        if self.step == 3:
            with torch.no_grad():
                self.model.hidden.weights.weight[0, 0] = float("inf")

    plain = Run._do_step
    monkeypatch.setattr(Run, "_do_step", ruined)
    message = (
        r"a weight is no finite number at epoch 1, step 3; first in the weights of hidden\. .*last\.pt holds the last"
    )
    with pytest.raises(FloatingPointError, match=message):
        train(make_config(save_every=1))
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    assert state["step"] == 2
    assert all(weight.isfinite().all() for weight in state["model"].values())
    monkeypatch.setattr(Run, "_do_step", plain)
    advised = {"init_from": tmp_path / "run" / "last.pt", "lr": 1e-3}  # what the message says
    assert train(make_config("again", epochs=1, **advised)).history


def test_num_samples_limits_training_and_smoke_limits_testing(make_config, monkeypatch):
    metrics = train(make_config(epochs=1, num_samples=20)).metrics
    assert metrics["provenance"]["train"]["recordings"] == 20
    assert metrics["n_test"] == 10
    monkeypatch.setattr("snn_helpers.training.loop._SMOKE_RECORDINGS", 5)
    assert train(make_config("smoke", epochs=1, profile="smoke")).metrics["n_test"] == 5


def test_training_learns_recordings_that_differ_by_their_place(make_config, make_folder):
    # The made-up digits are stripes at ten places: far easier than digits, so that chance is left behind soon.
    easy = make_folder("easy", {"Train": 16, "Test": 5}, count=400)
    settings = {"data_dir": easy, "epochs": 5, "lr": 5e-3, "max_shift": 0, "dropout": 0.0, "batch_size": 10}
    result = train(make_config(**settings))
    assert result.history[-1]["train_loss"] < 0.8 * result.history[0]["train_loss"]
    assert result.metrics["test_accuracy"] > 0.5


@pytest.mark.parametrize(("to_go", "told"), [(0.4, "0:00"), (3_599, "59:59"), (3_600, "1:00:00"), (90_061, "25:01:01")])
def test_progress_tells_the_time_to_go_in_hours_where_it_takes_hours(to_go, told):
    row = {"epoch": 0, "train_loss": 1.0, "valid_loss": 1.0, "valid_accuracy": 0.5}
    assert progress_line(row, 2, 10, to_go).endswith(f"  {told} to go")


def test_progress_is_one_line_an_epoch(make_config, capsys, compiling_was_said):
    train(make_config(epochs=2))
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("expected: ")
    assert lines[1].startswith("epoch 1/2  train loss ")
    assert lines[1].endswith(" to go")
    assert lines[2].endswith("  0:00 to go")
    assert captured.err == ""  # no bar where there is no terminal


def test_device_without_hardware_is_refused(make_config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="`--device cuda`: torch sees no such GPU here"):
        train(make_config(device="cuda"))
    with pytest.raises(ValueError, match="`--precision float16` is for GPUs"):
        train(make_config(precision="float16"))
    with pytest.raises(ValueError, match="`--engine cuda` does not compute on the device cpu"):
        train(make_config(engine="cuda"))


def output(spikes, membranes):
    """Return the output of one recording; both [T, classes]."""
    return SpikeOutput(torch.tensor(spikes)[:, None], torch.tensor(membranes)[:, None])


def test_decide_takes_the_most_spikes():
    assert decide(output([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]], [[9.0, 9.0, -9.0]] * 2)).tolist() == [2]


def test_decide_takes_the_higher_membrane_of_equals():
    assert decide(output([[0.0, 1.0, 1.0]], [[5.0, 0.1, 0.2]])).tolist() == [2]
    assert decide(output([[0.0, 0.0, 0.0]], [[-0.3, -0.1, -0.2]])).tolist() == [1]


def test_evaluate_counts_each_recording_once():
    # A "network" whose output neuron of the label written in the first pixel fires at every step.
    class Reads(torch.nn.Module):
        def forward(self, frames):
            spk_rec = torch.nn.functional.one_hot(frames[:, :, 0, 0, 0].long(), 10).float()
            return SpikeOutput(spk_rec, spk_rec)

    frames = torch.zeros(4, 7, 2, 34, 34, dtype=torch.uint8)
    labels = torch.tensor([3, 1, 4, 1, 5, 9, 2])
    frames[:, :, 0, 0, 0] = labels.to(torch.uint8)
    wrong = labels.clone()
    wrong[:2] = 0
    batches = [(frames[:, :5], wrong[:5]), (frames[:, 5:], wrong[5:])]

    model = Reads().train()
    score = evaluate(model, batches, lambda output, labels: labels.float().mean())
    assert model.training
    assert (score.hits, score.total, score.output_spikes) == (5, 7, 4.0)
    assert score.accuracy == 5 / 7
    # The mean over recordings, not over the two batches of unequal size.
    assert score.loss == pytest.approx(wrong.float().mean().item())


def test_build_model_draws_from_the_configs_seed_only():
    config = TrainConfig(seed=3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_model(config)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = build_model(config)
    third = build_model(TrainConfig(seed=4))
    assert torch.equal(first.output.weights.weight, second.output.weights.weight)
    assert not torch.equal(first.output.weights.weight, third.output.weights.weight)


def test_resnet_trains_with_learned_numbers_in_range_and_resumes(make_config, tmp_path):
    options = {"model": "resnet", "learn": "beta,alpha,threshold", "threshold": 0.2, "lr": 0.05, "weight_decay": 0.5}
    result = train(make_config(epochs=2, **options))
    model, config = load_model(tmp_path / "run" / "last.pt")
    assert (config.model, config.learn) == ("resnet", "beta,alpha,threshold")
    for layer in model.spiking_layers().values():
        assert 0 <= layer.neurons.number("beta") <= 1
        assert layer.neurons.number("threshold") > 0
    assert model.stem.neurons.number("beta") != pytest.approx(0.9, abs=1e-4)
    train(TrainConfig(resume=result.paths["last"]))


def test_training_starts_from_layers_that_fire_at_the_share_asked_for(make_config, tmp_path, capsys):
    result = train(make_config(epochs=1, init_rate=0.2, num_samples=40))
    told = result.metrics["initial_firing"]
    assert list(told) == ["conv1", "conv2", "conv3", "hidden", "output"]
    for name in ("conv1", "conv2", "conv3"):
        assert told[name] == pytest.approx(0.2, rel=0.05)
    assert "before training, % of steps with a spike: conv1 " in capsys.readouterr().out
    # A resumed run has begun already, and remembers it.
    resumed = train(TrainConfig(resume=tmp_path / "run" / "last.pt"))
    assert resumed.metrics["initial_firing"] == told


def test_no_share_leaves_the_weights_alone(finished):
    assert finished.metrics["config"]["init_rate"] == 0
    assert finished.metrics["initial_firing"] == {}


def test_neurons_numbers_are_spared_from_weight_decay():
    model = build_model(TrainConfig(model="resnet", learn="beta"))
    optimizer = make_optimizer(model, TrainConfig(lr=0.01, threshold=0.2))
    weights_group, scaled_group, numbers_group = optimizer.param_groups
    assert (weights_group["lr"], scaled_group["lr"]) == (0.01, pytest.approx(0.002))
    assert {id(weight) for weight in model.stem.norm.parameters()} < {id(weight) for weight in scaled_group["params"]}
    assert numbers_group["weight_decay"] == 0.0
    assert {parameter.dim() for parameter in numbers_group["params"]} == {0}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_statistics_are_those_of_plain_recordings(make_config, folder):
    """The network that is scored normalises by the currents of recordings as they are, whatever augmentation did."""
    result = train(make_config(event_drop=0.6, epochs=1))
    model, config = load_model(result.paths["last"])
    plain = load_dataset("nmnist", folder, "train")
    frames = torch.from_numpy(plain.frames(range(len(plain)), config.time_steps)).float()  # [T, B, 2, 34, 34]
    with torch.no_grad():
        cur = model.conv1.weights(frames.flatten(0, 1))
    norm = model.conv1.norm
    assert torch.allclose(norm.running_mean, cur.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, cur.var((0, 2, 3)), rtol=1e-3)


def test_checkpoint_that_a_run_begins_from_is_let_go_before_it_trains(make_config, finished, monkeypatch):
    load, fit, held = loop.load_checkpoint, Run.fit, []

    def noted(path):
        state = load(path)
        held.append(weakref.ref(next(iter(state["model"].values()))))
        return state

    def fit_alone(run):
        assert [reference() for reference in held] == [None]
        fit(run)

    monkeypatch.setattr(loop, "load_checkpoint", noted)
    monkeypatch.setattr(Run, "fit", fit_alone)
    train(make_config("next", init_from=finished.paths["last"], epochs=1))


@pytest.fixture
def like_a_gpu(monkeypatch):
    """Have runs on this CPU take their steps as on a GPU: results stay on the device, and are read now and then."""
    fit = Run.fit

    def fit_with_device_step(run):
        run.device_step = run._new_device_step()
        fit(run)

    monkeypatch.setattr(Run, "fit", fit_with_device_step)


def test_steps_that_are_read_later_train_as_those_that_are_read_at_once(make_config, like_a_gpu, monkeypatch):
    later = train(make_config("later", spike_penalty=0.1, save_every=2))
    monkeypatch.undo()
    at_once = train(make_config("at_once", spike_penalty=0.1, save_every=2))
    for one, other in zip(later.history, at_once.history, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for name, weight in weights(at_once.paths["last"]).items():
        assert torch.allclose(weights(later.paths["last"])[name], weight, atol=1e-6)


def test_a_loss_that_is_no_number_is_found_when_steps_are_read(make_config, like_a_gpu, monkeypatch):
    monkeypatch.setattr(loop, "loss_function", lambda *_: lambda output, labels: output.mem_rec.sum() * float("nan"))
    with pytest.raises(FloatingPointError, match="within the last 10 steps, is no number at epoch 1, step 3"):
        train(make_config(engine="reference"))


def test_batches_made_ahead_are_the_same_and_an_error_among_them_arrives():
    assert list(ahead(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(ahead([])) == []

    def broken():
        yield 1
        raise OSError("gone")

    batches = ahead(broken())
    assert next(batches) == 1
    with pytest.raises(OSError, match="gone"):
        next(batches)
