"""Checks of the exercises in `02_spiking_neurons`."""

from __future__ import annotations

import numpy as np

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


@exercise
def check_leaky_step(leaky_step):
    """Check `leaky_step(cur, mem, spk, beta, threshold)`: one step of Leaky neurons, to (spk, mem)."""
    import torch

    # Worked by hand for beta = 1/2, theta = 1; the second membrane is exactly at the threshold and must not fire.
    currents = [0.5, 0.75, 0.75, 0.5, 0.0, 2.25]
    membranes = [0.5, 1.0, 1.25, 0.125, 0.0625, 2.28125]
    spikes = [0, 0, 1, 0, 0, 1]
    mem, spk = torch.zeros(2), torch.zeros(2)
    for step, (cur, mem_true, spk_true) in enumerate(zip(currents, membranes, spikes), 1):
        answer = as_parts(ask(leaky_step, torch.tensor([cur, 0.0]), mem, spk, 0.5, 1.0), ("spk", "mem"))
        spk_now, mem_now = (as_numbers(name, part, (2,)) for name, part in zip(("spk", "mem"), answer))
        before = (float(mem[0]), float(spk[0]), cur)
        _refuse_step(step, before, (spk_now[0], mem_now[0]), (spk_true, mem_true))
        refuse_if(spk_now[1] or mem_now[1], "zero input must give zero spikes and a membrane of zero.")
        spk, mem = (torch.tensor(part, dtype=torch.float32) for part in (spk_now, mem_now))
    spk, mem = ask(leaky_step, torch.tensor([0.25]), torch.tensor([0.75]), torch.tensor([1.0]), 0.8, 0.5)
    refuse_if(
        abs(float(mem[0]) - 0.35) > 1e-6 or bool(spk[0]),
        "with beta = 0.8 and a threshold of 0.5 it goes wrong: use the arguments, not the numbers of one example.",
    )
    return "six steps as worked by hand, silent exactly at the threshold, and zero input stays zero"


def _refuse_step(step, before, answer, truth) -> None:
    """Refuse one step of the trace: `before` is (mem, spk, cur), the others (spk, mem)."""
    (mem, spk, cur), (spk_now, mem_now), (spk_true, mem_true) = before, answer, truth
    where = f"step {step} (mem {mem:g}, spk {spk:g}, cur {cur:g}):"
    refuse_if(mem_now in (0, 1) and spk_now == mem_true != mem_now, "return (spk, mem), in this order.")
    refuse_if(
        mem_now == mem_true == 1 and spk_now == 1,
        f"{where} the membrane is exactly at the threshold and must not fire: use >, not >=.",
    )
    if mem_now != mem_true:
        refuse_if(mem_now == mem + cur - spk, f"{where} nothing leaks: multiply the old membrane by beta.")
        refuse_if(spk and mem_now == 0.5 * mem + cur, f"{where} the reset is missing: subtract threshold * spk.")
        refuse_if(
            spk and mem_now == 0.5 * (mem - spk) + cur,
            f"{where} the reset leaks: subtract it from the new membrane, not from the old one before it decays.",
        )
        refuse_if(spk and mem_now == cur, f"{where} this resets to zero; the rule here subtracts the threshold.")
        refuse_if(
            spk_true and mem_now == mem_true - 1,
            f"{where} the reset comes one step later: `mem` is returned as it was when it fired.",
        )
    refuse_if(abs(mem_now - mem_true) > 1e-6, f"{where} the membrane should be {mem_true:g}; got {mem_now:g}.")
    refuse_if(spk_now != spk_true, f"{where} there should be {spk_true} spikes; got {spk_now:g}.")


@exercise
def check_least_current(least_current):
    """Check `least_current(beta, threshold)`: the constant current above which a Leaky neuron fires at all."""
    for beta, threshold in ((0.9, 1.0), (0.9, 0.5), (0.6, 0.1), (0.99, 2.0), (0.0, 1.0)):
        answer = as_numbers("the current", ask(least_current, beta, threshold)).item()
        where = f"beta {beta}, threshold {threshold}:"
        if beta:
            refuse_if(
                np.isclose(answer, threshold),
                f"{where} a current of the threshold fires at once; a smaller one adds up to it over the steps.",
            )
            refuse_if(
                np.isclose(answer, beta * threshold),
                f"{where} beta is the share that stays, and 1 - beta the share that leaks away in a step.",
            )
            refuse_if(
                np.isclose(answer, threshold / (1 - beta)),
                f"{where} the current adds up to cur / (1 - beta): solve this for cur where it equals the threshold.",
            )
        refuse_if(
            not np.isclose(answer, threshold * (1 - beta)) and np.isclose(answer, 1 - beta),
            f"{where} the least current grows with the threshold.",
        )
        refuse_if(_fires(answer * 0.999, beta, threshold), f"{where} it still fires at a current below {answer:.4g}.")
        refuse_if(
            not _fires(answer * 1.001, beta, threshold),
            f"{where} a little above {answer:.4g} it never fires, however long one waits.",
        )
    return "a little above this current it fires in the end, a little below it never does"


def _fires(cur: float, beta: float, threshold: float) -> bool:
    mem = 0.0
    for _ in range(3000):
        mem = beta * mem + cur
        if mem > threshold:
            return True
    return False


@exercise
def check_surrogate_gradient(surrogate_gradient):
    """Check `surrogate_gradient(excess, slope)`: the fast sigmoid's derivative, at 50 points."""
    import torch

    excess = torch.linspace(-2, 2, 50, dtype=torch.float64)

    def fast_sigmoid(v):
        return v / (1 + slope * v.abs())

    for slope in (25.0, 5.0, 1.0):
        answer = as_numbers("the gradient", ask(surrogate_gradient, excess, slope), (50,))
        truth = ((fast_sigmoid(excess + 1e-6) - fast_sigmoid(excess - 1e-6)) / 2e-6).numpy()
        mistakes = (
            (np.zeros(50), "this is the true gradient of a step, zero everywhere; wanted is its stand-in."),
            (fast_sigmoid(excess).numpy(), "this is the fast sigmoid itself; wanted is its derivative."),
            (np.sqrt(truth), "the square is missing."),
            ((1 / (1 + slope * excess) ** 2).numpy(), "left of the threshold it goes wrong: take |excess|."),
            (slope * truth, "the slope comes in once too often: exactly at the threshold the gradient is 1."),
        )
        for wrong, message in mistakes:
            refuse_if(np.allclose(answer, wrong, rtol=1e-4) and not np.allclose(wrong, truth, rtol=1e-4), message)
        worst = int(np.abs(answer - truth).argmax())
        refuse_if(
            not np.allclose(answer, truth, rtol=1e-4, atol=1e-7),
            f"slope {slope:g}, excess {excess[worst]:.3f}: the sigmoid rises by {truth[worst]:.4g} there; "
            f"got {answer[worst]:.4g}.",
        )
    return "equal to the rise of the fast sigmoid at 50 points, for three slopes"
