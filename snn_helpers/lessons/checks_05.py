"""Exercises of `05_training_from_scratch`: a training step, an evaluation, and a confidence interval."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import nn

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


def train_step(network, optimizer, frames, labels):
    """Update the network once, on one batch; return the loss, a number."""
    scores = network(frames).sum(0)
    loss = nn.functional.cross_entropy(scores, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class _Toy(nn.Module):
    """Scores of three classes for each of two inputs and a step: frames [T, B, 2] to [T, B, 3]; notes its calls."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[0.5, -0.5], [-0.25, 0.75], [0.0, 0.25]]))
        self.seen = []  # (training, gradients wanted) of each call

    def forward(self, frames):
        self.seen.append((self.training, torch.is_grad_enabled()))
        return self.layer(frames)


_RATE = 0.5


def _toy_batch(size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames [3, size, 2] whose steps differ, and labels [size]."""
    generator = torch.Generator().manual_seed(size)
    return torch.randn(3, size, 2, generator=generator), torch.arange(size) % 3


def _weights_after(scores_of, frames, labels, old_gradient: float = 0.0) -> torch.Tensor:
    """Return the toy's weights after a step of gradient descent on the cross-entropy of such scores."""
    toy = _Toy()
    nn.functional.cross_entropy(scores_of(toy(frames)), labels).backward()
    return toy.layer.weight.detach() - _RATE * (toy.layer.weight.grad + old_gradient)


@exercise(train_step)
def check_train_step(answer):
    """Check `train_step(network, optimizer, frames, labels)`: one update by cross-entropy on spike counts."""
    network, (frames, labels) = _Toy(), _toy_batch()
    optimizer = torch.optim.SGD(network.parameters(), lr=_RATE)
    before = network.layer.weight.detach().clone()
    network.layer.weight.grad = torch.ones(3, 2)  # of a batch before this one
    loss = answer(network, optimizer, frames, labels)
    refuse_if(
        loss is None and not torch.equal(network.layer.weight, before),
        "the weights have changed, but nothing is returned: end with `return loss.item()`.",
    )
    ask(lambda: loss)
    after = network.layer.weight.detach()

    def is_update_of(scores_of, old_gradient=0.0):
        return torch.allclose(after, _weights_after(scores_of, frames, labels, old_gradient), atol=1e-5)

    def counts(output):
        return output.sum(0)

    refuse_if(
        torch.equal(after, before),
        "the weights have not changed: the order is optimizer.zero_grad(), loss.backward(), optimizer.step().",
    )
    refuse_if(torch.allclose(after, before - _RATE), "this steps without loss.backward(): the gradient is an old one.")
    refuse_if(
        is_update_of(counts, 1.0),
        "the gradient of the batch before is still in it: call optimizer.zero_grad() before loss.backward().",
    )
    refuse_if(
        is_update_of(lambda output: output.mean(0)),
        "these are mean rates: the scores are spike counts, the sum over the steps (dimension 0).",
    )
    refuse_if(is_update_of(lambda output: output[-1]), "this reads the last step only: sum over all steps.")
    refuse_if(
        is_update_of(lambda output: counts(output).softmax(1)),
        "cross_entropy applies the softmax itself: give it the counts as they are.",
    )
    refuse_if(not is_update_of(counts), "the update is not that of the cross-entropy on the sum over the steps.")
    refuse_if(
        isinstance(loss, torch.Tensor) and loss.requires_grad,
        "return loss.item(): the tensor keeps the whole graph of the batch in memory.",
    )
    found = float(as_numbers("the loss", loss))
    truth = nn.functional.cross_entropy(counts(_Toy()(frames)), labels).item()
    refuse_if(abs(found - truth) > 1e-5, f"the loss of this batch is {truth:.4f}; got {found:.4f}.")
    return "the update is gradient descent on the cross-entropy of the counts, with no old gradient in it"


def evaluate(network, batches):
    """Return (loss, right): the mean loss, and which answers are right, bool [N]."""
    network.eval()
    losses, right = [], []
    with torch.no_grad():
        for frames, labels in batches:
            scores = network(frames).sum(0)
            losses.append(nn.functional.cross_entropy(scores, labels, reduction="none"))
            right.append(scores.argmax(1) == labels)
    network.train()
    return torch.cat(losses).mean().item(), torch.cat(right)


@exercise(evaluate)
def check_evaluate(answer):
    """Check `evaluate(network, batches)`: mean loss, and right or wrong for each recording, with nothing changed."""
    network, batches = _Toy().train(), [_toy_batch(size) for size in (4, 4, 1)]
    before = copy.deepcopy(network.state_dict())
    found = ask(lambda: answer(network, iter(batches)))
    loss, right = as_parts(found, ("loss", "right"))
    refuse_if(not network.seen, "the network was never called.")
    refuse_if(
        any(training for training, _ in network.seen),
        "the network was in training mode: dropout was on. Call network.eval() before the first batch.",
    )
    refuse_if(
        any(gradients for _, gradients in network.seen),
        "gradients were recorded, which costs time and memory: wrap the loop in `with torch.no_grad():`.",
    )
    refuse_if(not network.training, "the network is still in eval mode: call network.train() before you return.")
    refuse_if(
        not torch.equal(before["layer.weight"], network.layer.weight),
        "the weights have changed: nothing may learn here.",
    )
    total = sum(len(labels) for _, labels in batches)
    size = int(np.prod(np.shape(right)))
    refuse_if(size == 1, f"`right` must say for each of the {total} recordings whether it is right; got one number.")
    right = as_numbers("right", right, (total,))
    truth, each = [], []
    for frames, labels in batches:
        scores = _Toy()(frames).sum(0)
        each.append(nn.functional.cross_entropy(scores, labels, reduction="none").detach())
        truth.append(scores.argmax(1) == labels)
    truth, mean = torch.cat(truth).numpy(), torch.cat(each).mean().item()
    refuse_if(np.array_equal(right, 1 - truth), "this marks the wrong answers: right is where the answer is the label.")
    refuse_if(not np.array_equal(right, truth), "the answer is the class with the most spikes over all steps.")
    loss = float(as_numbers("the loss", loss.detach() if hasattr(loss, "detach") else loss))
    of_batches = float(torch.stack([losses.mean() for losses in each]).mean())
    refuse_if(
        abs(loss - of_batches) < 1e-5,
        "this is the mean of the batches' means: the last batch is smaller, and each recording must count the same.",
    )
    refuse_if(abs(loss - mean) > 1e-5, f"the mean loss of these recordings is {mean:.4f}; got {loss:.4f}.")
    return f"{total} recordings in unequal batches, in eval mode, without gradients, and back in training mode"


def confidence_interval(hits, total, z=1.96):
    """Return (low, high) of Wilson's 95 % interval, shares in 0 to 1."""
    share = hits / total
    centre = share + z**2 / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    return (centre - spread) / scale, (centre + spread) / scale


@exercise(confidence_interval)
def check_confidence_interval(answer):
    """Check `confidence_interval(hits, total)`: the 95 % Wilson interval of a share."""

    def bounds(hits: int, total: int) -> np.ndarray:
        low, high = as_parts(ask(answer, hits, total), ("low", "high"))
        return np.array([float(as_numbers("low", low)), float(as_numbers("high", high))])

    low, high = bounds(95, 100)
    refuse_if(high > 101, "this multiplies by n where it must divide: write `/ (2 * total)`, with the parentheses.")
    refuse_if(high > 2, f"low and high are shares between 0 and 1, not percent; got {low:g} and {high:g}.")
    refuse_if(low > high, f"low comes first; got {low:g} and {high:g}.")
    none_right = bounds(0, 20)
    refuse_if(
        none_right[1] - none_right[0] < 1e-6,
        "0 right of 20 has a width of 0, as if nothing else were possible. That is the simple interval, "
        "share ± z · error; Wilson's has another centre.",
    )
    refuse_if(high > 1, f"95 of 100 cannot be {high:.4f}: the interval reaches beyond 1.")
    refuse_if(none_right[0] < -1e-9, f"0 of 20 cannot be {none_right[0]:.4f}: the interval reaches below 0.")
    mirrored = 1 - bounds(5, 100)[::-1]
    refuse_if(
        not np.allclose(mirrored, (low, high)), "5 wrong of 100 must mirror 5 right of 100: 1 - high and 1 - low."
    )
    refuse_if(high - low < 0.01, "this is far too narrow: the spread is z times a square root.")
    refuse_if(high - low < 0.05, "this is too narrow: one standard error holds 68 in 100; for 95 in 100, z is 1.96.")
    refuse_if(
        0.05 < high - low < 0.08, "this is too narrow for 95 in 100: z is 1.96, not 1.64, which is for 90 in 100."
    )
    many = bounds(9500, 10000)
    refuse_if(many[1] - many[0] > 0.2 * (high - low), "with 100 times the recordings it must shrink to a tenth.")
    refuse_if(
        not np.allclose((low, high), (0.8882, 0.9785), atol=5e-4),
        f"worked by hand, 95 of 100 is 0.8882 to 0.9785; got {low:.4f} to {high:.4f}. Is all divided by 1 + z² / n?",
    )
    return "95 of 100 is 0.888 to 0.979, 0 of 20 keeps a width, right and wrong mirror each other"
