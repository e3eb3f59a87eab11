"""Checks of the exercises of notebook 07: ids of runs, what a restart has to run, and a Pareto front."""

from __future__ import annotations

from collections.abc import Callable

from snn_helpers.lessons.answers import ask, exercise, refuse_if


@exercise
def check_run_id(run_id: Callable) -> str:
    """Check `run_id(parameters)`: a short text, the same for the same parameters, today and in another process."""
    first = ask(run_id, {"beta": 0.9, "seed": 0})
    refuse_if(not isinstance(first, str), f"an id is a text, so that it can name a folder; got {first!r}.")
    refuse_if(not first or any(sign in first for sign in "/ {}:'\""), f"{first!r} is no good name for a folder.")
    refuse_if(ask(run_id, {"beta": 0.9, "seed": 0}) != first, "the same parameters again got another id.")
    turned = ask(run_id, {"seed": 0, "beta": 0.9})
    refuse_if(turned != first, "the order in which parameters are named must not matter: sort them first.")
    names = set(getattr(getattr(run_id, "__code__", None), "co_names", ()))
    refuse_if("hash" in names, "`hash` of a text is another number in every process; use a digest of `hashlib`.")
    others = [{"beta": 0.9, "seed": 1}, {"beta": 0.91, "seed": 0}, {"alpha": 0.9, "seed": 0}, {"beta": 0.9}]
    others += [{"beta": 0.9, "seed": 0, "model": "cnn"}, {"beta": 0, "seed": 0.9}]
    ids = [ask(run_id, other) for other in others]
    for other, other_id in zip(others, ids):
        refuse_if(other_id == first, f"{other} got the id of {{'beta': 0.9, 'seed': 0}}: names and values both count.")
    refuse_if(len(set(ids)) < len(ids), "two different sets of parameters share an id.")
    many = {ask(run_id, {"beta": 0.9, "seed": seed}) for seed in range(2000)}
    refuse_if(len(many) < 2000, f"of 2,000 seeds only {len(many):,} got an id of their own: keep more digits.")
    return "the same parameters, in any order, keep their id; 2,000 seeds have 2,000 of them"


@exercise
def check_missing(missing: Callable) -> str:
    """Check `missing(ids, rows, retry)`: which runs a launch has to make, in the order of the plan."""
    ids = ["a", "b", "c", "d"]
    done = [{"id": run_id, "status": "done"} for run_id in ids]
    answer = ask(missing, ids, [], ())
    refuse_if(list(answer) != ids, f"with an empty ledger all four are missing, in order; got {answer!r}.")
    refuse_if(list(ask(missing, ids, done, ())) != [], "with four rows that are done a launch runs nothing.")
    foreign = [{"id": "x", "status": "done"}, *done[:1]]
    refuse_if(
        list(ask(missing, ids, foreign, ())) != ["b", "c", "d"],
        "rows may be of other plans: ask of each id whether it has a row, not how many rows there are.",
    )
    killed = [done[0], {"id": "b", "status": "killed"}, {"id": "c", "status": "failed"}]
    unasked = list(ask(missing, ids, killed, ()))
    refuse_if(unasked == ["b", "c", "d"], "a run that ended badly has a row, too: without `retry` it is not run again.")
    refuse_if(unasked != ["d"], f"only d has no row; got {unasked!r}.")
    again = list(ask(missing, ids, killed, ("killed",)))
    refuse_if(again == ["d", "b"], "keep the order of the plan: b comes before d.")
    refuse_if(again == ["b", "c", "d"], "only the statuses in `retry` are tried again: c has failed, not been killed.")
    refuse_if(again != ["b", "d"], f"with retry=('killed',), b and d are to run; got {again!r}.")
    mended = [*killed, {"id": "b", "status": "done"}]
    refuse_if(
        "b" in ask(missing, ids, mended, ("killed",)),
        "b was killed and then tried again: its last row counts, and that one is done.",
    )
    return "a launch runs what has no row, and of the others only those whose last status is to be tried again"


@exercise
def check_front(front: Callable) -> str:
    """Check `front(points)`: the names of the settings that no other beats in both cost and accuracy."""
    points = {"a": (1.0, 0.60), "b": (2.0, 0.80), "c": (3.0, 0.70), "d": (4.0, 0.90), "e": (5.0, 0.90)}
    answer = set(ask(front, points))
    refuse_if(answer == {"d"}, "this is the most accurate alone. The cheapest one is on the front, too.")
    refuse_if(answer == {"a"}, "this is the cheapest alone: more accuracy may be worth its cost.")
    refuse_if("c" in answer, "c is no use: b costs less and is right more often.")
    refuse_if("e" in answer, "e is no use: d is as accurate and costs less.")
    refuse_if(answer != set("abd"), f"a, b and d are the front; got {sorted(answer)}.")
    refuse_if(set(ask(front, {"a": (1.0, 0.5)})) != {"a"}, "a single setting is always on the front.")
    flipped = dict(reversed(points.items()))
    refuse_if(set(ask(front, flipped)) != set("abd"), "the order in which settings are listed must not matter.")
    twins = set(ask(front, {"a": (1.0, 0.5), "b": (1.0, 0.5)}))
    refuse_if(not twins, "two equal settings beat each other out: to beat takes more accuracy or less cost.")
    worse = {"a": (1.0, 0.9), "b": (2.0, 0.8)}
    refuse_if(set(ask(front, worse)) != {"a"}, "a is cheaper and more accurate than b: b is not on the front.")
    return "a, b and d are the front; c and e are beaten"
