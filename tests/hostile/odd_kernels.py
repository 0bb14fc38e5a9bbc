"""Kernels on odd sizes and layouts, compared with plain torch one member at a time."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.optim.terms import TERMS
from evoopt.training.batched_update import run_program
from evoopt.training.coefficients import CONSTANTS, Program
from evoopt.training.counters import plain_uniforms
from evoopt.training.dropout import GivenDropout
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

SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 9, 13, 15, 16, 17, 23, 31, 32, 33, 37, 64, 67)
_TERMS = [term.name for term in TERMS if term.cpp is not None]


def compare(seed: int) -> str:
    """One random call; returns what differs, nothing where the kernel is right."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    kind = rng.choice(
        [_linear, _convolution, _pooling, _cross_entropy, _update, _staged, _batch_norm, _dropout, _uniforms]
    )
    dtype = rng.choice([torch.float32, torch.float64])
    close = 1e-10 if dtype == torch.float64 else 2e-4
    for name, (actual, expected) in kind(rng, dtype).items():
        if actual.shape != expected.shape:
            return f"{kind.__name__}: {name} is {tuple(actual.shape)}, in torch {tuple(expected.shape)}"
        if not torch.allclose(actual, expected, rtol=close, atol=close, equal_nan=True):
            return f"{kind.__name__}: {name} differs by {(actual - expected).abs().max()}"
    return ""


Pairs = dict[str, tuple[Tensor, Tensor]]


def _laid_out(rng: random.Random, tensor: Tensor) -> Tensor:
    """The same numbers in another layout."""
    way = rng.randrange(5)
    if way == 0:  # in the rows of a matrix
        rows = torch.empty(len(tensor), tensor[:1].numel() + 7, dtype=tensor.dtype)
        view = rows[:, 3:-4].view(tensor.shape)
    elif way == 1:  # members innermost
        view = torch.empty_like(tensor.movedim(0, -1).contiguous()).movedim(-1, 0)
    elif way == 2:  # every other number
        view = torch.empty(*tensor.shape[:-1], 2 * tensor.shape[-1], dtype=tensor.dtype)[..., ::2]
    else:
        return tensor
    return view.copy_(tensor)


def _in_rows(rng: random.Random, *shape: int, dtype: torch.dtype) -> Tensor:
    """Memory to write to."""
    size = torch.Size(shape[1:]).numel()
    return torch.empty(shape[0], size + rng.choice([0, 5]), dtype=dtype)[:, :size].view(shape)


def _linear(rng: random.Random, dtype: torch.dtype) -> Pairs:
    members, inputs, outputs, examples = rng.randrange(5), *(rng.choice(SIZES) for _ in range(3))
    a = torch.randn(1 if rng.random() < 0.3 else members, inputs, examples, dtype=dtype)
    weight, bias = (
        torch.randn(members, outputs, inputs, dtype=dtype),
        torch.randn(members, outputs, dtype=dtype),
    )
    grad, relu, biased = (
        torch.randn(members, outputs, examples, dtype=dtype),
        *(rng.random() < 0.5 for _ in "ab"),
    )
    x, w, b = (t.clone().requires_grad_() for t in (a.expand(members, -1, -1), weight, bias))
    expected = torch.bmm(w, x) + (b.unsqueeze(-1) if biased else 0)
    expected = expected.relu() if relu else expected
    wanted = torch.autograd.grad(expected, (x, w, b), grad, allow_unused=True)
    given = [_laid_out(rng, t) for t in (a, weight, bias, grad)]
    out = linear.forward(given[0], given[1], given[2] if biased else None, relu)
    d_weight, d_bias = _in_rows(rng, *weight.shape, dtype=dtype), _in_rows(rng, *bias.shape, dtype=dtype)
    dx = linear.backward(
        given[0], given[1], given[3], out if relu else None, d_weight, d_bias if biased else None, True
    )
    assert dx is not None
    pairs = {"out": (out, expected), "inputs": (dx, wanted[0]), "weights": (d_weight, wanted[1])}
    return {**pairs, "bias": (d_bias, wanted[2])} if biased else pairs


