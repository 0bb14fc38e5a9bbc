"""``python -m benchmarks.efficiency OUT``: how many trainings a search needs until it has found something.

Found is a rule that gains as much as Muon over tuned AdamW, or a part of it, on tasks on which the search
never selected. Every way of searching but the last starts without Muon or any other rule
that has stages, has the same budget, its baseline included, and is judged by the same trainings, which cost
it nothing. An interrupted measurement goes on; ``OUT.md`` and ``OUT.json`` are its result.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from evoopt.api import resume, search
from evoopt.config import load_space
from evoopt.evolution.individual import Individual, RankedIndividual
from evoopt.jobs.records import FINAL_REPLICATE
from evoopt.optim import preset
from evoopt.runs.run import CONFIG_FILE, Run
from evoopt.systems.optimizer.baseline import tuned_baseline, tuning_trainings
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.evaluator import Evaluator
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.optimizer_search import make_run_executor
from evoopt.systems.optimizer.validation import Trial
from evoopt.version import __version__

TASKS, JUDGED_ON = ("teacher_student", "deep_narrow"), ("digits_autoencoder", "digits")
STEPS, POPULATION, BUDGET, SEEDS = 100, 24, 1000, 5
PARTS = (0.25, 0.5, 1.0)

_Overrides = dict[str, dict[str, Any]]
_ALIKE: _Overrides = {
    "search": {"population": POPULATION, "finalists": 0, "compare": False},
    "evaluation": {
        "meta_tasks": [], "steps": STEPS, "chunk_size": POPULATION, "replicates": 2, "target": "score",
    },
    "execution": {"executor": "serial"},
}  # fmt: skip
_FROM_NOTHING: _Overrides = {
    "evaluation": {"rate_reach": 6},
    "genome": {
        "initial": ["sgd", "adam", "adamw", "rmsprop", "lion"],
        "ranges": {"lr_log10": [-5.0, 0.5], "warmup_steps": [1.0, 60.0]},
    },
}
ARMS: dict[str, tuple[str, _Overrides]] = {
    "this search": ("find", {}),
    "random search": ("find", {"genome": {"initial": [], "fill": "random"}}),
    "the published scheme literally": ("marfinetz2025", {}),
    "without rate axis": ("find", {"evaluation": {"rates": 1, "rate_reach": 0}}),
    "accuracy instead of gain": ("find", {"evaluation": {"fitness": "validation"}}),
    "named by meta-validation": ("find", {"evaluation": {"meta_tasks": ["heavy_tail", "breast_cancer"]}}),
    "error's ratio instead of spreads": ("find", {"evaluation": {"target": "error"}}),
    "three rates and no further": ("find", {"evaluation": {"rate_reach": 0}}),
    "without short rungs": ("find", {"evaluation": {"rungs": []}}),
    "without Lamarck": ("find", {"evaluation": {"lamarckian": False}}),
    "with racing": ("find", {"evaluation": {"racing": True}}),
    "one seed": ("find", {"evaluation": {"replicates": 1}}),
    "one seed and error's ratio": ("find", {"evaluation": {"replicates": 1, "target": "error"}}),
    "NSGA-II": ("find", {"search": {"survivors": "pareto"}}),
    "with Muon among the first": ("find", {"genome": {"initial": ["adamw", "muon"]}}),
}
"""Space, and how each way differs from it."""
SHOWN = (
    "this search",
    "named by meta-validation",
    "without rate axis",
    "accuracy instead of gain",
    "error's ratio instead of spreads",
    "random search",
    "the published scheme literally",
)
"""Ways of the committed result."""


@dataclass(frozen=True)
class Point:
    """The best rule of a search after so many whole trainings, those of its baseline included."""

    trainings: float
    genome: OptimizerGenome


class Judge:
    """Gain over tuned AdamW on the tasks that judge, at the best of seven rates; kept in a folder."""

    def __init__(self, out: Path, tasks: Sequence[str] = JUDGED_ON) -> None:
        self._tasks = tasks
        config = load_space("find").override(_ALIKE)
        changes = {"tasks": list(tasks), "rates": 7, "rate_reach": 0, "rungs": []}
        config = config.override({"evaluation": changes})
        assert isinstance(config, OptimizerConfig)
        self._config = config
        self._folder = out / f"judge-{_digest(config)}"
        self._file = self._folder / "gains.json"

    def gains(self, genomes: Mapping[str, OptimizerGenome]) -> dict[str, float]:
        """Mean gain of each, by its key; minus infinity for a rule that diverges."""
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        missing = {key: genome for key, genome in genomes.items() if key not in known}
        if missing:
            with (
                Run.begin(self._folder, self._config) as run,
                make_run_executor(self._config) as executor,
            ):
                baseline = tuned_baseline(run, self._config, executor)
                validation = Evaluator(self._config, executor, run.store, baseline=baseline).validation
                for key, genome in missing.items():
                    seeds = range(FINAL_REPLICATE, FINAL_REPLICATE + 6)
                    trial = Trial(self._tasks, seeds, range(3), seeds, 0, len(known))
                    (score,) = validation.score_trial([Individual(0, genome)], trial, "gain", baseline)
                    unfinished, gain, _ = score.fitness.values
                    known[key] = -math.inf if unfinished else gain
                    self._file.write_text(json.dumps(known))
        return {key: known[key] for key in genomes}


def points(run: Run) -> list[Point]:
    """The best after every generation; of a search in a single one, after every `POPULATION` individuals.

    Of a search with meta-validation it is the best there of all generations so far.
    """
    config = run.config
    assert isinstance(config, OptimizerConfig)
    cost = dict[int, float]()
    for row in run.store.evaluations():
        cost[row.generation] = cost.get(row.generation, 0.0) + config.whole_trainings(
            row.generation, row.repeat
        )
    spent, found = float(tuning_trainings(config)), list[Point]()
    if config.search.generations == 1:
        state = run.store.checkpoint()
        assert state is not None, "the run is finished"
        rows = state["scheme"]["generations"]["population"]
        people = [RankedIndividual.from_json(row, OptimizerGenome.from_json) for row in rows]
        for n in range(POPULATION, len(people) + 1, POPULATION):
            best = max(people[:n], key=lambda ind: (ind.fitness, -ind.id))
            found.append(Point(spent + cost[0] * n / len(people), best.genome))
        return found
    most = -math.inf
    for record in run.generations:
        spent += cost.get(record["generation"], 0.0)
        if (meta := record.get("meta")) is not None:
            if found and meta <= most:
                found.append(Point(spent, found[-1].genome))
                continue
            most = meta
        if "best_genome" in record:
            genome = OptimizerGenome.from_json(record["best_genome"])
        else:
            genome = run.store.individual(record["best_id"]).genome
        found.append(Point(spent, genome))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.efficiency", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the searches; the result lies beside it")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="searches of each way")
    parser.add_argument("--budget", type=float, default=BUDGET, help="whole trainings of each search")
    parser.add_argument("--tasks", type=_names, default=TASKS, help=f"default {','.join(TASKS)}")
    parser.add_argument("--judged-on", type=_names, default=JUDGED_ON, help=f"default {','.join(JUDGED_ON)}")
    parser.add_argument(
        "--only", type=_names, default=SHOWN, help=f"comma-separated; default {', '.join(SHOWN)}"
    )
    given = parser.parse_args()
    ways = given.only
    if unknown := set(ways) - set(ARMS):
        parser.error(f"unknown way {', '.join(sorted(unknown))}; known: {', '.join(ARMS)}")
    for way in ways:
        if given.budget < (least := least_budget(way, given.tasks)):
            parser.error(f"--budget {given.budget:g}: {way} may need {least:.0f} for one generation")
    given.out.mkdir(parents=True, exist_ok=True)
    judge, reached = Judge(given.out, given.judged_on), dict[str, list[dict[str, Any]]]()
    muon = OptimizerGenome.from_rule(preset("muon").canonical())
    level = judge.gains({muon.key: muon})[muon.key]
    for seed in range(1, given.seeds + 1):
        for way in ways:
            with finished(way, seed, given.budget, given.out, given.tasks) as run:
                first, *later = points(run)
                curve = [first, *(point for point in later if point.trainings <= given.budget)]
            gains = judge.gains({point.genome.key: point.genome for point in curve})
            steps = [(point.trainings, gains[point.genome.key]) for point in curve]
            reached.setdefault(way, []).append({"seed": seed, "curve": steps})
            needed = first_above(steps, level)
            print(f"seed {seed}, {way}: {needed or 'never'}, {steps[-1][1]:+.2f} at the end", flush=True)
            write(given, reached, level)


def finished(way: str, seed: int, budget: float, out: Path, tasks: Sequence[str] = TASKS) -> Run:
    """A search to its end: new, gone on with, or made before."""
    config = configured(way, seed, tasks)
    folder = out / f"{way.replace(' ', '-')}-{budget:g}-{seed}-{_digest(config)}"
    if (folder / CONFIG_FILE).exists():
        return resume(folder)
    if way == "random search":
        config = config.random_search(budget - tuning_trainings(config))
    else:
        per_generation = config.trainings_per_individual * (POPULATION - config.search.elites)
        reach = 1.35 if config.evaluation.rate_reach else 1.0  # about what the rates further out cost
        generations = math.ceil((budget - tuning_trainings(config)) / per_generation / reach)
        config = config.override({"search": {"generations": generations}})
    return search(config, out=folder)


def configured(way: str, seed: int, tasks: Sequence[str] = TASKS) -> OptimizerConfig:
    """A way's search, as long as its space says."""
    space, overrides = ARMS[way]
    config = load_space(space).override(_ALIKE).override({"evaluation": {"tasks": list(tasks)}})
    for changes in (_FROM_NOTHING if space == "find" else {}, overrides, {"search": {"seed": seed}}):
        config = config.override(changes)
    assert isinstance(config, OptimizerConfig)
    whole = config.evaluation.model_copy(update={"train_size": None})  # the published one exceeds these tasks
    return config.model_copy(update={"evaluation": whole})


