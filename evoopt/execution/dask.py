"""Execution on a Dask cluster: one that runs already, or one made on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import uuid
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

from evoopt.errors import EvooptError, one_line
from evoopt.execution.executor import ChunkResult, Executor, WorkerFactory, full_text, pickled, told
from evoopt.execution.pool import GUARD, refuse_unguarded_main
from evoopt.execution.process_setup import importable_main, sigint_blocked, usable_cores

try:
    import dask
    from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, as_completed
    from tornado.ioloop import PeriodicCallback

    from evoopt.execution.dask_plugin import ProcessPlugin, run_chunk, versions
except ImportError as error:
    raise EvooptError(
        f"executor 'dask' needs the package {error.name}: pip install 'evoopt-torch[dask]'"
    ) from None

_RESUMABLE = "what is finished is kept: go on with `evoopt resume` and the run's folder"
_LOST = "Dask workers were lost"
_log = logging.getLogger(__name__)


class _Client(Client):  # type: ignore[misc]
    """One that is closed at once if it cannot connect.

    The garbage collector would close it otherwise, perhaps while its thread holds a lock that closing needs.
    """

    def start(self, **options: Any) -> Any:
        """See `distributed.Client.start`."""
        try:
            return super().start(**options)
        except BaseException:
            self.close()
            raise


class DaskExecutor(Executor):
    """Runs every chunk as a Dask task; where it runs, a process like a local pool's does the work.

    A chunk that crashes, raises or hangs is dealt with there as in a pool. A Dask worker that is lost has its
    chunks run elsewhere by Dask, at most as often as the scheduler's ``allowed-failures`` permits; results do
    not count those attempts. Dask blames all chunks that were waiting on a lost worker, so those that it has
    given up get a last chance in the end, one by one. Lost workers of a cluster on this machine are replaced.

    Args:
        factory: Makes the worker in each process.
        setup: The factory's argument.
        workers: Dask workers of a cluster on this machine; None means usable cores divided by threads, or the
            number of GPUs. Ignored with an address.
        threads: Torch threads per process.
        timeout_s: Longest time for one chunk in seconds, or None.
        scheduler: Address of a running scheduler; None starts a cluster on this machine.
        device: What the work computes on. With CUDA a chunk takes one unit of the Dask resource ``GPU``.

    Raises:
        EvooptError: Factory or setup cannot be pickled.
    """

    def __init__(
        self,
        factory: WorkerFactory,
        setup: Any,
        workers: int | None,
        threads: int,
        timeout_s: float | None,
        scheduler: str | None = None,
        device: str = "cpu",
    ) -> None:
        refuse_unguarded_main()
        try:
            payload = pickle.dumps((factory, setup))
        except Exception as error:
            raise EvooptError(
                f"the work cannot be sent to Dask workers: {one_line(error)}; "
                "define it at the top level of an importable module"
            ) from error
        self._name = f"evoopt-{uuid.uuid4().hex[:12]}"
        self._plugin = ProcessPlugin(self._name, payload, threads, timeout_s, versions())
        self._workers, self._threads = workers, threads
        self._scheduler, self._device = scheduler, device
        self._resources = {"GPU": 1} if device.startswith("cuda") else None
        self._client: Client | None = None
        self._runs = 0
        self._running = False
        self._open = contextlib.ExitStack()
        self._finalizer = weakref.finalize(self, _close_own, self._open, os.getpid())

    def run(self, chunks: Sequence[Any]) -> Iterator[ChunkResult]:
        """See `Executor.run`.

        Raises:
            EvooptError: The scheduler cannot be reached or was lost, or a worker has another version.
        """
        if self._running:
            raise RuntimeError("the executor is still busy with an earlier run; close its iterator first")
        if not self._finalizer.alive:
            raise RuntimeError("the executor is closed")
        self._running = True
        self._runs += 1
        futures: dict[Future, int] = {}
        try:
            for index, chunk in enumerate(chunks):
                message = pickled(index, chunk)
                if isinstance(message, ChunkResult):
                    yield message
                else:
                    futures[self._submit(index, message)] = index
            lost = []
            for result in self._results(futures):
                if result.error == _LOST:
                    lost.append(result)
                else:
                    yield result
            for before in sorted(lost, key=lambda result: result.index):
                futures[self._submit(before.index, pickle.dumps(chunks[before.index]), "-alone")] = (
                    before.index
                )
                for result in self._results(futures):
                    yield replace(result, attempts=result.attempts + before.attempts)
        finally:
            self._running = False
            self._forget(futures)

    def close(self) -> None:
        """See `Executor.close`."""
        self._finalizer()

    def _results(self, futures: dict[Future, int]) -> Iterator[ChunkResult]:
        if futures:
            loop = self._connected().loop
            for future, answer in as_completed(futures, loop, with_results=True, raise_errors=False):
                yield self._result(futures.pop(future), answer)

    def _submit(self, index: int, message: bytes, again: str = "") -> Future:
        client = self._connected()
        # Never a key that was used before: results are not cached.
        key = f"{self._name}-{self._runs}-{index}{again}"
        # A chunk with the weights of many models is large on purpose; Dask would advise against it.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
            return client.submit(run_chunk, self._name, index, message, key=key, resources=self._resources)

    def _result(self, index: int, answer: Any) -> ChunkResult:
        if isinstance(answer, ChunkResult):
            return told(_unpickled(answer))
        if isinstance(answer, CancelledError):
            raise EvooptError(
                f"the Dask scheduler at {self._where} was lost or stopped this work; {_RESUMABLE}"
            )
        error = answer[1]
        if isinstance(error, KilledWorker):
            return ChunkResult(index, None, _LOST, error.allowed_failures + 1, 0.0)
        if isinstance(error, EvooptError):
            raise error
        raise EvooptError(
            f"a Dask worker could not take the work: {one_line(error)}; its evoopt must be the same as here"
        ) from error

    def _forget(self, futures: dict[Future, int]) -> None:
        if futures and self._client is not None and self._client.status == "running":
            self._client.cancel(list(futures))
        futures.clear()

    @property
    def _where(self) -> str:
        return self._scheduler or "this machine"

    def _connected(self) -> Client:
        if self._client is None:
            address = self._scheduler or self._start_cluster()
            try:
                with sigint_blocked():  # inherited by the threads it starts
                    client = _Client(address, set_as_default=False)
            except (OSError, ValueError) as error:
                raise EvooptError(
                    f"cannot reach a Dask scheduler at {address}: {one_line(error)}; start one with "
                    "`dask scheduler`, or leave out its address"
                ) from None
            self._open.callback(_disconnect, client, self._name)
            self._client = client
            try:
                client.register_plugin(self._plugin, self._name)
            except Exception as error:
                raise EvooptError(
                    f"a Dask worker of {self._where} cannot load evoopt: {one_line(error)}; "
                    "install the same version there as here"
                ) from error
            self._warn_of_missing_workers(client)
        return self._client

    def _start_cluster(self) -> str:
        """Start a scheduler in this process and workers beside it; returns the address."""
        gpus = _gpus(self._device)
        size = self._workers or len(gpus) or max(1, usable_cores() // self._threads)
        local = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        scheduler = {"cls": Scheduler, "options": local}
        # The Dask workers only pass messages on, so that their own memory needs no limit.
        options = {**local, "nthreads": 1, "memory_limit": 0, "silence_logs": logging.ERROR}
        workers = {}
        for k in range(size):
            # A device with a number was chosen by the user among those visible: leave them as they are.
            env = {"CUDA_VISIBLE_DEVICES": gpus[k % len(gpus)]} if len(gpus) > 1 else {}
            gpu = {"resources": self._resources, "env": env} if self._resources else {}
            workers[k] = {"cls": Nanny, "options": {**options, **gpu}}
        settings = {
            "distributed.nanny.pre-spawn-environ": {},  # would change this process's environment
            "distributed.worker.profile.enabled": False,
        }
        try:
            # Threads that are started inside inherit the blocked signal, and so do the workers they start.
            with dask.config.set(settings), importable_main(), sigint_blocked():
                cluster = SpecCluster(workers, scheduler, silence_logs=logging.ERROR)
        except Exception as error:
            raise EvooptError(
                f"no Dask worker could start: {one_line(error)}; see what it printed, and in a script {GUARD}"
            ) from error
        self._open.callback(cluster.close)
        # Dask closes a nanny for good whose worker is away at an unlucky moment, however often it came back.
        replaced = PeriodicCallback(lambda: cluster.scale(size), 5_000)
        cluster.loop.add_callback(replaced.start)
        self._open.callback(cluster.loop.add_callback, replaced.stop)
        address: str = cluster.scheduler_address
        return address

    def _warn_of_missing_workers(self, client: Client) -> None:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:
            _log.warning("waiting for Dask workers; start one with: dask worker %s", self._where)
        elif self._resources and not any("GPU" in worker["resources"] for worker in workers):
            _log.warning(
                "waiting for Dask workers with a GPU; start one with: "
                "dask worker %s --nthreads 1 --resources GPU=1",
                self._where,
            )


def _unpickled(result: ChunkResult) -> ChunkResult:
    if result.error is not None:
        return result
    try:
        return replace(result, value=pickle.loads(result.value))  # type: ignore[arg-type]
    except Exception as error:
        reason = f"result cannot be unpickled: {one_line(error)}"
        return replace(result, value=None, error=reason, traceback=full_text(error))


def _gpus(device: str) -> list[str]:
    """Names of the GPUs to spread workers over, for CUDA_VISIBLE_DEVICES."""
    if not device.startswith("cuda"):
        return []
    import torch

    index = device.partition(":")[2]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if index:
        return [index]
    return visible.split(",") if visible else list(map(str, range(torch.cuda.device_count())))


def _disconnect(client: Client, name: str) -> None:
    if client.status == "running":
        # A scheduler that ends at this moment has forgotten the plugin anyway.
        with contextlib.suppress(Exception):
            client.unregister_worker_plugin(name)
    client.close()


def _close_own(stack: contextlib.ExitStack, owner: int) -> None:
    # A forked copy of the owner must leave the owner's cluster alone.
    if os.getpid() == owner:
        stack.close()