def _convolution(rng: random.Random, dtype: torch.dtype) -> Pairs:
    members, examples = rng.randrange(4), rng.choice(SIZES)
    channels, filters = rng.choice((1, 1, 2, 3, 4, 5, 7)), rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15))
    kernel, padding = (rng.randint(1, 4), rng.randint(1, 4)), (rng.randint(0, 3), rng.randint(0, 3))
    sides = [max(1, k - 2 * p) + rng.randint(0, 4) for k, p in zip(kernel, padding)]
    a = torch.randn(1 if rng.random() < 0.3 else members, channels, *sides, examples, dtype=dtype)
    weight = torch.randn(members, filters, channels, *kernel, dtype=dtype)
    bias = torch.randn(members, filters, dtype=dtype) if rng.random() < 0.5 else None
    x, w = (t.clone().requires_grad_() for t in (a.expand(members, *a.shape[1:]), weight))
    planes = [sides[k] + 2 * padding[k] - kernel[k] + 1 for k in (0, 1)]
    parts = [
        F.conv2d(x[k].permute(3, 0, 1, 2), w[k], None if bias is None else bias[k], padding=padding)
        for k in range(members if examples else 0)
    ]
    expected = (
        torch.stack(parts).permute(0, 2, 3, 4, 1)
        if parts
        else x.new_zeros(members, filters, *planes, examples)
    )
    grad = torch.randn(expected.shape, dtype=dtype)
    wanted = (
        torch.autograd.grad(expected, (x, w), grad) if parts else (torch.zeros_like(x), torch.zeros_like(w))
    )
    given = [_laid_out(rng, t) for t in (a, weight, grad)]
    window = rng.randint(1, min(4, planes[0])), rng.randint(1, min(4, planes[1]))
    pooled, winners = convolution.convolve(given[0], given[1], bias, padding, window, relu=True)
    flows = _laid_out(rng, torch.ones_like(pooled))
    d_bias = torch.empty(members, filters, dtype=dtype)
    through = convolution.output_gradient(flows, pooled, winners, (planes[0], planes[1]), window, d_bias)
    positive = (pooled > 0).to(dtype)
    return {
        "out": (convolution.convolve(given[0], given[1], bias, padding)[0], expected),
        "pooled": (pooled, _largest(expected.detach(), window).relu()),
        "of windows": (_largest(through, window), positive),
        "of all": (through.sum(dim=(2, 3)), positive.sum(dim=(2, 3))),
        "bias": (d_bias, positive.sum(dim=(2, 3, 4))),
        "inputs": (convolution.input_gradient(given[2], given[1], padding), wanted[0]),
        "kernels": (convolution.kernel_gradient(given[0], given[2], given[1], padding), wanted[1]),
    }


