"""What a sweep is to run: values of parameters, the runs made of them, and the id that each run keeps."""

from __future__ import annotations

import ast
import functools
import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from snn_helpers._checks import check_choice, check_int
from snn_helpers._paths import user_path
from snn_helpers.batch.parameters import Rules, check_values, plain, read_parameters

SEARCHES = ("grid", "random", "optuna")
REPEAT = "seed"
"""The parameter that repeats a configuration: every value is run for every configuration, also in a random search."""

_WITHOUT_NUMBERS = ("plots", "widgets", "run_figures", "activity_figures", "activity_report", "sweep_report")
_WITHOUT_NUMBERS += ("doctor", "tutorial", "cli", "cli_batch", "cli_data", "cli_exchange", "__main__")

MOST_RUNS = 100_000  # of a sweep


@dataclass(frozen=True)
class Span:
    """All numbers from `low` to `high`: whole ones if both are whole; `log` draws them evenly in the logarithm."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class SweepPlan:
    """What to run.

    Attributes
    ----------
    notebook : Path
        The notebook.
    grid : dict
        Parameter to values: a list, or a text such as "0.8,0.9", "0..4" (whole numbers, both ends) or, in a search,
        "0.001..0.1:log".
    fixed : dict
        Parameters that are the same in all runs.
    search : {"grid", "random", "optuna"}
        All combinations; or `trials` configurations drawn, or proposed by Optuna. Each is run with every `seed`.
    trials : int
        Configurations of a search.
    search_seed : int
        Seed of what is drawn or proposed.
    metric : str
        Result that a search makes best, and that the report compares by.
    direction : {"maximize", "minimize"}
        Which is better.
    """

    notebook: Path
    grid: Mapping[str, Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    search: str = "grid"
    trials: int = 20
    search_seed: int = 0
    metric: str = "valid_accuracy"
    direction: str = "maximize"

    def __post_init__(self):
        check_choice("search", self.search, SEARCHES)
        check_choice("direction", self.direction, ("maximize", "minimize"))
        check_int("trials", self.trials, low=1, high=MOST_RUNS)
        check_int("search_seed", self.search_seed, low=0)
        object.__setattr__(self, "notebook", user_path(self.notebook))
        both = sorted(set(self.grid) & set(self.fixed))
        if both:
            raise ValueError(f"`{both[0]}` is both swept and the same for all runs; give it once.")
        if not self.grid:
            raise ValueError("`--grid` is empty: name at least one parameter and its values, such as beta=0.8,0.9.")

    @classmethod
    def from_toml(cls, path: Path) -> tuple[SweepPlan, dict[str, Any]]:
        """Read a plan; return it and what else the file holds (`jobs`, `limit`, `[cluster]`).

        Paths are relative to the file.
        """
        try:
            told = tomllib.loads(user_path(path).read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as err:
            raise ValueError(f"{path}: {err}.") from err
        if "notebook" not in told:
            raise ValueError(f'{path}: needs a line notebook = "...", the notebook to run.')
        told["notebook"] = user_path(path).parent / user_path(told["notebook"])
        mine = {name: told.pop(name) for name in list(told) if name in cls.__dataclass_fields__}
        return cls(**{"grid": {}, **mine}), told


@dataclass(frozen=True)
class Run:
    """One run: its id, and the parameters that are set."""

    id: str
    parameters: Mapping[str, Any]


class Planner:
    """Makes runs of configurations, all checked; reads the notebook and the code once."""

    def __init__(self, plan: SweepPlan, rules: Rules | None = None):
        self.plan, self.rules = plan, rules or Rules()
        self.defaults = read_parameters(plan.notebook)
        self.notebook_version = notebook_version(plan.notebook)
        self.code_version = code_version()
        for name in (*plan.grid, *plan.fixed):
            if name in self.rules.private:
                raise ValueError(f"`{name}`: every run of a sweep has a folder of its own; leave it out.")
        names = {**plan.grid, **plan.fixed}
        check_values(plan.notebook, self.defaults, {name: self.defaults.get(name) for name in names}, self.rules)
        self.fixed = check_values(plan.notebook, self.defaults, plan.fixed, self.rules)
        self.space = {name: self._values(name, spec) for name, spec in plan.grid.items()}

    def _values(self, name: str, spec: Any) -> list[Any] | Span:
        values = read_spec(name, spec)
        ends = [values.low, values.high] if isinstance(values, Span) else values
        checked = [self._check({name: value})[name] for value in ends]
        if isinstance(values, list):
            if len({json.dumps(value) for value in checked}) < len(checked):
                raise ValueError(f"`{name}`: a value is given twice in {spec!r}.")
            return checked
        if values.whole and (self.plan.search == "grid" or name == REPEAT):
            _refuse_many(int(values.high) - int(values.low) + 1, f"`{name}`: {spec!r}")
            return list(range(values.low, values.high + 1))
        if self.plan.search == "grid":
            raise ValueError(f"`{name}`: a grid needs single values, such as 0.8,0.9; {spec!r} is for a search.")
        return values

    def _check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return check_values(self.plan.notebook, self.defaults, {**self.fixed, **values}, self.rules)

    def runs(self) -> list[Run]:
        """Return all runs of a grid or a random search, in order."""
        return [run for point in self.points() for run in self.repeats(point)]

    def points(self) -> list[dict[str, Any]]:
        """Return the configurations, without what repeats them."""
        space = {name: values for name, values in self.space.items() if name != REPEAT}
        repeats = len(self.space.get(REPEAT, ())) or 1
        told = self.plan.trials if self.plan.search != "grid" else math.prod(len(v) for v in space.values())
        _refuse_many(told * repeats, "the sweep")
        if self.plan.search == "grid":
            return [dict(zip(space, values)) for values in itertools.product(*space.values())]
        rng = np.random.default_rng(self.plan.search_seed)
        return [{name: _draw(rng, values) for name, values in space.items()} for _ in range(self.plan.trials)]

    def repeats(self, point: Mapping[str, Any]) -> list[Run]:
        """Return the runs of one configuration: one for every seed."""
        repeats = [{REPEAT: seed} for seed in self.space.get(REPEAT, [])] or [{}]
        return [self.run({**point, **repeat}) for repeat in repeats]

    def run(self, point: Mapping[str, Any]) -> Run:
        """Return the run of a point, checked.

        Its id is made of all parameters, the defaults too, of the notebook's and the package's code, and of the data:
        whoever starts the same again gets the same id, and another where one of these has changed.
        """
        values = self._check(point)
        effective = {**self.defaults, **values}
        told = [self.plan.notebook.name, self.notebook_version, self.code_version, self.rules.data(effective)]
        told.append({name: repr(value) for name, value in sorted(effective.items())})
        return Run(hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12], values)


def _refuse_many(count: int, what: str) -> None:
    if count > MOST_RUNS:
        raise ValueError(f"{what} makes {count:,} runs, and a sweep takes {MOST_RUNS:,} at most. Name fewer values.")


def read_spec(name: str, spec: Any) -> list[Any] | Span:
    """Read what a parameter's values are.

    Examples
    --------
    >>> read_spec("beta", "0.8,0.9"), read_spec("seed", "0..2"), read_spec("model", "cnn")
    (['0.8', '0.9'], Span(low=0, high=2, log=False), ['cnn'])
    >>> read_spec("lr", "0.001..0.1:log")
    Span(low=0.001, high=0.1, log=True)
    """
    if isinstance(spec, Span):
        return spec
    if isinstance(spec, str) and ".." in spec:
        return _read_span(name, spec)
    values = [part.strip() for part in spec.split(",")] if isinstance(spec, str) else spec
    values = list(values) if isinstance(values, Sequence | range | np.ndarray) else [values]
    if not values or "" in values:
        raise ValueError(f"`{name}`: values are missing in {spec!r}.")
    return [plain(value) for value in values]


def _read_span(name: str, text: str) -> Span:
    body, _, mode = text.partition(":")
    low, _, high = body.partition("..")
    try:
        numbers = [float(part) if any(sign in part for sign in ".eE") else int(part) for part in (low, high)]
    except ValueError:
        raise ValueError(f"`{name}`: {text!r} is no range; write it as 0..4, 0.1..0.9 or 0.001..0.1:log.") from None
    if mode not in ("", "log"):
        raise ValueError(f"`{name}`: {mode!r} in {text!r} is unknown; only log may follow the colon.")
    if numbers[0] >= numbers[1] or (mode and numbers[0] <= 0):
        raise ValueError(f"`{name}`: {text!r} must rise" + (", from above 0." if mode else "."))
    return Span(*numbers, log=bool(mode))


def _draw(rng: np.random.Generator, values: list[Any] | Span) -> Any:
    if isinstance(values, list):
        return values[rng.integers(len(values))]
    if values.log:
        number = float(np.exp(rng.uniform(np.log(values.low), np.log(values.high))))
        return min(values.high, max(values.low, round(number))) if values.whole else number
    return (
        int(rng.integers(values.low, values.high + 1)) if values.whole else float(rng.uniform(values.low, values.high))
    )


def notebook_version(notebook: Path) -> str:
    """Return a digest of a notebook's code; outputs, words and comments do not count."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    return _digest(b"\0".join(_code_of(cell.source.encode()) for cell in cells if cell.cell_type == "code"))


