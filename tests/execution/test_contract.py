"""What every executor promises, whatever it runs on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from evoopt.errors import EvooptError, EvooptWarning
from evoopt.execution import ExecutorKind, make_executor, serial
from evoopt.execution.executor import Executor, full_text, ordered
from evoopt.execution.process_setup import keep_freed_memory
from tests.execution import torch_workers, workers
from tests.execution.clusters import separate_cluster

KINDS: list[ExecutorKind] = ["serial", "process", "dask"]
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module", params=KINDS)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with make_executor(request.param, workers.make_scripted, {"size": 5}, workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with separate_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster.address


@pytest.fixture
def where(kind: ExecutorKind, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where an executor works: on Dask in a cluster that is there for all of them."""
    return {"scheduler": request.getfixturevalue("scheduler")} if kind == "dask" else {}


def test_every_chunk_gives_exactly_one_result_with_its_own_index(executor: Executor) -> None:
    results = list(executor.run([("double", i) for i in range(40)]))
    assert sorted(result.index for result in results) == list(range(40))
    assert all(result.value == 2 * result.index for result in results)
    assert all(result.error is None and result.attempts == 1 and result.seconds >= 0 for result in results)


def test_ordered_follows_the_chunks(executor: Executor) -> None:
    results = ordered(executor.run([("double", i) for i in range(9)]), 9)
    assert [result.value for result in results] == [2 * i for i in range(9)]


def test_ordered_sorts_and_notices_a_missing_result(executor: Executor) -> None:
    results = list(executor.run([("double", i) for i in range(3)]))
    assert [result.index for result in ordered(reversed(results), 3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        ordered(results[:2], 3)


def test_no_chunks_give_no_results(executor: Executor) -> None:
    assert list(executor.run([])) == []


def test_setup_reaches_the_worker(executor: Executor) -> None:
    assert [result.value for result in executor.run([("get_setup",)])] == [{"size": 5}]


def test_an_exception_is_reported_in_one_line_and_disturbs_no_other_chunk(executor: Executor) -> None:
    chunks = [("double", 1), ("fail", "first line\nsecond line"), ("double", 3)]
    good, bad, last = ordered(executor.run(chunks), 3)
    assert (good.value, last.value) == (2, 6)
    assert (bad.value, bad.error, bad.attempts) == (None, "ValueError: first line second line", 1)
    assert "Traceback" in bad.traceback
    assert "first line\nsecond line" in bad.traceback


def test_our_warnings_are_told_here_wherever_a_chunk_runs(executor: Executor) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        processes = [result.value for result in executor.run([("warn", "no compiler", "by torch")] * 3)]
    assert [str(one.message) for one in told if one.category is EvooptWarning] == ["no compiler"]
    others = [str(one.message) for one in told if one.category is not EvooptWarning]
    assert others == (["by torch"] if processes[0] == os.getpid() else [])
    assert [result.warnings for result in executor.run([("double", 1)])] == [()]


def test_an_abandoned_iterator_leaves_the_executor_usable(executor: Executor) -> None:
    results = executor.run([("double", i) for i in range(5)])
    assert next(results).error is None
    results.close()  # type: ignore[attr-defined]
    assert [result.value for result in executor.run([("double", 7)])] == [14]


@kinds
def test_close_may_be_called_twice_and_ends_the_executor(kind: ExecutorKind, where: dict[str, Any]) -> None:
    with make_executor(kind, workers.make_scripted, None, workers=1, **where) as executor:
        assert [result.value for result in executor.run([("double", 1)])] == [2]
        executor.close()
        executor.close()
        with pytest.raises(RuntimeError, match="closed"):
            list(executor.run([("double", 1)]))


@kinds
def test_missing_data_is_reported_once_in_its_own_words(kind: ExecutorKind, where: dict[str, Any]) -> None:
    with (
        make_executor(kind, workers.make_missing_data, None, workers=2, **where) as executor,
        pytest.raises(EvooptError) as caught,
    ):
        list(executor.run([("double", 1)] * 4))
    assert str(caught.value) == "no data for 'mnist'; put it under DATA"


@kinds
def test_a_factory_with_a_bug_is_reported_in_one_line(kind: ExecutorKind, where: dict[str, Any]) -> None:
    with (
        make_executor(kind, workers.make_buggy, None, workers=1, **where) as executor,
        pytest.raises(EvooptError) as caught,
    ):
        list(executor.run([("double", 1)] * 4))
    assert str(caught.value) == "a worker could not be made: KeyError: 'gene'"
    assert 'raise KeyError("gene")' in full_text(caught.value), "where it was raised"


@kinds
def test_chunks_run_with_the_configured_number_of_threads_and_kept_memory(
    kind: ExecutorKind, where: dict[str, Any]
) -> None:
    before, threads = torch.get_num_threads(), 3
    keep_freed_memory.cache_clear()
    with make_executor(
        kind, torch_workers.make_counting, None, workers=1, threads_per_worker=threads, **where
    ) as executor:
        (result,) = executor.run([None])
    assert result.value is not None, result.error
    assert result.value[0] == threads
    assert kind == "serial" or result.value[1] == str(threads)
    assert result.value[2], "whether freed memory is kept"
    assert torch.get_num_threads() == before


def test_this_process_gives_back_what_it_kept_when_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []
    monkeypatch.setattr(serial, "give_back_freed_memory", lambda: given.append(True))
    with make_executor("serial", workers.make_scripted, None, workers=1) as executor:
        assert list(executor.run([("double", 1)]))
        assert not given
    assert given == [True]


def test_results_are_the_same_bits_on_any_executor_with_any_number_of_workers(scheduler: str) -> None:
    chunks = list(range(5))
    values = {}
    places: dict[ExecutorKind, dict[str, Any]] = {
        "serial": {}, "process": {"workers": 2}, "dask": {"scheduler": scheduler}
    }  # fmt: skip
    for kind, where in places.items():
        with make_executor(kind, torch_workers.make_summing, None, **where) as executor:
            results = ordered(executor.run(chunks), len(chunks))
        assert [result.error for result in results] == [None] * len(chunks)
        values[kind] = [result.value for result in results]
    assert len(set(values["serial"])) == len(chunks)
    assert all(value == values["serial"] for value in values.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"threads_per_worker": 0}, "threads_per_worker must be at least 1"),
        ({"timeout_s": 0.0}, "timeout"),
        ({"timeout_s": float("nan")}, "timeout"),
        ({"timeout_s": float("inf")}, "timeout"),
    ],
)
@kinds
def test_numbers_out_of_range_are_refused(
    kind: ExecutorKind, options: dict[str, float], message: str
) -> None:
    with pytest.raises(EvooptError, match=message):
        make_executor(kind, workers.make_scripted, None, **options)  # type: ignore[arg-type]


def test_an_unknown_kind_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(EvooptError, match="Did you mean 'process'"):
        make_executor("proces", workers.make_scripted, None)  # type: ignore[arg-type]


def test_serial_lets_ctrl_c_and_exit_through() -> None:
    with make_executor("serial", workers.make_scripted, None) as executor:
        with pytest.raises(KeyboardInterrupt):
            list(executor.run([("interrupt",)]))
        with pytest.raises(SystemExit):
            list(executor.run([("leave",)]))
