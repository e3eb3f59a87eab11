"""Wrong answers to the exercises of notebook 09, with words of the message that each must get."""

import numpy as np
import torch


def one_order(frames, rng):
    return frames[rng.permutation(len(frames))]


def pixels_apart(frames, rng):
    return rng.permuted(frames, axis=0)


def recordings_too(frames, rng):
    flat = frames.reshape(-1, *frames.shape[2:])
    return flat[rng.permutation(len(flat))].reshape(frames.shape)


def with_repeats(frames, rng):
    order = rng.integers(0, len(frames), frames.shape[:2])
    return frames[order, np.arange(frames.shape[1])]


def in_place(frames, rng):
    for recording in range(frames.shape[1]):
        frames[:, recording] = frames[rng.permutation(len(frames)), recording]
    return frames


def own_generator(frames, rng):
    own = np.random.default_rng(0)
    order = own.permuted(np.tile(np.arange(len(frames))[:, None], frames.shape[1]), axis=0)
    return frames[order, np.arange(frames.shape[1])]


def stepped(change):
    """Return an answer whose membrane is `change(cur, spk, mem, V, beta)`."""

    def recurrent_step(cur, spk, mem, V, beta):
        new = change(cur, spk, mem, V, beta)
        return (new > 1).float(), new

    return recurrent_step


def at_threshold(cur, spk, mem, V, beta):
    new = beta * mem + cur + spk @ V.T - spk
    return (new >= 1).float(), new


def rolled(features, steps):
    return torch.roll(features, steps, 0)


def earlier(features, steps):
    return torch.cat([features[steps:], torch.zeros_like(features[:steps])])


def negative_slice(features, steps):
    return torch.cat([torch.zeros_like(features[:steps]), features[:-steps]])


def detached(features, steps):
    return torch.cat([torch.zeros(steps, *features.shape[1:]), features[: len(features) - steps].detach()])


def membranes_first(cur, spk, mem, V, beta):
    mem = beta * mem + cur + spk @ V.T - spk
    return mem, (mem > 1).float()


WRONG = {
    "shuffle_time": [
        (one_order, "all recordings got the same order"),
        (pixels_apart, "a frame must move as a whole"),
        (recordings_too, "from one recording to another"),
        (with_repeats, "some frames are there twice"),
        (in_place, "shuffle a copy"),
        (own_generator, "draw it from `rng`"),
        (lambda frames, rng: frames.copy(), "nothing has moved"),
    ],
    "recurrent_step": [
        (membranes_first, "the spikes first"),
        (stepped(lambda cur, spk, mem, V, beta: beta * mem + cur - spk), "do not hear each other"),
        (stepped(lambda cur, spk, mem, V, beta: beta * mem + cur + spk @ V - spk), "from neuron j to neuron i"),
        (stepped(lambda cur, spk, mem, V, beta: beta * mem + cur + spk @ V.T), "must lose one threshold"),
        (stepped(lambda cur, spk, mem, V, beta: mem + cur + spk @ V.T - spk), "must decay"),
        (stepped(lambda cur, spk, mem, V, beta: beta * mem + cur + mem @ V.T - spk), "not membranes"),
        (at_threshold, "use >, not >="),
    ],
    "delay": [
        (rolled, "sees the future"),
        (earlier, "earlier, not later"),
        (negative_slice, "at a delay of 0"),
        (detached, "no gradient"),
        (lambda features, steps: features, "there must be zeros"),
    ],
}
