"""Stages of the gradient, before any moment sees it. Clipping of its elements is the interpreter's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoopt.optim.stages.stage import Stage, StageInputs, State, norm

if TYPE_CHECKING:
    from torch import Tensor


def _difference(g: Tensor, s: StageInputs) -> Tensor:
    c = s.constants
    previous = s.state["grad_prev"]
    # Before the first step there is no difference: x_1 = x_0 in the publication.
    factor: float | Tensor = c["gradient_difference"] * c["beta1"] / (1 - c["beta1"]) * (s.step > 1)
    corrected = g + factor * (g - previous)
    previous.copy_(g)
    return corrected


def _clip_norm(g: Tensor, s: StageInputs) -> Tensor:
    longer: Tensor = norm(g) / s.constants["clip_norm"]
    return g / longer.clamp(min=1)


def _l2(g: Tensor, s: StageInputs) -> Tensor:
    penalty: Tensor = s.constants["l2"] * s.w
    return g + penalty


GRADIENT_STAGES = (
    Stage(
        name="gradient_difference",
        part="gradient",
        source='Yuan et al. (2024), "MARS", algorithm 2, in its approximate form',
        formula="g = g + gradient_difference*beta1/(1-beta1)*(g-g_prev)",
        latex=r"g+\gamma\frac{\beta_1}{1-\beta_1}(g-g_{t-1})",
        state=(State("grad_prev"),),
        acts_on="element",
        scale="equal",
        function=_difference,
        code=(
            "factor = gradient_difference * beta1 / (1 - beta1) * (step > 1)",
            "difference = grad - grad_prev",
            "grad_prev.copy_(grad)",
            "grad = grad + factor * difference",
        ),
    ),
    Stage(
        name="clip_norm",
        part="gradient",
        source='Pascanu et al. (2013), "On the difficulty of training recurrent neural networks", per tensor',
        formula="g = g/max(1,norm(g)/clip_norm)",
        latex=r"\frac{g}{\operatorname{max}(1,\operatorname{norm}(g)/c_n)}",
        acts_on="tensor",
        scale="own",
        function=_clip_norm,
        code=("grad = grad / (torch.linalg.vector_norm(grad) / clip_norm).clamp(min=1)",),
    ),
    Stage(
        name="l2",
        part="gradient",
        source='Krogh and Hertz (1991), "A Simple Weight Decay Can Improve Generalization"; torch.optim',
        formula="g = g + l2*w",
        latex=r"g+\lambda_2 w",
        acts_on="element",
        scale="own",
        function=_l2,
        code=("grad = grad + l2 * param",),
    ),
)
"""In the order in which they are applied."""
