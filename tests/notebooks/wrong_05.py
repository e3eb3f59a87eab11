"""Wrong answers to the exercises of notebook 05, with words of the message that each must get."""

import math

import torch
from torch import nn

cross_entropy = nn.functional.cross_entropy


def step_by(scores_of, clear=True, backward=True, step=True, item=True):
    """Return a training step that reads its scores so, and leaves out what is False."""

    def train_step(network, optimizer, frames, labels):
        loss = cross_entropy(scores_of(network(frames)), labels)
        if clear:
            optimizer.zero_grad()
        if backward:
            loss.backward()
        if step:
            optimizer.step()
        return loss.item() if item else loss

    return train_step


def counts(output):
    return output.sum(0)


def cleared_late(network, optimizer, frames, labels):
    loss = cross_entropy(network(frames).sum(0), labels)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def returns_nothing(network, optimizer, frames, labels):
    step_by(counts)(network, optimizer, frames, labels)


def percent_of_step(network, optimizer, frames, labels):
    return 100 * step_by(counts)(network, optimizer, frames, labels)


def scored(eval_mode=True, back=True, gradients=False, of_batches=False, count=False, inverted=False, last=False):
    """Return an evaluation with faults."""

    def evaluate(network, batches):
        if eval_mode:
            network.eval()
        losses, right = [], []
        with torch.set_grad_enabled(gradients):
            for frames, labels in batches:
                output = network(frames)
                scores = output.sum(0)
                losses.append(cross_entropy(scores, labels, reduction="mean" if of_batches else "none"))
                right.append((output[-1] if last else scores).argmax(1) == labels)
        if back:
            network.train()
        right = ~torch.cat(right) if inverted else torch.cat(right)
        loss = (torch.stack(losses) if of_batches else torch.cat(losses)).mean().item()
        return loss, int(right.sum()) if count else right

    return evaluate


def simple(hits, total):
    share = hits / total
    spread = 1.96 * math.sqrt(share * (1 - share) / total)
    return share - spread, share + spread


def wilson(z=1.96, divided=True, percent=1, squared=True, root=True, parentheses=True):
    def confidence_interval(hits, total):
        share, extra = hits / total, z * z / total
        centre = share + (extra / 2 if parentheses else z * z / 2 * total)
        variance = share * (1 - share) / total + (extra / 4 / total if squared else 0)
        spread = z * (math.sqrt(variance) if root else variance)
        scale = 1 + extra if divided else 1
        return percent * (centre - spread) / scale, percent * (centre + spread) / scale

    return confidence_interval


def padded(hits, total):
    return max(0.0, hits / total - 0.1), min(1.0, hits / total + 0.1)


def backwards(hits, total):
    return wilson()(hits, total)[::-1]


WRONG = {
    "train_step": [
        (step_by(counts, clear=False), "gradient of the batch before"),
        (cleared_late, "the weights have not changed"),
        (step_by(counts, step=False), "the weights have not changed"),
        (step_by(counts, clear=False, backward=False), "steps without"),
        (step_by(lambda output: output.mean(0)), "mean rates"),
        (step_by(lambda output: output[-1]), "the last step only"),
        (step_by(lambda output: output.sum(0).softmax(1)), "applies the softmax itself"),
        (step_by(lambda output: -output.sum(0)), "not that of the cross-entropy"),
        (step_by(counts, item=False), r"return loss.item\(\)"),
        (returns_nothing, "nothing is returned"),
        (percent_of_step, "the loss of this batch is"),
    ],
    "evaluate": [
        (scored(eval_mode=False), "training mode: dropout was on"),
        (scored(gradients=True), "gradients were recorded"),
        (scored(back=False), "still in eval mode"),
        (scored(count=True), "got one number"),
        (scored(inverted=True), "marks the wrong answers"),
        (scored(last=True), "most spikes over all steps"),
        (scored(of_batches=True), "the last batch is smaller"),
    ],
    "confidence_interval": [
        (simple, "That is the simple interval"),
        (wilson(percent=100), "not percent"),
        (wilson(parentheses=False), "multiplies by n"),
        (wilson(root=False), "square root"),
        (backwards, "low comes first"),
        (wilson(z=1.0), "one standard error"),
        (wilson(z=1.645), "not 1.64"),
        (wilson(divided=False), "reaches beyond 1"),
        (padded, "shrink to a tenth"),
        (wilson(squared=False), "width of 0"),
    ],
}
