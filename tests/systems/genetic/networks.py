"""Small problems that the tests of genetic training share; importable by worker processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evoopt.systems.genetic.chromosome import Encoding
from evoopt.systems.genetic.scheme import GeneticScheme, initial_population
from evoopt.systems.genetic.succession import Scheme, make_scheme
from evoopt.systems.genetic.weight_operators import WeightOperators
from evoopt.tasks import Split
from evoopt.training.scoring import Scorer


def tiny_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


def stripes(count: int = 60) -> Split:
    """Images of three kinds: flat, with rows, with columns."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 3
    waves = torch.tensor([1.0, -1.0]).repeat(3)[:5]
    kinds = torch.stack([torch.zeros(5, 5), waves.view(5, 1).expand(5, 5), waves.view(1, 5).expand(5, 5)])
    return Split((kinds[y] + 0.5 * torch.randn(count, 5, 5, generator=generator)).unsqueeze(1), y)


def worst_class(outputs: Tensor, targets: Tensor) -> float:
    """Accuracy on the class it is lowest on: not differentiable, and not a mean over examples."""
    hits = outputs.argmax(dim=1) == targets
    return min(float(hits[targets == k].float().mean()) for k in range(3))


def evolution(
    scheme: str | Scheme = "elitist",
    size: int = 12,
    generations: int = 6,
    seed: int = 3,
    fitness: str = "accuracy",
) -> GeneticScheme:
    initial = initial_population(tiny_network, size, seed)
    model, examples = initial.architecture.model, stripes()
    return GeneticScheme(
        initial,
        WeightOperators(Encoding.of(model)),
        make_scheme(scheme) if isinstance(scheme, str) else scheme,
        Scorer(model, examples, fitness),
        generations=generations,
        seed=seed,
        examples=len(examples),
    )
