"""What else the models do with a person's files, beside search.

Neighbours use `ask` for answers. Only `chat` connects to another program: the chat server that the
user names.
"""
