"""What a person sees while a search runs."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from evoopt.evolution.stages import Stage


class Progress:
    """A tqdm bar over the work of a run; where the output is no terminal, a line per generation.

    Args:
        total: Expected units of work in all.
        unit: What they are; of stages, each counts as one when it is done.
        done: Units done already.
        quiet: Never show anything.
    """

    def __init__(self, total: int, unit: str = "stage", done: int = 0, quiet: bool = False) -> None:
        self._by_stage, self._quiet, self._begun = unit == "stage", quiet, time.monotonic()
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

    def tell(self, line: str) -> None:
        """Print a line, above the bar if there is one, unless nothing is to be shown."""
        if not self._quiet:
            tqdm.write(line, file=sys.stderr)
            sys.stderr.flush()

    def stage_done(self, stage: Stage) -> None:
        """Show the statistics of a finished generation."""
        if stage.record is not None:
            figures = {name: stage.record[name] for name in ("best", "mean")}
            shown = {name: "-" if value is None else f"{value:.4f}" for name, value in figures.items()}
            generation = f"generation {stage.record['generation']}"
            self._bar.set_description(generation, refresh=False)
            self._bar.set_postfix(shown, refresh=False)
            if self._bar.disable:
                told = "  ".join(f"{name} {value}" for name, value in shown.items())
                self.tell(f"{generation}  {told}  after {round(time.monotonic() - self._begun)} s")
        self._bar.update(self._by_stage)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
