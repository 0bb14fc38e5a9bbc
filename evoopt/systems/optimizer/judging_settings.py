"""How a search for an optimizer judges its individuals: settings, and the levels of its funnel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from evoopt.config.sections import Section
from evoopt.jobs.records import FUNNEL_REPEAT


class EvaluationSection(Section):
    """How an individual is scored."""

    tasks: tuple[str, ...] = Field(("digits",), min_length=1, description="task names, or file.py:function")
    steps: int = Field(200, ge=1, description="optimizer steps per training")
    replicates: int = Field(2, ge=1, description="seeds per task")
    fitness: Literal["validation", "gain", "paper", "noise"] = Field(
        "validation",
        description="validation: mean metric; gain: paired difference from the tuned baseline in standard "
        "deviations over its seeds; paper: the published test-set fitness; noise: a control",
    )
    target: Literal["score", "error", "steps", "area"] = Field(
        "score",
        description="what a gain compares: the metric at the end; the logarithm of one less it (error); how "
        "soon the training loss is where the baseline's ends (steps); or that loss's mean (area)",
    )
    baseline: str = Field("adamw", description="preset that a gain is relative to, tuned when a run starts")
    baseline_trials: int = Field(16, ge=6, description="tuning trials of the baseline per task")
    rates: int = Field(1, ge=1, description="learning rates each structure is tried at, odd; the best counts")
    decays: int = Field(1, ge=1, description="weight decays each structure is tried at, odd")
    rate_factor: float = Field(3.0, gt=1, description="ratio of neighbouring rates, and of decays")
    rate_reach: int = Field(
        0, ge=0, description="most further learning rates, one by one while the best tried is the outermost"
    )
    lamarckian: bool = Field(True, description="a genome's rate moves to the best one tried")
    rungs: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (), description="lengths of complete shorter trainings before the whole one, as parts of the steps"
    )
    promote: float = Field(1 / 3, gt=0, le=1, description="part of new individuals that enters the next rung")
    meta_tasks: tuple[str, ...] = Field(
        (), description="tasks that select nothing during the search, and the winner at its end"
    )
    seeds: Literal["derived", "literal"] = Field(
        "derived", description="derived from the run seed, or 0, 1, 2, ... as published"
    )
    funnel_tasks: tuple[str, ...] = Field(
        (), description="larger tasks of the funnel; by default those of the final, still longer"
    )
    funnel_factor: int = Field(4, ge=2, description="how many times longer the funnel trains")
    train_size: int | None = Field(None, ge=1, description="examples kept per task, all by default")
    batch_size: int | None = Field(None, ge=1, description="overrides the tasks' own")
    max_loss: float = Field(50.0, gt=0, description="a batch loss above this counts as divergence")
    drop_last: bool = Field(True, description="leave out an epoch's incomplete last minibatch")
    chunk_size: int = Field(12, ge=1, description="individuals trained together as one unit of work")
    threads_per_worker: int = Field(1, ge=1, description="torch threads in each worker")
    descent_filter: bool = Field(
        True, description="reject a rule whose update points uphill or nowhere, before any training"
    )
    equivalence: Literal["form", "steps"] = Field(
        "form", description="what is trained once: rules of equal canonical form, or also of equal steps"
    )
    racing: bool = Field(
        False, description="no further seeds for who is clearly worse than the best of its generation"
    )
    halve_at: float | None = Field(
        None, gt=0, lt=1, description="part of the steps after which a chunk's worse half stops training"
    )
    engine: Literal["auto", "batched", "sequential"] = Field("auto", description="how a chunk is trained")

    @property
    def judged_by_gain(self) -> bool:
        """Whether there is a baseline to be tuned."""
        return self.fitness == "gain" or (bool(self.meta_tasks) and self.fitness != "noise")

    def steps_at(self, repeat: int) -> int:
        """Steps of a training; see `evoopt.jobs.records.Evaluation` for ``repeat``, negative for a rung."""
        if repeat >= FUNNEL_REPEAT:
            return int(self.steps * self.funnel_factor ** (repeat - FUNNEL_REPEAT + 1))
        return self.steps if repeat >= 0 else max(1, round(self.rungs[repeat] * self.steps))


@dataclass(frozen=True)
class FunnelLevel:
    """A level of the funnel.

    Attributes:
        name: As `SearchSection.funnel` has it.
        tasks: What finalists are trained on.
        steps: How long.
        repeat: The same, as `evoopt.jobs.records.Evaluation` says it.
    """

    name: str
    tasks: tuple[str, ...]
    steps: int
    repeat: int

    def to_json(self) -> dict[str, Any]:
        """What of it is kept."""
        return {"name": self.name, "tasks": list(self.tasks), "steps": self.steps}
