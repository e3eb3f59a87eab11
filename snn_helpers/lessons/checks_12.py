"""Exercises of notebook 12: which runs a restart has to make, and a Pareto front."""

from __future__ import annotations

from collections.abc import Callable

from snn_helpers.lessons.answers import ask, exercise, refuse_if


def missing(ids, rows, retry):
    """Return the ids of the plan that are to run, in order."""
    last = {}
    for row in rows:
        last[row["id"]] = row["status"]
    return [run for run in ids if run not in last or last[run] in retry]


@exercise(missing)
def check_missing(missing: Callable) -> str:
    """Check `missing(ids, rows, retry)`: which runs a launch has to make, in the order of the plan."""
    ids = ["a", "b", "c", "d"]
    done = [{"id": run_id, "status": "done"} for run_id in ids]
    answer = ask(missing, ids, [], ())
    refuse_if(list(answer) != ids, f"with an empty ledger all four are missing, in order; got {answer!r}.")
    refuse_if(
        list(ask(missing, ids, done, ())) != [],
        "with four rows that are done a launch runs nothing: look for each id among the values of `id` in the rows.",
    )
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
    refuse_if(again != ["b", "d"], f"b was killed, d has no row: both run with retry=('killed',); got {again!r}.")
    mended = [*killed, {"id": "b", "status": "done"}]
    refuse_if(
        "b" in ask(missing, ids, mended, ("killed",)),
        "b was killed and then tried again: its last row counts, and that one is done.",
    )
    return "a launch runs what has no row, and of the others only those whose last status is to be tried again"


def front(points):
    """Return the names that no other beats: {name: (cost, accuracy)} in."""
    kept = []
    for name, (cost, accuracy) in points.items():
        others = [point for point in points.values() if point != (cost, accuracy)]
        beaten = any(other[0] <= cost and other[1] >= accuracy for other in others)
        if not beaten:
            kept.append(name)
    return kept


@exercise(front)
def check_front(front: Callable) -> str:
    """Check `front(points)`: the names of the settings that no other beats in both cost and accuracy."""
    points = {"a": (1.0, 0.60), "b": (2.0, 0.80), "c": (3.0, 0.70), "d": (4.0, 0.90), "e": (5.0, 0.90)}
    answer = set(ask(front, points))
    refuse_if(answer == {"d"}, "this is the most accurate alone. The cheapest one is on the front, too.")
    refuse_if(answer == {"a"}, "this is the cheapest alone: more accuracy may be worth its cost.")
    refuse_if("c" in answer, f"of {points} c is no use: b costs less and is more accurate.")
    refuse_if("e" in answer, f"of {points} e is no use: d is as accurate and costs less.")
    refuse_if(not answer, "no name comes back: every point is as good as itself, so compare it with the others only.")
    refuse_if(answer != set("abd"), f"of {points} a, b and d are the front; got {sorted(answer)}.")
    refuse_if(set(ask(front, {"a": (1.0, 0.5)})) != {"a"}, "a single setting is always on the front.")
    flipped = dict(reversed(points.items()))
    refuse_if(set(ask(front, flipped)) != set("abd"), "the order in which settings are listed must not matter.")
    twins = set(ask(front, {"a": (1.0, 0.5), "b": (1.0, 0.5)}))
    refuse_if(not twins, "two equal settings beat each other out: to beat takes more accuracy or less cost.")
    refuse_if(len(twins) == 1, "of two equal settings neither beats the other: both are on the front.")
    level = {"a": (1.0, 0.5), "b": (1.0, 0.6)}
    refuse_if(set(ask(front, level)) != {"b"}, "a and b cost the same, and b is right more often: a is beaten.")
    worse = {"a": (1.0, 0.9), "b": (2.0, 0.8)}
    refuse_if(set(ask(front, worse)) != {"a"}, "a is cheaper and more accurate than b: b is not on the front.")
    return "a, b and d are the front; c and e are beaten"
