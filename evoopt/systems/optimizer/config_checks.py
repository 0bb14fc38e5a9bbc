"""What settings of a search for an optimizer must not say together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoopt.errors import EvooptError, unknown_name
from evoopt.optim.presets import PRESETS, STAGED_PRESETS

if TYPE_CHECKING:
    from evoopt.systems.optimizer.config import GenomeSection, SearchSection
    from evoopt.systems.optimizer.judging_settings import EvaluationSection


def check_judging(search: SearchSection, evaluation: EvaluationSection, source: str) -> None:
    """Check how rules are judged.

    Args:
        search: How generations follow each other.
        evaluation: How an individual is scored.
        source: Name of the file, for messages.

    Raises:
        EvooptError: Settings that do not fit each other.
    """
    rungs = evaluation.rungs
    for name in ("tasks", "meta_tasks", "funnel_tasks"):
        tasks = getattr(evaluation, name)
        if len(set(tasks)) < len(tasks):
            raise EvooptError(f"{source}: evaluation.{name} names a task twice: {', '.join(tasks)}")
    for name in ("rates", "decays"):
        if getattr(evaluation, name) % 2 == 0:
            raise EvooptError(f"{source}: evaluation.{name} must be odd, with the genome's own in the middle")
    if evaluation.rate_reach and evaluation.rates == 1:
        raise EvooptError(f"{source}: evaluation.rate_reach needs several evaluation.rates to reach from")
    if list(rungs) != sorted(set(rungs)):
        raise EvooptError(f"{source}: evaluation.rungs must rise, not {list(rungs)}")
    if rungs and (search.elite_policy != "reaverage" or evaluation.fitness == "paper"):
        raise EvooptError(
            f'{source}: evaluation.rungs need search.elite_policy = "reaverage" and another fitness than '
            '"paper"'
        )
    if evaluation.racing and (
        evaluation.fitness not in ("gain", "noise") or search.elite_policy != "reaverage"
    ):
        raise EvooptError(
            f'{source}: evaluation.racing needs evaluation.fitness = "gain", whose unit says what is clearly '
            'worse, and search.elite_policy = "reaverage"'
        )
    if evaluation.target != "score" and not evaluation.judged_by_gain:
        raise EvooptError(
            f'{source}: evaluation.target = "{evaluation.target}" is what a gain compares: it needs '
            'evaluation.fitness = "gain" or evaluation.meta_tasks'
        )
    if evaluation.racing and evaluation.target == "error":
        raise EvooptError(
            f'{source}: evaluation.racing needs gains in standard deviations, not evaluation.target = "error"'
        )
    if evaluation.judged_by_gain and evaluation.fitness == "paper":
        raise EvooptError(f"{source}: the published fitness knows no evaluation.meta_tasks")
    if shared := set(evaluation.tasks) & set(evaluation.meta_tasks):
        raise EvooptError(
            f"{source}: {', '.join(sorted(shared))} cannot be among evaluation.tasks and "
            "evaluation.meta_tasks: on the latter nothing is selected"
        )
    presets = PRESETS | STAGED_PRESETS
    if evaluation.judged_by_gain and evaluation.baseline not in presets:
        raise unknown_name(f"preset in {source}, evaluation.baseline:", evaluation.baseline, presets)


def check_front(
    search: SearchSection, evaluation: EvaluationSection, genome: GenomeSection, source: str
) -> None:
    """Check what a front needs; see `check_judging`."""
    if search.survivors != "pareto":
        if search.prefer != "accuracy":
            raise EvooptError(
                f'{source}: search.prefer = "{search.prefer}" needs search.survivors = "pareto"'
            )
        return
    if evaluation.fitness not in ("gain", "noise") or genome.operators == "literal":
        raise EvooptError(
            f'{source}: search.survivors = "pareto" needs evaluation.fitness = "gain" and robust operators'
        )


def check_funnel(search: SearchSection, evaluation: EvaluationSection, source: str) -> None:
    """Check what a funnel needs; see `check_judging`."""
    if search.funnel and not (evaluation.judged_by_gain and search.finalists):
        raise EvooptError(
            f"{source}: search.funnel needs search.finalists above 0 and a baseline that they gain over: "
            'evaluation.fitness = "gain" or evaluation.meta_tasks'
        )
