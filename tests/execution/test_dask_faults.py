"""A Dask cluster loses nothing and never hangs, whatever happens to its parts: what is its own."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.config
import distributed
import psutil
import pytest
import torch

from evoopt.errors import EvooptError
from evoopt.execution import dask_plugin, make_executor
from evoopt.execution.executor import Executor, ordered
from tests.execution import workers
from tests.execution.clusters import Cluster, chunk_processes, descendants, separate_cluster
from tests.execution.workers import OTHERS, in_background, pid_in, wait_until


def make_dask(cluster: Cluster | None = None, **options: object) -> Executor:
    address = None if cluster is None else cluster.address
    settings = {"workers": 2, "scheduler": address, **options}
    return make_executor("dask", workers.make_scripted, None, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One that goes on, whatever becomes of those who use it."""
    with separate_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


def kill_dask_workers_of(mark: Path, times: int, enough: threading.Event) -> None:
    """Send SIGKILL to the Dask worker of each of the next processes that write their id to the file."""
    killed: set[str] = set()
    while len(killed) < times and not enough.wait(0.05):
        pid = mark.read_text() if mark.exists() else ""
        if pid and pid not in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker = psutil.Process(int(pid)).parent()
                if worker in descendants(os.getpid()):  # not who adopts the children of a dead worker
                    worker.kill()
                    killed.add(pid)


