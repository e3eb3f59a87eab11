"""Configurations proposed by Optuna from the results so far, in a study that outlives the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from snn_helpers.batch.plan import REPEAT, Planner, Run

STUDY = "optuna.log"


class OptunaSearch:
    """A study in the sweep's folder: proposes configurations, and is told their mean over the seeds.

    Raises
    ------
    ImportError
        If Optuna is not installed.
    """

    def __init__(self, folder: Path, planner: Planner):
        try:
            import optuna
        except ImportError as err:
            raise ImportError("`--search optuna` needs Optuna. Run `pip install 'snn_helpers[search]'`.") from err
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._planner = optuna, planner
        backend = optuna.storages.journal.JournalFileBackend(str(folder / STUDY))
        # Study names carry the code's version: what other code has found is no guide.
        self._study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend), study_name=planner.code_version, load_if_exists=True,
            direction=planner.plan.direction,
        )  # fmt: skip
        # A sampler that began with the same seed again would propose the same again.
        begun = len(self._study.get_trials())
        self._study.sampler = optuna.samplers.TPESampler(seed=planner.plan.search_seed + begun)

    def run(self, width: int, make_rows: Callable[[list[Run]], Iterable[Mapping[str, Any]]]) -> None:
        """Propose until the plan's `trials` are told; `width` runs are proposed at a time.

        Parameters
        ----------
        width : int
            Runs that go on side by side.
        make_rows : callable
            Makes runs and returns their rows, those of earlier runs taken from the ledger.
        """
        states = self._optuna.trial.TrialState
        for trial in self._study.get_trials(states=(states.RUNNING,)):
            # Its process was killed: the same configuration again, whose finished seeds the ledger still has.
            self._study.tell(trial.number, state=states.FAIL)
            self._study.enqueue_trial(trial.params)
        ended = self._study.get_trials(states=(states.COMPLETE, states.PRUNED))
        make_rows([run for trial in ended for run in self._planner.repeats(trial.params)])
        at_once = max(1, width // max(1, len(self._planner.space.get(REPEAT, []))))
        told = len(ended)
        while told < self._planner.plan.trials:
            trials = [self._study.ask() for _ in range(min(at_once, self._planner.plan.trials - told))]
            runs = {trial.number: self._planner.repeats(self._propose(trial)) for trial in trials}
            unique = {run.id: run for group in runs.values() for run in group}
            rows = {row["id"]: row for row in make_rows(list(unique.values()))}
            for trial in trials:
                self._tell(trial, [rows[run.id] for run in runs[trial.number]])
            told += len(trials)

    def _propose(self, trial) -> dict[str, Any]:
        point = {}
        for name, values in self._planner.space.items():
            if name == REPEAT:
                continue
            if isinstance(values, list):
                point[name] = trial.suggest_categorical(name, values)
            elif values.whole:
                point[name] = trial.suggest_int(name, values.low, values.high, log=values.log)
            else:
                point[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
        return point

    def _tell(self, trial, rows: list[Mapping[str, Any]]) -> None:
        metric = self._planner.plan.metric
        values = [row["results"].get(metric) for row in rows if row["status"] == "done"]
        if len(values) == len(rows) and None not in values:
            self._study.tell(trial, fmean(values))
        else:  # a failed run leaves the configuration without a value; it is not proposed as good
            self._study.tell(trial, state=self._optuna.trial.TrialState.PRUNED)
