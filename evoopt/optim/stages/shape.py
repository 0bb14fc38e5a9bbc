"""Shapes: the direction of a matrix ``[P, rows, columns]``, with its scale replaced by one of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evoopt.optim.stages.stage import SMALLEST, Stage, StageInputs, State, average_, norm

if TYPE_CHECKING:
    from torch import Tensor

_A, _B, _C = 3.4445, -4.7750, 2.0315

LEAST_ROOT = 1e-4
"""What is added to the roots of SOAP, as a part of their root mean square."""


def newton_schulz(x: Tensor, iterations: int) -> Tensor:
    """Bring the singular values of matrices ``[P, rows, columns]`` near 1, to about [0.7, 1.2].

    An odd polynomial of degree 5 (Jordan 2024), iterated on ``x / norm(x)`` in the dtype given, with Gram
    matrices of the smaller side. Zero stays zero.
    """
    tall = x.shape[1] > x.shape[2]
    x = x / norm(x).clamp(min=SMALLEST)
    x = x.transpose(1, 2) if tall else x
    for _ in range(iterations):
        gram = x @ x.transpose(1, 2)
        # Products that add take no further pass over memory.
        gram = gram.baddbmm(gram, gram, beta=_B, alpha=_C)
        x = x.baddbmm(gram, x, beta=_A)
    return x.transpose(1, 2) if tall else x


def in_eigenbasis(u: Tensor, g: Tensor, gram: Tensor, squares: Tensor, beta2: float | Tensor) -> Tensor:
    """Divide as Adam does, in the eigenvectors of the second moment of the gradients' smaller side.

    SOAP (Vyas et al. 2024, algorithm 3) with one side: the basis is that of the gradients before this step,
    and found anew in every one. Where gradients have never had a component, noise would be divided by noise:
    instead of eps the root has a small part of its own root mean square added.

    Args:
        u: Direction of matrices ``[P, rows, columns]``.
        g: Their gradients ``[P, rows, columns]``.
        gram: Average of ``g @ g.mT``, or of ``g.mT @ g`` where that is smaller, ``[P, n, n]``; moves.
        squares: Average of the squares of rotated gradients, ``[P, n, larger]``; moves.
        beta2: Decay of both; their bias is left in, a common factor of the result ``[P, rows, columns]``.
    """
    tall = u.shape[1] > u.shape[2]
    u, g = (x.transpose(1, 2).contiguous() if tall else x for x in (u, g))
    basis = eigenvectors((gram / norm(gram).clamp(min=SMALLEST)).nan_to_num(0.0, 0.0, 0.0))
    average_(gram, g @ g.transpose(1, 2), beta2)
    root = average_(squares, (basis.transpose(1, 2) @ g).square(), beta2).sqrt()
    least = norm(root) * (LEAST_ROOT / math.sqrt(max(1, root[0].numel())))
    u = basis @ (basis.transpose(1, 2) @ u / (root + least).clamp(min=SMALLEST))
    return u.transpose(1, 2) if tall else u


def eigenvectors(x: Tensor) -> Tensor:
    """Orthonormal eigenvectors of symmetric matrices ``[P, n, n]`` in columns, by rising eigenvalues."""
    import torch  # by those alone who compute

    # LAPACK rounds by where in memory a matrix begins: in a stack it would depend on its neighbours.
    return torch.stack([_eigenvectors(matrix) for matrix in (x if x.is_cpu else [x])]).view_as(x)


def _eigenvectors(x: Tensor) -> Tensor:
    import torch  # by those alone who compute

    for dtype in (x.dtype, torch.float64):  # where one does not converge, the other mostly does
        try:
            basis: Tensor = torch.linalg.eigh(x.to(dtype)).eigenvectors
            return basis.to(x.dtype)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            continue
    return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand_as(x)


def _as_long_as_orthogonal(u: Tensor) -> Tensor:
    return u * (math.sqrt(min(u.shape[1:])) / norm(u).clamp(min=SMALLEST))


def _rms(u: Tensor, _: StageInputs) -> Tensor:
    return u / (norm(u) / math.sqrt(u[0].numel())).clamp(min=SMALLEST)


def _rows(u: Tensor, _: StageInputs) -> Tensor:
    return u / u.square().mean(2, keepdim=True).sqrt().clamp(min=SMALLEST)


def _orthogonal(u: Tensor, s: StageInputs) -> Tensor:
    return newton_schulz(u, s.constants["iterations"])


def _orthogonal_rows(u: Tensor, s: StageInputs) -> Tensor:
    u = newton_schulz(u, s.constants["iterations"])
    row = average_(s.state["update_sq_row"], u.square().mean(2, keepdim=True), s.constants["beta2"])
    u = u / row.sqrt().clamp(min=SMALLEST)
    return _as_long_as_orthogonal(u)


def _soap(u: Tensor, s: StageInputs) -> Tensor:
    u = in_eigenbasis(u, s.g, s.state["gram"], s.state["rotated_sq"], s.constants["beta2"])
    return _as_long_as_orthogonal(u)


_AS_LONG_AS_ORTHOGONAL = (
    f"norm = torch.linalg.vector_norm(rows).clamp(min={SMALLEST})",
    "update = (rows * (math.sqrt(min(rows.shape)) / norm)).view_as(update)",
)

SHAPES = (
    Stage(
        name="rms",
        part="shape",
        source='Shazeer and Stern (2018), "Adafactor", section 6, as a division instead of a bound',
        formula="u = u/rms(u)",
        latex=r"\frac{u}{\operatorname{rms}(u)}",
        acts_on="matrix",
        scale="free",
        function=_rms,
        code=(
            "rms = torch.linalg.vector_norm(update) / math.sqrt(update.numel())",
            f"update = update / rms.clamp(min={SMALLEST})",
        ),
    ),
    Stage(
        name="rows",
        part="shape",
        source='Ma et al. (2024), "SWAN: SGD with Normalization and Whitening", its GradNorm',
        formula="u = u/row_rms(u)",
        latex=r"\frac{u}{\operatorname{rms}_{\text{row}}(u)}",
        acts_on="matrix",
        scale="free",
        function=_rows,
        code=(
            "rows = update.flatten(1)",
            "rms = rows.square().mean(1, keepdim=True).sqrt()",
            f"update = (rows / rms.clamp(min={SMALLEST})).view_as(update)",
        ),
    ),
    Stage(
        name="orthogonal",
        part="shape",
        source='Jordan (2024), "Muon: An optimizer for hidden layers in neural networks"',
        formula="u = newton_schulz(u/norm(u),iterations)",
        latex=r"\operatorname{NS}(\frac{u}{\operatorname{norm}(u)})",
        acts_on="matrix",
        scale="free",
        function=_orthogonal,
        code=(
            "matrix = _newton_schulz(update.flatten(1), iterations)",
            "update = matrix.view_as(update)",
        ),
    ),
    Stage(
        name="orthogonal_rows",
        part="shape",
        source='Li et al. (2025), "NorMuon", algorithm 1',
        formula="o = newton_schulz(u/norm(u),iterations); u = o/sqrt(ema(row_mean(o**2),beta2)); "
        "u = u*sqrt(min(rows,columns))/norm(u)",
        latex=r"\frac{o}{\sqrt{\operatorname{ema}_{\beta_2}(\operatorname{mean}_{\text{row}}o^2)}}\quad "
        r"o=\operatorname{NS}(\frac{u}{\operatorname{norm}(u)})",
        state=(State("update_sq_row", "rows"),),
        acts_on="matrix",
        scale="free",
        beta2="squared updates",
        function=_orthogonal_rows,
        code=(
            "rows = _newton_schulz(update.flatten(1), iterations)",
            "update_sq_row.lerp_(rows.square().mean(1, keepdim=True), 1 - beta2)",
            f"rows = rows / update_sq_row.sqrt().clamp(min={SMALLEST})",
            *_AS_LONG_AS_ORTHOGONAL,
        ),
    ),
    Stage(
        name="soap",
        part="shape",
        source='Vyas et al. (2024), "SOAP: Improving and Stabilizing Shampoo using Adam", algorithm 3, '
        "with one side, a basis in every step, and a norm as that of an orthogonal matrix",
        formula="q = eigenvectors(ema(g_prev@g_prev.T,beta2)); u = q@((q.T@u)/sqrt(ema((q.T@g)**2,beta2))); "
        "u = u*sqrt(min(rows,columns))/norm(u)",
        latex=r"Q\frac{Q^\top u}{\sqrt{\operatorname{ema}_{\beta_2}((Q^\top g)^2)}}\quad "
        r"Q=\operatorname{eig}(\operatorname{ema}_{\beta_2}(gg^\top)_{t-1})",
        state=(State("gram", "square"), State("rotated_sq", "lying")),
        acts_on="matrix",
        scale="free",
        beta2="the gradient's second moment and of rotated squares",
        decomposes=True,
        function=_soap,
        code=(
            "rows = _in_eigenbasis(update.flatten(1), grad.flatten(1), gram, rotated_sq, beta2)",
            *_AS_LONG_AS_ORTHOGONAL,
        ),
    ),
)
