"""How the starter weights were made: programs that run once, outside the installed package."""
