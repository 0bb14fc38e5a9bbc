"""Published optimizers that see a matrix as a matrix, in the form of `tests.optim.published`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from tests.optim.published import Rate, adamw, rates


def newton_schulz(
    x: Tensor, *, steps: int = 5, eps: float = 1e-7, dtype: torch.dtype | None = None
) -> Tensor:
    """Jordan (2024), "Muon": singular values towards 1 by an odd polynomial of degree 5, tuned for speed.

    Five rounds leave them anywhere in about [0.7, 1.2] where they were not tiny. A norm below eps counts as
    eps as in torch; the author's code adds eps to it. Publications run it in bfloat16: hence ``dtype``.
    """
    given, wide = x.dtype, x.shape[0] <= x.shape[1]
    x = x.to(dtype or given)
    x = x if wide else x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x if wide else x.T).to(given)


def muon_scale(adjust: str, rows: int, columns: int) -> float:
    """Factor on an orthogonal update: Jordan (2024); Liu et al. (2025), section 2.2, for Adam's rates."""
    return {
        "original": math.sqrt(max(1.0, rows / columns)),
        "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns)),
    }[adjust]


def orthogonal_momenta(
    grads: Sequence[Tensor], momentum: float, nesterov: bool, dtype: torch.dtype | None
) -> Iterator[Tensor]:
    """Jordan (2024): the momentum, or Nesterov's, as an orthogonal matrix; a kernel is one row a channel."""
    m = torch.zeros_like(grads[0].flatten(1))
    for g in (g.flatten(1) for g in grads):
        m = momentum * m + (1 - momentum) * g
        yield newton_schulz(momentum * m + (1 - momentum) * g if nesterov else m, dtype=dtype)


