"""The scripts in examples/ run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_evolution_beats_a_surrogate_on_the_score_it_is_trained_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    threads = torch.get_num_threads()
    try:
        found = runpy.run_path(str(EXAMPLES / "train_on_f1.py"))["main"](seeds=1, generations=20)
    finally:
        torch.set_num_threads(threads)
    assert found["evolution"] > found["adam"] > 0.4
    assert "macro F1" in capsys.readouterr().out
