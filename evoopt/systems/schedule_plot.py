"""A schedule of hyperparameters as a picture."""

from __future__ import annotations

from pathlib import Path

from evoopt.errors import EvooptError
from evoopt.evolution.schedule import Schedule


def plot_schedule(schedule: Schedule, path: Path) -> None:
    """Draw one panel per numeric hyperparameter; logarithmic where values span more than a factor of ten.

    Raises:
        EvooptError: Nothing numeric to draw, or a file that cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name, value in schedule.values[0].items() if isinstance(value, int | float)]
    if not names:
        raise EvooptError("the schedule has no numeric hyperparameter to draw")
    figure = Figure(figsize=(6, 1.8 * len(names) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        values = [float(own[name]) for own in schedule.values]
        axis.step(range(len(values)), values, where="mid", color="#1f5fa8")
        if min(values) > 0 and max(values) > 10 * min(values):
            axis.set_yscale("log")
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel(f"generation ({schedule.steps} steps each)")
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise EvooptError(f"cannot write {path}: {error}") from None
