"""Results that nothing can be selected by: which they are, and what a person is told of them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from evoopt.errors import NoScoreError
from evoopt.training.plan import TrainingResult

NAN_METRIC = "metric is NaN"
_ROUNDING = 1e-6  # a metric in float32 may end so far beyond 0 or 1
_WORDS = {"stopped": "was stopped"}
_NUMBER = re.compile(r"\d[\d.e+-]*")
_BATCH_LOSS = re.compile(r"batch loss (\S+) at step (\d+)")


def with_metric(result: TrainingResult) -> TrainingResult:
    """A training's result; a failure where it ended well but its metric is NaN."""
    if result.outcome == "ok" and math.isnan(result.metric):
        return TrainingResult.unsuccessful("failed", NAN_METRIC, result.steps, result.seconds)
    return result


def check_metrics(task: str, metrics: Iterable[float]) -> None:
    """Check metrics that decide something; NaN, which is a failure of one member, passes.

    Args:
        task: The task's name.
        metrics: What its metric gave.

    Raises:
        NoScoreError: One lies outside of [0, 1].
    """
    for metric in metrics:
        if metric < -_ROUNDING or metric > 1 + _ROUNDING:
            raise NoScoreError(
                f"task {task!r}: its metric must lie in [0, 1], higher is better; found {metric:g}: "
                "scale or clamp it"
            )


def no_score(
    task: str,
    results: Sequence[TrainingResult],
    max_loss: float = math.inf,
    setting: str = "max_loss",
    of: str = "",
) -> NoScoreError:
    """What to say where no training ended well.

    Args:
        task: The task's name.
        results: The trainings on it, at least one.
        max_loss: Batch loss above which they counted as diverged.
        setting: What a person calls that limit.
        of: Who was trained, if it was one alone.
    """
    tried = [result for result in results if result.outcome != "stopped"] or results
    outcomes = " or ".join(sorted({_WORDS.get(result.outcome, result.outcome) for result in tried}))
    reason = _typical([result.reason for result in tried])
    who = f" of {of}" if of else ""
    return NoScoreError(
        f"every training{who} on task {task!r} {outcomes}: {reason}{_advice(reason, max_loss, setting)}"
    )


def _typical(reasons: Sequence[str]) -> str:
    """The most frequent reason of the most frequent kind, to which numbers make no difference."""
    kinds = [_NUMBER.sub("#", reason) for reason in reasons]
    (most, _), *_ = Counter(kinds).most_common(1)
    alike = Counter(reason for reason, kind in zip(reasons, kinds, strict=True) if kind == most)
    return alike.most_common(1)[0][0]


def _advice(reason: str, max_loss: float, setting: str) -> str:
    if reason == NAN_METRIC:
        return "; mend the task's metric"
    found = _BATCH_LOSS.fullmatch(reason)
    if found is None:
        return ""
    loss, step = float(found[1]), int(found[2])
    if not math.isfinite(loss):
        return "; check the task's loss and data" + ("" if step == 1 else ", or lower the learning rates")
    rates = "" if step == 1 else "lower the learning rates, "
    return f" is above {setting} {max_loss:g}; {rates}scale the target or raise {setting}"
