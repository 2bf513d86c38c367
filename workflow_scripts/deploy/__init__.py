"""A recommendation as a bundle that a vector index takes as it is."""
