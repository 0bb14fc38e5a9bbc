"""The rules of a comparison: budget, seeds, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from evoopt.compare.contender import Contender
from evoopt.errors import EvooptError
from evoopt.jobs.rule_worker import EngineName
from evoopt.tasks import DataOptions, get_task
from evoopt.training.plan import TrainingPlan, derive_seed, task_number

_TUNING, _FINAL = 301, 302

FINALISTS = 4
"""Settings of a contender that are looked at again before one is chosen."""

SECOND_LOOK = 2
"""Further seeds of each of them, in units of the seeds per trial."""


@dataclass(frozen=True)
class Protocol:
    """What every contender is given alike.

    Attributes:
        tasks: Tasks to compare on.
        steps: Optimizer steps per training.
        trials: Tuning trials per contender and task.
        tuning_seeds: Trainings per trial; the best few trials get further ones.
        seeds: Fresh seeds of the final scores, at least 2.
        seed: Root of all randomness.
        train_size: Examples kept per task, all by default.
        batch_size: Overrides the tasks' own.
        chunk_size: Rules trained together as one unit of work.
        engine: How rules are trained.
        max_loss: A batch loss above this counts as divergence.
        tune_each_seed: Whether every final seed is trained with settings of a tuning of its own, so that what
            tuning happens to hit is part of the spread, and of the level of every test (Bouthillier et al.
            2021, "Accounting for variance in machine learning benchmarks"). Tuning costs ``seeds`` times as
            much.
        allow_seen_test: Whether a contender may be compared on a test part that decided its search; the
            result then says so.

    Raises:
        EvooptError: A number out of range, or no task.
    """

    tasks: tuple[str, ...]
    steps: int = 500
    trials: int = 24
    tuning_seeds: int = 2
    seeds: int = 12
    seed: int = 0
    train_size: int | None = None
    batch_size: int | None = None
    chunk_size: int = 16
    engine: EngineName = "auto"
    max_loss: float = 50.0
    tune_each_seed: bool = False
    allow_seen_test: bool = False

    def __post_init__(self) -> None:
        if not self.tasks:
            raise EvooptError("a comparison needs at least one task")
        if len(set(self.tasks)) < len(self.tasks):
            raise EvooptError(f"a task is named twice: {', '.join(self.tasks)}")
        if self.seeds < 2:
            raise EvooptError(
                f"a comparison needs at least 2 final seeds, not {self.seeds}: one cannot tell a difference "
                "from noise (10 or more are advised)"
            )
        for name, least in {"steps": 1, "tuning_seeds": 1, "chunk_size": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise EvooptError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if not self.max_loss > 0:
            raise EvooptError(f"max_loss must be above 0, not {self.max_loss:g}")
        tuning = {
            seed
            for task in self.tasks
            for k in range(self.tunings)
            for again in (False, True)
            for seed in self.tuning_seeds_of(task, k, again)
        }
        final = {s for task in self.tasks for s in self.final_seeds_of(task)}
        if tuning & final:
            raise EvooptError("tuning and final seeds overlap; choose another root seed")

    def final_seeds_of(self, task: str) -> list[int]:
        """Seeds of the final scores on a task; of the root seed and the task's name alone."""
        return self._derived(_FINAL, task, range(self.seeds))

    def tuning_seeds_of(self, task: str, tuning: int = 0, again: bool = False) -> list[int]:
        """Seeds of the trials of a tuning on a task, or those of the second look at the best trials.

        No seed is ever both, or of two tunings, or a final one.
        """
        first, all_seeds = self.tuning_seeds, self.tuning_seeds * (1 + SECOND_LOOK)
        numbers = range(first, all_seeds) if again else range(first)
        return self._derived(_TUNING, task, (tuning * all_seeds + k for k in numbers))

    @property
    def tunings(self) -> int:
        """How often a contender is tuned on a task."""
        return self.seeds if self.tune_each_seed else 1

    @property
    def tuning_trainings(self) -> int:
        """Trainings on a task that tune one contender."""
        return self.tunings * self.tuning_seeds * (self.trials + SECOND_LOOK * min(FINALISTS, self.trials))

    def _derived(self, stage: int, task: str, numbers: Iterable[int]) -> list[int]:
        of_task = task_number(task)
        return [derive_seed(self.seed, stage, of_task, k) for k in numbers]

    def plan(self, seed: int, split: Literal["validation", "test"]) -> TrainingPlan:
        """The plan of one training."""
        return TrainingPlan(self.steps, seed, self.batch_size or 0, split=split, max_loss=self.max_loss)

    def to_json(self) -> dict[str, Any]:
        """Settings by name, and the second look; of two only what is unusual."""
        second_look = {"settings": FINALISTS, "seeds": SECOND_LOOK * self.tuning_seeds}
        body = {**asdict(self), "tasks": list(self.tasks), "second_look": second_look}
        for name in ("max_loss", "tune_each_seed"):
            if body[name] == getattr(Protocol, name):
                del body[name]
        return body

    def data_options(self, data_dir: Path | None = None) -> DataOptions:
        """How data are loaded; the test part is sealed until the final stage."""
        return DataOptions(data_dir, self.train_size, seed=self.seed)


def refuse_seen_tests(contenders: Iterable[Contender], protocol: Protocol) -> list[str]:
    """Refuse tasks whose test part decided the search of a contender.

    Returns:
        With ``allow_seen_test``, a line on each such case instead.

    Raises:
        EvooptError: Such a case without ``allow_seen_test``.
    """
    lines = []
    for contender in contenders:
        seen = [task for task in protocol.tasks if _shares_test(task, contender.saw_test)]
        if not seen:
            continue
        selected = f"{contender.name} was selected by its score on the test data of {', '.join(seen)}"
        if not protocol.allow_seen_test:
            raise EvooptError(
                f"{selected}, which therefore cannot judge it; compare on other tasks, or search with "
                "validation fitness"
            )
        lines.append(f"{selected}: an advantage that the baselines do not have")
    return lines


def _shares_test(task: str, seen: Iterable[str]) -> bool:
    """Whether a task's test data are those of any other: tasks with the same loader share them."""
    return any(task == other or get_task(task).load is get_task(other).load for other in seen)


def check_trials(contenders: Sequence[Contender], protocol: Protocol) -> None:
    """Refuse a number of trials that is too small for some contender's schedules.

    Raises:
        EvooptError: Such a number.
    """
    most = max(len(contender.schedules_for(protocol.steps)) for contender in contenders)
    if protocol.trials < 3 * most:
        raise EvooptError(
            f"{protocol.trials} tuning trials are too few: {most} schedules on a grid of 3 learning rates "
            f"take {most * 3}"
        )
