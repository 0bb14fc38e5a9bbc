"""Made-up data in the shape of those that Vose et al. (2019) used and that are not for everybody.

They try programs and spaces, not claims: what comes out says nothing about reports or collisions.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from evoopt.tasks import models
from evoopt.tasks.models.multitask import P3B1_CLASSES
from evoopt.tasks.p3b1 import FEATURES, load_p3b1
from evoopt.tasks.rpv import CHANNELS, SIDE, binary_accuracy, binary_loss
from evoopt.tasks.synthetic import Table, load_made_up
from evoopt.tasks.task import Task

_EVENTS, _REPORTS = (1200, 400), (400, 150)
"""For training and validation, and to test on; reports for each of the three classifications."""


def calorimeter(rng: np.random.RandomState) -> tuple[Table, Table]:
    """Images ``[n, 3, 64, 64]`` of round deposits at random places: about 6 in class 0, about 9 in class 1.

    Channels are the whole energy, a part of it, and how many tracks there are.
    """
    from scipy.ndimage import gaussian_filter

    def part(total: int) -> Table:
        y = np.arange(total) % 2
        counts = rng.poisson(6 + 3 * y)
        event = np.repeat(np.arange(total), counts)
        row, column = rng.randint(0, SIDE, (2, len(event)))
        energy = rng.exponential(1.0, len(event))
        x = np.zeros((total, len(CHANNELS), SIDE, SIDE), np.float32)
        weights = (energy, energy * rng.uniform(0, 1, len(event)), 1 + rng.poisson(3, len(event)))
        for channel, weight in enumerate(weights):
            np.add.at(x[:, channel], (event, row, column), weight)
        x = gaussian_filter(x, (0, 0, 1.5, 1.5), mode="wrap")
        return x / x.std(axis=(0, 2, 3), keepdims=True), y

    return part(_EVENTS[0]), part(_EVENTS[1])


def reports(rng: np.random.RandomState) -> tuple[Table, Table]:
    """Three classifications of 13, 2 and 4 classes, each with examples ``[n, 400]`` of its own.

    An example is noise and a little of its class's direction; targets ``[n, 3]`` are -1 in other heads.
    """
    directions = [rng.standard_normal((classes, FEATURES)) for classes in P3B1_CLASSES]

    def part(total: int) -> Table:
        x, y = [], []
        for head, classes in enumerate(P3B1_CLASSES):
            of_head = np.full((total, len(P3B1_CLASSES)), -1)
            of_head[:, head] = np.arange(total) % classes
            x.append(rng.standard_normal((total, FEATURES)) + 0.2 * directions[head][of_head[:, head]])
            y.append(of_head)
        # Heads take turns, so that any first examples are of all of them.
        table, targets = (np.stack(parts, axis=1) for parts in (x, y))
        return table.reshape(-1, FEATURES).astype(np.float32), targets.reshape(-1, len(P3B1_CLASSES))

    return part(_REPORTS[0]), part(_REPORTS[1])


STAND_INS = (
    Task(
        "p3b1_f1",
        models.P3B1Network,
        load_p3b1,
        batch_size=10,
        loss=models.multitask_loss,
        metric=models.multitask_f1,
        description="CANDLE P3B1, scored by how much of the published F1 is reached",
        family="tables",
    ),
    Task(
        "p3b1_stand_in",
        models.P3B1Network,
        partial(load_made_up, reports),
        batch_size=10,
        loss=models.multitask_loss,
        metric=models.multitask_f1,
        description="in place of P3B1: three classifications of 400 features (made up), the same network",
        family="tables",
    ),
    Task(
        "rpv_stand_in",
        models.RPVNetwork,
        partial(load_made_up, calorimeter),
        loss=binary_loss,
        metric=binary_accuracy,
        description="in place of RPV: images of 64x64x3 with 6 or 9 deposits (made up), the same network",
        family="images",
    ),
)
"""P3B1 by F1, and tasks without files for its space and that of RPV."""
