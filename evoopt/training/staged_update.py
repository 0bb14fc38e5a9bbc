"""The update of members whose rules have stages, in groups of equal structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from evoopt.optim.groups import matrix_roles, parameter_roles
from evoopt.optim.rule import UpdateRule
from evoopt.optim.terms import MORE_TERMS
from evoopt.training.coefficients import Step
from evoopt.training.population import Architecture
from evoopt.training.staged_group import StagedGroup

_MORE_TERMS = {term.name for term in MORE_TERMS}


def has_stages(rule: UpdateRule) -> bool:
    """Whether a step of a canonical rule is more than the weighted sum that the kernel computes."""
    more = any(name in _MORE_TERMS for name, _ in rule.terms)
    return bool(rule.active) or rule.tells_matrices_apart or more


class StagedUpdate:
    """Moves the weights of some members of a population, each by its own rule, and keeps their state.

    A member's weights do not depend on whoever is updated beside it. Products of matrices in Newton-Schulz
    iterations of float32 weights are computed in bfloat16 on CUDA.

    Args:
        rules: In canonical form, by the members' places in the population.
        architecture: Says where parameters lie in a row of weights, and which of them are matrices.
        like: Weights ``[P, D]``, for dtype and device.
        total_steps: Length of the schedules.
        done: Steps each member of the population has made before.
        kernel: Whether the kernel in C++ may compute what it knows.
    """

    def __init__(
        self,
        rules: Mapping[int, UpdateRule],
        architecture: Architecture,
        like: Tensor,
        total_steps: int,
        done: Sequence[int] | None = None,
        kernel: bool = True,
    ) -> None:
        layout = architecture.layout
        roles = parameter_roles(architecture.model)
        members: dict[tuple[Any, ...], dict[int, UpdateRule]] = {}
        for place, rule in rules.items():
            wanted, apart = matrix_roles(rule), rule.tells_matrices_apart
            whole = tuple(name for name in layout.shapes if not apart or roles[name] in wanted)
            others = tuple(name for name in layout.shapes if name not in whole)
            for names, own in ((whole, rule), (others, rule.others_rule)):
                if names:
                    members.setdefault((names, *_structure(own)), {})[place] = own
        self._groups = [
            StagedGroup(own, layout, names, like[:0], total_steps, done and [done[k] for k in own], kernel)
            for (names, *_), own in members.items()
        ]

    def select(self, index: Sequence[int]) -> None:
        """Keep copies of the members at ``index`` of the population, which may repeat."""
        selected = [group.selected(index) for group in self._groups]
        self._groups = [group for group in selected if group is not None]

    @property
    def recordable(self) -> bool:
        """See `BatchedUpdate`."""
        return all(group.recordable for group in self._groups)

    def reach(self, step: int) -> None:
        """See `BatchedUpdate.reach`."""
        for group in self._groups:
            group.reach(step)

    def step(self, weights: Tensor, gradients: Tensor, step: Step, start: int, stop: int) -> None:
        """Update in place those members among ``start`` to ``stop - 1`` that have stages.

        Args:
            weights: Of these members of the population, ``[n, D]``.
            gradients: Likewise.
            step: See `Step`.
            start: First member.
            stop: Member after the last one.
        """
        for group in self._groups:
            group.step(weights, gradients, step, start, stop)

    def tensors(self) -> dict[str, Tensor]:
        """See `BatchedUpdate.tensors`."""
        groups = enumerate(self._groups)
        return {f"{k}.{name}": x for k, group in groups for name, x in group.tensors().items()}

    def state(self) -> Iterator[tuple[str, str, list[int], Tensor]]:
        """What is kept, to be read or written: name, parameter, members, and their view ``[n, ...]``."""
        for group in self._groups:
            yield from ((kind, name, group.subset.members, view) for kind, name, view in group.views())


def _structure(rule: UpdateRule) -> tuple[Any, ...]:
    """What members of one program have in common; all else are constants of each."""
    return (
        tuple(name for name, _ in rule.terms),
        rule.use_m, rule.use_v, rule.bias_correction, rule.clip_value is None,
        tuple((stage.part, stage.name) for stage in rule.active),
        rule.iterations,
    )  # fmt: skip
