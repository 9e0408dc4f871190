"""The rows of libraries in one LanceDB table that many computers share.

`publish` copies a library's rows into the table, and each publisher owns its rows. Only
`engine.py` and `side_table.py` call LanceDB, so that another engine can follow.
"""
