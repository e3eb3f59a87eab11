"""Checks of the exercises in `02_spiking_neurons`."""

from __future__ import annotations

import numpy as np

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


def leaky_step(cur, mem, spk, beta, threshold):
    """Advance leaky neurons by one step: tensors [B] in, (spk, mem) out."""
    mem = beta * mem + cur - threshold * spk
    spk = (mem > threshold).float()
    return spk, mem


@exercise(leaky_step)
def check_leaky_step(answer):
    """Check `leaky_step(cur, mem, spk, beta, threshold)`: one step of Leaky neurons, to (spk, mem)."""
    import torch

    # Worked by hand for beta = 1/2, theta = 1; the second membrane is exactly at the threshold and must not fire.
    currents = [0.5, 0.75, 0.75, 0.5, 0.0, 2.25]
    membranes = [0.5, 1.0, 1.25, 0.125, 0.0625, 2.28125]
    spikes = [0, 0, 1, 0, 0, 1]
    mem, spk = torch.zeros(2), torch.zeros(2)
    for step, (cur, mem_true, spk_true) in enumerate(zip(currents, membranes, spikes), 1):
        parts = as_parts(ask(answer, torch.tensor([cur, 0.0]), mem, spk, 0.5, 1.0), ("spk", "mem"))
        spk_now, mem_now = (as_numbers(name, part, (2,)) for name, part in zip(("spk", "mem"), parts))
        before = (float(mem[0]), float(spk[0]), cur)
        _refuse_step(step, before, (spk_now[0], mem_now[0]), (spk_true, mem_true))
        refuse_if(spk_now[1] or mem_now[1], "zero input must give zero spikes and a membrane of zero.")
        spk, mem = (torch.tensor(part, dtype=torch.float32) for part in (spk_now, mem_now))
    spk, mem = ask(answer, torch.tensor([0.25]), torch.tensor([0.75]), torch.tensor([1.0]), 0.8, 0.5)
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
        refuse_if(
            mem_now == 0.5 * mem + 0.5 * cur - spk,
            f"{where} `cur` holds the factor 1 - beta already: add it as it is.",
        )
        refuse_if(spk and mem_now == 0.5 * mem + cur, f"{where} the reset is missing: subtract threshold * spk.")
        refuse_if(
            spk and mem_now == 0.5 * (mem - spk) + cur,
            f"{where} the reset leaks: subtract it from the new membrane, not from the old one before it decays.",
        )
        refuse_if(spk and mem_now == cur, f"{where} this resets to zero; the rule here subtracts the threshold.")
        refuse_if(
            spk_true and mem_now in (0, mem_true - 1),
            f"{where} the reset comes one step later: `mem` is returned as it was when it fired.",
        )
    refuse_if(abs(mem_now - mem_true) > 1e-6, f"{where} the membrane should be {mem_true:g}; got {mem_now:g}.")
    refuse_if(spk_now != spk_true, f"{where} there should be {spk_true} spikes; got {spk_now:g}.")


def least_current(beta, threshold):
    """Return the constant current above which a leaky neuron fires in the end."""
    return (1 - beta) * threshold


@exercise(least_current)
def check_least_current(answer):
    """Check `least_current(beta, threshold)`: the constant current above which a Leaky neuron fires at all."""
    for beta, threshold in ((0.9, 1.0), (0.9, 0.5), (0.6, 0.1), (0.99, 2.0), (0.0, 1.0)):
        current = as_numbers("the current", ask(answer, beta, threshold)).item()
        where = f"beta {beta}, threshold {threshold}:"
        if beta:
            refuse_if(
                np.isclose(current, threshold),
                f"{where} a current of the threshold fires at once; a smaller one adds up to it over the steps.",
            )
            refuse_if(
                np.isclose(current, beta * threshold),
                f"{where} beta is the share that stays, and 1 - beta the share that leaks away in a step.",
            )
            refuse_if(
                np.isclose(current, threshold / (1 - beta)),
                f"{where} the current adds up to cur / (1 - beta): solve this for cur where it equals the threshold.",
            )
        refuse_if(
            not np.isclose(current, threshold * (1 - beta)) and np.isclose(current, 1 - beta),
            f"{where} the least current grows with the threshold.",
        )
        refuse_if(_fires(current * 0.999, beta, threshold), f"{where} it still fires at a current below {current:.4g}.")
        refuse_if(
            not _fires(current * 1.001, beta, threshold),
            f"{where} a little above {current:.4g} it never fires, however long one waits.",
        )
    return "a little above this current it fires in the end, a little below it never does"


def _fires(cur: float, beta: float, threshold: float) -> bool:
    mem = 0.0
    for _ in range(3000):
        mem = beta * mem + cur
        if mem > threshold:
            return True
    return False