def least_budget(way: str, tasks: Sequence[str] = TASKS) -> float:
    """Whole trainings of the baseline and of a first generation, where rates further out cost most."""
    config = configured(way, 1, tasks)
    reach = 1.8 if config.evaluation.rate_reach else 1.0  # the most seen was 1.65
    return tuning_trainings(config) + reach * POPULATION * config.trainings_per_individual


def _digest(config: OptimizerConfig) -> str:
    """For the name of a folder, so that one of other settings, or of another version, is not taken for it."""
    return hashlib.sha256(f"{__version__} {config.model_dump_json()}".encode()).hexdigest()[:8]


def _names(text: str) -> list[str]:
    return text.split(",")


def first_above(curve: Sequence[tuple[float, float]], level: float) -> float | None:
    """Trainings until the gain first reaches a level; None if it never does."""
    return next((trainings for trainings, gain in curve if gain >= level), None)


def write(
    given: argparse.Namespace, reached: Mapping[str, Sequence[Mapping[str, Any]]], level: float
) -> None:
    """The figures as JSON and as a table."""
    setting = {"tasks": given.tasks, "judged_on": given.judged_on, "budget": given.budget}
    record = {"machine": machine(), **setting, "level": level, "ways": reached}
    given.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    lines = [
        f"Searched on {', '.join(given.tasks)}, judged on {', '.join(given.judged_on)}, {STEPS} steps;",
        f"{given.budget:.0f} whole trainings each. Muon gains {level:.2f} standard deviations over seeds on",
        "tuned AdamW.",
        "",
        f"| way | searches | {' | '.join(f'until {k:g} of Muon' for k in PARTS)} | median gain at the end |",
        "|---|---|---|---|---|---|",
    ]
    for way, runs in reached.items():
        end = statistics.median(run["curve"][-1][1] for run in runs)
        cells = [until(runs, k * level) for k in PARTS]
        lines.append(f"| {way} | {len(runs)} | {' | '.join(cells)} | {end:+.2f} |")
    given.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


def until(runs: Sequence[Mapping[str, Any]], level: float) -> str:
    """Median number of trainings, and in brackets how many searches got there."""
    needed = [first_above(run["curve"], level) or math.inf for run in runs]
    median = statistics.median(needed)
    there = sum(map(math.isfinite, needed))
    return f"{f'{median:.0f}' if math.isfinite(median) else 'never'} ({there})"


if __name__ == "__main__":
    main()
