"""``python -m benchmarks [names] [--json FILE]``: measure, print a table, keep the figures."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES
from benchmarks.measure import machine

_LOAD = (
    "Load is that of the machine before the case began: above 1 others were computing, which distorts "
    "what uses several threads in one process (baseline B) most."
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"cases: {', '.join(CASES)}; default all")
    parser.add_argument(
        "--json",
        "--out",
        type=Path,
        help="also keep the figures in this file, and the table beside it as .md; other cases in it stay",
    )
    given = parser.parse_args()
    unknown = set(given.names) - set(CASES)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; known: {', '.join(CASES)}")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
    for name in given.names or CASES:
        about, outcome = machine(), CASES[name]()
        for row in outcome.rows:
            target = f" (target {row.target})" if row.target else ""
            print(f"{name:11s} {row.what}: {row.figure}{target}", flush=True)
        if given.json:
            rows = [asdict(row) for row in outcome.rows]
            keep(given.json, name, {"machine": about, "rows": rows, **outcome.record})


def keep(path: Path, name: str, record: dict[str, Any]) -> None:
    """Add or replace one case in a results file and its table."""
    found = json.loads(path.read_text()) if path.exists() else {}
    found[name] = record
    known = {key: found[key] for key in CASES if key in found}
    cases = known | found  # in the order of CASES; what these no longer have stays
    path.write_text(json.dumps(cases, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(cases))


def table(cases: dict[str, dict[str, Any]]) -> str:
    """Of every machine a table of its own, under a line that names it."""
    machines: dict[str, list[str]] = {}
    for name, case in cases.items():
        about = case["machine"]
        title = f"{about['cpu']}, {about['cores']} cores, torch {about['torch']}, Python {about['python']}"
        machines.setdefault(title, []).extend(
            f"| {name} | {row['what']} | {row['figure']} | {row['target']} | {about['date']} "
            f"| {about['load_before']} |"
            for row in case["rows"]
        )
    head = ["", "| case | what | figure | target | date | load |", "|---|---|---|---|---|---|"]
    tables = ["\n".join([f"{title}. {_LOAD}", *head, *rows]) for title, rows in machines.items()]
    return "\n\n".join(tables) + "\n"


if __name__ == "__main__":
    main()
