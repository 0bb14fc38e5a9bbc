"""Timing side by side, because machines and their load differ: only ratios within one run mean anything."""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.problems import Problem, data_of

ROUNDS = 5


def side_by_side(
    contenders: Mapping[str, tuple[Callable[[], object], float]], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Time contenders in turn, after one unmeasured turn each.

    Args:
        contenders: What to call, and the units of work (members times steps) that one call does, by name.
        rounds: How often.

    Returns:
        Seconds per unit of work, one per round, by name.
    """
    for call, _ in contenders.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (call, work) in contenders.items():
            started = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - started) / work)
    return times


def ratio(times: Mapping[str, list[float]], slow: str, fast: str) -> dict[str, float]:
    """Median, lowest and highest of the rounds' ratios."""
    ratios = sorted(a / b for a, b in zip(times[slow], times[fast], strict=True))
    return {"median": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]}


def shown(found: Mapping[str, float], digits: int = 1) -> str:
    """A `ratio`, its lowest and highest in brackets."""
    median, low, high = (f"{found[name]:.{digits}f}" for name in ("median", "low", "high"))
    return f"{median}x ({low} to {high})"


def rates(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Members times steps per second, median."""
    return {name: 1 / statistics.median(seconds) for name, seconds in times.items()}


def product_flops(seconds: float = 2.0) -> float:
    """Float32 operations per second of a 512x512 matrix product with the current thread count.

    That of torch or of oneDNN on weights in its own order, whichever is faster: torch's library for products
    may use half of a processor that it was not made for, and a limit that can be passed is none.
    """
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    products = [partial(torch.mm, a, b, out=torch.empty(512, 512))]
    try:  # what torch itself compiles linear layers to, no promised interface
        ordered = torch.ops.mkldnn._reorder_linear_weight(b, 512)
        one = partial(torch.ops.mkldnn._linear_pointwise, a, ordered, None, "none", [], "")
        one()
        products.append(one)
    except (AttributeError, RuntimeError):
        pass
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for product in products:
            started = time.perf_counter()
            product()
            best = min(best, time.perf_counter() - started)
    return float(2 * 512**3 / best)


def step_flops(problem: Problem) -> int:
    """Operations in the matrix products and convolutions of one forward and backward pass."""
    split = data_of(problem, problem.batch_size).train
    model = problem.make_model()
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(split.x), split.y).backward()
    return int(counter.get_total_flops())


def peak_memory_mb(script: str) -> float:
    """Highest resident memory of a fresh interpreter that runs a script, in MB (Linux)."""
    code = f"{script}\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(out.stdout.split()[-2]) / 1024


def machine() -> dict[str, Any]:
    """What the figures were measured on, without anything private."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            model = next(
                (line.split(":")[1].strip() for line in file if line.startswith("model name")), model
            )
    started = getattr(sys.modules["__main__"], "__spec__", None)
    module = started.name.removesuffix(".__main__") if started else "benchmarks"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
    }
