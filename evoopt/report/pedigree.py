"""The family tree of a run's winner."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evoopt.report.figures import Node, Tree
from evoopt.runs.run import Run

WHOLE = 120
"""Individuals up to which a tree is drawn whole; of larger ones, the main line and its other parents."""

_ANCESTORS = """
WITH RECURSIVE line(id) AS (
    VALUES(?) UNION SELECT parent.value FROM line JOIN individuals USING (id), json_each(parents) AS parent)
SELECT id, born, operation, parents FROM line JOIN individuals USING (id)
"""


@dataclass(frozen=True)
class Ancestor:
    """An individual of the tree: its number, the generation it was born in, how, and of whom."""

    id: int
    born: int
    operation: str
    parents: tuple[int, ...]


@dataclass(frozen=True)
class Pedigree:
    """An individual with all its ancestors.

    Attributes:
        members: By number.
        main_line: Numbers from the individual back to a founder, along the main parents.
    """

    members: Mapping[int, Ancestor]
    main_line: tuple[int, ...]


def load_pedigree(
    run: Run, number: int, main_parent: Callable[[Ancestor, Mapping[int, Ancestor]], int]
) -> Pedigree:
    """Read the ancestry of an individual.

    Args:
        run: The run.
        number: Of the individual.
        main_parent: Chooses among the parents of one that has some, given all members.
    """
    rows = run.store.select(_ANCESTORS, number)
    known = {row[0] for row in rows}
    members = {}
    for ancestor, born, operation, parents in rows:
        # Parents are older than their children; a damaged file must not send anybody in circles.
        older = tuple(parent for parent in json.loads(parents) if parent in known and parent < ancestor)
        members[ancestor] = Ancestor(ancestor, born, operation, older)
    line = [number] if number in members else []
    while line and members[line[-1]].parents:
        line.append(main_parent(members[line[-1]], members))
    return Pedigree(members, tuple(line))


def fitter(values: Mapping[int, float]) -> Callable[[Ancestor, Mapping[int, Ancestor]], int]:
    """Choose the parent with the higher value as the main one; the first where there is none."""
    return lambda child, _: max(child.parents, key=lambda parent: values.get(parent, float("-inf")))


def drawn(pedigree: Pedigree) -> set[int]:
    """Numbers of those that a tree shows: all, or the main line and the other parents along it."""
    members, line = pedigree.members, set(pedigree.main_line)
    if len(members) <= WHOLE:
        return set(members)
    return line | {parent for number in line for parent in members[number].parents}


def tree(pedigree: Pedigree, describe: Callable[[Ancestor], str], main: str) -> Tree:
    """Lay a pedigree out, generations from left to right.

    Args:
        pedigree: Who descends from whom.
        describe: Says about a member what is worth knowing.
        main: What the main line follows, for the caption.
    """
    members, line = pedigree.members, set(pedigree.main_line)
    whole = len(members) <= WHOLE
    shown = drawn(pedigree)
    places = _places(members, shown)
    nodes = tuple(
        Node(number, members[number].born, places[number], number in line, describe(members[number]))
        for number in sorted(shown)
    )
    steps = set(zip(pedigree.main_line[1:], pedigree.main_line[:-1], strict=True))
    edges = tuple(
        (parent, child, (parent, child) in steps)
        for child in sorted(shown)
        if whole or child in line
        for parent in dict.fromkeys(members[child].parents)
    )
    count = len(members) - 1
    caption = f"{count:,} ancestor{'' if count == 1 else 's'} in all. Strong line: {main}."
    if not whole:
        caption += " Drawn are that line and the other parents along it."
    return Tree(nodes, edges, caption)


def _places(members: Mapping[int, Ancestor], shown: set[int]) -> dict[int, float]:
    """Place of each individual within its generation, near the places of its children."""
    columns: dict[int, list[int]] = defaultdict(list)
    children: dict[int, list[int]] = defaultdict(list)
    for number in sorted(shown):
        columns[members[number].born].append(number)
        for parent in members[number].parents:
            children[parent].append(number)
    places: dict[int, float] = {}
    for born in sorted(columns, reverse=True):

        def wanted(number: int) -> float:
            known: Sequence[float] = [places[child] for child in children[number] if child in places]
            return sum(known) / len(known) if known else 0.5

        ordered = sorted(columns[born], key=lambda number: (wanted(number), number))
        for k, number in enumerate(ordered):
            places[number] = (k + 0.5) / len(ordered)
    return places
