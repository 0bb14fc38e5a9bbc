"""A full disk stops a run in one clear line; with space again it ends with the same bytes."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from evoopt import resume, search
from evoopt.compare import command
from evoopt.compare.analysis import analyse
from evoopt.compare.command import Report
from evoopt.config import load_space
from evoopt.errors import EvooptError
from evoopt.export import write_export
from evoopt.report import save_plot, write_report
from evoopt.runs import Run
from tests.compare.stubs import comparison_of
from tests.reliability.commands import ENVIRONMENT, outcome, write_space
from tests.report.runs import make_run

SPACE_TO_GO_ON = "64m"
SERIAL = {"execution": {"executor": "serial"}}


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


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """A limit on the size of files, in bytes, which is met like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # Python itself would keep half a compiled module
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[0][1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
        sys.dont_write_bytecode = before[1]


def test_what_finds_no_room_replaces_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    run = make_run("pbt", tmp_path / "run")
    for written, write in {
        "rule.py": lambda path: write_export("adamw", path, "Mine", path.exists()),
        "report.html": lambda path: write_report(run, path),
        "fitness.svg": lambda path: save_plot(run, "fitness", path),
    }.items():
        for old in (None, "what was there"):
            path = tmp_path / written
            if old is not None:
                path.write_text(old)
            with no_file_above(100), pytest.raises(EvooptError, match=rf"cannot write .*{written}: File too"):
                write(path)
            assert (path.read_text() if path.exists() else None) == old
        write(path)
        assert path.stat().st_size > 100
    assert not list(tmp_path.glob(".*.part"))
    with (
        no_file_above(100),
        pytest.raises(EvooptError, match=r"cannot write .*run\.sqlite: .*free some space$"),
    ):
        Run.create(tmp_path / "another", load_space("gadam-digits"))
    link = tmp_path / "link.html"
    link.symlink_to("report.html")
    write_report(run, link)
    assert link.is_symlink(), "a link that somebody names is written through"


def test_a_comparison_that_finds_no_room_leaves_the_one_before(tmp_path: Path) -> None:
    comparison = comparison_of({"digits": {"mine": [0.6, 0.7, 0.9], "adam": [0.5, 0.6, 0.7]}})
    report = Report(comparison, analyse(comparison))
    command.write_report(report, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for size in sorted({100, *(len(content) - 1 for content in before.values())}):
        with no_file_above(size), pytest.raises(EvooptError, match=r"cannot write .*: File too"):
            command.write_report(report, tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_room_for_a_backup_a_run_goes_on_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    with Run.create(folder, load_space("gadam-digits")) as run:
        run.store.set_meta("large", "x" * 200_000)
    with Run(folder, writable=True) as run, caplog.at_level(logging.WARNING, "evoopt"):
        with no_file_above(100_000):
            run.store.save_generation({"generation": 0}, {"stages": 1}, [])
        assert "no room for a backup" in caplog.text
        assert run.store.checkpoint() == {"stages": 1}
    assert not list(folder.glob("*backup*"))
    assert not list(folder.glob(".*backup*"))


@dataclass(frozen=True)
class Reference:
    """A run on a disk that is large enough.

    Attributes:
        space: What it searches.
        outcome: What it came to.
        sizes: Bytes of the files without which it is not finished.
    """

    space: Path
    outcome: dict[str, bytes]
    sizes: list[int]


@pytest.fixture(scope="module", params=("quick", "gadam"))
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp(request.param)
    space = write_space(folder, request.param)
    search(space, out=folder / "run", overrides=SERIAL)
    results = outcome(folder / "run")
    sizes = [(folder / "run" / name).stat().st_size for name in ("run.sqlite", *results)]
    return Reference(space, results, sizes)


def finished(space: Path, run: Path, anew: Path) -> Path:
    """Go on with a run now that there is space, or begin it anew if it never began; where it ended."""
    if (run / "config.toml").exists():
        resume(run)
    else:
        run = anew
        search(space, out=run, overrides=SERIAL)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 60, 140, 220, 300, 400, 700])
def test_a_full_disk_stops_a_run_that_goes_on_later(
    reference: Reference, kilobytes: int, tmp_path: Path
) -> None:
    disk, run = tmp_path / "disk", tmp_path / "disk" / "run"
    with small_disk(disk, f"{kilobytes}k"):
        try:
            search(reference.space, out=run, overrides=SERIAL)
        except EvooptError as error:
            assert str(error).startswith("cannot write")
            assert "\n" not in str(error)
        else:
            assert sum(reference.sizes) <= kilobytes * 1024, "it cannot have found room"
        subprocess.run(["mount", "-o", f"remount,size={SPACE_TO_GO_ON}", str(disk)], check=True)
        assert outcome(finished(reference.space, run, disk / "anew")) == reference.outcome


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [8, 40, 80, 160])
def test_a_limit_on_the_size_of_files_is_met_like_a_full_disk(
    reference: Reference, kilobytes: int, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-B", "-m", "evoopt", "search", str(reference.space), "--out", str(run), "-q"]
    limit = kilobytes * 1024
    stopped = subprocess.run(
        [*command, "--executor", "serial"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert "Traceback" not in stopped.stderr
    assert stopped.returncode or max(reference.sizes) <= limit, "it cannot have written its files"
    if stopped.returncode:
        assert "error: cannot write" in stopped.stderr
    assert outcome(finished(reference.space, run, tmp_path / "anew")) == reference.outcome
