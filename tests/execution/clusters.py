"""A Dask cluster of separate processes, as people start one on several machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass
class Cluster:
    """A scheduler and its workers.

    Attributes:
        address: The scheduler's.
        scheduler: Its process.
        workers: The workers' processes; without a nanny, so that one that dies stays dead.
    """

    folder: Path
    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker with one thread."""
        command = ["worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", *options]
        self.workers.append(_start(self.folder, *command))
        return self.workers[-1]


@contextmanager
def separate_cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Start a scheduler and workers; end all of them and their children at the end."""
    file = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    scheduler = _start(folder, "scheduler", *options, "--scheduler-file", str(file))
    cluster = Cluster(folder, "", scheduler)
    try:
        while not (file.exists() and file.read_text()):
            time.sleep(0.05)
            assert scheduler.poll() is None, "the scheduler did not start"
        cluster.address = json.loads(file.read_text())["address"]
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        for process in [*cluster.workers, scheduler]:
            for child in descendants(process.pid):
                child.kill()
            process.kill()
            process.wait()


def descendants(pid: int) -> list[psutil.Process]:
    """Living processes that a process has started, directly or not."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def chunk_processes(pid: int) -> list[psutil.Process]:
    """Those of them that work on chunks."""
    return [p for p in descendants(pid) if "spawn_main" in " ".join(p.cmdline())]


def _start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    # The workers' own profiler takes its samples all the time, and nobody looks at them.
    settings = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, "PYTHONPATH": str(root), **settings}
    with (folder / "cluster.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], stdout=log, stderr=log, cwd=folder, env=environment
        )