def _largest(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Max pooling of ``[P, C, H, W, b]``."""
    for dim, side in zip((2, 3), window, strict=True):
        x = (
            x.unfold(dim, side, side).amax(dim=-1)
            if x.numel()
            else x[(slice(None),) * dim + (slice(x.shape[dim] // side),)]
        )
    return x


def _pooling(rng: random.Random, dtype: torch.dtype) -> Pairs:
    kernel = rng.randint(1, 5), rng.randint(1, 5)
    stride, padding = (rng.randint(1, 4), rng.randint(1, 4)), [rng.randint(0, k // 2) for k in kernel]
    sides = [max(1, k - 2 * p) + rng.randint(0, 5) for k, p in zip(kernel, padding)]
    members, channels, examples = rng.randrange(4), rng.randrange(4), rng.choice(SIZES)
    images = torch.randn(members, channels, *sides, examples, dtype=dtype)
    if rng.random() < 0.3:
        images = images.round()
        images.masked_fill_(torch.rand(images.shape) < 0.01, torch.nan)
    layer = nn.MaxPool2d(kernel, stride, (padding[0], padding[1]))
    x = images.clone().requires_grad_()
    expected = layer(x.permute(0, 4, 1, 2, 3).flatten(0, 1)) if images.numel() else None
    out, back = pooling.max_pool(layer, _laid_out(rng, images))
    if expected is None:
        return {"inputs": (back(torch.empty_like(out)), images)}
    expected = expected.unflatten(0, (members, examples)).permute(0, 2, 3, 4, 1)
    grad = torch.randn(expected.shape, dtype=dtype)
    (wanted,) = torch.autograd.grad(expected, x, grad)
    return {"out": (out, expected), "inputs": (back(_laid_out(rng, grad)), wanted)}


def _cross_entropy(rng: random.Random, dtype: torch.dtype) -> Pairs:
    members, classes, examples = rng.randrange(5), rng.choice(SIZES[1:]), rng.choice(SIZES)
    outputs = torch.randn(members, classes, examples, dtype=dtype).mul_(rng.choice([1, 100])).requires_grad_()
    y = torch.randint(0, classes, (1 if rng.random() < 0.3 else members, examples))
    each = F.cross_entropy(outputs, y.expand(members, -1), reduction="none")
    (wanted,) = torch.autograd.grad(each.mean(dim=1).sum(), outputs)
    given = _laid_out(rng, outputs.detach()), _laid_out(rng, y)
    actual = cross_entropy.losses_and_gradient(*given)
    assert actual is not None
    return {"losses": (actual[0], each.mean(dim=1)), "gradient": (actual[1], wanted)}


def _update(rng: random.Random, dtype: torch.dtype) -> Pairs:
    members, size = rng.randrange(1, 5), rng.choice(SIZES)
    terms = [name for name in _TERMS if rng.random() < 0.4]
    reads_v = Program(tuple(terms), True, True).reads_v  # only then is v computed at all
    keeps_m, keeps_v = rng.random() < 0.7, reads_v and rng.random() < 0.7
    kept = [True, True, keeps_m, keeps_v]
    given = [_in_rows(rng, members, size, dtype=dtype).copy_(torch.rand(members, size) + 0.5) for _ in kept]
    tensors = [tensor if keep else None for tensor, keep in zip(given, kept)]
    copies = [None if tensor is None else tensor.clone() for tensor in tensors]
    table = torch.rand(len(CONSTANTS) + len(terms), members + 3, dtype=dtype)[:, 1 : 1 + members] + 0.1
    update.step(terms, *tensors, table)  # type: ignore[arg-type]
    program = Program(tuple(terms), keeps_m, keeps_v)
    run_program(program, *copies, table.unsqueeze(-1))  # type: ignore[arg-type]
    return {
        name: (tensor, copy)
        for name, tensor, copy in zip("wgmv", tensors, copies)
        if tensor is not None and copy is not None
    }


def _staged(rng: random.Random, dtype: torch.dtype) -> Pairs:
    members, masked = rng.randrange(1, 5), rng.random() < 0.5
    pieces, at, kept = [], 0, 0
    for _ in range(rng.randrange(4)):
        at += rng.choice(SIZES)
        size = rng.choice(SIZES)
        pieces.append(staged.Piece(at, kept, size, rng.random() < 0.5, rng.random() + 0.5))
        at, kept = at + size, kept + size
    terms = ["grad", "adam", "sign_momentum"]
    width = at + rng.choice(SIZES)
    w, g = (_in_rows(rng, members, width, dtype=dtype).copy_(torch.randn(members, width)) for _ in "wg")
    m, v = (_in_rows(rng, members, kept, dtype=dtype).copy_(torch.rand(members, kept)) for _ in "mv")
    table = torch.rand(len(CONSTANTS) + len(terms), members, dtype=dtype) + 0.1
    of_w, of_m, of_v = w.clone(), m.clone(), v.clone()
    staged.step(terms, w, g, m, v, table, tuple(pieces), masked)
    lr, decay = (table[CONSTANTS.index(name)][:, None] for name in ("lr", "decay"))
    from_zero = table.clone()
    from_zero[CONSTANTS.index("lr")] = -1
    for piece in pieces:
        own, there = slice(piece.at, piece.at + piece.size), slice(piece.kept, piece.kept + piece.size)
        u = torch.zeros(members, piece.size, dtype=dtype)
        program = Program(tuple(terms), m=True, v=True)
        run_program(program, u, g[:, own].clone(), of_m[:, there], of_v[:, there], from_zero.unsqueeze(-1))
        if masked:
            agree = (u.sign() * g[:, own].sign() > 0).to(dtype)
            u = u * agree / agree.mean(dim=1, keepdim=True).clamp(min=1e-3)
        if piece.divided:
            u = u / u.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-15)
        of_w[:, own] = of_w[:, own] * decay - lr * piece.factor * u
    return {"w": (w, of_w), "m": (m, of_m), "v": (v, of_v)}


def _batch_norm(rng: random.Random, dtype: torch.dtype) -> Pairs:
    members, channels, *rest = rng.randrange(5), *(rng.choice(SIZES) for _ in range(3))
    a = torch.randn(1 if rng.random() < 0.3 else members, channels, *rest, dtype=dtype)
    relu, affine, kept, of_batch = (rng.random() < 0.5 for _ in "abcd")
    of_batch = of_batch or not kept
    if a.shape[2:].numel() < 3 and of_batch:  # where nearly all of a gradient is taken away
        return {}
    # No output at a deviation of about zero, where ReLU is undecided.
    shifts = torch.rand(members, channels, dtype=dtype) + 0.5
    weight, bias, mean, var = (_laid_out(rng, shifts.roll(k).clone()) for k in range(4))
    grad = torch.randn(members, *a.shape[1:], dtype=dtype)
    x, w, b = (t.clone().requires_grad_() for t in (a.expand(members, *a.shape[1:]), weight, bias))
    m, v, y = mean.clone(), var.clone(), x.flatten(2)
    if of_batch and y.numel():
        centre, spread = y.mean(dim=2), y.var(dim=2, correction=0)
        n = y.shape[2]
        m, v = 0.7 * m + 0.3 * centre.detach(), 0.7 * v + 0.3 * spread.detach() * n / (n - 1)
    else:
        centre, spread = m, v
    y = (y - centre.unsqueeze(2)) / (spread.unsqueeze(2) + 1e-3).sqrt()
    if affine:
        y = y * w.unsqueeze(2) + b.unsqueeze(2)
    expected = (y.relu() if relu else y).view(x.shape)
    wanted = torch.autograd.grad(expected, (x, w, b), grad, allow_unused=True)
    own = (weight, bias) if affine else (None, None)
    mean, var = mean.contiguous(), var.contiguous()
    given = [_laid_out(rng, t) for t in (a, grad)]
    running = (mean, var) if kept else None
    out, by = batch_norm.forward(given[0], members, *own, running, of_batch, 0.3, 1e-3, relu)
    d_weight, d_bias = (_in_rows(rng, members, channels, dtype=dtype) if affine else None for _ in "wb")
    passed = out if relu else None
    dx = batch_norm.backward(given[0], own[0], given[1], by, passed, d_weight, d_bias, of_batch)
    found = {"outputs": (out, expected), "inputs": (dx, wanted[0])}
    if d_weight is not None and d_bias is not None:
        found |= {"weights": (d_weight, wanted[1]), "biases": (d_bias, wanted[2])}
    if kept:
        found |= {"mean": (mean, m), "variance": (var, v)}
    return found


def _dropout(rng: random.Random, dtype: torch.dtype) -> Pairs:
    shape = (rng.randrange(5), *(rng.choice(SIZES[:-5]) for _ in range(rng.randrange(2, 5))))
    numbers = [rng.choice([1, shape[0]]), *shape[1:]]
    if rng.random() < 0.5:  # whole channels
        numbers[2:-1] = [1] * len(numbers[2:-1])
    a, uniform = torch.randn(shape, dtype=dtype), torch.rand(numbers)
    rates = torch.tensor([rng.choice([0.0, 0.3, 0.5, 1.0]) for _ in range(shape[0])], dtype=torch.float64)
    expected = a * GivenDropout.mask(uniform, rates.view(-1, *[1] * (len(shape) - 1)), dtype)
    given = [_laid_out(rng, t) for t in (a, uniform, rates)]
    return {"outputs": (dropping.apply(*given), expected)}


def _uniforms(rng: random.Random, dtype: torch.dtype) -> Pairs:
    keys = torch.randint(0, 2**63 - 1, (rng.choice(SIZES),))
    place = rng.randrange(2**31), rng.randrange(4), (rng.choice(SIZES), rng.choice(SIZES))
    return {"numbers": (philox.uniforms(keys, *place), plain_uniforms(keys, *place))}
