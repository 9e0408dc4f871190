"""Other uses of the models than search, each one function over the same engine.

`inputs` reads words, files and dictionaries, and embeds them in order. Every other module belongs
to one task; the commands of `cli` are their only callers. Only `chat` connects to another program:
the chat server that the user names.
"""
