"""Marfinetz (2025): an evolved optimizer."""
