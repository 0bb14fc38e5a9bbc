"""Which claims about three parents hold at the budget given."""

from __future__ import annotations

from collections.abc import Sequence

from reproductions.claims import RULE, Claim, bold, claims_table, from_zero
from reproductions.markdown import table
from reproductions.three_parent.published import DRIFTS, PUBLISHED
from reproductions.three_parent.results import NAMES, SUBJECTS, SearchResult

CLAIMS = (
    Claim("better than the {rival}", "table 4", SUBJECTS, ("default",)),
    Claim(
        "better than {rival} at equal cost", "claimed in the paper, not measured", SUBJECTS, ("truncation",)
    ),
    Claim("better than {rival} at equal cost", "not examined in the paper", SUBJECTS, ("random",)),
    Claim("better than the {rival}", "control", ("truncation", "random"), ("default",)),
)


def verdicts(parts: Sequence[SearchResult]) -> list[str]:
    """Claims by part, searches one by one, and whether schedules move as published."""
    counts = [
        [f"{NAMES[subject]}: searches by verdict", *(_counted(part, subject) for part in parts)]
        for subject in SUBJECTS
        if any(part.one_by_one(subject) for part in parts)
    ]
    return [
        f"{RULE} Percentages are how much lower test results on fresh seeds are than the rival's.",
        "",
        *claims_table(CLAIMS, parts, NAMES, _judge),
        "",
        "What one search found is better than the defaults, by its own fresh seeds, as the paper compares:",
        "",
        *table(["", *(part.name for part in parts)], counts),
        "",
        *(line for part in parts for line in _drifts(part)),
    ]


def percent(part: SearchResult, subject: str, rival: str = "default") -> str:
    """How many percent lower, with its interval."""
    finding = part.share_lower(subject, rival)
    return "-" if finding is None else finding.told(digits=1, unit=" %")


def _judge(part: SearchResult, claim: Claim, subject: str, rival: str) -> str | None:
    finding = part.lower(subject, rival)
    return None if finding is None else bold(finding, percent(part, subject, rival))


def _counted(part: SearchResult, subject: str) -> str:
    return ", ".join(f"{verdict}: {n}" for verdict, n in sorted(part.one_by_one(subject).items())) or "-"


def _drifts(part: SearchResult) -> list[str]:
    source = "the paper's text" if part.name in PUBLISHED else "ResNet-20's in the paper"
    lines = []
    for name, direction in DRIFTS.get(part.name, {}).items():
        told = []
        for subject in SUBJECTS:
            grown = part.drift(subject, name)
            finding, moved = from_zero(grown), from_zero([direction * value for value in grown])
            if finding is not None and moved is not None:
                told.append(f"{NAMES[subject]}: **{moved.verdict}**, {finding.told(1)} powers of ten")
        if told:
            way = "grows" if direction > 0 else "falls"
            lines.append(f"- {part.name}: {name} {way} along schedules ({source}): {'; '.join(told)}.")
    return lines
