"""GADAM, genetic-evolutionary Adam: individuals are models, trained by Adam between generations."""

from evoopt.individuals import IndividualType

GADAM = IndividualType(
    about="GADAM: models trained by Adam and evolved between phases of training",
    config="evoopt.systems.gadam.config:GadamConfig",
    read_genome="evoopt.systems.gadam.unit_model:UnitModel.from_json",
    search="evoopt.systems.gadam.gadam_search:search",
    text="evoopt.systems.gadam.text",
    report="evoopt.systems.gadam.gadam_report",
)
