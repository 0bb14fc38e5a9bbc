"""Which parameters of a model are hidden matrices: what a stage for matrices is meant for."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal

from evoopt.errors import EvooptError, unknown_name
from evoopt.optim.rule import UpdateRule

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

Role = Literal["matrix", "output", "embedding", "vector"]


def parameter_roles(model: nn.Module, output: str | Collection[str] | None = None) -> dict[str, Role]:
    """What each parameter of a model is for an optimizer, by its name.

    A vector has fewer than two dimensions, belongs to a norm or is in ``model.no_weight_decay()``, as timm's
    models have it; an embedding is known by its module, or by "embed" in its name; all else are matrices.

    Args:
        model: The model.
        output: Name or names of what makes the outputs, as in ``model.named_modules()``; by default the last
            module that owns a matrix.

    Raises:
        EvooptError: A module that the model does not have, or parameters that have no shape yet.
    """
    from torch import nn  # by those alone who have a model
    from torch.nn.parameter import is_lazy

    if any(map(is_lazy, model.parameters())):
        raise EvooptError("the model has lazy parameters without a shape: run it once on an example first")
    modules = dict(model.named_modules())
    if output is None:
        owners = [name for name, m in modules.items() if any(p.ndim > 1 for p in m.parameters(recurse=False))]
        output = owners[-1:]
    outputs = set()
    for name in [output] if isinstance(output, str) else output:
        if name not in modules:
            raise unknown_name("module", name, modules)
        outputs.update(modules[name].parameters())
    undecayed: Collection[str] = getattr(model, "no_weight_decay", set)()
    roles: dict[str, Role] = {}
    for name, p in model.named_parameters():
        module = modules[name.rpartition(".")[0]]
        if p.ndim < 2 or name in undecayed or "norm" in type(module).__name__.lower():
            roles[name] = "vector"
        elif isinstance(module, nn.Embedding | nn.EmbeddingBag) or "embed" in name:
            roles[name] = "embedding"
        else:
            roles[name] = "output" if p in outputs else "matrix"
    return roles


def matrix_roles(rule: UpdateRule | type[Optimizer]) -> set[Role]:
    """Roles of the parameters that a rule, or a class that says its ``matrix_roles``, moves as matrices."""
    if isinstance(rule, UpdateRule):
        return {"matrix", "output"} if rule.shape_output else {"matrix"}
    return set(getattr(rule, "matrix_roles", ("matrix",)))


def matrix_groups(
    model: nn.Module, rule: UpdateRule | type[Optimizer], output: str | Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Groups for `EvolvedOptimizer` or an exported class that say what counts as a matrix.

    Args:
        model: The model; parameters that need no gradient are left out.
        rule: The rule or class that will move it; ``shape_output`` of a rule makes a matrix of the output
            layer.
        output: As in `parameter_roles`.

    Returns:
        Groups of named parameters, those of matrices first; an empty one is left out.

    Raises:
        EvooptError: As in `parameter_roles`.
    """
    wanted, roles = matrix_roles(rule), parameter_roles(model, output)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [(name, p) for name, p in named if (roles[name] in wanted) is matrix], "matrix": matrix}
        for matrix in (True, False)
    ]
    return [group for group in groups if group["params"]]
