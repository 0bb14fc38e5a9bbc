"""The loop of every evolution: stage after stage, each followed by a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from evoopt.errors import read_as_data
from evoopt.evolution.budget import Budget
from evoopt.evolution.individual import Individual

State = tuple[dict[str, Any], dict[str, Tensor]]
"""A checkpoint: JSON, and tensors by name."""


@dataclass(frozen=True)
class Stage:
    """What a stage brought.

    Attributes:
        record: Statistics of the generation it finished, as JSON with the keys ``generation``, ``best``,
            ``median`` and ``mean``; None in the middle of one.
        created: Individuals it created.
    """

    record: dict[str, Any] | None = None
    created: Sequence[Individual[Any]] = field(default_factory=tuple)


class StagedScheme(Protocol):
    """An evolution that can stop after every stage."""

    @property
    def finished(self) -> bool:
        """Whether the last stage is done."""

    def advance(self) -> Stage:
        """Do the next stage, after the last one, too, if only a limit made it the last."""

    def snapshot(self) -> State:
        """Everything needed to go on, with the same bytes in the end."""

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot."""


class StageRecord(Protocol):
    """Where the stages of a run are kept; `evoopt.runs` has one on disk."""

    @property
    def reopened(self) -> bool:
        """Whether a scheme that a limit has finished is to go on."""

    @property
    def ended(self) -> str | None:
        """Why a limit ended it in an earlier attempt, which left no winner; None if none did."""

    def load_stage(self) -> State | None:
        """The newest checkpoint, None before the first."""

    def save_stage(self, stage: Stage, state: State) -> None:
        """Keep what a stage brought and the checkpoint after it, all or none."""


def evolve(
    scheme: StagedScheme,
    record: StageRecord | None = None,
    on_stage: Callable[[Stage], None] = lambda stage: None,
    budget: Budget | None = None,
) -> list[dict[str, Any]]:
    """Advance a scheme to its end, from the record's checkpoint if there is one.

    Args:
        scheme: The evolution.
        record: Where it is kept; None keeps nothing.
        on_stage: Told of every stage.
        budget: Ends it before; None does not.

    Returns:
        Statistics of the generations finished by this call.
    """
    state = None if record is None else record.load_stage()
    if state is not None:
        with read_as_data("the run's checkpoint"):
            scheme.restore(*state)
    history = []
    reopened = state is not None and record is not None and record.reopened
    ended = state is not None and record is not None and record.ended is not None
    while (reopened or not (scheme.finished or ended)) and (budget is None or budget.why is None):
        reopened = False
        stage = scheme.advance()
        if record is not None:
            record.save_stage(stage, scheme.snapshot())
        if stage.record is not None:
            history.append(stage.record)
            if budget is not None:
                budget.spent(stage.record)
        on_stage(stage)
    return history
