"""Controls: ablations take away one thing at a time, searches cost the same, luck is measured."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import evoopt
from evoopt.compare import Place, Protocol, compare, load_comparison
from evoopt.compare.contender import OWN, RuleSubject, rule_contender
from evoopt.compare.contender_jobs import ContenderChunk
from evoopt.compare.controls import (
    _luck,
    ablations,
    adam_with_schedule_of,
    best_of_n,
    control_search,
    random_search_config,
)
from evoopt.compare.sources import contender
from evoopt.compare.statistics import paired_difference
from evoopt.errors import EvooptError
from evoopt.execution import place
from evoopt.optim import PRESETS, preset
from evoopt.runs.run import Run
from evoopt.systems.optimizer.closing_comparison import short_comparison, short_protocol
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.training.plan import TrainingResult
from tests.compare.stubs import FormulaExecutor, formula_result

SEARCH: dict[str, dict[str, Any]] = {
    "search": {
        "population": 4,
        "generations": 2,
        "elites": 1,
        "finalists": 1,
        "final_replicates": 2,
        "compare": False,
    },
    "evaluation": {"tasks": ["digits"], "steps": 6, "replicates": 1, "engine": "sequential"},
    "execution": {"executor": "serial"},
}
TINY = Protocol(("digits",), steps=6, trials=9, tuning_seeds=1, seeds=3, engine="sequential")
SERIAL = Place("serial")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search") / "mine"
    evoopt.search(OptimizerConfig().override(SEARCH), out=folder).close()
    return folder


def test_ablations_of_the_published_genome_miss_one_part_each() -> None:
    whole = PRESETS["marfinetz2025"].canonical()
    found = {c.name.removeprefix("marfinetz2025 "): c for c in ablations(contender("marfinetz2025"))}
    assert set(found) == {
        "without sign_grad", "without adam", "without first moment", "without second moment",
        "without schedule", "without decay", "adam with schedule of marfinetz2025",
    }  # fmt: skip
    rules = {name: c.subject.rule for name, c in found.items() if isinstance(c.subject, RuleSubject)}
    assert dict(rules["without sign_grad"].terms) == {"adam": dict(whole.terms)["adam"]}
    assert set(found["without adam"].space.ranges) == {"weight_decay"}  # no moments are left to tune
    assert found["without schedule"].schedules_for(500) == ("constant",)
    assert rules["without decay"].weight_decay == 0
    assert "weight_decay" not in found["without decay"].space.ranges
    assert all(
        c.saw_test == contender("marfinetz2025").saw_test for c in ablations(contender("marfinetz2025"))[:3]
    )


def test_ablations_of_a_rule_with_stages_miss_one_stage_each() -> None:
    rule = replace(preset("muon"), normalize_first=True, use_v=True, mask="cautious", clip_norm=1.0)
    found = {c.name.removeprefix("x without "): c for c in ablations(rule_contender("x", rule))}
    rules = {name: c.subject.rule for name, c in found.items() if isinstance(c.subject, RuleSubject)}
    changes = {
        "look-ahead": {"terms": (("momentum", 1.0),)},
        "first moment": {"use_m": False},
        "second moment": {"use_v": False},
        "clip_norm": {"clip_norm": None},
        "normalize_first": {"normalize_first": False},
        "mask": {"mask": "none"},
        "shape": {"shape": "none"},
        "scale": {"scale": "none"},
        "others": {"others": "rule"},
    }
    for part, change in changes.items():
        assert rules[part] == replace(rule, **change).canonical(), part
    assert set(found) - changes.keys() <= {"schedule", "decay", "adam with schedule of x"}
    assert "beta2" not in found["normalize_first"].space.ranges  # no second moment is left to tune


def test_adam_is_given_exactly_the_schedule_of_the_rule() -> None:
    adam = adam_with_schedule_of(contender("marfinetz2025"))
    assert adam.schedules_for(500) == (OWN,)
    assert isinstance(adam.subject, RuleSubject)
    assert (adam.subject.rule.warmup_steps, adam.subject.rule.cosine) == (100, True)
    assert adam.subject.rule.terms == PRESETS["adam"].terms


def test_a_schedule_in_fractions_is_taken_apart_too() -> None:
    rule = replace(preset("sgd"), warmup_fraction=0.1, decay_shape="power", decay_start=0.5, decay_power=2.0)
    found = {c.name: c for c in ablations(rule_contender("x", rule))}
    bare, adam = found["x without schedule"], found["adam with schedule of x"]
    assert isinstance(bare.subject, RuleSubject)
    assert isinstance(adam.subject, RuleSubject)
    assert bare.subject.rule == preset("sgd").canonical()
    assert bare.schedules_for(500) == ("constant",)
    for step in (0, 30, 60, 99):
        assert adam.subject.rule.factor(step, 100) == rule.factor(step, 100)


def test_a_random_search_costs_what_the_search_cost(run_folder: Path) -> None:
    with Run(run_folder) as run:
        config = random_search_config(run)
        trained = sum(row.generation < 2 for row in run.store.evaluations())
    assert config.search.generations == 1
    assert config.search.population == trained
    assert config.evaluation == OptimizerConfig().override(SEARCH).evaluation


def test_the_noise_control_differs_in_its_fitness_alone(run_folder: Path) -> None:
    with Run(run_folder) as run:
        noise = run.config.noise()
        assert noise.evaluation.fitness == "noise"
        assert noise.override({"evaluation": {"fitness": "validation"}}) == run.config


def test_controls_take_part_in_a_comparison(run_folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"baselines": ["adam"], "protocol": TINY, "place": SERIAL, "out": tmp_path}
    controls = ["random_search", "tuned_start", "noise", "best_of_n"]
    report = compare([run_folder], controls=controls, **options)
    searched = ["random search of mine", "tuned start of mine", "noise of mine"]
    assert report.comparison.names == ["mine", "adam", *searched]
    assert report.comparison.participants[0].searched_here == ("digits",)
    sentences = report.verdict.splitlines()
    assert [line.split(":")[0] for line in sentences[:4]] == ["mine", *searched]
    pairs = {
        name: paired_difference(*(report.comparison.scores["digits"][n].metric for n in ("mine", name)))
        for name in searched[:2]
    }
    unbeaten = [name for name, pair in pairs.items() if not pair.low > 0]
    assert [line.split(":")[0] for line in sentences[4:]] == [
        f"mine does not beat {name}" for name in unbeaten
    ]
    assert "the luckiest training of adam" in report.text
    with Run(tmp_path / "controls" / "random-search-of-mine") as control:
        assert control.finished


def test_a_control_whose_search_has_changed_since_is_refused(run_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run_folder, tmp_path / "control")
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("elites = 1", "elites = 0"))
    with pytest.raises(EvooptError, match=r"this has changed: search\.elites 1 -> 0"):
        control_search(OptimizerConfig().override(SEARCH), folder)


def test_a_search_ends_with_a_sentence_kept_in_its_folder(run_folder: Path) -> None:
    with Run(run_folder) as run:
        short = short_comparison(run)
    assert short.sentence.startswith("mine: ")
    assert "tuned adam" in short.sentence
    assert short.report is not None
    found = load_comparison(run_folder)
    assert found.names == ["mine", "adam"]
    assert found.protocol["steps"] == 6


def test_the_closing_comparison_keeps_the_engines_of_the_search_and_runs_where_it_is_told_to(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, places = FormulaExecutor(), []

    def make_executor(kind: str, *_: Any, workers: int, **__: Any) -> FormulaExecutor:
        places.append((kind, workers))
        return executor

    monkeypatch.setattr(place, "make_executor", make_executor)
    told = (
        OptimizerConfig()
        .override(SEARCH)
        .override({"evaluation": {"engine": "auto"}, "execution": {"executor": "process", "workers": 3}})
    )
    with Run(shutil.copytree(run_folder, tmp_path / "mine"), writable=True) as run:
        run.store.save_engines({"digits": "batched"})
        short_comparison(run, told)
    assert {job.engine for job in executor.jobs} == {"batched"}
    assert places == [("process", 3)]


def test_a_closing_comparison_that_is_interrupted_goes_on_with_the_trainings_it_has(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executors: list[FormulaExecutor] = []
    monkeypatch.setattr(place, "make_executor", lambda *_, **__: executors[-1])

    def compared(folder: Path, stop_at: int | None = None) -> bytes:
        executors.append(FormulaExecutor(stop_at=stop_at))
        with Run(folder) as run:
            short_comparison(run)
        assert not [path.name for path in folder.iterdir() if "trainings" in path.name]
        return (folder / "comparison.json").read_bytes()

    whole = compared(shutil.copytree(run_folder, tmp_path / "whole" / "mine"))
    cut = shutil.copytree(run_folder, tmp_path / "cut" / "mine")
    jobs = len(executors[0].jobs)
    with pytest.raises(KeyboardInterrupt):
        compared(cut, stop_at=jobs - 1)
    assert compared(cut) == whole
    assert len(executors[-1].jobs) == 1


def test_a_search_stands_where_tuned_adam_has_no_score(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(member: Any, job: ContenderChunk) -> TrainingResult:
        return TrainingResult.unsuccessful("diverged", "batch loss nan at step 1")

    monkeypatch.setattr(place, "make_executor", lambda *a, **k: FormulaExecutor(diverged))
    with Run(run_folder) as run:
        short = short_comparison(run)
    assert short.report is None
    assert short.sentence.startswith("not compared with tuned Adam: every training of adam on task 'digits'")


def test_a_search_scored_on_test_data_is_not_compared_there(tmp_path: Path) -> None:
    config = (
        OptimizerConfig()
        .override(SEARCH)
        .override({"evaluation": {"fitness": "paper"}, "search": {"finalists": 0}})
    )
    with evoopt.search(config, out=tmp_path / "run") as run:
        short = short_comparison(run)
        assert short.report is None
        assert "scored on test data" in short.sentence
        assert not (run.folder / "comparison.json").exists()
    with pytest.raises(EvooptError, match="selected by its score on the test data of digits"):
        compare([tmp_path / "run"], baselines=["adam"], protocol=TINY, place=SERIAL)


def test_the_short_protocol_trains_as_the_search_did() -> None:
    config = OptimizerConfig().override(
        {
            "evaluation": {
                "steps": 77,
                "tasks": ["digits", "digits_cnn"],
                "train_size": 300,
                "batch_size": 16,
                "max_loss": 1e4,
            }
        }
    )
    protocol = short_protocol(config)
    assert (protocol.steps, protocol.tasks, protocol.batch_size) == (77, ("digits", "digits_cnn"), 16)
    assert (protocol.max_loss, protocol.train_size) == (1e4, 300)


def test_the_luckiest_training_is_chosen_on_validation_data_and_its_own_test_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opposite(member: Any, job: ContenderChunk) -> TrainingResult:
        result = formula_result(member, job)
        return replace(result, metric=1 - result.metric) if job.plan.split == "test" else result

    monkeypatch.setattr(place, "make_executor", lambda *a, **k: FormulaExecutor(opposite))
    comparison = compare(["lion"], baselines=["adam"], protocol=TINY, place=SERIAL).comparison
    luck = best_of_n(comparison, contender("adam"), TINY, 5, SERIAL)["digits"]
    assert (luck["n"], luck["diverged"]) == (5, 0)
    assert luck["validation_best"] > luck["validation_mean"] > 0.5
    assert luck["test_of_best"] == pytest.approx(1 - luck["validation_best"])
    assert luck["test_mean"] == pytest.approx(1 - luck["validation_mean"])


def test_of_seeds_that_validate_equally_well_the_first_counts_whatever_its_test() -> None:
    luck = _luck([(0.9, 0.80), (0.9, 0.95), (0.85, 0.9)], 4)
    assert (luck["test_of_best"], luck["diverged"]) == (0.80, 1)
