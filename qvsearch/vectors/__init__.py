"""Stores vectors and searches them: their encodings, the FAISS store, the sign-bit first stage.

Rows are numbers here. Neighbours use `store.FaissStore`, `encoding` and `sign_bits`.
"""
