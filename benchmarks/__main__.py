"""``python -m benchmarks [names] [--json FILE]``: measure, print a table, keep the figures."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.cases import CASES, Row
from benchmarks.measure import machine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"cases to run: {', '.join(CASES)}; default all"
    )
    parser.add_argument(
        "--json", type=Path, help="also write the figures here, and the table beside it as .md"
    )
    given = parser.parse_args()
    unknown = set(given.names) - set(CASES)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; known: {', '.join(CASES)}")
    about, rows, records = machine(), [], {}
    for name in given.names or CASES:
        outcome = CASES[name]()
        rows += outcome.rows
        records[name] = {"rows": [asdict(row) for row in outcome.rows], **outcome.record}
        for row in outcome.rows:
            print(
                f"{name:11s} {row.what}: {row.figure}" + (f" (target {row.target})" if row.target else ""),
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps({"machine": about, "cases": records}, indent=1) + "\n")
        given.json.with_suffix(".md").write_text(table(about, rows))


def table(about: dict[str, object], rows: list[Row]) -> str:
    lines = [
        ", ".join(f"{key} {value}" for key, value in about.items()),
        "",
        "| what | figure | target |",
        "|---|---|---|",
    ]
    lines += [f"| {row.what} | {row.figure} | {row.target} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
