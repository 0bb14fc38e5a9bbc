"""Whole comparisons: equal effort, sealed data, resumption, the same result anywhere, and what is written."""

from __future__ import annotations

import csv
import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evoopt.compare import Place, Protocol, command, compare, load_comparison
from evoopt.compare.comparison import EACH_TUNED, run_comparison
from evoopt.compare.contender import OWN, Contender
from evoopt.compare.contender_jobs import ContenderChunk, CostProbe
from evoopt.compare.plots import PICTURES
from evoopt.compare.result import Comparison
from evoopt.compare.sources import contender
from evoopt.compare.training_queue import Training, TrainingQueue
from evoopt.compare.tuner import tune
from evoopt.errors import EvooptError, NoScoreError, SealedTestError
from evoopt.execution import place
from evoopt.jobs.rule_worker import Chunk, WorkerSetup, make_worker
from evoopt.optim import PRESETS, EvolvedOptimizer, UpdateRule, preset
from evoopt.tasks import DataOptions, SealedSplit, get_task, load_task_data
from evoopt.training.plan import TrainingPlan, TrainingResult
from tests.compare.stubs import FormulaExecutor, formula_result, preset_contender

TINY = Protocol(("digits",), steps=12, trials=8, tuning_seeds=2, seeds=3, engine="sequential", chunk_size=4)
SERIAL = Place("serial")


@pytest.fixture
def formula(monkeypatch: pytest.MonkeyPatch) -> FormulaExecutor:
    executor = FormulaExecutor()
    monkeypatch.setattr(place, "make_executor", lambda *a, **k: executor)
    return executor


