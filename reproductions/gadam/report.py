"""The report on a reproduction of GADAM: what each claim comes to, and tables."""

from __future__ import annotations

from collections.abc import Sequence

from evoopt.tasks import get_task
from reproductions.claims import RULE, Claim, bold, claims_table
from reproductions.gadam.baselines import LEARNING_RATES
from reproductions.gadam.budget import PARTS, SUBJECTS
from reproductions.gadam.figures_text import figures_text
from reproductions.gadam.published import NOT_RUN, PUBLISHED, REMARKS
from reproductions.gadam.results import ROWS, TableResult, figures, rivals_in, tables
from reproductions.markdown import picture, section, spread_of, table
from reproductions.results import Found, PartResult

EQUAL_COMPUTE = ("adam_long", "adam_tuned", "adam_best", "adam_ensemble")
_TABLES = "tables 1, 3 and 4"

CLAIMS = (
    Claim("better than {rival} with the steps of a lineage", _TABLES, SUBJECTS, ("adam",)),
    Claim("better than {rival}", "table 1", SUBJECTS, ("sgd", "rmsprop", "adagrad", "adadelta")),
    Claim("better than {rival}", _TABLES, SUBJECTS, ("random_forest", "svm", "knn")),
    Claim("better than {rival}", "not examined in the paper", SUBJECTS, EQUAL_COMPUTE),
    Claim("better than {rival}", "implied by figure 2", SUBJECTS, ("gadam_reinitialised",)),
    *(Claim("better than {rival}", "not in the paper", (f"{own}_average",), (own,)) for own in SUBJECTS),
)

_HOW = f"""\
Every method of a data set sees the same division into training, validation and test examples, and by seed the
same initial weights. Published learning rates are not given, so that every optimizer has the defaults of
`torch.optim` (GADAM and Adam: 0.001). GADAM's population spends 2gKE steps, a lineage at most 2KE, which is
what Adam, SGD, RMSprop, Adagrad and Adadelta get. Four rows get the whole 2gKE: Adam in one go; Adam tuned,
with the learning rates {", ".join(f"{lr:g}" for lr in LEARNING_RATES)}, a third of the steps each (in whole
phases of E steps), chosen on validation data; the best of g restarts by validation loss; and the mean of
their softmax outputs. After every E steps each of them is scored on the validation part, and its best state
counts, because GADAM chooses as often. The test part is opened once for each result, after all choices.

*As published*: a mutated scalar is drawn from U(0, 1), the batches that select come from the training
examples, and parents survive only as trained. *Robust*: mutated scalars from N(0, std of their tensor),
selection on held-out examples, and parents may survive as they were. *Children fresh at random*: robust, but
each child gets new initial weights, a control for what inheritance is worth. *Mean of the weights*: of the
last generation's models, in the place of the best of them. Classical methods learn from
training and validation examples, normalised as for the networks."""


def report(found: Found[PartResult]) -> list[str]:
    """All sections but the head."""
    parts, drawn = tables(found), figures(found)
    lines: list[str] = []
    if rivals_in(parts):
        lines += section(
            "What holds at this budget", f"{RULE} Differences are in points of test accuracy.", "",
            *claims_table(CLAIMS, parts, ROWS, _judge),
        )  # fmt: skip
        lines += picture("differences")
    if parts:
        lines += section("Budget", *_budget(parts), "", _HOW)
    for part in parts:
        lines += section(PARTS[part.name].title, *_part(part))
    if any(part.curves for part in parts):
        lines += section(
            "Training loss (the plot that the paper calls table 2)", *picture("training_loss", _CURVES)
        )
    return lines if drawn is None else lines + figures_text(drawn)


_CURVES = (
    "GADAM's curve is the lineage of the final winner: its own losses since its crossover, before that those "
    "of its fitter parent, and so on; dots mark crossovers. Left by the steps of the lineage, right by the "
    "steps of the whole population."
)


def _judge(part: TableResult, claim: Claim, subject: str, rival: str) -> str | None:
    finding = part.find(subject, rival)
    return None if finding is None else bold(finding, finding.told())


def _budget(parts: Sequence[TableResult]) -> list[str]:
    rows = []
    for part in parts:
        b, paper = part.budget, PARTS[part.name].paper
        told = f"g = {paper.population}, E = {paper.steps:,}" if part.name == "mnist" else "not given"
        told = told if part.name in PUBLISHED else "-"
        batch = get_task(PARTS[part.name].task).batch_size
        counts = [b.population, b.generations, b.steps, b.lineage_steps, b.all_steps, batch, b.seeds]
        rows.append([part.name, *(f"{count:,}" for count in counts), told, f"{part.seconds / 60:.1f}"])
    header = ["part", "g", "K", "E", "a lineage's steps 2KE", "the population's 2gKE", "batch", "seeds"]
    return table([*header, "published", "minutes of a worker"], rows)


def _part(part: TableResult) -> list[str]:
    published, rows = PUBLISHED.get(part.name, {}), []
    for row, by_seed in part.rows.items():
        first, told = next(iter(by_seed.values())), published.get(row)
        steps = first.get("steps")
        count = f"{steps:,}" if steps else f"{first['examples']:,} examples"
        accuracy = spread_of(part.column(row, "test_accuracy").values(), 100, 2)
        loss = spread_of(part.column(row, "test_loss").values()) if steps else "-"
        theirs = ["-", "-"] if told is None else [f"{told.accuracy:.2f}", _loss(told.loss)]
        rows.append([ROWS[row], count, accuracy, theirs[0], loss, theirs[1]])
    for row, number in published.items():
        if row not in part.rows:
            name = NOT_RUN.get(row) or ROWS[row]
            rows.append([name, "-", "not run", f"{number.accuracy:.2f}", "-", _loss(number.loss)])
    remark = ["", REMARKS[part.name]] if part.name in REMARKS else []
    return [
        *table(["method", "steps", "test accuracy %", "published", "test loss", "published"], rows),
        *remark,
    ]


def _loss(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"
