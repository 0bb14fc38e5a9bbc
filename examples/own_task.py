"""A task of one's own: the progression of diabetes from ten measurements, a regression on embedded data.

As a script it searches for an optimizer on the task and exports it. The task is there for the command line,
too:

    python examples/own_task.py
    evoopt search --task examples/own_task.py:make_task
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import Tensor

import evoopt
from evoopt.export import write_export
from evoopt.tasks import DataOptions, Task, TaskData, models, split_data


def load(options: DataOptions) -> TaskData:
    """442 patients; a fifth of them is the test part."""
    x, y = load_diabetes(return_X_y=True)
    x, y = x / x.std(axis=0), ((y - y.mean()) / y.std())[:, None]
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=0)
    return split_data(x_train, y_train, x_test, y_test, options)


def explained(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of the variance that is explained; 0 for what is worse than the mean."""
    return (1 - F.mse_loss(outputs, targets) / targets.var(correction=0)).clamp(min=0)


def make_task() -> Task:
    """The task; a search asks this function for it, in every worker process."""
    return Task(
        "diabetes", lambda: models.MLP(10, 16, 1), load, batch_size=32, loss=F.mse_loss, metric=explained
    )


def main() -> None:
    """Search for a few seconds and export the winner."""
    folder = Path(tempfile.mkdtemp(prefix="evoopt-"))
    settings = {
        "search": {"population": 10, "generations": 3, "compare": False},
        "evaluation": {"tasks": [f"{Path(__file__).resolve()}:make_task"], "steps": 50},
        "execution": {"executor": "serial"},  # so small a search is over before a pool has started
    }
    with evoopt.search("quick", out=folder / "run", overrides=settings) as run:
        print(run.winner["formula"])
        gain = run.winner["final"]["score"]
        print(f"gains {gain:+.2f} standard deviations over tuned AdamW on fresh seeds of validation data")
    write_export(str(folder / "run"), folder / "diabetes_optimizer.py", "DiabetesOptimizer")
    print(f"wrote {folder / 'diabetes_optimizer.py'}")


if __name__ == "__main__":  # worker processes import this file
    main()
