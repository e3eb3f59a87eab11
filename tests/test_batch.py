import json
import os

import nbformat
import numpy as np
import pytest
from job_notebooks import is_alive, limit_from_what_is_seen, wait_for, write_notebook

from snn_helpers import batch
from snn_helpers.batch import Limits, Rules
from snn_helpers.sweeps import training_rules

FINDS = (
    "import json, os, pathlib\n"
    "folder = pathlib.Path(os.environ['SNN_RESULTS_DIR']); folder.mkdir(exist_ok=True)\n"
    "(folder / 'good.json').write_text(json.dumps({'findings': {'speed': speed * 2}}))"
)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_RESULTS_DIR", str(tmp_path / "results"))
    return tmp_path / "results"


def test_series_runs_on_after_a_failure_and_tells_what_was_found(tmp_path, results, capsys):
    bad = write_notebook(tmp_path / "bad.ipynb", "speed = 1  # help", "raise ValueError('no such recording')")
    good = write_notebook(tmp_path / "good.ipynb", "speed = 1  # help", FINDS)
    code = batch.run_series([bad, good], tmp_path / "out", {"speed": "21"})
    printed = capsys.readouterr().out
    assert code == 1
    assert "FAILED: ValueError: no such recording" in printed
    assert "in cell 2: raise ValueError('no such recording')" in printed
    assert "speed: 42" in printed
    assert (tmp_path / "out" / "good.ipynb").is_file()


def test_old_findings_are_not_told_again(tmp_path, results, capsys):
    good = write_notebook(tmp_path / "good.ipynb", "speed = 1  # help", "speed")
    results.mkdir()
    old = results / "good.json"
    old.write_text('{"findings": {"speed": "stale"}}')
    os.utime(old, (1, 1))
    assert batch.run_series([good], tmp_path / "out", {}) == 0
    printed = capsys.readouterr().out
    assert "stale" not in printed
    assert "(wrote no findings)" in printed


def test_unknown_parameter_is_refused_with_the_near_name(tmp_path):
    path = write_notebook(tmp_path / "good.ipynb", "speed = 1  # help", "speed")
    with pytest.raises(ValueError, match="Did you mean 'speed'"):
        batch.run_series([path], tmp_path / "out", {"sped": 2})
    assert not (tmp_path / "out").exists()


def test_missing_notebook_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.ipynb: there is no such notebook"):
        batch.run_series([tmp_path / "none.ipynb"], tmp_path / "out", {})


def test_notebooks_are_never_overwritten(tmp_path):
    path = write_notebook(tmp_path / "good.ipynb", "speed = 1  # help", "speed")
    with pytest.raises(ValueError, match="choose another folder"):
        batch.run_series([path], tmp_path, {})


def test_one_notebook_twice_is_refused(tmp_path):
    path = write_notebook(tmp_path / "good.ipynb", "speed = 1  # help", "speed")
    with pytest.raises(ValueError, match="given twice"):
        batch.run_series([path, path], tmp_path / "out", {})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta": "high"}, "`beta` must be a number; got 'high'"),
        ({"beta": "1.5"}, r"`beta` must be a number in \[0, 1\]; got 1.5"),
        ({"epochs": "2.5"}, "`epochs` must be a whole number; got 2.5"),
        ({"model": "cnm"}, "Did you mean 'cnn'"),
        ({"bta": "0.9"}, "Did you mean 'beta'"),
    ],
)
def test_wrong_value_is_refused_before_any_notebook_runs(tmp_path, values, message):
    first = write_notebook(tmp_path / "first.ipynb", "beta = 0.9  # h\nepochs = None  # h\nmodel = 'cnn'  # h", "1")
    with pytest.raises((ValueError, TypeError), match=message):
        batch.run_series([first], tmp_path / "out", values, training_rules())
    assert not (tmp_path / "out").exists()


def test_values_arrive_in_their_own_types(tmp_path, results):
    tells = (
        "import json, os, pathlib\n"
        "folder = pathlib.Path(os.environ['SNN_RESULTS_DIR']); folder.mkdir(exist_ok=True)\n"
        "told = {name: repr(globals()[name]) for name in ('steps', 'rate', 'on', 'where', 'sizes', 'left')}\n"
        "(folder / 'types.json').write_text(json.dumps({'findings': told}))"
    )
    cell = "steps = 1  # h\nrate = 0.1  # h\non = False  # h\nwhere = None  # h\nsizes = [1]  # h\nleft = 5  # h"
    path = write_notebook(tmp_path / "types.ipynb", cell, tells)
    given = {"steps": np.int64(3), "rate": np.float32(0.5), "on": np.bool_(True), "where": tmp_path, "sizes": (1, 2)}
    assert batch.run_series([path], tmp_path / "out", given, Rules(kinds={"where": str})) == 0
    told = json.loads((results / "types.json").read_text())["findings"]
    wanted = {"steps": "3", "rate": "0.5", "on": "True", "where": repr(str(tmp_path)), "sizes": "[1, 2]", "left": "5"}
    assert told == wanted


def test_time_limit_ends_the_kernel_and_keeps_what_was_printed(tmp_path, results, capsys, monkeypatch):
    endless = "import os, time\nwhile True:\n    print('pid', os.getpid(), flush=True)\n    time.sleep(0.2)"
    slow = write_notebook(tmp_path / "slow.ipynb", "speed = 1  # help", endless)
    limit_from_what_is_seen(monkeypatch, lambda parameters: True, '"pid ')
    assert batch.run_series([slow], tmp_path / "out", {}, limits=Limits(seconds=8)) == 1
    assert "TIMEOUT: the time limit of 8 s was over" in capsys.readouterr().out
    printed, *_ = nbformat.read(tmp_path / "out" / "slow.ipynb", as_version=4).cells[-1].outputs
    kernel = int(printed["text"].split()[1])
    wait_for(lambda: not is_alive(kernel))
