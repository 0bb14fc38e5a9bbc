"""Genes of optimizer genomes, generation by generation: shares of switches, medians of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from evoopt.runs.run import Run
from evoopt.systems.optimizer.optimizer_genome import CONSTANTS, FLAGS


def gene_measures(genomes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean number of terms, share that has each switch on, median of each number.

    Silent genes count too: they are inherited like the others.
    """
    return {
        "number of terms": float(np.mean([len(genome["terms"]) for genome in genomes])),
        **{name: float(np.mean([genome[name] for genome in genomes])) for name in FLAGS},
        **{name: float(np.median([genome[name] for genome in genomes])) for name in CONSTANTS},
    }


def genes_by_generation(run: Run) -> dict[int, dict[str, float]]:
    """Measures of the individuals born for each generation."""
    rows = run.store.select("SELECT born, genome FROM individuals ORDER BY born, id")
    return {
        generation: gene_measures([json.loads(text) for _, text in own])
        for generation, own in groupby(rows, key=lambda row: int(row[0]))
    }
