"""What a worker does with a chunk: filter, train, answer in order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evoopt.errors import EvooptError
from evoopt.jobs.rule_worker import Chunk, EngineProbe, WorkerSetup, make_worker
from evoopt.optim import UpdateRule, preset
from evoopt.tasks import DataOptions
from evoopt.training.plan import TrainingPlan

PLAN = TrainingPlan(steps=8, seed=1, batch_size=0)
UPHILL = UpdateRule((("adam", -1.0),))
SETUP = WorkerSetup(("digits",), DataOptions())


def scores(chunk: Chunk) -> list[tuple[str, float, float]]:
    return [(r.outcome, r.train_loss, r.metric) for r in make_worker(SETUP)(chunk)]


def test_rules_that_climb_are_rejected_before_training_and_cost_the_others_nothing() -> None:
    rules = (preset("adam"), UPHILL, preset("lion"))
    filtered = make_worker(SETUP)(Chunk("digits", rules, PLAN, "batched", descent_filter=True))
    assert [result.outcome for result in filtered] == ["ok", "stopped", "ok"]
    assert filtered[1].reason == "the update does not point downhill on any probe"
    assert filtered[1].steps == 0
    trained = scores(Chunk("digits", (rules[0], rules[2]), PLAN, "batched"))
    assert [(r.outcome, r.train_loss, r.metric) for r in (filtered[0], filtered[2])] == trained


def test_a_chunk_of_nothing_but_rejected_rules_is_answered() -> None:
    results = make_worker(SETUP)(Chunk("digits", (UPHILL, UPHILL), PLAN, "batched", descent_filter=True))
    assert [result.outcome for result in results] == ["stopped", "stopped"]


def test_halving_stops_the_worse_half_of_a_chunk() -> None:
    slow = replace(preset("adam"), lr=1e-9)
    rules = (preset("adam"), slow, preset("adamw"), replace(slow, lr=2e-9))
    results = scores(Chunk("digits", rules, replace(PLAN, steps=40, halve_at=0.5), "batched"))
    assert [outcome for outcome, *_ in results] == ["ok", "stopped", "ok", "stopped"]


def test_the_probe_names_an_engine_and_what_it_measured() -> None:
    name, measured = make_worker(SETUP)(EngineProbe(Chunk("digits", (preset("adam"),) * 4, PLAN, "auto")))
    assert name in ("batched", "sequential")
    assert measured["members"] == 4
    assert measured["batched_ms"] > 0


def test_a_task_that_cannot_be_loaded_is_said_at_the_start() -> None:
    with pytest.raises(EvooptError, match="unknown task 'digist'"):
        make_worker(WorkerSetup(("digist",), DataOptions()))


def test_a_complex_model_is_refused_rather_than_cut_to_its_real_part(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import replace\n"
        "import torch\n"
        "from evoopt.tasks import get_task\n"
        "class Spectral(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(33, 10)\n"
        "        self.register_buffer('phase', torch.ones(33, dtype=torch.complex64))\n"
        "    def forward(self, x):\n"
        "        return self.layer((torch.fft.rfft(x.flatten(1)) * self.phase).abs())\n"
        "def task():\n"
        "    return replace(get_task('digits'), name='mine', make_model=Spectral)\n"
    )
    with pytest.raises(EvooptError, match="'phase' of the model is complex"):
        make_worker(WorkerSetup((f"{file}:task",), DataOptions()))
