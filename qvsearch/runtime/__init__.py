"""The right model for a library: in this process, from the cache of queries, or on a server.

Neighbours use `loading` to open a library with its model, `local` for a model in this process,
`inputs` to prepare pictures and files, and `manager` to start, list and end servers.
"""
