"""Scores of every codec from one store of embeddings, as mteb computes them."""
