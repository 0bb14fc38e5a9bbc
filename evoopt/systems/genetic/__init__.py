"""Genetic training of networks' weights, without gradients: individuals are networks."""

from evoopt.individuals import IndividualType

GENETIC = IndividualType(
    about="genetic training of weights, without gradients",
    config="evoopt.systems.genetic.config:GeneticConfig",
    read_genome="evoopt.systems.genetic.weight_genome:WeightGenome.from_json",
    search="evoopt.systems.genetic.genetic_search:search",
    text="evoopt.systems.genetic.text",
    report="evoopt.systems.genetic.genetic_report",
)