@functools.cache
def code_version() -> str:
    """Return a digest of what the package computes: its code, and the weights that come with it.

    Comments, docstrings and layout do not count, nor do the modules that only draw or talk (`_WITHOUT_NUMBERS`).
    """
    return _digest_of_package(Path(__file__).resolve().parents[1])


def _digest_of_package(root: Path) -> str:
    found = (path for suffix in ("py", "npz") for path in root.rglob(f"*.{suffix}"))
    # Kernels that were generated lie among what is compiled: each new one would make every run another one.
    parts = {path: path.relative_to(root).parts for path in found if "__pycache__" not in path.parts}
    counted = [path for path, names in parts.items() if names[0].removesuffix(".py") not in _WITHOUT_NUMBERS]
    return digest_of_files({"/".join(parts[path]): path for path in sorted(counted)})


def digest_of_files(files: Mapping[str, Path]) -> str:
    """Return a digest of named files: of Python files their code without comments and docstrings, of others all."""
    chunks = []
    for name, path in files.items():
        content = path.read_bytes()
        chunks += [name.encode(), _code_of(content) if path.suffix == ".py" else content]
    return _digest(b"\0".join(chunks))


def _code_of(source: bytes) -> bytes:
    """Return Python code as text without comments, docstrings and layout; what is not Python alone as it is."""
    try:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                node.body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        return ast.dump(tree).encode()
    except (SyntaxError, ValueError, RecursionError):  # a cell with IPython's own commands, or a sum of thousands
        return source


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
