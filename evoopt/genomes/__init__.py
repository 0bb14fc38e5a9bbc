"""What is an individual? Frozen records and pure operators."""
