"""The one record of a training run's settings: flags, notebook parameters and checkpoints are all made from it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from snn_helpers._checks import check_choice
from snn_helpers._datasets import check_dataset
from snn_helpers._plugins import load_plugins
from snn_helpers._settings import check_class, check_settings, names_of, setting
from snn_helpers.models.registry import MODELS
from snn_helpers.training.recipes import DATASET_OF, PROFILES, recipe

PROFILE_VARIABLE = "SNN_PROFILE"

# Of snntorch.functional: on output spikes (rates and counts), or on output membranes.
LOSSES = ("ce_rate_loss", "ce_count_loss", "mse_count_loss", "ce_max_membrane_loss", "mse_membrane_loss")

AUTO = "auto"  # of `resume`
OWN = "own"  # as `model`: a network that was handed to `train`

_MOST = 1_000_000  # far above what any run needs: what is larger is a slip that would never end


def _model_names() -> tuple[str, ...]:
    return (*MODELS, OWN)


@dataclass(frozen=True, init=False)
class TrainConfig:
    """Settings of one training run, and of the network that it trains.

    Every field is a flag of `snn-helpers train` and a parameter of notebook 06, with the help written here. The
    settings of the network that `model` names stand beside them: `TrainConfig(model="resnet", skip="membrane").skip`.
    A field that is None takes the profile's value in `resolve`, or means "none" where its help says so.

    Raises
    ------
    TypeError, ValueError
        If a value is of the wrong type or out of range, an unknown choice, a setting that there is not, or one of
        another network.
    """

    model: str = setting("cnn", "network to train", scope="model", choices=_model_names)
    plugins: str | None = setting(
        None,
        "files that register networks, neurons, surrogates or data sets of your own, joined by commas; default "
        "$SNN_PLUGINS",
        scope="kept",
        path=True,
    )
    profile: str | None = setting(
        None,
        f"what fills in the settings left out: smoke (seconds), teach (minutes), full; default ${PROFILE_VARIABLE}, "
        "else teach",
        scope="data",
        choices=PROFILES,
    )
    dataset: str | None = setting(
        None, "recordings to learn from: simulated, motion, nmnist, or what `snn-helpers import` made", scope="data"
    )
    data_dir: str | None = setting(
        None, "folder of recordings (nmnist) or of built stores (simulated, motion)", scope="here", path=True
    )
    image_size: int | None = setting(
        None,
        "pixels of the longer side, to which frames are pooled; default the sensor's own up to 64",
        scope="model",
        low=8,
        high=4096,
    )
    num_samples: int | None = setting(
        None, "training recordings to use, the same share of every class", scope="data", low=1, high=_MOST
    )
    time_steps: int | None = setting(None, "frames a recording, T", scope="run", low=1, high=100_000)
    epochs: int | None = setting(None, "passes over the training recordings", scope="run", low=1, high=_MOST)
    batch_size: int | None = setting(None, "recordings a step", scope="run", low=1, high=_MOST)
    lr: float | None = setting(
        None, "learning rate at its highest; default 0.01, for resnet 0.005", scope="run", low=0, above=True
    )
    weight_decay: float = setting(
        1e-4, "weight decay; the neurons' own numbers are spared", scope="run", low=0, high=1000
    )
    optimizer: str = setting(
        "adamw",
        "optimiser of torch; sgd has Nesterov's momentum 0.9, under onecycle 0.85 to 0.95",
        scope="run",
        choices=("adam", "adamw", "sgd"),
    )
    scheduler: str = setting(
        "onecycle",
        "course of the learning rate, plateau on the validation loss; without a value cosine",
        scope="run",
        choices=("onecycle", "cosine", "plateau", "none"),
        bare="cosine",
    )
    loss: str = setting(
        "ce_count_loss",
        "loss of snntorch.functional on output spikes, or on output membranes in units of the threshold",
        scope="run",
        choices=LOSSES,
    )
    init_rate: float | None = setting(
        None,
        "share of steps at which every layer fires before training, set on the first batch; 0 leaves the weights "
        "alone; default 0.03, or 0.04 for resnet and in teach on nmnist",
        scope="run",
        low=0,
        high=0.5,
    )
    engine: str = setting(
        "auto", "what computes the layers", scope="kept", choices=("auto", "snntorch", "reference", "cpu", "cuda")
    )
    truncate: int = setting(
        0,
        "truncated backpropagation through time, for long recordings: gradients and memory reach over parts of so many "
        "steps; 0 over all of them",
        scope="run",
        low=0,
        high=_MOST,
    )
    spike_penalty: float = setting(
        0.0, "weight of the hidden layers' mean spike fraction in the loss", scope="run", low=0, high=_MOST
    )
    max_shift: int = setting(2, "augmentation: shift by up to so many pixels", scope="run", low=0, high=16)
    warp: float | None = setting(
        None,
        "augmentation: stretch, turn and shear; how far each entry of the matrix may be from the identity's; default "
        "0.15, or 0.25 for cnn in teach on nmnist",
        scope="run",
        low=0,
        high=0.5,
    )
    event_drop: float = setting(0.0, "augmentation: share of events left out", scope="run", low=0, high=0.999)
    seed: int = setting(0, "seed of weights, order, augmentation and dropout", scope="run", low=0, high=2**63 - 1)
    device: str = setting("auto", "where to compute", scope="here", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = setting(
        "float32",
        "of the layers on a GPU; the others are mixed",
        scope="run",
        choices=("float32", "bfloat16", "float16"),
    )
    save_dir: str | None = setting(
        None,
        "folder of this run's checkpoints and results; default a new one under checkpoints/",
        scope="call",
        path=True,
    )
    save_every: int = setting(
        50, "steps between checkpoints; 0 only after every epoch", scope="kept", low=0, high=_MOST
    )
    log_dir: str | None = setting(
        None,
        "folder of the TensorBoard log and figures; default logs/ in a given save_dir, else logs/<run>",
        scope="call",
        path=True,
    )
    resume: str | None = setting(
        None,
        "checkpoint, or its folder, to go on from or to test; auto: of save_dir, else of the last unfinished run",
        scope="call",
        path=True,
    )
    init_from: str | None = setting(None, "checkpoint whose weights a new run starts from", scope="run", path=True)
    select: str = setting(
        "best",
        "network to test: best on validation data, or that of the last epoch",
        scope="test",
        choices=("best", "last"),
    )
    test_only: bool = setting(False, "do not train: test the checkpoint given by --resume", scope="call")
    visualize: bool = setting(False, "write the figures of the run beside its log", scope="call")

    def __new__(cls, **values: Any) -> TrainConfig:
        """Make a config of the class that has the settings of the network asked for, too."""
        load_plugins(values.get("plugins"))
        asked = config_class(values.get("model", "cnn"))
        # Python calls `__init__` of what is returned only if it is of the class that was called: `replace` with
        # another model is not.
        return object.__new__(asked) if issubclass(asked, cls) else asked(**values)

    def __init__(self, **values: Any):
        values = _without_others(self, {**values, "plugins": load_plugins(values.get("plugins"))})
        for item in fields(self):
            object.__setattr__(self, item.name, values.get(item.name, item.default))
        check_settings(self)
        if self.model != OWN:  # the settings' own `__post_init__`, if they have one
            settings = MODELS[self.model].settings
            settings(**{name: getattr(self, name) for name in names_of(settings)})

    def __reduce__(self):
        """Copy and pickle by the values: the class is made for the network, and has no place of its own."""
        return TrainConfig.from_params, (self.as_dict(),)

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> TrainConfig:
        """Make a config from parameters by name; unknown names are refused with the nearest known one."""
        return TrainConfig(**params)

    @staticmethod
    def names(plugins: str | None = None) -> list[str]:
        """Return the names of all settings there are: of a run, and of every network that is registered."""
        load_plugins(plugins)
        networks = (names_of(entry.settings) for entry in MODELS.values())
        return list(dict.fromkeys([*names_of(TrainConfig), *(name for names in networks for name in names)]))

    def resolve(self) -> TrainConfig:
        """Return a config in which the profile has filled in what was left out."""
        profile = self.profile or os.environ.get(PROFILE_VARIABLE) or "teach"
        check_choice(PROFILE_VARIABLE, profile, PROFILES)
        # Here, not when it is made: a checkpoint is read where its recordings may not be, too.
        dataset = check_dataset(self.dataset or DATASET_OF[profile])
        values = recipe(self.model, dataset, profile)
        missing = {name: value for name, value in values.items() if getattr(self, name) is None}
        return replace(self, profile=profile, dataset=dataset, **missing)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON and checkpoints."""
        return asdict(self)


