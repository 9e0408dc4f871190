"""Indexing on a Ray cluster: blocks of files go to its nodes, and rows come back.

The nodes do what `indexing` does with files, without a library. The driver, which is the process of
the command, finds the files and commits their rows to a published table.
"""
