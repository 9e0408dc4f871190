"""Measures a model on a user's own data: retrieval, sentence similarity and classification.

`read_sets` reads a set in any of the usual forms, and `evaluate` measures it. `qvsearch.mteb` uses
the same embedder for the tasks of mteb.
"""
