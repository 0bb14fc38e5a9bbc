"""Optimizer search: individuals are update rules."""

from evoopt.individuals import IndividualType

OPTIMIZER = IndividualType(
    about="search for an optimizer",
    config="evoopt.systems.optimizer.config:OptimizerConfig",
    read_genome="evoopt.systems.optimizer.optimizer_genome:OptimizerGenome.from_json",
    search="evoopt.systems.optimizer.optimizer_search:search",
    text="evoopt.systems.optimizer.text",
    report="evoopt.systems.optimizer.optimizer_report",
)
