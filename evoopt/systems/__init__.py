"""What evolves? One folder per individual type; `evoopt.individuals` lists them."""
