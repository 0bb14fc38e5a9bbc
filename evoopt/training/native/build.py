"""Compiles a source file of this folder with the machine's C++ compiler, once, and loads it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from evoopt.errors import EvooptError, EvooptWarning, one_line
from evoopt.execution.user_cache import user_cache

_FLAGS = (
    "-O3", "-funroll-loops", "-fno-math-errno", "-fno-trapping-math", "-std=c++17", "-shared", "-fPIC", "-w",
)  # fmt: skip
_PROCESSORS = (
    ("-march=native", "-mprefer-vector-width=512"),  # the second is of use on x86 only, an error elsewhere
    ("-march=native",),
    ("-mcpu=native",),  # where clang does not know the other, on Arm
    (),
)
_HEADER = "vectors.h"
_TELLING = ("model name", "flags", "Features", "CPU implementer", "CPU variant", "CPU part")  # x86, Arm
_SECONDS = 600  # of a compiler, on a machine that has much else to do
_DIGEST = hashlib.sha256().digest_size


@functools.cache
def library(name: str, before: str = "") -> ctypes.CDLL | None:
    """Load ``name.cpp`` compiled, with some lines before it; None, with one notice, where that fails.

    The compiler is ``$CXX``, by default g++ or clang++; the flags in ``$EVOOPT_KERNEL_FLAGS``, such as
    ``-fsanitize=address``, follow the usual ones. The result is kept in the user's cache
    (``$XDG_CACHE_HOME``), under a name that depends on source, compiler, flags and processor.
    """
    source = before + text_of(f"{name}.cpp")
    try:
        compiler = _compiler()
        file_name = _file_name(name, source, compiler)
        if cache := user_cache("kernels"):
            path = cache / file_name
            if _whole(path):
                return ctypes.CDLL(str(path))
            if _writable(cache):
                with _alone(path):
                    if not _whole(path):
                        _compile(name, source, compiler, path)
                return ctypes.CDLL(str(path))
        with tempfile.TemporaryDirectory(prefix="evoopt-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / file_name
            _compile(name, source, compiler, path)
            return ctypes.CDLL(str(path))  # which needs its file no longer
    except (EvooptError, OSError, subprocess.SubprocessError) as error:
        warnings.warn(
            f"populations are trained uncompiled and slower: {one_line(error)}", EvooptWarning, stacklevel=1
        )
        return None


def _compiler() -> list[str]:
    """The words that call the compiler: `$CXX`, which may have arguments, or what is there."""
    own = os.environ.get("CXX", "").strip()
    try:
        ways = [[own], shlex.split(own)] if own else [["g++"], ["clang++"]]
    except ValueError as error:
        raise EvooptError(f"CXX={own!r} cannot be read: {error}") from None
    for words in ways:  # a path may have spaces in it
        if shutil.which(words[0]):
            return words
    if own:
        raise EvooptError(f"there is no {own!r}, which CXX names")
    raise EvooptError("there is no C++ compiler, install g++ or clang++")


def _file_name(name: str, source: str, compiler: list[str]) -> str:
    version = subprocess.run(
        [*compiler, "--version"], capture_output=True, check=True, timeout=_SECONDS
    ).stdout
    flags = repr((_FLAGS, _PROCESSORS, _more_flags()))
    facts = (source.encode(), text_of(_HEADER).encode(), version, _processor(), flags.encode())
    digest = hashlib.sha256(b"\0".join(facts)).hexdigest()[:24]
    return f"{name}-{digest}.so"


def _more_flags() -> tuple[str, ...]:
    return tuple(shlex.split(os.environ.get("EVOOPT_KERNEL_FLAGS", "")))


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.rmdir(tempfile.mkdtemp(dir=folder))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time make a file: the workers of a large machine would all compile at once."""
    lock = FileLock(path.with_suffix(".lock"))
    with contextlib.suppress(OSError, NotImplementedError):  # a file system that has no locks, or too long
        lock.acquire(timeout=_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _compile(name: str, source: str, compiler: list[str], path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        part, file = Path(scratch) / path.name, Path(scratch) / f"{name}.cpp"
        file.write_text(source, encoding="utf-8")
        file.with_name(_HEADER).write_text(text_of(_HEADER), encoding="utf-8")
        for processor in _PROCESSORS:
            command = [*compiler, *_FLAGS, *processor, *_more_flags(), "-o", str(part), str(file)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
            if done.returncode == 0:
                # Whole or not at all: a machine may lose its power.
                with part.open("r+b") as whole:
                    whole.write(hashlib.sha256(whole.read()).digest())
                    whole.flush()
                    os.fsync(whole.fileno())
                os.replace(part, path)
                return
        raise OSError(done.stderr.strip().splitlines()[0] if done.stderr.strip() else "the compiler failed")


def _whole(path: Path) -> bool:
    """Whether a compiled file ends with the digest of what comes before; loading half of one ends Python."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]


def text_of(name: str) -> str:
    """A source file of this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _processor() -> bytes:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({x for x in lines if x.startswith(_TELLING)})).encode()
    except OSError:
        return f"{platform.machine()} {platform.processor()}".encode()
