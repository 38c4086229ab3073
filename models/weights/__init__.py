"""Weights: where they come from, how their files are read, whose they are."""
