"""Other uses of the models than search, each one function over the same engine.

`inputs` reads words, files and dictionaries, and embeds them in order. Each other module or folder
is one task; the commands of `cli` are their only callers.
"""
