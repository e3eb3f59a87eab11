"""The report of a trained network: every figure by name, one page that needs nothing else, clear refusals."""

import re

import matplotlib as mpl
import pytest

from snn_helpers import TrainConfig, cli, train
from snn_helpers.activity_report import FIGURES, find_checkpoint, write_activity_report

mpl.use("Agg")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, make_recording):
    """Return a checkpoint of each network, trained for a moment on made-up recordings in N-MNIST's layout."""
    import os

    import numpy as np

    from snn_helpers.events.recording import write_bin

    home = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for digit in range(10):
        folder = home / "NMNIST" / "Train" / str(digit)
        folder.mkdir(parents=True)
        for index in range(20):
            write_bin(folder / f"{index:05d}.bin", make_recording(rng, digit, 80))
    before = os.environ.get("SNN_DATA_DIR")
    os.environ["SNN_DATA_DIR"] = str(home / "data")
    settings = {"dataset": "nmnist", "data_dir": home / "NMNIST", "time_steps": 4, "epochs": 1, "num_samples": 40}
    settings |= {"profile": "smoke"}
    yield {
        model: train(TrainConfig(model=model, save_dir=home / f"train-{model}-made-up", **settings)).paths["best"]
        for model in ("cnn", "resnet")
    }
    os.environ.pop("SNN_DATA_DIR")
    if before:
        os.environ["SNN_DATA_DIR"] = before


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_report_holds_every_figure_and_needs_no_other_file(checkpoints, model, tmp_path, capsys):
    assert set(cli.ACTIVATION_FIGURES) == set(FIGURES)
    command = ["visualize-activations", "--model", model, "--resume", str(checkpoints[model]), "--visualize_all"]
    assert cli.main([*command, "--num_samples", "20", "--split", "train", "--log_dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert "<script" not in page
    assert re.findall(r'<section id="(\w+)">', page) == list(FIGURES)
    assert page.count("data:image/png;base64,") == len(FIGURES)
    assert len(re.findall(r'alt="[^"]{15,}"', page)) == len(FIGURES)
    assert f"What the {model} does" in page
    assert re.search(r"accuracy on them</th><td>[\d.]+ %, 95 % interval [\d.]+ to [\d.]+ %, n = 20<", page)
    for name in FIGURES:
        assert (tmp_path / f"{name}.png").stat().st_size > 2000
        assert str(tmp_path / f"{name}.png") in printed


def test_figures_are_chosen_by_name(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_RUNS_DIR", str(checkpoints["cnn"].parents[1]))
    flags = ["--raster", "--membrane", "--num_samples", "12", "--sample", "3", "--log_dir", str(tmp_path)]
    assert cli.main(["visualize-activations", "--model", "cnn", "--split", "train", *flags]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["membrane.png", "raster.png", "report.html"]


def test_without_a_checkpoint_it_says_how_to_make_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path))
    assert cli.main(["visualize-activations", "--model", "resnet", "--visualize_all"]) == 1
    assert "`snn-helpers train --model resnet`" in capsys.readouterr().err


def test_newest_run_is_found(tmp_path, monkeypatch):
    import os

    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path))
    for age, name in ((100, "train-cnn-b"), (200, "train-cnn-a"), (50, "train-resnet-c"), (10, "test-cnn-d")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.pt").touch()
        os.utime(tmp_path / name / "best.pt", (10_000 - age, 10_000 - age))
    assert find_checkpoint("cnn").parent.name == "train-cnn-b"


def test_bad_requests_are_refused(checkpoints, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"'raster', .*got 'rasters'"):
        write_activity_report(checkpoints["cnn"], tmp_path, ["rasters"])
    with pytest.raises(ValueError, match="`sample` must be a whole number in"):
        write_activity_report(checkpoints["cnn"], tmp_path, ["raster"], split="train", num_samples=12, sample=12)
    with pytest.raises(SystemExit):
        cli.main(["visualize-activations", "--resume", "x.pt"])
    assert "say what to draw: --visualize_all" in capsys.readouterr().err
