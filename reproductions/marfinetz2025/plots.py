"""The published bars, `comparison.png`: fitness of the five optimizers, task by task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reproductions.claims import from_zero
from reproductions.figures import panels
from reproductions.marfinetz2025.published import EVOLVED, NOTEBOOK, README, RULES, LiteralScores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PUBLISHED = {"README": (README, "o"), "notebook": (NOTEBOOK, "D")}


def draw_comparison(literal: LiteralScores) -> dict[str, Figure | None]:
    """A panel per task: means over seeds with 95 % intervals (Student's t), and what was published."""
    figure, (axes,) = panels(1, len(literal), width=2.9, sharey=True)
    x = np.arange(len(RULES))
    for axis, (task, scores) in zip(axes, literal.items(), strict=True):
        for place, (name, score) in enumerate(scores.items()):
            found = from_zero(score.fitness)
            assert found is not None, "there is a seed"
            d, colour = found.difference, "#009E73" if name == EVOLVED else "#56B4E9"
            axis.bar(place, d.mean, color=colour)
            if d.compared > 1:
                axis.errorbar(place, d.mean, [[d.mean - d.low], [d.high - d.mean]], color="black", capsize=3)
        axis.axhline(scores[EVOLVED].mean, color="#009E73", linestyle="--", linewidth=1)
        for label, (own, marker) in _PUBLISHED.items():
            if task in own[EVOLVED]:
                theirs = [own[name][task] for name in RULES]
                axis.plot(x, theirs, marker, color="#D55E00", markersize=4, label=f"published, {label}")
        axis.set(title=task)
        axis.set_xticks(x, list(RULES), rotation=45, ha="right")
    axes[0].set_ylabel("fitness")
    if axes[0].get_legend_handles_labels()[0]:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return {"comparison": figure}
