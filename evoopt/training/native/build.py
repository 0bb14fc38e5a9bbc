"""Compiles a source file of this folder with the machine's C++ compiler, once, and loads it."""

from __future__ import annotations

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
from pathlib import Path

from evoopt.errors import EvooptError, EvooptWarning, one_line

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
_SECONDS = 120
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
        return ctypes.CDLL(str(_compiled(name, source, _compiler())))
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


def _compiled(name: str, source: str, compiler: list[str]) -> Path:
    version = subprocess.run(
        [*compiler, "--version"], capture_output=True, check=True, timeout=_SECONDS
    ).stdout
    more = tuple(shlex.split(os.environ.get("EVOOPT_KERNEL_FLAGS", "")))
    header, flags = text_of(_HEADER), repr((_FLAGS, _PROCESSORS, more))
    facts = (source.encode(), header.encode(), version, _processor(), flags.encode())
    digest = hashlib.sha256(b"\0".join(facts)).hexdigest()[:24]
    file_name = f"{name}-{digest}.so"
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "evoopt" / "kernels"
        path = folder / file_name
        if path.is_file() and _whole(path):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.mkdtemp(dir=folder)
    except (OSError, RuntimeError):  # a home that cannot be entered or written, or a user without one
        folder = Path(tempfile.mkdtemp(prefix="evoopt-"))
        path, scratch = folder / file_name, tempfile.mkdtemp(dir=folder)
    part, file = Path(scratch) / path.name, Path(scratch) / f"{name}.cpp"
    try:
        file.write_text(source, encoding="utf-8")
        file.with_name(_HEADER).write_text(header, encoding="utf-8")
        for processor in _PROCESSORS:
            command = [*compiler, *_FLAGS, *processor, *more, "-o", str(part), str(file)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
            if done.returncode == 0:
                # Whole or not at all: several workers may be compiling at the same time, and a machine may
                # lose its power.
                with part.open("r+b") as whole:
                    whole.write(hashlib.sha256(whole.read()).digest())
                    whole.flush()
                    os.fsync(whole.fileno())
                os.replace(part, path)
                return path
        raise OSError(done.stderr.strip().splitlines()[0] if done.stderr.strip() else "the compiler failed")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _whole(path: Path) -> bool:
    """Whether a compiled file ends with the digest of what comes before; loading half of one ends Python."""
    content = path.read_bytes()
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
