"""Noise runs use the run's own operators, and a run that learns nothing stays among them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from evoopt.report.figures import Lines
from evoopt.runs import Run
from evoopt.systems.hyperparameters.config import HpoConfig, HpoSection, PbtConfig
from evoopt.systems.hyperparameters.hyperparameter_drift import hyperparameter_drift
from evoopt.systems.optimizer import optimizer_figures
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_drift import optimizer_drift, term_shares
from tests.report.runs import CONFIGS, SPACE, search_optimizer


def share_inside(figure: Lines) -> float:
    inside = []
    for panel in figure.panels:
        noise, run = panel.series if len(panel.series) == 2 else (None, panel.series[0])
        if noise is None:
            inside.append(False)
            continue
        assert noise.low is not None
        assert noise.high is not None
        inside += [
            bool(low <= y <= high)  # type: ignore[operator]
            for low, y, high in zip(noise.low, run.y, noise.high, strict=True)
        ]
    return float(np.mean(inside))


def test_a_run_with_random_fitness_stays_within_its_own_drift(tmp_path: Path) -> None:
    changes = {"evaluation": {"fitness": "noise"}, "search": {"population": 12, "generations": 12}}
    search_optimizer(tmp_path / "run", **changes)
    with Run(tmp_path / "run") as run:
        drift = optimizer_figures.drift_of(run)
        # 90 % are expected; points of one run are related to each other, so the bound is a wide one.
        assert share_inside(optimizer_figures.terms(run, drift)) > 0.7
        assert share_inside(optimizer_figures.genes(run, drift)) > 0.7


def test_noise_runs_are_the_same_every_time() -> None:
    config = CONFIGS["optimizer"]
    assert isinstance(config, OptimizerConfig)
    first, second = (optimizer_drift(config, 3) for _ in range(2))
    assert first == second
    assert first.bands["lr_log10"].low[-1] < first.bands["lr_log10"].high[-1]


def test_bands_are_ordered_and_shares_are_shares() -> None:
    config = CONFIGS["optimizer"]
    assert isinstance(config, OptimizerConfig)
    drift = optimizer_drift(config, 4)
    for name, band in drift.bands.items():
        assert all(a <= b <= c for a, b, c in zip(band.low, band.middle, band.high, strict=True)), name
        if name.startswith(("term ", "use_")):
            assert min(band.low) >= 0, name
            assert max(band.high) <= 1, name
    assert sum(term_shares({"adam": 3, "grad": 1}).values()) == 1


def test_large_runs_are_simulated_small_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evoopt.report.noise_runs.BIRTHS", 2_000)
    config = OptimizerConfig().override({"search": {"population": 400}})
    drift = optimizer_drift(config, 10)
    assert 10 * drift.runs * drift.population <= 2_000
    assert f"{drift.population} individuals instead of 400" in drift.describe(400)
    assert "instead" not in drift.describe(drift.population)


def test_hyperparameters_drift_within_their_space() -> None:
    space = {**SPACE, "optimizer": {"choices": ["adam", "sgd"], "default": "adam"}}
    settings = {"population": 8, "generations": 6, "demes": 2}
    config = PbtConfig(space=space, recombination=settings)
    drift = hyperparameter_drift(config, 6)
    low, high = drift.bands["lr"].low, drift.bands["lr"].high
    assert all(1e-4 <= a <= b <= 0.1 for a, b in zip(low, high, strict=True))
    assert len(low) == 6
    choices = [drift.bands[f"optimizer = {choice}"].middle for choice in ("adam", "sgd")]
    assert all(math.isclose(a + b, 1, abs_tol=0.3) for a, b in zip(*choices, strict=True))


def test_small_noise_populations_still_have_demes_with_their_migrants_and_choices_of_all_kinds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evoopt.report.noise_runs.BIRTHS", 1_000)
    space = {**SPACE, "weight_decay": {"choices": [2.0, "none"], "default": 2.0}}
    settings = {"population": 400, "generations": 5, "demes": 4, "migrants": 30}
    config = HpoConfig.model_construct(space=space, recombination=HpoSection(**settings))
    drift = hyperparameter_drift(config, 5)
    assert drift.population % 4 == 0
    assert 4 * 30 < drift.population < 400
    assert drift.bands["weight_decay = none"].high[0] > 0