check_class(TrainConfig)


def config_class(model: str) -> type[TrainConfig]:
    """Return the class of configs for a network: `TrainConfig` with the network's settings beside its own."""
    if model == OWN:
        return _joined(None)
    return _joined(MODELS[check_choice("model", model, MODELS)].settings)


@functools.cache
def _joined(settings: type | None) -> type[TrainConfig]:
    bases = (TrainConfig,) if settings is None else (TrainConfig, settings)
    for name in names_of(settings) if settings else ():
        if name in names_of(TrainConfig):
            raise ValueError(f"`{name}` of {settings.__qualname__} is a setting of every run. Give it another name.")
    joined = type("TrainConfig", bases, {"__module__": __name__, "__doc__": TrainConfig.__doc__})
    return dataclass(frozen=True, init=False)(joined)


def _without_others(config: TrainConfig, values: dict[str, Any]) -> dict[str, Any]:
    """Leave out settings of other networks at their defaults, which say nothing; refuse others, and unknown names."""
    own = names_of(type(config))
    model = values.get("model", TrainConfig.model)
    for name in [name for name in values if name not in own]:
        check_choice("parameter", name, TrainConfig.names())
        having = {title: entry for title, entry in MODELS.items() if name in names_of(entry.settings)}
        if values.pop(name) not in [getattr(entry.settings, name) for entry in having.values()]:
            *others, last = having
            owners = f"{', '.join(others)} and {last}" if others else last
            raise ValueError(f"`{name}` is a setting of {owners}; `model` is {model}. Leave it out.")
    return values
