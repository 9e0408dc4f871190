"""Libraries that follow their folders.

`update` brings one up to date as its earlier runs did; `watcher` does so whenever files change.
`worker` does the watcher's indexing in a process of its own.
"""
