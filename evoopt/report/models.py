"""Parts of the report on individual types whose winner is a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evoopt.report.blocks import Block, Code, Text
from evoopt.report.common import not_measured, wilson
from evoopt.runs.run import MODEL_FILE, Run
from evoopt.tasks.catalogue import metric_of

Fact = tuple[str, str, str]

_LOADING = """\
from safetensors.torch import load_file

from evoopt.tasks import get_task

model = get_task({task!r}).make_model()
model.load_state_dict(load_file({path!r}))
model.eval()
"""


def score_facts(run: Run, scores: Mapping[str, Any] | None = None) -> list[Fact]:
    """Metric of the winner on validation and test data, with how sure a test set of its size makes it."""
    winner = scores or run.winner
    facts = []
    for name in ("validation", "test"):
        part = winner.get(name)
        if not part or not part["examples"] or part["metric"] is None:
            continue
        note = f"{part['examples']:,} examples"
        if name == "test" and _is_accuracy(run):
            low, high = wilson(part["metric"], part["examples"])
            note += f"; 95 % interval {low:.3f} to {high:.3f} from their number alone"
        facts.append((f"{name} {metric_of(run.config.tasks[0])}", f"{part['metric']:.4f}", note))
    return facts


def winner_code(run: Run) -> list[Block]:
    """How to load the winner, if there is a model of it."""
    path = run.folder / MODEL_FILE
    if not path.is_file():
        return []
    return [Code("The winner as a PyTorch model", _LOADING.format(task=run.config.tasks[0], path=str(path)))]


def not_compared(instead: str) -> Text:
    """What a run says in the place of a verdict against tuned Adam, which there is of optimizers alone."""
    return not_measured(f"Not compared with tuned Adam. {instead}")


def task_name(run: Run) -> str:
    """The run's task, without the folder of a file."""
    return Path(run.config.tasks[0]).name


def _is_accuracy(run: Run) -> bool:
    # A task from a person's file is not asked: reading a report must not run anybody's code.
    return metric_of(run.config.tasks[0]) == "accuracy"
