"""What a person sees while a search runs."""

from __future__ import annotations

import sys

from tqdm import tqdm

from evoopt.evolution.stages import Stage


class Progress:
    """A tqdm bar over the work of a run; silent when the output is no terminal.

    Args:
        total: Expected units of work in all.
        unit: What they are; of stages, each counts as one when it is done.
        done: Units done already.
        quiet: Never show anything.
    """

    def __init__(self, total: int, unit: str = "stage", done: int = 0, quiet: bool = False) -> None:
        self._by_stage = unit == "stage"
        self._bar = tqdm(
            total=total, initial=done, unit=unit, disable=True if quiet else None, file=sys.stderr,
            dynamic_ncols=True, smoothing=0.05,
        )  # fmt: skip

    def advance(self, count: int, left: int = 0) -> None:
        """Note units of work that were done."""
        self._bar.update(count)

    def expect(self, more: int) -> None:
        """Note that there is more, or less, to do than was expected."""
        self._bar.total += more

    def stage_done(self, stage: Stage) -> None:
        """Show the statistics of a finished generation."""
        if stage.record is not None:
            figures = {name: stage.record[name] for name in ("best", "mean")}
            shown = {name: "-" if value is None else f"{value:.4f}" for name, value in figures.items()}
            self._bar.set_description(f"generation {stage.record['generation'] + 1}", refresh=False)
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(self._by_stage)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
