"""Processes whose kernels are built with sanitizers, so that reading or writing past memory ends them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys

FLAGS = "-O0 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
_BUILD = """
from types import SimpleNamespace
from evoopt.training.native import build, staged, update
build.ctypes = SimpleNamespace(CDLL=str)  # without the sanitizer what is built cannot be loaded
for name in ("linear", "convolution", "pooling", "cross_entropy"):
    assert build.library(name)
assert build.library("update", update.LISTS)
assert build.library("staged", staged.BEFORE)
"""


@functools.cache
def missing() -> str:
    """Why there can be no such process here, if so."""
    if shutil.which("g++") is None:
        return "no g++ here"
    return "" if all(map(os.path.isabs, _libraries())) else "no libasan here"


def sanitized(module: str, *arguments: str, timeout: float = 550) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module`` with such kernels."""
    _build()
    environment = _environment() | {"LD_PRELOAD": ":".join(_libraries())}
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)


@functools.cache
def _build() -> None:
    """Before, and once: the compiler itself needs no sanitizer."""
    command = [sys.executable, "-W", "error", "-c", _BUILD]
    subprocess.run(command, env=_environment(), check=True, timeout=550)


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "CXX": "g++",
        "EVOOPT_KERNEL_FLAGS": FLAGS,
        "OMP_NUM_THREADS": "1",
        "ASAN_OPTIONS": "detect_leaks=0",
    }


def _libraries() -> list[str]:
    """What must be loaded before Python: the sanitizer, and the C++ library whose exceptions it watches."""
    names = ("libasan.so", "libstdc++.so")
    found = (subprocess.check_output(["g++", f"-print-file-name={name}"], text=True) for name in names)
    return [path.strip() for path in found]  # a bare name where there is none
