"""Hidden spikes as points in the plane, and how far such a picture can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snn_helpers._checks import check_choice, check_int
from snn_helpers.activity.measures import check_classes

METHODS = ("pca", "tsne")
FEWEST = 5
PCA_DIMENSIONS = 50
"""Principal components that t-SNE is given: it removes noise and bounds the time."""


@dataclass(frozen=True)
class Embedding:
    """Points in the plane, with everything that shaped them.

    Attributes
    ----------
    points : float32 ndarray [N, 2] or [T, N, 2]
        In the order of the features.
    method : str
        "pca" or "tsne".
    seed : int
        Of t-SNE.
    perplexity : float or None
        What t-SNE used: about the number of neighbours that a point listens to.
    trustworthiness : float in [0, 1]
        How far neighbours in the plane are neighbours in the features (scikit-learn's, over `neighbours`).
    neighbours : int
        For the trustworthiness.
    message : str
        What differs from what was asked for; empty if nothing does.
    """

    points: np.ndarray
    method: str
    seed: int
    perplexity: float | None
    trustworthiness: float
    neighbours: int
    message: str


def spike_counts(spk: np.ndarray) -> np.ndarray:
    """Return spikes [T, B, ...] as features float32 [B, N]: each neuron's spikes over the recording."""
    return np.asarray(spk).sum(0, dtype=np.float32).reshape(spk.shape[1], -1)


def embed(
    features: np.ndarray, method: str = "tsne", perplexity: float = 30.0, seed: int = 0, neighbours: int = 10
) -> Embedding:
    """Lay features out in the plane.

    Parameters
    ----------
    features : ndarray [N, D]
        One row a recording, for example `spike_counts(recording.spk["hidden"])`.
    method : {"tsne", "pca"}
        "tsne" keeps neighbours together, and says nothing of distances between groups; principal components come first,
        and its start is taken from them. "pca" is a linear view.
    perplexity : float
        For t-SNE; clamped to a third of the recordings, which the result says.
    seed : int
        For t-SNE. The same features and seed give the same points.
    neighbours : int
        For the trustworthiness; clamped below half of the recordings.

    Raises
    ------
    ValueError
        If there are fewer than 5 recordings, or the features are not [N, D] of finite numbers.
    """
    from sklearn.manifold import trustworthiness

    check_choice("method", method, METHODS)
    features = _checked(features)
    limit = (len(features) - 1) / 3
    used = min(float(perplexity), limit)
    message = ""
    if method == "tsne" and used < perplexity:
        message = f"perplexity {used:.3g} instead of {perplexity:g}: {len(features)} recordings allow no more"
    points = _lay_out(features, method, used, seed)
    neighbours = min(check_int("neighbours", neighbours, low=1), (len(features) - 1) // 2)
    shown = used if method == "tsne" else None
    trust = float(trustworthiness(features, points, n_neighbors=neighbours))
    return Embedding(points, method, seed, shown, trust, neighbours, message)


def embed_layers(spikes: Mapping[str, np.ndarray], frames: np.ndarray | None = None, **options) -> dict[str, Embedding]:
    """Embed several layers' spike counts, each on its own, and the input's event counts first, as the baseline.

    Parameters
    ----------
    spikes : mapping of layer name to ndarray [T, B, ...]
        For example `recording.spk`.
    frames : ndarray [T, B, P, H, W] or None
        The input of the same recordings; shown as "input".
    **options
        As for `embed`.
    """
    parts = {} if frames is None else {"input": frames}
    return {name: embed(spike_counts(values), **options) for name, values in {**parts, **spikes}.items()}


def embed_over_time(spk: np.ndarray, method: str = "pca", seed: int = 0, **options) -> Embedding:
    """Embed each recording's spike counts so far after every step, all in one plane.

    Parameters
    ----------
    spk : ndarray [T, B, ...]
        Spikes of one layer.
    method : {"pca", "tsne"}
        One layout for all T * B points, so that paths can be followed.
    seed : int
        See `embed`.
    **options
        As for `embed`.

    Returns
    -------
    Embedding
        Its points are [T, B, 2].
    """
    so_far = np.cumsum(np.asarray(spk), axis=0, dtype=np.float32)
    flat = embed(so_far.reshape(spk.shape[0] * spk.shape[1], -1), method, seed=seed, **options)
    return Embedding(**{**vars(flat), "points": flat.points.reshape(*spk.shape[:2], 2)})


def neighbour_agreement(features: np.ndarray, labels: np.ndarray, neighbours: int = 10) -> float:
    """Return the share of each recording's nearest neighbours that are of its own class, in features [N, D].

    It says in one number what a picture of an embedding suggests, and can be had of the raw input, too.
    """
    from sklearn.neighbors import NearestNeighbors

    labels = check_classes(labels, "agreement of neighbours")
    features = _checked(features)
    neighbours = min(check_int("neighbours", neighbours, low=1), len(features) - 1)
    searched = min(neighbours + 1, len(features) - 1)  # of a few recordings, all others
    nearest = NearestNeighbors(n_neighbors=searched).fit(features).kneighbors(return_distance=False)
    return float((labels[nearest[:, :neighbours]] == labels[:, None]).mean())


def _checked(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or not features.shape[1] or not np.isfinite(features).all():
        raise ValueError(f"`features` must be finite numbers [N, D]; got shape {list(features.shape)}.")
    if len(features) < FEWEST:
        raise ValueError(f"`features`: {len(features)} recordings are too few to embed; at least {FEWEST} are needed.")
    return features


def _lay_out(features: np.ndarray, method: str, perplexity: float, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    components = min(2 if method == "pca" else PCA_DIMENSIONS, *features.shape)
    centred = features - features.mean(0)
    if not centred.any():
        return np.zeros((len(features), 2), np.float32)  # all recordings alike, for example of a dead layer
    reduced = PCA(components, svd_solver="full" if min(features.shape) < 500 else "randomized", random_state=seed)
    reduced = reduced.fit_transform(centred).astype(np.float32)
    if components < 2:
        reduced = np.hstack([reduced, np.zeros_like(reduced)])
    if method == "pca":
        return reduced
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # Its threads wait for each other actively: with another program on the machine it took 35 times as long on two.
    with threadpool_limits(1):
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
