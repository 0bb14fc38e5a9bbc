"""The queue does what is missing, once, keeps it at once, and lets nobody fail for another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evoopt.errors import EvooptError
from evoopt.execution import ChunkResult
from evoopt.jobs.json_lines import JsonLines
from evoopt.jobs.queue import JobsFailedError, in_chunks, run_jobs

JOBS = [("a", "b"), ("c",), ("d", "e", "f")]


class Upper:
    """Answers in reverse order with capitals; members that are bad take their whole job down."""

    def __init__(self, bad: str = "", stop_at: int = 100) -> None:
        self.bad, self.stop_at = bad, stop_at
        self.seen: list[Any] = []

    def run(self, chunks: Sequence[Any]) -> Iterator[ChunkResult]:
        for index in reversed(range(len(chunks))):
            if len(self.seen) == self.stop_at:
                raise KeyboardInterrupt
            self.seen.append(chunks[index])
            failed = set(self.bad) & set(chunks[index])
            value = None if failed else [member.upper() for member in chunks[index]]
            yield ChunkResult(index, value, f"{''.join(failed)} died" if failed else None, 1, 0.0)


class Kept(dict[Any, Any]):
    def keep(self, job: Any, result: Any) -> None:
        assert job not in self
        self[job] = result


def each_alone(job: tuple[str, ...]) -> list[tuple[str]]:
    return [(member,) for member in job]


def why(answer: ChunkResult) -> str | None:
    return answer.error


def test_results_come_in_the_order_of_the_jobs() -> None:
    assert run_jobs(Upper(), JOBS) == [["A", "B"], ["C"], ["D", "E", "F"]]
    assert run_jobs(Upper(), []) == []


def test_jobs_need_no_equality() -> None:
    arrays = [np.array(["x", "y"]), np.array(["x", "y"])]
    assert run_jobs(Upper(), arrays) == [["X", "Y"]] * 2


@pytest.mark.parametrize("stop_at", range(4))
def test_an_interrupted_queue_does_only_what_is_missing(stop_at: int) -> None:
    memory, first, rest = Kept(), Upper(stop_at=stop_at), Upper()
    if stop_at < len(JOBS):
        with pytest.raises(KeyboardInterrupt):
            run_jobs(first, JOBS, memory)
    else:
        run_jobs(first, JOBS, memory)
    assert run_jobs(rest, JOBS, memory) == run_jobs(Upper(), JOBS)
    assert sorted(first.seen + rest.seen) == JOBS


def test_what_is_returned_is_what_the_memory_gives() -> None:
    class Rounding(Kept):
        def keep(self, job: Any, result: Any) -> None:
            super().keep(job, [value.lower() for value in result])

    memory = Rounding()
    assert run_jobs(Upper(), JOBS, memory) == run_jobs(Upper(), JOBS, memory) == [list(job) for job in JOBS]


def test_members_of_a_lost_job_are_tried_alone_after_all_others() -> None:
    executor, memory = Upper(bad="ce"), Kept()
    results = run_jobs(executor, JOBS, memory, alone=each_alone, failed=why)
    assert results == [["A", "B"], ["c died"], ["D", "e died", "F"]]
    assert executor.seen == [*JOBS[::-1], ("f",), ("e",), ("d",)]
    assert list(memory) == [JOBS[1], JOBS[0], JOBS[2]]


def test_jobs_that_cannot_be_divided_fail_together_in_the_end() -> None:
    memory = Kept()
    with pytest.raises(JobsFailedError, match=r"^no luck: b died$") as error:
        run_jobs(Upper(bad="bd"), JOBS, memory, failure="no luck")
    assert [job for job, _ in error.value.failures] == [JOBS[0], JOBS[2]]
    assert memory == {JOBS[1]: ["C"]}


def test_a_worker_gets_the_chunk_of_a_job() -> None:
    executor = Upper()
    run_jobs(executor, JOBS, chunk_of=lambda job: job[:1])
    assert executor.seen == [("d",), ("c",), ("a",)]


def test_progress_counts_members_and_begins_with_what_is_known() -> None:
    told: list[tuple[int, int]] = []
    memory = Kept({JOBS[0]: ["A", "B"]})
    run_jobs(
        Upper(bad="e"), JOBS, memory, alone=each_alone, progress=lambda done, left: told.append((done, left))
    )
    assert told == [(2, 4), (1, 3), (3, 0)]


def test_chunks_hold_members_of_one_group_each_once_in_order_of_appearance() -> None:
    members = [("x", 3), ("y", 1), ("x", 2), ("x", 3), ("x", 1), ("y", 2), ("x", 9)]
    assert in_chunks(members, 3) == [("x", (3, 2, 1)), ("x", (9,)), ("y", (1, 2))]
    assert in_chunks([], 3) == []


def test_a_line_that_was_cut_short_costs_itself_only(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "lines.jsonl")
    assert list(lines) == []
    for k in range(3):
        lines.append({"k": k})
    path = tmp_path / "lines.jsonl"
    path.write_text(path.read_text()[:-4])
    lines.append({"k": 3})
    assert list(lines) == [{"k": 0}, {"k": 1}, {"k": 3}]
    path.write_bytes(path.read_bytes() + b'{"k": "\xff\xfe"}\n')  # a block that the disk gave back torn
    assert list(lines) == [{"k": 0}, {"k": 1}, {"k": 3}]
    with pytest.raises(EvooptError, match=r"cannot write .*: .*; what is in it is kept"):
        JsonLines(tmp_path).append({"k": 4})
