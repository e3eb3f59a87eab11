"""The figures of a run stand beside its checkpoint, and show what it did."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from snn_helpers import plots, run_figures
from snn_helpers.run_figures import write_run_figures
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.loop import train


@pytest.fixture
def settings(make_folder, data_home, tmp_path):
    folder = make_folder(per_class={"Train": 6, "Test": 1}, count=300)
    return {
        "dataset": "nmnist",
        "data_dir": folder,
        "time_steps": 3,
        "batch_size": 16,
        "epochs": 1,
        "save_dir": tmp_path / "run",
    }


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_figures_are_written_and_the_confusion_counts_every_test_recording(settings, model, monkeypatch):
    drawn, said = {}, set()
    confusion, stamp = plots.confusion, plots.stamp
    monkeypatch.setattr(plots, "stamp", lambda figure, text: said.add(text) or stamp(figure, text))
    monkeypatch.setattr(
        plots, "confusion", lambda matrix, ax, classes: drawn.update(matrix=matrix) or confusion(matrix, ax)
    )
    result = train(TrainConfig(model=model, **settings))
    before = plt.get_fignums()
    paths = write_run_figures(result)
    assert [path.name for path in paths] == ["curves.png", "firing.png", "confusion.png", "output.png"]
    assert {path.parent for path in paths} == {result.paths["log_dir"] / "figures"}
    for path in paths:
        assert plt.imread(path)[..., :3].std() > 0.05, path
    assert drawn["matrix"].sum(1).tolist() == [1] * 10
    assert np.trace(drawn["matrix"]) == round(10 * result.metrics["test_accuracy"])
    assert plt.get_fignums() == before
    assert said == {"real N-MNIST, test, n = 10, seed 0"}


@pytest.mark.parametrize("select", ["best", "last"])
def test_figures_show_the_network_that_was_tested(settings, select, monkeypatch):
    drawn = []
    load_model = run_figures.load_model
    monkeypatch.setattr(run_figures, "load_model", lambda path: drawn.append(path) or load_model(path))
    write_run_figures(train(TrainConfig(**settings, select=select)))
    assert drawn == [settings["save_dir"] / f"{select}.pt"]


def test_figures_of_a_test_need_no_history_of_this_run_and_have_the_seed_of_the_network(
    settings, tmp_path, monkeypatch
):
    said, stamp = set(), plots.stamp
    monkeypatch.setattr(plots, "stamp", lambda figure, text: said.add(text) or stamp(figure, text))
    trained = train(TrainConfig(**settings, seed=3))
    again = {**settings, "save_dir": tmp_path / "test", "resume": trained.paths["best"], "test_only": True}
    paths = write_run_figures(train(TrainConfig(**again)))
    assert paths[0].parent == tmp_path / "test" / "logs" / "figures"
    assert said == {"real N-MNIST, test, n = 10, seed 3"}
