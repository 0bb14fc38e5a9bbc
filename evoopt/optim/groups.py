"""Which parameters of a model are hidden matrices, as groups for an optimizer."""

from __future__ import annotations

from typing import Any

from torch import nn

from evoopt.optim.rule import UpdateRule


def parameter_groups(model: nn.Module, rule: UpdateRule) -> list[dict[str, Any]]:
    """Groups for `EvolvedOptimizer`: hidden matrices, and all else with ``matrix=False``.

    All else are parameters of fewer than two dimensions, embeddings and, unless ``rule.shape_output``, the
    output layer: the last module with a matrix of its own that is no embedding, in the order of registration,
    or whatever shares its parameter (a tied embedding).

    Args:
        model: The model; parameters that need no gradient are left out.
        rule: The rule that will move it.

    Returns:
        One or two groups of named parameters, those of matrices first.
    """
    hidden = hidden_matrices(model, output=rule.shape_output)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [(name, p) for name, p in named if (name in hidden) is matrix], "matrix": matrix}
        for matrix in (True, False)
    ]
    return [group for group in groups if group["params"]]


def hidden_matrices(model: nn.Module, *, output: bool = False) -> tuple[str, ...]:
    """Names of the parameters that are hidden matrices, of the output layer too if ``output``."""
    found, embedded = [], set()
    for place, module in model.named_modules():
        for name, p in module.named_parameters(place, recurse=False):
            if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                embedded.add(id(p))
            elif p.dim() >= 2:
                found.append((place, name, p))
    last = found[-1][0] if found and not output else None
    return tuple(name for place, name, p in found if place != last and id(p) not in embedded)
