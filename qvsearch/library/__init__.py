"""One library, on disk and in memory: shards under a manifest, changed only by commits.

Only this package writes into a library. Neighbours use `library.Library`, `names` for its folder,
`filters.Filters` and `filtering`, `rules` and `patterns` for what a scan returns, and the records
of `manifest` and `failures`. `repair` is `qvsearch check`, `libraries` is `qvsearch libraries`.
"""
