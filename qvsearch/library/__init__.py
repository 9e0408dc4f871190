"""One library on disk and in memory: shards under a manifest, changed by commits alone.

Only this package writes into a library. Neighbours use `library.Library`, `filters.Filters`, the
records of `manifest` and `sidecar`, and `repair` for `qvsearch check`.
"""
