"""Vectors by row number: how they are encoded, stored in a FAISS index, and scored.

Neighbours use `store.FaissStore` for exact cosines, `encoding.Form` for the layout of a vector, and
`sign_bits` for the estimates of the first pass.
"""
