"""A family tree has all ancestors, follows the right line, and stays drawable."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from evoopt.evolution.individual import Individual
from evoopt.report.pedigree import WHOLE, Pedigree, drawn, fitter, load_pedigree, tree
from evoopt.runs import Run
from evoopt.systems.genetic.founders import effective, founder_shares, founders_of
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome

GENOME = OptimizerGenome(("grad",), (1.0,))


def family(folder: Path, parents: dict[int, tuple[int, ...]], born: dict[int, int]) -> Run:
    run = Run.create(folder, OptimizerConfig())
    people = [Individual(k, GENOME, born[k], own, "mate" if own else "random") for k, own in parents.items()]
    run.store.save_generation(None, {}, people)
    return run


def test_all_ancestors_and_nobody_else_are_there(tmp_path: Path) -> None:
    parents = {0: (), 1: (), 2: (), 3: (0, 1), 4: (1, 2), 5: (3, 0), 6: (4, 4)}
    with family(tmp_path / "run", parents, {0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 2, 6: 2}) as run:
        pedigree = load_pedigree(run, 5, fitter({0: 0.1, 1: 0.9, 3: 0.05}))
    assert set(pedigree.members) == {5, 3, 0, 1}
    assert pedigree.main_line == (5, 0), "0 is fitter than 3"
    picture = tree(pedigree, lambda one: f"no. {one.id}", "x")
    assert {(a, b) for a, b, _ in picture.edges} == {(3, 5), (0, 5), (0, 3), (1, 3)}
    assert [edge[:2] for edge in picture.edges if edge[2]] == [(0, 5)]
    assert "3 ancestors" in picture.caption


def test_a_damaged_ancestry_cannot_send_anybody_in_circles(tmp_path: Path) -> None:
    with family(tmp_path / "run", {0: (), 1: (0,), 2: (1,)}, {0: 0, 1: 1, 2: 2}):
        pass
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as database:
        database.execute("UPDATE individuals SET parents = '[2, 1, 77]' WHERE id = 1")
    with Run(tmp_path / "run") as run:
        assert load_pedigree(run, 2, fitter({})).main_line == (2, 1)


def test_a_large_family_shows_its_main_line_and_says_what_is_left_out(tmp_path: Path) -> None:
    size, count = 60, 600
    parents: dict[int, tuple[int, ...]] = dict.fromkeys(range(size), ())
    for k in range(size, count):
        first = (k // size - 1) * size
        parents[k] = (first + 7 * k % size, first + (11 * k + 3) % size)
    with family(tmp_path / "run", parents, {k: k // size for k in range(count)}) as run:
        pedigree = load_pedigree(run, count - 1, fitter({k: float(k) for k in range(count)}))
    assert len(pedigree.members) > WHOLE
    assert len(drawn(pedigree)) <= 2 * len(pedigree.main_line)
    picture = tree(pedigree, lambda one: "", "x")
    assert "other parents along it" in picture.caption
    assert {node.id for node in picture.nodes if node.main} == set(pedigree.main_line)
    assert all(0 < node.y < 1 for node in picture.nodes)
    places = {(node.x, node.y) for node in picture.nodes}
    assert len(places) == len(picture.nodes), "nobody hides anybody"


def test_shares_of_founders_add_up_and_halve_with_every_cross() -> None:
    rows = [(0, 0, "[]"), (1, 0, "[]"), (2, 0, "[]"), (3, 1, "[0, 1]"), (4, 2, "[3, 2]"), (5, 2, "[0]")]
    shares = founder_shares(rows, 3)
    np.testing.assert_allclose(shares[1], [[0.5, 0.5, 0]])
    np.testing.assert_allclose(shares[2], [[0.25, 0.25, 0.5], [1, 0, 0]])
    assert effective(np.eye(8, dtype=np.float32)) == 8
    assert effective(np.tile(np.eye(1, 8, dtype=np.float32), (5, 1))) == 1


def test_the_winners_founders_are_listed_by_their_share(tmp_path: Path) -> None:
    parents = {0: (), 1: (), 2: (), 3: (0, 1), 4: (3, 0)}
    with family(tmp_path / "run", parents, {0: 0, 1: 0, 2: 0, 3: 1, 4: 2}) as run:
        pedigree: Pedigree = load_pedigree(run, 4, fitter({}))
    assert [tuple(row) for row in founders_of(pedigree, {1: 0.5}).rows] == [(0, None, 0.75), (1, 0.5, 0.25)]
