"""What Zhang and Gouza (2018), arXiv 1805.07500, report: tables 1, 3 and 4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """A published result on test data.

    Attributes:
        accuracy: In percent.
        loss: Mean loss, where given.
    """

    accuracy: float
    loss: float | None = None


def _accuracies(**percent: float) -> dict[str, Number]:
    return {name: Number(value) for name, value in percent.items()}


PUBLISHED: Mapping[str, Mapping[str, Number]] = {
    "mnist": {
        "gadam_paper": Number(99.37, 0.0396),
        "adam": Number(99.18, 0.0662),
        "sgd": Number(94.51, 0.2166),
        "rmsprop": Number(99.00, 0.0745),
        "adagrad": Number(95.96, 0.1720),
        "adadelta": Number(66.08, 1.8888),
        **_accuracies(
            random_forest=96.8, svm=98.60, gcforest=99.26, deep_belief_net=98.75, gradient_descent=99.05
        ),
    },
    "orl5": _accuracies(
        gadam_paper=97.00, adam=96.50, random_forest=91.00, svm=80.50, knn=76.00, gcforest=91.00
    ),
    "orl7": _accuracies(
        gadam_paper=99.17, adam=97.50, random_forest=93.33, svm=82.50, knn=83.33, gcforest=96.67
    ),
    "orl9": _accuracies(
        gadam_paper=100.0, adam=98.50, random_forest=95.00, svm=85.00, knn=92.50, gcforest=97.50
    ),
    "yeast": _accuracies(
        gadam_paper=63.70, adam=62.05, random_forest=60.44, svm=40.76, knn=48.80, gcforest=63.45
    ),
    "adult": _accuracies(
        gadam_paper=87.05, adam=85.03, random_forest=85.63, svm=76.41, knn=76.00, gcforest=86.40
    ),
    "letter": _accuracies(
        gadam_paper=96.90, adam=96.70, random_forest=96.28, svm=97.06, knn=95.23, gcforest=97.40
    ),
}
"""By part, then by row of our tables."""

NOT_RUN: Mapping[str, str] = {
    "gradient_descent": "LeNet-5 by gradient descent",
    "gcforest": "gcForest",
    "deep_belief_net": "deep belief net",
}
"""Published rows that have no counterpart here."""

REMARKS: Mapping[str, str] = {
    "mnist": "The published numbers of the six optimizers are the best that a run of 80,000 steps ever "
    "reached on test data; those of the other methods are copied from the gcForest paper.",
    "orl9": "98.50% is not possible in one run on 40 test images; the published number must be an average.",
}
"""What to know about the published numbers of a part."""
