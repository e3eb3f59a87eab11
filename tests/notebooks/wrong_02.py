"""Wrong answers to the exercises of notebook 02, with words of the message that each must get."""

import torch


def step(cur, mem, spk, beta, threshold, fires=torch.gt):
    mem = beta * mem + cur - threshold * spk
    return fires(mem, threshold).float(), mem


def with_membrane(membrane):
    """Return a step whose membrane is computed wrongly."""

    def wrong(cur, mem, spk, beta, threshold):
        mem = membrane(cur, mem, spk, beta, threshold)
        return (mem > threshold).float(), mem

    return wrong


def reset_at_once(cur, mem, spk, beta, threshold):
    mem = beta * mem + cur
    spk = (mem > threshold).float()
    return spk, mem - threshold * spk


def zero_at_once(cur, mem, spk, beta, threshold):
    mem = beta * mem + cur
    spk = (mem > threshold).float()
    return spk, mem * (1 - spk)


WRONG = {
    "leaky_step": [
        (lambda *given: step(*given, fires=torch.ge), "must not fire"),
        (lambda *given: step(*given)[::-1], "in this order"),
        (with_membrane(lambda cur, mem, spk, beta, threshold: mem + cur - threshold * spk), "nothing leaks"),
        (with_membrane(lambda cur, mem, spk, beta, threshold: beta * mem + cur), "reset is missing"),
        (
            with_membrane(lambda cur, mem, spk, beta, threshold: beta * mem + (1 - beta) * cur - threshold * spk),
            "holds the factor 1 - beta already",
        ),
        (with_membrane(lambda cur, mem, spk, beta, threshold: beta * (mem - threshold * spk) + cur), "the reset leaks"),
        (with_membrane(lambda cur, mem, spk, beta, threshold: beta * mem * (1 - spk) + cur), "resets to zero"),
        (with_membrane(lambda cur, mem, spk, beta, threshold: 0.5 * mem + cur - spk), "use the arguments"),
        (
            with_membrane(lambda cur, mem, spk, beta, threshold: beta * mem + cur - threshold * spk + 0.1),
            "should be 0.5",
        ),
        (reset_at_once, "one step later"),
        (zero_at_once, "one step later"),
        (lambda *given: step(*given)[0], "return 2 things"),
    ],
    "least_current": [
        (lambda beta, threshold: threshold, "a smaller one adds up"),
        (lambda beta, threshold: beta * threshold, "leaks away"),
        (lambda beta, threshold: threshold / (1 - beta), "adds up to"),
        (lambda beta, threshold: 1 - beta, "grows with the threshold"),
        (lambda beta, threshold: 0.9 * threshold * (1 - beta), "never fires"),
        (lambda beta, threshold: 1.1 * threshold * (1 - beta), "still fires"),
    ],
}
