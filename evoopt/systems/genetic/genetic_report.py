"""The report on a genetic training of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from evoopt.errors import EvooptError
from evoopt.report.blocks import Block, Column, Facts, Formulas, Section, Shown, Text
from evoopt.report.common import Draw, Figured, generations_table, not_measured, values, values_x
from evoopt.report.evolution import around_mean, basis, genealogy_section, origin
from evoopt.report.figures import HeatMap, Lines, Panel, Series, Tree
from evoopt.report.mathml import typeset
from evoopt.report.models import not_compared, score_facts, task_name, winner_code
from evoopt.report.pedigree import Ancestor, Pedigree, fitter, load_pedigree, tree
from evoopt.runs.run import MODEL_FILE, Run
from evoopt.systems.genetic.config import MEANING, GeneticConfig
from evoopt.systems.genetic.founders import founders, founders_of

if TYPE_CHECKING:
    import torch

GENERATION: Sequence[Figured] = (
    Figured("best", "best", ".4f"),
    Figured("median", "median", ".4f"),
    Figured("mean", "mean", ".4f"),
    Figured("worst", "worst", ".4f"),
    Figured("without fitness", "without_fitness", "d"),
    Figured("networks scored", "evaluations", ",d"),
)

_UNITS = {2: "neurons", 4: "filters"}

MOST_CELLS = 256
"""Cells of a layer in the heat map; of wider layers, neighbours share one."""


def fitness(run: Run) -> Lines:
    """Best, median and spread by generation."""
    records = run.generations
    series = (
        Series("best", values(records, "best")),
        Series("median", values(records, "median")),
        around_mean(records),
        Series("best ever", values(records, "best_ever"), role="extra"),
        Series("worst", values(records, "worst"), role="extra"),
    )
    return Lines(
        (Panel(values_x(records), series, y_label=MEANING[_config(run).genetic.fitness]),),
        "Fitness on the training examples that every network is scored on, not on unseen data.",
    )


def chromosome(run: Run) -> HeatMap:
    """Size of the winner's genes, layer by layer."""
    path = run.folder / MODEL_FILE
    if not path.is_file():
        raise EvooptError(f"{run.folder} has no model yet: its chromosome cannot be drawn")
    from evoopt.training.weights_file import read_tensors

    tensors, _ = read_tensors(path, "evoopt.model")
    rows = [
        (f"{name.removesuffix('.weight')}: {len(tensor)} {_UNITS[tensor.ndim]}", _gene_sizes(tensor))
        for name, tensor in sorted(tensors.items(), key=lambda pair: _in_order(pair[0]))
        if tensor.ndim in (2, 4) and name.endswith("weight")
    ]
    return HeatMap(
        tuple(rows),
        "root mean square of a gene's weights, as a multiple of their initial standard deviation",
        "One row per layer, one cell per gene: a filter, or the ingoing weights of a neuron. Near 1 a gene "
        "may be as it was drawn at first; mutations add noise, and selection keeps what helps.",
    )


def genealogy(run: Run) -> Tree:
    """Ancestors of the winner."""
    pedigree, known = _pedigree(run)
    return _tree(pedigree, known)


_FIGURES: Mapping[str, Draw] = {
    "fitness": fitness,
    "chromosome": chromosome,
    "founders": founders,
    "genealogy": genealogy,
}


def figures(run: Run) -> Mapping[str, Draw]:
    """By the name that ``evoopt plot`` knows them by."""
    return _FIGURES


def sections(run: Run) -> list[Section]:
    """The page, part by part."""
    heat: list[Block] = [not_measured("The chromosome can be drawn when the run is finished.")]
    if (run.folder / MODEL_FILE).is_file():
        heat = [Shown("chromosome", "Chromosome of the winner", chromosome(run))]
    return [
        Section("Result", _result(run)),
        Section(
            "The evolution",
            [
                Shown("fitness", "Fitness by generation", fitness(run)),
                generations_table(run.generations, GENERATION),
            ],
        ),
        Section("Chromosome", heat),
        _genealogy_section(run),
        _basis(run),
    ]


