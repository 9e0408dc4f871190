"""Files to committed rows.

`pipeline` reads as the story of an indexing run, with numbered steps; each step has a module.
Neighbours use `pipeline.index`, `plan.plan`, `forget.forget`, `session.IngestOptions`,
`status.library_status` and `scan.leftovers_text`.
"""
