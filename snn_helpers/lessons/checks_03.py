"""Exercises of `03_surrogate_gradients`."""

from __future__ import annotations

import numpy as np

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


def surrogate_gradient(excess, slope):
    """Return the slope of excess / (1 + slope |excess|), for a tensor of any shape."""
    return 1 / (1 + slope * excess.abs()) ** 2


@exercise(surrogate_gradient)
def check_surrogate_gradient(answer):
    """Check `surrogate_gradient(excess, slope)`: the fast sigmoid's derivative, at 50 points."""
    import torch

    excess = torch.linspace(-2, 2, 50, dtype=torch.float64)

    def fast_sigmoid(v):
        return v / (1 + slope * v.abs())

    for slope in (25.0, 5.0, 1.0):
        found = as_numbers("the gradient", ask(answer, excess, slope), (50,))
        truth = ((fast_sigmoid(excess + 1e-6) - fast_sigmoid(excess - 1e-6)) / 2e-6).numpy()
        mistakes = (
            (np.zeros(50), "this is the true gradient of a step, zero everywhere; wanted is its surrogate."),
            (fast_sigmoid(excess).numpy(), "this is the fast sigmoid itself; wanted is its derivative."),
            (np.sqrt(truth), "the square is missing."),
            ((1 / (1 + slope * excess) ** 2).numpy(), "left of the threshold it goes wrong: take |excess|."),
            (slope * truth, "the slope comes in once too often: exactly at the threshold the gradient is 1."),
        )
        for wrong, message in mistakes:
            refuse_if(np.allclose(found, wrong, rtol=1e-4) and not np.allclose(wrong, truth, rtol=1e-4), message)
        worst = int(np.abs(found - truth).argmax())
        refuse_if(
            not np.allclose(found, truth, rtol=1e-4, atol=1e-7),
            f"slope {slope:g}, excess {excess[worst]:.3f}: the sigmoid rises by {truth[worst]:.4g} there; "
            f"got {found[worst]:.4g}.",
        )
    return "equal to the rise of the fast sigmoid at 50 points, for three slopes"


def backward_by_hand(x, spk_grad, beta, rise):
    """Return the loss's gradients with respect to u_1, u_2 and w."""
    grad_mem_2 = spk_grad[1] * rise[1]
    grad_mem_1 = spk_grad[0] * rise[0] + beta * grad_mem_2
    return grad_mem_1, grad_mem_2, grad_mem_1 * x[0] + grad_mem_2 * x[1]


@exercise(backward_by_hand)
def check_backward_by_hand(answer):
    """Check `backward_by_hand(x, spk_grad, beta, rise)`: backpropagation through two time steps."""
    names = ("the gradient to u_1", "the gradient to u_2", "the gradient to w")
    cases = (
        ((0.8, 0.5), (-1.0, -1.0), 0.9, (0.25, 0.5)),
        ((1.0, 0.0), (0.5, 2.0), 0.5, (0.125, 0.75)),
        ((0.3, 0.7), (0.0, 1.0), 0.8, (1.0, 0.04)),
    )
    for x, spk_grad, beta, rise in cases:
        parts = as_parts(ask(answer, x, spk_grad, beta, rise), ("grad_mem_1", "grad_mem_2", "grad_w"))
        found = [as_numbers(name, part).item() for name, part in zip(names, parts)]
        _refuse_backward(found, x, spk_grad, beta, rise)
    return "three neurons, each unrolled over two steps"


def _refuse_backward(found, x, spk_grad, beta, rise) -> None:
    """Refuse gradients to (u_1, u_2, w), by the first that is wrong."""
    second = spk_grad[1] * rise[1]
    local = spk_grad[0] * rise[0]
    refuse_if(
        np.isclose(found[1], spk_grad[1]) and not np.isclose(found[1], second),
        "from the spike to the membrane the chain rule multiplies by `rise`, the surrogate derivative.",
    )
    refuse_if(not np.isclose(found[1], second), f"the gradient to u_2 should be {second:g}; got {found[1]:g}.")
    refuse_if(
        np.isclose(found[0], local) and not np.isclose(local, local + beta * second),
        "u_1 has two ways to the loss: through its own spike, and through the leak into u_2. The second is missing.",
    )
    refuse_if(
        np.isclose(found[0], local + second) and not np.isclose(second, beta * second),
        "what comes back along the leak is multiplied by beta.",
    )
    first = local + beta * second
    refuse_if(not np.isclose(found[0], first), f"the gradient to u_1 should be {first:g}; got {found[0]:g}.")
    total = first * x[0] + second * x[1]
    refuse_if(
        np.isclose(found[2], first + second) and not np.isclose(found[2], total),
        "each step's gradient to the membrane is multiplied by the input of that step, before they are added.",
    )
    refuse_if(not np.isclose(found[2], total), f"the gradient to w should be {total:g}; got {found[2]:g}.")
