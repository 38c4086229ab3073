"""The networks: their papers' tables, their steps, and how photos are shown to them."""
