"""After the final: who still beats the tuned baseline in longer trainings and on larger tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evoopt.evolution.individual import Individual
from evoopt.jobs.records import FUNNEL_REPLICATE
from evoopt.runs.finalists import preferred
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.judging_settings import FunnelLevel
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.scores import SPREAD_SEEDS
from evoopt.systems.optimizer.validation import Trial, Validation

Baselines = Mapping[str, OptimizerGenome]
_PER_LEVEL = 10_000
_WHERE = {"longer": "in longer trainings", "larger": "on larger tasks"}


def pass_funnel(
    winner: dict[str, Any],
    config: OptimizerConfig,
    validation: Validation,
    tune: Callable[[FunnelLevel], Baselines],
) -> dict[str, Any]:
    """Try the finalists level by level; who does not gain on average is out.

    Args:
        winner: As the final names it, with its finalists.
        config: The run's configuration.
        validation: Has rules trained.
        tune: Gives the baseline that was tuned for a level.

    Returns:
        The winner with ``funnel``, what each level found. It is the best of those left on the last level, or
        whom the space prefers of them. If nobody is left it is the final's, and ``lost`` says so.
    """
    finalists = winner["finalists"]
    left, levels = list(finalists), []
    for number, level in enumerate(config.funnel_levels):
        gains = _gains(left, level, number, config, validation, tune(level))
        left = [
            row for row in left if gains[row["id"]]["gain"] > 0 and not gains[row["id"]]["unfinished_rate"]
        ]
        left.sort(key=lambda row: -gains[row["id"]]["gain"])
        found = {str(number): gain for number, gain in gains.items()}
        levels.append({**level.to_json(), "gains": found, "kept": [row["id"] for row in left]})
        if not left:
            break
    if left:
        return {**preferred(left, config.search.prefer), "finalists": finalists, "funnel": levels}
    return {**winner, "funnel": levels, "lost": _lost(levels[-1], config.evaluation.baseline)}


def _gains(
    rows: Sequence[Mapping[str, Any]],
    level: FunnelLevel,
    number: int,
    config: OptimizerConfig,
    validation: Validation,
    baseline: Baselines,
) -> dict[int, dict[str, Any]]:
    first = FUNNEL_REPLICATE + number * _PER_LEVEL
    search, half = config.search, _PER_LEVEL // 2
    trial = Trial(
        tasks=level.tasks,
        seeds=range(first, first + search.final_replicates),
        rate_seeds=range(first + half, first + half + config.evaluation.replicates),
        baseline_seeds=range(first, first + max(search.final_replicates, SPREAD_SEEDS)),
        repeat=level.repeat,
        generation=search.generations + 1 + number,
    )
    genomes = [Individual(row["id"], OptimizerGenome.from_json(row["genome"])) for row in rows]
    scores = validation.score_trial(genomes, trial, "gain", baseline)
    return {
        row["id"]: {
            "gain": score.fitness.score, "unfinished_rate": score.fitness.values[0], "tasks": score.tasks
        }
        for row, score in zip(rows, scores, strict=True)
    }  # fmt: skip


def _lost(level: Mapping[str, Any], baseline: str) -> str:
    where = f"{_WHERE[level['name']]} ({level['steps']:,} steps on {', '.join(level['tasks'])})"
    return (
        f"Nobody came through the funnel: {where} no finalist gains over the tuned {baseline}; this is the "
        "best of the final all the same."
    )
