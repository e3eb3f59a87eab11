"""Parameters and plans: everything that is refused or decided before a run starts."""

import re
from pathlib import Path

import pytest
from job_notebooks import write_notebook

from snn_helpers.batch import Rules, SweepPlan, Workers
from snn_helpers.batch import plan as plans
from snn_helpers.batch.parameters import COMPUTED, read_parameters, typed
from snn_helpers.batch.plan import Planner, Span, read_spec
from snn_helpers.sweeps import training_rules

CELL = "beta = 0.9  # help\nseed = 0  # help\nlr = 0.01  # help\nmodel = 'cnn'  # help\nsave_dir = None  # help"


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "job.ipynb", CELL, "beta")


def test_parameters_are_seen_that_papermill_misses(tmp_path):
    cell = "lr: float | None = None\nbeta = 0.9  # exp(-dt / tau), dt=12\nsizes = dict(a=1)\nx, y = 1, 2\nz = 3"
    path = write_notebook(tmp_path / "job.ipynb", cell)
    assert read_parameters(path) == {"lr": None, "beta": 0.9, "sizes": COMPUTED, "z": 3}


def test_file_that_is_no_notebook_is_named(tmp_path):
    (tmp_path / "job.ipynb").write_text("not JSON")
    with pytest.raises(ValueError, match=r"job\.ipynb: this is no notebook"):
        read_parameters(tmp_path / "job.ipynb")


@pytest.mark.parametrize(
    ("value", "default", "kind", "wanted"),
    [
        ("0.5", 1.0, None, 0.5), (1, 0.5, None, 1.0), ("true", False, None, True), ("007", "a", None, "007"),
        ("None", None, int, None), ("3", None, None, 3), ("[1, 2]", [0], None, [1, 2]), ("word", None, None, "word"),
        ("2024", None, str, "2024"),
    ],
)  # fmt: skip
def test_text_is_read_as_the_parameters_type(value, default, kind, wanted):
    got = typed("x", value, default, kind)
    assert (got, type(got)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("value", "default"), [("1", False), (2.5, 1), ("x", 1), (None, 1), (3, "a"), (True, 1), ({1}, 1), (1, [0])]
)
def test_value_of_another_type_is_refused(value, default):
    with pytest.raises(TypeError):
        typed("x", value, default)


@pytest.mark.parametrize(
    ("spec", "message"),
    [("0.1..", "is no range"), ("4..0", "must rise"), ("0..1:log", "from above 0"), ("1..2:lin", "only log"),
     ("0.8,,0.9", "values are missing"), ([], "values are missing")],
)  # fmt: skip
def test_bad_values_of_a_grid_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        read_spec("beta", spec)


def test_grid_is_every_combination_with_every_seed(notebook):
    runs = Planner(SweepPlan(notebook, {"beta": "0.8,0.9", "lr": [0.1, 0.2], "seed": "0..2"}, {"model": "cnn"})).runs()
    points = [tuple(run.parameters[name] for name in ("beta", "lr", "seed", "model")) for run in runs]
    assert points == [(b, lr, s, "cnn") for b in (0.8, 0.9) for lr in (0.1, 0.2) for s in (0, 1, 2)]
    assert len({run.id for run in runs}) == 12


def test_random_search_is_the_same_again_and_within_its_ranges(notebook):
    plan = SweepPlan(
        notebook, {"lr": "0.001..0.1:log", "model": "cnn,resnet", "seed": "0..1"}, search="random", trials=9
    )
    runs, again = Planner(plan).runs(), Planner(plan).runs()
    assert runs == again
    assert len(runs) == 18
    assert all(0.001 <= run.parameters["lr"] <= 0.1 for run in runs)
    assert len({run.parameters["lr"] for run in runs}) == 9
    assert {run.parameters["seed"] for run in runs} == {0, 1}
    other = SweepPlan(notebook, plan.grid, search="random", trials=9, search_seed=1)
    assert Planner(other).runs() != runs


def one_id(notebook, grid, fixed=None, rules=None):
    (run,) = Planner(SweepPlan(notebook, grid, fixed or {}), rules).runs()
    return run.id


def test_id_is_of_parameters_code_and_data_alone(notebook, tmp_path, monkeypatch):
    first = one_id(notebook, {"beta": [0.8]})
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert one_id(notebook, {"beta": "0.8"}, {"seed": 0}) == first, "a default that is written out changes nothing"
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    assert one_id(write_notebook(moved / "job.ipynb", CELL, "beta"), {"beta": [0.8]}) == first
    assert one_id(write_notebook(moved / "job.ipynb", CELL, "beta  # why"), {"beta": [0.8]}) == first
    others = [
        one_id(write_notebook(moved / "job.ipynb", CELL, "beta\n%who"), {"beta": [0.8]}),
        one_id(notebook, {"beta": [0.81]}),
        one_id(notebook, {"beta": [0.8]}, {"seed": 1}),
        one_id(notebook, {"beta": [0.8]}, rules=Rules(data=lambda values: "other recordings")),
        one_id(write_notebook(moved / "job.ipynb", CELL, "beta + 1"), {"beta": [0.8]}),
    ]
    monkeypatch.setattr(plans, "code_version", lambda: "newer")
    others.append(one_id(notebook, {"beta": [0.8]}))
    assert len({first, *others}) == 7


CODE = {
    "engine/cpu.py": 'def f(x):\n    """Return x."""\n    return x + 1\n',
    "models/weights/cnn.npz": "weights",
    "plots/maps.py": "size = 1\n",
    "cli.py": "flag = 1\n",
    "widgets/map.js": "let a = 1;",
}