@pytest.fixture
def unillustrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture is drawn."""
    monkeypatch.setattr(command, "save_figures", lambda *_: None)


def test_everyone_gets_the_same_trials_seeds_and_schedules(formula: FormulaExecutor) -> None:
    protocol = replace(TINY, trials=20)
    report = compare(["marfinetz2025"], baselines=["adam", "nadam", "lion"], protocol=protocol, place=SERIAL)
    tuned = report.comparison.tuning["digits"]
    assert {t.trials for t in tuned.values()} == {20}
    trainings = Counter((job.plan.split, job.plan.seed) for job in formula.jobs for _ in job.members)
    first, again = protocol.tuning_seeds_of("digits"), protocol.tuning_seeds_of("digits", again=True)
    assert len(again) == 2 * len(first)
    expected = {("validation", seed): 4 * 20 for seed in first} | {("validation", s): 4 * 4 for s in again}
    assert trainings == expected | {("test", seed): 4 for seed in protocol.final_seeds_of("digits")}
    seeds = {split: {s for own, s in trainings if own == split} for split in ("validation", "test")}
    assert not seeds["validation"] & seeds["test"]
    assert len(seeds["test"]) == 3


def test_every_final_seed_may_have_a_tuning_of_its_own(formula: FormulaExecutor) -> None:
    protocol = replace(TINY, trials=20, tune_each_seed=True)
    report = compare(["lion"], baselines=["adamw"], protocol=protocol, place=SERIAL)
    final = [(job.plan.seed, m) for job in formula.jobs if job.plan.split == "test" for m in job.members]
    assert len(final) == 2 * protocol.seeds
    assert len({member.lr for _, member in final if "lion" not in dict(member.terms)}) > 1
    validation = Counter(
        job.plan.seed for job in formula.jobs if job.plan.split == "validation" for _ in job.members
    )
    assert sum(validation.values()) == 2 * protocol.tuning_trainings == 2 * 3 * (20 * 2 + 4 * 4)
    assert not {seed for seed, _ in final} & set(validation)
    assert EACH_TUNED in report.comparison.notes


@pytest.mark.parametrize(
    ("best_lr", "trials", "tuned", "lack"),
    [
        (1e-6, 8, (2, True), "the best learning rate is still the outermost tried"),
        (3e-3, 8, (0, False), "nothing but the learning rate was tuned"),
        (1e-6, 20, (6, False), ""),
    ],
)
def test_who_was_short_of_trials_is_told(
    best_lr: float, trials: int, tuned: tuple[int, bool], lack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = FormulaExecutor(partial(formula_result, best_lr=best_lr))
    monkeypatch.setattr(place, "make_executor", lambda *a, **k: executor)
    protocol = replace(TINY, trials=trials)
    found = compare(["lion"], baselines=["adam"], protocol=protocol, place=SERIAL).comparison
    adam = found.tuning["digits"]["adam"]
    assert (adam.extensions, adam.at_edge) == tuned
    told = [f"{name} on digits: {lack}; give it more --trials" for name in ("lion", "adam") if lack]
    assert list(found.notes) == told


def test_rules_are_trained_together_and_classes_alone(formula: FormulaExecutor) -> None:
    compare(["lion"], baselines=["adam", "nadam"], protocol=TINY, place=SERIAL)
    sizes = Counter(len(job.members) for job in formula.jobs)
    assert max(sizes) == TINY.chunk_size
    assert all(len(job.members) == 1 for job in formula.jobs if not hasattr(job.members[0], "terms"))


def test_adam_against_adam_is_exactly_equal(formula: FormulaExecutor) -> None:
    report = compare(["adam"], baselines=["adam"], protocol=replace(TINY, seeds=10), place=SERIAL)
    assert report.comparison.names == ["adam #2", "adam"]
    row = report.analysis.row("digits", "adam #2")
    assert row.difference is not None
    assert (row.difference.mean, row.p_adjusted) == (0.0, 1.0)
    assert "no detectable difference from tuned adam" in report.verdict


def test_a_contender_that_diverges_is_told_and_never_called_better(monkeypatch: pytest.MonkeyPatch) -> None:
    def result(member: Any, job: ContenderChunk) -> TrainingResult:
        if "lion" in dict(member.terms) and job.plan.split == "test":
            return TrainingResult.unsuccessful("diverged", "loss is nan")
        return formula_result(member, job)

    monkeypatch.setattr(place, "make_executor", lambda *a, **k: FormulaExecutor(result))
    report = compare(["lion"], baselines=["adam"], protocol=replace(TINY, seeds=8), place=SERIAL)
    assert report.analysis.row("digits", "lion").finding == "worse"
    assert (
        "worse than tuned adam on digits (it diverged); trainings that diverged: 100% on digits"
        in report.verdict
    )


@pytest.mark.parametrize(
    ("contender_", "outcome", "reason", "message"),
    [
        (
            "adam",
            "diverged",
            "batch loss 3e4 at step 1",
            "of adam on task 'digits' diverged.* above max_loss 50;",
        ),
        ("lion", "failed", "TypeError: no such argument", "of lion on task 'digits' failed: TypeError"),
        ("lion", "diverged", "batch loss nan at step 1", None),
    ],
)
def test_a_comparison_without_a_reference_or_with_a_broken_contender_stops(
    contender_: str, outcome: Any, reason: str, message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def result(member: Any, job: ContenderChunk) -> TrainingResult:
        if contender_ in dict(member.terms):
            return TrainingResult.unsuccessful(outcome, reason)
        return formula_result(member, job)

    monkeypatch.setattr(place, "make_executor", lambda *a, **k: FormulaExecutor(result))
    with pytest.raises(NoScoreError, match=message) if message else nullcontext():
        compare(["lion"], baselines=["adam"], protocol=TINY, place=SERIAL)


def test_the_limit_of_the_loss_reaches_every_training_and_is_told_unless_it_is_the_usual(
    formula: FormulaExecutor,
) -> None:
    report = compare(["lion"], baselines=["adam"], protocol=replace(TINY, max_loss=7.0), place=SERIAL)
    assert {job.plan.max_loss for job in formula.jobs} == {7.0}
    assert report.comparison.protocol["max_loss"] == 7.0
    assert "max_loss" not in TINY.to_json()


@pytest.mark.usefixtures("unillustrated")
def test_trainings_on_a_task_whose_file_has_changed_are_done_anew(
    formula: FormulaExecutor, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    done = []
    for text in ("", "", "# another thought"):
        file.write_text(f"from evoopt.tasks import TASKS\ndef make(): return TASKS['digits']\n{text}")
        protocol = replace(TINY, tasks=(f"{file}:make",))
        before = len(formula.jobs)
        compare(["lion"], baselines=["adam"], protocol=protocol, place=SERIAL, out=tmp_path / "out")
        done.append(len(formula.jobs) - before)
    assert done[0] == done[2] > 0 == done[1]


def test_a_run_holds_no_comparison_but_that_of_its_winner(tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    with pytest.raises(EvooptError, match="is a run, and its winner is not the first candidate"):
        compare(["lion"], baselines=["adam"], protocol=TINY, place=SERIAL, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_tuning_never_opens_the_test_data(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = SealedSplit.open
    monkeypatch.setattr(SealedSplit, "open", lambda self: opened.append(self) or original(self))
    with SERIAL.start(make_worker, WorkerSetup(TINY.tasks, TINY.data_options())) as executor:
        tune([contender("adam")], TINY, TrainingQueue(executor, "sequential"))
        assert not opened
        sealed = TrainingPlan(1, 0, 0, split="test")
        TrainingQueue(executor, "sequential").train([Training("digits", PRESETS["adam"], sealed)])
    assert len(opened) == 1


def test_a_search_worker_cannot_score_on_test_data() -> None:
    worker = make_worker(WorkerSetup(("digits",), TINY.data_options()))
    with pytest.raises(SealedTestError):
        worker(Chunk("digits", (PRESETS["adam"],), TrainingPlan(1, 0, 32, split="test"), "sequential"))


def contents(report: Any) -> dict[str, Any]:
    data = report.comparison.to_json()
    for by_name in data["scores"].values():
        for own in by_name.values():
            own.pop("step_us")  # the only thing that depends on the machine's load
    return data


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("adam", preset("adam")),
        ("muon", preset("muon")),
        ("mean", replace(preset("adamw"), readout="mean", decay_shape="sqrt")),
    ],
)
def test_timed_is_the_class_that_a_person_takes_away(
    name: str, rule: UpdateRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EvolvedOptimizer, "step", lambda self: pytest.fail("timed the interpreter"))
    task = get_task("digits")
    (cost,) = CostProbe("digits", (rule.canonical(),)).work(task, load_task_data(task, DataOptions()), "cpu")
    hidden, others = 64 * 32, 32 + 32 * 10 + 10
    kept = {"adam": 2 * (hidden + others), "muon": hidden + 2 * others, "mean": 3 * (hidden + others)}
    assert cost.state_bytes == 4 * (kept[name] + 4)  # and a count of steps for each of four tensors


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    out = tmp_path_factory.mktemp("comparison")
    return compare(
        ["marfinetz2025"],
        baselines=["adam", "nadam"],
        protocol=replace(TINY, trials=9),
        place=SERIAL,
        out=out,
    ), out


def test_a_pool_gives_the_same_result_as_one_process(real: tuple[Any, Path]) -> None:
    pool = Place("process", workers=2)
    other = compare(
        ["marfinetz2025"], baselines=["adam", "nadam"], protocol=replace(TINY, trials=9), place=pool
    )
    assert contents(other) == contents(real[0])


def test_everything_is_written_and_read_back(real: tuple[Any, Path]) -> None:
    report, out = real
    assert load_comparison(out).to_json() == report.comparison.to_json()
    written = json.loads((out / "comparison.json").read_text())
    assert written["verdict"] == report.verdict.splitlines()
    assert len(written["analysis"]["rows"]) == 3
    rows = list(csv.DictReader((out / "comparison.csv").open()))
    assert [row["name"] for row in rows] == ["marfinetz2025", "adam", "nadam"]
    assert float(rows[0]["mean"]) == report.analysis.rows[0].mean
    assert len(list(csv.DictReader((out / "scores.csv").open()))) == 9
    for name in PICTURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for part in ("digits", "best settings", "overall", "verdict  marfinetz2025: "):
        assert part in report.text


@pytest.mark.usefixtures("unillustrated")
@pytest.mark.parametrize("stop_at", [0, 3, 9])
def test_an_interrupted_comparison_goes_on_where_it_stopped(
    stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt(executor: FormulaExecutor, out: Path) -> Any:
        monkeypatch.setattr(place, "make_executor", lambda *a, **k: executor)
        return compare(["lion"], baselines=["adam"], protocol=TINY, place=SERIAL, out=out)

    whole = FormulaExecutor()
    expected = attempt(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        attempt(FormulaExecutor(stop_at=stop_at), tmp_path / "parts")
    rest = FormulaExecutor()
    assert contents(attempt(rest, tmp_path / "parts")) == contents(expected)
    assert len(rest.jobs) == len(whole.jobs) - stop_at


def test_after_an_interruption_failures_are_tried_again_in_the_same_company(tmp_path: Path) -> None:
    def fail_once(member: Any, job: ContenderChunk) -> TrainingResult:
        failing = member.lr == 0.0025 and not (tmp_path / "mended").exists()
        return TrainingResult.unsuccessful("failed", "no memory") if failing else formula_result(member, job)

    rules = [replace(PRESETS["adam"], lr=0.0005 * k) for k in range(1, 11)]
    wanted = [Training("digits", rule, TrainingPlan(5, 0, 32)) for rule in rules]

    def attempt(**options: Any) -> list[tuple[UpdateRule, ...]]:
        executor = FormulaExecutor(fail_once, **options)
        with nullcontext() if not options else pytest.raises(KeyboardInterrupt):
            TrainingQueue(executor, "sequential", 4, tmp_path / "trainings.jsonl").train(wanted)
        return [job.members for job in executor.jobs]

    assert attempt(stop_at=2) == [tuple(rules[8:]), tuple(rules[4:8])]
    (tmp_path / "mended").touch()
    assert attempt() == [tuple(rules[4:8]), tuple(rules[:4])]
    assert attempt() == []


def test_a_training_is_not_remembered_for_another_budget_or_rounding(
    tmp_path: Path, formula: FormulaExecutor
) -> None:
    counts = []
    for protocol, threads in ((TINY, 1), (TINY, 1), (replace(TINY, steps=13), 1), (TINY, 2), (TINY, 1)):
        own = Place("serial", threads_per_worker=threads)
        memory = tmp_path / "trainings.jsonl"
        run_comparison([contender("lion")], [contender("adam")], protocol, own, memory=memory)
        counts.append(len(formula.jobs))
    first = counts[0]
    assert counts == [first, first, 2 * first, 3 * first, 3 * first]


@pytest.mark.usefixtures("unillustrated")
def test_further_contenders_and_another_order_train_only_what_is_new(
    formula: FormulaExecutor, tmp_path: Path
) -> None:
    def result(*names: str) -> Comparison:
        return compare(names, baselines=["adam"], protocol=TINY, place=SERIAL, out=tmp_path).comparison

    first = result("lion", "sgd")
    count = len(formula.jobs)
    again = result("sgd", "lion")
    assert len(formula.jobs) == count
    assert again.scores["digits"] == first.scores["digits"]
    more = result("sgd", "rmsprop", "lion")
    new = {member for job in formula.jobs[count:] for member in job.members}
    assert new
    assert all("adam_term" not in dict(member.terms) for member in new)
    assert {name: more.scores["digits"][name] for name in first.scores["digits"]} == first.scores["digits"]


def test_one_member_that_crashes_its_job_fails_alone() -> None:
    def crash(member: Any, job: ContenderChunk) -> TrainingResult:
        if "lion" in dict(member.terms):
            raise RuntimeError("segmentation fault, say")
        return formula_result(member, job)

    class Crashing(FormulaExecutor):
        def run(self, chunks: Any) -> Any:
            from evoopt.execution import ChunkResult

            for index, job in enumerate(chunks):
                try:
                    (answer,) = super().run([job])
                    yield replace(answer, index=index)
                except RuntimeError as error:
                    yield ChunkResult(index, None, str(error), 1, 0.0)

    queue = TrainingQueue(Crashing(crash), "sequential")
    wanted = [Training("digits", PRESETS[name], TrainingPlan(5, 0, 32)) for name in ("adam", "lion", "sgd")]
    assert [r.outcome for r in queue.train(wanted)] == ["ok", "failed", "ok"]
    with pytest.raises(EvooptError, match="every training on task 'digits' failed: segmentation"):
        queue.train(wanted[1:2])


@pytest.mark.parametrize(
    ("candidates", "options", "message"),
    [
        ([], {}, "at least one candidate"),
        (["lion"], {"baselines": []}, "at least one baseline"),
        (["addam"], {}, "Did you mean 'adam'"),
        (["lion"], {"controls": ["ablatoin"]}, "Did you mean 'ablation'"),
        (["lion"], {"protocol": replace(TINY, tasks=("digitts",))}, "Did you mean 'digits'"),
        (["lion"], {"controls": ["noise"]}, "needs a run folder as candidate"),
        (["nadam"], {"controls": ["ablation"]}, "no candidate is a rule"),
        (
            ["marfinetz2025"],
            {"protocol": Protocol(("mnist",))},
            "selected by its score on the test data of mnist",
        ),
    ],
)
def test_bad_requests_are_refused_before_anything_is_trained(
    candidates: list[str], options: dict[str, Any], message: str, formula: FormulaExecutor, tmp_path: Path
) -> None:
    with pytest.raises(EvooptError, match=message):
        compare(candidates, **{"protocol": TINY, "place": SERIAL, "out": tmp_path / "out", **options})
    assert not formula.jobs
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("{}", "holds no comparison"),
        ("[]", "holds no comparison"),
        ("{", "is not a JSON file"),
        ('{"kind": "comparison", "version": 99}', "version 99 is not supported"),
        ('{"kind": "comparison", "version": 1}', "is damaged"),
    ],
)
def test_damaged_comparison_files_are_refused(damage: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text(damage)
    with pytest.raises(EvooptError, match=message):
        load_comparison(tmp_path)


def test_own_schedules_reach_the_worker(formula: FormulaExecutor) -> None:
    own: Contender = preset_contender("marfinetz2025", schedules=(OWN,))
    compare([own], baselines=["adam"], protocol=TINY, place=SERIAL)
    rules = [m for job in formula.jobs for m in job.members if "sign_grad" in dict(m.terms)]
    assert rules
    assert {(rule.warmup_steps, rule.cosine) for rule in rules} == {(100, True)}


def test_a_place_hands_all_it_knows_to_the_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}
    monkeypatch.setattr(place, "make_executor", lambda kind, *_, **given: seen.update(given, kind=kind))
    Place("dask", 3, 2, "cuda:1", None, 9.0, "tcp://host:8786").start(make_worker, None)
    assert seen == {
        "kind": "dask", "workers": 3, "threads_per_worker": 2, "device": "cuda:1", "timeout_s": 9.0,
        "scheduler": "tcp://host:8786",
    }  # fmt: skip
