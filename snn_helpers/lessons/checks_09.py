"""Exercises of notebook 09: a shuffle of time, one step of a recurrent layer, and a delay line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


def shuffle_time(frames, rng):
    """Return the frames [T, B, ...], each recording's in a random order of its own."""
    num_steps, batch = frames.shape[:2]
    shuffled = frames.copy()
    for recording in range(batch):
        shuffled[:, recording] = frames[rng.permutation(num_steps), recording]
    return shuffled


@exercise(shuffle_time)
def check_shuffle_time(answer: Callable) -> str:
    """Check `shuffle_time(frames, rng)`: whole frames move, in an order for each recording that `rng` draws."""
    # [T = 8, B = 6, P = 2, H = 1, W = 3]: all numbers are different.
    frames = np.arange(8 * 6 * 2 * 3, dtype=np.int64).reshape(8, 6, 2, 1, 3)
    given = frames.copy()
    moved = answer(given, np.random.default_rng(3))
    refuse_if(
        isinstance(moved, np.ndarray) and not np.array_equal(given, frames),
        "the frames that you were given have changed: shuffle a copy, `frames.copy()`.",
    )

    def shuffled(seed: int) -> np.ndarray:
        found = ask(answer, frames, np.random.default_rng(seed))
        refuse_if(not isinstance(found, np.ndarray), f"return an array of frames; got {type(found).__name__}.")
        refuse_if(found.shape != frames.shape, f"return frames of shape {frames.shape}; got {found.shape}.")
        return found

    moved = shuffled(3)
    whole = {frame.tobytes() for frame in frames.reshape(48, -1)}
    refuse_if(
        not {frame.tobytes() for frame in moved.reshape(48, -1)} <= whole,
        "a frame must move as a whole: its pixels keep their places, only the first axis is shuffled.",
    )
    same_recording = [np.isin(moved[:, i], frames[:, i]).all() for i in range(6)]
    refuse_if(not all(same_recording), "frames have moved from one recording to another: shuffle the first axis only.")
    refuse_if(
        any(len(np.unique(moved[:, i])) < frames[:, i].size for i in range(6)),
        "some frames are there twice and others are lost: draw an order, `rng.permutation`, not places at random.",
    )
    refuse_if(np.array_equal(moved, frames), "nothing has moved.")
    orders = moved[:, :, 0, 0, 0] // 36  # which frame stands at each place, [T, B]
    refuse_if(
        bool((orders == orders[:, :1]).all()),
        "all recordings got the same order, which a network can learn: draw an order for each recording.",
    )
    refuse_if(
        not np.array_equal(moved, shuffled(3)),
        "the same seed must give the same order: draw from `rng` and nothing else.",
    )
    refuse_if(np.array_equal(moved, shuffled(4)), "every seed gives the same order: draw it from `rng`.")
    return "whole frames move, every recording has an order of its own, and every pixel keeps its events"


def recurrent_step(cur, spk, mem, V, beta):
    """Return (spk, mem) after one step of recurrent neurons with a threshold of 1."""
    reset = spk  # a spike one step ago takes off one threshold
    mem = beta * mem + cur + spk @ V.T - reset
    return (mem > 1).float(), mem


@exercise(recurrent_step)
def check_recurrent_step(answer: Callable) -> str:
    """Check `recurrent_step(cur, spk, mem, V, beta)` with numbers that stay exact, and as snnTorch's RLeaky."""
    cur = torch.tensor([[0.5, 0.0, 0.25]])
    spk, mem = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.5, 0.5, -0.5]])
    V = torch.tensor([[0.0, 4.0, 8.0], [2.0, 0.0, 4.0], [0.5, 8.0, 0.25]])  # V[i, j]: from neuron j to neuron i
    right_mem = torch.tensor([[0.25, 2.25, 0.5]])

    def step(*arguments) -> tuple[np.ndarray, np.ndarray]:
        new_spk, new_mem = as_parts(ask(answer, *arguments), ("spk", "mem"))
        shape = tuple(arguments[0].shape)
        return as_numbers("spk", new_spk, shape), as_numbers("mem", new_mem, shape)

    new_spk, new_mem = step(cur, spk, mem, V, 0.5)
    leak, drive = 0.5 * mem + cur, spk @ V.T

    def is_like(wrong: torch.Tensor) -> bool:
        return bool(np.allclose(new_mem, wrong))

    refuse_if(bool(np.allclose(new_spk, right_mem)), "return both, the spikes first: (spk, mem).")
    refuse_if(is_like(leak - spk), "the neurons do not hear each other: add V times the spikes of the last step.")
    refuse_if(
        is_like(leak + spk @ V - spk),
        "V[i, j] is the weight from neuron j to neuron i: sum over the senders j, with `spk @ V.T`.",
    )
    refuse_if(is_like(leak + drive), "a neuron that fired one step ago must lose one threshold: subtract its spike.")
    refuse_if(is_like(mem + cur + drive - spk), "the old membrane must decay: multiply it by beta.")
    refuse_if(is_like(leak + mem @ V.T - spk), "neurons hear spikes, not membranes: use `spk @ V.T`.")
    refuse_if(not is_like(right_mem), f"the new membranes must be {right_mem[0].tolist()}; got {new_mem[0].tolist()}.")
    refuse_if(
        not np.array_equal(new_spk, [[0, 1, 0]]), f"membranes above 1 fire, here the second; got {new_spk[0].tolist()}."
    )
    at_threshold, _ = step(torch.ones(1, 3), 0 * spk, 0 * mem, V, 0.5)
    refuse_if(at_threshold.any(), "a membrane at the threshold does not fire: use >, not >=.")
    return "the membranes decay, hear the last spikes through V, and lose one threshold for their own"


def delay(features, steps):
    """Return the features [T, ...], each of them `steps` time steps later."""
    delayed = torch.zeros_like(features)
    delayed[steps:] = features[: len(features) - steps]
    return delayed


@exercise(delay)
def check_delay(answer: Callable) -> str:
    """Check `delay(features, steps)`: later by so many steps, zeros before, nothing from the end at the start."""
    features = torch.arange(1.0, 13.0).reshape(6, 2)

    def delayed(steps: int) -> np.ndarray:
        return as_numbers(f"the features at a delay of {steps}", ask(answer, features, steps), (6, 2))

    two = delayed(2)
    refuse_if(
        np.array_equal(two, torch.roll(features, 2, 0)),
        "the last steps have come back at the start, so that the network sees the future: fill with zeros.",
    )
    early = torch.cat([features[2:], torch.zeros(2, 2)])
    refuse_if(
        np.array_equal(two, early), "the features come earlier, not later: no event may arrive before it happens."
    )
    refuse_if(not (two[:2] == 0).all(), "before the first features arrive there must be zeros.")
    right = torch.cat([torch.zeros(2, 2), features[:4]])
    refuse_if(
        not np.array_equal(two, right), "step t of the result must be step t - 2 of the features at a delay of 2."
    )
    refuse_if(not np.array_equal(delayed(0), features), "at a delay of 0 nothing may change.")
    refuse_if(delayed(6).any(), "at a delay of all steps nothing may arrive.")
    leaf = features.clone().requires_grad_()
    out = answer(leaf, 2)
    refuse_if(
        not out.requires_grad or not bool((torch.autograd.grad(out.sum(), leaf)[0][:4] == 1).all()),
        "no gradient comes back through the delay: use operations of torch on `features`.",
    )
    return "every feature arrives so many steps later, zeros come before, and gradients find their way back"