def code_digest(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return plans._digest_of_package(folder)


@pytest.mark.parametrize(
    ("name", "text", "counts"),
    [
        ("engine/cpu.py", 'def f(x):\n    """Return x and one more."""\n\n    # why\n    return (x + 1)\n', False),
        ("engine/cpu.py", "def f(x):\n    return x + 1\n", False),
        ("engine/cpu.py", 'def f(x):\n    """Return x."""\n    return x + 2\n', True),
        ("engine/cpu.py", 'def f(x):\n    """Return x."""\n    "not a docstring"\n    return x + 1\n', True),
        ("engine/gpu.py", "", True),
        ("engine/__pycache__/generated/kernel_1.py", "two = 2", False),
        ("models/weights/cnn.npz", "others", True),
        ("plots/maps.py", "size = 2\n", False),
        ("cli.py", "flag = 2\n", False),
        ("widgets/map.js", "let a = 2;", False),
    ],
)
def test_code_counts_where_it_changes_numbers(tmp_path, name, text, counts):
    first = code_digest(tmp_path, CODE)
    assert (code_digest(tmp_path, {name: text}) != first) == counts


def test_modules_that_do_not_count_are_there():
    package = Path(plans.__file__).parents[1]
    names = {path.name.removesuffix(".py") for path in package.iterdir()}
    assert set(plans._WITHOUT_NUMBERS) <= names


@pytest.mark.parametrize("given", ["parameter", "variable"])
def test_plugins_count_by_their_code(tmp_path, monkeypatch, given):
    plugin = tmp_path / f"own_{given}.py"
    plugin.write_text('"""Mine."""\nsize = 1\n')
    monkeypatch.setenv("SNN_PLUGINS", "" if given == "parameter" else str(plugin))
    values = {"plugins": str(plugin)} if given == "parameter" else {}
    data = training_rules().data
    first = data(values)
    assert first != data({}) or given == "variable"
    plugin.write_text("size = 1  # one\n")
    assert data(values) == first
    plugin.write_text("size = 2\n")
    assert data(values) != first


def test_data_folder_counts_by_its_recordings(tmp_path, monkeypatch):
    monkeypatch.delenv("SNN_PROFILE", raising=False)
    data = training_rules().data
    folders = []
    for name, content in (("a", b"12345"), ("b", b"12345"), ("c", b"1234512345")):
        (tmp_path / name / "Train" / "0").mkdir(parents=True)
        (tmp_path / name / "Train" / "0" / "00001.bin").write_bytes(content)
        folders.append(data({"dataset": "nmnist", "data_dir": str(tmp_path / name)}))
    assert folders[0] == folders[1] != folders[2]
    assert data({"profile": None}) == "teach simulated"
    monkeypatch.setenv("SNN_PROFILE", "smoke")
    assert data({"profile": None}) == "smoke simulated"


@pytest.mark.parametrize(
    ("grid", "fixed", "message"),
    [
        ({"bta": [0.8]}, {}, "Did you mean 'beta'"),
        ({"beta": [0.8]}, {"sed": 1}, "Did you mean 'seed'"),
        ({"beta": [0.8, 1.2]}, {}, r"`beta` must be a number in \[0, 1\]; got 1.2"),
        ({"beta": "0.1..1.9"}, {}, r"got 1.9"),
        ({"beta": "0.1..0.9"}, {}, "a grid needs single values"),
        ({"beta": "0.8,0.80"}, {}, "given twice"),
        ({"beta": [0.8]}, {"beta": 0.9}, "both swept and the same"),
        ({"beta": [0.8]}, {"save_dir": "x"}, "every run of a sweep has a folder of its own"),
        ({}, {}, "`--grid` is empty"),
    ],
)
def test_plan_that_the_notebook_cannot_take_is_refused(notebook, grid, fixed, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Planner(SweepPlan(notebook, grid, fixed), training_rules()).runs()


def test_plan_from_toml_is_the_plan_in_python(notebook, tmp_path):
    lines = [
        'notebook = "job.ipynb"',
        "jobs = 2",
        "[grid]",
        "beta = [0.8, 0.9]",
        'seed = "0..1"',
        "[fixed]",
        "lr = 0.1",
    ]
    (tmp_path / "plan.toml").write_text("\n".join(lines))
    plan, told = SweepPlan.from_toml(tmp_path / "plan.toml")
    assert told == {"jobs": 2}
    assert Planner(plan).runs() == Planner(SweepPlan(notebook, {"beta": "0.8,0.9", "seed": [0, 1]}, {"lr": 0.1})).runs()


@pytest.mark.parametrize(("text", "message"), [("x = ", "plan.toml"), ("jobs = 2", "needs a line notebook")])
def test_bad_toml_is_named(tmp_path, text, message):
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        SweepPlan.from_toml(tmp_path / "plan.toml")


def test_span_of_whole_numbers_stays_whole():
    assert read_spec("epochs", "1..8") == Span(1, 8)
    assert Span(1, 8).whole
    assert not Span(1, 8.0).whole


def test_threads_share_out_the_cores_and_gpus_are_one_a_run(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert [Workers(jobs=jobs).threads_each for jobs in (1, 3, 16)] == [8, 2, 1]
    assert Workers(jobs=2, threads=3).threads_each == 3
    with pytest.raises(ValueError, match="a run needs a GPU of its own"):
        Workers(jobs=3, gpus=2)


def test_code_too_deep_to_be_parsed_counts_as_it_is():
    source = b"x = " + b" + ".join([b"1"] * 5000) + b"  # long"
    assert plans._code_of(source) == source
