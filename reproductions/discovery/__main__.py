"""``python -m reproductions.discovery RULE FOLDER...``: what comparisons of single tasks say together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from evoopt.cli.app import main
from evoopt.compare.result import Comparison, load_comparison
from evoopt.compare.table import trials_in_words
from reproductions.discovery.together import Against, against, joined
from reproductions.markdown import section, spread_of, table

app = typer.Typer(
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def discovery(
    rule: Annotated[str, typer.Argument(help="The candidate's name in all comparisons.")],
    folders: Annotated[list[Path], typer.Argument(help="Comparisons, each with its tasks.")],
) -> None:
    """What comparisons of single tasks say together, as Markdown."""
    comparisons = [load_comparison(folder) for folder in folders]
    whole = joined(comparisons)
    held = [against(rule, name, whole) for name in whole.names if name != rule]
    typer.echo("\n".join(report(rule, comparisons, whole, held)))


def report(
    rule: str, comparisons: Sequence[Comparison], whole: Comparison, held: Sequence[Against]
) -> list[str]:
    """Lines of Markdown: budgets and scores by task, then the rule against each opponent."""
    budgets = [
        [task, f"{one.protocol['steps']:,}", trials_in_words(one.protocol), str(one.protocol["seeds"])]
        for one in comparisons
        for task in one.tasks
    ]
    return [
        *section("Budgets", *table(["task", "steps", "tuning of each contender", "seeds"], budgets)),
        *section("Test metric in percent, mean ± standard deviation over seeds", *_scores(whole)),
        *section(f"{rule} minus each opponent, points (95 % interval)", *_differences(whole, held)),
        *section("Over all tasks", *_overall(held)),
    ]


def _scores(whole: Comparison) -> list[str]:
    rows = [
        [name, *(spread_of(whole.scores[task][name].metric, 100, 2) for task in whole.tasks)]
        for name in whole.names
    ]
    return table(["", *whole.tasks], rows)


def _differences(whole: Comparison, held: Sequence[Against]) -> list[str]:
    sign = {"better": "**+**", "worse": "**-**"}
    rows = []
    for opponent in held:
        cells = []
        for one in opponent.tasks.values():
            d, mark = one.difference, sign.get(one.finding, "")
            cells.append(f"{100 * d.mean:+.2f} ({100 * d.low:+.2f} to {100 * d.high:+.2f}) {mark}".rstrip())
        rows.append([opponent.opponent, *cells])
    return [
        *table(["", *whole.tasks], rows),
        "",
        "**+** and **-**: better and worse after Holm's correction over the tasks, opponent by opponent.",
    ]


def _overall(held: Sequence[Against]) -> list[str]:
    rows = [
        [
            one.opponent, str(one.count("better")), str(one.count("worse")),
            f"{one.gain:+.2f} ({one.gain_interval[0]:+.2f} to {one.gain_interval[1]:+.2f})",
            f"{one.error_ratio:.3f} ({one.ratio_interval[0]:.3f} to {one.ratio_interval[1]:.3f})",
            f"{one.cost:.2f}x",
        ]
        for one in held
    ]  # fmt: skip
    header = [
        "opponent",
        "better",
        "worse",
        "mean gain, its standard deviations",
        "error by its",
        "step's time",
    ]
    return table(header, rows)


if __name__ == "__main__":
    main(app)
