"""A query to hits: `pipeline` tells the story, one module a step.

Neighbours use `pipeline.search`, `query.Query`, `explain.explain` and `similar.similar`.
"""
