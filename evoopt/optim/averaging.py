"""Averages of weights that an optimizer keeps, and how they get in and out of the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.optimizer import Optimizer
from torch.optim.swa_utils import update_bn


class AveragingOptimizer(Optimizer):
    """An optimizer whose state may hold an ``average`` for each parameter."""

    _reads_average = False

    @contextmanager
    def averaged(self, model: nn.Module | None = None, batches: Iterable[Any] = ()) -> Iterator[None]:
        """Hold the weights of the rule's readout in the parameters, and the last ones again afterwards.

        Of a rule that reads the last weights, and before the first step, these are the same.

        Args:
            model: One with BatchNorm, whose running statistics are then computed anew for these weights by
                `torch.optim.swa_utils.update_bn`; its buffers are put back afterwards.
            batches: What from: inputs, or tuples that begin with them, as a loader of training data gives.

        Raises:
            RuntimeError: Inside of itself.
        """
        if self._reads_average:
            raise RuntimeError("the parameters are averages already: averaged() does not nest")
        pairs = [(p_state["average"], p) for p, p_state in self.state.items() if "average" in p_state]
        changed = [*(p for _, p in pairs), *(model.buffers() if model is not None else ())]
        last = [x.detach().clone() for x in changed]
        self._reads_average = True
        try:
            _copy_all(pairs)
            if model is not None:
                _update_statistics(batches, model)
            yield
        finally:
            _copy_all(zip(last, changed, strict=True))
            self._reads_average = False

    def copy_averaged_to(self, params: Iterable[Tensor]) -> None:
        """Write the weights of the rule's readout into other tensors, e.g. ``copy.parameters()``.

        Args:
            params: As many tensors as this optimizer has parameters, in the order of its groups: those of a
                copy of the model, grouped alike.

        Raises:
            ValueError: Other numbers or shapes.
        """
        own, others = [p for group in self.param_groups for p in group["params"]], list(params)
        if [p.shape for p in own] != [p.shape for p in others]:
            raise ValueError("copy_averaged_to takes the parameters of a model like this one, in their order")
        _copy_all(
            (self.state[p].get("average", p) if p in self.state else p, q)
            for p, q in zip(own, others, strict=True)
        )

    def _refuse_averages(self) -> None:
        if self._reads_average:
            raise RuntimeError("the parameters are averages now: leave averaged() before the next step")

    @staticmethod
    def _average(w: Tensor, state: dict[str, Any], share: float) -> None:
        """Move the average towards the weights; in float32 where theirs could not hold small changes."""
        dtype = torch.float32 if w.dtype in (torch.bfloat16, torch.float16) else w.dtype
        if "average" not in state:
            state["average"] = torch.zeros_like(w, dtype=dtype, memory_format=torch.preserve_format)
        state["average"].lerp_(w.detach().to(dtype), share)


def _update_statistics(batches: Iterable[Any], model: nn.Module) -> None:
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return
    before, training = [m.momentum for m in norms], model.training
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    first = (x[0] if isinstance(x, (list, tuple)) else x for x in batches)
    inputs = ([x.to(device) if isinstance(x, Tensor) else x] for x in first)
    try:
        update_bn(inputs, model)
    finally:  # which update_bn leaves undone if it fails
        model.train(training)
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


@torch.no_grad()
def _copy_all(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    for source, target in pairs:
        target.copy_(source)
