"""Is it really better? Tuned baselines and paired statistics."""
