"""Networks of one's own: one file registers them, and flags, checks, resuming and reports follow."""

import copy
import json
import pickle
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from snn_helpers import Leaky, TrainConfig, load_model, train
from snn_helpers._plugins import join_plugins, load_plugins
from snn_helpers._settings import SCOPES, check_class, names_of, setting
from snn_helpers.cli import main
from snn_helpers.engine import SURROGATES
from snn_helpers.models.registry import MODELS, register_model
from snn_helpers.models.settings import surrogate_names
from snn_helpers.training import protocols, resume
from snn_helpers.training.checkpoint import CheckpointError
from snn_helpers.training.config import config_class
from snn_helpers.training.recipes import ANY, NEW, RECIPES, recipe

PLUGIN = """
from dataclasses import dataclass

import torch
from torch import nn

from snn_helpers import Leaky, SpikingNeuron, register_model, register_neuron, register_surrogate, setting

register_surrogate("boxcar", lambda v, slope: (v.abs() < 0.5 / slope) * slope, slope=2.0)


@register_neuron
class Forgetful(SpikingNeuron):
    kind = "forgetful"

    def __init__(self, beta=0.5, threshold=1.0, **options):
        super().__init__({"beta": beta, "threshold": threshold}, **options)

    @staticmethod
    def equation(cur, spk, mem, *, beta, threshold):
        return (beta * mem * (1 - spk.detach()) + cur,)


@dataclass(frozen=True)
class Settings:
    width: int = setting(16, "hidden neurons", scope="model", low=1, high=64)
    threshold: float = setting(1.0, "firing threshold", scope="model", low=0, above=True)
    surrogate: str = setting("boxcar", "gradient of a spike", scope="run")
    bias: bool = setting(True, "give the layers a bias", scope="model")


@register_model("mine", Settings)
class Mine(nn.Module):
    def __init__(self, width, threshold, surrogate, bias):
        super().__init__()
        options = {"surrogate": surrogate, "init_hidden": True}
        self.hidden = nn.Linear(2 * 34 * 34, width, bias=bias)
        self.hidden_neurons = Forgetful(0.5, threshold, **options)
        self.readout = nn.Linear(width, 10, bias=bias)
        self.neurons = Leaky(0.9, threshold, output=True, **options)

    def forward(self, frame):
        return self.neurons(self.readout(self.hidden_neurons(self.hidden(frame.flatten(1)))))
"""


@pytest.fixture(autouse=True)
def _registries_as_before(monkeypatch):
    """Take out what a test has registered."""
    from snn_helpers.neurons import NEURONS

    monkeypatch.delenv("SNN_PLUGINS", raising=False)
    monkeypatch.delenv("SNN_PROFILE", raising=False)
    tables = [(table, dict(table)) for table in (MODELS, NEURONS, SURROGATES)]
    yield
    for table, before in tables:
        table.clear()
        table.update(before)
    import sys

    for name in [name for name in sys.modules if name.startswith("snn_plugin_")]:
        del sys.modules[name]


@pytest.fixture
def plugin(tmp_path):
    """Return a file that registers a surrogate, a neuron and a network of them."""
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def small(make_folder, data_home, tmp_path):
    """Return the settings of a run of a second."""
    folder = make_folder(per_class={"Train": 6, "Test": 2}, count=300)
    settings = {"dataset": "nmnist", "data_dir": str(folder), "time_steps": 3, "batch_size": 16, "epochs": 1}
    return {**settings, "save_dir": str(tmp_path / "run")}


def flags_of(settings):
    return [f"--{name}={value}" for name, value in settings.items()]


