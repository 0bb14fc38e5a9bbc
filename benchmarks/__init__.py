"""Speed of population training against the alternatives: ``python -m benchmarks``."""
