"""GADAM on one's own model and data, held against Adam that gets as many steps.

GADAM takes ``2 * population * generations * steps`` steps in all. It is only fair to give Adam as much: the
best of as many restarts, chosen on the same validation examples. So small a budget decides nothing; it shows
the form.

    python examples/gadam_own_model.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from evoopt.systems.gadam.gadam import Gadam
from evoopt.tasks import Split
from evoopt.training.head_start import train_on

POPULATION, GENERATIONS, STEPS = 6, 3, 40


def make_model() -> nn.Module:
    """Any module; its randomness in training must come from dropout modules."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(128, 10),
    )


def digits() -> tuple[Split, Split, Split]:
    """Training, validation and test examples."""
    data = load_digits()
    x, y = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
    return Split(x[:1000], y[:1000]), Split(x[1000:1400], y[1000:1400]), Split(x[1400:], y[1400:])


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Share of examples that are classified rightly."""
    return float((model(split.x).argmax(dim=1) == split.y).float().mean())


def best_of_adam(train: Split, validation: Split) -> nn.Module:
    """The best of several trainings by Adam that take as many steps together as GADAM."""
    length = 2 * GENERATIONS * STEPS
    models = []
    for seed in range(POPULATION):
        torch.manual_seed(seed)
        models.append(
            train_on(
                make_model(),
                train,
                length,
                seed,
                make_optimizer=lambda weights: torch.optim.Adam(weights, lr=3e-3),
                loss=F.cross_entropy,
            )
        )
    return max(models, key=lambda model: accuracy(model, validation))


def main() -> dict[str, float]:
    """Train both ways; returns the accuracies on test examples."""
    train, validation, test = digits()
    gadam = Gadam(
        make_model, population=POPULATION, generations=GENERATIONS, steps=STEPS, batch_size=32, lr=3e-3
    )
    model = gadam.fit(train, validation)
    for record in gadam.history_:
        print(
            f"generation {record['generation']}: best loss {record['best']:.3f}, "
            f"{record['adopted']:.0%} of the survivors are children"
        )
    found = {"gadam": accuracy(model, test), "best of adam": accuracy(best_of_adam(train, validation), test)}
    for name, value in found.items():
        print(f"{name:12s} {value:.1%} on test examples")
    return found


if __name__ == "__main__":
    main()
