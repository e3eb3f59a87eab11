"""Recordings in which only time tells the class: a digit makes three excursions out and back, in one of six orders.

Each excursion is simulated by itself, and the parts are joined in the class's order. What a recording is, summed over
time, is therefore the same in all six classes, to the last event: its number of events, its picture, its duration. All
that differs between excursions (pauses, speed, length, bend) is drawn for each of them, whatever the class.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from snn_helpers._checks import check_int
from snn_helpers.events.camera import KNOT_US, Camera
from snn_helpers.events.pixel import hash_bits, recording_keys
from snn_helpers.events.simulate import Recordings, simulate

EXCURSIONS = ("right", "up", "down-left")
ORDERS = tuple(permutations(range(len(EXCURSIONS))))
"""The six classes: which excursion comes first, second and third."""

CLASSES = tuple(", ".join(EXCURSIONS[part] for part in order) for order in ORDERS)
"""Names of the six classes, as in "right, up, down-left"."""

# Each direction in 1/1000, x to the right and y downwards.
_DIRECTIONS = ((1_000, 0), (0, -1_000), (-707, 707))
_CENTRE_MILLI_PX = 3_000  # the digit's corner in the middle of the field
_PARTS = len(EXCURSIONS)
_ONE = 1 << 10  # of the way out

REST_MS = (32, 40)
"""Range of the rest after an excursion; longer ones ask for a longer memory."""

# What is drawn, and its range: ms, or 1/1000 px.
_PAUSE, _OUT, _HOLD, _BACK = (32, 40), (18, 26), (0, 6), (18, 26)
_LENGTH, _BEND, _OFFSET = (3_500, 5_000), (-500, 500), (-1_000, 1_000)


def simulate_motion(
    images, ids, classes, camera: Camera | None = None, seed: int = 0, rest_ms: tuple[int, int] = REST_MS
) -> Recordings:
    """Record each digit while it makes its three excursions in the order of its class.

    Parameters
    ----------
    images : uint8 [N, 28, 28]
        Ink, as in `simulate`.
    ids : integers [N], not negative
        Name of each recording; its excursions depend on `seed` and its id, not on its class.
    classes : integers [N] in [0, 5]
        Index into `ORDERS`.
    camera : Camera or None
        Its path plays no part.
    seed : int, not negative
    rest_ms : (int, int)
        Least and greatest rest after an excursion. Nothing else that is drawn depends on it: with another range, the
        same excursions come at other times.

    Returns
    -------
    Recordings
        N recordings, by default of about 350 ms, events sorted by time.

    Raises
    ------
    TypeError, ValueError
        If the arguments are not as above.
    """
    ids, classes = np.asarray(ids), np.asarray(classes)
    if classes.shape != ids.shape or (classes.size and not 0 <= classes.min() <= classes.max() < len(ORDERS)):
        raise ValueError(f"`classes` must hold one of 0 .. {len(ORDERS) - 1} a recording, shape {list(ids.shape)}.")
    seed = check_int("seed", seed, 0, 2**63 - 1)
    low, high = (check_int("rest_ms", bound, 0, 10_000) for bound in rest_ms)
    if low > high:
        raise ValueError(f"`rest_ms` must be (least, greatest), in this order; got {tuple(rest_ms)}.")
    paths = [excursion(int(i), part, seed, (low, high)) for i in ids for part in range(_PARTS)]
    part_ids = (np.asarray(ids, dtype=np.int64)[:, None] * _PARTS + np.arange(_PARTS)).ravel()
    made = simulate(np.repeat(images, _PARTS, axis=0), part_ids, camera, seed, paths)
    lengths = np.array([(path.shape[1] - 1) * KNOT_US for path in paths]).reshape(-1, _PARTS)
    pieces, shifts = [], []
    for i, label in enumerate(classes):
        parts = list(ORDERS[label])
        starts = np.concatenate([[0], np.cumsum(lengths[i, parts])[:-1]])
        for part, start in zip(parts, starts):
            piece = slice(made.offsets[_PARTS * i + part], made.offsets[_PARTS * i + part + 1])
            pieces.append(np.arange(piece.start, piece.stop))
            shifts.append(np.full(len(pieces[-1]), start, dtype=np.int64))
    order = np.concatenate([*pieces, np.empty(0, np.int64)])
    shift = np.concatenate([*shifts, np.empty(0, np.int64)])
    return Recordings(made.x[order], made.y[order], made.p[order], made.t[order] + shift, made.offsets[::_PARTS])


def excursion(recording: int, part: int, seed: int, rest_ms: tuple[int, int] = REST_MS) -> np.ndarray:
    """Return the path of one excursion of a recording, int64 [2, K]: pause, out, hold, back, pause.

    The way out and back is a smoothstep in time, and bent a little to one side. All three excursions of a recording
    start and end at the same place.
    """
    place = _draws(recording, _PARTS, seed)
    draw = _draws(recording, part, seed)
    centre = [_CENTRE_MILLI_PX + place(_OFFSET), _CENTRE_MILLI_PX + place(_OFFSET)]
    pause, out, hold, back, rest = (1_000 * draw(span) for span in (_PAUSE, _OUT, _HOLD, _BACK, rest_ms))
    length, bend = draw(_LENGTH), draw(_BEND)
    end = -(-(pause + out + hold + back + rest) // KNOT_US)
    now = np.arange(end + 1, dtype=np.int64) * KNOT_US
    going = np.clip(now - pause, 0, out) * _ONE // out
    coming = np.clip(now - pause - out - hold, 0, back) * _ONE // back
    share = np.where(coming > 0, _ONE - coming, going)
    smooth = share * share * (3 * _ONE - 2 * share) // _ONE**2
    along = length * smooth // _ONE
    aside = bend * 4 * smooth * (_ONE - smooth) // _ONE**2
    dx, dy = _DIRECTIONS[part]
    return np.stack([centre[0] + (along * dx - aside * dy) // 1_000, centre[1] + (along * dy + aside * dx) // 1_000])


def _draws(recording: int, stream: int, seed: int):
    """Return draw((low, high)), whole numbers, both ends included: a stream of its own for each recording and part."""
    key = recording_keys(np.array([recording * (_PARTS + 1) + stream], dtype=np.uint64), seed ^ 0x6D6F74696F6E)[0]
    count = 0

    def draw(span: tuple[int, int]) -> int:
        nonlocal count
        count += 1
        return span[0] + int(hash_bits(np.uint64(key), count)) % (span[1] - span[0] + 1)

    return draw
