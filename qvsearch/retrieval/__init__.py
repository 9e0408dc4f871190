"""A query to hits.

`pipeline` reads as the story of a query, with numbered steps; each step has a module. Neighbours
use `shelf.Shelf`, `pipeline.search` and `pipeline.answers`, `query.Query` and `query.parse_query`,
`options.SearchOptions`, `explain.explain`, `similar.similar` and `recall.measure_recall`.
"""
