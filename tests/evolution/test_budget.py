"""Limits end a run of any type before its last generation, with a winner and with the reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import evoopt
from evoopt.errors import EvooptError
from evoopt.individuals import individual_type
from evoopt.runs import Run
from evoopt.runs.store import ENDED, RunStore
from tests.report import runs
from tests.stubs import interrupt

CONFIGS = {
    **runs.CONFIGS,
    "optimizer": runs.CONFIGS["optimizer"].override({"search": {"compare": False}, **runs.SERIAL}),
}


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The results of runs of each type without a limit."""

    @cache
    def result(kind: str) -> str:
        with evoopt.search(CONFIGS[kind], out=tmp_path_factory.mktemp(kind) / "run") as run:
            return run.result_json()

    return result


@pytest.mark.parametrize(
    ("kind", "limit", "generations", "other"),
    [
        ("gadam", {"max_trainings": 9}, 2, "max_trainings"),
        ("genetic", {"max_trainings": 8}, 1, "patience"),
        ("genetic", {"max_time": 1e-9}, 1, "max_time"),
        ("pbt", {"max_trainings": 7}, 2, "patience"),
        ("hpo", {"max_trainings": 1}, 1, "max_trainings"),
        ("optimizer", {"max_trainings": 1}, 1, "patience"),
    ],
)
def test_a_limit_ends_a_run_of_any_type_which_another_limit_lets_go_on(
    kind: str,
    limit: dict[str, Any],
    generations: int,
    other: str,
    unlimited: Callable[[str], str],
    tmp_path: Path,
) -> None:
    (option,) = limit
    config = CONFIGS[kind].with_options(limit)
    with evoopt.search(config, out=tmp_path / "run") as run:
        assert run.finished
        assert len(run.generations) == run.winner.get("generations", generations) == generations
        result, told = run.result_json(), individual_type(kind).text.describe_result(run)
    assert f"ended    after {generations} generation" in told
    assert f"--{option.replace('_', '-')}" in told
    with evoopt.resume(tmp_path / "run") as run:
        assert run.result_json() == result
    written = (tmp_path / "run/result.json").stat().st_ino
    with evoopt.resume(tmp_path / "run", limits=limit) as run:
        assert run.result_json() == result, "the same limit has been reached, too"
    if option != "max_time":  # which begins anew
        assert (tmp_path / "run/result.json").stat().st_ino == written, "nothing was left to do"
        with evoopt.resume(tmp_path / "run", limits={option: 1}) as run:
            assert run.result_json() == result, "a lower one has been reached, too"
    with evoopt.resume(tmp_path / "run", limits={other: 10**6}) as run:
        assert run.ended is None
        assert run.result_json() == unlimited(kind)


def test_a_run_that_was_to_go_on_and_could_not_is_finished_as_before(tmp_path: Path) -> None:
    config = CONFIGS["gadam"].with_options({"max_trainings": 1})
    evoopt.search(config, out=tmp_path / "run").close()

    def state() -> tuple[dict[str, bytes], str | None, list[Any]]:
        with Run(tmp_path / "run") as run:
            assert not run.store.select("SELECT * FROM chunks")
            files = {name: (run.folder / name).read_bytes() for name in ("result.json", "model.safetensors")}
            return files, run.ended, list(run.store.select("SELECT * FROM meta"))

    before = state()

    def fail(run: Run) -> None:
        with run.reopened(["max_trainings"]):
            run.store.keep_chunk("half done", {"result": 1})
            assert not run.finished
            assert not (run.folder / "result.json").exists()
            raise EvooptError("no scheduler answers")

    with Run(tmp_path / "run", writable=True) as run, pytest.raises(EvooptError, match="no scheduler"):
        fail(run)
    assert state() == before


def test_a_run_that_went_on_before_an_error_ended_it_is_not_put_back(tmp_path: Path) -> None:
    def go_on(run: Run) -> None:
        with run.reopened(["max_time"]):
            run.store.save_generation({"generation": 1}, {"stages": 2}, [])
            raise EvooptError("disk full")

    with Run.create(tmp_path / "run", CONFIGS["genetic"]) as run:
        run.store.save_generation({"generation": 0}, {"stages": 1}, [])
        run.note_end("the time is up")
        run.store.save_winner({"id": 1})
        run.write_result()
        run.write_verdict("it was not compared")
        with pytest.raises(EvooptError, match="disk full"):
            go_on(run)
        assert (run.finished, run.ended, len(run.generations)) == (False, None, 2)
        assert run.store.checkpoint() == {"stages": 2}
        assert not list(run.folder.glob("*.json"))
        assert not list(run.folder.glob(".*.before"))


def test_a_limit_that_is_reached_in_the_last_generation_ended_nothing(tmp_path: Path) -> None:
    config = CONFIGS["genetic"].with_options({"generations": 2})
    with Run.create(tmp_path / "run", config) as run:
        for generation, ended in enumerate(("the time is up", None)):
            run.store.save_generation({"generation": generation}, {"stages": generation + 1}, [])
            run.store.set_meta(ENDED, None)
            run.note_end("the time is up")
            assert run.ended == ended


def test_a_limit_that_was_lifted_stays_so_however_often_the_run_is_interrupted(
    unlimited: Callable[[str], str], tmp_path: Path
) -> None:
    evoopt.search(CONFIGS["genetic"].with_options({"max_trainings": 8}), out=tmp_path / "run").close()
    with pytest.raises(KeyboardInterrupt):
        evoopt.resume(tmp_path / "run", limits={"patience": 10**6}, on_generation=interrupt)
    with evoopt.resume(tmp_path / "run") as run:
        assert run.result_json() == unlimited("genetic")


def test_patience_counts_generations_that_were_no_better(tmp_path: Path) -> None:
    config = CONFIGS["genetic"].with_options({"generations": 30, "patience": 2})
    with evoopt.search(config, out=tmp_path / "run") as run:
        best = [record["best"] for record in run.generations]
    assert len(best) < 30
    assert max(best[-2:]) <= max(best[:-2])


def test_limits_can_be_given_when_a_run_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evoopt.search(CONFIGS["pbt"], out=tmp_path / "run", on_generation=interrupt)
    with evoopt.resume(tmp_path / "run", limits={"max_trainings": 13}) as run:
        assert len(run.generations) == 3


def test_a_run_that_a_limit_ended_is_ended_though_its_end_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evoopt.search(CONFIGS["genetic"], out=tmp_path / "run", on_generation=interrupt)
    limits = {"max_trainings": 1}
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "save_winner", interrupt)
        with pytest.raises(KeyboardInterrupt):
            evoopt.resume(tmp_path / "run", limits=limits)
    with evoopt.resume(tmp_path / "run") as run:
        assert len(run.generations) == run.winner["generations"] == 1
        assert run.ended is not None
        assert "--max-trainings 1" in run.ended
    with evoopt.resume(tmp_path / "run", limits={"max_trainings": 10**6}) as run:
        assert (len(run.generations), run.ended) == (CONFIGS["genetic"].option("generations"), None)
