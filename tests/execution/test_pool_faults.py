"""A process pool loses nothing and never hangs, whatever happens to its workers: what is its own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from evoopt.errors import EvooptError
from evoopt.execution import make_executor, worker_process
from evoopt.execution.executor import Executor, ordered
from evoopt.execution.worker_process import limit_transfers
from tests.execution import workers
from tests.execution.workers import OTHERS, check_others, in_background, pid_in

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def make_pool(count: int = 2, timeout_s: float | None = None) -> Executor:
    return make_executor("process", workers.make_scripted, None, workers=count, timeout_s=timeout_s)


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with make_pool() as made:
        yield made


def alive(pid: int) -> bool:
    return pid in {child.pid for child in multiprocessing.active_children()}


@posix_only
def test_a_worker_that_leaves_its_pipe_and_lives_on_is_ended(
    pool: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "_KILL_S", 0.2)
    results = ordered(pool.run([("leave_pipe",), *OTHERS]), 6)
    assert (results[0].error, results[0].attempts) == ("worker died (it left its pipe)", 2)
    check_others(results)


def test_a_chunk_whose_worker_ends_once_is_retried(
    pool: Executor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = ordered(pool.run([("die_once", tmp_path / "mark"), *OTHERS]), 6)
    assert (results[0].value, results[0].error, results[0].attempts) == ("survived", None, 2)
    check_others(results)
    assert caplog.messages == ["chunk 0: worker died (exit code 3); it is started once more"]


def test_exit_inside_a_chunk_is_an_error_and_keeps_the_worker(pool: Executor) -> None:
    (result,) = pool.run([("leave",)])
    assert (result.error, result.attempts) == ("SystemExit: 3", 1)


@posix_only
def test_a_worker_killed_between_runs_is_replaced_at_no_cost(pool: Executor, tmp_path: Path) -> None:
    pids = workers.process_ids(pool, tmp_path / "before")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        while alive(pid):
            time.sleep(0.01)
    results = list(pool.run([("pid",)] * 8))
    assert all((result.error, result.attempts) == (None, 1) for result in results)
    assert not pids & {result.value for result in results}


@posix_only
def test_a_worker_whose_forked_child_lives_on_is_still_seen_to_die(pool: Executor, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    (result,) = pool.run([("fork_and_die_once", mark)])
    os.kill(int(mark.read_text()), signal.SIGKILL)  # fails if the child, which held the pipe open, is gone
    assert (result.value, result.attempts) == ("survived", 2)


@posix_only
def test_a_worker_stopped_before_a_large_chunk_does_not_block_the_parent() -> None:
    with make_pool(1, timeout_s=1.0) as pool:
        (first,) = pool.run([("pid",)])
        os.kill(first.value, signal.SIGSTOP)
        (result,) = pool.run([("size", b"x" * 10_000_000)])
        assert (result.value, result.attempts) == (10_000_000, 1)
        assert not alive(first.value)


@posix_only
def test_half_a_message_does_not_block_its_reader() -> None:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        limit_transfers(ours, 0.1)
        os.write(theirs.fileno(), b"\0\0\0\7half")
        with pytest.raises(BlockingIOError):
            ours.recv_bytes()


def test_a_slow_consumer_is_not_taken_for_a_slow_worker() -> None:
    with make_pool(timeout_s=2.0) as pool:
        for result in pool.run([("bytes", 1_000_000)] * 4):
            assert (result.error, result.attempts) == (None, 1)
            time.sleep(1.2)  # the other worker's result waits in its pipe beyond the time limit


def test_workers_that_die_at_startup_are_given_up() -> None:
    with (
        make_executor("process", workers.make_dying, None, workers=2) as pool,
        pytest.raises(EvooptError, match=r"no worker could start: worker died \(exit code 7\).*__main__"),
    ):
        list(pool.run([("double", 1)] * 4))


def test_only_deaths_at_startup_in_a_row_give_a_run_up_and_others_cost_nothing(tmp_path: Path) -> None:
    setup = tmp_path / "births", {1, 2, 3, 4, 5, 7, 8}
    with make_executor("process", workers.make_dying_at_times, setup, workers=1) as pool:
        with pytest.raises(EvooptError, match="no worker could start"):
            list(pool.run([("double", 4)]))
        results = ordered(pool.run([("die_once", tmp_path / "mark"), ("double", 4)]), 2)
    assert [(result.value, result.attempts) for result in results] == [("survived", 2), (8, 1)]


@pytest.mark.parametrize(("threads", "size"), [(1, 7), (2, 3), (8, 1)])
def test_as_many_workers_start_as_fit_the_cores(
    threads: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evoopt.execution.pool.usable_cores", lambda: 7)
    with make_executor("process", workers.make_scripted, None, threads_per_worker=threads) as pool:
        assert pool._size == size  # type: ignore[attr-defined]


def test_no_worker_left_and_none_to_be_made_ends_the_run(tmp_path: Path) -> None:
    with (
        make_executor("process", workers.make_dying_from_second_on, tmp_path / "mark", workers=2) as pool,
        pytest.raises(EvooptError, match="no worker could start: worker died"),
    ):
        list(pool.run([("double", 1), ("die", 1), ("double", 2)]))


def test_a_worker_that_hangs_at_startup_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "_STARTUP_LIMIT_S", 0.3)
    with (
        make_executor("process", workers.make_slow, 600.0, workers=1) as pool,
        pytest.raises(EvooptError, match="no worker could start: timed out"),
    ):
        list(pool.run([("double", 1)]))


def test_no_more_workers_start_than_there_are_chunks_and_they_stay() -> None:
    with make_pool(4) as pool:
        (first,) = pool.run([("pid",)])
        (again,) = pool.run([("pid",)])
        assert first.value == again.value
        assert len(pool._workers) == 1  # type: ignore[attr-defined]


@posix_only
def test_ctrl_c_in_the_consumer_stops_its_chunks_and_leaves_the_pool_usable(tmp_path: Path) -> None:
    mark = tmp_path / "pid"

    def interrupt() -> None:
        pid_in(mark)
        os.kill(os.getpid(), signal.SIGINT)

    with make_pool() as pool:
        in_background(interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(pool.run([("sleep", 600, mark)]))
        assert not alive(int(mark.read_text()))
        assert [result.value for result in pool.run([("double", 8)])] == [16]


def test_close_ends_busy_workers_of_a_run_that_nobody_finished(tmp_path: Path) -> None:
    pool = make_pool()
    results = pool.run([("sleep", 600, tmp_path / "pid"), *OTHERS])
    for _ in OTHERS:
        next(results)
    pid = pid_in(tmp_path / "pid")
    pool.close()
    assert not alive(pid)
    with pytest.raises(RuntimeError, match="closed"):
        next(results)


def test_a_forgotten_pool_ends_its_workers(tmp_path: Path) -> None:
    pool = make_pool()
    pids = workers.process_ids(pool, tmp_path / "met")
    assert all(alive(pid) for pid in pids)
    del pool
    gc.collect()
    assert not any(alive(pid) for pid in pids)


@posix_only
def test_a_forked_copy_of_the_parent_leaves_its_workers_alone() -> None:
    with make_pool(1) as pool:
        (first,) = pool.run([("pid",)])
        copy = os.fork()
        if copy == 0:
            pool.close()
            os._exit(0)
        os.waitpid(copy, 0)
        (again,) = pool.run([("pid",)])
    assert again.value == first.value


@posix_only
def test_many_runs_with_deaths_leak_neither_descriptors_nor_memory(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    def some_runs(n: int) -> None:
        for i in range(n):
            chunk = ("die_once", tmp_path / f"mark{n}-{i}") if i % 20 == 0 else ("double", 0)
            results = ordered(pool.run([chunk, *OTHERS, ("bytes", 100_000)]), 7)
            assert all(result.error is None for result in results)

    with make_pool() as pool:
        some_runs(20)
        tracemalloc.start()
        before_fds, before_bytes = descriptors(), tracemalloc.get_traced_memory()[0]
        some_runs(200)
        gc.collect()
        grown_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
        tracemalloc.stop()
        assert descriptors() <= before_fds
    assert grown_bytes < 200_000
