"""Train on the score itself: macro F1 of rare classes, by evolution; and by Adam on a surrogate.

F1 counts predictions, so it has no gradient. Evolution of weights needs none. Adam minimises cross-entropy
instead, with class weights, which is what one does about rare classes; the best of its nine settings is shown
(chosen on the training examples, which evolution sees too). A linear model cannot be good at both, so
what it is trained on matters. With a hidden layer a tuned Adam is as good (``--hidden 4``) or better
(``--hidden 12``).

    python examples/train_on_f1.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from sklearn.datasets import make_classification
from torch import Tensor, nn

from evoopt.evolution.selection import tournament
from evoopt.systems.genetic.genetic_trainer import GeneticTrainer
from evoopt.systems.genetic.succession import Elitist
from evoopt.systems.genetic.weight_operators import Mutation
from evoopt.tasks import Split
from evoopt.training.head_start import train_on


def macro_f1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over classes of 2 TP / (2 TP + FP + FN)."""
    classes = outputs.shape[1]
    pairs = torch.bincount(targets * classes + outputs.argmax(dim=1), minlength=classes**2)
    confusion = pairs.view(classes, classes).double()
    return (2 * confusion.diagonal() / (confusion.sum(dim=0) + confusion.sum(dim=1)).clamp(min=1)).mean()


def rare_classes() -> tuple[Split, Split]:
    """2,000 training and 4,000 test examples of three classes: 90 %, 7 % and 3 %."""
    x, y = make_classification(
        6000, 10, n_informative=6, n_redundant=2, n_classes=3, weights=[0.9, 0.07, 0.03],
        class_sep=0.8, flip_y=0.02, random_state=0,
    )  # fmt: skip
    inputs, targets = torch.tensor((x - x.mean(axis=0)) / x.std(axis=0)).float(), torch.tensor(y)
    return Split(inputs[:2000], targets[:2000]), Split(inputs[2000:], targets[2000:])


def evolved(make_model: Callable[[], nn.Module], train: Split, seed: int, generations: int) -> nn.Module:
    """Evolve on macro F1."""
    trainer = GeneticTrainer(
        make_model,
        fitness=macro_f1,
        scheme=Elitist(select=tournament, p_mutate=1.0),
        mutation=Mutation(ratio=0.3, per_weight=True),
        generations=generations,
        seed=seed,
    )
    return trainer.fit(train)


def by_adam(
    make_model: Callable[[], nn.Module], train: Split, seed: int, lr: float, power: float
) -> nn.Module:
    """Train on cross-entropy, classes weighted by their rarity to some power."""
    weight = (len(train) / torch.bincount(train.y)).pow(power)
    torch.manual_seed(seed)
    return train_on(
        make_model(),
        train,
        1000,
        seed,
        make_optimizer=partial(torch.optim.Adam, lr=lr),
        loss=partial(F.cross_entropy, weight=weight / weight.mean()),
    )


def main(hidden: int = 0, seeds: int = 2, generations: int = 100) -> dict[str, float]:
    """Compare; returns the mean F1 on test examples of both ways."""
    torch.set_num_threads(1)
    train, test = rare_classes()

    def make_model() -> nn.Module:
        if not hidden:
            return nn.Sequential(nn.Linear(10, 3))
        return nn.Sequential(nn.Linear(10, hidden), nn.Tanh(), nn.Linear(hidden, 3))

    ways = {"evolution on F1": partial(evolved, generations=generations)} | {
        f"Adam, lr {lr:g}, class weights ^ {power:g}": partial(by_adam, lr=lr, power=power)
        for lr, power in product((0.001, 0.01, 0.1), (0, 0.5, 1))
    }
    found = {}
    for name, way in ways.items():
        models = [way(make_model, train, seed) for seed in range(seeds)]
        with torch.no_grad():
            found[name] = [
                statistics.mean(float(macro_f1(model(split.x), split.y)) for model in models)
                for split in (train, test)
            ]
    best = max((name for name in found if name.startswith("Adam")), key=lambda name: found[name][0])
    for name in ("evolution on F1", best):
        print(f"{name:40s} macro F1 {found[name][0]:.3f} in training, {found[name][1]:.3f} in test")
    return {"evolution": found["evolution on F1"][1], "adam": found[best][1]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=0, help="units of a hidden layer (default none)")
    main(parser.parse_args().hidden)
