"""Answers to questions from a person's own files, with citations.

`ask` searches, reads the hits and lets a generator answer: `chat` on a server, `local_generator` in
this process. Only `chat` connects to another program, the chat server that the user names.
"""
