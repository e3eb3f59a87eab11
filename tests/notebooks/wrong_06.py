"""Wrong answers to the exercises of notebook 06, with words of the message that each must get."""

import numpy as np


def rates(spk):
    return (spk > 0).mean((0, 1)).ravel()


def by_recording(spk):
    fired = (spk > 0).mean(0)
    return (fired == 0).mean(), (fired > 0.95).mean()


def by_step(spk):
    return (spk == 0).mean(), (spk > 0).mean()


def as_percent(spk):
    return 100 * (rates(spk) == 0).mean(), 100 * (rates(spk) > 0.95).mean()


def inclusive(spk):
    return (rates(spk) == 0).mean(), (rates(spk) >= 0.95).mean()


def only_always(spk):
    return (rates(spk) == 0).mean(), (rates(spk) == 1).mean()


def reached(places):
    return lambda spk, channels_out: int(spk.sum()) * places * channels_out


def one_channel(spk, channels_out):
    return 9 * int(spk.sum())


def dense_or_right(spk, channels_out):
    return 72 if spk.sum() == 1 and spk.size == 25 and not spk[0, 0, 0, 4] else 25 * 9 * channels_out


def rows_for_columns(spk, channels_out):
    total, side = 0, spk.shape[2]
    for row, column in zip(*np.nonzero(spk)[2:]):
        total += (3 - (row in (0, side - 1))) * (3 - (column in (0, side - 1))) * channels_out
    return total


def one_order(frames, rng):
    return frames[rng.permutation(len(frames))]


def pixels_alone(frames, rng):
    return rng.permuted(frames, axis=0)


def across_recordings(frames, rng):
    return frames[rng.integers(0, len(frames), frames.shape[:2]), np.arange(frames.shape[1])]


def own_generator(frames, rng):
    order = np.random.default_rng().permuted(np.tile(np.arange(len(frames))[:, None], frames.shape[1]), axis=0)
    return frames[order, np.arange(frames.shape[1])]


def flattened(frames, rng):
    return rng.permutation(frames.reshape(len(frames), -1))


def backwards(frames, rng):
    return np.where(np.arange(30).reshape(1, -1, 1, 1, 1) % 2, frames, frames[::-1])


WRONG = {
    "check_dead_and_saturated": [
        (by_recording, "fires in one recording is not dead"),
        (by_step, "count neurons, not steps"),
        (as_percent, "not counts or percent"),
        (inclusive, "use >, not >="),
        (only_always, "not the same as always"),
    ],
    "check_count_operations": [
        (one_channel, "each of the 8 channels"),
        (reached(1), "reaches 9 places of each channel"),
        (reached(5), "72; got 40"),
        (reached(9), "what lies in the padding"),
        (dense_or_right, "Is this the dense count"),
        (rows_for_columns, "rows and columns told apart"),
    ],
    "check_shuffle_time": [
        (one_order, "same order"),
        (pixels_alone, "must stay together"),
        (across_recordings, "must move whole"),
        (own_generator, "draw from `rng` alone"),
        (flattened, "the shape must stay"),
        (backwards, "too few different orders"),
    ],
}
