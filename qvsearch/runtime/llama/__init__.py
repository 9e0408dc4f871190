"""llama.cpp as an engine: GGUF files in a process of their own, and llama-server.

`protocol` has what is sent, `pair` the two files of a model, `server` the process,
and `embedder` the vectors. Nothing here imports torch or transformers.
"""
