"""Parts of a population, and parameters of one shape, as stacks that are computed at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evoopt.training.flat import FlatLayout


class Subset:
    """Some members of a population, found among those that go through a step at once.

    Args:
        members: Their places in the population, in ascending order.
        device: Where the weights are.
    """

    def __init__(self, members: Sequence[int], device: torch.device) -> None:
        self.members, self._device = list(members), device
        self._parts: dict[tuple[int, int], tuple[slice, slice | Tensor] | None] = {}

    def part(self, start: int, stop: int) -> tuple[slice, slice | Tensor] | None:
        """Which of them are among ``start`` to ``stop - 1``, and their rows there; None for no one.

        Rows that are neighbours are a slice, so that taking them copies nothing.
        """
        if (start, stop) not in self._parts:
            own = slice(bisect_left(self.members, start), bisect_left(self.members, stop))
            rows = [member - start for member in self.members[own]]
            together = rows and rows[-1] - rows[0] + 1 == len(rows)
            index = slice(rows[0], rows[-1] + 1) if together else torch.tensor(rows, device=self._device)
            self._parts[start, stop] = (own, index) if rows else None
        return self._parts[start, stop]

    def selected(self, index: Sequence[int]) -> tuple[Subset, list[int]]:
        """Those at ``index`` of the population that are among these, and which of these they are."""
        places = {member: k for k, member in enumerate(self.members)}
        chosen = {new: places[old] for new, old in enumerate(index) if old in places}
        return Subset(list(chosen), self._device), list(chosen.values())


@dataclass(frozen=True)
class Stack:
    """Parameters of one shape as one stack of all members, those of a member beside each other.

    Attributes:
        names: The ``k`` parameters.
        kept: What stages for matrices keep of them, ``[n, k, ...]`` by name.
    """

    names: tuple[str, ...]
    kept: Mapping[str, Tensor]

    def of(self, views: Mapping[str, Tensor], dimensions: int) -> Tensor:
        """Views ``[n, *shape]`` as ``[n * k, size]``, or with 3 dimensions ``[n * k, rows, columns]``."""
        kept = dimensions - 1
        own = [view.reshape(*view.shape[:kept], -1) for view in (views[name] for name in self.names)]
        return own[0] if len(own) == 1 else torch.stack(own, dim=1).flatten(0, 1)

    def per_tensor(self, numbers: Any, dimensions: int) -> Any:
        """Numbers ``[n, 1]`` as ``[n * k, 1, ...]``; what is no tensor is the same for all."""
        if not isinstance(numbers, Tensor):
            return numbers
        return numbers.repeat_interleave(len(self.names), 0).view(-1, *[1] * (dimensions - 1))

    def put(self, x: Tensor, views: Mapping[str, Tensor]) -> None:
        """Write what `of` may have given into views ``[n, *shape]``."""
        for k, name in enumerate(self.names):
            views[name].copy_(x[k :: len(self.names)].reshape(views[name].shape))


@dataclass(frozen=True, slots=True)
class StackInputs:
    """`StageInputs` of a stack, whose tensors are put together when a stage looks at them: few do."""

    stack: Stack
    layout: FlatLayout
    given: tuple[Tensor, Tensor, Tensor]
    state: Mapping[str, Tensor]
    constants: Mapping[str, Any]
    step: int | Tensor
    dimensions: int

    @property
    def g(self) -> Tensor:
        """Gradients."""
        return self._of(0)

    @property
    def w(self) -> Tensor:
        """Weights."""
        return self._of(1)

    @property
    def denom(self) -> Tensor:
        """Denominators."""
        return self._of(2)

    def _of(self, which: int) -> Tensor:
        return self.stack.of(self.layout.views(self.given[which]), self.dimensions)