def muon(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 0.02, momentum: float = 0.95,
    nesterov: bool = True, weight_decay: float = 0.0, adjust: str = "original",
    dtype: torch.dtype | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Jordan (2024), "Muon", with the decoupled decay of Liu et al. (2025), "Muon is Scalable", section 2.2.

    The scale multiplies the update alone, not the decay. No bias is corrected: a factor is lost in the shape.
    """
    scale = muon_scale(adjust, *weight.flatten(1).shape)
    for rate, o in zip(rates(lr, len(grads)), orthogonal_momenta(grads, momentum, nesterov, dtype)):
        weight = (1 - rate * weight_decay) * weight - rate * scale * o.view_as(weight)
        yield weight


def normuon(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 0.02, momentum: float = 0.95, beta2: float = 0.95,
    nesterov: bool = False, eps: float = 1e-10, weight_decay: float = 0.0, keep_norm: bool = False,
    dtype: torch.dtype | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Li et al. (2025), "NorMuon", algorithm 1: each row over the root of its mean square, then a fixed norm.

    The norm of the update is ``0.2 * sqrt(rows * columns)``; with ``keep_norm`` the norm before the division,
    times the scale of Jordan (2024), as in the authors' code, which has ``nesterov`` too. The second moment's
    bias is a factor common to all rows: the norm takes it out.
    """
    rows, columns = weight.flatten(1).shape
    v = weight.new_zeros(rows, 1)
    for rate, o in zip(rates(lr, len(grads)), orthogonal_momenta(grads, momentum, nesterov, dtype)):
        v = beta2 * v + (1 - beta2) * (o**2).mean(1, keepdim=True)
        u = o / (v.sqrt() + eps)
        norm = 0.2 * math.sqrt(rows * columns)
        if keep_norm:
            norm = muon_scale("original", rows, columns) * o.norm()
        u = u * norm / (u.norm() + eps)
        weight = (1 - rate * weight_decay) * weight - rate * u.view_as(weight)
        yield weight


def soap(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 3e-3, beta1: float = 0.95, beta2: float = 0.95,
    least: float = 1e-4, weight_decay: float = 0.0,
) -> Iterator[Tensor]:  # fmt: skip
    """Vyas et al. (2024), "SOAP", algorithm 3, with one side and a basis that is found anew in every step.

    Adam in the eigenvectors of the average of ``g @ g.T`` over earlier steps, or of ``g.T @ g`` if that is
    smaller; in the first step without. Ours: the update's norm is ``0.2 * sqrt(rows * columns)``, so that no
    bias need be corrected, and instead of eps stands ``least`` of the root mean square of all roots.
    """
    rows, columns = weight.flatten(1).shape
    turned = (lambda x: x.T) if rows > columns else (lambda x: x)
    m = gram = squares = torch.zeros(())
    for rate, g in zip(rates(lr, len(grads)), grads):
        g = turned(g.flatten(1))
        m = beta1 * m + (1 - beta1) * g
        q = torch.linalg.eigh(gram).eigenvectors if gram.dim() else torch.eye(len(g)).to(g)
        gram = beta2 * gram + (1 - beta2) * g @ g.T
        squares = beta2 * squares + (1 - beta2) * (q.T @ g) ** 2
        u = q @ (q.T @ m / (squares.sqrt() + least * rms(squares.sqrt())).clamp(min=1e-15))
        u = 0.2 * math.sqrt(rows * columns) * u / u.norm().clamp(min=1e-15)
        weight = (1 - rate * weight_decay) * weight - rate * turned(u).reshape(weight.shape)
        yield weight


def with_adamw(
    weight: Tensor, grads: Sequence[Tensor], *, matrix: Callable[..., Iterator[Tensor]], hidden: bool,
    adam_lr: Rate = 3e-4, weight_decay: float = 0.0, **options: object,
) -> Iterator[Tensor]:  # fmt: skip
    """Jordan (2024): ``matrix`` for matrices of hidden layers, AdamW for all else with the rates of its own.

    All else are vectors, embeddings and the output layer; betas 0.9 and 0.95, eps 1e-10.
    """
    if hidden and weight.dim() > 1:
        return matrix(weight, grads, weight_decay=weight_decay, **options)
    return adamw(weight, grads, lr=adam_lr, beta2=0.95, eps=1e-10, weight_decay=weight_decay)


def factored(rows: Tensor, columns: Tensor) -> Tensor:
    """Shazeer and Stern (2018), section 3: rank 1 from means of rows, [m, 1], and columns, [1, n]."""
    return rows * columns / rows.mean().clamp(min=torch.finfo(rows.dtype).tiny)


def adam_factored(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-8,
) -> Iterator[Tensor]:  # fmt: skip
    """Shazeer and Stern (2018), "Adafactor", algorithm 2, with Adam's first moment (there beta1 is 0)."""
    m = rows = columns = torch.zeros(())
    for t, (rate, g) in enumerate(zip(rates(lr, len(grads)), grads), 1):
        m = beta1 * m + (1 - beta1) * g
        rows = beta2 * rows + (1 - beta2) * (g**2).mean(1, keepdim=True)
        columns = beta2 * columns + (1 - beta2) * (g**2).mean(0, keepdim=True)
        v_hat = factored(rows, columns) / (1 - beta2**t)
        weight = weight - rate * m / (1 - beta1**t) / (v_hat.sqrt() + eps)
        yield weight


def adafactor(
    weight: Tensor, grads: Sequence[Tensor], *, lr: float = 1e-2, beta2_decay: float = -0.8,
    eps1: float = 1e-30, eps2: float = 1e-3, d: float = 1.0, weight_decay: float = 0.0,
) -> Iterator[Tensor]:  # fmt: skip
    """Shazeer and Stern (2018), algorithms 4 (matrix) and 5 (vector) with the constants of algorithm 6.

    No momentum; beta2 grows as ``1 - t**beta2_decay`` and leaves no bias; an update longer than d in root
    mean square is shortened to d; the step is ``min(lr, 1 / sqrt(t))`` times the root mean square of the
    weights, at least eps2. The decay is torch's, ``lr * weight_decay`` of the weights, whose size is taken
    before.
    """
    rows = columns = v = torch.zeros(())
    for t, g in enumerate(grads, 1):
        new, square = t**beta2_decay, g**2 + eps1
        if g.dim() > 1:
            rows = (1 - new) * rows + new * square.mean(1, keepdim=True)
            columns = (1 - new) * columns + new * square.mean(0, keepdim=True)
            v = factored(rows, columns)
        else:
            v = (1 - new) * v + new * square
        u = g / v.sqrt()
        u = u / max(1.0, rms(u) / d)
        step = min(lr, 1 / math.sqrt(t)) * max(eps2, rms(weight))
        weight = (1 - lr * weight_decay) * weight - step * u
        yield weight


def rms(x: Tensor) -> float:
    return float(x.norm()) / math.sqrt(x.numel())
