"""Cost of one step of exported classes, as ratios to a step of ``torch.optim.AdamW`` of the same kind.

Every optimizer steps the same lists of parameters with constant gradients, one after the other within each
repetition, so that a ratio compares neighbours in time. ``python -m benchmarks.export_step`` prints them,
``python -m benchmarks.export_step stages`` those of the presets with stages, all to AdamW's ``foreach`` and
in the process's own time, which others' load changes less.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter
from torchvision.models import resnet18

from evoopt.execution.process_setup import torch_threads
from evoopt.export.write_presets import PRESET_CLASSES
from evoopt.optim import STAGED_PRESETS, generated

WAYS: dict[str, dict[str, bool]] = {
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
"""Kinds of implementation, as options of the constructor."""


def resnet20_parameters() -> list[Parameter]:
    """Parameters of the CIFAR ResNet-20 of He et al. (2015), table 6, with identity shortcuts."""
    shapes: list[tuple[int, ...]] = [(16, 3, 3, 3), (16,), (16,)]
    channels = 16
    for width in (16, 32, 64):
        for _ in range(3):
            shapes += [(width, channels, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            channels = width
    return _with_gradients([*shapes, (10, 64), (10,)])


def resnet18_parameters() -> list[Parameter]:
    """Parameters of torchvision's ResNet-18."""
    return _with_gradients([tuple(p.shape) for p in resnet18().parameters()])


def transformer_parameters(width: int = 256, tokens: int = 1000, layers: int = 6) -> list[Parameter]:
    """Parameters of a transformer encoder with embedding and output layer."""
    layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=4 * width)
    shapes = [tuple(p.shape) for p in layer.parameters()]
    return _with_gradients([(tokens, width), *shapes * layers, (tokens, width), (tokens,)])


def small_transformer_parameters() -> list[Parameter]:
    """25 parameters of a 2-layer transformer encoder with embedding."""
    return transformer_parameters(width=64, tokens=100, layers=2)[:25]


def many_parameters() -> list[Parameter]:
    """200 parameters, of a hundred layers of 32 units."""
    return _with_gradients([(32, 32), (32,)] * 100)


def _with_gradients(shapes: list[tuple[int, ...]]) -> list[Parameter]:
    generator = torch.Generator().manual_seed(0)
    params = [Parameter(0.1 * torch.randn(shape, generator=generator)) for shape in shapes]
    for p in params:
        p.grad = 0.1 * torch.randn(p.shape, generator=generator)
    return params


def run(repetitions: int = 15, compiled: bool = True) -> dict[str, Any]:
    """Measure on one thread.

    Args:
        repetitions: Interleaved repetitions; the medians over them are reported.
        compiled: Whether to measure ``torch.compile`` too, which takes a minute or two to compile.

    Returns:
        Per parameter list: number of parameters, microseconds per step of each kind of AdamW, ratio of each
        class to the kind it is compared with, and per preset the bytes of state against what its moving
        averages need.
    """
    with torch_threads(1):
        return {
            "resnet20": _measure(resnet20_parameters, repetitions, compiled),
            "resnet18": _measure(resnet18_parameters, repetitions, False),
            "transformer": _measure(transformer_parameters, repetitions, compiled),
            "state_bytes": _state_bytes(),
        }


