"""What a comparison found, as a record that can be written, read and analysed again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evoopt.errors import EvooptError, one_line
from evoopt.export.source import read_json
from evoopt.runs.run import COMPARISON_FILE

VERSION = 1


@dataclass(frozen=True)
class Participant:
    """A contender as it took part.

    Attributes:
        name: Its name.
        role: ``"candidate"``, ``"baseline"`` or ``"control"``.
        formula: What it does.
        note: A line people should know, may be empty.
        searched_here: Tasks of the comparison that it was found on.
    """

    name: str
    role: str
    formula: str
    note: str = ""
    searched_here: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tuned:
    """The outcome of tuning one contender on one task.

    Attributes:
        setting: The best setting in words.
        values: Its values by name, with ``"schedule"``.
        metric: Its mean validation metric, second look included.
        trials: Number of trials spent.
        extensions: How many of them extended the learning-rate grid.
        at_edge: Whether the best learning rate is still the outermost tried.
    """

    setting: str
    values: Mapping[str, Any]
    metric: float
    trials: int
    extensions: int
    at_edge: bool


@dataclass(frozen=True)
class Scores:
    """Final trainings of one contender on one task, by seed.

    Attributes:
        metric: Test metric; NaN where training did not end well.
        eval_loss: Test loss.
        train_loss: Mean training loss of the last steps.
        outcomes: How each ended.
        curves: Smoothed training loss, see `evoopt.compare.speed.smooth_curve`; empty where training did
            not end well.
        step_us: Wall time of one optimizer step in microseconds.
        state_bytes: Size of the optimizer's state.
    """

    metric: tuple[float, ...]
    eval_loss: tuple[float, ...]
    train_loss: tuple[float, ...]
    outcomes: tuple[str, ...]
    curves: tuple[tuple[float, ...], ...] = ()
    step_us: float = math.nan
    state_bytes: int = 0


@dataclass(frozen=True)
class TaskFacts:
    """Sizes of a task: weights of its model, examples in its test part, and how rules were trained on it."""

    parameters: int
    test_size: int
    engine: str


@dataclass(frozen=True)
class Comparison:
    """A finished comparison. Tables by task, then by contender's name.

    Attributes:
        protocol: The protocol's settings by name.
        reference: Name of the contender that all others are compared with.
        participants: Everyone, candidates first.
        tuning: Outcome of the tuning.
        scores: Final scores.
        facts: Sizes of each task.
        notes: Lines that people should read with the result.
        controls: Results of controls that are no contenders, by name.
    """

    protocol: Mapping[str, Any]
    reference: str
    participants: tuple[Participant, ...]
    tuning: Mapping[str, Mapping[str, Tuned]]
    scores: Mapping[str, Mapping[str, Scores]]
    facts: Mapping[str, TaskFacts]
    notes: tuple[str, ...] = ()
    controls: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return list(self.scores)

    @property
    def names(self) -> list[str]:
        """Names of all contenders, candidates first."""
        return [participant.name for participant in self.participants]

    def to_json(self) -> dict[str, Any]:
        """Versioned JSON object; `from_json` reads it back."""
        return {"kind": "comparison", "version": VERSION, **without_nan(asdict(self))}

    @classmethod
    def from_json(cls, data: Any) -> Comparison:
        """Read what `to_json` wrote.

        Raises:
            EvooptError: Not a comparison, or one of another version.
        """
        if not isinstance(data, dict) or data.get("kind") != "comparison":
            raise EvooptError("this JSON file holds no comparison")
        if data.get("version") != VERSION:
            raise EvooptError(
                f"comparison version {data.get('version')!r} is not supported, "
                f"this evoopt reads version {VERSION}"
            )
        try:
            return cls(
                protocol=data["protocol"],
                reference=data["reference"],
                participants=tuple(
                    Participant(**{**p, "searched_here": tuple(p["searched_here"])})
                    for p in data["participants"]
                ),
                tuning={
                    t: {n: Tuned(**with_nan(v, "metric")) for n, v in by_name.items()}
                    for t, by_name in data["tuning"].items()
                },
                scores={
                    t: {n: _scores(v) for n, v in by_name.items()} for t, by_name in data["scores"].items()
                },
                facts={t: TaskFacts(**v) for t, v in data["facts"].items()},
                notes=tuple(data["notes"]),
                controls=data["controls"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise EvooptError(f"this comparison is damaged: {one_line(error)}") from None


def load_comparison(path: str | Path) -> Comparison:
    """Read a comparison from its file, or from the folder that holds ``comparison.json``.

    Raises:
        EvooptError: No such file, or not a comparison.
    """
    file = Path(path) / COMPARISON_FILE if Path(path).is_dir() else Path(path)
    return Comparison.from_json(read_json(file))


def without_nan(value: Any) -> Any:
    """Replace numbers that JSON cannot hold by None, all through a record's dictionary."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return value


def with_nan(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """Put NaN back where `without_nan` put None, in the fields of these names."""
    return {**fields, **{name: math.nan if fields[name] is None else fields[name] for name in names}}


def _scores(fields: dict[str, Any]) -> Scores:
    numbers = {
        name: tuple(math.nan if value is None else value for value in fields[name])
        for name in ("metric", "eval_loss", "train_loss")
    }
    curves = tuple(tuple(curve) for curve in fields["curves"])
    return Scores(
        **{**with_nan(fields, "step_us"), **numbers, "outcomes": tuple(fields["outcomes"]), "curves": curves}
    )