def _result(run: Run) -> list[Block]:
    section, last = _config(run).genetic, run.generations[-1]
    facts = [("fitness", _figure(last["best_ever"]), f"{section.fitness} on the scored training examples")]
    if run.finished:
        facts += score_facts(run)
    facts += [
        ("networks scored", f"{last['evaluations']:,}", f"{last['forward_samples']:,} examples seen forward"),
        (
            "gradients",
            f"{section.head_start:,}",
            "minibatches of Adam at the end" if section.head_start else "none",
        ),
    ]
    gene = "filter or neuron" if section.encoding == "accordion" else "scalar"
    lines = [
        r"g_{\operatorname{child}} = g_a\,\text{ or }\,g_b",
        r"w \leftarrow w + \sigma z,\quad z\sim N(0,1)",
    ]
    constants = [
        (typeset(r"\sigma", block=False), "noise on a convolution", f"{section.mutation_sigma:g}"),
        (typeset("r", block=False), "share of genes that mutate", f"{section.mutation_ratio:g}"),
    ]
    blocks: list[Block] = [
        Facts(facts),
        not_compared(
            "What gradients would reach with as many passes was not measured in this run.",
        ),
        Text(
            f"There is no update rule. A child takes each gene, a {gene}, from one of two parents; some "
            "mutate:"
        ),
        Formulas([typeset(line) for line in lines], constants),
    ]
    before = run.winner.get("head_start") if run.finished else None
    if before:
        blocks.append(
            Text(f"Before the {before['steps']:,} minibatches of Adam, the evolved network scored:")
        )
        blocks.append(Facts(score_facts(run, before["before"])))
    return blocks + winner_code(run)


def _genealogy_section(run: Run) -> Section:
    pedigree, known = _pedigree(run)
    more: list[Block] = [
        Shown("founders", "Founders by generation", founders(run)),
        founders_of(pedigree, known),
    ]
    columns = [Column("fitness", ".4f")]
    return genealogy_section(
        _tree(pedigree, known), pedigree, "network", columns, lambda k: [known.get(k)], more=more
    )


def _basis(run: Run) -> Section:
    config = _config(run)
    genetic, last = config.genetic, run.generations[-1]
    scored = last["forward_samples"] // max(1, last["evaluations"])
    return basis(
        f"Budget: {genetic.population} networks for {task_name(run)}, {len(run.generations)} of "
        f"{genetic.generations} generations, scheme {genetic.scheme}, selection "
        f"{genetic.selection}; every network was scored on the same {scored:,} training examples.",
        f"Seeds: root {genetic.seed}. Nothing was chosen by validation or test data; test data was "
        "opened once, at the end, for one network.",
    )


def _pedigree(run: Run) -> tuple[Pedigree, dict[int, float]]:
    rows = run.store.select("SELECT id, json_extract(genome, '$.fitness') FROM individuals")
    known = {number: value for number, value in rows if value is not None}
    return load_pedigree(run, run.generations[-1]["best_id"], fitter(known)), known


def _tree(pedigree: Pedigree, known: Mapping[int, float]) -> Tree:
    def describe(one: Ancestor) -> str:
        return f"network {one.id}, {origin(one)}, fitness {_figure(known.get(one.id))}"

    return tree(pedigree, describe, "from each network to the fitter one of its parents")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _gene_sizes(weight: torch.Tensor) -> tuple[float, ...]:
    """Root mean square of each unit's ingoing weights over the initial standard deviation."""
    import torch  # by those alone who look at weights

    from evoopt.tasks.models.glorot import glorot_std

    squares = weight.double().flatten(1).square().mean(dim=1)
    at_once = math.ceil(len(squares) / MOST_CELLS)
    parts = torch.stack([part.mean() for part in torch.split(squares, at_once)])
    return tuple((parts.sqrt() / glorot_std(weight.shape)).tolist())


def _in_order(name: str) -> list[tuple[int, str]]:
    """Layers in the order of a model, in which 2 comes before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in name.split(".")]


def _config(run: Run) -> GeneticConfig:
    return cast(GeneticConfig, run.config)
