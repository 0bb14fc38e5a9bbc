"""Which claims hold at the budget given, by the 95 % interval of a difference paired by search."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reproductions.three_parent.published import DRIFTS, PUBLISHED
from reproductions.three_parent.results import (
    FEWEST,
    NAMES,
    SUBJECTS,
    PartResult,
    compare,
    drift,
    one_by_one,
    verdict_of,
)
from reproductions.three_parent.tables import percent

CLAIMS = (
    ("better than the default hyperparameters (the paper's table 4)", "default"),
    ("better than truncation PBT at equal cost (claimed in the paper, not measured)", "truncation"),
    ("better than random search at equal cost (not examined in the paper)", "random"),
)
"""Claims about three parents, and the rival of each."""


def verdicts(parts: Sequence[PartResult]) -> list[str]:
    """A table of claims by part, and what it rests on."""
    rows = [
        (f"{NAMES[subject]}: {claim}", [_against(part, subject, rival) for part in parts])
        for claim, rival in CLAIMS
        for subject in SUBJECTS
    ]
    alone = "what one search found is better than the defaults (the paper's comparison), searches by verdict"
    rows += [
        (f"{NAMES[subject]}: {alone}", [_counted(part, subject) for part in parts]) for subject in SUBJECTS
    ]
    control = "better than the default hyperparameters"
    rows += [
        (f"control, {NAMES[method]}: {control}", [_against(part, method, "default") for part in parts])
        for method in ("truncation", "random")
    ]
    return [
        f"| claim | {' | '.join(part.name for part in parts)} |",
        f"|---|{'---|' * len(parts)}",
        *(f"| {title} | {' | '.join(cells)} |" for title, cells in rows if set(cells) != {"-"}),
        "",
        "Percentages are how much lower test results on fresh seeds are than the rival's, with 95 % "
        f"intervals. Below {FEWEST} pairs an interval covers less than it says, so there is no verdict.",
        "",
        *_drifts(parts),
    ]


def _against(part: PartResult, subject: str, rival: str) -> str:
    finding = compare(part, subject, rival)
    return "-" if finding is None else f"**{verdict_of(finding.difference)}**, {percent(finding.relative)}"


def _counted(part: PartResult, subject: str) -> str:
    counts = one_by_one(part, subject)
    return ", ".join(f"{verdict}: {count}" for verdict, count in sorted(counts.items())) or "-"


def _drifts(parts: Sequence[PartResult]) -> list[str]:
    """Whether schedules move as published."""
    lines = []
    for part in parts:
        source = "the paper's text" if part.name in PUBLISHED else "ResNet-20's in the paper"
        for name, direction in DRIFTS.get(part.name, {}).items():
            told = []
            for subject in SUBJECTS:
                d = drift(part, subject, name)
                if d is None:
                    continue
                interval = f" ({d.low:+.2f} to {d.high:+.2f})" if math.isfinite(d.low) else ""
                told.append(
                    f"{NAMES[subject]}: **{verdict_of(d, direction)}**, {d.mean:+.2f}{interval} powers of ten"
                )
            if told:
                way = "grows" if direction > 0 else "falls"
                lines.append(f"- {part.name}: {name} {way} along schedules ({source}): {'; '.join(told)}.")
    return lines
