"""A full disk stops a run in one clear line; with space again it ends with the same bytes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.reliability.commands import ENVIRONMENT, finish, outcome, write_space

SPACE_TO_GO_ON = "64m"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own on a folder, so small that it gets full."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs privileges")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module", params=("quick", "gadam"))
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp(request.param)
    space = write_space(folder, request.param)
    code, errors = finish("search", space, "--out", folder / "run")
    assert code == 0, errors
    return space, outcome(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 60, 140, 220, 300, 400, 700])
def test_a_full_disk_stops_a_run_that_goes_on_later(
    reference: tuple[Path, dict], kilobytes: int, tmp_path: Path
) -> None:
    space, expected = reference
    disk, run = tmp_path / "disk", tmp_path / "disk" / "run"
    with small_disk(disk, f"{kilobytes}k"):
        code, errors = finish("search", space, "--out", run)
        assert "Traceback" not in errors
        assert code in (0, 2)
        if code == 2:
            assert errors.splitlines()[-1].startswith("error: cannot write")
        subprocess.run(["mount", "-o", f"remount,size={SPACE_TO_GO_ON}", str(disk)], check=True)
        if (run / "config.toml").exists():
            code, errors = finish("resume", run)
        else:
            code, errors = finish("search", space, "--out", disk / "anew")
            run = disk / "anew"
        assert code == 0, errors
        assert outcome(run) == expected


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [8, 40, 80, 160])
def test_a_limit_on_the_size_of_files_is_met_like_a_full_disk(
    reference: tuple[Path, dict], kilobytes: int, tmp_path: Path
) -> None:
    space, expected = reference
    run = tmp_path / "run"
    command = [sys.executable, "-m", "evoopt.cli", "search", str(space), "--out", str(run), "-q"]
    limit = kilobytes * 1024
    stopped = subprocess.run(
        [*command, "--executor", "serial"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert "Traceback" not in stopped.stderr
    if stopped.returncode:
        assert "error: cannot write" in stopped.stderr
    if (run / "config.toml").exists():
        code, errors = finish("resume", run)
    else:
        run = tmp_path / "anew"
        code, errors = finish("search", space, "--out", run)
    assert code == 0, errors
    assert outcome(run) == expected
