"""Parts of the report on an evolution that several individual types show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from evoopt.report.blocks import Block, Cell, Column, Section, Shown, Table, Text
from evoopt.report.common import Record, quartiles, values
from evoopt.report.figures import Series, Tree
from evoopt.report.noise_runs import Drift
from evoopt.report.pedigree import Ancestor, Pedigree


def around_mean(records: Sequence[Record]) -> Series:
    """Mean and standard deviation of a population, by generation."""
    mean, spread = values(records, "mean"), values(records, "std")
    low, high = (
        [None if m is None or s is None else m + sign * s for m, s in zip(mean, spread, strict=True)]
        for sign in (-1, 1)
    )
    return Series("mean ± standard deviation", mean, low, high)


def middle_half(
    label: str, rows: Sequence[Sequence[float | None]], role: Literal["plain", "reference"] = "plain"
) -> Series:
    """Median and quartiles of each row's known values."""
    low, middle, high = quartiles(rows)
    return Series(label, middle, low, high, role)


def beside_noise(drift: Drift, name: str, y: Sequence[float]) -> tuple[Series, ...]:
    """A measure by generation, beside the band of the noise runs if they have it."""
    own, band = Series("this run", y), drift.bands.get(name)
    if band is None:
        return (own,)
    low, middle, high = (edge[: len(y)] for edge in (band.low, band.middle, band.high))
    return Series("noise runs", middle, low, high, "reference"), own


def origin(one: Ancestor, founder: str = "initial") -> str:
    """How an individual came to be."""
    return f"{one.operation} of {' and '.join(map(str, one.parents))}" if one.parents else founder


def genealogy_section(
    figure: Tree,
    pedigree: Pedigree,
    who: str,
    columns: Sequence[Column],
    cells: Callable[[int], Sequence[Cell]],
    origin: Callable[[Ancestor], str] = origin,
    winner: str = "the winner",
    more: Sequence[Block] = (),
) -> Section:
    """The family tree, and its main line as a table.

    Args:
        figure: The tree.
        pedigree: What it was drawn from.
        who: What an individual is called.
        columns: What else to say of each, beside its number, generation and origin.
        cells: Their values, by number.
        origin: How an individual came to be.
        winner: What the individual that the tree is of is called.
        more: Shown below.
    """
    line = [pedigree.members[number] for number in pedigree.main_line]
    rows: list[Sequence[Cell]] = [(one.id, one.born, origin(one), *cells(one.id)) for one in line]
    columns = (Column(who, "d"), Column("generation", "d"), Column("origin"), *columns)
    table = Table(columns, rows, "The main line", folded=True)
    return Section("Genealogy", [Shown("genealogy", f"Ancestors of {winner}", figure), table, *more])


def basis(*texts: str, unmeasured: str = "") -> Section:
    """Budget and seeds, and what a single run does not tell."""
    last = unmeasured or "How much its result differs between root seeds was not measured."
    return Section("What this rests on", [Text(text) for text in (*texts, f"This is one run. {last}")])
