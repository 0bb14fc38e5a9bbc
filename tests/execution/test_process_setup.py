"""Workers live and die with their parent: whole programs, started, interrupted and killed."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evoopt.execution.process_setup import importable_main, thread_limits_for_children, usable_cores

ROOT = Path(__file__).parents[2]
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

HEAD = """
import sys, threading
from pathlib import Path
from evoopt.errors import EvooptError
from evoopt.execution import make_executor
from tests.execution import workers
folder = Path({folder!r})
"""

SLEEPERS = """
def work():
    with make_executor("process", workers.make_scripted, None, workers=2) as pool:
        chunks = [("sleep", 600, folder / "0"), ("sleep", 600, folder / "1")]
        for result in pool.run(chunks):
            print(result)
"""


def start(tmp_path: Path, text: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(HEAD.format(folder=str(tmp_path)) + text)
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def wait_for(*paths: Path) -> None:
    while not all(path.exists() for path in paths):
        time.sleep(0.02)


@posix_only
@pytest.mark.parametrize("thread", ["main", "other"])
def test_no_worker_outlives_a_killed_parent(tmp_path: Path, thread: str) -> None:
    run = {"main": "work()", "other": "t = threading.Thread(target=work); t.start(); t.join()"}[thread]
    script = start(tmp_path, f"{SLEEPERS}\nif __name__ == '__main__':\n    {run}\n")
    wait_for(tmp_path / "0", tmp_path / "1")
    os.kill(script.pid, signal.SIGKILL)
    # The workers share the script's output: it ends when the last of them is gone.
    script.communicate(timeout=300)


@posix_only
def test_workers_started_by_a_thread_outlive_the_thread(tmp_path: Path) -> None:
    script = start(
        tmp_path,
        """
if __name__ == "__main__":
    with make_executor("process", workers.make_scripted, None, workers=1) as pool:
        pids = []
        for _ in range(2):
            t = threading.Thread(target=lambda: pids.extend(r.value for r in pool.run([("pid",)])))
            t.start()
            t.join()
        print(len(pids), len(set(pids)))
""",
    )
    assert script.communicate(timeout=300)[0] == "2 1\n"


@posix_only
@pytest.mark.parametrize("moment", ["in a chunk", "while workers import the script", "in the factory"])
def test_ctrl_c_ends_everything_without_a_traceback_from_workers(tmp_path: Path, moment: str) -> None:
    slow = {
        "in a chunk": "",
        "while workers import the script": """
if __name__ == "__mp_main__":
    import time
    (folder / "0").touch(), (folder / "1").touch()
    time.sleep(2)
""",
        "in the factory": """
from functools import partial
def slow_factory(setup):
    import time
    (folder / "0").touch(), (folder / "1").touch()
    time.sleep(600)
workers.make_scripted = slow_factory
""",
    }[moment]
    script = start(
        tmp_path,
        f"""{slow}{SLEEPERS}
if __name__ == "__main__":
    try:
        work()
    except KeyboardInterrupt:
        sys.exit("interrupted")
""",
    )
    wait_for(tmp_path / "0", tmp_path / "1")
    os.killpg(script.pid, signal.SIGINT)
    out, err = script.communicate(timeout=300)
    assert (out, err, script.returncode) == ("", "interrupted\n", 1)


def test_exit_without_close_leaves_no_worker(tmp_path: Path) -> None:
    script = start(
        tmp_path,
        """
if __name__ == "__main__":
    pool = make_executor("process", workers.make_scripted, None, workers=2)
    results = pool.run([("sleep", 600, folder / "0"), ("double", 2)])
    print(next(results).value)
""",
    )
    assert script.communicate(timeout=300) == ("4\n", "")


UNGUARDED = """
try:
    with make_executor("process", workers.make_scripted, None, workers=2) as pool:
        print([result.value for result in pool.run([("double", 2), ("double", 2)])])
except EvooptError as error:
    sys.exit(str(error))
"""


def test_a_script_without_main_guard_is_told_so_in_one_line(tmp_path: Path) -> None:
    script = start(tmp_path, UNGUARDED)
    out, err = script.communicate(timeout=300)
    assert (out, script.returncode) == ("", 1)
    assert "starts evoopt again" in err
    assert 'if __name__ == "__main__":' in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("option", ["-", "-c"])
def test_a_program_that_is_no_file_needs_no_guard(tmp_path: Path, option: str) -> None:
    text = HEAD.format(folder=str(tmp_path)) + UNGUARDED
    done = subprocess.run(
        [sys.executable, "-"] if option == "-" else [sys.executable, "-c", text],
        input=text if option == "-" else None,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    assert (done.stdout, done.stderr) == ("[4, 4]\n", "")


def test_a_main_module_that_is_no_file_is_hidden_only_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.setattr(main, "__file__", "<stdin>", raising=False)
    with importable_main():
        assert not hasattr(main, "__file__")
    assert main.__file__ == "<stdin>"


def test_thread_limits_leave_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with thread_limits_for_children(3):
        assert {os.environ[f"{library}_NUM_THREADS"] for library in ("OMP", "MKL", "OPENBLAS")} == {"3"}
    assert dict(os.environ) == before


def test_usable_cores_are_those_that_the_process_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 8}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 64


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_kept_for_reuse_until_it_is_given_back() -> None:
    """Page faults of refilling a large block twenty times, before and after the setting; and residence."""
    text = """
import ctypes, resource
from evoopt.execution.process_setup import give_back_freed_memory, keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = libc.malloc(64 * 2**20)
        libc.memset(block, 1, 64 * 2**20)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
assert keep_freed_memory()
faults()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
inner, block = libc.malloc(64 * 2**20), libc.malloc(64)  # the block keeps the heap from shrinking at its end
libc.memset(inner, 1, 64 * 2**20)
libc.free(inner)
after, kept = faults(), resident()
give_back_freed_memory()
print(before, after, kept - resident())
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, env=env
    ).stdout
    before, after, given_back = map(int, output.split())
    assert after < before / 10
    assert given_back > 50 * 2**20