def test_network_of_a_file_trains_resumes_tests_and_is_drawn_from_the_command_line(plugin, small, tmp_path, capsys):
    command = ["train", "--model", "mine", "--plugins", str(plugin), "--width", "24", "--no-bias", *flags_of(small)]
    assert main([*command, "--visualize"]) == 0
    run = tmp_path / "run"
    told = json.loads((run / "result.json").read_text())
    assert {name: told["config"][name] for name in ("model", "width", "bias", "plugins")} == {
        "model": "mine",
        "width": 24,
        "bias": False,
        "plugins": str(plugin),
    }
    assert list(told["spike_fractions"]) == ["hidden_neurons", "neurons"]
    assert (run / "logs" / "figures" / "firing.png").exists()
    assert told["synaptic_operations"] > 0

    model, config = load_model(run / "best.pt")
    assert (config.width, model.hidden.weight.shape) == (24, (24, 2 * 34 * 34))
    assert model.hidden.bias is None
    assert main(["train", "--resume", str(run)]) == 0
    assert main(["train", "--resume", str(run), "--test_only", "--save_dir", str(tmp_path / "test")]) == 0
    assert json.loads((tmp_path / "test" / "result.json").read_text())["test_accuracy"] == told["test_accuracy"]
    assert main(["train", "--resume", str(run), "--plugins", str(plugin), "--model", "mine", "--width", "8"]) == 1
    assert "was made with width 24, not 8. Leave these flags out." in capsys.readouterr().err

    (tmp_path / "moved").mkdir()
    moved = plugin.rename(tmp_path / "moved" / "mine.py")
    with pytest.raises(ValueError, match=r"`plugins`: .*mine\.py cannot be read .*--plugins FILE"):
        load_model(run / "best.pt")
    assert load_model(run / "best.pt", plugins=str(moved))[1].plugins == str(moved)
    look = ["visualize-activations", "--resume", str(run / "best.pt"), "--plugins", str(moved), "--split", "train"]
    look += ["--num_samples", "12", "--log_dir", str(tmp_path / "figures"), "--network", "--rates", "--raster"]
    assert main([*look, "--membrane", "--race", "--anytime", "--controls", "--confusion", "--cost"]) == 0
    assert len(list((tmp_path / "figures").glob("*.png"))) == 9


def test_plugins_of_the_environment_are_found_and_kept(plugin, small, monkeypatch, tmp_path):
    monkeypatch.setenv("SNN_PLUGINS", str(plugin))
    config = TrainConfig(model="mine", **small)
    assert config.plugins == str(plugin)
    train(config)
    monkeypatch.delenv("SNN_PLUGINS")
    assert load_model(tmp_path / "run" / "best.pt")[1].model == "mine"


def test_parameters_of_a_notebook_may_be_those_of_a_plugin(plugin):
    from snn_helpers.sweeps import training_rules

    given = {"model": "mine", "plugins": str(plugin), "width": 8, "alpha": 0.2, "digit": 3}
    assert training_rules().check(given).width == 8
    with pytest.raises(ValueError, match=r"`width` must be a whole number in \[1, 64\]; got 0"):
        training_rules().check({**given, "width": 0})
    assert training_rules().kinds["plugins"] is str
    assert set(training_rules().private) == {"save_dir", "log_dir", "resume"}


def test_help_lists_the_flags_of_the_network_asked_for(plugin, capsys):
    for command, there, absent in (
        (["--model", "mine", "--plugins", str(plugin)], "--width N", "--skip"),
        (["--model=resnet"], "--skip {sew,add_then_fire,membrane,none}", "--width"),
        ([], "--dropout", "--skip"),
    ):
        with pytest.raises(SystemExit):
            main(["train", *command, "--help"])
        text = capsys.readouterr().out
        assert there in text
        assert absent not in text
    with pytest.raises(SystemExit):
        main(["train", "--model", "mine", "--plugins", str(plugin), "--widht", "3"])
    assert "unknown flag --widht; did you mean --width?" in capsys.readouterr().err
    assert main(["train", "--skip", "none"]) == 1
    assert "`skip` is a setting of resnet; `model` is cnn. Leave it out." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n\nraise ImportError('no luck')\n", r"bad\.py, line 3: ImportError: no luck"),
        ("x = 1\ny = (\n", r"bad\.py, line 2: SyntaxError: '\(' was never closed"),
        ("def f():\n    return undefined\n\n\nf()\n", r"bad\.py, line 2: NameError: .*undefined"),
    ],
)
def test_plugin_that_fails_is_named_with_its_line(tmp_path, text, message, capsys):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        TrainConfig(plugins=path)
    assert main(["train", "--plugins", str(path), "--help"]) == 1
    assert "bad.py, line" in capsys.readouterr().err


def test_plugin_runs_once_until_it_is_changed_and_two_of_a_name_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.RUNS", [], raising=False)
    path = tmp_path / "counts.py"
    path.write_text("RUNS.append(1)")
    monkeypatch.chdir(tmp_path)
    assert [load_plugins("counts.py") for _ in range(2)] == 2 * [str(path)]
    path.write_text("RUNS.append(2)")
    load_plugins(f" {path} ,")
    import builtins

    assert builtins.RUNS == [1, 2]
    other = tmp_path / "other" / "counts.py"
    other.parent.mkdir()
    other.write_text("RUNS.append(3)")
    with pytest.raises(ValueError, match="have the same name"):
        load_plugins(str(other))
    assert join_plugins("/a/one.py,/a/two.py", "/b/one.py", None) == "/b/one.py,/a/two.py"
    assert join_plugins(None, None) is None


