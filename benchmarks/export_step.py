"""Cost of one step of exported classes, as ratios to a step of ``torch.optim.AdamW`` of the same kind.

Every optimizer steps the same lists of parameters with constant gradients, one after the other within each
repetition, so that a ratio compares neighbours in time. ``python -m benchmarks.export_step`` prints them.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter
from torchvision.models import resnet18

from evoopt.export.write_presets import PRESET_CLASSES
from evoopt.optim import generated

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


def transformer_parameters(width: int = 256, tokens: int = 1000) -> list[Parameter]:
    """Parameters of a 6-layer transformer encoder with embedding and output layer."""
    layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=4 * width)
    shapes = [tuple(p.shape) for p in layer.parameters()]
    return _with_gradients([(tokens, width), *shapes * 6, (tokens, width), (tokens,)])


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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {
            "resnet20": _measure(resnet20_parameters, repetitions, compiled),
            "resnet18": _measure(resnet18_parameters, repetitions, False),
            "transformer": _measure(transformer_parameters, repetitions, compiled),
            "state_bytes": _state_bytes(),
        }
    finally:
        torch.set_num_threads(threads)


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
    for step in steps.values():
        for _ in range(3):
            step()
    numbers = sum(p.numel() for p in make())
    inner = max(3, 10**7 // numbers)
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in steps}
    for _ in range(repetitions):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(inner):
                step()
            seconds[name].append((time.perf_counter() - start) / inner)
    base = {way: seconds.pop(("adamw", way)) for way in WAYS}
    return {
        "parameters": numbers,
        "adamw_microseconds": {way: 1e6 * statistics.median(times) for way, times in base.items()},
        "ratios": {
            f"{name}, {way}": statistics.median(t / b for t, b in zip(times, base[way], strict=True))
            for (name, way), times in seconds.items()
        },
    }


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
    print(json.dumps(run(), indent=2))
