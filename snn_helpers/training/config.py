"""The one record of a training run's settings: flags, notebook parameters and checkpoints are all made from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from snn_helpers._checks import check_choice, check_float, check_int
from snn_helpers._paths import user_path

# What the neurons of a network can learn beside the weights.
LEARNABLE = {"cnn": ("beta", "threshold"), "resnet": ("alpha", "beta", "threshold", "rho", "adaptation")}

_OF_RESNET = ("alpha", "rho", "adaptation", "skip")

PROFILE_VARIABLE = "SNN_PROFILE"

PROFILES = ("smoke", "teach", "full")

# How to learn from thousands of recordings. Validation loss of two seeds, n = 500, in 9 epochs: 0.096, 0.077; begun at
# 0.04 of steps 0.091, 0.106, and conv1 came to fire at 5 to 6 %; at 0.04 and a learning rate of 0.005: 0.106, 0.116. In
# 8 epochs, to stay below two minutes: 0.106, 0.074; in 7: 0.148, 0.106.
_MANY = {"lr": 1e-2, "warp": 0.15, "init_rate": 0.03}
# And from a few hundred: 600 real recordings, tested on 200 others (four folds of 796, one seed), 60 epochs at these
# reached 96.5 %, loss 0.144; at a learning rate of 0.005 96.0 %, 0.158; with a warp of 0.15, too, 95.7 %, 0.162.
_FEW = {"lr": 1e-2, "warp": 0.25, "init_rate": 0.04, "epochs": 60}

# What a profile fills in where nothing else was asked for, by profile and data set. "smoke" shows in seconds that
# everything runs; "teach" is made for a laptop; "full" is the published protocol on the official data.
# On validation data, more epochs of few frames learned more in the same time than the reverse.
_SMOKE = {"epochs": 1, "batch_size": 32, "time_steps": 5, "num_samples": 128, **_MANY}
_TEACH = {"batch_size": 64, "time_steps": 8}
_FULL = {"batch_size": 128, "time_steps": 25, "num_samples": None, **_MANY}
_FILL_IN: Mapping[tuple[str, str], Mapping[str, Any]] = MappingProxyType(
    {
        ("smoke", "simulated"): _SMOKE,
        ("smoke", "nmnist"): _SMOKE,
        ("teach", "simulated"): {**_TEACH, **_MANY, "epochs": 8, "num_samples": 4000},
        ("teach", "nmnist"): {**_TEACH, **_FEW, "num_samples": 1000},
        ("full", "simulated"): {**_FULL, "epochs": 30},
        ("full", "nmnist"): {**_FULL, "epochs": 60},
    }
)
# SpikingResNet learned with these before the above was found for SpikingCNN. A step of it takes longer: fewer frames.
_RESNET = {"lr": 5e-3, "warp": 0.15, "init_rate": 0.04}
_RESNET_TEACH: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"simulated": {"time_steps": 6}, "nmnist": {"epochs": 30, "time_steps": 6}}
)
_DATASET = {"smoke": "simulated", "teach": "simulated", "full": "nmnist"}


# Of snntorch.functional: on output spikes (rates and counts), or on output membranes.
LOSSES = ("ce_rate_loss", "ce_count_loss", "mse_count_loss", "ce_max_membrane_loss", "mse_membrane_loss")

AUTO = "auto"  # of `resume`


def _flag(default, help_text: str, *, low=None, high=None, above=False, choices=None, path=False, bare=None):
    """Describe a setting; `bare` is what the flag means where it is given without a value."""
    checks = {"help": help_text, "low": low, "high": high, "above": above, "choices": choices, "path": path}
    checks["bare"] = bare
    return field(default=default, metadata=checks)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run.

    Every field is a flag of `snn-helpers train` and a parameter of notebook 05, with the help written here. A field
    that is None takes the profile's value in `resolve`, or means "none" where its help says so.

    Raises
    ------
    TypeError, ValueError
        If a value is of the wrong type or out of range, or an unknown choice.
    """

    model: str = _flag("cnn", "network to train", choices=("cnn", "resnet"))
    profile: str | None = _flag(
        None,
        f"what fills in the settings left out: smoke (seconds), teach (minutes), full; default ${PROFILE_VARIABLE}, "
        "else teach",
        choices=PROFILES,
    )
    dataset: str | None = _flag(None, "recordings to learn from", choices=("simulated", "nmnist"))
    data_dir: str | None = _flag(None, "folder of recordings (nmnist) or of built stores (simulated)", path=True)
    num_samples: int | None = _flag(None, "training recordings to use, the same share of every class", low=1)
    time_steps: int | None = _flag(None, "frames a recording, T", low=1)
    epochs: int | None = _flag(None, "passes over the training recordings", low=1)
    batch_size: int | None = _flag(None, "recordings a step", low=1)
    lr: float | None = _flag(None, "learning rate at its highest; default 0.01, for resnet 0.005", low=0, above=True)
    weight_decay: float = _flag(1e-4, "weight decay; the neurons' own numbers are spared", low=0)
    optimizer: str = _flag(
        "adamw",
        "optimiser of torch; sgd has Nesterov's momentum 0.9, under onecycle 0.85 to 0.95",
        choices=("adam", "adamw", "sgd"),
    )
    scheduler: str = _flag(
        "onecycle",
        "course of the learning rate, plateau on the validation loss; without a value cosine",
        choices=("onecycle", "cosine", "plateau", "none"),
        bare="cosine",
    )
    loss: str = _flag(
        "ce_count_loss",
        "loss of snntorch.functional on output spikes, or on output membranes in units of the threshold",
        choices=LOSSES,
    )
    beta: float = _flag(0.9, "decay of the membranes per step, exp(-dt / tau)", low=0, high=1)
    # The surrogate gradient has a fixed width, 1 / 25: against a low threshold, and currents that scale with it, it is
    # wide, and more neurons learn. On validation data 0.1 learned several times faster than 1.0.
    threshold: float = _flag(0.1, "firing threshold of all neurons; weights scale with it", low=0, above=True)
    # At six frames a recording, 50 ms a step, a synapse of 31 ms. On validation data 0.8, 224 ms, learned less.
    alpha: float = _flag(0.2, "resnet: decay of the synaptic currents per step, exp(-dt / tau)", low=0, high=1)
    rho: float = _flag(0.9, "resnet: decay of the adaptation per step, exp(-dt / tau)", low=0, high=1)
    adaptation: float = _flag(
        1.0, "resnet: rise of the threshold of a neuron that always fires, in units of the threshold", low=0
    )
    skip: str = _flag("spike", "resnet: where the residual blocks' skips join", choices=("spike", "membrane", "none"))
    learn: str = _flag(
        "none", "numbers of the neurons to learn, joined by commas: beta,threshold, and alpha,rho,adaptation (resnet)"
    )
    init_rate: float | None = _flag(
        None,
        "share of steps at which every layer fires before training, set on the first batch; 0 leaves the weights "
        "alone; default 0.03, or 0.04 for resnet and in teach on nmnist",
        low=0,
        high=0.5,
    )
    dropout: float = _flag(0.2, "share of the hidden layer's spikes dropped in training", low=0, high=0.999)
    norm: str = _flag("batch", "normalisation over time and batch", choices=("batch", "none"))
    engine: str = _flag("auto", "what computes the layers", choices=("auto", "snntorch", "cpu", "cuda"))
    surrogate: str = _flag(
        "fast_sigmoid",
        "gradient of a spike; compact is zero far from the threshold, which is faster and learns differently",
        choices=("fast_sigmoid", "compact"),
    )
    spike_penalty: float = _flag(0.0, "weight of the hidden layers' mean spike fraction in the loss", low=0)
    max_shift: int = _flag(2, "augmentation: shift by up to so many pixels", low=0, high=16)
    warp: float | None = _flag(
        None,
        "augmentation: stretch, turn and shear; how far each entry of the matrix may be from the identity's; default "
        "0.15, or 0.25 for cnn in teach on nmnist",
        low=0,
        high=0.5,
    )
    event_drop: float = _flag(0.0, "augmentation: share of events left out", low=0, high=0.999)
    seed: int = _flag(0, "seed of weights, order, augmentation and dropout", low=0)
    device: str = _flag("auto", "where to compute", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = _flag(
        "float32", "of the layers on a GPU; the others are mixed", choices=("float32", "bfloat16", "float16")
    )
    save_dir: str | None = _flag(
        None, "folder of this run's checkpoints and results; default a new one under checkpoints/", path=True
    )
    save_every: int = _flag(50, "steps between checkpoints; 0 only after every epoch", low=0)
    log_dir: str | None = _flag(
        None,
        "folder of the TensorBoard log and figures; default logs/ in a given save_dir, else logs/<run>",
        path=True,
    )
    resume: str | None = _flag(
        None,
        "checkpoint, or its folder, to go on from or to test; auto: of save_dir, else of the last unfinished run",
        path=True,
    )
    init_from: str | None = _flag(None, "checkpoint whose weights a new run starts from", path=True)
    select: str = _flag(
        "best", "network to test: best on validation data, or that of the last epoch", choices=("best", "last")
    )
    test_only: bool = _flag(False, "do not train: test the checkpoint given by --resume")
    visualize: bool = _flag(False, "write the figures of the run beside its log")

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None and item.default is None:
                continue
            object.__setattr__(self, item.name, _checked(item.name, value, item.type, item.metadata))
        for name in self.learned:
            check_choice("learn", name, (*LEARNABLE[self.model], "none"))
        idle = [name for name in _OF_RESNET if getattr(self, name) != getattr(TrainConfig, name)]
        if idle and self.model != "resnet":
            raise ValueError(f"`{idle[0]}` is a setting of resnet; `model` is {self.model}. Leave it out.")

    @property
    def learned(self) -> tuple[str, ...]:
        """The numbers of the neurons to learn."""
        return () if self.learn == "none" else tuple(name.strip() for name in self.learn.split(","))

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> TrainConfig:
        """Make a config from parameters by name; unknown names are refused with the nearest known one."""
        known = [item.name for item in fields(cls)]
        for name in params:
            check_choice("parameter", name, known)
        return cls(**params)

    def resolve(self) -> TrainConfig:
        """Return a config in which the profile has filled in what was left out."""
        profile = self.profile or os.environ.get(PROFILE_VARIABLE) or "teach"
        check_choice(PROFILE_VARIABLE, profile, PROFILES)
        dataset = self.dataset or _DATASET[profile]
        values = dict(_FILL_IN[profile, dataset])
        if self.model == "resnet":
            values |= {**_RESNET, **(_RESNET_TEACH[dataset] if profile == "teach" else {})}
        missing = {name: value for name, value in values.items() if getattr(self, name) is None}
        return replace(self, profile=profile, dataset=dataset, **missing)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON and checkpoints."""
        return asdict(self)


def _checked(name: str, value: Any, annotation: str, checks: Mapping[str, Any]) -> Any:
    kind = annotation.split(" ")[0]
    if checks["path"]:
        if not isinstance(value, (str, os.PathLike)):
            raise TypeError(f"`{name}` must be a path; got {value!r}.")
        return str(user_path(value))
    if checks["choices"]:
        return check_choice(name, value, checks["choices"])
    if kind == "bool":
        if not isinstance(value, bool):
            raise TypeError(f"`{name}` must be True or False; got {value!r}.")
        return value
    if kind == "str":
        if not isinstance(value, str):
            raise TypeError(f"`{name}` must be text; got {value!r}.")
        return value
    if kind == "int":
        return check_int(name, value, checks["low"], checks["high"])
    return check_float(name, value, checks["low"], checks["high"], above=checks["above"])
