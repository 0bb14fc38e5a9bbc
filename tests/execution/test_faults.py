"""What becomes of a worker costs its chunk alone, in a pool of processes and on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from evoopt.errors import EvooptError
from evoopt.execution import ExecutorKind, make_executor
from evoopt.execution.executor import Executor, ordered
from tests.execution import workers
from tests.execution.workers import OTHERS, check_others, kill_when_marked, pid_in, wait_until

KINDS: list[ExecutorKind] = ["process", "dask"]
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> ExecutorKind:
    chosen: ExecutorKind = request.param
    return chosen


@pytest.fixture(scope="module")
def executor(kind: ExecutorKind) -> Iterator[Executor]:
    with make_executor(kind, workers.make_scripted, None, workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def impatient(kind: ExecutorKind) -> Iterator[Executor]:
    with make_executor(kind, workers.make_scripted, None, workers=2, timeout_s=2.0) as made:
        yield made


def test_a_chunk_that_always_ends_its_process_fails_alone(executor: Executor) -> None:
    results = ordered(executor.run([("die", 5), *OTHERS]), 6)
    assert (results[0].error, results[0].attempts) == ("worker died (exit code 5)", 2)
    check_others(results)


@posix_only
@pytest.mark.parametrize(
    ("chunk", "times", "value", "error"),
    [("sleep_once", 1, "awake", None), ("sleep", 2, None, "worker died (signal 9)")],
)
def test_a_process_killed_from_outside_costs_one_retry_and_is_reported_the_second_time(
    chunk: str, times: int, value: str | None, error: str | None, executor: Executor, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    killer = kill_when_marked(mark, times)
    results = ordered(executor.run([(chunk, 600, mark), *OTHERS]), 6)
    killer.join()
    assert (results[0].value, results[0].error, results[0].attempts) == (value, error, 2)
    check_others(results)


def test_a_hung_chunk_and_a_stopped_process_are_ended_and_reported(
    impatient: Executor, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    stopped = ("freeze",) if os.name == "posix" else ("sleep", 600, tmp_path / "other")
    hung, *results = ordered(impatient.run([("sleep", 600, mark), stopped, *OTHERS]), 7)
    for bad in (hung, results[0]):
        assert (bad.error, bad.attempts) == ("timed out after 2 s", 2)
        assert bad.seconds >= 2
    assert not psutil.pid_exists(pid_in(mark))
    check_others(results)


def test_large_chunks_and_results_pass(executor: Executor) -> None:
    sent, received = ordered(executor.run([("size", b"x" * 30_000_000), ("bytes", 30_000_000)]), 2)
    assert sent.value == 30_000_000
    assert received.value == b"x" * 30_000_000


def test_what_cannot_be_pickled_fails_alone(executor: Executor, tmp_path: Path) -> None:
    chunks = [
        ("double", 0),
        ("size", lambda: None),
        ("unpicklable",),
        ("unreadable",),
        ("size", workers.Unreadable("chunk")),
        ("double", 5),
    ]
    pids = workers.process_ids(executor, tmp_path / "before")
    results = ordered(executor.run(chunks), 6)
    assert [result.value for result in results] == [0, None, None, None, None, 10]
    errors = [(result.error or "").removeprefix("RuntimeError: ") for result in results[1:5]]
    assert [error.partition(":")[0] for error in errors] == [
        "chunk cannot be pickled",
        "result cannot be pickled",
        "result cannot be unpickled",
        "broken chunk",
    ]
    assert [result.attempts for result in results[1:5]] == [0, 1, 1, 1]
    assert workers.process_ids(executor, tmp_path / "after") == pids, "a worker was lost"


def test_work_that_cannot_be_sent_is_refused_at_once(kind: ExecutorKind) -> None:
    place = {"process": "worker processes", "dask": "Dask workers"}[kind]
    with pytest.raises(EvooptError, match=f"cannot be sent to {place}"):
        make_executor(kind, lambda setup: workers.Scripted(setup), None)


def test_a_second_run_beside_an_unfinished_one_is_refused(executor: Executor) -> None:
    results = executor.run(OTHERS)
    next(results)
    with pytest.raises(RuntimeError, match="earlier run"):
        next(executor.run(OTHERS))
    assert len(list(results)) == len(OTHERS) - 1


def test_an_abandoned_run_ends_its_chunks(kind: ExecutorKind, executor: Executor, tmp_path: Path) -> None:
    results = executor.run([("sleep", 600, tmp_path / "pid"), *OTHERS])
    for _ in OTHERS:
        next(results)
    pid = pid_in(tmp_path / "pid")
    assert psutil.pid_exists(pid)
    results.close()  # type: ignore[attr-defined]
    # A pool has ended them by now; a Dask worker looks once a second whether its chunk is still wanted.
    wait_until(lambda: not psutil.pid_exists(pid), seconds=0 if kind == "process" else 120)
    assert [result.value for result in executor.run([("double", 8)])] == [16]
