"""Vose et al. (2019): three-parent recombination of hyperparameters."""
