"""Wrong answers to the exercises of notebook 01, with words of the message that each must get."""

import numpy as np


def decoded(raw, x=0, y=1, low=4, high=2, mask=127, shift=7, kind=int):
    raw = raw.reshape(-1, 5).astype(kind)
    return raw[:, x], raw[:, y], (raw[:, high] & mask) << 16 | raw[:, 3] << 8 | raw[:, low], raw[:, 2] >> shift


def little_endian(raw):
    rows = raw.reshape(-1, 5).astype(int)
    return rows[:, 0], rows[:, 1], rows[:, 4] << 16 | rows[:, 3] << 8 | rows[:, 2] & 127, rows[:, 2] >> 7


def inverted(raw):
    *rest, p = decoded(raw)
    return *rest, 1 - p


def top_bit_in_place(raw):
    *rest, _ = decoded(raw)
    return *rest, raw.reshape(-1, 5)[:, 2] & 128


def frames_of(events, num_steps, first=None, extra=1, end=None, fields=("p", "y", "x"), add=np.add.at):
    t = events["t"] - (events["t"][0] if first is None else first)
    length = t[-1] - t[0] + extra
    steps = t * num_steps // length
    if end == "clip":
        steps = np.minimum(steps, num_steps - 1)
    kept = steps < num_steps if end == "drop" else slice(None)
    frames = np.zeros((num_steps, 2, 34, 34))
    add(frames, (steps[kept], *(events[field][kept] for field in fields)), 1)
    return frames


def add_once(frames, index, value):
    frames[index] += value


def off_first(events, num_steps, height, width):
    return frames_of(events, num_steps)[:, ::-1]


def lost(events, width_us, fields="pyx", bins=True):
    keys = [events[field].astype(int) for field in fields] + ([events["t"] // width_us] if bins else [])
    return len(events) - len(set(zip(*keys)))


def lost_from_the_first_event(events, width_us):
    shifted = events.copy()
    shifted["t"] -= events["t"][0]
    return lost(shifted, width_us)


def counts(events, width_us):
    return np.unique(np.stack([events["t"] // width_us, events["p"], events["y"], events["x"]]), axis=1,
                     return_counts=True)[1]  # fmt: skip


WRONG = {
    "decode": [
        (lambda raw: decoded(raw, mask=255), "polarity bit is still in their time"),
        (lambda raw: decoded(raw, kind=np.uint8), "still a byte"),
        (lambda raw: decoded(raw, x=1, y=0), "x and y have changed places"),
        (lambda raw: decoded(raw, x=1), "first byte"),
        (little_endian, "wrong order"),
        (inverted, "OFF and ON"),
        (top_bit_in_place, "0 or 128"),
        (lambda raw: decoded(raw)[:3], "return 4 things"),
        (lambda raw: decoded(raw[:-5]), "of shape"),
    ],
    "bin_events": [
        (
            lambda events, num_steps, height, width: frames_of(events, num_steps, extra=0, end="drop"),
            "the last event is lost|length 0",
        ),
        (lambda events, num_steps, height, width: frames_of(events, num_steps, extra=0), r"must stay in bin T - 1"),
        (lambda events, num_steps, height, width: frames_of(events, num_steps, add=add_once), "count once"),
        (lambda events, num_steps, height, width: frames_of(events, num_steps, first=0, end="clip"), "from the first event"),
        (lambda events, num_steps, height, width: frames_of(events, num_steps, fields=("p", "x", "y")), "x and y"),
        (off_first, "OFF is 0 and ON is 1"),
        (lambda events, num_steps, height, width: frames_of(events, num_steps).sum(1), "of shape"),
    ],
    "events_lost": [
        (lambda events, width_us: lost(events, width_us) / len(events), "a share"),
        (lambda events, width_us: lost(events, width_us, fields="yx"), "ON and OFF"),
        (lambda events, width_us: lost(events, width_us, bins=False), "different bins"),
        (lambda events, width_us: len(events) - lost(events, width_us), "the first is kept"),
        (lambda events, width_us: (counts(events, width_us) > 1).sum(), "three events in one bin"),
        (lost_from_the_first_event, "begin at time 0"),
        (lambda events, width_us: len(events) - len(np.unique(events["t"] // width_us)), "different pixels"),
        (lambda events, width_us: lost(events, 1000), "one event a pixel"),
    ],
}
