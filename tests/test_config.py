"""TrainConfig: every field checked, nothing unknown taken, profiles filled in where nothing was asked for."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from snn_helpers.models.registry import MODELS
from snn_helpers.training.config import PROFILES, TrainConfig

FIELDS = [item.name for item in dataclasses.fields(TrainConfig())]


@pytest.fixture(autouse=True)
def _no_profile(monkeypatch):
    monkeypatch.delenv("SNN_PROFILE", raising=False)


def test_from_params_equals_the_constructor():
    params = {"epochs": 3, "lr": 0.01, "norm": "none", "test_only": True}
    assert TrainConfig.from_params(params) == TrainConfig(epochs=3, lr=0.01, norm="none", test_only=True)


@pytest.mark.parametrize(
    ("name", "near"), [("epoch", "epochs"), ("batchsize", "batch_size"), ("time_step", "time_steps"), ("betta", "beta")]
)
def test_from_params_refuses_an_unknown_name_and_suggests_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"got '{name}'. Did you mean '{near}'"):
        TrainConfig.from_params({name: 1})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model", "cn", "`model` must be one of 'cnn'"),
        ("profile", "tech", "`profile` must be one of .* Did you mean 'teach'"),
        ("num_samples", 0, r"`num_samples` must be a whole number in \[1, 1000000\]; got 0"),
        ("time_steps", 0, r"`time_steps` must be a whole number in \[1, 100000\]; got 0"),
        ("epochs", -1, r"`epochs` must be a whole number in \[1, 1000000\]; got -1"),
        ("batch_size", 0, r"`batch_size` must be a whole number in \[1, 1000000\]; got 0"),
        ("lr", 0, r"`lr` must be a number > 0; got 0"),
        ("lr", float("nan"), r"`lr` must be a number > 0; got nan"),
        ("weight_decay", -1e-9, r"`weight_decay` must be a number in \[0, 1000\]"),
        ("scheduler", "cosin", "`scheduler` must be one of .* Did you mean 'cosine'"),
        ("loss", "ce_loss", "`loss` must be one of"),
        ("beta", 1.01, r"`beta` must be a number in \[0, 1\]; got 1.01"),
        ("threshold", 0.0, r"`threshold` must be a number in \(0, 1000000\]; got 0.0"),
        ("dropout", 1.0, r"`dropout` must be a number in \[0, 0.999\]; got 1.0"),
        ("norm", None, "`norm` must be one of 'batch', 'none'; got None"),
        ("engine", "cudaa", "`engine` must be one of"),
        ("max_shift", -1, r"`max_shift` must be a whole number in \[0, 16\]; got -1"),
        ("event_drop", 1.0, r"`event_drop` must be a number in \[0, 0.999\]"),
        ("seed", -1, r"`seed` must be a whole number in \[0, 9223372036854775807\]; got -1"),
        ("device", "gpu", "`device` must be one of"),
        ("alpha", -0.1, r"`alpha` must be a number in \[0, 1\]; got -0.1"),
        ("rho", 1.5, r"`rho` must be a number in \[0, 1\]; got 1.5"),
        ("adaptation", -1, "`adaptation` must be a number >= 0; got -1"),
        ("skip", "add", "`skip` must be one of 'sew', 'add_then_fire', 'membrane', 'none'; got 'add'"),
        ("learn", "betta", "`learn` must be one of 'beta', 'threshold', 'none'; got 'betta'. Did you mean 'beta'"),
        ("learn", "beta,rho", "`learn` must be one of 'beta', 'threshold', 'none'; got 'rho'"),
        ("init_rate", 0.6, r"`init_rate` must be a number in \[0, 0.5\]; got 0.6"),
    ],
)
def test_config_refuses_values_out_of_range(name, value, message):
    model = "resnet" if name in ("alpha", "rho", "adaptation", "skip") else "cnn"
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{"model": model, name: value})


def test_data_set_that_there_is_not_is_refused_when_the_rest_is_filled_in():
    config = TrainConfig(dataset="simulate")  # of a checkpoint, say, whose data set is on another machine
    with pytest.raises(ValueError, match=r"`dataset` must be one of .* Did you mean 'simulated'"):
        config.resolve()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *[(name, 2.0, f"`{name}` must be a whole number") for name in ("num_samples", "time_steps", "epochs")],
        *[(name, "2", f"`{name}` must be a whole number") for name in ("batch_size", "max_shift", "seed")],
        *[(name, "0.1", f"`{name}` must be a number") for name in ("lr", "weight_decay", "beta", "threshold")],
        *[(name, None, f"`{name}` must be a number") for name in ("dropout", "event_drop")],
        ("seed", True, "`seed` must be a whole number"),
        ("learn", 3, "`learn` must be text; got 3"),
        ("test_only", 1, "`test_only` must be True or False; got 1"),
        ("test_only", None, "`test_only` must be True or False; got None"),
        *[(name, 3, f"`{name}` must be a path; got 3") for name in ("data_dir", "save_dir", "resume")],
    ],
)
def test_config_refuses_values_of_the_wrong_type(name, value, message):
    with pytest.raises(TypeError, match=message):
        TrainConfig(**{name: value})


def test_config_takes_numpy_numbers_and_paths_as_plain_ones():
    config = TrainConfig(epochs=np.int64(3), lr=np.float64(0.5), data_dir=Path("a/b"), beta=1)
    assert (config.epochs, config.lr, config.data_dir, config.beta) == (3, 0.5, str(Path("a/b")), 1.0)
    assert [type(value) for value in (config.epochs, config.lr, config.data_dir, config.beta)] == [
        int,
        float,
        str,
        float,
    ]


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3


def test_as_dict_goes_through_json_and_back():
    config = TrainConfig(epochs=3, data_dir=Path("a"), test_only=True).resolve()
    assert TrainConfig.from_params(json.loads(json.dumps(config.as_dict()))) == config
    assert list(config.as_dict()) == FIELDS


def test_every_field_says_what_it_is():
    for item in (*dataclasses.fields(TrainConfig()), *dataclasses.fields(TrainConfig(model="resnet"))):
        assert len(item.metadata["help"]) > 8, item.name


FILLED_IN = ("dataset", "epochs", "batch_size", "time_steps", "lr", "warp", "init_rate")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("dataset", [None, "simulated", "nmnist"])
def test_resolve_fills_in_what_was_left_out(profile, dataset):
    config = TrainConfig(profile=profile, dataset=dataset).resolve()
    assert config.profile == profile
    assert config.dataset == (dataset or ("nmnist" if profile == "full" else "simulated"))
    assert None not in [getattr(config, name) for name in FILLED_IN]
    # All recordings in the published protocol, a limited number elsewhere.
    assert (config.num_samples is None) == (profile == "full")


@pytest.mark.parametrize("dataset", ["simulated", "nmnist"])
def test_profiles_cost_more_in_their_order(dataset):
    profiles = [TrainConfig(profile=name, dataset=dataset).resolve() for name in ("smoke", "teach", "full")]
    costs = [config.epochs * config.time_steps * (config.num_samples or 60_000) for config in profiles]
    assert costs[0] < costs[1] / 10
    assert costs[1] < costs[2]


def test_resolve_keeps_what_was_asked_for():
    asked = {"epochs": 7, "time_steps": 9, "dataset": "nmnist", "batch_size": 3, "num_samples": 11}
    config = TrainConfig(profile="smoke", **asked).resolve()
    assert {name: getattr(config, name) for name in asked} == asked


def test_resolve_is_the_same_twice():
    config = TrainConfig(profile="smoke").resolve()
    assert config.resolve() == config


def test_profile_is_teach_when_nothing_says_otherwise():
    assert TrainConfig().resolve() == TrainConfig(profile="teach").resolve()


def test_profile_comes_from_the_environment_unless_given(monkeypatch):
    monkeypatch.setenv("SNN_PROFILE", "smoke")
    assert TrainConfig().resolve() == TrainConfig(profile="smoke").resolve()
    assert TrainConfig(profile="full").resolve().profile == "full"


def test_profile_of_the_environment_is_checked(monkeypatch):
    monkeypatch.setenv("SNN_PROFILE", "smoek")
    with pytest.raises(ValueError, match=r"`SNN_PROFILE` must be one of .* Did you mean 'smoke'"):
        TrainConfig().resolve()


def test_learned_numbers_are_those_of_the_network():
    for learn, names in (("none", ()), ("beta, rho", ("beta", "rho"))):
        config = TrainConfig(model="resnet", learn=learn)
        assert MODELS["resnet"].arguments(vars(config))["learn"] == names


@pytest.mark.parametrize("settings", [{"alpha": 0.5}, {"rho": 0.5}, {"adaptation": 2.0}, {"skip": "none"}])
def test_settings_that_would_do_nothing_are_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"`{name}` is a setting of resnet; `model` is cnn. Leave it out."):
        TrainConfig(model="cnn", **settings)
    TrainConfig(model="resnet", **settings)
