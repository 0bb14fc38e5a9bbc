"""The comparison itself: tune everyone alike, then score on fresh seeds and test data."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evoopt.compare.contender import Contender
from evoopt.compare.contender_jobs import Cost
from evoopt.compare.protocol import Protocol, refuse_seen_tests
from evoopt.compare.result import Comparison, Participant, Scores, TaskFacts, Tuned
from evoopt.compare.training_queue import Training, TrainingQueue
from evoopt.compare.tuner import Tuner, Tuners, tune
from evoopt.errors import EvooptError
from evoopt.execution import Place
from evoopt.jobs.no_score import no_score
from evoopt.jobs.rule_worker import WorkerSetup, make_worker
from evoopt.tasks.source_files import source_digests
from evoopt.training.plan import TrainingResult

LOCAL = Place()

EACH_TUNED = "every final seed has a tuning of its own; the settings shown are those of the first"


def run_comparison(
    candidates: Sequence[Contender],
    baselines: Sequence[Contender],
    protocol: Protocol,
    place: Place = LOCAL,
    *,
    controls: Sequence[Contender] = (),
    memory: Path | None = None,
    engines: Mapping[str, str] | None = None,
    quiet: bool = True,
) -> Comparison:
    """Compare candidates with baselines that are tuned with the same effort.

    Args:
        candidates: Who is to be judged.
        baselines: Whom they are held against; the first is the reference of all statistics.
        protocol: Budget, seeds and tasks.
        place: Where to train.
        controls: Further contenders that say what else explains a win.
        memory: File that keeps finished trainings for a later attempt.
        engines: Training engine per task where that has been decided already.
        quiet: Show no progress bar.

    Raises:
        NoScoreError: Every training of the reference diverged in tuning, or every one of a contender failed.
        EvooptError: A task whose test part decided the search of a contender, too few trials, a task that
            cannot be trained, names that are not unique.
    """
    everyone = [*candidates, *baselines, *controls]
    names = [contender.name for contender in everyone]
    if not baselines or len(set(names)) < len(names):
        raise EvooptError(
            f"contenders need unique names and at least one baseline, found: {', '.join(names)}"
        )
    notes = refuse_seen_tests(everyone, protocol)
    data = protocol.data_options(place.data_dir)
    per_task = len(everyone) * (protocol.tuning_trainings + protocol.seeds)
    bar = tqdm(
        total=per_task * len(protocol.tasks), unit="training", desc="tuning", disable=True if quiet else None,
        file=sys.stderr, dynamic_ncols=True, smoothing=0.05,
    )  # fmt: skip
    context: dict[str, Any] = {**asdict(data), **place.rounding}
    if sources := source_digests(protocol.tasks):
        context["sources"] = sources
    setup = WorkerSetup(protocol.tasks, data, place.device)
    with bar, place.start(make_worker, setup) as executor:
        queue = TrainingQueue(
            executor, protocol.engine, protocol.chunk_size, memory,
            context=context,
            engines=engines or {}, on_done=lambda count: _advance(bar, count),
        )  # fmt: skip
        tuners = tune(everyone, protocol, queue)
        _refuse_no_score(everyone, baselines[0], tuners, protocol)
        bar.set_description("test data")
        scores, facts = _final(everyone, tuners, protocol, queue)
    roles = {c.name: "candidate" for c in candidates} | {c.name: "control" for c in controls}
    return Comparison(
        protocol=protocol.to_json(),
        reference=baselines[0].name,
        participants=tuple(_participant(c, roles.get(c.name, "baseline"), protocol) for c in everyone),
        tuning={t: {c.name: _tuned(tuners[t, c.name][0]) for c in everyone} for t in protocol.tasks},
        scores=scores,
        facts=facts,
        notes=(
            *(c.note for c in everyone if c.note),
            *notes,
            *_short_of_trials(everyone, tuners, protocol),
            *([EACH_TUNED] if protocol.tune_each_seed else []),
        ),
    )


def _refuse_no_score(
    everyone: Sequence[Contender], reference: Contender, tuners: Tuners, protocol: Protocol
) -> None:
    """A contender that diverges is a finding; one that is broken is not, nor is a lack of the reference."""
    for task in protocol.tasks:
        for one in everyone:
            for tuner in tuners[task, one.name]:
                broken = {result.outcome for result in tuner.unsuccessful} == {"failed"}
                if math.isnan(tuner.best.metric) and (broken or one is reference):
                    raise no_score(task, tuner.unsuccessful, protocol.max_loss, "max_loss", of=one.name)


def _final(
    everyone: Sequence[Contender], tuners: Tuners, protocol: Protocol, queue: TrainingQueue
) -> tuple[dict[str, dict[str, Scores]], dict[str, TaskFacts]]:
    scores: dict[str, dict[str, Scores]] = {}
    facts: dict[str, TaskFacts] = {}
    for task in protocol.tasks:
        seeds = protocol.final_seeds_of(task)
        by_tuning = [
            [c.member(tuner.best.setting, protocol.steps) for tuner in tuners[task, c.name]] for c in everyone
        ]
        wanted = [
            Training(task, member, protocol.plan(seed, "test"), curves=True)
            for members in by_tuning
            for member, seed in zip(members * (len(seeds) // len(members)), seeds, strict=True)
        ]
        results = queue.train(wanted)
        costs = queue.costs(task, [members[0] for members in by_tuning])
        scores[task] = {
            c.name: _scores(results[k * len(seeds) : (k + 1) * len(seeds)], costs[k])
            for k, c in enumerate(everyone)
        }
        engine = queue.engines().get(task, protocol.engine)
        facts[task] = TaskFacts(costs[0].parameters, costs[0].test_size, engine)
    return scores, facts


def _scores(results: Sequence[TrainingResult], cost: Cost) -> Scores:
    return Scores(
        metric=tuple(r.metric for r in results),
        eval_loss=tuple(r.eval_loss for r in results),
        train_loss=tuple(r.train_loss for r in results),
        outcomes=tuple(r.outcome for r in results),
        curves=tuple(tuple(float(f"{loss:.5g}") for loss in r.losses) for r in results),
        step_us=cost.step_us,
        state_bytes=cost.state_bytes,
    )


def _tuned(tuner: Tuner) -> Tuned:
    best = tuner.best
    return Tuned(
        setting=best.setting.describe(),
        values={"schedule": best.setting.schedule, **dict(best.setting.values)},
        metric=best.metric,
        trials=len(tuner.trials),
        extensions=sum(trial.stage == "extension" for trial in tuner.trials),
        at_edge=tuner.at_edge,
    )


def _participant(contender: Contender, role: str, protocol: Protocol) -> Participant:
    searched = tuple(task for task in protocol.tasks if task in contender.search_tasks)
    return Participant(contender.name, role, contender.subject.formula(), contender.note, searched)


def _short_of_trials(everyone: Sequence[Contender], tuners: Tuners, protocol: Protocol) -> list[str]:
    return [
        f"{c.name} on {task}: {lack}; give it more --trials"
        for task in protocol.tasks
        for c in everyone
        if (lack := next(filter(None, (tuner.lack for tuner in tuners[task, c.name])), ""))
    ]


def _advance(bar: tqdm[object], count: int) -> None:
    bar.update(count)
