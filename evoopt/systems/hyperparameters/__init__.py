"""Hyperparameters that evolve by three-parent recombination: by fresh trainings (HPO), or in training (PBT).

Vose et al. (2019), *Recombination of Artificial Neural Networks*.
"""

from evoopt.individuals import IndividualType

PBT = IndividualType(
    about="population-based training: hyperparameters evolve while the members train",
    config="evoopt.systems.hyperparameters.config:PbtConfig",
    read_genome="evoopt.systems.hyperparameters.hyperparameter_space:Hyperparameters.from_json",
    search="evoopt.systems.hyperparameters.pbt_search:search",
    text="evoopt.systems.hyperparameters.text",
    report="evoopt.systems.hyperparameters.hyperparameter_report",
)
HPO = IndividualType(
    about="search for hyperparameters: each genome trains a network afresh",
    config="evoopt.systems.hyperparameters.config:HpoConfig",
    read_genome="evoopt.systems.hyperparameters.hyperparameter_space:Hyperparameters.from_json",
    search="evoopt.systems.hyperparameters.hpo_search:search",
    text="evoopt.systems.hyperparameters.text",
    report="evoopt.systems.hyperparameters.hyperparameter_report",
)
