"""The generation loop over a stub of training: resume, caching, elites, failures, controls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evoopt.errors import EvooptError, NoScoreError
from evoopt.execution import ChunkResult, Place, place
from evoopt.jobs.records import FINAL_REPLICATE
from evoopt.jobs.rule_worker import Chunk, EngineProbe, WorkerSetup
from evoopt.optim import preset
from evoopt.runs import Run
from evoopt.systems.optimizer import closing_comparison
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.evaluator import Evaluator
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.optimizer_search import evolve_rules, make_run_executor
from evoopt.tasks import DataOptions
from evoopt.training.plan import TrainingResult
from tests.stubs import StubExecutor

GENERATIONS = 5


def config(**changes: dict[str, Any]) -> OptimizerConfig:
    base: dict[str, dict[str, Any]] = {
        "search": {"population": 12, "generations": GENERATIONS, "seed": 7},
        "evaluation": {"tasks": ["digits", "digits_cnn"], "steps": 10, "chunk_size": 5},
    }
    return OptimizerConfig().override(base).override(changes)


PAPER = config(
    search={"elite_policy": "reevaluate", "finalists": 0, "tournament": 4},
    genome={"operators": "literal"},
    evaluation={"fitness": "paper", "seeds": "literal"},
)
JUDGED = config(
    search={"generations": 3, "population": 8},
    evaluation={
        "fitness": "gain", "rates": 3, "rungs": [0.3, 0.6], "promote": 0.5, "meta_tasks": ["wine"],
    },
    genome={"fill": "mutants"},
)  # fmt: skip
PARETO = JUDGED.override({"search": {"survivors": "pareto", "tournament": 2, "finalists": 3}})
CONFIGS = {
    "robust": config(),
    "paper": PAPER,
    "noise": config(evaluation={"fitness": "noise"}),
    "judged": JUDGED.override({"evaluation": {"rate_reach": 2}}),
    "pareto": PARETO,
    "steps": JUDGED.override({"evaluation": {"target": "steps"}}),
}


def go(run: Run, executor: StubExecutor) -> None:
    assert isinstance(run.config, OptimizerConfig)
    evaluation, baseline = run.config.evaluation, None
    if evaluation.judged_by_gain:
        adamw = OptimizerGenome.from_rule(preset("adamw"))
        baseline = dict.fromkeys((*evaluation.tasks, *evaluation.meta_tasks), adamw)
    evolve_rules(run, run.config, Evaluator(run.config, executor, run.store, baseline=baseline))


def whole(folder: Path, settings: OptimizerConfig) -> tuple[str, StubExecutor]:
    executor = StubExecutor()
    with Run.create(folder, settings) as run:
        go(run, executor)
        return run.result_json(), executor


Uninterrupted = Callable[[str], tuple[str, StubExecutor, Path]]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    """The result of each configuration, what was trained for it, and the folder of its run, to be read."""

    @cache
    def result(name: str) -> tuple[str, StubExecutor, Path]:
        folder = tmp_path_factory.mktemp(name) / "run"
        return *whole(folder, CONFIGS[name]), folder

    return result


@pytest.mark.parametrize("name", CONFIGS)
def test_same_configuration_gives_the_same_bytes(
    name: str, uninterrupted: Uninterrupted, tmp_path: Path
) -> None:
    first, *_ = uninterrupted(name)
    second, _ = whole(tmp_path / "b", CONFIGS[name])
    assert first == second
    other, _ = whole(tmp_path / "c", CONFIGS[name].override({"search": {"seed": 8}}))
    assert other != first


def assert_resumes(
    folder: Path,
    settings: OptimizerConfig,
    stop: int,
    expected: str,
    total: int,
    go: Callable[[Run, StubExecutor], None] = go,
) -> None:
    """A run that is stopped before a chunk gives what is expected, and does no chunk twice."""
    with Run.create(folder, settings) as run, pytest.raises(KeyboardInterrupt):
        go(run, StubExecutor(stop_at=stop))
    rest = StubExecutor()
    with Run(folder, writable=True) as run:
        go(run, rest)
        assert run.result_json() == expected
    assert len(rest.chunks) == total - stop, "what was evaluated is never evaluated again"


@pytest.mark.parametrize("name", ["robust", "paper", "judged", "pareto", "steps"])
def test_a_run_interrupted_before_some_chunk_resumes_exactly(
    name: str, uninterrupted: Uninterrupted, tmp_path: Path
) -> None:
    expected, reference, _ = uninterrupted(name)
    total = len(reference.chunks)
    assert total > 4 * GENERATIONS
    for stop in range(0, total, 35 if name in ("pareto", "steps") else 9):
        assert_resumes(tmp_path / f"stopped-{stop}", CONFIGS[name], stop, expected, total)


def test_a_run_stopped_many_times_resumes_exactly(uninterrupted: Uninterrupted, tmp_path: Path) -> None:
    expected, *_ = uninterrupted("robust")
    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run, pytest.raises(KeyboardInterrupt):
        go(run, StubExecutor(stop_at=1))
    for _ in range(200):
        with Run(tmp_path / "run", writable=True) as run:
            try:
                go(run, StubExecutor(stop_at=1))
            except KeyboardInterrupt:
                continue
            assert run.result_json() == expected
            return
    pytest.fail("the run never ended")


def test_settings_of_trainings_reach_every_training(tmp_path: Path) -> None:
    training = {"drop_last": False, "halve_at": 0.5, "descent_filter": True, "batch_size": 7}
    _, executor = whole(tmp_path / "run", config(search={"generations": 1}, evaluation=training))
    assert {
        (chunk.plan.drop_last, chunk.plan.halve_at, chunk.descent_filter, chunk.plan.batch_size)
        for chunk in executor.chunks
    } == {tuple(training.values())}


@pytest.mark.parametrize("fitness", ["validation", "paper"])
def test_workers_load_the_data_that_the_settings_ask_for(
    fitness: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setups = list[WorkerSetup]()
    monkeypatch.setattr(place, "make_executor", lambda kind, factory, setup, **options: setups.append(setup))
    settings = config(
        evaluation={"fitness": fitness, "train_size": 99}, execution={"data_dir": str(tmp_path)}
    )
    make_run_executor(settings)
    data = DataOptions(tmp_path, train_size=99, seed=7)
    if fitness == "paper":  # published: trained on the whole subset, scored on test data
        data = replace(data, validation_fraction=0.0, unseal_test=True)
    assert setups == [WorkerSetup(("digits", "digits_cnn"), data)]


def test_a_search_ends_with_a_comparison_of_its_own_trainings_where_it_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared(*contenders: Any, engines: dict[str, str], memory: Path, quiet: bool) -> None:
        asked[:] = [*contenders[2:], engines]
        raise NoScoreError("enough")

    asked = list[Any]()
    monkeypatch.setattr(closing_comparison, "run_comparison", compared)
    settings = config(search={"generations": 1}, evaluation={"train_size": 99, "batch_size": 7})
    whole(tmp_path / "run", settings)
    with Run(tmp_path / "run") as run:
        moved = settings.override({"execution": {"executor": "process", "workers": 3, "device": "cuda"}})
        assert closing_comparison.short_comparison(run, moved).report is None
    protocol, where, engines = asked
    assert (protocol.steps, protocol.train_size, protocol.batch_size) == (10, 99, 7)
    assert where == Place("process", 3, device="cuda")
    assert engines == {"digits": "sequential", "digits_cnn": "sequential"}


def test_equal_rules_are_trained_once_per_seed(uninterrupted: Uninterrupted) -> None:
    _, executor, _ = uninterrupted("robust")
    trained = Counter(
        (chunk.task, chunk.plan.seed, rule.key) for chunk in executor.chunks for rule in chunk.rules
    )
    assert max(trained.values()) == 1


def test_literal_elites_are_trained_again_every_generation(uninterrupted: Uninterrupted) -> None:
    _, executor, _ = uninterrupted("paper")
    trained = Counter(
        (chunk.task, chunk.plan.seed, rule.key) for chunk in executor.chunks for rule in chunk.rules
    )
    assert max(trained.values()) > 1
    assert {chunk.plan.seed for chunk in executor.chunks} == {0, 1}
    assert {chunk.plan.split for chunk in executor.chunks} == {"test"}


def test_members_of_a_generation_share_their_seeds(uninterrupted: Uninterrupted) -> None:
    _, executor, _ = uninterrupted("robust")
    first = executor.chunks[: 2 * 2 * 3]  # two tasks, two seeds, chunks of 5 + 5 + 2
    seeds = {(chunk.task, chunk.plan.seed) for chunk in first}
    assert len(seeds) == 4
    assert sum(len(chunk.rules) for chunk in first) == 12 * 4


def test_elites_gain_a_fresh_seed_per_generation_they_survive(uninterrupted: Uninterrupted) -> None:
    with Run(uninterrupted("robust")[2]) as run:
        replicates = Counter(
            row.key
            for row in run.store.evaluations()
            if row.task == "digits" and row.replicate < FINAL_REPLICATE
        )
    assert max(replicates.values()) > 3
    assert min(replicates.values()) == 2


def test_the_best_of_a_generation_never_leaves_it_unless_its_average_falls(
    uninterrupted: Uninterrupted,
) -> None:
    with Run(uninterrupted("paper")[2]) as run:
        best = [record["best"] for record in run.generations]
    assert best == sorted(best)  # literal fitness is deterministic, so elitism is monotone


def test_in_regularised_evolution_everybody_dies_of_age_and_the_best_is_remembered(tmp_path: Path) -> None:
    settings = config(search={"survivors": "youngest", "elites": 8, "population": 12, "generations": 8})
    with Run.create(tmp_path / "run", settings) as run:
        go(run, StubExecutor())
        state = run.store.checkpoint()
        assert state is not None
        last = state["scheme"]["generations"]["population"]
        remembered = {row["id"] for row in state["scheme"]["judge"]["hall"]}
        assert min(row["born"] for row in last) == 8 - 1 - 2, "four of twelve are born each time"
        assert remembered - {row["id"] for row in last}
        assert run.winner["id"] in remembered


def test_the_winner_is_named_on_seeds_the_search_never_saw(uninterrupted: Uninterrupted) -> None:
    with Run(uninterrupted("robust")[2]) as run:
        rows = list(run.store.evaluations())
        winner = run.winner
    search_seeds = {row.seed for row in rows if row.replicate < FINAL_REPLICATE}
    final = [row for row in rows if row.replicate >= FINAL_REPLICATE]
    assert search_seeds.isdisjoint(row.seed for row in final)
    assert len(winner["finalists"]) == 5
    scores = [finalist["final"]["score"] for finalist in winner["finalists"]]
    assert scores[0] == max(scores)
    mine = [row.result.metric for row in final if row.key == winner["key"]]
    assert winner["final"]["score"] == pytest.approx(np.mean(mine))
    assert OptimizerGenome.from_json(winner["genome"]).key == winner["key"]


def test_divergence_is_a_rate_and_never_wins(uninterrupted: Uninterrupted) -> None:
    with Run(uninterrupted("robust")[2]) as run:
        records = run.generations
        assert run.store.outcome_counts()["diverged"] > 0
    assert records[0]["outcomes"]["diverged"] > 0
    assert all(record["min"] >= 0 for record in records)  # no -1 averaged in
    assert all(value is not None for value in records[-1]["best_tasks"].values())


def test_one_member_that_kills_its_chunk_is_the_only_one_recorded_as_failed(tmp_path: Path) -> None:
    killer = preset("adamw").key

    def fail(chunk: Any) -> str | None:
        return "worker died (signal 9)" if killer in {rule.key for rule in chunk.rules} else None

    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run:
        go(run, StubExecutor(fail=fail))
        rows = list(run.store.evaluations())
    failed = {row.key for row in rows if row.result.outcome == "failed"}
    assert failed == {killer}
    assert {row.result.reason for row in rows if row.key == killer} == {"worker died (signal 9)"}


def test_a_task_on_which_everything_fails_ends_the_run_and_is_tried_again(
    uninterrupted: Uninterrupted, tmp_path: Path
) -> None:
    with (
        Run.create(tmp_path / "run", CONFIGS["robust"]) as run,
        pytest.raises(EvooptError, match=r"digits_cnn.*shapes do not fit"),
    ):
        go(run, StubExecutor(fail=lambda chunk: "shapes do not fit" if "cnn" in chunk.task else None))
    with Run(tmp_path / "run", writable=True) as run:
        go(run, StubExecutor())
        assert run.result_json() == uninterrupted("robust")[0]


class Diverging(StubExecutor):
    """All trainings on a task diverge from generation ``since`` on."""

    def __init__(self, since: int, task: str) -> None:
        super().__init__()
        self._since, self._task, self._calls = since, task, 0

    def run(self, chunks: Sequence[Any]) -> Iterator[ChunkResult]:
        self._calls += not isinstance(chunks[0], EngineProbe)
        for answer in super().run(chunks):
            chunk, bad = (
                chunks[answer.index],
                TrainingResult.unsuccessful("diverged", "batch loss 60 at step 1"),
            )
            hit = isinstance(chunk, Chunk) and chunk.task == self._task and self._calls > self._since
            yield replace(answer, value=[bad] * len(chunk.rules)) if hit else answer


def test_a_task_on_which_everything_diverges_from_the_start_ends_the_run(
    uninterrupted: Uninterrupted, tmp_path: Path
) -> None:
    message = "on task 'digits_cnn' diverged: batch loss 60 at step 1 is above evaluation.max_loss 50; scale"
    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run:
        with pytest.raises(NoScoreError, match=message):
            go(run, Diverging(0, "digits_cnn"))
        assert (run.generations, run.finished) == ([], False)
        go(run, StubExecutor())
        assert run.result_json() == uninterrupted("robust")[0]


def test_a_generation_in_which_everything_diverges_does_not_end_a_run_that_has_had_scores(
    tmp_path: Path,
) -> None:
    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run:
        go(run, Diverging(1, "digits_cnn"))
        assert run.finished


def test_a_task_whose_metric_leaves_its_range_ends_the_run(tmp_path: Path) -> None:
    class Percent(StubExecutor):
        def run(self, chunks: Sequence[Any]) -> Iterator[ChunkResult]:
            for answer in super().run(chunks):
                results = answer.value if isinstance(chunks[answer.index], Chunk) else None
                values = [replace(one, metric=100 * one.metric) for one in results or ()]
                yield replace(answer, value=values) if results else answer

    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run:
        with pytest.raises(NoScoreError, match=r"must lie in \[0, 1\].* found"):
            go(run, Percent())
        assert {row.task for row in run.store.evaluations()} == {"digits_cnn"}


def test_noise_fitness_trains_nothing(uninterrupted: Uninterrupted) -> None:
    _, executor, _ = uninterrupted("noise")
    assert executor.chunks == []


def test_lineage_reaches_the_first_generation(uninterrupted: Uninterrupted) -> None:
    with Run(uninterrupted("robust")[2]) as run:
        last = max(record["best_id"] for record in run.generations)
        ancestors = run.lineage(last)
    assert ancestors[0].id == last
    assert ancestors[-1].born == 0
    assert all(parent < ind.id for ind in ancestors for parent in ind.parents)
