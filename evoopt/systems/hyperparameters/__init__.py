"""Hyperparameters that evolve by three-parent recombination: afresh in every training, or as models train."""

from evoopt.individuals import IndividualType

HYPERPARAMETERS = IndividualType(
    about="evolution of hyperparameters",
    config="evoopt.systems.hyperparameters.config:RecombinationConfig",
    read_genome="evoopt.systems.hyperparameters.hyperparameter_space:Hyperparameters.from_json",
    search="evoopt.systems.hyperparameters.hyperparameter_search:search",
    text="evoopt.systems.hyperparameters.text",
    report="evoopt.systems.hyperparameters.hyperparameter_report",
)
