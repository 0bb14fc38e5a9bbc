"""Trials: networks trained afresh, each with its own hyperparameters, to a figure of merit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn

from evoopt.systems.hyperparameters.generations import DIVERGED, Failure
from evoopt.systems.hyperparameters.schedules import data_seed
from evoopt.systems.hyperparameters.torch_classes import ClassPhases, torch_class
from evoopt.tasks.task import Split, Task
from evoopt.training.forward import evaluate_population
from evoopt.training.member_hyperparameters import Value, set_hyperparameters, update_rule
from evoopt.training.members import Members
from evoopt.training.phase import PhaseEngine, train_phase
from evoopt.training.plan import PhasePlan
from evoopt.training.population import ModelPopulation
from evoopt.training.trial_run import find_manner

Merit = Literal["error", "loss", "perplexity", "steps", "seconds"]
Train = Callable[[Task, Split, Members, PhasePlan, PhaseEngine], object]
"""Makes a phase's steps: `train_phase`, or by a class of `torch.optim`."""
OF_METRIC: Collection[Merit] = ("error", "steps", "seconds")
"""Those that follow from the metric, which must lie in [0, 1] for them."""


@dataclass(frozen=True)
class TrialPlan:
    """How networks are trained and judged.

    Attributes:
        fom: Figure of merit: of the trained network, or the steps or seconds that it took to the target.
        steps: Steps of a training; most steps to the target.
        batch_size: Minibatch size.
        target: Metric to meet in two successive evaluations, for ``steps`` and ``seconds``.
        every: Steps between evaluations then; minibatches are drawn anew after each.
        optimizer: Preset that the hyperparameters change.
        engine: How networks of one topology are trained together.
        seconds: Most seconds of a training, for ``seconds``.
    """

    fom: Merit
    steps: int
    batch_size: int
    target: float | None = None
    every: int = 100
    optimizer: str = "adam"
    engine: PhaseEngine = "batched"
    seconds: float = math.inf

    @property
    def limit(self) -> float:
        """Most steps or seconds that the target may take."""
        return self.seconds if self.fom == "seconds" else float(self.steps)


@dataclass(frozen=True)
class Trial:
    """What came of a training.

    Attributes:
        fom: Figure of merit, lower is better; NaN for a failure.
        loss: Validation loss at the end.
        metric: Metric at the end.
        steps: Steps made.
        reached: Whether it met the target; None where there is none.
    """

    fom: float
    loss: float
    metric: float
    steps: int
    reached: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, None for what is not finite."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """Read what `to_json` wrote."""
        numbers = {name: math.nan if data[name] is None else data[name] for name in ("fom", "loss", "metric")}
        return cls(**{**data, **numbers})


def figure_of_merit(kind: str, loss: float, metric: float) -> float:
    """What is minimised: ``error`` is 1 - metric, ``perplexity`` e to the loss; NaN for a failure."""
    if not math.isfinite(loss):
        return math.nan
    if kind == "error":
        return 1 - metric
    if kind == "perplexity":
        return math.exp(loss) if loss < 700 else math.nan
    return loss


def missed(limit: float, best: float) -> float:
    """Figure of merit of a training that missed its target: worse than any that met it within the limit.

    Args:
        limit: Most steps or seconds of any training.
        best: The best metric it came to, in [0, 1]; the better, the lower the figure.
    """
    return max(limit * (2 - best), math.nextafter(limit, math.inf))


def failure(kind: str, losses: Sequence[float]) -> Failure:
    """What happened to networks that have no figure of merit, by their losses."""
    if not any(map(math.isfinite, losses)):
        return DIVERGED
    if kind == "perplexity":
        return "have no finite perplexity", "scale the loss, or choose another recombination.fom"
    return "have NaN for a metric", "mend the task's metric, or choose another recombination.fom"


def run_trials(
    task: Task,
    train: Split,
    validation: Split,
    models: Sequence[nn.Module],
    values: Sequence[Mapping[str, Value]],
    plan: TrialPlan,
    seed: int,
) -> list[Trial]:
    """Train networks of one topology together.

    Args:
        task: What to learn; its own model is not used.
        train: Training split, on the models' device.
        validation: Validation split, likewise.
        models: Fresh networks.
        values: Hyperparameters of each.
        plan: How to train and judge.
        seed: Decides the minibatches, which are the same for all.

    Raises:
        EvooptError: A value that does not fit.
    """
    if any(map(torch_class, values)) and len(models) > 1:  # a class has one network at a time
        pairs = zip(models, values, strict=True)
        return [run_trials(task, train, validation, [net], [own], plan, seed)[0] for net, own in pairs]
    by_class = ClassPhases(values[0]) if torch_class(values[0]) else None
    manner = find_manner(task, train, models[:2], plan.batch_size)
    population = ModelPopulation.from_models(models, manner)
    members = Members.fresh(population, [update_rule({}, plan.optimizer)] * len(models))
    if by_class:  # which moves the weights; dropout and buffers are set as ever
        values = [{**own, "optimizer": plan.optimizer} for own in values]
    set_hyperparameters(members, values, plan.optimizer)
    train_on: Train = by_class or train_phase
    if plan.target is not None and plan.fom in ("steps", "seconds"):
        return _to_target(task, train, validation, members, plan, seed, plan.target, train_on)
    phase = PhasePlan(plan.steps, plan.batch_size, (data_seed(seed, 0),))
    train_on(task, train, members, phase, plan.engine)
    losses, metrics = (s.tolist() for s in evaluate_population(members.population, task, validation))
    return [
        Trial(figure_of_merit(plan.fom, loss, metric), loss, metric, plan.steps)
        for loss, metric in zip(losses, metrics, strict=True)
    ]


def _to_target(
    task: Task, train: Split, validation: Split, members: Members, plan: TrialPlan, seed: int, target: float,
    train_on: Train,
) -> list[Trial]:  # fmt: skip
    """Train until the target is met twice in succession; whoever has met it, or has diverged, leaves.

    Seconds are those of training alone, without the first stretch, in which memory is laid out and programs
    are compiled.
    """
    done: dict[int, Trial] = {}
    active = list(range(len(members)))
    best, streak, seconds = [0.0] * len(active), [0] * len(active), 0.0
    steps = 0
    while active and steps < plan.steps:
        length = min(plan.every, plan.steps - steps)
        phase = PhasePlan(length, plan.batch_size, (data_seed(seed, steps // plan.every),))
        started = time.perf_counter()
        train_on(task, train, members, phase, plan.engine)
        seconds += (time.perf_counter() - started) if steps else 0.0
        steps += length
        losses, metrics = (s.tolist() for s in evaluate_population(members.population, task, validation))
        for k, loss, metric in zip(active, losses, metrics, strict=True):
            streak[k] = streak[k] + 1 if metric >= target else 0
            if not math.isfinite(loss) or math.isnan(metric):
                done[k] = Trial(math.nan, loss, metric, steps, reached=False)
                continue
            best[k] = max(best[k], metric)
            spent = seconds if plan.fom == "seconds" else float(steps)
            if streak[k] == 2 and spent <= plan.limit:
                done[k] = Trial(spent, loss, metric, steps, reached=True)
            elif steps == plan.steps or spent >= plan.limit:
                done[k] = Trial(missed(plan.limit, best[k]), loss, metric, steps, reached=False)
        kept = [row for row, k in enumerate(active) if k not in done]
        active = [active[row] for row in kept]
        if len(kept) < len(members) and kept:
            members = members[kept]
    return [done[k] for k in range(len(done))]
