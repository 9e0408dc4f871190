"""Groups of a library's files that show or say the like, and the files that belong nowhere.

`cluster` makes the groups and names them; `outliers` lists the rest. Both compare one vector for
each file (`item_vectors`).
"""
