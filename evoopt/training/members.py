"""A population of models in training: weights that live on from phase to phase, rules, and their moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.optim.rule import UpdateRule
from evoopt.optim.step import keeps
from evoopt.training.population import ModelPopulation
from evoopt.training.population_update import kept_layouts


@dataclass
class Members:
    """P models, each with its own update rule and optimizer state.

    Attributes:
        population: The models.
        rules: One per member.
        m: First moments ``[P, D]``.
        v: Second moments ``[P, D]``.
        steps: Steps that each member's moments have seen.
        stages: What stages keep besides, ``[P, ...]`` by name (see `kept_layouts`), for those members whose
            rules do.
    """

    population: ModelPopulation
    rules: tuple[UpdateRule, ...]
    m: Tensor
    v: Tensor
    steps: tuple[int, ...]
    stages: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def fresh(cls, population: ModelPopulation, rules: Sequence[UpdateRule]) -> Members:
        """Members whose moments are zero.

        Raises:
            EvooptError: Not one rule per model.
        """
        if len(rules) != len(population):
            raise EvooptError(f"{len(population)} models need as many rules, not {len(rules)}")
        zero = torch.zeros_like(population.weights)
        return cls(population, tuple(rules), zero, zero.clone(), (0,) * len(population))

    def __len__(self) -> int:
        return len(self.population)

    def __getitem__(self, indices: Sequence[int]) -> Members:
        """Copies of the members at ``indices``, which may repeat: weights, rules and moments."""
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.m.device)
        return Members(
            self.population[index],
            tuple(self.rules[i] for i in indices),
            self.m[index],
            self.v[index],
            tuple(self.steps[i] for i in indices),
            {name: x[index] for name, x in self.stages.items()},
        )

    def reset(self) -> Members:
        """The same models and rules with moments of zero."""
        zero = torch.zeros_like(self.m)
        return replace(self, m=zero, v=zero.clone(), steps=(0,) * len(self), stages={})

    def follow(self, rules: Sequence[UpdateRule]) -> None:
        """Give members other rules, in place.

        A member whose rule keeps what the one before did not begins with an empty state, as another optimizer
        does: the steps of which moments are the mean would be counted wrongly.
        """
        changed = enumerate(zip(self.rules, rules, strict=True))
        anew = [k for k, (old, new) in changed if self.steps[k] and not _kept(new) <= _kept(old)]
        for kept in (self.m, self.v, *self.stages.values()):
            kept[anew] = 0
        self.steps = tuple(0 if k in anew else n for k, n in enumerate(self.steps))
        self.rules = tuple(rules)

    def copy(self) -> Members:
        """Copies of all members."""
        return self[range(len(self))]

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the rules as tensors ``[P, ...]`` by name, on the CPU, for a file.

        Moments that have seen no step are zero and left out.
        """
        population = self.population
        layout = population.architecture.layout
        kept = kept_layouts(self.rules, layout)
        named = {
            "weights": layout.packed(population.weights),
            **({"m": layout.packed(self.m), "v": layout.packed(self.v)} if any(self.steps) else {}),
            **{
                f"stages.{name}": kept[name].packed(x) if name in kept else x
                for name, x in self.stages.items()
            },
            "steps": torch.tensor(self.steps, dtype=torch.int64),
            **{f"state.{name}": t for name, t in population.state.items()},
            **{f"rates.{name}": t for name, t in population.rates.items()},
        }
        return {name: t.detach().cpu().contiguous() for name, t in named.items()}

    def with_tensors(self, tensors: Mapping[str, Tensor], rules: Sequence[UpdateRule]) -> Members:
        """Members of this architecture made of what `tensors` gave.

        Args:
            tensors: See `tensors`; any number of members.
            rules: One per member.

        Raises:
            EvooptError: Tensors of another architecture.
        """
        zero = torch.zeros_like(tensors["weights"]) if "weights" in tensors else torch.empty(0)
        stages = {name: x for name, x in tensors.items() if name.startswith("stages.")}
        tensors = {"m": zero, "v": zero, **tensors}
        own = replace(self, stages={}).tensors()
        expected = {"m": own["weights"], "v": own["weights"], **own, **stages}
        shapes = {name: t.shape[1:] for name, t in expected.items()}
        layout = self.population.architecture.layout
        layouts = {f"stages.{kind}": kept for kind, kept in kept_layouts(rules, layout).items()}
        shapes |= {name: torch.Size([layouts[name].count]) for name in stages if name in layouts}
        if {name: t.shape[1:] for name, t in tensors.items()} != shapes:
            raise EvooptError("the saved models are not of this architecture")
        device, old = self.m.device, self.population
        layouts |= dict.fromkeys(("weights", "m", "v"), layout)
        given = {
            name: layouts[name].spread(t.to(device)) if name in layouts else t.to(device)
            for name, t in tensors.items()
        }
        population = ModelPopulation(
            old.architecture,
            given["weights"].clone(),
            {name: given[f"state.{name}"].clone() for name in old.state},
            {name: given[f"rates.{name}"].clone() for name in old.rates},
        )
        steps = tuple(int(n) for n in tensors["steps"].tolist())
        kept = {name.removeprefix("stages."): given[name].clone() for name in stages}
        return Members(population, tuple(rules), given["m"].clone(), given["v"].clone(), steps, kept)


def _kept(rule: UpdateRule) -> set[str]:
    rule = rule.canonical()
    return {state.name for state in (*keeps(rule), *keeps(rule.others_rule))}


def joined(parts: Sequence[Members]) -> Members:
    """All members of several groups of one architecture, in order."""
    first = parts[0].population
    population = ModelPopulation(
        first.architecture,
        torch.cat([part.population.weights for part in parts]),
        {name: torch.cat([part.population.state[name] for part in parts]) for name in first.state},
        {name: torch.cat([part.population.rates[name] for part in parts]) for name in first.rates},
    )
    kept = {name: x for part in parts for name, x in part.stages.items()}
    return Members(
        population,
        tuple(rule for part in parts for rule in part.rules),
        torch.cat([part.m for part in parts]),
        torch.cat([part.v for part in parts]),
        tuple(n for part in parts for n in part.steps),
        {
            name: torch.cat([p.stages.get(name, x.new_zeros(len(p), *x.shape[1:])) for p in parts])
            for name, x in kept.items()
        },
    )
