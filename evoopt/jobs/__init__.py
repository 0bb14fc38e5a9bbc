"""What does a worker do? Chunks of trainings and scorings, laid out, run and remembered."""