@pytest.mark.parametrize(
    ("device", "visible", "workers", "gpus"),
    [
        ("cuda", "3,5", None, ["3", "5"]),
        ("cuda", "3,5", 3, ["3", "5", "3"]),
        ("cuda", None, None, ["0", "1"]),
        ("cuda", "3", 2, [None, None]),
        ("cuda:1", "3,5", None, [None]),
        ("cpu", "3,5", None, [None] * 7),
    ],
)
def test_workers_beside_this_process_share_its_gpus(
    device: str,
    visible: str | None,
    workers: int | None,
    gpus: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A device with a number is one of those visible already."""

    def start(asked: dict[int, dict[str, Any]], *args: object, **kwargs: object) -> None:
        options.extend(worker["options"] for worker in asked.values())
        raise RuntimeError("enough")

    options = list[dict[str, Any]]()
    monkeypatch.setattr("evoopt.execution.dask.SpecCluster", start)
    monkeypatch.setattr("evoopt.execution.dask.usable_cores", lambda: 7)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with make_dask(workers=workers, device=device) as executor, pytest.raises(EvooptError, match="enough"):
        list(executor.run([("double", 1)]))
    assert [one.get("env", {}).get("CUDA_VISIBLE_DEVICES") for one in options] == gpus
    assert [one.get("resources") for one in options] == [None if device == "cpu" else {"GPU": 1}] * len(gpus)


@pytest.mark.parametrize(
    ("device", "resources", "said"),
    [
        ("cpu", [], ["waiting for Dask workers; start one with: dask worker tcp://there:1"]),
        ("cpu", [{}], []),
        ("cuda", [{}, {"GPU": 1.0}], []),
        (
            "cuda",
            [{}],
            [
                "waiting for Dask workers with a GPU; start one with: dask worker tcp://there:1 --nthreads 1 "
                "--resources GPU=1"
            ],
        ),
    ],
)
def test_who_waits_for_workers_is_told_how_to_start_one(
    device: str, resources: list[dict[str, float]], said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    workers = {f"tcp://there:{k + 2}": {"resources": own} for k, own in enumerate(resources)}
    client = SimpleNamespace(scheduler_info=lambda n_workers: {"workers": workers})
    with make_dask(scheduler="tcp://there:1", device=device) as executor:
        executor._warn_of_missing_workers(client)  # type: ignore[attr-defined]
    assert caplog.messages == said


def test_chunks_of_a_lost_dask_worker_run_elsewhere(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with make_dask() as executor:
        in_background(kill_dask_workers_of, mark, 1, threading.Event())
        results = ordered(executor.run([("sleep_once", 600, mark), *OTHERS]), 6)
    assert [result.error for result in results] == [None] * 6
    assert results[0].value == "awake", "the second attempt's result"
    assert [result.value for result in results[1:]] == [2 * i for i in range(1, 6)]


@pytest.mark.slow
def test_a_chunk_whose_dask_worker_is_lost_every_time_fails_alone(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    # At once, so that Dask closes nannies whose workers are about to come back.
    given_up = dask.config.set({"distributed.deploy.lost-worker-timeout": "1ms"})
    with given_up, make_dask(workers=1) as executor:
        enough = threading.Event()
        in_background(kill_dask_workers_of, mark, 100, enough)
        first, last = ordered(executor.run([("sleep", 600, mark), ("double", 4)]), 2)
        enough.set()
    assert (first.error, first.attempts) == ("Dask workers were lost", 8)
    assert last.value == 8


def test_a_worker_that_joins_later_takes_part(tmp_path: Path) -> None:
    with separate_cluster(tmp_path, workers=0) as cluster, make_dask(cluster) as executor:
        in_background(lambda: (time.sleep(1), cluster.add_worker()))
        assert [result.value for result in executor.run([("double", 4)])] == [8]


def test_a_lost_scheduler_stops_the_run_and_says_how_to_go_on(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with separate_cluster(tmp_path) as cluster, make_dask(cluster) as executor:
        results = executor.run([("sleep", 600, mark), *OTHERS])
        done = [next(results).value for _ in OTHERS]
        pid_in(mark)
        cluster.scheduler.kill()
        with pytest.raises(EvooptError, match=r"scheduler at .* was lost.*evoopt resume"):
            next(results)
    assert sorted(done) == [2 * i for i in range(1, 6)]


def test_an_address_without_a_scheduler_is_said_so() -> None:
    for address in ("tcp://127.0.0.1:1", "not an address"):
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}),
            make_executor("dask", workers.make_scripted, None, scheduler=address) as executor,
            pytest.raises(EvooptError, match=f"cannot reach a Dask scheduler at {address}.*dask scheduler"),
        ):
            list(executor.run([("double", 1)]))
    clients = [one for one in gc.get_objects() if issubclass(type(one), distributed.Client)]
    assert {client.status for client in clients} <= {"closed"}, "one is left to the garbage collector"


@pytest.mark.parametrize(("name", "other"), [("evoopt", "9.9"), ("torch", "1.0"), ("Python", "2.7")])
def test_a_worker_with_another_version_is_refused_with_both_named(name: str, other: str) -> None:
    real = dask_plugin.versions()
    plugin = dask_plugin.ProcessPlugin("name", b"", 1, None, {**real, name: other})
    plugin.setup(SimpleNamespace(address="tcp://there:2"))
    with pytest.raises(EvooptError) as caught:
        plugin.run(0, b"", lambda: True)
    plugin.teardown(SimpleNamespace())
    told = f"the Dask worker tcp://there:2 has {name} {real[name]}, but this machine has {name} {other}:"
    assert str(caught.value).startswith(told)


def test_who_leads_a_run_hears_of_a_worker_with_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from evoopt.execution import dask as module

    monkeypatch.setattr(module, "versions", lambda: {**dask_plugin.versions(), "torch": "1.0"})
    with make_dask(workers=1) as executor, pytest.raises(EvooptError, match="this machine has torch 1"):
        list(executor.run([("double", 1)]))


def test_an_executor_leaves_nothing_behind_on_a_cluster_that_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    with make_dask(cluster) as executor:
        pids = workers.process_ids(executor, tmp_path / "met")
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with make_dask(cluster) as executor:
        assert [result.value for result in executor.run([("double", 3)])] == [6]


def start_leader(mark: Path, **options: object) -> subprocess.Popen[bytes]:
    """A program that has a chunk of it sleep on Dask."""
    script = mark.with_name("leader.py")
    script.write_text(
        "from pathlib import Path\n"
        "from evoopt.execution import make_executor\n"
        "from tests.execution import workers\n"
        "if __name__ == '__main__':\n"
        f"    executor = make_executor('dask', workers.make_scripted, None, **{options!r})\n"
        f"    list(executor.run([('sleep', 600, Path({str(mark)!r}))]))\n"
    )
    root = str(Path(__file__).parents[2])
    return subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": root})


def test_a_leader_that_is_killed_leaves_no_chunk_running(cluster: Cluster, tmp_path: Path) -> None:
    leader = start_leader(tmp_path / "pid", scheduler=cluster.address)
    pid = pid_in(tmp_path / "pid")
    leader.kill()
    leader.wait()
    wait_until(lambda: not psutil.pid_exists(pid))


def test_a_leader_that_is_killed_takes_its_own_cluster_along(tmp_path: Path) -> None:
    leader = start_leader(tmp_path / "pid", workers=1)
    pid_in(tmp_path / "pid")
    family = descendants(leader.pid)
    assert len(family) >= 2
    leader.kill()
    leader.wait()
    wait_until(lambda: not any(process.is_running() for process in family))


def test_work_for_a_gpu_goes_to_workers_that_offer_one(tmp_path: Path) -> None:
    with separate_cluster(tmp_path, workers=1) as cluster:
        gpu = cluster.add_worker("--resources", "GPU=1")
        with make_dask(cluster, device="cuda") as executor:
            pids = {result.value for result in executor.run([("pid",)] * 6)}
        assert len(pids) == 1
        plain = cluster.workers[0]
        with make_dask(cluster, device="cuda") as executor:
            results = executor.run([("sleep", 0.5, tmp_path / "pid")])
            mine = in_background(lambda: list(results))
            pid = pid_in(tmp_path / "pid")
            assert pid in {process.pid for process in chunk_processes(gpu.pid)}
            assert not chunk_processes(plain.pid)
            mine.join()
