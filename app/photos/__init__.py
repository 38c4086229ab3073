"""Photos: decoded within limits, kept under names that cannot be guessed."""
