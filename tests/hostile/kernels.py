"""Compiled kernels on arguments that do not fit, and on odd ones that do.

``python -m tests.hostile.kernels --odd 5000 --seed 0`` does both; memory faults are for a sanitizer to see
(`tests.hostile.sanitizer`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.optim.terms import TERMS
from evoopt.training.coefficients import CONSTANTS
from evoopt.training.native import (
    batch_norm,
    convolution,
    cross_entropy,
    dropping,
    linear,
    philox,
    pooling,
    staged,
    update,
)
from tests.hostile.odd_kernels import compare

P, IN, OUT, B, KH, KW, H, W = 3, 5, 4, 6, 2, 3, 7, 8  # all different, so that no mistake fits by chance
FILTERS, CHANNELS = 4, 2
PIECES = (staged.Piece(0, 0, 10, True, 2.0), staged.Piece(13, 10, 4, False, 1.0))


@dataclass(frozen=True)
class Call:
    """A call that is right.

    Attributes:
        run: Takes the tensors by name.
        tensors: What it takes.
        free: Dimensions whose size nothing else decides, by name of the tensor.
        shared: Tensors that may be ``[1, ...]``.
        optional: Tensors that may be None.
        written: Tensors that are written to.
        measure: The tensor whose type may be any that kernels know.
    """

    run: Callable[..., object]
    tensors: dict[str, Tensor]
    free: frozenset[tuple[str, int]] = frozenset()
    shared: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    measure: str = ""


def calls() -> dict[str, Call]:
    """One right call of every function that is handed tensors."""
    a, weight, bias = torch.randn(P, IN, B), torch.randn(P, OUT, IN), torch.randn(P, OUT)
    grad, relu_out = torch.randn(2, P, OUT, B)
    images, kernels = torch.randn(P, CHANNELS, H, W, B), torch.randn(P, FILTERS, CHANNELS, KH, KW)
    flows, filter_bias = torch.randn(P, FILTERS, H - KH + 1, W - KW + 1, B), torch.randn(P, FILTERS)
    pooled = torch.randn(P, CHANNELS, H // 2, W // 2, B)
    less = torch.randn(P, FILTERS, (H - KH + 1) // 2, (W - KW + 1) // 2, B)
    w, g, m, v = torch.rand(4, P, 17)
    per_channel = {"weight": torch.rand(P, CHANNELS), "bias": torch.rand(P, CHANNELS)}
    terms = [term.name for term in TERMS if term.cpp is not None]
    return {
        "linear.forward": Call(
            partial(linear.forward, relu=True), {"a": a, "weight": weight, "bias": bias},
            frozenset({("a", 2)}), ("a",), ("bias",),
        ),
        "linear.backward": Call(
            partial(linear.backward, wanted=True),
            {"a": a, "weight": weight, "grad": grad, "relu_out": relu_out,
             "d_weight": torch.empty(P, OUT, IN), "d_bias": torch.empty(P, OUT)},
            shared=("a",), optional=("relu_out", "d_bias"), written=("d_weight", "d_bias"),
        ),
        "convolve": Call(
            partial(convolution.convolve, padding=(0, 0)),
            {"a": images, "kernels": kernels, "bias": filter_bias},
            frozenset({("a", 2), ("a", 3), ("a", 4), ("kernels", 3), ("kernels", 4)}), ("a",), ("bias",),
        ),
        "convolve and pool": Call(
            partial(convolution.convolve, padding=(0, 0), window=(2, 2), relu=True),
            {"a": images, "kernels": kernels, "bias": filter_bias},
            frozenset({("a", 2), ("a", 3), ("a", 4), ("kernels", 3), ("kernels", 4)}), ("a",), ("bias",),
        ),
        "output_gradient": Call(
            partial(convolution.output_gradient, size=(H - KH + 1, W - KW + 1), window=(2, 2)),
            {"grad": less, "out": less.clone(), "winners": less.to(torch.uint8),
             "d_bias": filter_bias.clone()},
            optional=("out", "d_bias"), written=("d_bias",),
        ),
        "input_gradient": Call(
            partial(convolution.input_gradient, padding=(0, 0)), {"grad": flows, "kernels": kernels},
            frozenset({("grad", 2), ("grad", 3), ("grad", 4), *(("kernels", k) for k in (2, 3, 4))}),
        ),
        "kernel_gradient": Call(
            partial(convolution.kernel_gradient, padding=(0, 0)),
            {"a": images, "grad": flows, "kernels": kernels}, shared=("a",),
        ),
        "max_pool": Call(
            lambda a: pooling.max_pool(nn.MaxPool2d(2), a), {"a": images},
            frozenset(("a", k) for k in range(5)), measure="a",
        ),
        "max_pool, back": Call(pooling.max_pool(nn.MaxPool2d(2), images)[1], {"grad": pooled}),
        "cross_entropy": Call(
            cross_entropy.losses_and_gradient,
            {"outputs": torch.randn(P, OUT, B), "y": torch.randint(0, OUT, (P, B))},
            frozenset({("outputs", 1)}), ("y",), measure="outputs",
        ),
        "batch_norm.forward": Call(
            lambda a, weight, bias, mean, var: batch_norm.forward(
                a, P, weight, bias, (mean, var), True, 0.1, 1e-5, True
            ),
            {"a": images, **per_channel, "mean": per_channel["weight"].clone(),
             "var": per_channel["weight"].clone()},
            frozenset(("a", k) for k in (2, 3, 4)), ("a",), ("weight", "bias"), ("mean", "var"),
        ),
        "batch_norm.backward": Call(
            partial(batch_norm.backward, of_batch=True),
            {"a": images, "weight": per_channel["weight"], "grad": images.clone(),
             "by": torch.rand(P, CHANNELS, 2), "relu_out": images.clone(),
             "d_weight": torch.empty(P, CHANNELS), "d_bias": torch.empty(P, CHANNELS)},
            shared=("a",), optional=("weight", "relu_out", "d_weight", "d_bias"),
            written=("d_weight", "d_bias"),
        ),
        "dropout": Call(
            dropping.apply,
            {"a": images, "uniform": torch.rand(P, CHANNELS, H, W, B),
             "rates": torch.rand(P, dtype=torch.float64)},
            frozenset({("uniform", 3)}), ("uniform",), measure="a",
        ),
        "uniforms": Call(
            lambda keys, step: philox.uniforms(keys, step, 1, (B, 3)),
            {"keys": torch.arange(P), "step": torch.tensor([2])},
            frozenset({("keys", 0)}),
        ),
        "update": Call(
            partial(update.step, terms),
            {"w": w, "g": g, "m": m, "v": v, "coefficients": torch.rand(len(CONSTANTS) + len(terms), P)},
            optional=("m", "v"), written=("w", "m", "v"),
        ),
        "staged": Call(
            partial(staged.step, terms, pieces=PIECES, masked=True),
            {"w": w.clone(), "g": g, "m": torch.rand(P, 14), "v": torch.rand(P, 14),
             "coefficients": torch.rand(len(CONSTANTS) + len(terms), P)},
            optional=("m", "v"), written=("w", "m", "v"),
        ),
    }  # fmt: skip


def faults(call: Call) -> Iterator[tuple[str, dict[str, object]]]:
    """Arguments with one fault each, and what it is."""
    for name, tensor in call.tensors.items():
        for what, value in _unlike(tensor):
            if name == call.measure and isinstance(value, Tensor) and value.dtype == torch.float64:
                continue
            yield f"{name} {what}", {**call.tensors, name: value}
        if name not in call.optional:
            yield f"no {name}", {**call.tensors, name: None}
        for k, size in enumerate(tensor.shape):
            if (name, k) in call.free:
                continue
            for other in {0, 1, size - 1, size + 1, 2 * size + 1, 64} - {size}:
                if not (k == 0 and other == 1 and name in call.shared):
                    shape = (*tensor.shape[:k], other, *tensor.shape[k + 1 :])
                    yield f"{name} with {other} for {size} at {k}", {
                        **call.tensors, name: torch.zeros(shape, dtype=tensor.dtype)
                    }  # fmt: skip
        if name in call.written:
            yield (
                f"{name} backwards",
                {**call.tensors, name: tensor.clone().movedim(0, -1).contiguous().movedim(-1, 0)},
            )
            one = tensor[:1].clone().expand(tensor.shape)
            yield f"{name} the same memory for all members", {**call.tensors, name: one}
            overlapping = torch.zeros(99).as_strided(tensor.shape, (1, *tensor.stride()[1:]))
            yield f"{name} overlapping", {**call.tensors, name: overlapping}


def _unlike(tensor: Tensor) -> Iterator[tuple[str, object]]:
    others = (torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int64, torch.int32,
              torch.uint8, torch.bool)  # fmt: skip
    for dtype in others:
        if dtype != tensor.dtype:
            yield f"of {dtype}", tensor.to(dtype)
    freed = tensor.clone()
    freed.untyped_storage().resize_(0)
    yield "on another device", tensor.to("meta")
    yield "sparse", tensor.to_sparse()
    yield "without memory", freed
    yield "with a dimension more", tensor.unsqueeze(-1)
    if tensor.dim() > 1:
        yield "with a dimension less", tensor.flatten(0, 1)
    yield "without dimensions", torch.tensor(1, dtype=tensor.dtype)
    yield "an array", tensor.numpy()
    yield "a list", tensor.tolist()
    yield "a word", "tensor"


def wrong_settings() -> Iterator[tuple[str, Callable[[], object]]]:
    """Settings of layers that torch refuses, too, and sizes beyond what numbers in C hold."""
    images, kernels = torch.randn(P, CHANNELS, H, W, B), torch.randn(P, FILTERS, CHANNELS, KH, KW)
    for padding in ((-1, 0), (0, -1), (0.5, 0), ("1", 0), (2**31, 0), (2**63, 0), (2**64, 1), (None, 0)):
        yield f"convolve, padding {padding}", partial(convolution.convolve, images, kernels, None, padding)
        yield (
            f"input_gradient, padding {padding}",
            partial(convolution.input_gradient, images, kernels.new_empty(P, CHANNELS, 1, KH, KW), padding),
        )
        yield (
            f"kernel_gradient, padding {padding}",
            partial(convolution.kernel_gradient, images, images, kernels, padding),
        )
    yield (
        "convolve, as much padding as numbers hold",
        partial(convolution.convolve, images, kernels, None, (2**31 - 1, 2**31 - 1)),
    )
    for shape in ((P, CHANNELS, 0, W, B), (P, CHANNELS, H, 0, B), (P, CHANNELS, KH - 1, W, B)):
        yield (
            f"convolve, images {shape}",
            partial(convolution.convolve, torch.empty(shape), kernels, None, (0, 0)),
        )
    for window in ((0, 1), (1, -1), (2**64, 1), (1.5, 2), (17, 1), (5, 4), (KH + H, 1)):
        yield (
            f"convolve, window {window}",
            partial(convolution.convolve, images, kernels, None, (0, 0), window),
        )
        yield (
            f"output_gradient, window {window}",
            partial(convolution.output_gradient, images, None, images.to(torch.uint8), (H, W), window),
        )
    for size in ((H - 1, W), (H, W + 1), (0, W), (H, 2**63)):
        yield (
            f"output_gradient, size {size}",
            partial(convolution.output_gradient, images, images, None, size),
        )
    for sides in ((0, 1), (1, 0)):
        empty = torch.empty(P, FILTERS, CHANNELS, *sides)
        yield f"convolve, kernels of {sides}", partial(convolution.convolve, images, empty, None, (0, 0))
    large = (P, FILTERS, 1, 1, B)
    yield (
        "input_gradient, nothing left",
        partial(convolution.input_gradient, torch.empty(large), kernels, (1, 1)),
    )
    for kernel, stride, padding in (
        (2, 2, 2), (3, 1, 2), (1, 1, 1), ((2, 3), 1, (1, 2)), (0, 1, 0), (-1, 1, 0), (2, 0, 0), (2, -1, 0),
        (2, 1, -1), (9, 1, 0), (16, 1, 8), (2, 2**64, 0), (2, 1, 2**64), (2**64, 1, 0), (1.5, 1, 0),
        ("2", 1, 0), ((2, None), 1, 0), (2, (1, 0.5), 0),
    ):  # fmt: skip
        layer = nn.MaxPool2d(kernel, stride, padding)  # type: ignore[arg-type]
        yield f"max_pool, {layer}", partial(pooling.max_pool, layer, images)
    for shape in ((P, CHANNELS, 0, W, B), (P, CHANNELS, H, 0, B), (P, CHANNELS, 1, W, B)):
        yield f"max_pool, images {shape}", partial(pooling.max_pool, nn.MaxPool2d(2), torch.empty(shape))
    yield (
        "cross_entropy, no classes",
        partial(
            cross_entropy.losses_and_gradient, torch.empty(P, 0, B), torch.zeros(P, B, dtype=torch.int64)
        ),
    )
    for numbers in ((-1, 0, (B,)), (0, -1, (B,)), (2**31, 0, (B,)), (0, 0, (-1,)), (0, 0, (2**30, 2**30)),
                    (0.5, 0, (B,))):  # fmt: skip
        yield f"uniforms, {numbers}", partial(philox.uniforms, torch.arange(P), *numbers)
    table = torch.zeros(len(CONSTANTS) + 2, P)
    for terms in (("grad", "no such term"), ("grad", "grad")):
        yield f"update, terms {terms}", partial(update.step, terms, *torch.rand(2, P, 5), None, None, table)
    for at, kept, size in ((14, 10, 4), (-1, 10, 4), (13, -1, 4), (13, 10, -1), (2**63, 10, 4)):
        pieces = (PIECES[0], staged.Piece(at, kept, size, False, 1.0))
        yield (
            f"staged, {pieces[1]}",
            partial(
                staged.step, ("grad", "adam"), *torch.rand(2, P, 17), None, None, table, pieces, masked=False
            ),
        )


def refused() -> tuple[int, list[str]]:
    """Try everything that does not fit; returns how much that was, and what was not refused in one line."""
    right = calls()
    for call in right.values():
        call.run(**call.tensors)  # so that layouts that fit are known
    tries = [
        (f"{name}: {what}", partial(call.run, **tensors))
        for name, call in right.items()
        for what, tensors in faults(call)
    ]
    tries.extend(wrong_settings())
    failures = []
    for what, attempt in tries:
        try:
            attempt()
        except EvooptError as error:
            if not str(error).strip() or "\n" in str(error):
                failures.append(f"{what}: more than a line: {error}")
        except Exception as error:
            failures.append(f"{what}: {type(error).__name__}: {error}")
        else:
            failures.append(f"{what}: accepted")
    return len(tries), failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--odd", type=int, default=1000, help="how many right calls of odd sizes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unchecked", action="store_true", help="hand the first fault to a kernel")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.unchecked:
        linear.expect = lambda what, tensor, *more, **flags: (tensor, tensor.data_ptr(), 0)  # type: ignore
        linear.forward(torch.randn(1, 2, B), torch.randn(1, OUT, 500), None, True)
    count, failures = refused()
    for seed in range(options.seed, options.seed + options.odd):
        try:
            difference = compare(seed)
        except Exception as error:
            difference = f"{type(error).__name__}: {error}"
        if difference:
            failures.append(f"seed {seed}: {difference}")
    print("\n".join(failures))
    print(f"{count} wrong and {options.odd} odd calls, {len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
