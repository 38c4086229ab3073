"""Training after the paper."""
