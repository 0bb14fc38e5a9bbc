"""The funnel after the final: who still gains in longer trainings and on larger tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evoopt import api
from evoopt.errors import EvooptError, NoScoreError
from evoopt.export import load_rule
from evoopt.jobs.records import FINAL_REPLICATE, FUNNEL_REPEAT, FUNNEL_REPLICATE
from evoopt.optim import UpdateRule, preset
from evoopt.report.writing import make_page
from evoopt.runs import Run
from evoopt.runs.experiment import refuse_changes
from evoopt.systems.optimizer.baseline import BASELINE_SEEDS, tuned_baseline, tuning_trainings
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.evaluator import Evaluator
from evoopt.systems.optimizer.judging_settings import FunnelLevel
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.optimizer_search import evolve_rules
from evoopt.systems.optimizer.text import describe_result, describe_run
from evoopt.training.plan import TrainingResult
from tests import stubs
from tests.stubs import StubExecutor, stub_result
from tests.systems.optimizer.test_optimizer_search import JUDGED, assert_resumes, config, whole

ADAMW = OptimizerGenome.from_rule(preset("adamw"))
FUNNEL = JUDGED.override(
    {
        "search": {"funnel": ["longer", "larger"], "finalists": 3, "final_replicates": 3},
        "evaluation": {"funnel_tasks": ["letter"]},
    }
)
Baselines = Mapping[str, OptimizerGenome]


def beaten(level: FunnelLevel) -> Baselines:
    """A baseline that everybody gains over: its rate is far too low."""
    worse = OptimizerGenome(ADAMW.terms, ADAMW.weights, lr_log10=-8.0)
    return dict.fromkeys(level.tasks, worse)


UNBEATEN = OptimizerGenome(("adam", "lion"), (1.0, 0.125), lr_log10=-3.0)


def unbeaten(level: FunnelLevel) -> Baselines:
    """One that nobody gains over on larger tasks."""
    return dict.fromkeys(level.tasks, UNBEATEN) if level.name == "larger" else beaten(level)


def go(run: Run, executor: StubExecutor, tune: Callable[[FunnelLevel], Baselines] = beaten) -> None:
    assert isinstance(run.config, OptimizerConfig)
    baseline = dict.fromkeys(run.config.judged_tasks, ADAMW)
    evaluator = Evaluator(run.config, executor, run.store, baseline=baseline)
    evolve_rules(run, run.config, evaluator, tune=tune)


def finished(
    folder: Path, tune: Callable[[FunnelLevel], Baselines] = beaten, settings: OptimizerConfig = FUNNEL
) -> tuple[str, StubExecutor]:
    executor = StubExecutor()
    with Run.create(folder, settings) as run:
        go(run, executor, tune)
        return run.result_json(), executor


def test_levels_are_longer_and_then_larger() -> None:
    levels = [(level.name, level.tasks, level.steps) for level in FUNNEL.funnel_levels]
    assert levels == [("longer", ("wine",), 40), ("larger", ("letter",), 40)]
    no_tasks = FUNNEL.override({"evaluation": {"funnel_tasks": [], "funnel_factor": 3}})
    assert [(x.tasks, x.steps) for x in no_tasks.funnel_levels] == [(("wine",), 30), (("wine",), 90)]
    assert FUNNEL.every_task == ("digits", "digits_cnn", "wine", "letter")
    assert JUDGED.funnel_levels == ()


def test_finalists_meet_seeds_of_their_own_at_the_length_of_the_level(tmp_path: Path) -> None:
    finished(tmp_path / "run")
    with Run(tmp_path / "run") as run:
        rows = [row for row in run.store.evaluations() if row.replicate >= FUNNEL_REPLICATE]
        longer = [row for row in run.store.evaluations() if row.repeat >= FUNNEL_REPEAT]
        assert longer == rows
        assert {row.task for row in rows} == {"wine", "letter"}
        assert {FUNNEL.evaluation.steps_at(row.repeat) for row in rows} == {40}
        levels = {
            row.generation: {r.replicate for r in rows if r.generation == row.generation} for row in rows
        }
        assert sorted(levels) == [4, 5], "the final is generation 3"
        assert not levels[4] & levels[5]
        finals = [
            row for row in run.store.evaluations() if FINAL_REPLICATE <= row.replicate < FUNNEL_REPLICATE
        ]
        assert {row.generation for row in finals} == {3}


def test_the_winner_is_the_best_of_those_that_still_gain(tmp_path: Path) -> None:
    finished(tmp_path / "run")
    with Run(tmp_path / "run") as run:
        winner, shown, page = run.winner, describe_run(run), make_page(run)
    longer, larger = winner["funnel"]
    assert (longer["name"], longer["steps"], longer["tasks"]) == ("longer", 40, ["wine"])
    assert sorted(map(int, larger["gains"])) == sorted(longer["kept"]), "who is out is tried no further"
    gains = {int(number): found["gain"] for number, found in larger["gains"].items()}
    assert larger["kept"] == sorted((k for k in gains if gains[k] > 0), key=lambda k: -gains[k])
    assert winner["id"] == larger["kept"][0]
    assert "lost" not in winner
    said = f"funnel   larger: {len(larger['kept'])} of {len(gains)} gain (40 steps on letter)"
    assert said in shown
    titles = [getattr(block, "title", "") for section in page.sections for block in section.blocks]
    assert "The funnel" in titles


def test_if_nobody_still_gains_one_sentence_says_so_and_the_best_of_the_final_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def best(rule: UpdateRule, seed: int) -> TrainingResult:
        result = stub_result(rule, seed)
        return replace(result, metric=0.99) if rule.key == UNBEATEN.key else result

    monkeypatch.setattr(stubs, "stub_result", best)
    finished(tmp_path / "run", unbeaten)
    whole(tmp_path / "plain", JUDGED.override({"search": {"finalists": 3, "final_replicates": 3}}))
    with Run(tmp_path / "run") as run, Run(tmp_path / "plain") as plain:
        winner, text, page = run.winner, describe_result(run), make_page(run)
        assert {k: v for k, v in winner.items() if k not in ("funnel", "lost")} == plain.winner
    assert winner["funnel"][-1]["kept"] == []
    lost = (
        "Nobody came through the funnel: on larger tasks (40 steps on letter) no finalist gains over the "
        "tuned adamw; this is the best of the final all the same."
    )
    assert winner["lost"] == lost
    assert f"verdict  {lost}" in text
    assert lost in [getattr(block, "text", "") for section in page.sections for block in section.blocks]
    assert load_rule(tmp_path / "run")[1].comparison == lost
    worse = {"final": {"unfinished_rate": 0.0, "score": -9.0}, "search_fitness": 0.0}
    assert api._final(winner) < api._final(worse), "of restarts, one with a winner that came through is first"


def test_a_run_interrupted_in_its_final_or_funnel_resumes_exactly(tmp_path: Path) -> None:
    expected, reference = finished(tmp_path / "whole")
    total = len(reference.chunks)
    steps = [chunk.plan.steps for chunk in reference.chunks]
    first = steps.index(40)
    assert total - first > 6
    for stop in (first - 2, *range(first, total, 3)):
        assert_resumes(tmp_path / f"stopped-{stop}", FUNNEL, stop, expected, total, go)


def test_the_baseline_is_tuned_anew_for_every_level_and_kept(tmp_path: Path) -> None:
    settings = FUNNEL.override({"evaluation": {"baseline_trials": 6, "batch_size": 7}})
    executor = StubExecutor()
    with Run.create(tmp_path / "run", settings) as run:
        level = settings.funnel_levels[0]
        first = tuned_baseline(run, settings, executor, level=level)
        assert {(chunk.plan.steps, chunk.plan.batch_size) for chunk in executor.chunks} == {(40, 7)}
        count = len(executor.chunks)
        assert tuned_baseline(run, settings, executor, level=level) == first
        assert len(executor.chunks) == count
        assert list(run.store.meta("baseline-longer")) == ["wine"]
        assert run.store.meta("baseline") is None
        assert run.store.engines() == {"wine": "sequential"}
    with Run.create(tmp_path / "stopped", settings) as run:
        with pytest.raises(KeyboardInterrupt):
            tuned_baseline(run, settings, StubExecutor(stop_at=3), level=level)
        rest = StubExecutor()
        assert tuned_baseline(run, settings, rest, level=level) == first
        assert len(rest.chunks) == count - 3, "what was trained is never trained again"
    assert tuning_trainings(settings) == (3 + 1 + 1) * (6 + 4 * 2) * 2


def test_a_task_that_changes_while_a_baseline_is_tuned_has_all_of_its_trials_done_anew(
    tmp_path: Path,
) -> None:
    task, executors = tmp_path / "mine.py", [StubExecutor(stop_at=3), StubExecutor(), StubExecutor()]
    settings = FUNNEL.override({"evaluation": {"baseline_trials": 6}}).with_tasks((f"{task}:make",))
    task.write_text("NAME = 'wine'")
    with Run.create(tmp_path / "run", settings) as run:
        with pytest.raises(KeyboardInterrupt):
            tuned_baseline(run, settings, executors[0])
        assert not run.store.begun
        task.write_text("NAME = 'yeast'")
        tuned_baseline(run, settings, executors[1])
        assert run.store.begun, "all rests on it from now on"
    with Run.create(tmp_path / "whole", settings) as run:
        tuned_baseline(run, settings, executors[2])
    assert len(executors[1].chunks) == len(executors[2].chunks)


def test_a_funnel_that_changes_while_it_is_passed_has_its_baselines_tuned_anew(tmp_path: Path) -> None:
    settings, executor = FUNNEL.override({"evaluation": {"baseline_trials": 6}}), StubExecutor()
    with Run.create(tmp_path / "run", settings) as run:
        run.store.set_meta("baseline", {})
        run.store.keep_chunk("key", [1])
        tuned_baseline(run, settings, executor, level=settings.funnel_levels[1])
    changed = settings.override({"evaluation": {"funnel_tasks": ["yeast"]}})
    (tmp_path / "run" / "config.toml").write_text(changed.to_toml())
    with Run(tmp_path / "run", writable=True) as run:
        refuse_changes(run, allowed=True)
        assert list(tuned_baseline(run, changed, executor, level=changed.funnel_levels[1])) == ["yeast"]
        assert run.store.meta("baseline") == {}


@pytest.mark.parametrize("look", ["second", "either"])
def test_a_baseline_may_lose_seeds_but_not_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """Whoever diverges throughout the second look still has the scores of the first."""
    first = set[int]()

    def result(rule: UpdateRule, seed: int) -> TrainingResult:
        if look == "second" and len(first | {seed}) <= BASELINE_SEEDS * len(FUNNEL.judged_tasks):
            first.add(seed)
            return stub_result(rule, seed)
        return TrainingResult.unsuccessful("diverged", "loss is nan")

    monkeypatch.setattr(stubs, "stub_result", result)
    with Run.create(tmp_path / "run", FUNNEL) as run:
        if look == "either":
            with pytest.raises(NoScoreError, match="diverged"):
                tuned_baseline(run, FUNNEL, StubExecutor())
        else:
            assert set(tuned_baseline(run, FUNNEL, StubExecutor())) == set(FUNNEL.judged_tasks)
            assert all(0 < entry["metric"] < 1 for entry in run.store.meta("baseline").values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"search": {"funnel": ["longer"]}}, "a baseline that they gain over"),
        ({"search": {"funnel": ["longer"], "finalists": 0}, "evaluation": {"fitness": "gain"}}, "above 0"),
        ({"search": {"funnel": ["wider"]}}, "'longer' or 'larger'"),
    ],
)
def test_a_funnel_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(EvooptError, match=words) as caught:
        config(**changes)
    assert "\n" not in str(caught.value)


def test_the_control_without_information_has_no_funnel() -> None:
    assert FUNNEL.noise().search.funnel == ()
