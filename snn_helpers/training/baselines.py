"""What a network must beat: classifiers that know nothing of time, or next to nothing at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snn_helpers.data import EventDataset
from snn_helpers.stats import wilson_interval

_CHUNK = 250


class Baseline(NamedTuple):
    """Accuracy of a baseline: name, share of right answers, 95 % Wilson interval, recordings."""

    name: str
    accuracy: float
    low: float
    high: float
    total: int


def summed_frames(dataset: EventDataset) -> np.ndarray:
    """Return each recording's events per polarity and pixel, all time collapsed: float32 [N, P * H * W]."""
    parts = [
        dataset.frames(range(start, min(start + _CHUNK, len(dataset))), num_steps=1)[0]
        for start in range(0, len(dataset), _CHUNK)
    ]
    return np.concatenate(parts).reshape(len(dataset), -1).astype(np.float32)


def baselines(train_set: EventDataset, other_set: EventDataset) -> list[Baseline]:
    """Score chance, the number of events, and logistic regression on summed frames.

    Parameters
    ----------
    train_set, other_set : EventDataset
        What to learn from, and what to score on: the validation split, or the test split at the very end.

    Returns
    -------
    list of Baseline
        "commonest class", "number of events", "summed frames".
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    counts, other_counts = summed_frames(train_set), summed_frames(other_set)
    commonest = np.bincount(train_set.labels).argmax()
    classes = np.unique(train_set.labels)
    means = np.array([counts.sum(1)[train_set.labels == label].mean() for label in classes])
    nearest = classes[np.abs(other_counts.sum(1)[:, None] - means).argmin(1)]
    # The square root steadies counts, whose spread grows with their mean.
    regression = make_pipeline(MaxAbsScaler(), LogisticRegression(C=0.3, tol=1e-3, max_iter=2000))
    regression.fit(np.sqrt(counts), train_set.labels)
    answers = {
        "commonest class": np.full(len(other_set), commonest),
        "number of events": nearest,
        "summed frames": regression.predict(np.sqrt(other_counts)),
    }
    return [_score(name, answer, other_set.labels) for name, answer in answers.items()]


def _score(name: str, answers: np.ndarray, labels: np.ndarray) -> Baseline:
    hits, total = int((answers == labels).sum()), len(labels)
    return Baseline(name, hits / total, *wilson_interval(hits, total), total)
