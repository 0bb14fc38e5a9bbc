"""Runs kernels in CUDA C++ on the CPU: a grid of threads, one after another, as they share nothing."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from evoopt.training.native.cuda import Launch

_FOLDER = tempfile.TemporaryDirectory(prefix="evoopt-cuda-")
_BEFORE = """
#include <cmath>
#include <cstring>
using std::sqrt;
#define __global__
#define __device__
static unsigned __float_as_uint(float x) { unsigned bits; std::memcpy(&bits, &x, 4); return bits; }
static float __uint_as_float(unsigned bits) { float x; std::memcpy(&x, &bits, 4); return x; }
struct Place { int x, y, z; };
static Place blockIdx, threadIdx, blockDim, gridDim;
struct Pointer { void *to; template <class X> operator X *() const { return (X *)to; } };
"""
_RUN = """
extern "C" void run(const int *grid, const int *block, const Pointer *t, const int *n) {{
  gridDim = {{grid[0], grid[1], 1}}, blockDim = {{block[0], block[1], 1}};
  for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
      for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x)
        for (threadIdx.y = 0; threadIdx.y < block[1]; ++threadIdx.y)
          {name}({arguments});
}}
"""


def launch(source: str, name: str, how: Launch) -> None:
    """Run a kernel of a source (see `evoopt.training.native.cuda.source`)."""
    tensors = [a for a in how.arguments if isinstance(a, Tensor)]
    numbers = how.arguments[len(tensors) :]
    assert not any(isinstance(n, Tensor) for n in numbers)
    assert all(0 < n < 2**31 for n in (*how.grid, *how.block))
    pointers = (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))
    ints = lambda values: (ctypes.c_int * len(values))(*values)  # noqa: E731
    _library(source, name, len(tensors), len(numbers)).run(
        ints(how.grid), ints(how.block), pointers, ints(numbers)
    )


@functools.cache
def _library(source: str, name: str, tensors: int, numbers: int) -> ctypes.CDLL:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    given = [*(f"t[{k}]" for k in range(tensors)), *(f"n[{k}]" for k in range(numbers))]
    text = _BEFORE + source + _RUN.format(name=name, arguments=", ".join(given))
    path = Path(_FOLDER.name) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path.with_suffix(".cpp").write_text(text)
    made, file = str(path.with_suffix(".so")), str(path.with_suffix(".cpp"))
    subprocess.run([compiler, "-O1", "-std=c++17", "-w", "-shared", "-fPIC", "-o", made, file], check=True)
    return ctypes.CDLL(made)


def compile_for_a_gpu(source: str, name: str) -> None:
    """Compile a kernel by the compiler that torch brings along, or skip the test where it brings none."""
    try:
        compile_ = torch.cuda._utils._nvrtc_compile
        torch.cuda._utils._get_gpu_rtc_library()
    except (AttributeError, OSError, TypeError) as error:
        pytest.skip(f"this torch has no compiler for CUDA: {error!r}")
    binary, found = compile_(source, name, compute_capability="90")
    assert found == name
    assert len(binary) > 1000
