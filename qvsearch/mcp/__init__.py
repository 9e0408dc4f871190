"""The face for agents: tools over the Model Context Protocol, read-only, on standard input.

Tools take and return identities of files, never paths to open. `tools` is the table of them,
`server` speaks the protocol. Nothing here imports the SDK, numpy
or torch before it is used.
"""
