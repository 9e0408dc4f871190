"""Near-duplicates: the rule, the pairs of rows that it decides on, and groups of files.

Neighbours use `groups.fold` for a ranked list, `groups.duplicate_groups` for a whole library,
`groups.repetition` for one file, and the reasons of `rule`.
"""
