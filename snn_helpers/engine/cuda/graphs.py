"""A whole train step as one CUDA graph: forward, loss, backward, clipping, optimiser.

A step is some hundred launches, each of a few microseconds on the CPU: below some hundred recordings a batch, the GPU
waits for them. A graph is captured once for each shape of a batch and then launched as one.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

WARM_UP = 2  # steps of a shape before it is captured: kernels are compiled, the optimiser's state is made


class GraphedStep:
    """A train step that is captured at the third batch of a shape, and replayed from then on.

    The first steps of a shape, those of shapes that come rarely (the last batch of an epoch) and all on a CPU run
    eagerly. Weights are the same bit for bit as without graphs.

    Parameters
    ----------
    compute : callable
        `compute(*batch)` returns the loss, or a tuple of tensors whose first is the loss. It must not look at values on
        the device; what it reads beside its arguments must stay where it is in memory.
    optimizer : torch.optim.Optimizer
        Its learning rates become tensors, which schedulers change in place, and it is made capturable and fused where
        it can be.
    clip : float or None
        Largest norm of all gradients together; where it is given, their norm before clipping is the last of the step's
        results.
    after : callable or None
        Called after the optimiser's step, for example to set parameters back into their ranges.
    graphs : bool
        Whether to capture at all.
    capture_optimizer : bool
        Whether the optimiser's step is part of the graph: whatever it reads, learning rates apart, then stays as it is
        when it is captured. If not, it follows the graph, as a schedule of momentum or betas needs.
    """

    def __init__(
        self,
        compute: Callable[..., Tensor | tuple[Tensor, ...]],
        optimizer: Optimizer,
        clip: float | None = None,
        after: Callable[[], None] | None = None,
        graphs: bool = True,
        capture_optimizer: bool = True,
    ):
        self.compute, self.optimizer, self.clip, self.after, self.graphs = compute, optimizer, clip, after, graphs
        self.capture_optimizer = capture_optimizer
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._seen: Counter = Counter()
        self._captured: dict[tuple, tuple] = {}
        if graphs and capture_optimizer and self.parameters[0].is_cuda:
            make_capturable(optimizer)

    def __call__(self, *batch: Tensor) -> tuple[Tensor, ...]:
        """Train on one batch.

        Returns
        -------
        tuple of Tensor
            What `compute` returned, detached; of a captured step, valid until the next call.
        """
        key = tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in batch)
        if key not in self._captured:
            self._seen[key] += 1
            if not (self.graphs and batch[0].is_cuda):
                return self._step(batch)
            if self._seen[key] <= WARM_UP:
                return self._beside(batch)
            if not self._capture(key, batch):
                return self._step(batch)
        graph, inputs, outputs, grads = self._captured[key]
        for held, tensor in zip(inputs, batch):
            held.copy_(tensor, non_blocking=True)
        graph.replay()
        for parameter, grad in zip(self.parameters, grads):  # of this graph, whatever ran in between
            parameter.grad = grad
        if not self.capture_optimizer:
            self._update()
        return outputs

    def _step(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        outputs = self._gradients(batch)
        self._update()
        return outputs

    def _gradients(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        self.optimizer.zero_grad(set_to_none=True)
        outputs = self.compute(*batch)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        outputs[0].backward()
        if self.clip is not None:
            outputs = (*outputs, torch.nn.utils.clip_grad_norm_(self.parameters, self.clip))
        return tuple(tensor.detach() for tensor in outputs)

    def _update(self) -> None:
        self.optimizer.step()
        if self.after is not None:
            self.after()

    def _beside(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Run a step on a stream of its own, as what is captured later must have run before."""
        stream, main = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(main)
        with torch.cuda.stream(stream):
            outputs = self._step(batch)
        main.wait_stream(stream)
        for tensor in (*batch, *outputs):
            tensor.record_stream(main)
        return outputs

    def _capture(self, key: tuple, batch: tuple[Tensor, ...]) -> bool:
        inputs = tuple(tensor.clone() for tensor in batch)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)  # so that the gradients lie in the graph's memory
        try:
            with torch.cuda.graph(graph):
                outputs = (self._step if self.capture_optimizer else self._gradients)(inputs)
        except RuntimeError as err:
            self.graphs = False
            warnings.warn(f"This train step cannot be captured, and runs eagerly, which is slower: {err}", stacklevel=3)
            return False
        self._captured[key] = graph, inputs, outputs, [parameter.grad for parameter in self.parameters]
        return True


def make_capturable(optimizer: Optimizer) -> None:
    """Have an optimiser keep its learning rates and step counts on the device, and take its step in few launches.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Changed in place; before its first step.
    """
    for group in optimizer.param_groups:
        device = group["params"][0].device
        if "capturable" in group:
            group["capturable"] = True
        if "fused" in group and group.get("foreach") is not True:
            group["fused"] = True
        if not isinstance(group["lr"], Tensor):
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)
