"""The protocols: who learns from what, and who is tested on what."""

import json

import numpy as np
import pytest

from snn_helpers.cli import main
from snn_helpers.data import load_folds
from snn_helpers.training import protocols
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.protocols import run_protocol

SMALL = {"profile": "smoke", "num_samples": 30, "time_steps": 2, "epochs": 1, "batch_size": 15, "init_rate": 0.0}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Send runs, logs and results to a temporary folder, and fine-tune for one epoch; data sets stay."""
    monkeypatch.setitem(protocols.FINETUNE, "epochs", 1)
    for name in ("RUNS", "LOGS", "RESULTS"):
        monkeypatch.setenv(f"SNN_{name}_DIR", str(tmp_path / name.lower()))
    return tmp_path


def test_folds_share_out_every_recording_once_and_evenly(make_folder, data_home):
    folds = load_folds(make_folder(per_class={"Train": 7}), 5)
    tested = np.concatenate([test_set._indices for _, test_set in folds])
    assert sorted(tested) == list(range(70))
    for train_set, test_set in folds:
        assert not set(train_set._indices) & set(test_set._indices)
        assert len(train_set) + len(test_set) == 70
        assert set(np.bincount(test_set.labels)) <= {1, 2}


def test_folds_refuse_classes_that_are_too_small(make_folder, data_home):
    with pytest.raises(ValueError, match=r"a class of .* has 3 recordings, too few for 5 folds"):
        load_folds(make_folder(per_class={"Train": 3}), 5)


def test_finetune_tests_each_real_recording_once_from_a_network_that_saw_none(make_folder, home, capsys):
    real = make_folder(per_class={"Train": 5}, count=200)
    config = TrainConfig(**SMALL, warp=0.3)
    transfer = run_protocol("transfer", config, [0, 1], real)
    assert (transfer["n"], len(transfer["by_seed"])) == (50, 2)
    assert transfer["accuracy"] == pytest.approx(np.mean(transfer["by_seed"]))
    assert transfer["interval_low"] <= transfer["accuracy"] <= transfer["interval_high"]
    assert transfer["config"]["dataset"] == "simulated"
    assert transfer["provenance"]["test"]["recordings"] == 50
    assert json.loads((home / "results" / "protocol-transfer-cnn-smoke.json").read_text()) == transfer

    said = "The validation figures are of 40 recordings that it learns from: nothing is chosen by them."
    assert said not in capsys.readouterr().out
    written = {path: path.stat().st_mtime_ns for path in (home / "runs").glob("*/last.pt")}
    tuned = run_protocol("finetune", config, [0], real)
    assert [said in fold for fold in capsys.readouterr().out.split("== ")[1:]] == 5 * [True]
    assert tuned["n"] == 50
    learned = tuned["provenance"]["train"]  # 30 simulated ones, and 40 real ones, though these come several times
    assert (learned["dataset"], learned["recordings"]) == ("simulated and nmnist", 70)
    assert "simulated-cnn-smoke-seed0" in tuned["config"]["init_from"]
    assert tuned["config"]["select"] == "last"
    assert tuned["config"]["warp"] == 0.3
    for path, time in written.items():  # the networks of transfer were taken, not trained again
        assert path.stat().st_mtime_ns == time


def test_finetune_learns_from_no_recording_of_its_own_test_fold(make_folder, home, monkeypatch):
    seen, warps, results = [], [], []
    plain = protocols.train

    def told(config, splits=None):
        seen.append(splits)
        warps.append(config.warp)
        if len(seen) <= 2:  # the base and the first fold; what the others were given is all that is asked here
            results.append(plain(config, splits=splits))
        return results[-1]

    monkeypatch.setattr(protocols, "train", told)
    run_protocol("finetune", TrainConfig(**SMALL), [0], make_folder(per_class={"Train": 5}, count=200))
    assert warps == [0.15, *(5 * [0.25])]  # wider maps once it can see
    simulated = seen.pop(0)
    assert simulated is None  # the config's own splits
    for learned, watched, tested in seen:
        real = {tested.events(index).tobytes() for index in range(len(tested))}
        for part in (learned, watched):
            assert not real & {part.events(index).tobytes() for index in range(len(part))}
        assert len(learned) == 30 + 3 * 40


def test_protocol_from_the_command_line_says_accuracy_and_interval(make_folder, home, capsys):
    real = make_folder(per_class={"Train": 5}, count=200)
    flags = [f"--{name}={value}" for name, value in SMALL.items() if name != "num_samples"]
    assert main(["protocol", "real", "--seeds", "3", "--real_dir", str(real), *flags]) == 0
    assert "real, cnn: " in capsys.readouterr().out
    assert main(["protocol", "real", "--seeds", "3", "--real_dir", str(real), *flags, "--epochs", "2"]) == 1
    assert "holds a run with other settings. Move it away." in capsys.readouterr().err
    assert main(["protocol", "real", *flags, "--save_dir", "here"]) == 1
    assert "`--save_dir`: protocol chooses that itself" in capsys.readouterr().err


def test_protocol_refuses_a_result_of_other_recordings_and_tests_transfer_anew(make_folder, home):
    first = make_folder("first", {"Train": 5}, count=200)
    other = make_folder("other", {"Train": 5}, count=200, seed=1)
    moved = make_folder("moved", {"Train": 5}, count=200)  # the same recordings as the first
    config = TrainConfig(**SMALL)
    told = run_protocol("real", config, [0], first)
    assert run_protocol("real", config, [0], moved) == told
    with pytest.raises(
        ValueError,
        match=r"protocol-real-fold1-cnn-smoke-seed0 holds a run that learned from other recordings: "
        r"40 \(checksum \w{8}\), not 40 \(checksum \w{8}\)\. Move it away\.",
    ):
        run_protocol("real", config, [0], other)

    tested = [run_protocol("transfer", config, [0], folder)["provenance"]["test"] for folder in (first, other)]
    assert [row["recordings"] for row in tested] == [50, 50]
    assert tested[0]["checksum"] == told["provenance"]["test"]["checksum"] != tested[1]["checksum"]


@pytest.mark.parametrize(("part", "verb"), [("train", "learned from"), ("test", "was tested on")])
def test_protocol_refuses_a_result_of_other_simulated_recordings(home, part, verb):
    config = TrainConfig(**SMALL)
    told = run_protocol("simulated", config, [0])
    assert run_protocol("simulated", config, [0]) == told
    path = home / "runs" / "protocol-simulated-cnn-smoke-seed0" / "result.json"
    result = json.loads(path.read_text())
    result["provenance"][part]["checksum"] = 32 * "0"
    path.write_text(json.dumps(result))
    with pytest.raises(ValueError, match=f"holds a run that {verb} other recordings"):
        run_protocol("simulated", config, [0])


@pytest.fixture
def no_training(monkeypatch):
    """Have a test fail that begins to train."""
    monkeypatch.setattr(protocols, "train", lambda *_, **__: pytest.fail("it trains"))


@pytest.mark.parametrize(
    ("seeds", "error", "message"),
    [
        ([0, -1], ValueError, r"`seeds` must be a whole number >= 0; got -1\."),
        ([0, 1.0], TypeError, r"`seeds` must be a whole number >= 0; got 1\.0\."),
        ([3, 1, 3], ValueError, r"`seeds`: 3 is given twice\."),
        ([], ValueError, "`seeds`: name one or more"),
    ],
)
def test_protocol_refuses_bad_seeds_before_it_trains(home, no_training, seeds, error, message):
    with pytest.raises(error, match=message):
        run_protocol("simulated", TrainConfig(**SMALL), seeds)


@pytest.mark.parametrize("name", ["transfer", "finetune", "real"])
def test_protocol_refuses_a_folder_that_it_cannot_share_out_before_it_trains(make_folder, home, no_training, name):
    small = make_folder("small", {"Train": 3})
    tests = make_folder("tests", {"Test": 3})
    refused = [
        (home / "nowhere", "nowhere is not a folder"),
        (tests, "tests has no Train folder in it"),
        (small, "3 recordings, too few for 5 folds"),
    ]
    for folder, message in refused:
        with pytest.raises(ValueError, match=rf"`--real_dir`: .*{message}"):
            run_protocol(name, TrainConfig(**SMALL), [0], folder)


@pytest.mark.parametrize("name", ["simulated", "full"])
def test_protocol_that_reads_no_real_folder_refuses_one(home, no_training, name):
    with pytest.raises(ValueError, match=f"`--real_dir`: protocol {name} does not read it"):
        run_protocol(name, TrainConfig(**SMALL), [0], home)


def test_transfer_tests_with_the_engine_that_was_asked_for(make_folder, home, monkeypatch):
    seen = []
    plain = protocols.train
    monkeypatch.setattr(
        protocols, "train", lambda config, splits=None: seen.append(config) or plain(config, None, splits)
    )
    real = make_folder(per_class={"Train": 5}, count=200)
    run_protocol("transfer", TrainConfig(**SMALL, device="cpu", engine="snntorch"), [0], real)
    assert [(config.test_only, config.device, config.engine) for config in seen] == [
        (False, "cpu", "snntorch"),
        (True, "cpu", "snntorch"),
    ]


def test_summaries_of_two_profiles_stand_side_by_side(home, monkeypatch):
    smoke = run_protocol("simulated", TrainConfig(**SMALL), [0])
    teach = run_protocol("simulated", TrainConfig(**{**SMALL, "profile": "teach"}), [0])
    for told, profile in ((smoke, "smoke"), (teach, "teach")):
        path = home / "results" / f"protocol-simulated-cnn-{profile}.json"
        assert json.loads(path.read_text()) == told
        assert told["seeds"] == [0]


def test_protocol_without_real_recordings_says_what_to_name(home, monkeypatch):
    monkeypatch.delenv("SNN_REAL_DATA", raising=False)
    monkeypatch.setenv("SNN_DATA_DIR", str(home))
    with pytest.raises(ValueError, match="`--real_dir`: name a folder of real recordings"):
        run_protocol("transfer", TrainConfig(**SMALL))