def _measure(make: Callable[[], list[Parameter]], repetitions: int, compiled: bool) -> dict[str, Any]:
    adamw = {name: torch.optim.AdamW(make(), **options) for name, options in WAYS.items()}
    steps: dict[tuple[str, str], Callable[[], Any]] = {("adamw", way): opt.step for way, opt in adamw.items()}
    for way, options in WAYS.items():
        steps["evoopt adamw", way] = generated.AdamW(make(), **options).step
        steps["marfinetz2025", way] = generated.Marfinetz2025(make(), total_steps=10**6, **options).step
        steps["lion", way] = generated.Lion(make(), weight_decay=0.01, **options).step
    if compiled:
        step = torch.compile(generated.Marfinetz2025(make(), total_steps=10**6).step)
        steps["marfinetz2025 in torch.compile", "foreach"] = step
    numbers = sum(p.numel() for p in make())
    seconds = _seconds(steps, repetitions, max(3, 10**7 // numbers), time.perf_counter)
    base = {way: seconds.pop(("adamw", way)) for way in WAYS}
    return {
        "parameters": numbers,
        "adamw_microseconds": {way: 1e6 * statistics.median(times) for way, times in base.items()},
        "ratios": {
            f"{name}, {way}": statistics.median(t / b for t, b in zip(times, base[way], strict=True))
            for (name, way), times in seconds.items()
        },
    }


def _seconds(
    steps: dict[Any, Callable[[], Any]], repetitions: int, inner: int, clock: Callable[[], float]
) -> dict[Any, list[float]]:
    for step in steps.values():
        for _ in range(3):
            step()
    seconds: dict[Any, list[float]] = {name: [] for name in steps}
    for _ in range(repetitions):
        for name, step in steps.items():
            start = clock()
            for _ in range(inner):
                step()
            seconds[name].append((clock() - start) / inner)
    return seconds


def run_stages(repetitions: int = 7) -> dict[str, Any]:
    """Measure the presets with stages on one thread, every way against AdamW's ``foreach``.

    Returns:
        Per parameter list microseconds of a step of ``torch.optim.AdamW(foreach=True)``, and ratios to it of
        each class and, on the small lists, of ``torch.optim.Muon`` with that AdamW for what is no hidden
        matrix.
    """
    makes = (small_transformer_parameters, many_parameters, transformer_parameters)
    with torch_threads(1):
        return {
            make.__name__.removesuffix("_parameters"): _measure_stages(make, repetitions) for make in makes
        }


def _measure_stages(make: Callable[[], list[Parameter]], repetitions: int) -> dict[str, Any]:
    def groups(params: list[Parameter]) -> list[dict[str, Any]]:
        return [{"params": params[:1], "matrix": False}, {"params": params[1:]}]

    numbers = sum(p.numel() for p in make())
    is_large = numbers > 10**6
    steps: dict[str, Callable[[], Any]] = {"adamw": torch.optim.AdamW(make(), foreach=True).step}
    if not is_large:  # on a CPU its bfloat16 would take minutes
        steps["torch muon and adamw"] = _torch_muon(make())
    for preset in STAGED_PRESETS:
        cls = getattr(generated, PRESET_CLASSES[preset])
        for way, options in WAYS.items():
            steps[f"{preset}, {way}"] = cls(groups(make()), **options).step
    seconds = _seconds(steps, repetitions, 2 if is_large else 10, time.process_time)
    base = seconds.pop("adamw")
    return {
        "parameters": numbers,
        "adamw_microseconds": 1e6 * statistics.median(base),
        "ratios": {
            name: statistics.median(t / b for t, b in zip(times, base, strict=True))
            for name, times in seconds.items()
        },
    }


def _torch_muon(params: list[Parameter]) -> Callable[[], None]:
    matrices = [p for p in params[1:] if p.dim() == 2]
    others = [p for p in params if not any(p is matrix for matrix in matrices)]
    muon = torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(others, foreach=True)

    def step() -> None:
        muon.step()
        adamw.step()

    return step


def _state_bytes() -> dict[str, dict[str, int]]:
    found = {}
    for preset, class_name in PRESET_CLASSES.items():
        cls, params = getattr(generated, class_name), resnet20_parameters()
        optimizer = cls(params, **({"total_steps": 10} if preset == "marfinetz2025" else {}))
        optimizer.step()
        averages = len(optimizer.state[params[0]]) - 1
        found[preset] = {
            "state": sum(v.nbytes for state in optimizer.state.values() for v in state.values()),
            "needed": averages * sum(p.nbytes for p in params) + 4 * len(params),
        }
    return found


if __name__ == "__main__":
    print(json.dumps(run_stages() if sys.argv[1:] == ["stages"] else run(), indent=2))
