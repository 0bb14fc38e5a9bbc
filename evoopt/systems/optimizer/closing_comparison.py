"""The short comparison that a search ends with: its winner against tuned Adam, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from evoopt.compare.analysis import analyse
from evoopt.compare.command import MEMORY_FILE, Report, json_text
from evoopt.compare.comparison import run_comparison
from evoopt.compare.protocol import Protocol
from evoopt.compare.sources import contender, run_contender
from evoopt.compare.verdict import verdict
from evoopt.errors import NoScoreError, command
from evoopt.runs.run import COMPARISON_FILE, Run, write_file
from evoopt.systems.optimizer.config import OptimizerConfig, config_of

TRIALS, TUNING_SEEDS, SEEDS = 12, 2, 10


@dataclass(frozen=True)
class ShortComparison:
    """What came of it.

    Attributes:
        sentence: For the person at the terminal.
        report: The comparison; None where none was made.
    """

    sentence: str
    report: Report | None


def short_comparison(run: Run, config: OptimizerConfig | None = None, quiet: bool = True) -> ShortComparison:
    """Compare a finished run's winner with tuned Adam on the run's tasks, and keep it in the run folder.

    A run that has a baseline is compared with that, and on its meta-validation tasks, too.

    Both get the same few tuning trials on validation data, then fresh seeds on test data, with the length of
    training, tasks and executor of the search. One that is interrupted goes on with the trainings it has.

    Args:
        run: A finished run.
        config: The run's configuration with the execution settings in force; the run's own by default.
        quiet: Show no progress bar.

    Raises:
        EvooptError: The run is not finished.
    """
    config, memory = config or config_of(run), run.folder / f".{MEMORY_FILE}"
    winner = run_contender(run)
    if winner.saw_test:
        return ShortComparison(
            "not compared with tuned Adam: this search was scored on test data, as published, so there is no "
            f"unseen data left on {', '.join(run.config.tasks)}; try: {command('compare', run.folder)} "
            "--tasks with others",
            None,
        )
    try:
        comparison = run_comparison(
            [winner],
            [contender(config.evaluation.baseline if config.evaluation.judged_by_gain else "adam")],
            short_protocol(config),
            config.execution.place(config.evaluation.threads_per_worker),
            engines=run.store.engines(),
            memory=memory,
            quiet=quiet,
        )
    except NoScoreError as error:  # the search has succeeded all the same
        memory.unlink(missing_ok=True)
        return ShortComparison(f"not compared with tuned Adam: {error}", None)
    report = Report(comparison, analyse(comparison))
    write_file(run.folder / COMPARISON_FILE, json_text(report))
    memory.unlink(missing_ok=True)
    return ShortComparison(verdict(comparison, report.analysis, winner.name), report)


def short_protocol(config: OptimizerConfig) -> Protocol:
    """The protocol of a run's short comparison."""
    evaluation = config.evaluation
    return Protocol(
        tasks=tuple(dict.fromkeys(config.judged_tasks)),
        steps=evaluation.steps,
        trials=TRIALS,
        tuning_seeds=TUNING_SEEDS,
        seeds=SEEDS,
        seed=config.search.seed,
        train_size=evaluation.train_size,
        batch_size=evaluation.batch_size,
        chunk_size=evaluation.chunk_size,
        engine=evaluation.engine,
        max_loss=evaluation.max_loss,
    )
