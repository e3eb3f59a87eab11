"""Wrong answers to the exercises of notebook 03, with words of the message that each must get."""

import torch


def forgets_the_rise(x, spk_grad, beta, rise):
    first = spk_grad[0] + beta * spk_grad[1]
    return first, spk_grad[1], first * x[0] + spk_grad[1] * x[1]


def cut_in_time(x, spk_grad, beta, rise):
    first, second = (grad * slope for grad, slope in zip(spk_grad, rise))
    return first, second, first * x[0] + second * x[1]


def without_leak(x, spk_grad, beta, rise):
    first, second = (grad * slope for grad, slope in zip(spk_grad, rise))
    return first + second, second, (first + second) * x[0] + second * x[1]


def without_inputs(x, spk_grad, beta, rise):
    second = spk_grad[1] * rise[1]
    first = spk_grad[0] * rise[0] + beta * second
    return first, second, first + second


WRONG = {
    "surrogate_gradient": [
        (lambda excess, slope: torch.zeros_like(excess), "true gradient of a step"),
        (lambda excess, slope: excess / (1 + slope * excess.abs()), "the fast sigmoid itself"),
        (lambda excess, slope: 1 / (1 + slope * excess.abs()), "square is missing"),
        (lambda excess, slope: 1 / (1 + slope * excess) ** 2, "take |excess|"),
        (lambda excess, slope: slope / (1 + slope * excess.abs()) ** 2, "once too often"),
        (lambda excess, slope: 1 / (1 + 25 * excess.abs()) ** 2, "slope 5"),
        (lambda excess, slope: (excess > 0).double(), "rises by"),
    ],
    "backward_by_hand": [
        (forgets_the_rise, "multiplies by `rise`"),
        (cut_in_time, "two ways to the loss"),
        (without_leak, "multiplied by beta"),
        (without_inputs, "multiplied by the input of that step"),
        (lambda *given: (0.0, 1.0, 2.0), "u_2 should be"),
        (lambda *given: (1.0, 2.0), "return 3 things"),
    ],
}
