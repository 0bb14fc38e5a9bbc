"""The optimizer genome as an individual type: its operators and selection on a DEAP toolbox."""

from __future__ import annotations

from deap import base, tools

from evoopt.evolution.selection import sel_tournament_distinct
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.literal import LiteralOperators
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.robust import RobustOperators


def optimizer_toolbox(config: OptimizerConfig) -> tuple[base.Toolbox, tuple[OptimizerGenome, ...]]:
    """Register random, mate, mutate and select for optimizer genomes.

    Returns:
        The toolbox, and the genomes that the first generation starts with.
    """
    space = config.genome.space()
    literal = config.genome.operators == "literal"
    operators = LiteralOperators(space) if literal else RobustOperators(space, config.genome.initial)
    toolbox = base.Toolbox()
    toolbox.register("random", operators.random)
    toolbox.register("mate", operators.mate)
    toolbox.register("mutate", operators.mutate)
    toolbox.register(
        "select",
        sel_tournament_distinct if literal else tools.selTournament,
        tournsize=config.search.tournament,
    )
    return toolbox, operators.seeds()
