"""Where an exported rule comes from: the one place that turns what people name into a rule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoopt.errors import EvooptError, read_as_data, unknown_name
from evoopt.individuals import individual_type
from evoopt.optim.presets import PRESETS, STAGED_PRESETS, preset
from evoopt.optim.rule import UpdateRule
from evoopt.runs.finalists import member
from evoopt.runs.run import Run

FORMATS: dict[str, str] = {
    "run": "folder of a finished run; its winner is exported",
    "preset": f"name of a preset: {', '.join(PRESETS | STAGED_PRESETS)}",
    "genome": "JSON file of an optimizer genome (kind 'optimizer_genome')",
    "rule": "JSON file of an update rule (kind 'update_rule')",
}
"""What `load_rule` accepts, by name, with a line of explanation each."""


@dataclass(frozen=True)
class Provenance:
    """What the docstring of an exported class says about the rule's origin.

    Attributes:
        origin: What was exported, e.g. ``"preset 'lion'"`` or ``"run runs/quick"``.
        run: Identifier of the search that found the rule.
        data: What the search trained on.
        budget: What the search cost, e.g. ``"2,500 genomes of 500 steps each"``.
        genome: JSON object that decodes to the rule; the rule's own JSON is shown if absent.
        comparison: Measured result against tuned Adam, a sentence or more.
        tuned: Learning rate and whatever else was found best when it was tuned, and on what.
    """

    origin: str
    run: str | None = None
    data: str | None = None
    budget: str | None = None
    genome: Mapping[str, Any] | None = None
    comparison: str | None = None
    tuned: str | None = None


_SEARCHED_ON = "digits_autoencoder, teacher_student, deep_narrow, breast_cancer; heavy_tail and letter_mlp128"

PUBLISHED: dict[str, Provenance] = {
    "lion": Provenance(
        "preset 'lion', X. Chen et al., Symbolic Discovery of Optimization Algorithms, arXiv 2302.06675"
    ),
    "marfinetz2025": Provenance(
        "preset 'marfinetz2025', M. Marfinetz, Evolving Deep Learning Optimizers, arXiv 2512.11853",
        data="Fashion-MNIST, CIFAR-10 and MNIST, 15,000 training images of each",
        budget="50 generations of 50 genomes, scored on 500 steps and 2 seeds per data set",
    ),
    "polaris": Provenance(
        "preset 'polaris', found by evoopt, docs/discovery.md",
        data=_SEARCHED_ON,
        budget="5 searches of 15,000 trainings of 300 steps or fewer",
    ),
    "muon_sgd": Provenance(
        "preset 'muon_sgd', Muon without looking ahead, SGD with momentum where Muon has Adam; what was left "
        "of a rule found by evoopt, docs/discovery.md",
        data=_SEARCHED_ON,
        budget="2 searches of 16,500 trainings of 300 steps or fewer",
    ),
    **{
        name: Provenance(f"preset {name!r}, {paper}")
        for name, paper in {
            "muon": "K. Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024, with "
            "the scale and decay of J. Liu et al., Muon is Scalable for LLM Training, arXiv 2502.16982",
            "normuon": "Z. Li et al., NorMuon: Making Muon more efficient and scalable, arXiv 2510.05491",
            "soap": "N. Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, arXiv 2409.11321, "
            "with one side, a basis in every step, the scale of Muon, and Adam where Muon has it",
            "ademamix": "M. Pagliardini et al., The AdEMAMix Optimizer: Better, Faster, Older, "
            "arXiv 2409.03137, without its schedulers",
            "cautious_adamw": "K. Liang et al., Cautious Optimizers: Improving Training with One Line of "
            "Code, arXiv 2411.16085",
            "mars_adamw": "H. Yuan et al., MARS: Unleashing the Power of Variance Reduction for Training "
            "Large Models, arXiv 2411.10438, in its approximate form",
            "laprop": "L. Ziyin et al., LaProp: Separating Momentum and Adaptivity in Adam, arXiv 2002.04839",
            "lamb": "Y. You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 "
            "minutes, arXiv 1904.00962",
            "adafactor_moments": "AdamW with the second moment of N. Shazeer and M. Stern, Adafactor: "
            "Adaptive Learning Rates with Sublinear Memory Cost, arXiv 1804.04235",
            "adamw_ema": "AdamW that ends with an average of its weights, as in section 7.2 of D. Kingma "
            "and J. Ba, Adam: A Method for Stochastic Optimization, arXiv 1412.6980",
        }.items()
    },
}
"""Origin of the presets: where they were published, or how they were found."""


def load_rule(
    source: str | Path, prefer: str | None = None, name: str | None = None
) -> tuple[UpdateRule, Provenance]:
    """Find the rule that a preset name, a run folder or a JSON file stands for.

    Args:
        source: Preset name, folder of a finished run, or JSON file with a rule or an optimizer genome.
        prefer: Which of a run's finalists, see `evoopt.runs.finalists.member`; its winner by default.
        name: The same by number or hash.

    Returns:
        The rule and what is known of its origin.

    Raises:
        EvooptError: None of these, a file that holds no rule, or a run that is not finished.
    """
    text, path = str(source), Path(source)
    known = text in PRESETS | STAGED_PRESETS
    if path.is_dir() and not known:
        return _from_run(path, prefer, name)
    if prefer or name:
        raise EvooptError(f"{text} is no run folder, which alone has finalists to prefer or name")
    if known:
        return preset(text), PUBLISHED.get(text, Provenance(f"preset {text!r}"))
    if path.is_file():
        return rule_from_json(read_json(path), path)
    if path.suffix or len(path.parts) > 1:
        raise EvooptError(
            f"{path} is neither a preset, nor a run folder, nor a JSON file of a rule or genome"
        )
    raise unknown_name("preset", text, PRESETS | STAGED_PRESETS)


def _from_run(folder: Path, prefer: str | None, name: str | None) -> tuple[UpdateRule, Provenance]:
    with Run(folder) as run, read_as_data(str(folder)):
        rule, config, winner = run.rule, run.config, run.winner
        found = member(winner, prefer, name)
        won = found["id"] == winner["id"]
        rule = rule if won else UpdateRule.from_json(found["rule"])
        trainings = sum(run.store.outcome_counts().values())
        provenance = Provenance(
            f"run {folder.resolve().name}, space {config.name!r}, seed {config.seed}",
            run=folder.resolve().name,
            data=", ".join(Path(task).name for task in config.tasks),
            budget=f"{trainings:,} trainings of {config.option('steps')} steps",
            genome=individual_type(config.individual).read_genome(found["genome"]).to_json(),
            comparison=" ".join(filter(None, [winner.get("lost"), run.verdict])) or None if won else None,
            tuned=run.tuned if won else None,
        )
        return rule, provenance


def rule_from_json(data: Any, path: Path) -> tuple[UpdateRule, Provenance]:
    """The rule that the content of a JSON file holds; see `load_rule`."""
    origin = f"file {path.name}"
    try:
        if isinstance(data, dict) and data.get("kind") == "optimizer_genome":
            return individual_type("optimizer").read_genome(data).rule(), Provenance(origin, genome=data)
        return UpdateRule.from_json(data), Provenance(origin)
    except EvooptError as error:
        raise EvooptError(f"{path}: {error}") from None


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        EvooptError: Unreadable, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise EvooptError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise EvooptError(f"{path} is not a JSON file: {error}") from None
