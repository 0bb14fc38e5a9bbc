"""Population-based training with three parents on one's own model, and its schedule put to the test.

The population finds a model and a schedule of hyperparameters. Whether the schedule is any good, and not the
model merely lucky, shows when fresh models are trained by it.

    python examples/pbt_own_model.py
"""

from __future__ import annotations

import statistics

import torch
from sklearn.datasets import load_digits
from torch import nn

from evoopt.systems.hyperparameters.population_based_training import PopulationBasedTraining
from evoopt.systems.hyperparameters.schedules import Schedule

SPACE = {
    "lr": {"min": 1e-4, "max": 1e-1, "default": 1e-3, "scale": "log"},
    "weight_decay": {"min": 1e-4, "max": 1.0, "default": 1e-2, "scale": "log"},
    "dropout": {"min": 0.0, "max": 0.5, "default": 0.2},
}


def make_model() -> nn.Module:
    """A network with a dropout rate that may change while it trains."""
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 10))


def main(population: int = 8, generations: int = 6, seeds: int = 4) -> Schedule:
    """Train, show the schedule, replay it; returns the schedule."""
    data = load_digits()
    x, y = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
    pbt = PopulationBasedTraining(
        make_model, SPACE, population=population, generations=generations, fom="loss", initial="random"
    )
    model = pbt.fit((x[:1400], y[:1400]))
    with torch.no_grad():
        accuracy = float((model(x[1400:]).argmax(dim=1) == y[1400:]).float().mean())
    print(f"best model: {accuracy:.1%} on 397 examples that it never saw")

    schedule = pbt.schedule_
    assert schedule is not None
    for generation, values in enumerate(schedule.values):
        shown = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
        print(f"  epoch {generation + 1}: {shown}")
    replay = pbt.replay(range(seeds))
    mean, spread = statistics.fmean(replay.metrics[-1]), statistics.stdev(replay.metrics[-1])
    print(f"{seeds} fresh models by this schedule: {mean:.1%} ± {spread:.1%} on held-out examples")
    return schedule


if __name__ == "__main__":
    main()
