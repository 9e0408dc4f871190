"""Other uses of the model than search, each one function over the same engine.

`inputs` reads words, files and dictionaries, and embeds them in order. Every other module is one
task; the commands of `cli` are their only callers.
"""
