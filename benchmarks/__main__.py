"""``python -m benchmarks [names] [--json FILE]``: measure, print a table, keep the figures."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES
from benchmarks.measure import machine


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
    cases = {key: {**found, name: record}[key] for key in CASES if key in found or key == name}
    path.write_text(json.dumps(cases, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(cases))


def table(cases: dict[str, dict[str, Any]]) -> str:
    first = next(iter(cases.values()))["machine"]
    lines = [
        f"{first['cpu']}, {first['cores']} cores, torch {first['torch']}, Python {first['python']}. "
        "Load is that of the machine before the case began: above 1 others were computing, which distorts "
        "what uses several threads in one process (baseline B) most.",
        "",
        "| case | what | figure | target | date | load |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['what']} | {row['figure']} | {row['target']} | {case['machine']['date']} "
        f"| {case['machine']['load_before']} |"
        for name, case in cases.items()
        for row in case["rows"]
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