def test_surrogate_of_a_plugin_is_a_choice_of_every_network(plugin):
    assert set(surrogate_names()) == set(SURROGATES)
    with pytest.raises(ValueError, match="`surrogate` must be one of"):
        TrainConfig(surrogate="boxcar")
    assert TrainConfig(surrogate="boxcar", plugins=plugin).surrogate == "boxcar"


def test_config_of_any_network_copies_pickles_and_changes(plugin):
    config = TrainConfig(model="mine", plugins=plugin, width=3)
    assert config.width == 3
    assert isinstance(config, TrainConfig)
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    assert replace(config, width=5).width == 5
    assert TrainConfig.from_params(config.as_dict()) == config
    assert replace(TrainConfig(model="resnet"), model="cnn") == TrainConfig()
    for settings, message in (
        ({"width": 65}, r"`width` must be a whole number in \[1, 64\]; got 65"),
        ({"bias": "no"}, "`bias` must be True or False; got 'no'"),
        (
            {"dropout": 0.5},
            "`dropout` is a setting of cnn, resnet, recurrent, delayed and mixed; `model` is mine. Leave it out",
        ),
        ({"widht": 5}, "Did you mean 'width'"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            TrainConfig(model="mine", plugins=plugin, **settings)


def test_settings_of_another_network_at_their_defaults_say_nothing():
    """A notebook that lists the settings of all networks runs with each of them."""
    assert TrainConfig(alpha=0.2, skip="sew") == TrainConfig()


class Net(nn.Sequential):
    def __init__(self, **settings):
        neurons = Leaky(0.9, init_hidden=True, output=True)
        super().__init__(nn.Flatten(), nn.Linear(2 * 34 * 34, 10), neurons)
        self.settings = settings


@dataclass(frozen=True)
class OneOfEach:
    of_model: int = setting(1, "a setting of this scope", scope="model")
    of_run: int = setting(1, "a setting of this scope", scope="run")
    of_data: int = setting(1, "a setting of this scope", scope="data")
    of_test: int = setting(1, "a setting of this scope", scope="test")
    of_kept: int = setting(1, "a setting of this scope", scope="kept")
    of_here: int = setting(1, "a setting of this scope", scope="here")
    of_call: int = setting(1, "a setting of this scope", scope="call")


@pytest.fixture
def saved():
    """Return the config and the checkpoint's state of a run of a network with a setting of each scope, all at 2."""
    register_model("each", OneOfEach, Net)
    assert names_of(OneOfEach) == [f"of_{scope}" for scope in SCOPES]
    config = TrainConfig(model="each", dataset="simulated", **dict.fromkeys(names_of(OneOfEach), 2)).resolve()
    return config, {"config": config.as_dict()}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("test_only", [False, True])
def test_new_setting_is_kept_refused_or_free_on_resume_and_test_as_its_scope_says(saved, scope, test_only):
    fixed = {"model", "run"} if test_only else {"model", "run", "data", "test"}
    kept = fixed if test_only else fixed | {"kept"}
    name = f"of_{scope}"
    left_out = resume.adopt(TrainConfig(resume="last.pt", test_only=test_only), saved[1], ())
    assert getattr(left_out, name) == (2 if scope in kept else 1)
    for value, named in ((3, ()), (1, (name,))):  # another one, also its default if it was typed
        asked = TrainConfig(model="each", resume="last.pt", test_only=test_only, **{name: value})
        if scope in fixed:
            with pytest.raises(CheckpointError, match=f"last.pt: was made with {name} 2, not {value}"):
                resume.adopt(asked, saved[1], named)
        else:
            assert getattr(resume.adopt(asked, saved[1], named), name) == value
    same = TrainConfig(model="each", resume="last.pt", test_only=test_only, **{name: 2})
    assert getattr(resume.adopt(same, saved[1], ()), name) == 2


@pytest.mark.parametrize("scope", SCOPES)
def test_new_setting_makes_another_network_or_another_run_as_its_scope_says(saved, scope, tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path))
    changed = replace(saved[0], **{f"of_{scope}": 3})
    other_network = resume._clashes(changed, saved[0], names_of(type(saved[0]), "model"))
    assert bool(other_network) == (scope == "model")
    folder = tmp_path / f"protocol-real-each-{changed.profile}-seed0"
    folder.mkdir()
    config = {**saved[0].as_dict(), "save_dir": str(folder)}
    (folder / "result.json").write_text(json.dumps({"config": config, "provenance": None}))
    monkeypatch.setattr(protocols, "_refuse_other_recordings", lambda *_: None)
    if scope == "call":
        assert protocols._once("real", changed)["config"] == config
    else:
        with pytest.raises(ValueError, match="holds a run with other settings"):
            protocols._once("real", changed)


def test_every_field_of_every_network_has_a_scope():
    for cls in (TrainConfig, *(entry.settings for entry in MODELS.values())):
        assert check_class(cls) is cls
    with pytest.raises(TypeError, match="scope"):
        setting(1, "no scope")
    with pytest.raises(ValueError, match=r"`scope` must be one of .* Did you mean 'model'"):
        setting(1, "no scope", scope="modell")


def test_settings_that_are_none_are_refused_as_they_are_registered():
    @dataclass(frozen=True)
    class Plain:
        width: int = 3

    @dataclass
    class Changing:
        width: int = setting(3, "channels", scope="model")

    @dataclass(frozen=True)
    class OutOfRange:
        width: int = setting(0, "channels", scope="model", low=1)

    @dataclass(frozen=True)
    class OfKind:
        width: list = setting(None, "channels", scope="model")  # noqa: RUF009

    @dataclass(frozen=True)
    class OfTheRun:
        lr: float = setting(0.1, "its own", scope="model")

    for settings, error, message in (
        (Plain, TypeError, "`width` of .*Plain has no scope: write it as `setting"),
        (Changing, TypeError, r"with @dataclass\(frozen=True\); got .*Changing"),
        (int, TypeError, "must be a class with @dataclass"),
        (OutOfRange, ValueError, "`width` must be a whole number >= 1; got 0"),
        (OfKind, TypeError, "`width` of .* must be of type bool, int, float, str"),
    ):
        with pytest.raises(error, match=message):
            register_model("bad", settings, Net)
    assert "bad" not in MODELS
    register_model("bad", OfTheRun, Net)
    with pytest.raises(ValueError, match=r"`lr` of .* is a setting of every run. Give it another name"):
        config_class("bad")
    with pytest.raises(ValueError, match="two definitions are called 'cnn'"):
        register_model("cnn", OneOfEach, Net)


def test_settings_may_check_themselves():
    @dataclass(frozen=True)
    class Pair:
        low: int = setting(1, "below high", scope="model")
        high: int = setting(2, "above low", scope="model")

        def __post_init__(self):
            if self.low >= self.high:
                raise ValueError(f"`low` must be below `high`; got {self.low} and {self.high}.")

    register_model("pair", Pair, Net)
    assert TrainConfig(model="pair", high=3).high == 3
    with pytest.raises(ValueError, match="`low` must be below `high`; got 2 and 2"):
        TrainConfig(model="pair", low=2)


def test_constructor_gets_settings_lists_as_tuples_and_what_the_run_knows():
    from snn_helpers.training.build import build_model

    model = build_model(TrainConfig(model="resnet", learn="beta, rho", engine="reference", skip="membrane"))
    assert model.engine == "reference"
    assert isinstance(model.stem.neurons.rho, nn.Parameter)
    assert isinstance(model.stem.neurons.threshold, float)
    register_model("each", OneOfEach, Net)
    assert build_model(TrainConfig(model="each", of_run=4))(torch.ones(3, 2, 2, 34, 34))[0].shape == (3, 2, 10)


def test_recipe_serves_networks_and_data_sets_that_are_new():
    for profile in ("smoke", "teach", "full"):
        values = recipe("new", "new", profile)
        assert values.keys() == {"epochs", "batch_size", "time_steps", "num_samples", "lr", "warp", "init_rate"}
    assert recipe("cnn", "simulated", "teach") == recipe("new", "simulated", "teach")
    assert recipe("cnn", "mine", "teach")["epochs"] > recipe("cnn", "simulated", "teach")["epochs"]
    assert recipe("resnet", "motion", "teach")["time_steps"] == 24
    assert recipe("resnet", "nmnist", "teach")["epochs"] == 30
    for _, dataset, profile in RECIPES:
        assert dataset in (ANY, NEW, "simulated", "motion", "nmnist")
        assert profile in (ANY, "smoke", "teach", "full")
