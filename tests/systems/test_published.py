"""The spaces of the publications, literal and of hyperparameters, hold the constants printed there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from evoopt.config import load_space
from evoopt.tasks import get_task

GADAM = {
    "gadam": {
        "population": 10, "mutation_rate": 0.01, "mutation": "uniform", "crossover": True, "theta": 0.0,
        "children": "crossover", "initial": "default", "moments": "reset", "validation": "train",
        "keep_untrained": False, "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
    },
    "training": {"validation_fraction": 0.0, "train_size": None},
}  # fmt: skip
GENETIC = {
    "genetic": {
        "population": 100, "encoding": "accordion", "scheme": "elitist", "selection": "scan",
        "p_mutate": 0.2, "p_mate": 0.7, "elites": 0.1, "pool": 0.2, "replace_if_better": False,
        "mutation_ratio": 0.1, "mutation_sigma": 0.5,
        "mutation_per_weight": False, "mutation_matched": False, "fitness": "accuracy", "head_start": 0,
    },
    "scoring": {"examples": None, "validation_fraction": 0.0, "train_size": None},
}  # fmt: skip
THREE_PARENT = {
    "recombination": {
        "scheme": "three_parent", "optimizer": "adam", "crossover_rate": 0.33, "crossover": "uniform",
        "recombinants": "one", "mutation_rate": 0.05, "initial": "mutants", "initial_mutations": 3,
        "sigma": 10.0, "winsorise": 0.0, "demes": 1, "migration_interval": 5, "migrants": 1,
        "quantile": 0.25, "resample": 0.25, "factors": (0.8, 1.2),  # of the control: Ray Tune's
    }
}  # fmt: skip
MARFINETZ = {
    "search": {
        "population": 50, "generations": 50, "elites": 3, "tournament": 4, "seed": 42,
        "elite_policy": "reevaluate", "finalists": 0, "survivors": "best",
    },
    "evaluation": {
        "tasks": ("fashion_mnist", "cifar10", "mnist"), "steps": 500, "replicates": 2, "fitness": "paper",
        "seeds": "literal", "train_size": 15_000, "batch_size": 128, "drop_last": False, "max_loss": 50.0,
        "descent_filter": False,
    },
    "genome": {
        "operators": "literal", "nesterov": "notebook", "max_terms": 4,
        "terms": ("grad", "momentum", "rms_norm", "adam", "sign_grad", "unit_grad", "nesterov"),
    },
}  # fmt: skip
SECTIONS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "marfinetz2025": MARFINETZ,
    "gadam-lenet5-paper": GADAM | {"training": {"task": "mnist_lenet5", "steps": 5000, "batch_size": None}},
    **{f"gadam-{name}-paper": GADAM for name in ("adult", "letter", "yeast", "orl")},
    **{f"genetic-{name}-paper": GENETIC for name in ("mnist", "cifar10", "digits")},
    "hpo-lenet": {
        "recombination": THREE_PARENT["recombination"] | {"fom": "steps", "target": 0.986, "every": 100},
        "training": {"task": "mnist_lenet_hpo", "steps": 2000},
    },
    "hpo-p3b1": THREE_PARENT,
    # 16 epochs of 64,000 images.
    "hpo-rpv": THREE_PARENT | {"training": {"task": "rpv", "steps": 8000, "batch_size": 128}},
    # A generation is an epoch.
    "pbt-resnet20": {
        "recombination": THREE_PARENT["recombination"] | {"generations": 200},
        "training": {"task": "cifar10_resnet20", "steps": None},
    },
    "pbt-capsnet": {
        "recombination": THREE_PARENT["recombination"] | {"generations": 50},
        "training": {"task": "cifar10_capsnet", "steps": None},
    },
    "pbt-nmt": {"recombination": THREE_PARENT["recombination"] | {"fom": "perplexity"}},
}
"""What the publications say of each section; a run is of the size that is given here, if one is."""
LOCI: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "hpo-lenet": {
        "kernels.0": (2, 8, 5), "kernels.1": (2, 8, 5), "filters.0": (8, 128, 32),
        "filters.1": (16, 256, 64), "dense": (64, 4096, 1024), "lr": (1e-6, 1e-2, 1e-4),
        "dropout": (0.005, 0.9, 0.5),
    },
    "hpo-p3b1": {  # dropout is published from 0, from which a factor leads nowhere
        **dict.fromkeys(("shared", "heads.0", "heads.1", "heads.2"), (32, 8192, 1200)),
        "lr": (1e-8, 1, 1e-2), "dropout": (0.001, 0.9, 0.1),
    },
    "hpo-rpv": {
        **dict.fromkeys(("kernels.0", "kernels.1", "kernels.2"), (2, 9, 3)), "filters.0": (2, 32, 8),
        "filters.1": (4, 64, 16), "filters.2": (8, 128, 32), "dense": (16, 256, 64), "lr": (1e-5, 0.1, 1e-3),
        "dropout": (1e-3, 0.9, 0.5),
    },
}  # fmt: skip
"""Lowest value, highest and default of every hyperparameter, as printed."""
DEFAULTS: Mapping[str, Mapping[str, float]] = {  # Keras' penalty of 1e-4 has twice itself as its gradient
    "pbt-resnet20": {"lr": 1e-3, "l2": 2e-4},
    "pbt-capsnet": {"lr": 1e-3, "q": 0.5, "routings": 3},
}
"""Defaults of schedules that follow from the published baselines; no bounds are published."""
BATCHES = {
    **dict.fromkeys(("mnist", "fashion_mnist", "cifar10", "mnist_lenet5", "cifar10_capsnet"), 128),
    **{f"genetic_{of}": 32 for of in ("mnist", "mnist_136", "cifar10", "cifar10_rgb", "digits")},
    "mnist_lenet_hpo": 100, "cifar10_resnet20": 32, "p3b1": 10, "digits": 32, "digits_cnn": 32,
}  # fmt: skip
"""Those of digits are ours."""


@pytest.mark.parametrize("name", SECTIONS)
def test_a_space_has_the_settings_of_its_publication(name: str) -> None:
    config = load_space(name)
    for section, settings in SECTIONS[name].items():
        found = {setting: getattr(getattr(config, section), setting) for setting in settings}
        assert found == settings


@pytest.mark.parametrize("name", LOCI)
def test_hyperparameters_have_the_published_bounds_and_defaults(name: str) -> None:
    tables = load_space(name).loci().tables()
    choices = [tables.pop("optimizer")] if name == "hpo-rpv" else []
    assert all(set(table["choices"]) == {"adam", "nadam", "adadelta"} for table in choices)
    assert {k: (t["min"], t["max"], t["default"]) for k, t in tables.items()} == LOCI[name]
    integers = {k for k, table in tables.items() if table["type"] == "integer"}
    assert integers == set(LOCI[name]) - {"lr", "dropout"}


@pytest.mark.parametrize("name", DEFAULTS)
def test_schedules_start_from_the_published_baselines(name: str) -> None:
    defaults = load_space(name).loci().default().values()
    assert {k: defaults[k] for k in DEFAULTS[name]} == DEFAULTS[name]


@pytest.mark.parametrize("name", BATCHES)
def test_tasks_have_the_published_batches(name: str) -> None:
    assert get_task(name).batch_size == BATCHES[name]
