"""The right model for a library: in this process, from the cache of queries or in a warm server.

Neighbours use `loading` to open a model, `inputs` to prepare what it reads, and `manager` for the
servers.
"""
