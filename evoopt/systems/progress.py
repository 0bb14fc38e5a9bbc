"""What a person sees while a search runs."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from evoopt.evolution.stages import Stage
from evoopt.systems.optimizer.config import OptimizerConfig


class Progress:
    """A tqdm bar over all trainings of a run; silent when the output is no terminal.

    Args:
        config: The run's configuration, for the expected number of trainings.
        quiet: Never show anything.
        generation: Generation the run starts or goes on at.
    """

    def __init__(self, config: OptimizerConfig, quiet: bool = False, generation: int = 0) -> None:
        search, evaluation = config.search, config.evaluation
        per_individual = len(evaluation.tasks) * evaluation.replicates
        self._per_generation = search.population * per_individual
        self._generations = search.generations
        final = search.finalists * search.final_replicates * len(evaluation.tasks)
        self._done = generation
        self._bar = tqdm(
            total=self._per_generation * (search.generations - generation) + final,
            unit="training",
            desc=self._title(),
            disable=True if quiet else None,
            file=sys.stderr,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def _title(self) -> str:
        return f"generation {min(self._done + 1, self._generations)}/{self._generations}"

    def chunk_done(self, trained: int, left: int) -> None:
        """Advance by the trainings of one chunk."""
        self._bar.update(trained)

    def generation_done(self, record: dict[str, Any]) -> None:
        """Show a finished generation's best and mean fitness."""
        self._done += 1
        # Cached and averaged individuals make a generation shorter or longer than expected.
        expected = self._per_generation
        self._bar.total += record["trainings"] - expected
        self._bar.set_description(self._title(), refresh=False)
        self._bar.set_postfix(best=f"{record['best']:.4f}", mean=f"{record['mean']:.4f}")

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


class StageProgress:
    """A tqdm bar over the stages of an evolution of models; silent when the output is no terminal.

    Args:
        stages: Expected stages in all.
        done: Stages done already.
        quiet: Never show anything.
    """

    def __init__(self, stages: int, done: int = 0, quiet: bool = False) -> None:
        self._bar = tqdm(
            total=stages,
            initial=done,
            unit="stage",
            disable=True if quiet else None,
            file=sys.stderr,
            dynamic_ncols=True,
        )

    def stage_done(self, stage: Stage) -> None:
        """Advance, and show the statistics of a finished generation."""
        if stage.record is not None:
            figures = {name: stage.record[name] for name in ("best", "mean")}
            shown = {name: "-" if value is None else f"{value:.4f}" for name, value in figures.items()}
            self._bar.set_description(f"generation {stage.record['generation'] + 1}", refresh=False)
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
